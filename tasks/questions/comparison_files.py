"""The published file formats of comparison tasks (Wang et al. 2024, code), see `comparison_items` for items.

A folder holds `vocab.json`, `train.json` (all values and the trained comparisons), `valid.json` (the OOD+OOD tests) and
`test.json` (samples of each split). Each item says its type; those of values say so which facts are OOD. A folder that
grokscope wrote also has a `side_file`, with the mixed tests, the seed, and size and checksum of each other file. One without
it is hand-made: mixed tests are drawn for it, always the same.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ...circuits.arguments import LARGEST_SEED
from ...circuits.documents import check_inside, opened, parsed, read_text, validated
from ...circuits.lock import only_writer
from ...circuits.manifest import Entry
from ...circuits.writing import write_atomic
from .balancing import MISSING, labels_of
from .comparison_draws import MIXED_TESTS, Drawn
from .comparison_items import ComparisonItem, ReadItems, Sizes, items_of, read_items
from .comparison_validity import ComparisonParts, comparison_problems
from .files import PROBE_CAP, FolderProblems, read_all, read_content
from .side_file import SIDE_FILE, check_files, write_side

COMPARISON_FILES = ("vocab.json", "train.json", "valid.json", "test.json")
KIND = "comparison data folder"
FORMAT = 1
_TYPE_OF = {"test_compared_iid": "test_inferred_iid", "test_compared_ood": "test_inferred_ood"}
_IN_TRAINING = ("id_atomic", "ood_atomic", "train_inferred")
_VOCABULARY = (TypeAdapter(list[str]), "a list of tokens")
_ITEMS = (TypeAdapter(list[ComparisonItem]), 'a list of {"input_text": …, "target_text": …, "type": …}')
_SCHEMAS: Mapping[str, tuple[TypeAdapter, str]] = {"vocab.json": _VOCABULARY} | dict.fromkeys(COMPARISON_FILES[1:], _ITEMS)
Fact = Annotated[int, Field(ge=0)]


class ComparisonSide(BaseModel):
    """The side file: mixed tests as pairs of fact numbers, attribute · n_entities + entity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    test_compared_ood_id: list[Annotated[list[Fact], Field(min_length=2, max_length=2)]]
    test_compared_id_ood: list[Annotated[list[Fact], Field(min_length=2, max_length=2)]]
    files: dict[str, Entry]


def write_comparisons(folder: Path, parts: ComparisonParts) -> None:
    """Write a task whose facts are all trained as a data folder: the side file, then the published ones, each atomically.

    Raises:
        FolderInUseError: if another process writes it.
    """
    values, is_ood = parts.values, parts.is_ood.ravel()
    facts = np.stack([np.arange(values.size), np.full(values.size, MISSING)], axis=1)
    rows = {"id_atomic": facts[~is_ood], "ood_atomic": facts[is_ood], "train_inferred": parts.trained}
    rows |= {of: parts.tests[name] for name, of in _TYPE_OF.items()}
    items = {of: items_of(values, each, of) for of, each in rows.items()}
    rng = np.random.default_rng([parts.seed, 5])
    probes = {of: [each[i] for i in sorted(rng.permutation(len(each))[:PROBE_CAP])] for of, each in items.items()}
    published = {
        "vocab.json": Sizes(values.shape[1], values.shape[0], parts.n_levels).names,
        "train.json": [item for of in _IN_TRAINING for item in items[of]],
        "valid.json": items["test_inferred_ood"],
        "test.json": [item for of, each in items.items() for item in (probes[of] if of in _IN_TRAINING else each)],
    }
    files = {name: json.dumps(value).encode() for name, value in published.items()}
    side = {"seed": parts.seed} | {name: parts.tests[name].tolist() for name in MIXED_TESTS}
    with only_writer(folder):
        write_side(folder, side, files, kind=KIND, written_format=FORMAT)
        for name, data in files.items():
            write_atomic(folder / name, data)


def read_comparisons(folder: Path) -> ComparisonParts:
    """Read and check a data folder.

    Raises:
        FileNotFoundError: if files are missing; all of them are named.
        DataFolderError: for a file that is no such JSON, an unknown token, a fact without a value or with two, an answer
            that the values do not give, a test question that is trained, and whatever else keeps it from being a task; each
            with file and item, counted from 0. Also if a file is another than was written with the side file.
    """
    return read_all(folder, COMPARISON_FILES, _read)


def _read(folder: Path) -> ComparisonParts:
    for name in (*COMPARISON_FILES, SIDE_FILE):
        check_inside(folder / name, folder)
    side = _side(folder / SIDE_FILE) if os.path.lexists(folder / SIDE_FILE) else None
    data = {name: (folder / name).read_bytes() for name in COMPARISON_FILES}
    if side:
        check_files(side.files, folder / SIDE_FILE, data)
    content = {name: read_content(folder / name, data.pop(name), *_SCHEMAS[name]) for name in COMPARISON_FILES}
    problems = FolderProblems(folder)
    sizes = _sizes(content.pop("vocab.json"), problems)
    read = {name: read_items(items, sizes) for name, items in content.items()}
    for name, each in read.items():
        for item, text in each.problems.items():
            problems.add(name, text, item)
    problems.raise_if_any()
    types = {name: np.array([item["type"] for item in items], dtype=object) for name, items in content.items()}
    return _parts(sizes, read, types, side, problems)


def _side(path: Path) -> ComparisonSide:
    found = opened(parsed(read_text(path), str(path)), str(path), [KIND], known_format=FORMAT)
    return validated(ComparisonSide, found.content, str(path))


def _sizes(tokens: Sequence[str], problems: FolderProblems) -> Sizes:
    """The sizes that `vocab.json` names, in any order."""
    sizes = Sizes.of(tokens)
    known, first = set(sizes.names), {token: item for item, token in reversed(list(enumerate(tokens)))}
    for item, token in enumerate(tokens):
        if token not in known:
            says = "expected <e_0>…, <attr_0>…, <0>…, <attr_0_0>… and the six special ones, without gaps"
            problems.add("vocab.json", f"unexpected token {token!r}; {says}", item)
        elif first[token] != item:
            problems.add("vocab.json", f"the token {token!r} is there twice", item)
    if lacking := [token for token in sizes.names if token not in first]:
        problems.add("vocab.json", f"lacks {', '.join(lacking[:5])}")
    if sizes.n_entities < 2 or not sizes.n_attributes or sizes.n_levels < 2:
        problems.add("vocab.json", "needed are two entities, an attribute and two values at least")
    problems.raise_if_any()
    return sizes


def _parts(
    sizes: Sizes,
    read: Mapping[str, ReadItems],
    types: Mapping[str, np.ndarray],
    side: ComparisonSide | None,
    problems: FolderProblems,
) -> ComparisonParts:
    """The task that the items make, if they make one."""
    values, is_ood = _values(sizes, read["train.json"], types["train.json"], problems)
    problems.raise_if_any()
    for name, each in read.items():
        _check_answers(name, each, values, problems)
        _check_types(name, types[name], each, is_ood, problems)
    rows = {"trained": np.flatnonzero(types["train.json"] == "train_inferred")}
    rows |= {name: np.flatnonzero(types["test.json"] == of) for name, of in _TYPE_OF.items()}
    file_of = {name: "train.json" if name == "trained" else "test.json" for name in rows}
    facts = {name: read[file_of[name]].facts[chosen] for name, chosen in rows.items()}
    seed, mixed = (side.seed, _mixed(side)) if side else (0, Drawn(sizes.n_levels, 0, values, is_ood).mixed_tests())
    trained, tests = facts.pop("trained"), {**facts, **mixed}
    parts = ComparisonParts(values, sizes.n_levels, is_ood, trained, tests, seed, "comparison")
    for problem in comparison_problems(parts):
        items = rows.get(problem.of, problem.rows)[problem.rows]
        where = f" ({len(items):,} items, the first is item {items[0]})" if len(items) else ""
        of = "" if problem.of == "trained" else f"{problem.of}: "
        problems.add(file_of.get(problem.of, SIDE_FILE), f"{of}{problem.says}{where}")
    _check_probes(read["test.json"], types["test.json"], trained, values.size, problems)
    problems.raise_if_any()
    return parts


def _mixed(side: ComparisonSide) -> dict[str, Int[np.ndarray, "_ 2"]]:
    return {name: np.array(getattr(side, name), dtype=np.int64).reshape(-1, 2) for name in MIXED_TESTS}


def _values(
    sizes: Sizes, train: ReadItems, types: np.ndarray, problems: FolderProblems
) -> tuple[Int[np.ndarray, "attribute entity"], np.ndarray]:
    """The value of each fact, and whether it is OOD; every fact is trained by itself, once."""
    atomic = np.flatnonzero(~train.is_compared)
    facts, n_facts = train.facts[atomic, 0], sizes.n_entities * sizes.n_attributes
    counts = np.bincount(facts, minlength=n_facts)
    for wrong, says in ((counts == 0, "are not trained by themselves"), (counts > 1, "are there more than once")):
        if wrong.any():
            attribute, entity = divmod(int(np.flatnonzero(wrong)[0]), sizes.n_entities)
            first = f"the first is <e_{entity}><attr_{attribute}>"
            problems.add("train.json", f"{int(wrong.sum())} facts {says}, {first}")
    values, is_ood = np.zeros(n_facts, dtype=np.int64), np.zeros(n_facts, dtype=bool)
    values[facts], is_ood[facts] = train.said[atomic], types[atomic] == "ood_atomic"
    shape = sizes.n_attributes, sizes.n_entities
    return values.reshape(shape), is_ood.reshape(shape)


def _check_answers(name: str, read: ReadItems, values: Int[np.ndarray, "_ _"], problems: FolderProblems) -> None:
    """Each item says what follows from the values of `train.json`."""
    right = np.where(read.is_compared, labels_of(values, read.facts), values.ravel()[read.facts[:, 0]])
    for item in np.flatnonzero(right != read.said).tolist():
        asks = "compares" if read.is_compared[item] else "says a value"
        problems.add(name, f"{asks} otherwise than the values of train.json do", item)


def _check_types(name: str, types: np.ndarray, read: ReadItems, is_ood: np.ndarray, problems: FolderProblems) -> None:
    """Values are of the type that `train.json` gives them, and a file holds only types that belong there."""
    of_fact = np.where(is_ood.ravel(), "ood_atomic", "id_atomic")[read.facts[:, 0]]
    for item in np.flatnonzero(~read.is_compared & (types != of_fact)).tolist():
        problems.add(name, f"of type {types[item]}, but train.json has its fact as {of_fact[item]}", item)
    belong = {"train.json": _IN_TRAINING, "valid.json": ("test_inferred_ood",)}.get(name)
    for item in np.flatnonzero([belong is not None and each not in belong for each in types]).tolist():
        problems.add(name, f"of type {types[item]}; {name} holds {', '.join(belong or ())}", item)


def _check_probes(
    read: ReadItems, types: np.ndarray, trained: Int[np.ndarray, "_ 2"], n_facts: int, problems: FolderProblems
) -> None:
    """What `test.json` calls trained is trained."""
    codes = np.array([n_facts, 1])
    unknown = (types == "train_inferred") & ~np.isin(read.facts @ codes, trained @ codes)
    for item in np.flatnonzero(unknown).tolist():
        problems.add("test.json", "of type train_inferred, but it is not in train.json", item)
