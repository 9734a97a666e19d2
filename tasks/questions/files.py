"""The published file formats of two-hop tasks (Wang et al. 2024; He et al. 2026, code of both papers).

A folder holds `vocab.json` (tokens `<e_0>`…, `<r_0>`…, six special ones), `id_facts.json` and `ood_facts.json` (lists of
[h, r, t]), `train.json` (all atomic facts and the trained compositions), `valid.json` (the OOD+OOD test queries) and
`test.json` (samples with a `type`); see `folder_items` for items. Nothing is taken from `valid.json`, but its items must be
of the graph. A folder that grokscope wrote also has a `side_file`. One without it is hand-made: it has schemas and no
checksums. A folder may be a link, its files are no links out of it.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Int
from pydantic import Field, TypeAdapter, ValidationError

from ...circuits.documents import FileError, check_inside, decoded, parsed, problems_of
from ...circuits.lock import only_writer
from ...circuits.writing import write_atomic
from .folder_items import Item, Read, Vocabulary, items_of, read_items
from .graph import Compositions, KnowledgeGraph, slot_problems
from .queries import Queries
from .saved_task import dose_of
from .side_file import MIXED_TESTS, SIDE_FILE, Side, read_side, write_side
from .splits import untrained_mixed
from .supervision import Supervision
from .task_validity import Problem, TaskParts, task_problems

T = TypeVar("T")
SPECIAL_TOKENS = ("<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>")
PUBLISHED_FILES = ("vocab.json", "id_facts.json", "ood_facts.json", "train.json", "valid.json", "test.json")
PROBE_CAP = 3000  # the published generator samples this many of the trained items into test.json
_PUBLISHED_TESTS = ("test_inferred_iid", "test_inferred_ood")
_TYPES = ("id_atomic", "ood_atomic", "train_inferred", *_PUBLISHED_TESTS)


class TestItem(Item):
    """An item of `test.json`."""

    type: Literal["id_atomic", "ood_atomic", "train_inferred", "test_inferred_iid", "test_inferred_ood"]


_FACTS = (list[Annotated[list[str], Field(min_length=3, max_length=3)]], "a list of [h, r, t]")
_ITEMS = (list[Item], 'a list of {"input_text": …, "target_text": …}')
_SCHEMAS: Mapping[str, tuple[TypeAdapter, str]] = {
    name: (TypeAdapter(schema), says)
    for name, (schema, says) in {
        "vocab.json": (list[str], "a list of tokens"),
        "id_facts.json": _FACTS,
        "ood_facts.json": _FACTS,
        "train.json": _ITEMS,
        "valid.json": _ITEMS,
        "test.json": (list[TestItem], 'a list of {"input_text": …, "target_text": …, "type": …}'),
    }.items()
}


class DataFolderError(FileError):
    """A data folder contradicts itself or the published format; the message names files and items."""


@dataclass(frozen=True, eq=False)
class FolderContent:
    """What a data folder says: facts, trained and tested compositions, and what the side file adds, if there is one."""

    graph: KnowledgeGraph
    is_ood: Bool[np.ndarray, " fact"]
    trained: Compositions
    added: Compositions
    tests: Mapping[str, Compositions]
    supervision: Supervision | None
    seed: int


@dataclass
class FolderProblems:
    """Collects what is wrong in a folder, to report it all at once."""

    folder: Path
    messages: list[str] = field(default_factory=list)

    def add(self, file: str, text: str, item: int | None = None) -> None:
        """Note what is wrong in a file, in one of its items, counted from 0, if it is about one."""
        place = "" if item is None else f", item {item}"
        self.messages.append(f"{self.folder / file}{place}: {text}")

    def raise_if_any(self, most: int = 5) -> None:
        """Raise if something was noted.

        Raises:
            DataFolderError: with the first of all that was.
        """
        if self.messages:
            rest = f"\n… and {len(self.messages) - most} more" if len(self.messages) > most else ""
            raise DataFolderError("\n".join(self.messages[:most]) + rest)


def read_folder(folder: Path) -> FolderContent:
    """Read and check a data folder.

    Raises:
        FileNotFoundError: if files are missing; all of them are named.
        DataFolderError: for a file that is no such JSON, an unknown token, two tails of one (h, r), an item that no chain
            of facts explains, a fact that is not trained, a test query that is, and whatever else keeps it from being a
            task; each with file and item, counted from 0. Also if a file is another than was written with the side file.
    """
    return read_all(folder, PUBLISHED_FILES, _read)


def read_all(folder: Path, names: Sequence[str], read: Callable[[Path], T]) -> T:
    """What is read from a folder that has all of its files.

    Raises:
        FileNotFoundError: if files are missing; all of them are named.
        DataFolderError: for whatever is wrong in the files.
    """
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; a data folder holds {', '.join(names)}")
    try:
        return read(folder)
    except DataFolderError:
        raise
    except FileError as error:
        raise DataFolderError(str(error)) from error


def write_folder(
    folder: Path,
    *,
    graph: KnowledgeGraph,
    is_ood: Bool[np.ndarray, " fact"],
    splits: Mapping[str, Queries],
    supervision: Supervision | None,
    seed: int,
) -> None:
    """Write a task as a data folder: the side file, then the six published ones, each atomically.

    Raises:
        FolderInUseError: if another process writes it.
    """
    vocabulary = Vocabulary.of(graph.n_entities, graph.n_relations)
    items = {name: items_of(queries, vocabulary.names) for name, queries in splits.items()}
    facts = [_fact_tokens(*triple) for triple in graph.triples]
    rng = np.random.default_rng([seed, 4])
    probes = {name: items[name] if name in _PUBLISHED_TESTS else _sample(items[name], PROBE_CAP, rng) for name in _TYPES}
    published = {
        "vocab.json": [*vocabulary.names, *SPECIAL_TOKENS],
        "id_facts.json": [fact for fact, ood in zip(facts, is_ood, strict=True) if not ood],
        "ood_facts.json": [fact for fact, ood in zip(facts, is_ood, strict=True) if ood],
        "train.json": items["id_atomic"] + items["ood_atomic"] + items["train_inferred"],
        "valid.json": items["test_inferred_ood"],
        "test.json": [{**item, "type": name} for name in _TYPES for item in probes[name]],
    }
    files = {name: json.dumps(value).encode() for name, value in published.items()}
    side = {"seed": seed, "supervision": dose_of(supervision)}
    with only_writer(folder):
        write_side(folder, side | {name: items[name] for name in MIXED_TESTS}, files)
        for name, data in files.items():
            write_atomic(folder / name, data)


def _read(folder: Path) -> FolderContent:
    for name in (*PUBLISHED_FILES, SIDE_FILE):
        check_inside(folder / name, folder)
    side = read_side(folder / SIDE_FILE) if os.path.lexists(folder / SIDE_FILE) else None
    data = {name: (folder / name).read_bytes() for name in PUBLISHED_FILES}
    if side:
        side.check(folder / SIDE_FILE, data)
    content = {name: read_content(folder / name, data.pop(name), *_SCHEMAS[name]) for name in PUBLISHED_FILES}
    problems = FolderProblems(folder)
    vocabulary = _vocabulary(content["vocab.json"], problems)
    graph, is_ood = _read_facts(content, vocabulary, problems)
    items = {name: content[name] for name in ("train.json", "valid.json", "test.json")}
    items |= {split: side.mixed(split) for split in MIXED_TESTS if side}
    read = {name: read_items(each, graph, vocabulary) for name, each in items.items()}
    for name, each in read.items():
        for item, text in each.problems.items():
            problems.add(SIDE_FILE if name in MIXED_TESTS else name, text, item)
    problems.raise_if_any()
    return _task_of(graph, is_ood, read, [item["type"] for item in content["test.json"]], side, problems)


def read_content(path: Path, data: bytes, schema: TypeAdapter, says: str) -> Any:
    """What a file says, as its schema, which `says` describes, has it."""
    found = parsed(decoded(data, str(path)), str(path))
    try:
        return schema.validate_python(found, strict=True)
    except ValidationError as error:
        wrong = [text if text.startswith(("it:", "and ")) else f"item {text}" for text in problems_of(error)]
        raise DataFolderError(f"{path}: expected {says}; {'; '.join(wrong)}") from error


def _vocabulary(tokens: Sequence[str], problems: FolderProblems) -> Vocabulary:
    """The entities and relations that `vocab.json` names, in any order."""
    first = {token: item for item, token in reversed(list(enumerate(tokens)))}
    n_entities, n_relations = (sum(token.startswith(prefix) for token in first) for prefix in ("<e_", "<r_"))
    vocabulary = Vocabulary.of(n_entities, n_relations)
    known = {*vocabulary.names, *SPECIAL_TOKENS}
    for item, token in enumerate(tokens):
        if token not in known:
            text = f"unexpected token {token!r}; expected <e_0>…, <r_0>…, {' '.join(SPECIAL_TOKENS)}"
            problems.add("vocab.json", text, item)
        elif first[token] != item:
            problems.add("vocab.json", f"{token!r} is there twice, first as item {first[token]}", item)
    for text in slot_problems(n_entities, n_relations):
        problems.add("vocab.json", text)
    problems.raise_if_any()
    return vocabulary


def _read_facts(
    content: Mapping[str, Any], vocabulary: Vocabulary, problems: FolderProblems
) -> tuple[KnowledgeGraph, Bool[np.ndarray, " fact"]]:
    """The graph of both fact files and which facts are OOD."""
    entities, relations = vocabulary.entities, vocabulary.relations
    tail_of: dict[tuple[int, int], int] = {}
    ood: dict[tuple[int, int], bool] = {}
    for file in ("id_facts.json", "ood_facts.json"):
        for item, fact in enumerate(content[file]):
            head, relation, tail = entities.get(fact[0]), relations.get(fact[1]), entities.get(fact[2])
            if head is None or relation is None or tail is None:
                unknown = vocabulary.unknown(fact)
                text = f"unknown token {unknown[0]!r}; tokens are those of vocab.json" if unknown else f"got {fact}"
                problems.add(file, text if unknown else f"expected entity, relation, entity, {text}", item)
            elif (slot := (head, relation)) not in tail_of:
                tail_of[slot], ood[slot] = tail, file == "ood_facts.json"
            elif tail == tail_of[slot]:
                problems.add(file, f"the fact {''.join(fact)} is there twice", item)
            else:
                text = f"a second tail for {fact[0]}{fact[1]}: {fact[2]} and <e_{tail_of[slot]}>"
                problems.add(file, text, item)
    problems.raise_if_any()
    sizes = {"n_entities": len(entities), "n_relations": len(relations)}
    graph = KnowledgeGraph.from_triples([(*slot, tail) for slot, tail in tail_of.items()], **sizes)
    return graph, np.array([ood[slot] for slot in sorted(ood)], dtype=bool)


def _task_of(
    graph: KnowledgeGraph,
    is_ood: Bool[np.ndarray, " fact"],
    read: Mapping[str, Read],
    types: Sequence[str],
    side: Side | None,
    problems: FolderProblems,
) -> FolderContent:
    """The task that the items make, if they make one."""
    rows = _rows(read, np.array(types, dtype=object), is_ood)
    file_of = {"trained": "train.json", "added": "train.json"} | dict.fromkeys(_PUBLISHED_TESTS, "test.json")
    hops = {name: read[file_of.get(name, name)].hops(chosen) for name, chosen in rows.items()}
    trained, added = hops.pop("trained"), hops.pop("added")
    tests = hops if side else hops | untrained_mixed(graph, is_ood, np.concatenate([trained, added]))
    supervision = side.supervision.read() if side and side.supervision else None
    content = FolderContent(graph, is_ood, trained, added, tests, supervision, side.seed if side else 0)
    _check_atomic(graph, read["train.json"], problems)
    _check_probes(read, types, is_ood, problems)
    for problem in task_problems(_parts(content)):
        file, items = file_of.get(problem.of, SIDE_FILE), rows.get(problem.of, problem.rows)[problem.rows]
        problems.add(file, _said(problem, items))
    problems.raise_if_any()
    return content


def _rows(
    read: Mapping[str, Read], types: np.ndarray, is_ood: Bool[np.ndarray, " fact"]
) -> dict[str, Int[np.ndarray, " row"]]:
    """The items of each of a task's arrays."""
    train, test = read["train.json"], read["test.json"]
    composed = np.flatnonzero(train.is_composed)
    both_id = ~is_ood[train.hops(composed)].any(1)
    rows = {"trained": composed[both_id], "added": composed[~both_id]}
    rows |= {split: np.flatnonzero(test.is_composed & (types == split)) for split in _PUBLISHED_TESTS}
    return rows | {split: np.flatnonzero(read[split].is_composed) for split in MIXED_TESTS if split in read}


def _parts(content: FolderContent) -> TaskParts:
    graph = content.graph
    facts = {"heads": graph.heads, "relations": graph.relations, "tails": graph.tails}
    rest = {each.name: getattr(content, each.name) for each in dataclasses.fields(content) if each.name != "graph"}
    return TaskParts(n_entities=graph.n_entities, n_relations=graph.n_relations, **facts, **rest, layout="compact")


def _said(problem: Problem, items: Int[np.ndarray, " row"]) -> str:
    of = "" if problem.of in ("trained", "added") else f"{problem.of}: "
    return f"{of}{problem.says}" + (f" ({len(items):,} items, the first is item {items[0]})" if len(items) else "")


def _check_atomic(graph: KnowledgeGraph, train: Read, problems: FolderProblems) -> None:
    """Every fact is trained by itself, once."""
    asked = np.flatnonzero(~train.is_composed)
    counts = np.bincount(train.hop1[asked], minlength=len(graph))
    if len(untrained := np.flatnonzero(counts == 0)):
        first = "".join(_fact_tokens(*graph.triples[untrained[0]]))
        problems.add("train.json", f"{len(untrained)} facts are not trained by themselves, the first is {first}")
    if len(twice := np.flatnonzero(counts > 1)):
        first = "".join(_fact_tokens(*graph.triples[twice[0]]))
        problems.add("train.json", f"{len(twice)} facts are there more than once, the first is {first}")


def _check_probes(
    read: Mapping[str, Read], types: Sequence[str], is_ood: Bool[np.ndarray, " fact"], problems: FolderProblems
) -> None:
    """Each item of `test.json` is what its type says; what the test splits hold is the validator's."""
    train, test = read["train.json"], read["test.json"]
    trained = set(zip(train.hop1.tolist(), train.hop2.tolist(), strict=True))
    for item, (name, hop1, hop2) in enumerate(zip(types, test.hop1.tolist(), test.hop2.tolist(), strict=True)):
        if (hop2 < 0) != name.endswith("_atomic"):
            n = "one relation" if name.endswith("_atomic") else "two relations"
            problems.add("test.json", f"a question of type {name} has {n}", item)
        elif hop2 < 0 and is_ood[hop1] != (name == "ood_atomic"):
            problems.add(
                "test.json", f"of type {name}, but its fact is in {'ood' if is_ood[hop1] else 'id'}_facts.json", item
            )
        elif name == "train_inferred" and (hop1, hop2) not in trained:
            problems.add("test.json", "of type train_inferred, but it is not in train.json", item)


def _fact_tokens(head: int, relation: int, tail: int) -> list[str]:
    return [f"<e_{head}>", f"<r_{relation}>", f"<e_{tail}>"]


def _sample(items: list[Item], most: int, rng: np.random.Generator) -> list[Item]:
    """At most `most` of the items, without replacement."""
    return [items[i] for i in rng.permutation(len(items))[:most]]
