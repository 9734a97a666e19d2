"""Bounds over graphs: exact cases, and how often they cover what their docstrings say is estimated."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import digamma
from scipy.stats import binom
from scipy.stats import t as student

from grokscope.analyses import bounds
from grokscope.analyses.bounds import (
    ALPHA,
    Bounds,
    difference_bounds,
    distance_bounds,
    graphs_to_exclude,
    mean_bounds,
    rate_bounds,
    share_bounds,
)

SIZES = (3, 5, 8, 12)
QUESTIONS = 200
LEAST = 0.93
BETAS = [(20, 1), (1, 20), (9, 1), (1, 9), (2, 2), (2, 8), (0.5, 0.5), (5, 5)]
PAIRS = [((9, 1), (1, 9)), ((9, 1), (2, 2)), ((2, 2), (2, 2)), ((20, 1), (20, 1)), ((1, 9), (1, 20)), ((2, 8), (20, 1))]

World = tuple[Callable[[np.random.Generator, int], np.ndarray], float, Callable[..., Bounds]]


def normal() -> World:
    return lambda rng, n: rng.normal(3, 2, n), 3.0, lambda values, **alpha: mean_bounds(values, resolution=1e-3, **alpha)


def lognormal(spread: float = 1.0) -> World:
    draw = lambda rng, n: 0.05 * np.exp(spread * rng.normal(size=n))  # noqa: E731
    return draw, 0.05, lambda values, **alpha: distance_bounds(values, resolution=1e-3, **alpha)


def counted(rng: np.random.Generator, shape: tuple[float, float], n: int, questions: int) -> np.ndarray:
    """Shares of questions answered, on graphs whose true share is drawn from a Beta."""
    return rng.binomial(questions, rng.beta(*shape, n)) / questions


def beta(shape: tuple[float, float], questions: int = QUESTIONS) -> World:
    typical = float(1 / (1 + np.exp(digamma(shape[1]) - digamma(shape[0]))))  # the mean of the logit of a Beta, taken back
    return (
        lambda rng, n: counted(rng, shape, n, questions),
        typical,
        lambda values, **alpha: share_bounds(values, n=questions, **alpha),
    )


def difference(one: tuple[float, float], other: tuple[float, float], questions: int = QUESTIONS) -> World:
    rng = np.random.default_rng(99)
    typical = float(np.tanh(np.arctanh(rng.beta(*one, 10**6) - rng.beta(*other, 10**6)).mean()))
    return (
        lambda rng, n: counted(rng, one, n, questions) - counted(rng, other, n, questions),
        typical,
        lambda values, **alpha: difference_bounds(values, n=questions, **alpha),
    )


WORLDS: dict[str, Callable[[], World]] = {
    "normal": normal,
    "lognormal": lognormal,
    "lognormal .3": lambda: lognormal(0.3),
    **{f"beta {shape}": lambda shape=shape: beta(shape) for shape in BETAS},
    **{f"beta {shape}, 20 questions": lambda shape=shape: beta(shape, 20) for shape in BETAS},
    **{f"beta {one} - beta {other}": lambda one=one, other=other: difference(one, other) for one, other in PAIRS},
    "beta (9, 1) - beta (2, 2), 20 questions": lambda: difference((9, 1), (2, 2), 20),
}


pytestmark = pytest.mark.usefixtures("as_users_call")


def coverage(world: World, n: int, draws: int, alpha: float = ALPHA) -> tuple[float, float]:
    """How often the lower bound is at most, and the upper at least, what is estimated."""
    draw, true, of = world
    rng = np.random.default_rng(n)
    found = [of(draw(rng, n), alpha=alpha) for _ in range(draws)]
    return float(np.mean([each.low <= true for each in found])), float(np.mean([each.high >= true for each in found]))


def least_of(draws: int, wanted: float = LEAST) -> float:
    """The smallest coverage that so many draws find with probability .999 where it is as wanted."""
    return float(binom.ppf(0.001, draws, wanted)) / draws


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", WORLDS)
def test_each_bound_covers_what_it_estimates(name: str, n: int) -> None:
    assert min(coverage(WORLDS[name](), n, 4000)) >= least_of(4000)


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ["normal", "lognormal", "beta (9, 1)", "beta (20, 1)", "beta (1, 9) - beta (1, 20)"])
def test_each_bound_covers_at_the_smaller_alpha_of_many_rows(name: str, n: int) -> None:
    """Of eight rows; the error may be as much larger than asked for as at .05."""
    alpha = ALPHA / 8
    assert min(coverage(WORLDS[name](), n, 4000, alpha)) >= least_of(4000, 1 - 1.4 * alpha)


@pytest.mark.parametrize(
    "name", ["normal", "lognormal", "beta (9, 1)", "beta (20, 1), 20 questions", "beta (9, 1) - beta (2, 2)"]
)
def test_bounds_cover_in_few_draws(name: str) -> None:
    assert min(coverage(WORLDS[name](), 5, 300)) >= least_of(300)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", (1, *SIZES))
def test_exact_bounds_of_a_rate_cover_exactly(n: int, rate: float) -> None:
    """Over all counts there are, each as often as it comes."""
    counts = range(n + 1)
    often = binom.pmf(counts, n, rate)
    low = sum(p for count, p in zip(counts, often, strict=True) if rate_bounds(count, n).low <= rate)
    high = sum(p for count, p in zip(counts, often, strict=True) if rate_bounds(count, n).high >= rate)
    assert min(low, high) >= 0.95 - 1e-12


def test_without_the_correction_for_skew_shares_are_not_covered(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha, draws, world = ALPHA / 8, 3000, beta((9, 1), 10**6)
    assert min(coverage(world, 8, draws, alpha)) >= least_of(draws, 1 - 1.4 * alpha)
    monkeypatch.setattr(bounds, "SKEWED", 1.0)
    assert min(coverage(world, 8, draws, alpha)) < least_of(draws, 1 - 1.4 * alpha)


def test_without_the_scale_of_each_quantity_it_is_not_covered() -> None:
    """What was wrong before: Student's t on distances and shares as they are, and on 0/1."""
    draw, _, _ = lognormal()
    plain = lambda values, **alpha: mean_bounds(values, resolution=1e-9, **alpha)  # noqa: E731
    assert min(coverage((draw, 0.05 * float(np.exp(0.5)), plain), 5, 500)) < 0.85
    draw, _, _ = beta((20, 1), 10**6)
    assert min(coverage((draw, 20 / 21, plain), 5, 500)) < 0.87
    assert min(coverage((lambda rng, n: rng.binomial(1, 0.9, n).astype(float), 0.9, plain), 5, 500)) < 0.6


KINDS: dict[str, tuple[Callable[..., Bounds], list[float]]] = {
    "mean": (lambda values, **alpha: mean_bounds(values, resolution=0.01, **alpha), [-3.0, 0.0, 1e5]),
    "distance": (lambda values, **alpha: distance_bounds(values, resolution=0.001, **alpha), [0.0, 0.02, 0.9]),
    "share": (lambda values, **alpha: share_bounds(values, n=50, **alpha), [0.0, 0.02, 0.5, 1.0]),
    "difference": (lambda values, **alpha: difference_bounds(values, n=50, **alpha), [-1.0, 0.0, 0.3, 1.0]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_contain_the_estimate_nest_in_alpha_and_have_a_width(kind: str) -> None:
    of, points = KINDS[kind]
    rng = np.random.default_rng(0)
    mixed = [rng.choice(points, n) for n in range(3, 13) for _ in range(5)]
    for values in [*mixed, *(np.full(n, point) for n in SIZES for point in points)]:
        wide, narrow = of(values, alpha=0.01), of(values, alpha=0.05)
        assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high
        assert narrow.low < narrow.high and wide.value == narrow.value
        assert wide.high - wide.low > narrow.high - narrow.low or (wide.low, wide.high) in {(0, 1), (-1, 1)}


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_narrow_with_more_graphs(kind: str) -> None:
    of, points = KINDS[kind]
    inner = np.array(points[1:3]) if kind != "distance" else np.array([0.02, 0.9])
    widths = [np.subtract(*of(np.tile(inner, n))[:0:-1]) for n in (2, 3, 4, 6, 12)]
    assert all(later < earlier for earlier, later in pairwise(widths))
    same = [np.subtract(*of(np.full(n, inner[0]))[:0:-1]) for n in (3, 5, 8)]
    assert same[0] > same[1] > same[2] > 0


def test_means_and_distances_by_hand() -> None:
    values = [1.0, 2.0, 6.0]
    half = student.ppf(0.95, 2) * np.std(values, ddof=1) / np.sqrt(3)
    assert np.allclose(mean_bounds(values, resolution=0.1), (3, 3 - half, 3 + half))
    assert np.allclose(
        mean_bounds([2, 2, 2], resolution=0.3), (2, *(2 + s * student.ppf(0.95, 2) * 0.3 / 3**0.5 for s in (-1, 1)))
    )
    found = distance_bounds(np.exp(values), resolution=0.1)
    assert np.allclose(np.log(found), (3, 3 - half, 3 + half))
    assert distance_bounds([0, 0, 0], resolution=0.01).value == pytest.approx(0.01)


def test_shares_and_differences_by_hand() -> None:
    logits = np.array([-1.0, 0.0, 2.5])
    half = student.ppf(1 - 0.05**1.23, 2) * logits.std(ddof=1) / np.sqrt(3)
    found = share_bounds(1 / (1 + np.exp(-logits)), n=10**6)
    assert np.allclose(np.log(np.array(found) / (1 - np.array(found))), (0.5, 0.5 - half, 0.5 + half))
    found = difference_bounds(np.tanh(logits), n=10**6)
    assert np.allclose(np.arctanh(found), (0.5, 0.5 - half, 0.5 + half))


def test_a_share_of_one_leaves_the_bound_above_it_open() -> None:
    found = share_bounds([1.0, 0.9, 0.95], n=20)
    assert found.high == 1 and 0 < found.low < found.value < 1
    assert share_bounds([0.0, 0.1, 0.05], n=20).low == 0
    assert difference_bounds([-1.0, -0.9, -0.8], n=20).low == -1 and difference_bounds([1.0, 0.9, 0.8], n=20).high == 1
    agreeing = share_bounds([1.0] * 5, n=200)
    assert 0.97 < agreeing.low < agreeing.value < 1  # where 1 of 1 was said before, with a width of zero


def test_rates_by_hand() -> None:
    assert rate_bounds(5, 5).low == pytest.approx(0.05 ** (1 / 5)) and rate_bounds(5, 5).high == 1
    assert rate_bounds(0, 8).high == pytest.approx(1 - 0.05 ** (1 / 8)) and rate_bounds(0, 8).low == 0
    assert rate_bounds(0, 0)[1:] == (0, 1)
    for n in (1, 5, 8):
        for count in range(n + 1):
            wide, narrow = rate_bounds(count, n, alpha=0.01), rate_bounds(count, n)
            assert wide.low <= narrow.low <= count / n <= narrow.high <= wide.high and narrow.low < narrow.high


def test_the_graphs_that_exclude_a_rate_are_the_fewest_whose_bound_is_below_it() -> None:
    for alpha in (0.05, 0.025, 0.05 / 3, 0.00625):
        for rate in (0.05, 0.1, 0.3, 0.4, 0.5, 0.9, 0.999):
            n = graphs_to_exclude(rate, alpha=alpha)
            assert rate_bounds(0, n, alpha=alpha).high < rate <= rate_bounds(0, n - 1, alpha=alpha).high
    assert graphs_to_exclude(1) == 1 and graphs_to_exclude(0.5, alpha=0.25) == 3  # of two the bound is .5, not below it


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_too_few_graphs_are_refused_by_name(kind: str, n: int) -> None:
    with pytest.raises(ValueError, match=f"bounds over graphs need 3 of them, got {n}"):
        KINDS[kind][0]([0.5] * n)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_bounded_is_refused(kind: str) -> None:
    of, _ = KINDS[kind]
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="bounds need a number for each graph"):
            of([0.1, 0.2, wrong])
    for alpha in (0, 0.5, 1, -0.05, np.nan):
        with pytest.raises(ValueError, match="needed is a finite number above 0 and below"):
            of([0.1, 0.2, 0.3], alpha=alpha)


def test_values_beyond_their_range_are_refused() -> None:
    with pytest.raises(ValueError, match="distances are at least 0"):
        distance_bounds([0.1, 0.2, -0.1], resolution=0.1)
    with pytest.raises(ValueError, match="shares lie between 0 and 1"):
        share_bounds([0.1, 0.2, 1.1], n=9)
    with pytest.raises(ValueError, match="differences of shares lie between -1 and 1"):
        difference_bounds([0.1, 0.2, -1.1], n=9)
    with pytest.raises(ValueError, match="of 3 graphs 0 to 3 do something, got 4"):
        rate_bounds(4, 3)
    for of in (mean_bounds, distance_bounds):
        with pytest.raises(ValueError, match="resolution is 0"):
            of([0.1, 0.2, 0.3], resolution=0)
    for of in (share_bounds, difference_bounds):
        with pytest.raises(ValueError, match="n is 0"):
            of([0.1, 0.2, 0.3], n=0)
    with pytest.raises(ValueError, match="rate is 0"):
        graphs_to_exclude(0)
