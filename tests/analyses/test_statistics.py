import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from grokscope.analyses.statistics import (
    bootstrap_ratio,
    derangement,
    newcombe_interval,
    resampled_ratios,
    wilson,
    wilson_row,
)


@pytest.mark.parametrize(("k", "n"), [(0, 18), (16, 16), (5, 16), (300, 622)])
def test_wilson_is_scipys(k: int, n: int) -> None:
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((expected.low, expected.high))


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(float("nan"), 5) == wilson(0.3, 0) == (0.0, 1.0)


def test_a_row_counts_units_and_not_queries() -> None:
    met, unit = torch.tensor([True, False, True, True, True]), torch.tensor([7, 7, 2, 2, 5])
    expected = binomtest(3, 3).proportion_ci(method="wilson")  # three units; only their number matters
    for row in (wilson_row(met, unit), wilson_row(met.double().numpy(), unit.tolist())):
        assert (row.value, row.n, row.n_units) == (0.8, 5, 3)
        assert (row.low, row.high) == tuple(wilson(0.8, 3)) and row.low < expected.low


@pytest.mark.parametrize("n", [2, 3, 50])
def test_a_derangement_moves_everything_and_follows_its_seed(n: int) -> None:
    order = derangement(n, seed=3)
    assert sorted(order.tolist()) == list(range(n)) and (order != torch.arange(n)).all()
    assert torch.equal(order, derangement(n, seed=3))


def test_newcombes_interval_is_antisymmetric_and_as_published() -> None:
    """Newcombe 1998, table II, method 10: 10 of 10 against none of 10, and 9 of 10 against 3 of 10."""
    low, high = newcombe_interval(1.0, 0.0, 10)
    assert (low, high) == (pytest.approx(0.6075, abs=1e-4), 1.0)
    assert newcombe_interval(0.9, 0.3, 10) == pytest.approx((0.1705, 0.8090), abs=1e-4)
    assert newcombe_interval(0.2, 0.7, 30) == pytest.approx([-each for each in reversed(newcombe_interval(0.7, 0.2, 30))])


def test_the_ratio_is_of_sums_and_the_draws_are_literal() -> None:
    rng = np.random.default_rng(0)
    numerators, denominators = rng.normal(size=(3, 25)), rng.uniform(1, 2, size=25)
    estimate, stderr, interval = bootstrap_ratio(numerators, denominators, n_bootstrap=300, seed=5)
    np.testing.assert_allclose(estimate, numerators.sum(1) / denominators.sum())
    draws = []
    for counts in np.random.default_rng(5).multinomial(25, np.full(25, 1 / 25), size=300):
        rows = np.repeat(np.arange(25), counts)
        draws.append(numerators[:, rows].sum(1) / denominators[rows].sum())
    np.testing.assert_allclose(stderr, np.std(draws, axis=0, ddof=1))
    np.testing.assert_allclose(interval.T, np.quantile(draws, [0.025, 0.975], axis=0))


def test_the_interval_covers_the_truth() -> None:
    """Over 200 samples of a known ratio, about 95 % of the intervals hold it."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        denominators = rng.uniform(5, 15, size=100)
        numerators = 0.3 * denominators + rng.normal(size=100)
        low, high = bootstrap_ratio(numerators[None], denominators, n_bootstrap=400, seed=0)[2][0]
        covered += low <= 0.3 <= high
    assert binomtest(covered, 200, 0.95).pvalue > 0.001


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_queries_have_an_estimate_and_no_error(n: int) -> None:
    numerators, denominators = np.full((3, n), 2.0), np.full(n, 4.0)
    estimate, stderr, interval = bootstrap_ratio(numerators, denominators, n_bootstrap=50)
    np.testing.assert_array_equal(estimate, np.full(3, 0.5 if n else np.nan))
    assert np.isnan(stderr).all() and np.isnan(interval).all() and interval.shape == (3, 2)
    assert resampled_ratios(numerators, denominators, n_bootstrap=50).shape == (3, 50)


def test_a_share_of_one_query_has_a_wide_interval() -> None:
    share = wilson_row([True], [0])
    assert share.value == 1.0 and share.low < 0.3 and share.high == 1.0
