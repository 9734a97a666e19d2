"""By how much two circuits differ, edge by edge and node by node, with intervals that hold for all at once.

A bootstrap over units of queries, the same for both circuits if they were measured on the same pairs. Intervals are as wide
as the largest studentised deviation in a resample is in 95 of 100 (the max-t method: Davison and Hinkley 1997, Bootstrap
Methods and their Application, section 4.2), so that of many edges that do not differ none is called different, in 95 of 100
such pictures. They hold for all measured edges, not only for those that are kept, since these are kept for their effects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from .circuit import Circuit
from .resampling import Units, drawn_again, n_units, reweighted, units_of_queries

N_RESAMPLES, LEVEL = 1000, 0.95
MOST_NUMBERS = 20_000_000  # resampled effects that are held at once


@dataclass(frozen=True)
class Differences:
    """The second circuit's effects minus the first one's, as shares of the gap.

    Attributes:
        edges: a row for each edge asked for: value, low, high; bounds are NaN where nothing says how sure a value is.
        nodes: a row for each node with such an edge out of it: node, and the same of the sum of their effects.
        how: where the intervals come from, in words; empty without any.
        n_family: for how many edges, all measured ones, the intervals hold at once.
    """

    edges: pd.DataFrame
    nodes: pd.DataFrame
    how: str
    n_family: int


def differences_of(a: Circuit, b: Circuit, rows: Int[np.ndarray, " row"], *, paired: bool, seed: int) -> Differences:
    """Compare two circuits with one table of edges.

    Args:
        a: the first circuit; with changes by query, or else with standard errors.
        b: the second one.
        rows: of the tables, which edges.
        paired: whether both were measured on the same pairs.
        seed: of the resampling.
    """
    value = (b.table["effect"].to_numpy(dtype=float) - a.table["effect"].to_numpy(dtype=float))[rows]
    senders, place = np.unique(a.table["sender"].to_numpy(dtype=str)[rows], return_inverse=True)
    sums = _summed(value[:, None], place, len(senders))[:, 0]
    units = units_of_queries({"a": a, "b": b}, not paired)
    if (weights := _weights(a, b, units, paired, seed)) is None:
        half, half_of_nodes, how = _by_stderr(a, b, rows, place, len(senders))
    else:
        sizes = [n_units(each) for each in units.values()]
        half, half_of_nodes = _by_bootstrap(a, b, rows, place, len(senders), weights, min(sizes))
        n = " and ".join(map(str, dict.fromkeys(sizes)))
        how = f"bootstrap of {n} {'' if sizes[0] == len(units['a']) else 'units of '}queries"
    edges = pd.DataFrame({"value": value, "low": value - half, "high": value + half})
    nodes = pd.DataFrame({"node": senders, "value": sums, "low": sums - half_of_nodes, "high": sums + half_of_nodes})
    return Differences(edges, nodes, how if np.isfinite(half).any() else "", len(a.table))


Weights = tuple[Float[np.ndarray, "query_a sample"], Float[np.ndarray, "query_b sample"]]
Half = Float[np.ndarray, " row"]
HalfOfNodes = Float[np.ndarray, " node"]
"""Half the width of each interval."""


def _weights(a: Circuit, b: Circuit, units: Mapping[str, Units], paired: bool, seed: int) -> Weights | None:
    """How often each query is drawn in each resample; None where changes by query are not known."""
    if any(each is None for circuit in (a, b) for each in (circuit.deltas, circuit.donor_gaps)):
        return None
    if min(map(n_units, units.values())) < 2:
        return None
    first = drawn_again(units["a"], N_RESAMPLES, np.random.default_rng([seed, 0]))
    return first, first if paired else drawn_again(units["b"], N_RESAMPLES, np.random.default_rng([seed, 1]))


def _by_bootstrap(
    a: Circuit, b: Circuit, rows: np.ndarray, place: Int[np.ndarray, " row"], n_nodes: int, weights: Weights, n: int
) -> tuple[Half, HalfOfNodes]:
    """Half widths for edges and for nodes, from resamples of n units."""
    n_at_once = max(1, MOST_NUMBERS // max(1, len(rows)))
    chunks = []
    for start in range(0, N_RESAMPLES, n_at_once):
        part = slice(start, start + n_at_once)
        resampled = reweighted(b, weights[1][:, part], rows) - reweighted(a, weights[0][:, part], rows)
        chunks.append((resampled.astype(np.float32), _summed(resampled, place, n_nodes)))
    of_edges, of_nodes = (np.concatenate(each, axis=1) for each in zip(*chunks, strict=True))
    more = len(a.table) / max(1, len(rows))
    return _simultaneous(of_edges, n, more), _simultaneous(of_nodes, n, 1.0)


def _simultaneous(resampled: Float[np.ndarray, "row sample"], n: int, more: float) -> Half:
    """Half widths that hold for all rows: the largest studentised deviation, in 95 of 100 resamples.

    Of few units a bootstrap gives too narrow intervals: spreads are scaled to n − 1, and the bound becomes the one of
    Student's t with the same probability. Where only some of the edges are among the rows, one in `more`, that probability
    is divided by as much (Bonferroni).
    """
    from scipy.special import ndtr, stdtrit  # not at the top: a single circuit does not wait for it

    spread = resampled.std(axis=1, ddof=1)
    moving = spread > 1e-9  # neither what never moves nor what has no number
    if not moving.any():
        return np.where(np.isfinite(spread), 0.0, np.nan)
    deviations = np.abs(resampled[moving] - resampled[moving].mean(axis=1, keepdims=True)) / spread[moving, None]
    tail = ndtr(-float(np.quantile(deviations.max(axis=0), LEVEL))) / more
    return -float(stdtrit(n - 1, tail)) * np.sqrt(n / (n - 1)) * spread


def _by_stderr(
    a: Circuit, b: Circuit, rows: np.ndarray, place: Int[np.ndarray, " row"], n_nodes: int
) -> tuple[Half, HalfOfNodes, str]:
    """Half widths from standard errors, as if all were independent, with Bonferroni's correction."""
    variance = sum(circuit.table["stderr"].to_numpy(dtype=float)[rows] ** 2 for circuit in (a, b))
    of_nodes = _summed(np.asarray(variance)[:, None], place, n_nodes)[:, 0]
    times = [NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / max(1, n)) for n in (len(a.table), n_nodes)]
    return times[0] * np.sqrt(variance), times[1] * np.sqrt(of_nodes), "standard errors, as if independent (Bonferroni)"


def _summed(
    values: Float[np.ndarray, "row sample"], place: Int[np.ndarray, " row"], n: int
) -> Float[np.ndarray, "n sample"]:
    """Sums of the rows that share a place."""
    found = np.zeros((n, values.shape[1]))
    np.add.at(found, place, values)
    return found
