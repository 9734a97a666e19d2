"""The published file formats of two-hop tasks (Wang et al. 2024; He et al. 2026, code of both papers).

A folder holds `vocab.json` (tokens `<e_0>`…, `<r_0>`…, six special ones), `id_facts.json` and `ood_facts.json` (lists of
[h, r, t]), `train.json` (all atomic facts and the trained compositions), `valid.json` (the OOD+OOD test queries) and
`test.json` (samples with a `type`). An item is {"input_text": "<e_1><r_2>", "target_text": "<e_1><r_2><e_3></a>"}; a
two-hop item has a second relation. What those files cannot say (the mixed test splits, the supervision, the seed)
goes into a side file, `grokscope.json`, which the published code ignores.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..writing import write_atomic
from .graph import Compositions, KnowledgeGraph
from .queries import Queries
from .supervision import Supervision

SPECIAL_TOKENS = ("<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>")
PUBLISHED_FILES = ("vocab.json", "id_facts.json", "ood_facts.json", "train.json", "valid.json", "test.json")
SIDE_FILE = "grokscope.json"
PROBE_CAP = 3000  # the published generator samples this many of the trained items into test.json
_PUBLISHED_TESTS = ("test_inferred_iid", "test_inferred_ood")
_MIXED_TESTS = ("test_inferred_ood_id", "test_inferred_id_ood")
_TYPES = ("id_atomic", "ood_atomic", "train_inferred", *_PUBLISHED_TESTS)


class DataFolderError(ValueError):
    """A data folder contradicts itself or the published format; the message names files and items."""


@dataclass(frozen=True, eq=False)
class FolderContent:
    """What a data folder says: facts, trained and tested compositions, and what the side file adds, if there is one."""

    graph: KnowledgeGraph
    is_ood: Bool[np.ndarray, " fact"]
    trained: Compositions
    tests: Mapping[str, Compositions]
    supervision: Supervision | None
    seed: int


@dataclass
class _Problems:
    """Collects what is wrong in a folder, to report it all at once."""

    folder: Path
    messages: list[str] = field(default_factory=list)

    def add(self, file: str, item: int, text: str) -> None:
        self.messages.append(f"{file}, item {item}: {text}")

    def raise_if_any(self, most: int = 5) -> None:
        if self.messages:
            rest = f"\n… and {len(self.messages) - most} more" if len(self.messages) > most else ""
            raise DataFolderError(f"{self.folder}:\n" + "\n".join(self.messages[:most]) + rest)


def read_folder(folder: Path) -> FolderContent:
    """Read and check a data folder.

    Raises:
        FileNotFoundError: if files are missing; all of them are named.
        DataFolderError: for an unknown token, two tails of one (h, r), an item that no chain of facts explains, a
            fact that is not trained, or a test query that is; each with file and item, counted from 0.
    """
    if missing := [name for name in PUBLISHED_FILES if not (folder / name).is_file()]:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; a data folder holds {', '.join(PUBLISHED_FILES)}")
    content = {name: _load(folder / name) for name in PUBLISHED_FILES}
    side = _load(folder / SIDE_FILE) if (folder / SIDE_FILE).is_file() else {}
    problems = _Problems(folder)
    n_entities, n_relations = _sizes(content["vocab.json"], problems)
    tokens = _numbering(n_entities, n_relations)
    graph, is_ood = _read_facts(content, tokens, problems, n_entities=n_entities, n_relations=n_relations)
    reader = _ItemReader(graph, tokens, problems)
    trained = reader.read("train.json", content["train.json"])
    tests = _read_tests(content["test.json"], reader, problems)
    reader.read("valid.json", content["valid.json"])
    for split in _MIXED_TESTS if side else ():
        tests[split] = reader.read(SIDE_FILE, side[split])[1]
    _check_training(trained, tests, graph, is_ood, problems)
    problems.raise_if_any()
    supervision = Supervision(**side["supervision"]) if side.get("supervision") else None
    return FolderContent(graph, is_ood, trained[1], tests, supervision, side.get("seed", 0))


def write_folder(
    folder: Path,
    *,
    graph: KnowledgeGraph,
    is_ood: Bool[np.ndarray, " fact"],
    splits: Mapping[str, Queries],
    supervision: Supervision | None,
    seed: int,
) -> None:
    """Write a task as a data folder: the six published files and the side file, each atomically."""
    facts = [_fact_tokens(*triple) for triple in graph.triples]
    names = list(_numbering(graph.n_entities, graph.n_relations))
    items = {name: _items(queries, names) for name, queries in splits.items()}
    rng = np.random.default_rng([seed, 4])
    probes = {name: items[name] if name in _PUBLISHED_TESTS else _sample(items[name], PROBE_CAP, rng) for name in _TYPES}
    side = {"seed": seed, "supervision": dataclasses.asdict(supervision) if supervision else None}
    content = {
        "vocab.json": [*names, *SPECIAL_TOKENS],
        "id_facts.json": [fact for fact, ood in zip(facts, is_ood, strict=True) if not ood],
        "ood_facts.json": [fact for fact, ood in zip(facts, is_ood, strict=True) if ood],
        "train.json": items["id_atomic"] + items["ood_atomic"] + items["train_inferred"],
        "valid.json": items["test_inferred_ood"],
        "test.json": [{**item, "type": name} for name in _TYPES for item in probes[name]],
        SIDE_FILE: side | {name: items[name] for name in _MIXED_TESTS},
    }
    for name, value in content.items():
        write_atomic(folder / name, json.dumps(value))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataFolderError(f"{path} is no complete JSON file: {error}") from error


def _numbering(n_entities: int, n_relations: int) -> dict[str, int]:
    """Token text → number: entities first, then relations, as in the published vocabulary."""
    names = [f"<e_{i}>" for i in range(n_entities)] + [f"<r_{i}>" for i in range(n_relations)]
    return {name: number for number, name in enumerate(names)}


def _sizes(vocab: Sequence[str], problems: _Problems) -> tuple[int, int]:
    """How many entities and relations the vocabulary names."""
    n_entities, n_relations = (sum(token.startswith(prefix) for token in vocab) for prefix in ("<e_", "<r_"))
    known = {*_numbering(n_entities, n_relations), *SPECIAL_TOKENS}
    for item, token in enumerate(vocab):
        if token not in known:
            problems.add(
                "vocab.json", item, f"unexpected token {token!r}; expected <e_0>…, <r_0>…, {' '.join(SPECIAL_TOKENS)}"
            )
    problems.raise_if_any()
    return n_entities, n_relations


def _read_facts(
    content: Mapping[str, Any], tokens: Mapping[str, int], problems: _Problems, *, n_entities: int, n_relations: int
) -> tuple[KnowledgeGraph, Bool[np.ndarray, " fact"]]:
    """The graph of both fact files and which facts are OOD."""
    tail_of: dict[tuple[int, int], int] = {}
    ood: dict[tuple[int, int], bool] = {}
    for file in ("id_facts.json", "ood_facts.json"):
        for item, fact in enumerate(content[file]):
            if unknown := [token for token in fact if token not in tokens]:
                problems.add(file, item, f"unknown token {unknown[0]!r}; tokens are those of vocab.json")
                continue
            head, relation, tail = (tokens[token] for token in fact)
            slot = head, relation - n_entities
            if slot in tail_of:
                problems.add(file, item, f"a second tail for {fact[0]}{fact[1]}: {fact[2]} and <e_{tail_of[slot]}>")
                continue
            tail_of[slot], ood[slot] = tail, file == "ood_facts.json"
    problems.raise_if_any()
    triples = [(*slot, tail) for slot, tail in tail_of.items()]
    graph = KnowledgeGraph.from_triples(triples, n_entities=n_entities, n_relations=n_relations)
    return graph, np.array([ood[slot] for slot in sorted(ood)], dtype=bool)


@dataclass(frozen=True)
class _ItemReader:
    """Turns items into fact numbers and notes those that the graph does not explain."""

    graph: KnowledgeGraph
    tokens: Mapping[str, int]
    problems: _Problems

    def read(self, file: str, items: Iterable[Mapping[str, str]]) -> tuple[list[int], Compositions]:
        """The atomic facts and the compositions among `items`."""
        facts, hops = [], []
        for item, content in enumerate(items):
            found = self._facts_of(file, item, content)
            if found is not None:
                (facts if len(found) == 1 else hops).append(found)
        return [fact for (fact,) in facts], np.array(hops, dtype=np.int64).reshape(-1, 2)

    def _facts_of(self, file: str, item: int, content: Mapping[str, str]) -> tuple[int, ...] | None:
        """The one or two facts that an item rests on, or None if there is a problem with it."""
        words = re.findall(r"<[^>]*>", content.get("target_text", ""))
        prompt = re.findall(r"<[^>]*>", content.get("input_text", ""))
        if unknown := [word for word in words if word not in self.tokens and word not in SPECIAL_TOKENS]:
            self.problems.add(file, item, f"unknown token {unknown[0]!r}; tokens are those of vocab.json")
            return None
        if len(prompt) not in (2, 3) or words[:-2] != prompt or words[-1] != "</a>":
            self.problems.add(
                file, item, f"expected input_text h r [r] and target_text input + t + </a>, got {dict(content)}"
            )
            return None
        numbers = [self.tokens.get(word, -1) for word in words[:-1]]
        state, found = numbers[0], []
        for relation in (number - self.graph.n_entities for number in numbers[1:-1]):
            in_range = 0 <= state < self.graph.n_entities and 0 <= relation < self.graph.n_relations
            fact = int(self.graph.fact_of[state, relation]) if in_range else -1
            if fact < 0:
                break
            found.append(fact)
            state = int(self.graph.tails[fact])
        if len(found) < len(prompt) - 1 or state != numbers[-1]:
            self.problems.add(file, item, f"no chain of facts leads from {content['input_text']} to {words[-2]}")
            return None
        return tuple(found)


def _read_tests(items: Sequence[Mapping[str, str]], reader: _ItemReader, problems: _Problems) -> dict[str, Compositions]:
    """The compositions of the published test splits; the other types are samples of what is trained."""
    for number, item in enumerate(items):
        if item.get("type") not in _TYPES:
            problems.add("test.json", number, f"unknown type {item.get('type')!r}; types are {', '.join(_TYPES)}")
    problems.raise_if_any()
    reader.read("test.json", items)
    problems.raise_if_any()
    return {
        split: reader.read("test.json", [item for item in items if item["type"] == split])[1] for split in _PUBLISHED_TESTS
    }


def _check_training(
    trained: tuple[list[int], Compositions],
    tests: Mapping[str, Compositions],
    graph: KnowledgeGraph,
    is_ood: Bool[np.ndarray, " fact"],
    problems: _Problems,
) -> None:
    """Every fact is trained by itself, and neither a test query nor any OOD+OOD composition is trained."""
    facts, hops = trained
    if n_ood := int(is_ood[hops].all(axis=1).sum()):
        problems.messages.append(f"train.json: holds {n_ood} OOD+OOD compositions, which no regime trains")
    if untrained := sorted(set(range(len(graph))) - set(facts)):
        first = "".join(_fact_tokens(*graph.triples[untrained[0]]))
        problems.messages.append(f"train.json: {len(untrained)} facts are not trained by themselves, the first is {first}")
    known = set(map(tuple, hops.tolist()))
    for split, rows in tests.items():
        if leaked := sum(tuple(row) in known for row in rows.tolist()):
            problems.messages.append(f"train.json: holds {leaked} of the {len(rows)} queries of {split}")


def _items(queries: Queries, names: list[str]) -> list[dict[str, str]]:
    """The queries as items of the published schema, with the names of the tokens."""
    prompts = ["".join(names[token] for token in row) for row in queries.tokens.tolist()]
    return [
        {"input_text": prompt, "target_text": f"{prompt}{names[answer]}</a>"}
        for prompt, answer in zip(prompts, queries.answers.tolist(), strict=True)
    ]


def _fact_tokens(head: int, relation: int, tail: int) -> list[str]:
    return [f"<e_{head}>", f"<r_{relation}>", f"<e_{tail}>"]


def _sample(items: list[dict[str, str]], most: int, rng: np.random.Generator) -> list[dict[str, str]]:
    """At most `most` of the items, without replacement."""
    return [items[i] for i in rng.permutation(len(items))[:most]]
