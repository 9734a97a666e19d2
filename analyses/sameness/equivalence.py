"""Whether two conditions take the same path: close in the measure's unit, and no further apart than trainings of one are.

The unit is the graph with its trainings. On each, the distance between the conditions is the mean over all pairs of a
training of the one and a training of the other; the replicate distance is the mean over pairs of trainings of one condition.
Both margins are named beforehand: the largest distance that still counts as none, in the measure's unit, and the largest
ratio of the two. *Same* needs an upper bound of the distance within the margin, of the ratio within its margin, and no graph
beyond one and a half margins; *different* needs a lower bound of the distance above the margin and of the ratio above 1 (two
one-sided tests, Schuirmann 1987). So one odd graph among many keeps two conditions from being *same*. Where the distance of
replicates is not surely within the margin, or any two are one and a half margins apart, nothing is decided: the measure does
not repeat itself. Distances and ratios are bounded on the log scale, see `bounds.distance_bounds`. How many graphs a verdict
takes, `power.graphs_needed` says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd

from ...circuits import Circuit, Result
from ...circuits.arguments import names_problems, number_problems, refuse
from ...circuits.columns import Columns
from ...circuits.conditions import condition_of
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ...circuits.verdicts import DIFFERENT, MAX_RATIO, SAME, UNDECIDED
from ..bounds import ALPHA, MIN_GRAPHS, Bounds, distance_bounds
from .circuit_distances import alone, circuits_by_graph, conditions_of, jensen_shannon_by_couple, lacking_circuits

ODD = 1.5  # margins: a single graph, or couple of replicates, that is further apart is no noise around the margin
RESOLUTION = 1e-3  # by how much an exact rewrite of a model may move a distance

NOTHING = Bounds(float("nan"), float("nan"), float("nan"))

Distances = Mapping[tuple[str, str], float]
"""The distance of each pair of trainings on one graph, by their conditions; a replicate's is called `taught again`."""


@dataclass(frozen=True, eq=False)
class EquivalenceResult(Result):
    """Whether two conditions are the same by one measure.

    Attributes:
        table: a row for each graph with distance, replicate_distance, their ratio, furthest_replicates: the largest distance
            of two replicates, and pairs: between how many pairs of trainings the distance was taken.
        verdict: `same`, `different` or `undecided`.
        reason: why it is undecided, else empty.
        value, low, high: the typical distance with one-sided 95 % bounds over graphs.
        replicates, replicates_high: the typical distance of replicates and its upper bound.
        ratio, ratio_low, ratio_high: of distance and replicate distance.
        strict_low, strict_ratio_low: the lower bounds at `alpha`, on which *different* rests.
        margin, max_ratio: named beforehand.
        alpha: .05, divided by the number of rows that could contradict the same claim.
        conditions: the two.
    """

    table: Annotated[pd.DataFrame, Columns(numbers="distance replicate_distance ratio furthest_replicates", whole="pairs")]
    verdict: str
    reason: str
    value: float
    low: float
    high: float
    replicates: float
    replicates_high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    strict_low: float
    strict_ratio_low: float
    margin: float
    max_ratio: float
    alpha: float
    conditions: tuple[str, str]

    @property
    def caption(self) -> str:
        """The conditions, the verdict and its numbers in one line."""
        return f"{' / '.join(self.conditions)}: {self.finding}"

    @property
    def finding(self) -> str:
        """The caption without the conditions."""
        if np.isnan(self.value):
            return self._word
        return (
            f"{self._word}; distance {_shown(self.value, self.low, self.high)}, margin {self.margin:g}; replicates "
            f"{fixed(self.replicates, 3)}, ratio {_shown(self.ratio, self.ratio_low, self.ratio_high)}, margin "
            f"{self.max_ratio:g}; one-sided 95 % bounds, n = {len(self.table)} graphs"
        )

    @property
    def _word(self) -> str:
        """The verdict, and why it is none."""
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict

    def explain(self) -> Explanation:
        """How far apart the conditions are, next to both margins."""
        graphs = counted(len(self.table), "graph")
        means, sure = f"{_sentence(self._word)}.", f"No bounds are held; n = {graphs}."
        if not np.isnan(self.value):
            means += (
                f" The typical distance is {fixed(self.value, 3)} (0: no difference; up to {self.margin:g} counts as none), "
                f"that of replicates is {fixed(self.replicates, 3)}, the typical ratio of both {fixed(self.ratio, 2)}."
            )
            sure = (
                f"One-sided 95 % bounds over {graphs} are {interval(self.low, self.high)} for the distance and "
                f"{interval(self.ratio_low, self.ratio_high, 2)} for the ratio."
            )
        return Explanation(
            measured="The distance between trainings of two conditions, the mean over the pairs of a graph, and the same "
            "of replicates, which are two trainings of one condition.",
            on=f"{' and '.join(self.conditions)}: {graphs}, with {self._pairs} of trainings on each.",
            means=means,
            sure=sure,
            would_change=self._needed,
        )

    @property
    def _pairs(self) -> str:
        """How many pairs of trainings a graph has."""
        n = self.table["pairs"].dropna()
        least, most = (int(n.min()), int(n.max())) if len(n) else (0, 0)
        return counted(most, "pair") if least == most else f"{least} to {most} pairs"

    @property
    def _needed(self) -> str:
        """What another verdict takes, next to what was found."""
        if np.isnan(self.value):
            return f"Bounds over graphs, of which {MIN_GRAPHS} are needed at least."
        if self.verdict == DIFFERENT:
            found = f"{fixed(self.strict_low, 3)} and {fixed(self.strict_ratio_low, 2)} at α = {self.alpha:.2g}"
            return f"A lower bound of the distance up to {self.margin:g}, or of the ratio up to 1; they are {found}."
        limits = f"above {self.margin:g}, or of the ratio above {self.max_ratio:g}"
        if self.verdict == SAME:
            found = f"{fixed(self.high, 3)} and {fixed(self.ratio_high, 2)}"
            return f"An upper bound of the distance {limits}, or a graph beyond {ODD:g} margins; the bounds are {found}."
        return (
            f"Same takes upper bounds up to {self.margin:g} and, of the ratio, {self.max_ratio:g}; different takes lower "
            f"bounds above {self.margin:g} and 1. Either takes replicates that agree, within {ODD:g} margins."
        )


def equivalence(
    distances: Mapping[Any, Distances | Mapping[str, Circuit]] | Mapping[str, Circuit],
    conditions: tuple[str, str] | None = None,
    *,
    margin: float | None = None,
    max_ratio: float = MAX_RATIO,
    resolution: float = RESOLUTION,
    alpha: float = ALPHA,
) -> EquivalenceResult:
    """Decide from trainings on several graphs.

    Args:
        distances: by graph; each with a distance of two trainings of one condition, and with those of all pairs of a
            training of the one and a training of the other that are compared at all. Or by graph the circuits of its
            trainings, as `circuits.compare` takes them, by names such as `taught` and `taught again`: their distances are
            Jensen–Shannon's. Circuits of a single graph decide nothing over trainings; it is said what they show by
            themselves.
        conditions: the two that are compared; of circuits of two conditions these.
        margin: the largest distance that counts as none, in the measure's unit; at least twice the resolution. Only circuits
            of a single graph need none.
        max_ratio: the largest ratio of the distance to that of replicates.
        resolution: smaller distances count as this, such as what a few of the questions make that a distance rests on: else
            the ratio of two that are next to nothing would decide.
        alpha: of the test for *different*; *same* is tested at .05.

    Raises:
        ValueError: if a graph lacks a pair, or a setting is none; all problems at once.
    """
    circuits = circuits_by_graph(distances)
    asked: Any = conditions_of(circuits) if circuits and conditions is None else conditions
    problems = number_problems(0, above=True, resolution=resolution)
    least = 0 if problems else 2 * resolution
    if margin is not None or len(circuits) != 1:
        problems += number_problems(least, margin=margin)
    problems += number_problems(1, max_ratio=max_ratio) + number_problems(0, above=True, most=0.5, below=True, alpha=alpha)
    refuse(problems + (lacking_circuits(circuits, asked) if circuits else _lacking(distances, asked)))
    one, other = asked
    counted, ratio, level = float("nan") if margin is None else float(margin), float(max_ratio), float(alpha)
    if len(circuits) == 1:
        row, reason = alone(next(iter(circuits.values())), (one, other), margin)
        return _result(pd.DataFrame([row]), [NOTHING] * 5, UNDECIDED, reason, counted, ratio, level, (one, other))
    measured = {graph: jensen_shannon_by_couple(each) for graph, each in circuits.items()} or distances
    return _over_graphs(measured, resolution, counted, ratio, level, (one, other))


def _over_graphs(
    distances: Mapping[Any, Any],
    resolution: float,
    margin: float,
    max_ratio: float,
    alpha: float,
    conditions: tuple[str, str],
) -> EquivalenceResult:
    """The verdict from distances that lack nothing."""
    table = pd.DataFrame(
        [{"graph": graph, **_of_graph(each, conditions, resolution)} for graph, each in distances.items()],
        columns=pd.Index(["graph", "distance", "replicate_distance", "ratio", "furthest_replicates", "pairs"]),
    )
    if len(table) < MIN_GRAPHS:
        found, reason = [NOTHING] * 5, f"needed are {MIN_GRAPHS} graphs, there are {len(table)}"
        return _result(table, found, UNDECIDED, reason, margin, max_ratio, alpha, conditions)
    columns = ("distance", "replicate_distance", "ratio")
    bounds = [distance_bounds(table[name].to_numpy(float), resolution=resolution) for name in columns]
    strict = [distance_bounds(table[name].to_numpy(float), resolution=resolution, alpha=alpha) for name in columns[::2]]
    verdict, reason = _decided(table, bounds, strict, margin, max_ratio)
    return _result(table, [*bounds, *strict], verdict, reason, margin, max_ratio, alpha, conditions)


def _decided(
    table: pd.DataFrame, bounds: Sequence[Bounds], strict: Sequence[Bounds], margin: float, max_ratio: float
) -> tuple[str, str]:
    """The verdict, and why it is none."""
    distance, replicates, ratio = bounds
    far = ODD * margin
    beyond, furthest = int((table["distance"] > far).sum()), float(table["furthest_replicates"].max())
    if furthest > far or replicates.high > margin:
        return UNDECIDED, f"replicates disagree, by up to {fixed(furthest, 3)}"
    if strict[0].low > margin and strict[1].low > 1:
        return DIFFERENT, ""
    if distance.high <= margin and ratio.high <= max_ratio and not beyond:
        return SAME, ""
    if beyond and distance.value <= margin:
        return UNDECIDED, f"{beyond} of {len(table)} graphs beyond {ODD:g} margins"
    if distance.high <= margin:
        return UNDECIDED, "within the margin, but perhaps further apart than replicates"
    return UNDECIDED, "the bounds include the margin"


def _of_graph(found: Distances, conditions: tuple[str, str], resolution: float) -> dict[str, float]:
    """The mean distances of one graph, and their ratio; two distances below the resolution are alike."""
    between, within = _between(found, conditions), _within(found, conditions)
    distance, replicate = float(np.mean(between)), float(np.mean(within))
    ratio = max(distance, resolution) / max(replicate, resolution)
    apart = {"furthest_replicates": float(np.max(within)), "pairs": len(between)}
    return {"distance": distance, "replicate_distance": replicate, "ratio": ratio, **apart}


def _between(found: Distances, conditions: tuple[str, str]) -> list[float]:
    """All distances of a training of the one condition to one of the other."""
    return [value for pair, value in found.items() if {condition_of(name) for name in pair} == set(conditions)]


def _within(found: Distances, conditions: tuple[str, str]) -> list[float]:
    """The distances of two trainings of one condition."""
    return [
        value
        for (a, b), value in found.items()
        if a != b and condition_of(a) == condition_of(b) and condition_of(a) in conditions
    ]


def _lacking(distances: Mapping[Any, Any], conditions: Any) -> list[str]:
    if names_problems(conditions=conditions) or len(set(conditions)) != 2:
        return [f"conditions are the names of two, got {conditions!r}"]
    a, b = conditions
    problems = [] if distances else ["there is no graph"]
    for graph, found in distances.items():
        problems += [f"conditions {a}, {b}: graph {graph} has {each}" for each in lacking_pairs(found, (a, b))]
        if wrong := {pair: value for pair, value in found.items() if not 0 <= value < np.inf}:
            problems.append(f"graph {graph} has distances that are none: {wrong}")
    return problems


def lacking_pairs(found: Distances, conditions: tuple[str, str]) -> list[str]:
    """Which distances one graph lacks for a test of two conditions, in words; empty if it has all."""
    missing = _missing(found, conditions)
    problems = [f"no distance between {', '.join(missing)}"] if missing else []
    return problems + ([] if _within(found, conditions) else [f"no distance of {' or '.join(conditions)} to its replicate"])


def _missing(found: Distances, conditions: tuple[str, str]) -> list[str]:
    """Pairs without a distance, of a training of each condition that has one to another training of the other."""
    compared = [pair for pair in found if {condition_of(name) for name in pair} == set(conditions)]
    names = dict.fromkeys(name for pair in compared for name in pair)
    left, right = ([name for name in names if condition_of(name) == each] or [each] for each in conditions)
    return [f"{a} and {b}" for a in left for b in right if (a, b) not in found and (b, a) not in found]


def _result(
    table: pd.DataFrame, found: Sequence[Bounds], verdict: str, reason: str, margin: float, max_ratio: float, alpha: float,
    conditions: tuple[str, str],
) -> EquivalenceResult:  # fmt: skip
    distance, replicates, ratio, strict, strict_ratio = found
    return EquivalenceResult(
        table, verdict, reason, *distance, replicates.value, replicates.high, *ratio, strict.low, strict_ratio.low, margin,
        max_ratio, alpha, (conditions[0], conditions[1]),
    )  # fmt: skip


def _sentence(text: str) -> str:
    """With a capital letter, and without a full stop."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".")


def _shown(value: float, low: float, high: float) -> str:
    return f"{fixed(value, 3)} [{fixed(low, 3)}, {fixed(high, 3)}]"
