import dataclasses

import numpy as np
import pytest
from every_alignment import signed
from planted import CHAIN, LOOSE_ENDS, effects
from scipy.spatial.distance import jensenshannon
from scipy.stats import spearmanr

from grokscope.circuits import Circuit, ComputationGraph, compare
from grokscope.circuits.palette import PAGE
from grokscope.circuits.random_circuits import edge_class

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


def in_units(circuit: Circuit, units: list[str]) -> Circuit:
    hashes = {"clean": units, "corrupt": units, "unit": units}
    return dataclasses.replace(circuit, provenance={**circuit.provenance, "hashes": hashes})


def test_whole_units_are_drawn_and_tested() -> None:
    """Intervals and tests of 30 queries, each given three times as one unit, are those of the 30."""
    a, b = circuit(CHAIN | LOOSE_ENDS, n=30), circuit(OTHER, n=30, seed=1)
    names, thrice = [f"{i:x}" for i in range(30)], np.arange(90) // 3
    copies = [dataclasses.replace(c, deltas=c.deltas[:, thrice], donor_gaps=c.donor_gaps[thrice]) for c in (a, b)]
    plain = compare({"a": a, "b": b}, n_bootstrap=50)
    for known in ((0, 1), (1,)):  # the units of common pairs are known if one circuit says them
        named = [in_units(c, [names[i] for i in thrice]) if i in known else c for i, c in enumerate(copies)]
        found = compare(dict(zip("ab", named, strict=True)), n_bootstrap=50)
        assert (found.table["n_units"] == 30).all()
        numbers = ["value", "low", "high", "ceiling"]
        np.testing.assert_allclose(found.table[numbers], plain.table[numbers], atol=1e-9)
        np.testing.assert_allclose(
            found.differences[["low", "high", "p"]], plain.differences[["low", "high", "p"]], atol=1e-9
        )
    by_query = compare(dict(zip("ab", copies, strict=True)), n_bootstrap=50).differences
    assert ((by_query["high"] - by_query["low"]) < 0.7 * (plain.differences["high"] - plain.differences["low"])).all()
    one = compare({"a": in_units(a, ["f"] * 30), "b": in_units(b, ["f"] * 30)}, n_bootstrap=50)
    assert one.table["low"].isna().all() and one.differences["p"].isna().all()


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
    wider = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=2)
    with pytest.raises(ValueError, match="graph: "):
        compare({"a": a, "b": Circuit(a.table, wider, a.provenance)})
    with pytest.raises(ValueError, match="at least two circuits, got 1"):
        compare({"a": a})


def test_it_shows_itself_and_reads_back() -> None:
    comparison = compare({"a": circuit(CHAIN), "b": circuit(OTHER)})
    assert "6 live edges · n = 40 queries" in comparison._repr_html_()
    assert type(comparison).from_json(comparison.to_json()).table.equals(comparison.table)
    figure = comparison.figure()
    assert len(figure.data[0].x) == 6
    (diagonal,) = figure.layout.shapes
    ends = [min(*figure.data[0].x, *figure.data[0].y), max(*figure.data[0].x, *figure.data[0].y)]
    assert [diagonal.x0, diagonal.x1] == [diagonal.y0, diagonal.y1] == ends == [-0.6, 0.9]
    assert (diagonal.line.color, diagonal.line.dash, diagonal.opacity) == (PAGE["faint"], "dash", 1)
    assert "dashed: equal" in figure.layout.title.text


def test_chance_is_below_a_real_likeness_and_the_ceiling_above_it() -> None:
    rows = compare({"a": circuit(CHAIN | LOOSE_ENDS), "b": circuit(OTHER)}, top_k=(3,)).table.set_index("measure")
    overlap = rows.loc["weighted_overlap"].to_dict()
    assert overlap["chance"] <= overlap["chance_bound"] < overlap["value"] < overlap["ceiling"] <= 1.0
    assert overlap["p"] <= 0.02
    distance = rows.loc["jensen_shannon"].to_dict()
    assert distance["ceiling"] < distance["value"] < distance["chance_bound"] <= distance["chance"]


@pytest.mark.usefixtures("not_aligned")
def test_shuffled_circuits_are_as_alike_as_chance() -> None:
    rng, p = np.random.default_rng(0), []
    a = circuit(CHAIN | LOOSE_ENDS)
    classes = [str(edge_class(edge)) for edge in a.measured_edges]
    for seed in range(40):
        order = np.arange(len(classes))
        for places in [np.flatnonzero(np.array(classes) == name) for name in sorted(set(classes))]:
            order[places] = rng.permutation(places)
        values = a.table["effect"].to_numpy()[order]
        b = circuit({str(edge): value for edge, value in zip(a.measured_edges, values, strict=True) if value}, seed=1)
        rows = compare({"a": a, "b": b}, n_bootstrap=10, seed=seed).table.set_index("measure")
        p.append(rows.loc["weighted_overlap", "p"])
    assert np.mean(np.array(p) <= 0.05) <= 0.2 and 0.2 < np.mean(p) < 0.95


def test_the_ceiling_is_the_likeness_of_halves() -> None:
    a = circuit(CHAIN | LOOSE_ENDS, n=40)
    comparison = compare({"a": a, "b": a}, n_bootstrap=10)
    ceiling = comparison.table.set_index("measure").loc["jensen_shannon", "ceiling"]
    rng, distances, live = np.random.default_rng(3), [], a.table["effect"].to_numpy() != 0
    for _ in range(300):
        order = rng.permutation(40)
        halves = [a.deltas[live][:, part].sum(1) / a.donor_gaps[part].sum() for part in (order[:20], order[20:])]
        distances.append(jensenshannon(*map(signed, halves), base=2))
    assert ceiling == pytest.approx(np.mean(distances), rel=0.2)


def test_differences_find_the_edges_that_changed_and_few_others() -> None:
    comparison = compare({"a": circuit(CHAIN | LOOSE_ENDS, n=200), "b": circuit(OTHER, n=200, seed=1)})
    table = comparison.differences.set_index("edge")
    changed = {"embed@r1 -> L1H0.v@r1", "embed@r1 -> MLP0@r1", "MLP0@r1 -> L1H0.v@r1", *LOOSE_ENDS}
    assert set(table.index[table["q"] <= 0.05]) >= changed
    row = table.loc["embed@r1 -> L1H0.v@r1"].to_dict()
    assert row["difference"] == pytest.approx(0.9) and row["low"] < 0.9 < row["high"]
    assert row["difference_in_nats"] == pytest.approx(9.0)  # planted frames have a gap of 10
    same = compare({"a": circuit(CHAIN, n=200), "b": circuit(CHAIN, n=200, seed=1)}).differences
    assert (same["q"] > 0.05).all() and len(same) == len(CHAIN)


def test_across_seeds_the_recipe_must_agree_and_not_the_pairs() -> None:
    recipe = {"split": "test_inferred_iid", "n_asked": 40, "task": "x"}
    a, other = circuit(CHAIN), circuit(CHAIN, n=50, seed=2)
    a = dataclasses.replace(a, provenance={**a.provenance, "recipe": recipe})
    b = dataclasses.replace(other, provenance={**a.provenance, "pairs": "q", "recipe": {**recipe, "task": "y"}})
    with pytest.raises(ValueError, match="differ in pairs"):
        compare({"a": a, "b": b})
    rows = compare({"a": a, "b": b}, across_seeds=True).table.set_index("measure")
    row = rows.loc["jensen_shannon"].to_dict()
    assert row["value"] < 0.01 and row["n"] == 40
    c = dataclasses.replace(b, provenance={**b.provenance, "recipe": {**recipe, "split": "test_inferred_ood"}})
    with pytest.raises(ValueError, match=r"differ in split: \{'a': 'test_inferred_iid', 'c': 'test_inferred_ood'\}"):
        compare({"a": a, "c": c}, across_seeds=True)


def test_undefined_effects_are_refused_with_their_reason() -> None:
    a = circuit(CHAIN)
    b = Circuit(a.table.assign(effect=np.nan), a.graph, {**a.provenance, "reason": "the gap is small"})
    with pytest.raises(ValueError, match=r"undefined effects \(b: the gap is small\)"):
        compare({"a": a, "b": b})


def test_effects_that_are_only_estimated_are_counted() -> None:
    a, b = circuit(CHAIN), circuit(OTHER)
    assert "estimates" not in compare({"a": a, "b": b}).caption
    verified = ["estimated"] * 3 + ["exact"] * (len(a.table) - 3)
    screened = dataclasses.replace(a, table=a.table.assign(verified=verified))
    estimated = dataclasses.replace(b, provenance={**b.provenance, "method": "estimated by eap"})
    comparison = compare({"a": screened, "b": estimated})
    said = f"3 of a are estimates and {len(b.table)} of b are estimates"
    assert said in comparison.caption and said in str(comparison.summary())
    assert type(comparison).from_json(comparison.to_json()).caption == comparison.caption
