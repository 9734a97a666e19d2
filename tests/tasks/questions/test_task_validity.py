"""Whatever breaks a task is named, by the constructor as by the reader of saved arrays, and of two breaks both are."""

import dataclasses
import itertools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokscope.tasks import BOTH_HALF, NATURAL, KnowledgeGraph, TwoHopTask, load_study
from grokscope.tasks.questions.task_validity import TaskParts, task_problems

ROOT = Path(__file__).parents[3] / "examples" / "checkpoints"
TASK = TwoHopTask.random(
    n_entities=15, n_relations=8, out_degree=6, ood_fraction=0.2, test_fraction=0.1, supervision=BOTH_HALF, seed=5
)
PARTS = TASK._parts
HOP1, HOP2 = TASK.graph.compositions.T
OOD_OOD = TASK.graph.compositions[TASK.is_ood[HOP1] & TASK.is_ood[HOP2]]
NO_CHAIN = np.argwhere(TASK.graph.tails[:, None] != TASK.graph.heads[None, :])
EXPOSED = [[row[hop] for row in TASK.added.tolist() if TASK.is_ood[row[hop]]] for hop in (0, 1)]
ID_NO_CHAIN = NO_CHAIN[~TASK.is_ood[NO_CHAIN].any(1)][:2]


def changed(name: str, edit: Callable[[Any], Any]) -> TaskParts:
    """The parts of the task with one of them, or a test split, changed."""
    if name in PARTS.tests:
        return dataclasses.replace(PARTS, tests={**PARTS.tests, name: edit(PARTS.tests[name].copy())})
    value = getattr(PARTS, name)
    return dataclasses.replace(PARTS, **{name: edit(value.copy() if isinstance(value, np.ndarray) else value)})


def put(row: int, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def edit(array: np.ndarray) -> np.ndarray:
        array[row] = value
        return array

    return edit


def more(rows: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: np.concatenate([array, rows])


WRONG: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "head out of range": ("heads", put(-1, 15), "facts: heads must lie between 0 and 14, got 0 to 15"),
    "negative tail": ("tails", put(3, -1), "facts: tails must lie between 0 and 14, got -1 to 14"),
    "relation out of range": ("relations", put(-1, 8), "facts: relations must lie between 0 and 7, got 0 to 8"),
    "second tail": ("relations", lambda array: put(1, array[0])(array), r"facts: 1 \(head, relation\) have two tails"),
    "facts unordered": ("relations", lambda array: put([0, 1], array[[1, 0]])(array), "facts must be sorted by head"),
    "fewer tails": (
        "tails",
        lambda array: array[:-1],
        "of one length: heads are 90, relations are 90, tails are 89",
    ),
    "no whole heads": ("heads", lambda array: array + 0.5, "heads must be whole numbers, .* float64"),
    "no entities": ("n_entities", lambda _: 0, "n_entities is 0, needed is a whole number, at least 1"),
    "too many entities": ("n_entities", lambda _: 10**12, "n_entities × n_relations is 8,000,000,000,000"),
    "true relations": ("n_relations", lambda _: True, "n_relations is True, needed is a whole number"),
    "short is_ood": ("is_ood", lambda array: array[:-1], r"is_ood: needed is whether, for each of 90 facts, .*\(89,\)"),
    "is_ood of numbers": ("is_ood", lambda array: array * 3, "is_ood: needed is whether, .*from 0 to 3"),
    "long is_atomic": ("is_atomic", lambda _: np.ones(91, dtype=bool), r"is_atomic: needed is whether, .*\(91,\)"),
    "flat trained": ("trained", lambda array: array.reshape(-1), r"trained: needed are rows of two fact numbers, got int64"),
    "trained of fractions": ("trained", lambda array: array * 1.0, "trained: needed are rows of two fact .* float64"),
    "unknown fact": ("trained", put(7, (90, 0)), r"trained: fact numbers must .* 0 and 89 \(1 rows, the first is 7\)"),
    "negative fact": ("added", put(2, -1), r"added: fact numbers must .* 0 and 89 \(1 rows, the first is 2\)"),
    "no chains": ("trained", put([4, 9], ID_NO_CHAIN), r"trained: no chains, .*\(2 rows, the first is 4\)"),
    "no chains tested": ("test_inferred_iid", put([0, 1], ID_NO_CHAIN), r"iid: no chains, .*\(2 rows, the first is 0\)"),
    "trained twice": ("trained", lambda array: array[[0, 1, 0, *range(2, len(array))]], r"twice \(1 rows, the first is 2\)"),
    "added twice": ("added", lambda array: array[[0, 1, 1, 0]], r"added: .* twice \(2 rows, the first is 2\)"),
    "tested twice": ("test_inferred_ood", more(OOD_OOD[:1]), r"test_inferred_ood: .* twice \(1 rows"),
    "OOD+OOD trained": ("trained", more(OOD_OOD[:3]), r"trained: OOD\+OOD compositions, which no regime trains \(3 rows"),
    "OOD+OOD added": ("added", more(OOD_OOD[:2]), r"added: OOD\+OOD compositions, which no regime trains \(2 rows"),
    "added to trained": ("trained", more(TASK.added[:1]), r"trained: compositions that are not ID\+ID \(1 rows"),
    "ID+ID added": ("added", more(TASK.tests["test_inferred_iid"][:1]), r"added: .* not OOD\+ID or ID\+OOD \(1 rows"),
    "OOD tested as ID": ("test_inferred_iid", more(OOD_OOD[:1]), r"iid: compositions that are not ID\+ID"),
    "ID tested as OOD": ("test_inferred_ood", more(TASK.trained[:1]), r"_ood: compositions that are not OOD\+OOD"),
    "hops exchanged": ("test_inferred_ood_id", more(TASK.tests["test_inferred_id_ood"]), r"are not OOD\+ID"),
    "hops exchanged too": ("test_inferred_id_ood", more(TASK.tests["test_inferred_ood_id"]), r"are not ID\+OOD"),
    "ID leak": ("test_inferred_iid", more(TASK.trained[:2]), r"test_inferred_iid: queries that are also trained \(2 rows"),
    "OOD leak": ("added", more(TASK.tests["test_inferred_ood_id"][:1]), "ood_id: queries that are also trained"),
    "more facts exposed": (
        "supervision",
        lambda _: dataclasses.replace(BOTH_HALF, hop1_share=0.1),
        f"supervision: hop1_share=0.1 exposes at most 2 OOD facts, in added are {len(set(EXPOSED[0]))}",
    ),
    "more partners": (
        "supervision",
        lambda _: dataclasses.replace(BOTH_HALF, hop2_compositions=3),
        f"hop2_compositions=3 is the most for each OOD fact, in added one has {max(map(EXPOSED[1].count, EXPOSED[1]))}",
    ),
    "natural": ("supervision", lambda _: NATURAL, "supervision: hop1_share=0 exposes at most 0 OOD facts"),
    "seed of fractions": ("seed", lambda _: 1.5, "seed: seed is 1.5, needed is a whole number"),
    "negative seed": ("seed", lambda _: -1, "seed: seed is -1, needed is a whole number"),
    "unknown layout": ("layout", lambda _: "wide", "layout: no layout 'wide'; the layouts are compact, slots"),
}


def from_saved(parts: TaskParts) -> TwoHopTask:
    names = ("heads", "relations", "tails", "is_ood", "trained", "added")
    arrays = {name: getattr(parts, name) for name in names} | dict(parts.tests)
    arrays |= {} if parts.is_atomic is None else {"is_atomic": parts.is_atomic}
    arrays["is_ood"] = arrays["is_ood"].astype(np.uint8)
    settings = {name: getattr(parts, name) for name in ("n_entities", "n_relations", "seed", "layout")}
    return TwoHopTask.from_arrays(arrays, settings | {"supervision": dataclasses.asdict(parts.supervision)})


def constructed(parts: TaskParts) -> TwoHopTask:
    graph = KnowledgeGraph(parts.n_entities, parts.n_relations, parts.heads, parts.relations, parts.tails)
    rest = {each.name: getattr(parts, each.name) for each in dataclasses.fields(TwoHopTask) if each.name != "graph"}
    return TwoHopTask(graph, **rest)


def test_what_is_right_is_taken() -> None:
    assert not task_problems(PARTS)
    assert constructed(PARTS).key == from_saved(PARTS).key == TASK.key


@pytest.mark.parametrize("name", WRONG)
def test_each_break_is_named_wherever_a_task_comes_from(name: str) -> None:
    part, edit, message = WRONG[name]
    with pytest.raises(ValueError, match=f"this is no two-hop task: .*{message}"):
        from_saved(changed(part, edit))
    with pytest.raises((ValueError, TypeError)) as caught:
        constructed(changed(part, edit))
    is_of_types = "jaxtyping" in type(caught.value).__module__  # which only tests check
    assert is_of_types or re.search(message.replace("facts: ", ""), str(caught.value))


def test_of_two_breaks_both_are_named() -> None:
    graph = {"heads", "relations", "tails", "n_entities", "n_relations"}
    ground = {"is_ood", "supervision"}  # what others are judged by
    without_rows = {"flat trained", "trained of fractions", "fewer tails"}
    cases = {name: case for name, case in WRONG.items() if case[0] not in ground and name not in without_rows}
    n = 0
    for (part, edit, message), (other, other_edit, other_message) in itertools.combinations(cases.values(), 2):
        if part == other or {part, other} <= graph or ({part, other} & graph and "no chains" in message + other_message):
            continue
        both, value = changed(part, edit), changed(other, other_edit)
        if other in PARTS.tests:
            both = dataclasses.replace(both, tests={**both.tests, other: value.tests[other]})
        else:
            both = dataclasses.replace(both, **{other: getattr(value, other)})
        text = "; ".join(map(str, task_problems(both)))
        for wanted in (message, other_message):  # how many rows may be more in both
            assert re.search(wanted.split(r" \(")[0], text), (wanted, text)
        n += 1
    assert n > 200


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({"trained": None}, {}, "arrays: lacks trained; .*trained: needed are rows of two fact numbers, got None"),
        ({"test_inferred_iid": None, "is_ood": None}, {}, "lacks test_inferred_iid, is_ood"),
        ({"more": np.zeros(1)}, {"colour": 1}, "arrays: names more, which no task has; settings: names colour"),
        ({}, {"seed": None, "n_entities": "15"}, "n_entities is '15', needed .*seed is None, needed"),
        (
            {},
            {"supervision": {"hop1_share": "1"}},
            "supervision: hop1_share: .* got '1'; .*hop2_share: field required",
        ),
        ({}, {"supervision": [1]}, "supervision: .* valid dictionary .*got"),
        (
            {"heads": PARTS.heads.astype(np.uint64) + 2**63},
            {},
            "facts: heads must lie between 0 and 14, got 9223372036854775808",
        ),
        ({"is_ood": np.full(90, 2, dtype=np.uint8)}, {}, "is_ood: needed is whether, .*uint8 from 2 to 2"),
        ({"trained": np.array(5)}, {}, "trained: needed are rows of two fact numbers"),
    ],
)
def test_what_a_file_lacks_or_has_of_another_type_is_named(arrays: dict, settings: dict, message: str) -> None:
    all_arrays = {name: array for name, array in (TASK.to_arrays() | arrays).items() if array is not None}
    with pytest.raises(ValueError, match=f"this is no two-hop task: .*{message}"):
        TwoHopTask.from_arrays(all_arrays, {**TASK.settings, **settings})


@pytest.mark.parametrize("array", ["heads", "trained", "added", "is_ood", "test_inferred_ood_id"])
def test_any_change_of_one_number_is_refused_or_another_task(array: str) -> None:
    """What is taken is a task in every respect: a literal reading of each rule, in a loop."""
    rng, n_taken = np.random.default_rng(0), 0
    for _ in range(40):
        arrays = {name: values.copy() for name, values in TASK.to_arrays().items()}
        place = tuple(rng.integers(size) for size in arrays[array].shape)
        arrays[array][place] = rng.integers(2 if array == "is_ood" else 90)
        try:
            task = TwoHopTask.from_arrays(arrays, TASK.settings)
        except ValueError as error:
            assert "this is no two-hop task" in str(error)
            continue
        n_taken += 1
        assert is_task(task)
    assert n_taken < 30


def is_task(task: TwoHopTask) -> bool:
    facts, trained = task.graph.triples, list(map(tuple, [*task.trained.tolist(), *task.added.tolist()]))
    status = {"trained": {(False, False)}, "added": {(True, False), (False, True)}, "test_inferred_iid": {(False, False)}}
    status |= {"test_inferred_ood": {(True, True)}, "test_inferred_ood_id": {(True, False)}}
    status |= {"test_inferred_id_ood": {(False, True)}}
    splits = {"trained": task.trained, "added": task.added, **task.tests}
    for name, rows in splits.items():
        hops = list(map(tuple, rows.tolist()))
        if len(set(hops)) < len(hops) or any(facts[a][2] != facts[b][0] for a, b in hops):
            return False
        if not {(bool(task.is_ood[a]), bool(task.is_ood[b])) for a, b in hops} <= status[name]:
            return False
        if name in task.tests and set(hops) & set(trained):
            return False
    return len({fact[:2] for fact in facts}) == len(facts) and sorted(facts) == facts


@pytest.mark.parametrize("study", ["pilot", *(pytest.param(name, marks=pytest.mark.slow) for name in ("study", "transfer"))])
def test_every_shipped_task_is_one(study: str) -> None:
    """Reading one asks the validator."""
    runs = load_study(ROOT / {"transfer": "study/transfer"}.get(study, study)).runs
    assert len(runs) == {"pilot": 5, "study": 51, "transfer": 36}[study]


def test_a_large_task_is_checked_in_a_moment() -> None:
    """150,000 compositions take about 20 ms; sorting by hash would take seconds."""
    task = TwoHopTask.random(n_entities=400, n_relations=60, out_degree=20, supervision=BOTH_HALF)
    assert len(task.trained) > 120_000
    start = time.process_time()
    assert not task_problems(task._parts)
    assert time.process_time() - start < 0.5
