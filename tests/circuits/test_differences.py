"""Differences between circuits: the bootstrap is the literal one, and its intervals hold for all edges at once."""

import numpy as np
import pytest
import scipy.stats as stats
from diagrams import measured
from planted import GRAPH

from grokscope.circuits import Circuit, draw
from grokscope.circuits.differences import LEVEL, N_RESAMPLES, differences_of
from grokscope.circuits.resampling import drawn_again, units_of_queries

N_EDGES = len(GRAPH.edges)
ROWS = np.arange(N_EDGES)


def pair(shift: float = 0.0, *, n: int = 40, noise: float = 0.1, seed: int = 0) -> tuple[Circuit, Circuit]:
    """Two circuits whose first edge differs by so much, measured on the same queries with noise of their own."""
    effect = np.random.default_rng(99).normal(size=N_EDGES) * 0.2
    other = effect.copy()
    other[0] += shift
    a, b = (measured(GRAPH, each, n=n, noise=noise, seed=2 * seed + k) for k, each in enumerate((effect, other)))
    assert a.donor_gaps is not None and b.deltas is not None
    deltas = b.deltas + other[:, None] * (a.donor_gaps - b.donor_gaps)  # on the same queries: the same gaps
    value = deltas.sum(1) / a.donor_gaps.sum()
    table = b.table.assign(effect=value, gap=a.donor_gaps.mean(), kept=b.table["kept"])
    return a, Circuit(table, GRAPH, b.provenance, deltas, a.donor_gaps)


def literal(a: Circuit, b: Circuit, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Bounds by resampling query by query, one edge after the other."""
    weights = drawn_again(units_of_queries({"a": a}, False)["a"], N_RESAMPLES, np.random.default_rng([seed, 0]))
    found = []
    for sample in weights.T:
        queries = np.repeat(np.arange(len(sample)), sample.astype(int))
        effect_a, effect_b = (
            [sum(each.deltas[i, q] for q in queries) / sum(each.donor_gaps[q] for q in queries) for i in range(6)]
            for each in (a, b)
        )
        found.append(np.subtract(effect_b, effect_a))
    draws = np.array(found)
    spread = draws.std(axis=0, ddof=1)
    largest = [max(abs(draw[i] - draws[:, i].mean()) / spread[i] for i in range(6)) for draw in draws]
    value = (b.table["effect"] - a.table["effect"]).to_numpy()[:6]
    n = len(weights)
    half = stats.t(n - 1).ppf(stats.norm.cdf(np.quantile(largest, LEVEL))) * spread * (n / (n - 1)) ** 0.5
    return value - half, value + half


def test_bounds_are_those_of_a_literal_bootstrap() -> None:
    a, b = pair(0.3, n=12)
    few = [
        Circuit(each.table.iloc[:6].reset_index(drop=True), GRAPH, each.provenance, each.deltas[:6], each.donor_gaps)
        for each in (a, b)
    ]
    found = differences_of(*few, np.arange(6), paired=True, seed=3)
    low, high = literal(*few, seed=3)
    assert found.edges["low"].to_numpy() == pytest.approx(low, abs=1e-6)
    assert found.edges["high"].to_numpy() == pytest.approx(high, abs=1e-6)
    assert found.how == "bootstrap of 12 queries" and found.n_family == 6


def test_nodes_are_sums_of_what_leaves_them() -> None:
    a, b = pair(0.3)
    found = differences_of(a, b, ROWS, paired=True, seed=0)
    value = (b.table["effect"] - a.table["effect"]).groupby(a.table["sender"]).sum()
    assert found.nodes.set_index("node")["value"].to_dict() == pytest.approx(value.to_dict())
    assert (found.nodes["low"] <= found.nodes["value"]).all() and (found.nodes["high"] >= found.nodes["value"]).all()


def test_a_planted_difference_is_found_and_no_other() -> None:
    """The positive control."""
    for seed in range(5):
        edges = differences_of(*pair(0.2, seed=seed), ROWS, paired=True, seed=seed).edges
        differs = (edges["low"] > 0) | (edges["high"] < 0)
        assert differs[0] and differs.sum() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("n_queries", [16, 60])
def test_of_circuits_that_do_not_differ_hardly_any_has_an_edge_that_does(n_queries: int) -> None:
    """The negative control: in 95 of 100 pictures of equal circuits nothing is called different."""
    n, false = 300, 0
    for seed in range(n):
        a, b = pair(0.0, n=n_queries, seed=seed)
        edges = differences_of(a, b, ROWS, paired=True, seed=seed).edges
        false += bool(((edges["low"] > 0) | (edges["high"] < 0)).any())
    assert false / n <= 0.09, f"{false} of {n}"  # 5 of 100 are meant; more than 27 of 300 are unlikely then (p < .01)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["three standard errors", "the twelve strongest"])
def test_that_holds_for_edges_that_are_kept_for_their_effects(rule: str) -> None:
    """The kept edges of circuits near the noise are those where chance was large: the intervals know of all the others."""
    n, false = 200, 0
    for seed in range(n):
        a, b = pair(0.0, n=40, noise=1.5, seed=seed)
        size = np.maximum(*(np.abs(c.table["effect"]) / c.table["stderr"] for c in (a, b)))
        kept = size >= 3 if rule == "three standard errors" else size.rank(ascending=False) <= 12
        edges = differences_of(a, b, ROWS, paired=True, seed=seed).edges[kept]
        false += bool(((edges["low"] > 0) | (edges["high"] < 0)).any())
    assert false / n <= 0.1, f"{false} of {n}"  # 5 of 100 are meant; more than 20 of 200 are unlikely then (p < .01)


def test_intervals_of_the_edges_that_a_page_holds_know_of_the_others() -> None:
    a, b = pair(0.3)
    few, all_of_them = (differences_of(a, b, rows, paired=True, seed=0).edges.iloc[:10] for rows in (ROWS[:10], ROWS))
    alone = [
        Circuit(c.table.iloc[:10].reset_index(drop=True), GRAPH, c.provenance, c.deltas[:10], c.donor_gaps) for c in (a, b)
    ]
    narrow = differences_of(*alone, ROWS[:10], paired=True, seed=0).edges
    width = {name: (e["high"] - e["low"]).mean() for name, e in {"few": few, "all": all_of_them, "alone": narrow}.items()}
    assert width["alone"] < width["all"] <= 1.05 * width["few"]


def test_queries_that_share_a_unit_are_drawn_together() -> None:
    a, b = pair(0.1, n=40)
    prompts = [f"{i:032x}" for i in range(40)]
    units = {"hashes": {"clean": prompts, "corrupt": prompts, "unit": [f"{i // 10:032x}" for i in range(40)]}}
    wide, narrow = (
        differences_of(*(Circuit(c.table, GRAPH, c.provenance | about, c.deltas, c.donor_gaps) for c in (a, b)), ROWS,
                       paired=True, seed=0)
        for about in (units, {})
    )  # fmt: skip
    assert wide.how == "bootstrap of 4 units of queries" and narrow.how == "bootstrap of 40 queries"


def test_without_changes_by_query_bounds_come_from_standard_errors() -> None:
    a, b = (Circuit(each.table, GRAPH, each.provenance) for each in pair(0.3))
    found = differences_of(a, b, ROWS, paired=True, seed=0)
    assert found.how == "standard errors, as if independent (Bonferroni)"
    half = (found.edges["high"] - found.edges["low"]) / 2
    spread = np.hypot(a.table["stderr"], b.table["stderr"])
    assert (half / spread).to_numpy() == pytest.approx((half / spread)[0]) and (half / spread)[0] > 2.5
    bare = [Circuit(each.table.assign(stderr=float("nan")), GRAPH, each.provenance) for each in (a, b)]
    nothing = differences_of(*bare, ROWS, paired=True, seed=0)
    assert nothing.how == "" and nothing.edges["low"].isna().all()


def test_circuits_of_other_pairs_are_resampled_apart() -> None:
    a, b = pair(0.0, n=30)
    together, apart = (differences_of(a, b, ROWS, paired=paired, seed=0).edges for paired in (True, False))
    shared = measured(GRAPH, np.full(N_EDGES, 0.2), n=30, noise=1.0)
    equal = differences_of(shared, shared, ROWS, paired=True, seed=0).edges
    assert (equal["high"] - equal["low"]).max() == 0.0, "of one circuit twice nothing differs"
    assert not np.allclose(together["low"], apart["low"])


def test_of_many_circuits_each_is_compared_with_the_first() -> None:
    a, b = pair(0.1)
    three = draw({"a": a, "b": b, "c": a}).data["differences"]
    assert [(each["a"], each["b"]) for each in three] == [(0, 1), (0, 2), (1, 2)]
    five = draw({name: a for name in "abcde"}).data["differences"]
    assert [(each["a"], each["b"]) for each in five] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_the_seed_of_the_bootstrap_is_an_argument() -> None:
    a, b = pair(0.1)
    bounds = [draw({"a": a, "b": b}, seed=seed).data["differences"][0]["low"] for seed in (0, 0, 1)]
    assert bounds[0] == bounds[1] != bounds[2]
