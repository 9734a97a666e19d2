"""Planted circuits: when two are called different, the same or undecided, how often wrongly, and what is said."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from explained import assert_explained
from planted import GRAPH, ONE, OTHER, effects, noisy_circuit, with_replicates

from grokscope.circuits import Circuit, CircuitComparison, ComparisonSummary, Result, compare
from grokscope.circuits.conditions import compared_conditions, replicates_of
from grokscope.circuits.similarity import jensen_shannon
from grokscope.circuits.verdicts import DIFFERENT, SAME, UNDECIDED
from grokscope.circuits.yardstick import shipped, yardstick

pytestmark = pytest.mark.usefixtures("few_shuffles", "as_users_call")
TRUE = 0.195  # the distance of the two without noise
Made = Callable[[int], dict[str, Circuit]]


def compared(circuits: dict[str, Circuit], **settings: object) -> CircuitComparison:
    return compare(circuits, n_bootstrap=100, progress=False, **settings)


def half(circuit: Circuit, queries: np.ndarray) -> Circuit:
    deltas, gaps = circuit.deltas[:, queries], circuit.donor_gaps[queries]
    table = circuit.table.assign(effect=deltas.sum(1) / gaps.sum(), n=len(gaps))
    return dataclasses.replace(circuit, table=table, deltas=deltas, donor_gaps=gaps)


def halves(seed: int) -> dict[str, Circuit]:
    whole, order = noisy_circuit(ONE, seed, n=128), np.random.default_rng(seed).permutation(128)
    return {"a": half(whole, order[:64]), "b": half(whole, order[64:])}


def independent(seed: int) -> dict[str, Circuit]:
    rng, names = np.random.default_rng(seed), [str(edge) for edge in GRAPH.edges]
    drawn = [{names[i]: rng.uniform(0.3, 0.9) for i in rng.choice(len(names), 6, replace=False)} for _ in "ab"]
    return {name: noisy_circuit(each, 2 * seed + i) for i, (name, each) in enumerate(zip("ab", drawn, strict=True))}


def planted(seed: int) -> dict[str, Circuit]:
    return {"a": noisy_circuit(ONE, 2 * seed), "b": noisy_circuit(OTHER, 2 * seed + 1)}


def trained(one: dict[str, float], other: dict[str, float]) -> Made:
    return lambda seed: with_replicates(one, other, 4 * seed, spread=0.05)


def words(made: Made, seeds: int, **settings: object) -> Counter[str]:
    found = [compared(made(seed), **settings).summary().table["verdict"].iloc[0] for seed in range(seeds)]
    return Counter(found)


FEW = pytest.mark.parametrize("seeds", [3, pytest.param(40, marks=pytest.mark.slow)])


@FEW
def test_halves_of_one_circuit_are_not_called_different(seeds: int) -> None:
    assert words(halves, seeds, across_seeds=True)[UNDECIDED] >= 0.95 * seeds


@FEW
@pytest.mark.parametrize("made", [independent, planted])
def test_circuits_that_differ_are_called_different(made: Made, seeds: int) -> None:
    assert words(made, seeds)[DIFFERENT] >= 0.95 * seeds


@FEW
def test_equal_trainings_are_the_same_within_a_margin_and_never_without_one(seeds: int) -> None:
    assert words(trained(ONE, ONE), seeds, margin=0.2)[SAME] >= 0.9 * seeds
    assert words(trained(ONE, ONE), min(seeds, 10)) == {UNDECIDED: min(seeds, 10)}


@FEW
def test_a_distance_just_within_the_margin_is_not_called_different_though_noise_lengthens_it(seeds: int) -> None:
    names = [str(edge) for edge in GRAPH.edges]
    true = jensen_shannon(*(np.array([[values.get(name, 0.0)] for name in names]) for values in (ONE, OTHER)))
    assert true[0] == pytest.approx(TRUE, abs=0.001)
    assert words(trained(ONE, OTHER), seeds, margin=0.2)[DIFFERENT] <= 0.05 * seeds
    assert words(trained(ONE, OTHER), seeds, margin=0.1)[DIFFERENT] >= 0.9 * seeds
    assert words(trained(ONE, OTHER), seeds, margin=0.15)[SAME] == 0


def test_a_circuit_is_the_same_as_itself_and_its_double_is_not() -> None:
    one = noisy_circuit(ONE, 0)
    same = compared({"a": one, "b": one}).summary().table.iloc[0]
    assert (same["verdict"], same["reason"]) == (
        SAME,
        "all effects are equal to the last digit, and the same edges are kept",
    )
    assert same["distance"] == pytest.approx(0, abs=1e-6)
    double = dataclasses.replace(one, table=one.table.assign(effect=2 * one.table["effect"]), deltas=2 * one.deltas)
    assert compared({"a": one, "b": double}).summary().table["verdict"].tolist() == [UNDECIDED]  # the distance is of shares


def test_a_margin_without_replicates_leaves_it_open() -> None:
    near = {"a": noisy_circuit(ONE, 0), "b": noisy_circuit(ONE, 1)}
    for margin, reason in ((0.3, "within the margin, and there"), (0.02, "not surely within the margin, and there")):
        row = compared(near, margin=margin).summary().table.iloc[0]
        assert row["verdict"] == UNDECIDED and row["reason"].startswith(reason) and row["margin"] == margin


def test_replicates_that_differ_as_much_leave_it_open() -> None:
    found = {"a": noisy_circuit(ONE, 0), "a again": noisy_circuit(OTHER, 1), "b": noisy_circuit(OTHER, 2)}
    row = compared(found).summary().table.iloc[0]
    assert row["verdict"] == UNDECIDED and row["replicates"] > 0.15
    by_margin = compared(found, margin=0.1).summary().table.iloc[0]
    assert by_margin["verdict"] == UNDECIDED and by_margin["reason"].startswith("replicates disagree, by up to 0.")


def test_without_changes_by_query_or_effects_nothing_is_decided() -> None:
    one, other = (dataclasses.replace(noisy_circuit(each, 0), deltas=None, donor_gaps=None) for each in (ONE, OTHER))
    row = compared({"a": one, "b": other}).summary().table.iloc[0]
    assert row["verdict"] == UNDECIDED and "without intervals" in row["reason"]
    nothing = Circuit.from_effects(effects({}))
    found = compared({"a": nothing, "b": nothing})
    assert found.summary().table["reason"].tolist() == ["a circuit has no effect other than zero"]
    assert "a / b: undecided" in repr(found) and "a circuit has no effect" in found.summary().sentences[0]


def test_conditions_and_replicates_are_told_by_their_names() -> None:
    names = ["a", "b", "a again", "c"]
    assert compared_conditions(names) == {
        ("a", "b"): [("a", "b"), ("b", "a again")],
        ("a", "c"): [("a", "c"), ("a again", "c")],
        ("b", "c"): [("b", "c")],
    }
    assert replicates_of(names, ("a", "b")) == [("a", "a again")] and not replicates_of(names, ("b", "c"))
    assert not replicates_of(["a", "a again"], ("a", "a again"))


def test_the_answer_comes_first_and_names_yardsticks_and_directions() -> None:
    found = compared(planted(0))
    assert repr(found).startswith("<CircuitComparison: a / b: different, 0.2")
    assert "two halves of one circuit 0." in repr(found) and "chance 0." in repr(found)
    summary = found.summary()
    kept = {name: set(each.kept_edges) for name, each in planted(0).items()}
    stay, lost, gained = len(kept["a"] & kept["b"]), len(kept["a"] - kept["b"]), len(kept["b"] - kept["a"])
    said = f"Kept edges from a to b: {stay} stay, {lost} lost (in a only), {gained} gained (in b only)."
    assert repr(summary).startswith("a / b: different. They are 0.") and summary.sentences[0].endswith(said)
    assert "Without replicates nothing follows for other trainings" in summary.sentences[1]
    assert "analyses.path_distances" in summary.sentences[-1]
    again = Result.from_json(summary.to_json())
    assert type(again) is ComparisonSummary and repr(again) == repr(summary)
    assert repr(Result.from_json(found.to_json()).summary()) == repr(summary)


def test_of_several_pairs_each_is_named_with_word_and_distance() -> None:
    found = compared({**planted(0), "c": noisy_circuit(OTHER, 5)})
    rows = found.summary().table.to_dict("records")
    named = [f"{r['a']} / {r['b']} {r['verdict']} {r['distance']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in rows]
    assert [r["verdict"] for r in rows] == [DIFFERENT, DIFFERENT, UNDECIDED]
    halves, chance = max(r["halves_bound"] for r in rows), min(r["chance_bound"] for r in rows)
    yardsticks = f"two halves of one circuit within {halves:.3f}, chance from {chance:.3f}"
    assert repr(found).startswith(
        f"<CircuitComparison: {', '.join(named)} apart (effects of all edges, kept or not), {yardsticks} · 44 live edges"
    )


def test_of_many_pairs_the_line_leaves_out_intervals_and_then_counts_the_rest() -> None:
    six = {**planted(0), "c": noisy_circuit(OTHER, 5), "d": noisy_circuit(OTHER, 6)}
    found = compared(six)
    rows = found.summary().table.to_dict("records")
    named = [f"{r['a']} / {r['b']} {r['verdict']} {r['distance']:.3f}" for r in rows]
    assert repr(found).startswith(f"<CircuitComparison: {', '.join(named)} apart (effects of all edges")
    long = compared({f"a circuit with a long name, {name}": each for name, each in six.items()}).caption
    first, more = long.split(" apart ")[0].split(" and ")
    assert first.count(" / ") == 1 and more == "5 more (2 different, 3 undecided)"


def test_what_several_pairs_have_in_common_is_said_once() -> None:
    found = compared({**planted(0), "c": noisy_circuit(OTHER, 5), "d": noisy_circuit(OTHER, 6)}).summary()
    first, *pairs = found.sentences[:7]
    assert "between the effects of all edges, kept or not: 0 is equal" in first
    assert [each.partition(":")[0] for each in pairs] == ["a / b", "a / c", "a / d", "b / c", "b / d", "c / d"]
    common = (
        "b / c, b / d, c / d: perhaps no further apart than two halves of one circuit; “same” needs replicates and a margin."
    )
    assert found.sentences[7] == common and repr(found).count("perhaps no further") == 1
    row = found.table.iloc[3]
    counts = f"{row['shared']} kept edges stay, {row['lost']} lost, {row['gained']} gained."
    assert pairs[3].startswith(f"b / c: undecided, {row['distance']:.3f} [") and pairs[3].endswith(counts)


def test_equal_effects_that_are_cut_differently_are_not_called_the_same() -> None:
    whole = noisy_circuit(ONE, 0)
    n = int(whole.table["kept"].sum())
    empty = dataclasses.replace(whole, table=whole.table.assign(kept=False))
    found = compared({"a": empty, "b": whole})
    reason = f"same effects, cut differently: 0 edges stay, 0 lost, {n} gained"
    assert found.summary().table[["verdict", "reason"]].to_numpy().tolist() == [[UNDECIDED, reason]]
    assert repr(found).startswith(
        f"<CircuitComparison: a / b: undecided ({reason}), 0.000 [0.000, 0.000] apart (effects of all"
    )
    assert compared({"a": empty, "b": empty}).summary().table["verdict"].tolist() == [SAME]
    fewer = whole.table["kept"] & (whole.table.index != whole.table["kept"].idxmax())
    again = {"a": whole, "a again": dataclasses.replace(whole, table=whole.table.assign(kept=fewer)), "b": whole}
    assert compared(again, margin=0.2).summary().table["verdict"].tolist() == [UNDECIDED]  # of one of the two replicates


def test_where_there_is_no_interval_it_says_so_and_why() -> None:
    bare = {name: dataclasses.replace(each, deltas=None, donor_gaps=None) for name, each in planted(0).items()}
    why = "no intervals: a circuit has no changes by query (per_query=True keeps them)"
    found = compared(bare)
    assert repr(found).endswith(f"n = 256 queries · {why}>") and "95 %" not in repr(found)
    assert f"like these 256 queries, {why}." in repr(found.summary()) and "units" not in repr(found.summary())
    some = compared({**planted(0), "c": bare["a"]})
    assert "95 % intervals over units, none of a / c, b / c: a circuit has no changes by query" in repr(some.summary())


def test_the_table_is_shown_in_words_and_counts_as_counts() -> None:
    found = compared({"a": Circuit.from_effects(effects(ONE)), "b": Circuit.from_effects(effects(OTHER))}, top_k=(3,))
    shown = found.in_words.set_index("measure")
    assert shown.loc["kept edges in both (number)", "value"] == str(
        int(found.table.set_index("measure").loc["shared", "value"])
    )
    overlap = found.table.set_index("measure").loc["overlap@3", "value"]
    assert shown.loc["overlap of the 3 strongest edges (Jaccard, 0 to 1)", "value"] == f"{overlap:.3f} (2 of 4)"
    page = found._repr_html_()
    assert "a / b: different" in page.partition("</p>")[0]
    for internal in ("n_edges", "chance_bound", "weighted_overlap", "jensen_shannon", ".000000", "-0.000", "NaN", "nan"):
        assert internal not in page


def test_intervals_of_distances_stay_between_0_and_1() -> None:
    one = noisy_circuit(ONE, 0, n=12)
    near = dataclasses.replace(one, table=one.table.assign(effect=1.001 * one.table["effect"]), deltas=1.001 * one.deltas)
    rows = compared({"a": one, "b": near}).table.set_index("measure")
    assert (rows.loc[["jensen_shannon", "aligned jensen_shannon"], "low"] >= 0).all() and (rows["high"].dropna() <= 1).all()


def test_shipped_replicates_are_named_only_where_circuits_were_measured_alike() -> None:
    known = {name: shipped()[name] for name in ("metric", "contrast", "direction", "split", "graph")}
    said = yardstick(known)
    assert "25 pairs of trainings on 5 graphs" in said and "natural 0.057 to 0.087 at id_generalised" in said
    assert "split test_inferred_ood, not test_inferred_iid." in yardstick({**known, "split": "test_inferred_ood"})
    assert yardstick({**known, "graph": {**known["graph"], "n_heads": 2}}).endswith("measured otherwise: graph.")
    assert "not known how" in yardstick({})
    assert "no yardstick here" in compared(planted(0)).summary().sentences[2]
    rows = pd.DataFrame(shipped()["pairs"])
    assert json.dumps(known["graph"]) and rows["jensen_shannon"].between(0, 0.1).all() and len(rows) == 25
    with_replicates = compared(trained(ONE, OTHER)(0)).summary().sentences
    assert not any("ardstick" in each for each in with_replicates) and "analyses.equivalence decides" in with_replicates[1]


def test_a_margin_that_is_none_is_refused() -> None:
    one = noisy_circuit(ONE, 0)
    for margin in (0, 1, -0.1, "0.1", True):
        with pytest.raises(ValueError, match=r"margin is .* above 0 and below 1"):
            compare({"a": one, "b": one}, margin=margin)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    for made in (planted(0), halves(0), {**planted(0), "c": noisy_circuit(OTHER, 5)}):
        found = compared(made)
        for each in (found, found.summary()):
            assert_explained(each, constants={"5", "97.5"})
            row, said = found.summary().table.iloc[0], each.explain()
            assert f"{row['a']} / {row['b']}: {row['verdict']} and {row['distance']:.3f} apart" in said.means
            assert f"[{row['low']:.3f}, {row['high']:.3f}]" in said.sure
            closest = found.summary().table.sort_values("aligned_low").query("reason == ''").to_dict("records")
            halves_apart = [
                f"reached a yardstick: two halves of one circuit {row['halves_bound']:.3f}" for row in closest[:1]
            ]
            assert (row["reason"] or halves_apart[0]) in said.would_change
    bare = {name: dataclasses.replace(each, deltas=None, donor_gaps=None) for name, each in planted(0).items()}
    assert_explained(compared(bare))
    assert compared(bare).explain().sure == "No interval was computed."
    assert "no rows" in dataclasses.replace(found, table=found.table.head(0)).explain().means
    assert "no rows" in dataclasses.replace(found.summary(), table=pd.DataFrame()).explain().means
