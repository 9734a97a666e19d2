"""One-sided bounds over graphs, each on the scale on which its quantity varies.

Three to a dozen graphs are few. Student's t fits what varies about evenly around its mean; a distance is skewed and never
below 0, a share lies between 0 and 1, and a count of graphs that do something is neither. So distances are bounded on the
log scale, shares on the logit scale, differences of shares on the atanh scale, and counts exactly. What is estimated on such
a scale is the typical graph: the mean on that scale, taken back (for the log scale the geometric mean).

A bound never has width zero: where graphs agree to the last digit, the resolution of what was measured on each is left. A
share of 0 or 1 says only that the truth is less than half a count away, so the bound on that side is 0 or 1 itself.

Coverage is simulated in tests/analyses/test_bounds.py for 3 to 12 graphs: normal, lognormal, Beta and 0/1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit
from scipy.stats import beta
from scipy.stats import t as student

from ..circuits.arguments import number_problems, refuse

ALPHA = 0.05
MIN_GRAPHS = 3  # of fewer, a spread says nothing
SKEWED = 1.23  # power of alpha: logits of shares near 0 or 1 are still skewed, Student's t would cover .91 instead of .95
LEAST_ON_LOGS = 0.05  # a distance that is right to a twentieth

Values = Sequence[float] | Float[np.ndarray, " graph"]
"""One number for each graph."""


class Bounds(NamedTuple):
    """An estimate over graphs with its lower and upper one-sided bound."""

    value: float
    low: float
    high: float


def mean_bounds(values: Values, *, resolution: float, alpha: float = ALPHA) -> Bounds:
    """The mean of numbers that vary about evenly around it, by Student's t.

    Args:
        values: by graph.
        resolution: the smallest difference that was measured on one graph; the spread is taken to be no smaller.
        alpha: of each bound.

    Raises:
        ValueError: for fewer than `MIN_GRAPHS` graphs, a resolution of 0, or an alpha that is not between 0 and .5; so in
            the functions below.
    """
    numbers = _numbers(values)
    refuse(number_problems(0, above=True, resolution=resolution) + _alpha_problems(alpha))
    half = student.ppf(1 - alpha, len(numbers) - 1) * max(numbers.std(ddof=1), resolution) / np.sqrt(len(numbers))
    return Bounds(float(numbers.mean()), float(numbers.mean() - half), float(numbers.mean() + half))


def distance_bounds(values: Values, *, resolution: float, alpha: float = ALPHA) -> Bounds:
    """The geometric mean of numbers of at least 0, such as distances or their ratios, by Student's t on logs.

    Numbers below the resolution count as the resolution, so that no bound on a distance that could not be measured is below
    it; on logs the spread is taken to be at least a twentieth.

    >>> distance_bounds([0.1, 0.1, 0.4], resolution=0.001).value
    0.15874010519681997
    """
    numbers = _numbers(values)
    if (numbers < 0).any():
        raise ValueError(f"distances are at least 0, got {numbers.tolist()}")
    refuse(number_problems(0, above=True, resolution=resolution))
    logs = np.log(np.maximum(numbers, resolution))
    return Bounds(*(float(np.exp(each)) for each in mean_bounds(logs, resolution=LEAST_ON_LOGS, alpha=alpha)))


def share_bounds(values: Values, *, n: float, alpha: float = ALPHA) -> Bounds:
    """The typical share, by Student's t on logits.

    Args:
        values: by graph.
        n: the questions, or independent units, that each share is counted over; half a count is kept from 0 and 1.
        alpha: of each bound.
    """
    numbers = _numbers(values)
    if (numbers < 0).any() or (numbers > 1).any():
        raise ValueError(f"shares lie between 0 and 1, got {numbers.tolist()}")
    refuse(number_problems(1, n=n))
    inside = np.clip(numbers, 0.5 / n, 1 - 0.5 / n)
    typical = float(inside.mean())
    least = 1 / np.sqrt(n * typical * (1 - typical))  # the standard error of a logit of n counts
    found = _skewed(logit(inside), least, alpha)
    return _open(Bounds(*(float(expit(each)) for each in found)), numbers, inside, 0.0, 1.0)


def difference_bounds(values: Values, *, n: float, alpha: float = ALPHA) -> Bounds:
    """The typical difference of two shares, between −1 and 1, by Student's t on the atanh scale.

    Args:
        values: by graph.
        n: the questions, or independent units, that each share is counted over.
        alpha: of each bound.
    """
    numbers = _numbers(values)
    if (np.abs(numbers) > 1).any():
        raise ValueError(f"differences of shares lie between -1 and 1, got {numbers.tolist()}")
    refuse(number_problems(1, n=n))
    inside = np.clip(numbers, 0.5 / n - 1, 1 - 0.5 / n)
    typical = float(inside.mean())
    least = 1 / np.sqrt(2 * n * (1 - typical**2))  # the largest standard error of atanh of such a difference
    found = _skewed(np.arctanh(inside), least, alpha)
    return _open(Bounds(*(float(np.tanh(each)) for each in found)), numbers, inside, -1.0, 1.0)


def rate_bounds(count: int, n: int, *, alpha: float = ALPHA) -> Bounds:
    """The rate at which graphs do something, exactly (Clopper & Pearson 1934); the whole range for none.

    Args:
        count: of graphs that do.
        n: of graphs.
        alpha: of each bound.

    >>> round(rate_bounds(0, 8).high, 4)
    0.3123
    """
    refuse(_alpha_problems(alpha))
    if not 0 <= count <= n:
        raise ValueError(f"of {n} graphs 0 to {n} do something, got {count}")
    if n == 0:
        return Bounds(float("nan"), 0.0, 1.0)
    low = float(beta.ppf(alpha, count, n - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - alpha, count + 1, n - count)) if count < n else 1.0
    return Bounds(count / n, low, high)


def graphs_to_exclude(rate: float, *, alpha: float = ALPHA) -> int:
    """How many graphs, none of which does it, show that fewer than this rate do.

    >>> graphs_to_exclude(0.4), graphs_to_exclude(0.4, alpha=0.025)
    (6, 8)
    """
    refuse(number_problems(0, above=True, most=1, rate=rate) + _alpha_problems(alpha))
    if rate == 1:
        return 1
    return int(np.floor(np.log(alpha) / np.log1p(-rate))) + 1


def _skewed(numbers: Float[np.ndarray, " graph"], resolution: float, alpha: float) -> Bounds:
    refuse(_alpha_problems(alpha))
    return mean_bounds(numbers, resolution=resolution, alpha=alpha**SKEWED)


def _open(
    found: Bounds, numbers: Float[np.ndarray, " graph"], inside: Float[np.ndarray, " graph"], least: float, most: float
) -> Bounds:
    """The bounds, up to the edge where a number had to be moved inside: how far beyond it belongs is not known."""
    low = least if (numbers < inside).any() else found.low
    return Bounds(found.value, low, most if (numbers > inside).any() else found.high)


def _alpha_problems(alpha: float) -> list[str]:
    return number_problems(0, above=True, most=0.5, below=True, alpha=alpha)


def _numbers(values: Values) -> Float[np.ndarray, " graph"]:
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < MIN_GRAPHS:
        raise ValueError(f"bounds over graphs need {MIN_GRAPHS} of them, got {len(numbers)}")
    if not np.isfinite(numbers).all():
        raise ValueError(f"bounds need a number for each graph, got {numbers.tolist()}")
    return numbers
