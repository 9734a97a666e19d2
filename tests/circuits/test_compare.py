import numpy as np
import pytest
from planted import CHAIN, LOOSE_ENDS, effects
from scipy.stats import spearmanr

from grokscope.circuits import Circuit, ComputationGraph, compare

OTHER = CHAIN | {"MLP0@r1 -> L1H0.v@r1": 0.01, "embed@r1 -> L1H0.v@r1": 0.9, "embed@r1 -> MLP0@r1": 0.3}


def circuit(values: dict[str, float], n: int = 40, seed: int = 0) -> Circuit:
    return Circuit.from_effects(effects(values, n, seed))


def value(comparison: object, measure: str, column: str = "value") -> float:
    table = comparison.table
    return float(table.loc[table["measure"] == measure, column].iloc[0])


def test_shared_lost_and_gained_edges_are_those_of_the_sets() -> None:
    a, b = circuit(CHAIN), circuit(OTHER)
    comparison = compare({"a": a, "b": b})
    kept = [set(map(str, c.kept_edges)) for c in (a, b)]
    changed = comparison.changed("a", "b")
    assert set(changed["shared"]) == kept[0] & kept[1]
    assert set(changed["lost"]) == kept[0] - kept[1]
    assert changed["gained"] == ["embed@r1 -> L1H0.v@r1"]
    # without MLP0@r1 -> L1H0.v@r1 what comes before it leads nowhere
    assert [value(comparison, name) for name in ("shared", "lost", "gained")] == [1, 3, 1]


def test_rank_correlation_is_spearmans_over_live_edges() -> None:
    a, b = circuit(CHAIN | LOOSE_ENDS), circuit(OTHER)
    comparison = compare({"a": a, "b": b})
    columns = [c.table["effect"].to_numpy() for c in (a, b)]
    live = (columns[0] != 0) | (columns[1] != 0)
    assert live.sum() == 8 == comparison.table["n_edges"].iloc[0]
    assert comparison.rank_correlation == pytest.approx(spearmanr(columns[0][live], columns[1][live]).statistic)


def test_overlap_of_the_strongest_edges_is_their_jaccard_index() -> None:
    comparison = compare({"a": circuit(CHAIN), "b": circuit(OTHER)}, top_k=(3, 99))
    # strongest of a: v@h .9, L0H0→MLP0 .8, MLP0→v@r1 .7; of b: v@h .9, embed@r1→v@r1 .9, L0H0→MLP0 .8
    assert value(comparison, "overlap@3") == pytest.approx(2 / 4)
    assert "overlap@99" not in set(comparison.table["measure"])


def test_a_circuit_equals_itself() -> None:
    comparison = compare({"a": circuit(CHAIN), "b": circuit(CHAIN)}, top_k=(2,))
    for measure in ("rank_correlation", "overlap@2"):
        assert [value(comparison, measure, column) for column in ("value", "low", "high")] == pytest.approx([1, 1, 1])


def test_intervals_come_from_a_literal_paired_bootstrap() -> None:
    a, b = circuit(CHAIN | LOOSE_ENDS, n=30), circuit(OTHER, n=30, seed=1)
    comparison = compare({"a": a, "b": b}, n_bootstrap=200, seed=7)
    live = (a.table["effect"] != 0) | (b.table["effect"] != 0)
    rng = np.random.default_rng(7)
    draws = []
    for counts in rng.multinomial(30, np.full(30, 1 / 30), size=200):
        resampled = [(c.deltas[live] * counts).sum(1) / (c.donor_gaps * counts).sum() for c in (a, b)]
        draws.append(spearmanr(*resampled).statistic)
    shift = comparison.rank_correlation - np.mean(draws)  # the interval is recentred on the estimate
    low, high = np.quantile(draws, [0.025, 0.975]) + shift
    assert low < comparison.rank_correlation < high <= 1
    assert value(comparison, "rank_correlation", "low") == pytest.approx(low)
    assert value(comparison, "rank_correlation", "high") == pytest.approx(high)


def test_without_per_query_changes_there_is_no_interval() -> None:
    bare = [Circuit(c.table, c.graph, c.provenance) for c in (circuit(CHAIN), circuit(OTHER))]
    comparison = compare(dict(zip("ab", bare, strict=True)))
    assert np.isfinite(comparison.rank_correlation)
    assert comparison.table["low"].isna().all() and comparison.table["high"].isna().all()


def test_three_circuits_are_compared_pair_by_pair() -> None:
    comparison = compare({"a": circuit(CHAIN), "b": circuit(OTHER), "c": circuit(CHAIN)})
    pairs = comparison.table[["a", "b"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["a", "b"], ["a", "c"], ["b", "c"]]


def test_circuits_measured_otherwise_are_refused_with_all_differences() -> None:
    a = circuit(CHAIN)
    b = Circuit(a.table, a.graph, {**a.provenance, "metric": "other", "pairs": "q"})
    with pytest.raises(ValueError, match=r"differ in metric: \{'a': 'logit_difference', 'b': 'other'\}; pairs:"):
        compare({"a": a, "b": b})
    fewer = Circuit(a.table.head(10), a.graph, a.provenance)
    with pytest.raises(ValueError, match=r"measured edges: \{'a': 44, 'b': 10\}"):
        compare({"a": a, "b": fewer})
    wider = ComputationGraph(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=2)
    with pytest.raises(ValueError, match="graph: "):
        compare({"a": a, "b": Circuit(a.table, wider, a.provenance)})
    with pytest.raises(ValueError, match="at least two circuits, got 1"):
        compare({"a": a})


def test_it_shows_itself_and_reads_back() -> None:
    comparison = compare({"a": circuit(CHAIN), "b": circuit(OTHER)})
    assert "6 live edges · n = 40 queries" in comparison._repr_html_()
    assert type(comparison).from_json(comparison.to_json()).table.equals(comparison.table)
    assert len(comparison.figure().data[0].x) == 6
