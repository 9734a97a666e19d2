"""What makes numbers and arrays a comparison task, and how they are saved: the one place where that is decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...circuits.arguments import choice_problems, seed_problems, whole_problems
from .balancing import Comparisons, codes_of
from .comparison_draws import COMPARED_TESTS
from .saved_task import name_problems, truth, wide
from .task import Settings
from .task_validity import Problem, shown

REGIMES = ("comparison", "reasoning")
STATUS_OF: Mapping[str, tuple[bool, bool]] = {
    "test_compared_iid": (False, False),
    "test_compared_ood": (True, True),
    "test_compared_ood_id": (True, False),
    "test_compared_id_ood": (False, True),
}
"""Whether the first and the second fact of a test's comparisons are OOD."""
NUMBERS = ("values", "trained", *COMPARED_TESTS)
SETTINGS = ("n_levels", "seed", "regime")


@dataclass(frozen=True, eq=False)
class ComparisonParts:
    """What a comparison task is made of, checked or not; the meanings are those of `ComparisonTask`."""

    values: Any
    n_levels: Any
    is_ood: Any
    trained: Any
    tests: Any
    seed: Any
    regime: Any


def refuse_comparisons(parts: ComparisonParts, others: list[Problem] | None = None) -> None:
    """Raise if these are no comparison task.

    Raises:
        ValueError: with all that is wrong.
    """
    if problems := (others or []) + comparison_problems(parts):
        raise ValueError("this is no comparison task: " + "; ".join(map(str, problems)))


def comparison_problems(parts: ComparisonParts) -> list[Problem]:
    """All that is wrong with a comparison task."""
    problems = [Problem("settings", text) for text in whole_problems(2, n_levels=parts.n_levels)]
    problems += [Problem("settings", text) for text in seed_problems(parts.seed)]
    problems += [Problem("settings", text) for text in choice_problems(regime=(parts.regime, REGIMES))]
    problems += _table_problems(parts, has_levels=not problems or not any("n_levels" in each.says for each in problems))
    if not isinstance(parts.tests, Mapping):
        return [*problems, Problem("tests", f"needed are comparisons by split, got {shown(parts.tests)}")]
    problems += name_problems("tests", parts.tests, known=COMPARED_TESTS, needed=COMPARED_TESTS)
    if not _is_table(parts.values):
        return problems
    given = {"trained": parts.trained} | {name: parts.tests[name] for name in COMPARED_TESTS if name in parts.tests}
    return problems + _comparisons_problems(parts, given)


def _is_table(values: Any) -> bool:
    return (
        isinstance(values, np.ndarray) and np.issubdtype(values.dtype, np.integer) and values.ndim == 2 and values.size > 0
    )


def _are_flags(is_ood: Any, values: Any) -> bool:
    return isinstance(is_ood, np.ndarray) and is_ood.dtype == np.bool_ and is_ood.shape == np.shape(values)


def _table_problems(parts: ComparisonParts, *, has_levels: bool) -> list[Problem]:
    """What is wrong with values, and with which of them are OOD."""
    values, is_ood, problems = parts.values, parts.is_ood, []
    if not _is_table(values):
        problems.append(Problem("values", f"needed are whole numbers, attribute by entity, got {shown(values)}"))
    elif has_levels and not 0 <= values.min() <= values.max() < parts.n_levels:
        problems.append(Problem("values", f"must lie between 0 and {parts.n_levels - 1}, got {shown(values)}"))
    if not _are_flags(is_ood, values):
        shape = f" of shape {np.shape(values)}" if _is_table(values) else ""
        problems.append(Problem("is_ood", f"needed are truth values{shape}, got {shown(is_ood)}"))
    return problems


def _comparisons_problems(parts: ComparisonParts, given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with comparisons of facts that are there."""
    problems, usable = [], {}
    for name, pairs in given.items():
        if not (isinstance(pairs, np.ndarray) and np.issubdtype(pairs.dtype, np.integer) and pairs.shape[1:] == (2,)):
            problems.append(Problem(name, f"needed are rows of two fact numbers, got {shown(pairs)}"))
        elif (outside := ((pairs < 0) | (pairs >= parts.values.size)).any(1)).any():
            says = f"fact numbers must lie between 0 and {parts.values.size - 1}"
            problems.append(Problem(name, says, np.flatnonzero(outside)))
        else:
            usable[name] = pairs.astype(np.int64, copy=False)
    is_ood = parts.is_ood.ravel() if _are_flags(parts.is_ood, parts.values) else None
    trained = codes_of(usable.get("trained", np.zeros((0, 2), dtype=np.int64)), parts.values.size)
    for name, pairs in usable.items():
        wrong = _wrong_rows(name, pairs, parts.values.shape[1], parts.regime, is_ood)
        if name != "trained":
            leaked = np.isin(codes_of(pairs, parts.values.size), trained)
            wrong.append(("comparisons that are trained, or whose mirror image is", leaked))
        problems += [Problem(name, says, np.flatnonzero(rows)) for says, rows in wrong if rows.any()]
    return problems


def _wrong_rows(
    name: str, pairs: Comparisons, n_entities: int, regime: Any, is_ood: Bool[np.ndarray, " fact"] | None
) -> list[tuple[str, Bool[np.ndarray, " row"]]]:
    """What can be wrong with comparisons by themselves, and where it is."""
    first, second = pairs.T
    found = [
        ("facts of two attributes", first // n_entities != second // n_entities),
        ("a fact with itself", first == second),
    ]
    found.append(("comparisons that are there twice", _repeated(pairs)))
    if is_ood is None:
        return found
    status = is_ood[pairs]
    if name in STATUS_OF:
        words = " and ".join("OOD" if each else "ID" for each in STATUS_OF[name])
        found.append((f"facts that are not {words}", (status != STATUS_OF[name]).any(1)))
    elif regime == "reasoning":
        found.append(("comparisons of two OOD facts, which are never trained", status.all(1)))
    else:
        found.append(("comparisons of OOD facts, which are trained only in the regime 'reasoning'", status.any(1)))
    return found


def _repeated(pairs: Comparisons) -> Bool[np.ndarray, " row"]:
    """Which comparisons occurred in an earlier row."""
    repeated = np.ones(len(pairs), dtype=bool)
    repeated[np.unique(pairs, axis=0, return_index=True)[1]] = False
    return repeated


def arrays_of(parts: ComparisonParts) -> dict[str, np.ndarray]:
    """Values and comparisons, in 16-bit integers if they fit."""
    dtype = np.int16 if max(parts.values.size, parts.n_levels) <= np.iinfo(np.int16).max else np.int32
    arrays = {"values": parts.values, "trained": parts.trained, **parts.tests}
    numbers = {name: np.ascontiguousarray(arrays[name].astype(dtype)) for name in NUMBERS}
    return numbers | {"is_ood": parts.is_ood.astype(np.uint8)}


def settings_of(parts: ComparisonParts) -> Settings:
    """What a saved run says of the task next to its arrays."""
    return {name: getattr(parts, name) for name in SETTINGS}


def parts_from(arrays: Mapping[str, np.ndarray], settings: Settings) -> ComparisonParts:
    """A task's parts, checked.

    Raises:
        ValueError: with all that keeps them from being a task.
    """
    numbers = {name: wide(arrays.get(name)) for name in NUMBERS}
    tests = {name: numbers.pop(name) for name in COMPARED_TESTS if name in arrays}
    said = {name: settings.get(name) for name in SETTINGS}
    parts = ComparisonParts(
        values=numbers["values"], trained=numbers["trained"], is_ood=truth(arrays.get("is_ood")), tests=tests, **said
    )
    problems = name_problems("arrays", arrays, known=(*NUMBERS, "is_ood"), needed=(*NUMBERS, "is_ood"))
    problems += name_problems("settings", settings, known=SETTINGS, needed=SETTINGS)
    refuse_comparisons(parts, problems)
    return parts
