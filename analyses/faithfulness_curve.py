"""How much circuits of growing size keep, and the two areas by which MIB ranks methods (Mueller et al. 2025, 2504.13151).

CPR is the area under the curve of faithfulness against the share of edges, CMD the area between it and 1; both by
trapezoids over MIB's ten shares, sizes rounded down. Edges enter in order of effect for CPR, where larger is better, and of
|effect| for CMD, where smaller is; unlike in MIB none is left out for leading nowhere. Beside them stand rankings with
effects shuffled among edges of one layer and kind.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from ..circuits import Circuit, Edge
from ..circuits.random_circuits import edge_class
from .circuit_runs import CircuitRuns
from .statistics import resampled_ratios

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
N_RANKINGS = 20
ORDERS = {"effect": lambda effects: -effects, "|effect|": lambda effects: -np.abs(effects)}


def faithfulness_curve(runs: CircuitRuns, circuit: Circuit, *, seed: int) -> pd.DataFrame:
    """Faithfulness by size, in both orders, next to shuffled rankings.

    Returns:
        A row for each order (`effect`, `|effect|`) and share of edges with n_edges, faithfulness, its 95 % bootstrap
        interval low, high over queries, and random, random_low, random_high: mean and 2.5 and 97.5 % quantiles over 20
        shuffled rankings.
    """
    edges = circuit.measured_edges
    effects = circuit.table["effect"].fillna(0.0).to_numpy()
    rng, shuffled = np.random.default_rng(seed), []
    for _ in range(N_RANKINGS):
        shuffled.append(effects[_within_classes(edges, rng)])
    sizes = [int(share * len(edges)) for share in SHARES]
    parts = []
    for order, key in ORDERS.items():
        rankings = [np.argsort(key(values), kind="stable") for values in (effects, *shuffled)]
        sets = [[edges[i] for i in ranking[:size]] for ranking in rankings for size in sizes]
        kept = runs.metric(sets) - runs.empty
        own, random = kept[: len(SHARES)], kept[len(SHARES) :].sum(1) / (runs.full - runs.empty).sum()
        estimate, resampled = resampled_ratios(own, runs.full - runs.empty, seed=seed)
        low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
        random = random.reshape(N_RANKINGS, len(SHARES))
        random_low, random_high = np.quantile(random, [0.025, 0.975], axis=0)
        columns = {"order": order, "share": SHARES, "n_edges": sizes, "faithfulness": estimate, "low": low, "high": high}
        columns |= {"random": random.mean(0), "random_low": random_low, "random_high": random_high}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def area(curve: pd.DataFrame) -> float:
    """CPR: the area under the curve in order of effect, between .001 and all edges."""
    rows = curve[curve["order"] == "effect"]
    return float(np.trapezoid(rows["faithfulness"], rows["share"]))


def distance(curve: pd.DataFrame) -> float:
    """CMD: the area between the curve in order of |effect| and 1."""
    rows = curve[curve["order"] == "|effect|"]
    return float(np.trapezoid((1 - rows["faithfulness"]).abs(), rows["share"]))


def _within_classes(edges: Sequence[Edge], rng: np.random.Generator) -> Int[np.ndarray, " edge"]:
    """A permutation of the edges that keeps layer and kind of input."""
    classes = pd.Series(list(map(str, map(edge_class, edges))))
    order: Float[np.ndarray, " edge"] = np.arange(len(edges))
    for places in classes.groupby(classes).indices.values():
        order[places] = rng.permutation(places)
    return order
