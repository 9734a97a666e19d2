"""Which edges are worth an exact measurement, and what is missed by those that get none.

Estimates rank the edges. The strongest are measured exactly, and of all others a random sample is: the others, in order of
|estimate|, are cut into as many parts of equal size as edges are drawn, and one edge is drawn from each, so that the sample
is spread over all estimates. The sample bounds how many of the edges that were never measured are strong after all, however
wrong the estimates are.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import binom

from ...circuits.circuit import has_number
from .effects import PatchingResult

DEFAULT_SCREEN = "eap_ig_activations"
"""The best of `examples/benchmarks/screening.py` for each exact measurement; `eap_ig_inputs` is much faster."""
SHARE_SAMPLED = 0.2  # of the exact measurements
LEAST_SAMPLED = 100
ALPHA = 0.05


class Chosen(NamedTuple):
    """Which edges are measured exactly.

    Attributes:
        top: rows of the strongest.
        sampled: rows drawn from the others.
        n_others: how many others there are, the drawn ones included.
    """

    top: Int[np.ndarray, " edge"]
    sampled: Int[np.ndarray, " edge"]
    n_others: int


def choose(estimates: Float[np.ndarray, " edge"], verify: int, *, seed: int) -> Chosen:
    """Choose edges for exact measurements: a fifth of them, and at least 100, are drawn at random.

    Args:
        estimates: of all edges; those without a number come last.
        verify: how many are measured, above 100; all, if there are no more.
        seed: of the sample.
    """
    order = np.argsort(-np.nan_to_num(np.abs(estimates), nan=-1.0), kind="stable")
    if verify >= len(order):
        return Chosen(order, order[:0], 0)
    n_sampled = max(LEAST_SAMPLED, round(SHARE_SAMPLED * verify))
    top, others = order[: verify - n_sampled], order[verify - n_sampled :]
    rng = np.random.default_rng(seed)
    sampled = np.array([rng.choice(part) for part in np.array_split(others, n_sampled)])
    return Chosen(top, sampled, len(others))


def most_missed(n_above: int, n_sampled: int, n_others: int) -> int:
    """How many of the edges that were never measured are above a threshold, at most: a one-sided 95 % bound.

    If K of the others are above it, the number of those in the sample is a sum of independent draws, one from each part,
    with a mean of at least K / (size of the largest part). Of such sums, draws that are all alike fall furthest below their
    mean (Hoeffding 1956, Ann. Math. Statist. 27, 713, theorem 4), as long as they fall below it by 1 at least. So a
    binomial distribution bounds the chance of seeing so few, and the bound is the largest K that is not refuted: Clopper and
    Pearson's, but for a finite number of edges. The parts may differ in any way.

    Args:
        n_above: of the sample.
        n_sampled: size of the sample, one from each of as many parts, which differ in size by 1 at most.
        n_others: size of all parts together.

    >>> most_missed(0, 400, 30_000) / 30_000 < 0.0075
    True
    """
    if n_sampled >= n_others:
        return 0
    size = math.ceil(n_others / n_sampled)
    k = np.arange(n_above, n_others - (n_sampled - n_above) + 1)
    draws = np.maximum(1, np.minimum(n_sampled, k))
    mean = np.minimum(draws, k / size)
    chance = np.where(n_above <= mean - 1, binom.cdf(n_above, draws, mean / draws), 1.0)
    return int(k[chance > ALPHA].max()) - n_above


@dataclass(frozen=True)
class Screened:
    """What was estimated and measured.

    Attributes:
        effects: measured where they were, estimated elsewhere, with the column `verified` of `Circuit`.
        chosen: which were measured.
        screen: how the others were estimated.
    """

    effects: PatchingResult
    chosen: Chosen
    screen: str

    def about(self, threshold: float) -> dict[str, Any]:
        """For a circuit's provenance: in numbers as `screen`, and in words as `verified`.

        Args:
            threshold: |effect| from which on a missed edge would have belonged to the circuit.
        """
        strength = self.effects.table["effect"].abs().to_numpy()
        sampled, (n_top, n_sampled) = strength[self.chosen.sampled], map(len, self.chosen[:2])
        n_others, n_above = self.chosen.n_others, int((sampled >= threshold).sum())
        missed, n_never = most_missed(n_above, n_sampled, n_others), n_others - n_sampled
        numbers = {"method": self.screen, "verify": n_top + n_sampled, "n_top": n_top, "n_sampled": n_sampled}
        numbers |= {"n_never": n_never, "threshold": threshold, "n_above": n_above, "most_missed": missed}
        numbers |= {"share_missed": missed / n_never if n_never else 0.0}
        return {
            "screen": numbers | {"largest_sampled": float(sampled.max(initial=0.0))},
            "verified": _said(numbers, sampled),
        }


def _said(numbers: dict[str, Any], sampled: Float[np.ndarray, " edge"]) -> str:
    """What was measured and what that says of the rest, in words."""
    if not numbers["n_never"]:
        return ""
    return (
        "measured exactly: the {n_top:,} edges strongest by {method}, and {n_sampled} drawn from the others, of which "
        "{n_above} are at {threshold:.2g} or above and the largest at {largest:.2g}; of the {n_never:,} never measured at "
        "most {share_missed:.2%} are (95 % bound)"
    ).format(**numbers, largest=sampled.max(initial=0.0))


def combined(estimated: PatchingResult, exact: PatchingResult, chosen: Chosen) -> Screened:
    """Estimates with exact effects in the place of those that were measured.

    Args:
        estimated: of all edges, with changes by query.
        exact: of the chosen ones, in the order of the graph.
        chosen: their rows.
    """
    assert estimated.deltas is not None and exact.deltas is not None and exact.donor_gaps is not None
    rows = np.sort(np.concatenate([chosen.top, chosen.sampled]))
    deltas, gaps = estimated.deltas.copy(), exact.donor_gaps
    deltas[rows] = exact.deltas
    effect = np.where(has_number(estimated.table["effect"]), deltas.sum(1) / gaps.sum(), np.nan)
    effect[rows] = exact.table["effect"]
    stderr, verified = estimated.table["stderr"].to_numpy(copy=True), np.full(len(deltas), "estimated", dtype=object)
    stderr[rows] = exact.table["stderr"]
    verified[chosen.top], verified[chosen.sampled] = "exact", "sampled"
    table = estimated.table.assign(effect=effect, stderr=stderr, verified=pd.Series(verified, dtype=object))
    screen, method = estimated.method, "exact"
    if chosen.n_others:
        method = f"exact, others by {screen}"
    reason = exact.reason or estimated.reason
    found = replace(exact, table=table, deltas=deltas, method=method, reason=reason)
    return Screened(found, chosen, screen)


def weakest_kept(effects: PatchingResult, top_k: int) -> float:
    """The |effect| of the last of the strongest measured edges."""
    measured = effects.table[effects.table["verified"] != "estimated"]["effect"].abs().dropna()
    return float(measured.nlargest(top_k).min()) if len(measured) else math.nan
