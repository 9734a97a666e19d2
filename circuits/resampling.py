"""Resamples of the queries of circuits: by units, of which several queries may share one, such as a fact."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from .circuit import Circuit

N_SPLITS = 20
Units = Int[np.ndarray, " query"]
"""By query, the number of its unit, from 0 on; empty without queries."""


def units_of_queries(circuits: Mapping[str, Circuit], across_seeds: bool) -> dict[str, Units]:
    """The units of each circuit's queries; those of one set of pairs are known if one circuit says them."""
    found, said = {}, {label: circuit.provenance.get("hashes", {}).get("unit", ()) for label, circuit in circuits.items()}
    for label, circuit in circuits.items():
        n = 0 if circuit.donor_gaps is None else len(circuit.donor_gaps)
        known = [said[label]] if across_seeds else list(said.values())
        units = next((each for each in known if len(each) == n), range(n))
        found[label] = pd.factorize(np.array(units))[0]  # in the order in which they come
    return found


def n_units(units: Units) -> int:
    """How many units there are."""
    return int(units.max(initial=-1)) + 1


def drawn_again(units: Units, n_samples: int, rng: np.random.Generator) -> Float[np.ndarray, "query sample"]:
    """How often each query, that is its unit, is drawn in each resample."""
    if (n := n_units(units)) < 2:  # one unit says nothing about another
        return np.full((len(units), 1), np.nan)
    return rng.multinomial(n, np.full(n, 1 / n), size=n_samples).T.astype(float)[units]


def random_halves(units: Units, rng: np.random.Generator) -> Float[np.ndarray, "query split"]:
    """Random halves of the units, as weights of 0 and 1 of their queries."""
    if (n := n_units(units)) < 2:
        return np.full((len(units), N_SPLITS), np.nan)
    weights = np.zeros((n, N_SPLITS))
    weights[: n // 2] = 1.0
    return rng.permuted(weights, axis=0)[units]


def reweighted(
    circuit: Circuit, weights: Float[np.ndarray, "query sample"], rows: np.ndarray | slice = slice(None)
) -> Float[np.ndarray, "edge sample"]:
    """The effects of all edges, or of some rows, in each resample; NaN without per-query changes."""
    if circuit.deltas is None or circuit.donor_gaps is None or not len(weights):
        return np.full((len(circuit.table[rows] if isinstance(rows, slice) else rows), weights.shape[1]), np.nan)
    return (circuit.deltas[rows] @ weights) / (circuit.donor_gaps @ weights)


def influence(circuit: Circuit, units: Units) -> Float[np.ndarray, "edge unit"]:
    """By how much a unit moves each effect, a ratio of sums, times the number of units; nothing without queries."""
    if circuit.deltas is None or circuit.donor_gaps is None:
        return np.zeros((len(circuit.table), 0))
    effects = circuit.deltas.sum(1, keepdims=True) / circuit.donor_gaps.sum()
    by_query, n = (circuit.deltas - effects * circuit.donor_gaps) / circuit.donor_gaps.mean(), n_units(units)
    if n == len(units):
        return by_query
    order = np.argsort(units, kind="stable")
    return np.add.reduceat(by_query[:, order], np.searchsorted(units[order], np.arange(n)), axis=1) * (n / len(units))
