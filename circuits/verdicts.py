"""*Different*, *same* or *undecided*: what distances of circuits say, and what they do not.

*Different* needs a distance whose interval lies above those of the yardsticks, as far as there are any: two halves of one
circuit, replicates, and the margin with the noise, which adds to any distance. It rests on the aligned distance, since a
difference that other places of heads or loops remove is one of names. *Same* is an equivalence test: it needs replicates and
a margin named before anything was compared, all intervals within that margin, and none beyond twice what replicates are
apart. It rests on the distance as it is. So each word rests on what makes it harder to say. Circuits with the same effects,
to the last digit, and the same kept edges are the same. Everything else is undecided.

Distances are between the effects of all edges, kept or not. So circuits of one model that are cut in two ways are 0 apart:
they are undecided, and the reason says how many edges stay.

Intervals are over the units of the questions: the word is about these trainings and questions like these. What holds for
other trainings takes several graphs, see `analyses.equivalence`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .conditions import Couple, compared_conditions, replicates_of
from .units import fixed

SAME, DIFFERENT, UNDECIDED = "same", "different", "undecided"
MAX_RATIO = 2.0
DISTANCE, ALIGNED = "jensen_shannon", "aligned jensen_shannon"
COUNTS = ("shared", "lost", "gained")
NEEDED = (DISTANCE, ALIGNED, *COUNTS)
NO_EFFECT, CUT = "a circuit has no effect other than zero", "same effects, cut differently"


@dataclass(frozen=True)
class Distance:
    """How far apart two circuits are.

    Attributes:
        value, low, high: Jensen–Shannon, with its interval.
        aligned, aligned_low, aligned_high: the same after the best alignment.
        halves, halves_bound: two halves of one circuit, mean and the 2.5 % furthest apart.
        chance, chance_bound: shuffled circuits, mean and the 5 % most alike.
        n, n_units: queries and their units.
    """

    value: float
    low: float
    high: float
    aligned: float
    aligned_low: float
    aligned_high: float
    halves: float
    halves_bound: float
    chance: float
    chance_bound: float
    n: int
    n_units: int


@dataclass(frozen=True)
class Verdict:
    """What is said of two conditions.

    Attributes:
        conditions: the two.
        word: `same`, `different` or `undecided`.
        reason: of what is undecided, and on what *same* rests; else empty.
        across: the distances of a training of the one and a training of the other.
        within: those of replicates.
        counts: kept edges of the first couple that are `shared`, `lost` and `gained`.
    """

    conditions: Couple
    word: str
    reason: str
    across: tuple[Distance, ...]
    within: tuple[Distance, ...]
    counts: Mapping[str, int]


def verdicts(table: pd.DataFrame, differences: pd.DataFrame, labels: Sequence[str], margin: float | None) -> list[Verdict]:
    """Of each two conditions.

    Args:
        table: of a comparison.
        differences: of a comparison.
        labels: of a comparison.
        margin: the largest distance that counts as none; None if none was named.
    """
    rows = {(row["a"], row["b"], row["measure"]): row for row in table.to_dict("records")}
    changed = {pair: bool((group["difference"] != 0).any()) for pair, group in differences.groupby(["a", "b"], sort=False)}
    found = []
    for conditions, couples in compared_conditions(labels).items():
        if any((*couple, measure) not in rows for couple in couples for measure in NEEDED):
            continue  # an older file, or a table that was cut
        across = [_distance(rows, couple) for couple in couples]
        within = [_distance(rows, couple) for couple in replicates_of(labels, conditions)]
        are_equal = not any(changed.get(couple, True) for couple in couples)
        cuts = [{name: int(rows[*couple, name]["value"]) for name in COUNTS} for couple in couples]
        if any(math.isnan(each.value) for each in across):
            word, reason = UNDECIDED, NO_EFFECT
        else:
            word, reason = _of_equal(cuts) if are_equal else _decided(across, within, margin)
        found.append(Verdict(conditions, word, reason, tuple(across), tuple(within), cuts[0]))
    return found


def _distance(rows: Mapping[tuple[str, str, str], Mapping[Any, Any]], couple: Couple) -> Distance:
    plain, moved = (rows[*couple, measure] for measure in (DISTANCE, ALIGNED))
    numbers = {name: float(plain[name]) for name in ("value", "low", "high", "chance", "chance_bound")}
    aligned = {"aligned": "value", "aligned_low": "low", "aligned_high": "high"}
    numbers |= {name: float(moved[column]) for name, column in aligned.items()}
    halves = {"halves": "ceiling", "halves_bound": "ceiling_bound"}
    numbers |= {name: float(plain.get(column, math.nan)) for name, column in halves.items()}
    return Distance(**numbers, n=int(plain["n"]), n_units=int(plain["n_units"]))


def _of_equal(cuts: Sequence[Mapping[str, int]]) -> tuple[str, str]:
    """The word where all effects are equal: the same without a test if the same edges are kept, too."""
    if cut := next((cut for cut in cuts if cut["lost"] or cut["gained"]), None):
        stay = f"{cut['shared']} {'edge stays' if cut['shared'] == 1 else 'edges stay'}"
        return UNDECIDED, f"{CUT}: {stay}, {cut['lost']} lost, {cut['gained']} gained"
    return SAME, "all effects are equal to the last digit, and the same edges are kept"


def _decided(across: Sequence[Distance], within: Sequence[Distance], margin: float | None) -> tuple[str, str]:
    """The word, and why."""
    if any(math.isnan(each.low + each.halves_bound) for each in across):
        return UNDECIDED, "without intervals no distance can be told from noise"
    least, halves = min(each.aligned_low for each in across), max(each.halves_bound for each in across)
    replicates = _most(each.aligned_high for each in within)
    if least > max(math.hypot(margin or 0.0, halves), replicates):  # noise adds to a distance as in a right triangle
        return DIFFERENT, ""
    if margin is None:
        return UNDECIDED, _why_not_different(least, halves, replicates, bool(within))
    return _within_margin(across, within, margin)


def _why_not_different(least: float, halves: float, replicates: float, has_replicates: bool) -> str:
    if has_replicates and halves < least <= replicates:
        return "further apart than two halves of one circuit, but not than replicates"
    needed = "a margin" if has_replicates else "replicates and a margin"
    return f"perhaps no further apart than two halves of one circuit; “same” needs {needed}"


def _within_margin(across: Sequence[Distance], within: Sequence[Distance], margin: float) -> tuple[str, str]:
    """The word where a margin was named, and the lower bound is not above all yardsticks."""
    furthest = max(each.high for each in across)
    if not within:
        where = "within the margin" if furthest <= margin else "not surely within the margin"
        return UNDECIDED, f"{where}, and there are no replicates"
    if (apart := _most(each.high for each in within)) > margin:
        return UNDECIDED, f"replicates disagree, by up to {fixed(apart, 3)}"
    if furthest > margin:
        return UNDECIDED, "not surely within the margin"
    if furthest > MAX_RATIO * max(mean(each.value for each in within), mean(each.halves for each in across)):
        return UNDECIDED, f"within the margin, but perhaps beyond {MAX_RATIO:g} times what replicates, or halves, are apart"
    return SAME, f"within the margin {margin:g}, and within {MAX_RATIO:g} times what replicates, or halves, are apart"


def mean(numbers: Iterable[float]) -> float:
    """Of numbers; NaN of none."""
    found = list(numbers)
    return sum(found) / len(found) if found else math.nan


def _most(numbers: Iterable[float]) -> float:
    """The largest, 0 of none; what has no number may be anything."""
    return max((math.inf if math.isnan(number) else number for number in numbers), default=0.0)
