"""Whether two conditions give the same circuit: no further apart than trainings of one condition are from each other.

The unit is the seed (a graph with its trainings). For each, the distance between the conditions is compared with that
between replicate trainings of one condition on the same graph. The margin is the upper 95 % bound of the latter, or a number
set beforehand; the verdict is *same* if the upper 95 % bound of (distance − replicate distance) is below it, *different*
if the lower bound is above it, else *undecided* (two one-sided tests, Schuirmann 1987).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .alignment import aligned_distances, alignments
from .arguments import flag_problems, number_problems, refuse
from .circuit import Circuit
from .columns import Columns
from .comparable import check_comparable
from .result import Result
from .similarity import jensen_shannon
from .units import fixed

MIN_SEEDS = 3


@dataclass(frozen=True, eq=False)
class EquivalenceResult(Result):
    """Whether two conditions give the same circuit.

    Attributes:
        table: a row for each seed with distance (Jensen–Shannon, between the conditions), replicate_distance (mean over the
            replicated conditions) and difference of the two.
        verdict: `same`, `different` or `undecided`.
        difference: mean of the differences; low, high: its lower and upper 95 % bound (one-sided, Student's t over seeds).
        margin: what the upper bound must stay under for `same`, and the lower one exceed for `different`.
        conditions: their names.
        aligned: whether distances are those after the best alignment of loops and heads.
        reason: why there is no decision, if for want of seeds.
    """

    table: Annotated[pd.DataFrame, Columns(numbers="distance replicate_distance difference", whole="seed")]
    verdict: str
    difference: float
    low: float
    high: float
    margin: float
    conditions: tuple[str, str]
    aligned: bool
    reason: str

    @property
    def caption(self) -> str:
        """The conditions, the verdict and its numbers in one line."""
        a, b = self.conditions
        return f"{a} / {b}: {self.finding}"

    @property
    def finding(self) -> str:
        """The caption without the conditions."""
        if self.reason:
            return f"{self.verdict}, {self.reason}"
        bounds = f"{fixed(self.difference, 3)} [{fixed(self.low, 3)}, {fixed(self.high, 3)}]"
        how = " after alignment" if self.aligned else ""
        return (
            f"{self.verdict}; Jensen–Shannon distance{how} beyond replicates {bounds} (one-sided 95 % bounds), "
            f"margin {self.margin:.3f}, n = {len(self.table)} seeds"
        )


def equivalence(
    circuits: Mapping[Any, Mapping[str, Circuit]],
    replicates: Mapping[Any, Mapping[str, Circuit]],
    conditions: tuple[str, str],
    *,
    margin: float | None = None,
    aligned: bool = False,
) -> EquivalenceResult:
    """Test whether two conditions give the same circuit.

    Args:
        circuits: by seed and condition.
        replicates: by seed and condition, of another training on the same graph, for one of the conditions at least.
        conditions: the two to be compared.
        margin: named beforehand; by default the upper 95 % bound of the replicate distance over seeds.
        aligned: take distances after the best alignment of loops and heads.

    Raises:
        ValueError: if a seed lacks a condition or any replicate; if within a seed circuits were measured on other pairs, or
            across seeds by another recipe.
    """
    problems = flag_problems(aligned=aligned) + ([] if margin is None else number_problems(0, margin=margin))
    if isinstance(conditions, str) or not isinstance(conditions, Sequence) or len(set(map(str, conditions))) != 2:
        problems.append(f"conditions are the names of two, got {conditions!r}")
    refuse(problems)
    a, b = conditions
    lacking = [f"{seed} lacks {name}" for seed, found in circuits.items() for name in conditions if name not in found]
    lacking += [
        f"{seed} has no replicate of {a} or {b}" for seed in circuits if not set(conditions) & set(replicates.get(seed, {}))
    ]
    if lacking or not circuits:
        raise ValueError("; ".join(lacking) or "there is no seed")
    rows = []
    for seed, found in circuits.items():
        again = {name: replicates[seed][name] for name in conditions if name in replicates[seed]}
        everything = {a: found[a], b: found[b]} | {f"{name} again": circuit for name, circuit in again.items()}
        check_comparable(everything, ties=False)
        within = [_distance(found[name], circuit, aligned) for name, circuit in again.items()]
        row = {
            "seed": seed,
            "distance": _distance(found[a], found[b], aligned),
            "replicate_distance": float(np.mean(within)),
        }
        rows.append(row | {"difference": row["distance"] - row["replicate_distance"]})
    check_comparable({f"seed {seed}": found[a] for seed, found in circuits.items()}, across_seeds=True)
    table = pd.DataFrame(rows)
    if len(table) < MIN_SEEDS:
        nothing, reason = float("nan"), f"needed are {MIN_SEEDS} seeds, there are {len(table)}"
        return EquivalenceResult(table, "undecided", nothing, nothing, nothing, nothing, (a, b), aligned, reason)
    margin = one_sided_bounds(table["replicate_distance"].to_numpy())[2] if margin is None else margin
    difference, low, high = one_sided_bounds(table["difference"].to_numpy())
    verdict = "same" if high < margin else "different" if low > margin else "undecided"
    return EquivalenceResult(table, verdict, difference, low, high, margin, (a, b), aligned, "")


def _distance(a: Circuit, b: Circuit, aligned: bool) -> float:
    """The Jensen–Shannon distance of two circuits' |effects|, perhaps after the best alignment of either."""
    one, other = (circuit.table["effect"].to_numpy(dtype=float)[:, None] for circuit in (a, b))
    if not aligned:
        return float(jensen_shannon(one, other)[0])
    moves = alignments(a.graph, a.measured_edges).values()
    return float(np.min([aligned_distances(one, other, alignment) for alignment in moves]))


def one_sided_bounds(values: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """Mean, and its lower and upper one-sided 95 % bound by Student's t over seeds."""
    from scipy.stats import t as student  # not at the top: drawing a circuit should not wait a second for it

    mean, half = float(values.mean()), float(student.ppf(0.95, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half
