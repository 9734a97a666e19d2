"""How alike two lists of edge effects are, in one number; columns are resamples.

Similarities are 1 for equal circuits; the Jensen–Shannon distance is 0 for equal and 1 for disjoint ones. None but the
weighted overlap changes if all effects of a circuit are multiplied by a number, so only that one differs between shares and
the metric's unit. One of the two may have a single column, which then meets all of the other's.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from jaxtyping import Float

Effects = Float[np.ndarray, "edge _"]
Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def rank_correlation(a: Effects, b: Effects) -> Float[np.ndarray, " _"]:
    """Spearman's correlation of signed effects over edges, ties at their mean rank."""
    if not len(a):  # there is no live edge
        return np.full(np.broadcast_shapes(a.shape[1:], b.shape[1:]), np.nan)
    ranks = [pd.DataFrame(values).rank().to_numpy() for values in (a, b)]
    centred = [values - values.mean(axis=0) for values in ranks]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centred[0] * centred[1]).sum(0) / np.sqrt((centred[0] ** 2).sum(0) * (centred[1] ** 2).sum(0))


def overlap_at(k: int) -> Measure:
    """Jaccard index of the k edges of largest |effect|."""

    def overlap(a: Effects, b: Effects) -> Float[np.ndarray, " _"]:
        tops = [np.argsort(np.argsort(-np.abs(values), axis=0, kind="stable"), axis=0) < k for values in (a, b)]
        jaccard = (tops[0] & tops[1]).sum(0) / (tops[0] | tops[1]).sum(0)
        return np.where(np.isnan(a).any(0) | np.isnan(b).any(0), np.nan, jaccard)

    return overlap


def weighted_overlap(a: Effects, b: Effects) -> Float[np.ndarray, " _"]:
    """Σ min(|a|, |b|) / Σ max(|a|, |b|), where edges of opposite sign have nothing in common (Ruzicka's index)."""
    smaller, larger = np.minimum(np.abs(a), np.abs(b)), np.maximum(np.abs(a), np.abs(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(a * b > 0, smaller, 0.0).sum(0) / np.where(a * b < 0, smaller + larger, larger).sum(0)


def jensen_shannon(a: Effects, b: Effects) -> Float[np.ndarray, " _"]:
    """Jensen–Shannon distance, base 2, of effects as shares of Σ |effect| (Lin 1991; Endres & Schindelin 2003).

    Positive and negative effects are two parts, so that an edge has nothing in common with one of the other sign: one of
    opposite effects is as far as can be, 1.
    """
    total = [np.abs(values).sum(0) for values in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = a / total[0], b / total[1]
    common = np.where(p * q > 0, common_mass(np.abs(p), np.abs(q)), 0.0).sum(0)
    distance = np.sqrt(np.clip(1.0 - common / 2, 0.0, 1.0))
    return np.where((total[0] > 0) & (total[1] > 0), distance, np.nan)  # without effects there are no shares


def common_mass(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """By place, what two distributions have in common: 2 − its sum is twice their Jensen–Shannon divergence in bits.

    It is 2 p where they are equal, and 0 where one of them is 0.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        total = p + q
        found = total - p * np.log2(2 * p / total) - q * np.log2(2 * q / total)
    return np.where((p > 0) & (q > 0), found, 0.0)
