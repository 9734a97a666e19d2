import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from grokscope.analyses.statistics import (
    bootstrap_ratio,
    derangement,
    newcombe_interval,
    ratio_and_stderr,
    resampled_ratios,
    stderr_of_mean,
    sums_by_unit,
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


@pytest.mark.parametrize("n_drawn", [5, 40, 300])
@pytest.mark.parametrize("n_units", [2, 7, 25])
def test_errors_without_intervals_are_those_of_the_resamples(n_units: int, n_drawn: int) -> None:
    rng = np.random.default_rng(n_units)
    numerators, denominators, unit = rng.normal(size=(6, 25)), rng.uniform(-1, 4, size=25), np.arange(25) % n_units
    numerators[0], numerators[1], numerators[2, 3] = 0.0, 2 * denominators, np.nan
    expected = bootstrap_ratio(numerators, denominators, unit=unit, n_bootstrap=n_drawn, seed=5)
    found = ratio_and_stderr(numerators, denominators, unit=unit, n_bootstrap=n_drawn, seed=5)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-13)
    assert found[1][1] < 1e-13 < found[1][3] and np.isnan(found[1][2])  # a constant ratio is known, to the last digit


def test_errors_without_intervals_of_one_unit_no_row_and_gaps_that_cancel() -> None:
    values = np.ones((2, 4))
    assert np.isnan(ratio_and_stderr(values, values[0], unit=[3] * 4)[1]).all()
    assert ratio_and_stderr(values[:0], values[0])[1].shape == (0,)
    assert np.isnan(ratio_and_stderr(values, np.array([1.0, -1.0, 1.0, 1.0]))[1]).all()  # some resamples have no gap


@pytest.mark.parametrize("seed", range(5))
def test_whole_units_are_drawn_as_in_a_literal_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numerators, denominators, unit = rng.normal(size=(2, 30)), rng.uniform(1, 2, size=30), rng.integers(7, size=30) * 11
    found = bootstrap_ratio(numerators, denominators, unit=unit, n_bootstrap=200, seed=seed)
    units, draws = list(dict.fromkeys(unit.tolist())), []
    for counts in np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), size=200):
        drawn = [each for each, count in zip(units, counts, strict=True) for _ in range(count)]
        rows = np.concatenate([np.flatnonzero(unit == each) for each in drawn])
        draws.append(numerators[:, rows].sum(1) / denominators[rows].sum())
    np.testing.assert_allclose(found[0], numerators.sum(1) / denominators.sum())
    np.testing.assert_allclose(found[1], np.std(draws, axis=0, ddof=1))
    np.testing.assert_allclose(found[2].T, np.quantile(draws, [0.025, 0.975], axis=0))


def test_queries_that_are_their_units_give_the_same_bits_and_one_unit_no_interval() -> None:
    rng = np.random.default_rng(3)
    numerators, denominators = rng.normal(size=(4, 25)), rng.uniform(1, 2, size=25)
    plain = bootstrap_ratio(numerators, denominators, n_bootstrap=100)
    for unit in (np.arange(25), rng.permutation(25), list(range(50, 25, -1))):
        for a, b in zip(plain, bootstrap_ratio(numerators, denominators, unit=unit, n_bootstrap=100), strict=True):
            np.testing.assert_array_equal(a, b)
    estimate, stderr, interval = bootstrap_ratio(numerators, denominators, unit=np.zeros(25), n_bootstrap=100)
    np.testing.assert_array_equal(estimate, plain[0])
    assert np.isnan(stderr).all() and np.isnan(interval).all()


def test_copies_are_one_unit_and_change_nothing() -> None:
    """Four different queries and 16 copies of each have the interval of the four."""
    numerators, denominators = np.array([[1.0, 2.0, 3.0, 12.0]]), np.ones(4)
    few = bootstrap_ratio(numerators, denominators)
    unit = np.tile(np.arange(4), 16)
    many = bootstrap_ratio(np.tile(numerators, 16), np.tile(denominators, 16), unit=unit)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a, b)
    narrow = bootstrap_ratio(np.tile(numerators, 16), np.tile(denominators, 16))[2][0]
    assert np.ptp(narrow) < 0.5 * np.ptp(many[2][0])


@pytest.mark.parametrize("seed", range(3))
def test_sums_and_the_error_of_a_mean_by_unit_are_literal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, unit = rng.normal(size=(3, 20)), rng.integers(6, size=20)
    units = list(dict.fromkeys(unit.tolist()))
    literal = np.stack([values[:, unit == each].sum(1) for each in units], 1)
    np.testing.assert_allclose(sums_by_unit(values, unit), literal)
    np.testing.assert_array_equal(sums_by_unit(values, np.arange(20)), values)
    left = np.stack([(values - values.mean(1, keepdims=True))[:, unit == each].sum(1) for each in units], 1)
    n = len(units)
    np.testing.assert_allclose(stderr_of_mean(values, unit), np.sqrt(n / (n - 1) * (left**2).sum(1)) / 20)
    np.testing.assert_allclose(stderr_of_mean(values, np.arange(20)), values.std(1, ddof=1) / np.sqrt(20))
    assert np.isnan(stderr_of_mean(values, np.zeros(20))).all()


@pytest.mark.slow
def test_the_interval_of_clustered_queries_covers_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    """Over 400 samples of 60 units of one to nine queries whose error is their unit's; queries as units cover far less."""
    rng, covered = np.random.default_rng(2), np.zeros(2, dtype=int)
    for _ in range(400):
        unit = np.repeat(np.arange(60), rng.integers(1, 10, size=60))
        denominators = rng.uniform(5, 15, size=len(unit))
        numerators = 0.3 * denominators + rng.normal(size=60)[unit]
        for place, units in enumerate((unit, None)):
            low, high = bootstrap_ratio(numerators[None], denominators, unit=units, n_bootstrap=400)[2][0]
            covered[place] += low <= 0.3 <= high
    with capsys.disabled():
        print(f"\nintervals of clustered queries that hold the truth, of 400: {covered[0]}; by query {covered[1]}")  # noqa: T201
    assert covered[0] >= 0.91 * 400 and covered[1] < 0.75 * 400


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
