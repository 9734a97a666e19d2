"""Whether a circuit needs each of its edges: what is lost if one is taken out, tested edge by edge.

Tests of all edges at once need a correction: with 20 edges one in two circuits would have a needless edge called needed
(Shi et al. 2024, arXiv 2410.13032, section 4; their code has none). Holm's bounds the chance of any such error by .05.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from ..circuits import Edge
from .circuit_runs import CircuitRuns
from .statistics import holm, resampled_ratios

LEAST = 0.01  # share of the gap that an edge must carry to be called needed
ALPHA = 0.05


def minimality(runs: CircuitRuns, edges: Sequence[Edge], *, seed: int) -> pd.DataFrame:
    """Each edge's own share: faithfulness of the circuit minus that without the edge.

    Returns:
        A row for each edge with sender, receiver, own_share, its 95 % bootstrap interval low, high over queries, p
        (one-sided t-test over queries of a share above .01), p_holm, needed (p_holm ≤ .05) and n.
    """
    everything, *without = runs.metric([edges, *([other for other in edges if other != edge] for edge in edges)])
    lost = everything - np.array(without).reshape(len(edges), len(everything))
    gaps = runs.full - runs.empty
    share, resampled = resampled_ratios(lost, gaps, seed=seed)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    beyond = lost - LEAST * gaps.mean()
    constant = np.ptp(beyond, axis=1) == 0
    p = np.where(beyond[:, 0] > 0, 0.0, 1.0)  # where nothing varies there is nothing to test
    if not constant.all():
        _, p[~constant] = ttest_1samp(beyond[~constant], 0.0, axis=1, alternative="greater")
    names = {"sender": [str(edge.sender) for edge in edges], "receiver": [str(edge.receiver) for edge in edges]}
    numbers = {"own_share": share, "low": low, "high": high, "p": p, "p_holm": holm(p)}
    return pd.DataFrame({**names, **numbers, "needed": holm(p) <= ALPHA, "n": len(gaps)})
