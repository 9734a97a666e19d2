"""What is no comparison task is refused with all that is wrong, wherever it comes from; what is saved is read back."""

import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from grokscope.tasks import ComparisonTask
from grokscope.tasks.questions.comparison_validity import ComparisonParts, comparison_problems
from grokscope.tasks.questions.kinds import read_task

TASK = ComparisonTask.random(n_entities=12, n_attributes=2, n_levels=3, ood_fraction=0.25, seed=0)
HIDDEN = ComparisonTask.reasoning(n_entities=20, n_attributes=2, n_levels=4, ood_fraction=0.3, phi=1, n_compared=3, seed=0)


def parts(task: ComparisonTask, **changes: Any) -> ComparisonParts:
    return ComparisonParts(**{each.name: getattr(task, each.name) for each in fields(task)} | changes)


@pytest.mark.parametrize("task", [TASK, HIDDEN], ids=["comparison", "reasoning"])
def test_what_is_saved_is_read_back(task: ComparisonTask) -> None:
    arrays, settings = task.to_arrays(), task.settings
    assert {str(array.dtype) for array in arrays.values()} == {"int16", "uint8"}
    again = read_task("comparison", arrays, settings)
    assert again == task and again.key == task.key and again.settings == settings
    assert {str(getattr(again, name).dtype) for name in ("values", "trained")} == {"int64"}
    assert set(settings) == {"n_levels", "seed", "regime"}


def test_what_is_right_has_no_problems() -> None:
    assert comparison_problems(parts(TASK)) == comparison_problems(parts(HIDDEN)) == []


def _first_test(task: ComparisonTask, pair: Any) -> dict[str, np.ndarray]:
    return {**task.tests, "test_compared_ood": np.array([pair])}


OOD = np.flatnonzero(TASK.is_ood)
ID = np.flatnonzero(~TASK.is_ood)
BREAKS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "levels": (lambda: {"n_levels": 1}, "settings: n_levels is 1, needed is a whole number, at least 2"),
    "seed": (lambda: {"seed": -1}, "settings: seed is -1"),
    "regime": (lambda: {"regime": "hidden"}, "settings: regime must be one of 'comparison', 'reasoning', got 'hidden'"),
    "values": (lambda: {"values": TASK.values + 1}, "values: must lie between 0 and 2, got int64 from 1 to 3 of shape"),
    "no values": (lambda: {"values": TASK.values[0]}, "values: needed are whole numbers, attribute by entity, got int64"),
    "fractions": (lambda: {"values": TASK.values / 2}, "values: needed are whole numbers, .* got float64"),
    "flags": (lambda: {"is_ood": TASK.is_ood[:1]}, r"is_ood: needed are truth values of shape \(2, 12\), got bool of shape"),
    "numbers": (lambda: {"is_ood": TASK.values}, "is_ood: needed are truth values of shape .*, got int64"),
    "rows": (
        lambda: {"trained": TASK.trained[:, :1]},
        "trained: needed are rows of two fact numbers, got int64 .* of shape",
    ),
    "none": (lambda: {"trained": None}, "trained: needed are rows of two fact numbers, got None"),
    "outside": (lambda: {"trained": np.array([[0, 1], [1, 24]])}, r"trained: fact numbers must .* 23 \(1 rows, .* is 1\)"),
    "attributes": (lambda: {"trained": np.array([[ID[0], ID[-1]]])}, "trained: facts of two attributes"),
    "itself": (lambda: {"trained": np.array([[ID[0], ID[0]]])}, "trained: a fact with itself"),
    "twice": (
        lambda: {"trained": TASK.trained[[0, 1, 0]]},
        r"trained: comparisons that are there twice \(1 rows, .* is 2\)",
    ),
    "OOD": (lambda: {"trained": OOD[None, :2]}, "trained: comparisons of OOD facts, which are trained only in the regime"),
    "hidden": (
        lambda: {"trained": OOD[None, :2], "regime": "reasoning"},
        "trained: comparisons of two OOD facts, which are never trained",
    ),
    "leak": (
        lambda: {"trained": np.concatenate([TASK.trained, TASK.tests["test_compared_iid"][:1]])},
        "test_compared_iid: comparisons that are trained, or whose mirror image is",
    ),
    "mirror image": (
        lambda: {"trained": np.concatenate([TASK.trained, TASK.tests["test_compared_iid"][:1, ::-1]])},
        "test_compared_iid: comparisons that are trained, or whose mirror image is",
    ),
    "status": (lambda: {"tests": _first_test(TASK, ID[:2])}, "test_compared_ood: facts that are not OOD and OOD"),
    "no tests": (lambda: {"tests": 3}, "tests: needed are comparisons by split, got 3"),
    "few tests": (
        lambda: {"tests": {"test_compared_iid": TASK.trained[:0]}},
        "tests: lacks test_compared_ood, test_compared_ood_id, test_compared_id_ood",
    ),
    "more tests": (lambda: {"tests": {**TASK.tests, "<script>": TASK.trained[:0]}}, "tests: names <script>, which no task"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_break_is_named(name: str) -> None:
    change, message = BREAKS[name]
    found = "; ".join(map(str, comparison_problems(parts(TASK, **change()))))
    assert re.search(message, found), found


def test_of_two_breaks_both_are_named() -> None:
    arrays = TASK.to_arrays() | {"trained": np.array([[0, 0], [3, 99]]), "nonsense": np.zeros(2)}
    arrays.pop("test_compared_ood")
    with pytest.raises(ValueError, match="this is no comparison task") as caught:
        ComparisonTask.from_arrays(arrays, {"n_levels": 3, "seed": True})
    for text in (
        "lacks test_compared_ood",
        "names nonsense",
        "lacks regime",
        "seed is True",
        "regime must be",
        "trained: fact",
    ):
        assert text in str(caught.value)


@pytest.mark.parametrize("name", TASK.to_arrays())
@pytest.mark.parametrize(
    "damage",
    [
        lambda array: array[:0],
        lambda array: array.astype(np.float64),
        lambda array: array[..., None],
        lambda array: np.full_like(array, 99),
        lambda array: np.zeros((2, 0), dtype=array.dtype),
        lambda array: array.astype(np.uint64) + np.uint64(2**63),
        lambda array: np.array(["x"]),
    ],
)
def test_damaged_arrays_are_refused_by_name_or_another_task(name: str, damage: Callable[[np.ndarray], Any]) -> None:
    arrays = TASK.to_arrays() | {name: damage(TASK.to_arrays()[name])}
    try:
        again = ComparisonTask.from_arrays(arrays, TASK.settings)
    except ValueError as error:
        assert str(error).startswith("this is no comparison task: ") and name in str(error)
    else:
        assert again.key != TASK.key and not len(arrays[name])


def test_any_change_of_one_number_is_refused_or_another_task() -> None:
    rng = np.random.default_rng(0)
    for name, array in TASK.to_arrays().items():
        for _ in range(10):
            changed, place = array.copy(), rng.integers(array.size)
            changed.flat[place] = (changed.flat[place] + rng.integers(1, 5)) % (2 if name == "is_ood" else 24)
            if (changed == array).all():
                continue
            try:
                assert ComparisonTask.from_arrays(TASK.to_arrays() | {name: changed}, TASK.settings).key != TASK.key
            except ValueError as error:
                assert "this is no comparison task: " in str(error)


def test_small_dtypes_are_widened() -> None:
    values = TASK.values.astype(np.int8)
    task = replace(TASK, values=values, trained=TASK.trained.astype(np.int16))
    assert task == TASK and task.split("train_compared") == TASK.split("train_compared")
