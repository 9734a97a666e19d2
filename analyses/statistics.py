"""Intervals (bootstrap of a ratio of sums, Wilson's, Newcombe's), Holm's correction, and random controls."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor


def derangement(n: int, *, seed: int) -> Int[Tensor, " query"]:
    """A random permutation of range(n) that leaves no number in its place; a single cycle."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def random_like(change: Float[Tensor, "query d_model"], generator: torch.Generator) -> Float[Tensor, "query d_model"]:
    """A random direction for each change, of the same length."""
    random = torch.randn(change.shape, generator=generator, dtype=torch.float64, device="cpu")
    random = random.to(change.dtype).to(change.device)
    return random / random.norm(dim=-1, keepdim=True) * change.norm(dim=-1, keepdim=True)


WITHOUT_DOUBLE = ("mps",)  # kinds of device that know no numbers of 64 bits


def double(values: Tensor) -> Tensor:
    """The values in double precision; on the CPU where their device has none. Gradients pass."""
    return (values.cpu() if values.device.type in WITHOUT_DOUBLE else values).double()


Z95 = 1.959963984540054
AT_ONCE = 32 * 2**20  # bytes that resamples take at once


Values = Sequence[float] | np.ndarray | Tensor
"""One number, or truth value, for each query."""


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def numbered(unit: Values) -> Int[np.ndarray, " query"]:
    """Units as numbers from 0 on, in the order in which they come: where all differ, those of the queries.

    >>> numbered([7, 3, 7]).tolist()
    [0, 1, 0]
    """
    return pd.factorize(np.asarray(unit))[0]


def n_units(unit: Values) -> int:
    """How many different units there are."""
    return len(np.unique(np.asarray(unit)))


def sums_by_unit(values: Float[np.ndarray, "row query"], unit: Values) -> Float[np.ndarray, "row unit"]:
    """Sums over the queries of each unit, as `numbered`; where all units differ, the values themselves.

    Units are independent of each other, queries of one are not: what tests and standard errors are made of.
    """
    unit_of = numbered(unit)
    sums = torch.zeros(len(values), n_units(unit_of), dtype=torch.float64, device="cpu")
    return sums.index_add_(1, torch.from_numpy(unit_of), torch.from_numpy(np.asarray(values, dtype=float))).numpy()


def stderr_of_mean(values: Float[np.ndarray, "row query"], unit: Values) -> Float[np.ndarray, " row"]:
    """The standard error of each row's mean over queries, from the sums over units; NaN for fewer than two units."""
    sums, n = sums_by_unit(values - values.mean(1, keepdims=True), unit), values.shape[1]
    if sums.shape[1] < 2:
        return np.full(len(values), np.nan)
    return (sums * (sums.shape[1] / n)).std(axis=1, ddof=1) / np.sqrt(sums.shape[1])


def bootstrap_ratio(
    numerators: Float[np.ndarray, "row query"],
    denominators: Float[np.ndarray, " query"],
    *,
    unit: Values | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"], Float[np.ndarray, "row 2"]]:
    """The ratio of sums of each row, its standard error and its 95 % percentile interval, by resampling units of queries.

    The same units are drawn for every row, each with all its queries; without `unit` each query is one. One unit says
    nothing about another: error and interval are then NaN. Beyond its arguments it takes no more than about four times
    `AT_ONCE`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = numerators.sum(1) / denominators.sum()
    stderr, interval = np.empty(len(numerators)), np.empty((len(numerators), 2))
    n_rows = max(1, AT_ONCE // (8 * n_bootstrap))
    for start in range(0, len(numerators), n_rows):
        rows = slice(start, start + n_rows)
        values = resampled_ratios(numerators[rows], denominators, unit=unit, n_bootstrap=n_bootstrap, seed=seed)
        stderr[rows], interval[rows] = values.std(axis=1, ddof=1), np.quantile(values, [0.025, 0.975], axis=1).T
    return estimate, stderr, interval


def ratio_and_stderr(
    numerators: Float[np.ndarray, "row query"],
    denominators: Float[np.ndarray, " query"],
    *,
    unit: Values | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, " row"]]:
    """As `bootstrap_ratio`, up to rounding, without intervals, and in a time that does not grow with the resamples.

    Every resampled ratio is a sum of a row's values with weights that are the same for all rows. So their spread is the
    length of the row's product with a factor of the weights' covariance, which has as many columns as there are units.
    """
    unit_of = numbered(range(len(denominators)) if unit is None else unit)
    if (n := n_units(unit_of)) < 2 or n >= n_bootstrap:
        return bootstrap_ratio(numerators, denominators, unit=unit, n_bootstrap=n_bootstrap, seed=seed)[:2]
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = numerators.sum(1) / denominators.sum()
        drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_bootstrap).T
        weights = drawn / _product(sums_by_unit(denominators[None], unit_of), drawn)
    if not np.isfinite(weights).all():
        return estimate, np.full(len(numerators), np.nan)
    centred = torch.from_numpy(weights - weights.mean(1, keepdims=True))
    factor = torch.linalg.qr(centred.T / math.sqrt(n_bootstrap - 1), mode="r").R[:, torch.from_numpy(unit_of)]
    n_rows = max(1, AT_ONCE // (8 * n))
    lengths = [(torch.from_numpy(part) @ factor.T).norm(dim=1) for part in _parts(numerators, n_rows)]
    return estimate, torch.cat(lengths).numpy() if lengths else estimate


def _parts(values: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Some rows at a time."""
    return (values[start : start + n] for start in range(0, len(values), n))


def resampled_ratios(
    numerators: Float[np.ndarray, "row query"],
    denominators: Float[np.ndarray, " query"],
    *,
    unit: Values | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, "row resample"]:
    """The ratio of sums of each row over resampled units, some resamples at a time; NaN for fewer than two units."""
    unit_of, rng, parts = numbered(range(len(denominators)) if unit is None else unit), np.random.default_rng(seed), []
    if (n := n_units(unit_of)) < 2:
        return np.full((len(numerators), n_bootstrap), np.nan)
    n_at_once = max(1, AT_ONCE // (16 * len(unit_of)))
    for start in range(0, n_bootstrap, n_at_once):
        drawn = rng.multinomial(n, np.full(n, 1 / n), size=min(n_at_once, n_bootstrap - start)).T
        counts = drawn[unit_of]  # each query as often as its unit
        with np.errstate(divide="ignore", invalid="ignore"):
            parts.append(_product(numerators, counts) / _product(denominators[None], counts))
    return np.concatenate(parts, 1)


def _product(left: Float[np.ndarray, "row query"], counts: Int[np.ndarray, "query resample"]) -> np.ndarray:
    """Their matrix product, by torch: numpy's threads would keep spinning next to torch's and slow what follows."""
    return (torch.from_numpy(left) @ torch.from_numpy(counts.astype(left.dtype))).numpy()


def wilson(share: float, n: int) -> Interval:
    """Wilson's 95 % interval of a proportion of n independent units; the whole range for n = 0.

    >>> wilson(1.0, 16).low > 0.8
    True
    """
    if n == 0 or math.isnan(share):
        return Interval(0.0, 1.0)
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))  # safe from rounding


class Share(NamedTuple):
    """A share of queries: its value, 95 % interval, the number of queries, and of independent units among them."""

    value: float
    low: float
    high: float
    n: int
    n_units: int


def wilson_row(met: Values, unit: Values) -> Share:
    """The share of queries that meet something, with Wilson's interval over independent units.

    Args:
        met: whether each query does, as tensor, array or list.
        unit: of each query; queries of one unit are not independent.

    >>> wilson_row([True, True, False, True], unit=[0, 0, 1, 1]).value
    0.75
    """
    value, n = float(np.asarray(met, dtype=float).mean()), n_units(unit)
    return Share(value, *wilson(value, n), len(met), n)


def newcombe_interval(share: float, control: float, n: int) -> Interval:
    """95 % interval of share − control, each of n units, by Newcombe's score method (1998, method 10).

    It takes the two as independent; where both are measured on the same units it is wider than it need be.

    >>> low, high = newcombe_interval(1.0, 0.0, 30)
    >>> 0.8 < low < high == 1.0
    True
    """
    (low, high), (control_low, control_high) = wilson(share, n), wilson(control, n)
    below = math.hypot(share - low, control_high - control)
    above = math.hypot(high - share, control - control_low)
    return Interval(max(-1.0, share - control - below), min(1.0, share - control + above))


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's (1979) adjusted p-values: rejecting those up to .05 has a chance of any false rejection of at most .05.

    >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    found = np.empty_like(p)
    found[order] = np.minimum(1.0, adjusted)
    return found
