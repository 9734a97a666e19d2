"""Whether a circuit's effects would be found again on other queries of the same kind: halves of its queries compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from ...circuits import Circuit, Result
from ...circuits.arguments import MOST_REPEATS, common_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, counted_units, without_rows
from ...circuits.plain_text import counted
from ...circuits.resampling import Units, n_units, reweighted, units_of_queries
from ...circuits.units import fixed, interval, shown
from ..statistics import AT_ONCE
from .judging import circuit_problems

FEWEST_UNITS = 4  # two for each half
FEWEST_EDGES = 3  # any two effects lie on a line

Effects = Float[np.ndarray, "edge split"]


@dataclass(frozen=True, eq=False)
class ReliabilityResult(Result):
    """How alike the effects of a circuit's edges are in random halves of its queries.

    Attributes:
        table: a row for each quantity, with
            quantity: `correlation` (Pearson's, over all edges, of the effects in one half with those in the other),
            `rank correlation` (Spearman's), `jaccard` (of the strongest edges of each half, as many as the circuit has);
            value: the mean over splits, of correlations after the Spearman–Brown correction, so that it is that of all
            queries with as many others; low, high: its 2.5 and 97.5 % quantiles over splits, which say how much depends on
            the split, not how well the value is known;
            uncorrected: the mean without the correction, that of halves; of `jaccard` the value, for which there is none;
            n: number of queries; n_units: of their units; n_edges: how many edges have an effect with a number;
            n_splits: number of splits.
        model: the model's name.
        pairs: hash of the pairs that the circuit was chosen on.
        reason: why values are NaN; empty if they are not.
        recipe: how those pairs were made.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="quantity", numbers="value low high uncorrected", whole="n n_units n_edges n_splits")
    ]
    model: str
    pairs: str
    reason: str
    recipe: Mapping[str, Any]

    @property
    def correlation(self) -> float:
        """Of the effects, corrected."""
        return float(self.table["value"].iloc[0])

    @property
    def caption(self) -> str:
        """The model and all values in one line."""
        first = self.table.iloc[0]
        values = [f"{row.quantity} {fixed(row.value, 2)} [{fixed(row.low, 2)}, {fixed(row.high, 2)}]" for row in self._rows]
        about = f"{first['n_splits']} splits of {first['n']} queries ({first['n_units']} units), {first['n_edges']} edges"
        return f"{self.model} · split-half {', '.join(values)} · {about}{self.reason and f' · {self.reason}'}"

    def explain(self) -> Explanation:
        """How alike the effects are in halves of the queries."""
        if self.table.empty:
            return without_rows(self.model)
        first, others = self.table.iloc[0].to_dict(), list(self._rows)[1:]
        means = (
            f"The {first['quantity']} of effects is {shown(first['value'])}, as of all queries with as many others (1 is "
            f"alike, 0 unrelated); {', '.join(f'{row.quantity} {shown(row.value)}' for row in others)}."
        )
        bounds = interval(first["low"], first["high"], 2)
        return Explanation(
            measured=f"The effects of {counted(int(first['n_edges']), 'edge')} in one half of the queries against those in "
            f"the other, over {counted(int(first['n_splits']), 'random split')}.",
            on=f"{self.model}, {counted_units(first, 'query', 'queries')}.",
            means=f"Nothing: {self.reason}." if self.reason else means,
            sure=f"95 % of the splits are within {bounds}, which says how much depends on the split, not how well the value "
            "is known."
            if bounds
            else "No quantiles over splits are held.",
            would_change=f"More queries: between halves, without the correction, it is {shown(first['uncorrected'])}."
            if bounds
            else "More queries, or a gap that is known.",
        )

    @property
    def _rows(self) -> Iterator[Any]:
        return self.table.itertuples()


def split_half(circuit: Circuit, *, n_splits: int = 200, seed: int = 0) -> ReliabilityResult:
    """Measure how reliable a circuit's effects are, by halves of its queries.

    The units of queries are split at random in two halves, and the effect of every edge is taken in each, a ratio of sums
    over its queries. A correlation r of halves becomes that of sets twice as large, 2r / (1 + r) (Spearman 1910, Brown
    1910, British Journal of Psychology 3); below 0, where that formula runs to −∞, 2r / (1 + |r|).

    Args:
        circuit: with changes by query. Units are those of its pairs, see `PromptPairs.unit`; each query is one where a
            circuit does not say them (old or foreign files).
        n_splits: how often it is split.
        seed: of the splits.

    Raises:
        ValueError: if the circuit has no changes by query, or they are of fewer than 4 units; if fewer than 3 edges were
            measured; or if a number is none; all at once.
    """
    settings = whole_problems(1, most=MOST_REPEATS, n_splits=n_splits) + common_problems(seed=seed)
    if problems := circuit_problems(circuit=circuit):
        refuse(problems + settings)
    units = units_of_queries({"circuit": circuit}, across_seeds=False)["circuit"]
    refuse(settings + _problems(circuit, units))
    assert circuit.deltas is not None  # or it was refused
    reason, rows = _why_undefined(circuit), np.flatnonzero(np.isfinite(circuit.deltas).all(1))
    values = np.full((len(QUANTITIES), 2, n_splits), np.nan) if reason else _values(circuit, units, rows, n_splits, seed)
    corrected, plain = values[:, 0], values[:, 1]
    low, high = np.quantile(corrected, [0.025, 0.975], axis=1)
    columns = {"quantity": QUANTITIES, "value": corrected.mean(1), "low": low, "high": high, "uncorrected": plain.mean(1)}
    columns |= {"n": len(units), "n_units": n_units(units), "n_edges": len(rows), "n_splits": n_splits}
    return ReliabilityResult(
        table=pd.DataFrame(columns),
        model=str(circuit.provenance.get("model", "unknown")),
        pairs=str(circuit.provenance.get("pairs", "unknown")),
        reason=reason,
        recipe=dict(circuit.provenance.get("recipe", {})),
    )


QUANTITIES = ("correlation", "rank correlation", "jaccard")


def _problems(circuit: Circuit, units: Units) -> list[str]:
    """Why there are no halves to compare."""
    if circuit.deltas is None or circuit.donor_gaps is None:
        return [
            "the circuit has no changes by query; analyses.discover keeps them, and so does Circuit.from_effects of "
            "analyses.path_patch(…, per_query=True)"
        ]
    few = [] if (n := n_units(units)) >= FEWEST_UNITS else [f"{n} units of queries are too few, needed are {FEWEST_UNITS}"]
    n_edges = int(np.isfinite(circuit.deltas).all(1).sum())
    return few + ([] if n_edges >= FEWEST_EDGES else [f"{n_edges} measured edges are too few, needed are {FEWEST_EDGES}"])


def _why_undefined(circuit: Circuit) -> str:
    """Why effects are no shares of the gap, so that there is nothing to be reliable; empty if they are."""
    if np.isfinite(circuit.table["effect"].to_numpy(dtype=float)).any():
        return ""
    return str(circuit.provenance.get("reason") or "no effect has a number")


def _values(
    circuit: Circuit, units: Units, rows: np.ndarray, n_splits: int, seed: int
) -> Float[np.ndarray, "quantity 2 split"]:
    """Each quantity of each split, corrected and not; some splits at a time."""
    rng, size, parts = np.random.default_rng(seed), int(circuit.table["kept"].sum()), []
    n_at_once = max(1, AT_ONCE // (8 * max(len(rows), len(units))))
    for start in range(0, n_splits, n_at_once):
        first = halves(units, min(n_at_once, n_splits - start), rng)
        one, other = (reweighted(circuit, weights, rows) for weights in (first, 1 - first))
        r, rank = _correlation(one, other), _correlation(rankdata(one, axis=0), rankdata(other, axis=0))
        overlap = _jaccard(_strongest(one, size), _strongest(other, size))
        parts.append(np.array([[_corrected(r), r], [_corrected(rank), rank], [overlap, overlap]]))
    return np.concatenate(parts, axis=-1)


def halves(units: Units, n_splits: int, rng: np.random.Generator) -> Float[np.ndarray, "query split"]:
    """Random halves of the units: 1 for queries of the first, 0 for those of the second, which has the odd unit."""
    weights = np.zeros((n := n_units(units), n_splits))
    weights[: n // 2] = 1.0
    return rng.permuted(weights, axis=0)[units]


def _correlation(one: Effects, other: Effects) -> Float[np.ndarray, " split"]:
    """Pearson's, over edges, in each split; NaN where all edges are alike."""
    one, other = one - one.mean(0), other - other.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (one * other).sum(0) / np.sqrt((one**2).sum(0) * (other**2).sum(0))


def _corrected(r: Float[np.ndarray, " split"]) -> Float[np.ndarray, " split"]:
    """The correlation of sets twice as large."""
    return 2 * r / (1 + np.abs(r))


def _strongest(effects: Effects, size: int) -> Bool[np.ndarray, "edge split"]:
    """Those edges of largest |effect|, so many in each split; an edge without any effect is none of them."""
    found = np.zeros(effects.shape, dtype=bool)
    np.put_along_axis(found, np.argsort(-np.abs(effects), axis=0, kind="stable")[:size], True, axis=0)
    return found & (effects != 0)


def _jaccard(one: Bool[np.ndarray, "edge split"], other: Bool[np.ndarray, "edge split"]) -> Float[np.ndarray, " split"]:
    """The share of the edges of either that are in both; NaN where there is none."""
    with np.errstate(invalid="ignore"):
        return (one & other).sum(0) / (one | other).sum(0)
