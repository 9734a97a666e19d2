"""Two conditions over graphs: *same* and *different* by hand, how often they are wrong, how many graphs *same* needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from explained import assert_explained
from planted_trainings import SEPARATE, TRUTHS, studies, study
from scipy.stats import binom
from scipy.stats import t as student

from grokscope.analyses import EquivalenceResult, equivalence, graphs_needed
from grokscope.analyses.bounds import distance_bounds
from grokscope.analyses.sameness.equivalence import DIFFERENT, RESOLUTION, SAME, UNDECIDED
from grokscope.analyses.sameness.power import said_same
from grokscope.circuits import Result

AB = ("a", "b")
MARGIN = 0.1


pytestmark = pytest.mark.usefixtures("as_users_call")


def graph(between: float, within: float = 0.01) -> dict[tuple[str, str], float]:
    """One graph with both conditions trained twice, all distances of a kind alike."""
    cross = dict.fromkeys([("a", "b"), ("a", "b again"), ("a again", "b"), ("b again", "a again")], between)
    return {**cross, ("a", "a again"): within, ("b again", "b"): within}


def decided(distances: Mapping[Any, Mapping[tuple[str, str], float]], **settings: float) -> EquivalenceResult:
    return equivalence(distances, AB, **{"margin": MARGIN, **settings})


def over(between: Sequence[float], within: Sequence[float] | float = 0.01, **settings: float) -> EquivalenceResult:
    near = [within] * len(between) if isinstance(within, int | float) else list(within)
    return decided({i: graph(b, w) for i, (b, w) in enumerate(zip(between, near, strict=True))}, **settings)


def test_close_conditions_are_the_same_and_far_ones_different() -> None:
    same, far = over([0.01, 0.012, 0.009]), over([0.4, 0.5, 0.6])
    assert (same.verdict, same.reason, far.verdict, far.reason) == (SAME, "", DIFFERENT, "")
    assert same.table["pairs"].tolist() == [4] * 3 and same.table["graph"].tolist() == [0, 1, 2]
    assert "a / b: same; distance 0.010 [" in same.caption and "n = 3 graphs" in same.caption
    assert Result.from_json(same.to_json()).caption == same.caption


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    found = {DIFFERENT: over([0.4, 0.5, 0.6]), UNDECIDED: over([0.01, 0.5, 0.6]), SAME: over([0.01, 0.012, 0.009])}
    for verdict, result in found.items():
        assert result.verdict == verdict
        assert_explained(result, constants={"1.5"})
        assert f"typical distance is {result.value:.3f}" in result.explain().means
        assert f"[{result.low:.3f}, {result.high:.3f}]" in result.explain().sure
    few = over([0.01, 0.012])
    assert_explained(few, constants={"1.5", "3"})
    assert few.explain().means == "Undecided: needed are 3 graphs, there are 2."


def test_the_numbers_by_hand() -> None:
    between, within = [0.02, 0.03, 0.06], [0.01, 0.02, 0.02]
    found = over(between, within, alpha=0.05 / 6)
    logs, ratios = np.log(between), np.log(between) - np.log(within)
    for values, numbers, strict in (
        (logs, (found.value, found.low, found.high), found.strict_low),
        (ratios, (found.ratio, found.ratio_low, found.ratio_high), found.strict_ratio_low),
    ):
        half = student.ppf(0.95, 2) * values.std(ddof=1) / np.sqrt(3)
        assert np.allclose(np.log(numbers), (values.mean(), values.mean() - half, values.mean() + half))
        assert np.isclose(np.log(strict), values.mean() - student.ppf(1 - 0.05 / 6, 2) * values.std(ddof=1) / np.sqrt(3))
    assert np.isclose(found.replicates, np.exp(np.log(within).mean()))


def test_all_cross_pairs_count_and_all_replicates() -> None:
    one = graph(0.0) | {("a", "b"): 0.04, ("a again", "b"): 0.08, ("b again", "b"): 0.03}
    row = decided(dict.fromkeys(range(3), one)).table.iloc[0]
    assert row["distance"] == pytest.approx(0.12 / 4) and row["replicate_distance"] == pytest.approx(0.02)
    assert row["ratio"] == pytest.approx(1.5) and row["furthest_replicates"] == pytest.approx(0.03)


def test_conditions_that_are_identical_everywhere_are_the_same() -> None:
    for margin in (0.002, 0.1):
        found = over([0.0] * 3, 0.0, margin=margin, max_ratio=1.2)
        assert (found.verdict, found.ratio) == (SAME, 1) and found.low < found.value < found.high  # 0 < 0 was undecided


def test_what_is_exactly_at_the_margins_is_the_same() -> None:
    between, within = [0.02, 0.03, 0.04, 0.03], [0.01, 0.02, 0.03, 0.02]
    first = over(between, within)
    assert over(between, within, margin=first.high, max_ratio=first.ratio_high).verdict == SAME
    assert over(between, within, margin=np.nextafter(first.high, 0)).verdict == UNDECIDED
    assert over(between, within, max_ratio=np.nextafter(first.ratio_high, 0)).verdict == UNDECIDED
    one = over([0.05] * 8, 0.05)
    assert (
        one.high < 0.06 and over([0.05] * 7 + [0.06], 0.05, margin=0.06).verdict == SAME
    )  # a graph at the margin is not beyond


def test_what_is_further_than_replicates_is_not_the_same_though_it_is_close() -> None:
    found = over([0.05] * 5, 0.01)
    assert (found.verdict, found.reason) == (UNDECIDED, "within the margin, but perhaps further apart than replicates")
    assert over([0.05] * 5, 0.01, max_ratio=6).verdict == SAME


def test_replicates_that_disagree_leave_it_open_whatever_the_conditions_do() -> None:
    for between in (0.01, 0.3, 1.0):
        found = over([between] * 5, 0.5)
        assert (found.verdict, found.reason) == (UNDECIDED, "replicates disagree, by up to 0.500")
    saturated = over([1.0] * 5, 0.5)  # as a measure with a largest value does
    assert saturated.verdict == UNDECIDED


def test_one_odd_graph_leaves_it_open() -> None:
    found = over([0.01] * 7 + [0.2])
    assert (found.verdict, found.reason) == (UNDECIDED, "1 of 8 graphs beyond 1.5 margins")


@pytest.mark.parametrize("pair", [("a", "a again"), ("b again", "b")])
def test_one_odd_replicate_leaves_it_open(pair: tuple[str, str]) -> None:
    """Though the mean over the replicates of its graph is within the margin."""
    found = decided({i: graph(0.01) | ({pair: 0.17} if i == 2 else {}) for i in range(5)})
    assert (found.verdict, found.reason) == (UNDECIDED, "replicates disagree, by up to 0.170")
    assert found.table["replicate_distance"].max() < MARGIN


def test_bounds_that_include_the_margin_leave_it_open() -> None:
    found = over([0.09, 0.12, 0.11, 0.1])
    assert (found.verdict, found.reason) == (UNDECIDED, "the bounds include the margin")


def test_different_rests_on_the_stricter_bounds() -> None:
    between = [0.1, 0.2, 0.3, 0.4]
    loose, strict = over(between, alpha=0.05), over(between, alpha=0.05 / 6)
    assert (loose.verdict, strict.verdict) == (DIFFERENT, UNDECIDED) and strict.low == loose.low > MARGIN
    assert strict.strict_low < MARGIN < loose.strict_low == loose.low


def test_two_graphs_are_too_few() -> None:
    found = over([0.01, 0.01])
    assert (found.verdict, found.reason) == (UNDECIDED, "needed are 3 graphs, there are 2") and np.isnan(found.value)
    assert "needed are 3 graphs" in found.caption and Result.from_json(found.to_json()).verdict == UNDECIDED


def test_a_pair_that_is_missing_or_no_distance_is_refused() -> None:
    whole = graph(0.01)
    cut = {pair: value for pair, value in whole.items() if pair != ("a again", "b")}
    with pytest.raises(ValueError, match="graph 1 has no distance between a again and b"):
        decided({0: whole, 1: cut, 2: whole})
    without = {pair: value for pair, value in whole.items() if pair in {("a", "b"), ("a", "b again")}}
    with pytest.raises(
        ValueError, match="graph x has no distance of a or b to its replicate; graph y has distances that are none"
    ):
        decided({"x": without, "y": graph(-0.1)})
    with pytest.raises(ValueError, match="there is no graph"):
        decided({})
    with pytest.raises(ValueError, match="no distance between c and a"):
        equivalence({0: whole}, ("c", "a"), margin=0.1)
    with pytest.raises(ValueError, match=r"margin is 0.001, .* at least 0.002; max_ratio is 0.5"):
        over([0.1] * 3, margin=0.001, max_ratio=0.5)


def test_a_training_that_is_compared_with_nothing_is_left_alone() -> None:
    one = {("a", "b"): 0.01, ("a", "a again"): 0.01, ("a again", "c"): 0.5}
    assert decided(dict.fromkeys(range(3), one)).table["pairs"].tolist() == [1] * 3


def drawn(n: int, draws: int, between: float, within: float, spread: float = 0.4, **settings: float) -> list[str]:
    """Verdicts on studies whose distances are lognormal, one of conditions and one of replicates on each graph."""
    rng = np.random.default_rng(n)
    verdicts = []
    for _ in range(draws):
        b, w = (each * np.exp(spread * rng.normal(size=n)) for each in (between, within))
        found = {i: {("a", "b"): b[i], ("a", "a again"): w[i]} for i in range(n)}
        verdicts.append(equivalence(found, AB, margin=MARGIN, **settings).verdict)
    return verdicts


FEW = pytest.mark.parametrize(
    ("n", "draws"), [(5, 60), *(pytest.param(n, 1500, marks=pytest.mark.slow) for n in (3, 5, 8, 12))]
)


def most_of(draws: int, rate: float = 0.05) -> float:
    """The largest count that a rate gives in so many draws, but for one time in a thousand."""
    return float(binom.ppf(0.999, draws, rate))


@FEW
def test_conditions_at_the_margin_are_seldom_called_the_same(n: int, draws: int) -> None:
    assert drawn(n, draws, MARGIN, MARGIN / 2, spread=0.2).count(SAME) <= most_of(draws)


@FEW
def test_conditions_twice_as_far_as_replicates_are_seldom_called_the_same(n: int, draws: int) -> None:
    """By the old rule it was .25 to .39."""
    assert drawn(n, draws, 0.02, 0.01).count(SAME) <= most_of(draws)


@FEW
@pytest.mark.parametrize("distance", [0.02, *(pytest.param(d, marks=pytest.mark.slow) for d in (0.06, MARGIN, 0.2))])
def test_conditions_that_are_like_replicates_are_seldom_called_different(n: int, draws: int, distance: float) -> None:
    assert drawn(n, draws, distance, distance).count(DIFFERENT) <= most_of(draws)


@FEW
def test_conditions_at_the_margin_are_seldom_called_different(n: int, draws: int) -> None:
    assert drawn(n, draws, MARGIN, 0.01).count(DIFFERENT) <= most_of(draws)


@FEW
def test_at_a_smaller_alpha_less_often(n: int, draws: int) -> None:
    assert drawn(n, draws, MARGIN, 0.01, alpha=0.05 / 6).count(DIFFERENT) <= most_of(draws, 0.05 / 6)


@pytest.mark.parametrize("world", TRUTHS)
@pytest.mark.parametrize(("n", "draws"), [(5, 20), *(pytest.param(n, 100, marks=pytest.mark.slow) for n in (5, 8))])
def test_planted_trainings_are_judged_rightly(world: str, n: int, draws: int) -> None:
    """Trainings are points, so that all pairs of a graph depend on each other as they do in a study."""
    verdicts = [equivalence(each, AB, margin=MARGIN).verdict for each in studies(world, n, draws)]
    right = verdicts.count(TRUTHS[world])
    assert right >= 0.95 * draws, f"{world}: {right} of {draws}"


def test_a_study_of_planted_trainings_is_made_of_points() -> None:
    one = study("different", 3, seed=0)[0]
    assert len(one) == 6 and one["a", "b"] <= one["a", "a again"] + one["a again", "b"]
    assert abs(np.mean([one[pair] for pair in one if {"a", "b"} <= {name[0] for name in pair}]) - SEPARATE) < 0.1


def test_the_rule_of_the_power_calculation_is_that_of_the_test() -> None:
    rng = np.random.default_rng(0)
    between, within = np.exp(rng.normal(np.log(0.03), 0.5, (60, 5))), np.exp(rng.normal(np.log(0.02), 0.5, (60, 5)))
    within[::7] = RESOLUTION * 3
    fast = said_same(between, within, MARGIN, 2.0)
    slow = [over(b.tolist(), w.tolist()).verdict == SAME for b, w in zip(between, within, strict=True)]
    assert fast.tolist() == slow and 5 < sum(slow) < 50


def test_that_many_graphs_suffice_and_fewer_do_not() -> None:
    settings = {"margin": MARGIN, "spread": 0.3, "ratio_spread": 0.4}
    n = graphs_needed(0.03, 1.2, **settings)
    assert n == 6
    for size, enough in ((n, True), (n - 3, False)):
        rng = np.random.default_rng(1)
        between = 0.03 * np.exp(0.3 * rng.normal(size=(100, size)))
        within = between / (1.2 * np.exp(0.4 * rng.normal(size=(100, size))))
        said = np.mean([over(b.tolist(), w.tolist()).verdict == SAME for b, w in zip(between, within, strict=True)])
        assert (said > 0.7) == enough


def test_more_spread_or_a_narrower_margin_needs_more_graphs() -> None:
    few = graphs_needed(0.03, margin=0.1, spread=0.2, ratio_spread=0.2)
    some = graphs_needed(0.03, margin=0.1, spread=0.2, ratio_spread=0.4)
    assert few is not None and some is not None and few < some
    assert graphs_needed(0.03, margin=0.1, spread=0.2, ratio_spread=0.2, power=0.99) >= few  # type: ignore[operator]
    assert graphs_needed(0.03, 2.5, margin=0.1, spread=0.2, ratio_spread=0.2) is None
    assert graphs_needed(0.09, margin=0.1, spread=0.4, ratio_spread=0.2) is None


def test_the_geometric_mean_is_what_is_decided_on() -> None:
    found = over([0.02, 0.05, 0.08])
    assert found.value == distance_bounds([0.02, 0.05, 0.08], resolution=RESOLUTION).value
