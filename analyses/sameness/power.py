"""How many graphs it takes to say *same*, given how far apart conditions and replicates are and how much that varies.

Distances and their ratios to those of replicates are taken as lognormal over graphs and independent of each other; studies
are drawn and decided by the rule of `equivalence`. More graphs narrow the bounds, but make it likelier that one of them lies
beyond one and a half margins: where the spread is large next to the margin, no number of graphs is enough, and a wider
margin must be named beforehand, or a measure taken that varies less.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import t as student

from ...circuits.arguments import number_problems, refuse, seed_problems
from ..bounds import ALPHA, LEAST_ON_LOGS, MIN_GRAPHS
from .equivalence import MAX_RATIO, ODD, RESOLUTION

POWER = 0.8
MOST_GRAPHS = 40
STUDIES = 4000

Distances = Float[np.ndarray, "study graph"]


def graphs_needed(
    distance: float,
    ratio: float = 1.0,
    *,
    margin: float,
    spread: float,
    ratio_spread: float,
    max_ratio: float = MAX_RATIO,
    power: float = POWER,
    seed: int = 0,
) -> int | None:
    """The fewest graphs with which conditions that far apart are said to be the same with this probability.

    Args:
        distance: the geometric mean over graphs.
        ratio: of distance and replicate distance, likewise.
        margin: the largest distance that counts as none.
        spread: the standard deviation over graphs of the log of the distance.
        ratio_spread: that of the log of the ratio.
        max_ratio: the largest ratio that counts as none.
        power: the probability.
        seed: of the drawn studies.

    Returns:
        The number, or None if `MOST_GRAPHS` are not enough.

    >>> [graphs_needed(0.03, margin=0.1, spread=each, ratio_spread=0.3) for each in (0.2, 1)]
    [4, None]
    """
    refuse(_problems(distance, ratio, margin, spread, ratio_spread, max_ratio, power) + seed_problems(seed))
    spread, ratio_spread = float(spread), float(ratio_spread)
    drawn = np.random.default_rng(seed).normal(size=(2, STUDIES, MOST_GRAPHS))
    between, ratios = float(distance) * np.exp(spread * drawn[0]), float(ratio) * np.exp(ratio_spread * drawn[1])
    for n in range(MIN_GRAPHS, MOST_GRAPHS + 1):
        if said_same(between[:, :n], between[:, :n] / ratios[:, :n], margin, max_ratio).mean() >= power:
            return n
    return None


def _problems(
    distance: float, ratio: float, margin: float, spread: float, ratio_spread: float, max_ratio: float, power: float
) -> list[str]:
    problems = number_problems(0, above=True, distance=distance, ratio=ratio)
    problems += number_problems(2 * RESOLUTION, margin=margin)
    problems += number_problems(0, most=5, spread=spread, ratio_spread=ratio_spread)
    problems += number_problems(1, max_ratio=max_ratio)
    return problems + number_problems(0, above=True, most=1, below=True, power=power)


def said_same(between: Distances, within: Distances, margin: float, max_ratio: float) -> Bool[np.ndarray, " study"]:
    """Which studies `equivalence` calls the same, one distance of conditions and one of replicates on each graph."""
    near = (between <= ODD * margin).all(axis=1) & (within <= ODD * margin).all(axis=1)
    surely = (_high(between) <= margin) & (_high(within) <= margin)
    return near & surely & (_high(between / within) <= max_ratio)


def _high(distances: Distances) -> Float[np.ndarray, " study"]:
    """The upper bounds of `bounds.distance_bounds`, of many studies at once."""
    logs = np.log(distances)
    n = logs.shape[1]
    half = student.ppf(1 - ALPHA, n - 1) * np.maximum(logs.std(axis=1, ddof=1), LEAST_ON_LOGS) / np.sqrt(n)
    return np.exp(logs.mean(axis=1) + half)
