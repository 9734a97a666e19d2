import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from explained import assert_explained
from hostile import NAMES
from planted import effects

from grokscope.circuits import (
    Circuit,
    CircuitComparison,
    ComputationGraph,
    CounterpartComparison,
    compare,
    compare_counterparts,
    counterparts,
    draw,
)
from grokscope.circuits.counterparts import DIFFER

ROLES = ("h", "r1", "r2", "r3")
BEGINNING, END = {"h": "h", "r1": "r1", "r2": "r2"}, {"r1": "r2", "r2": "r3"}
HOP_1 = {"embed@h -> L0H0.v@h": 0.9, "L0H0@r1 -> MLP0@r1": 0.8, "embed@r1 -> MLP0@r1": 0.5, "MLP0@r1 -> L1H0.v@r1": 1.0}
HOP_2 = {"L1H0@r2 -> MLP1@r2": 0.9, "embed@r2 -> MLP1@r2": 0.4}
HOP_3 = {"L2H0@r3 -> MLP2@r3": 0.8, "embed@r3 -> MLP2@r3": 0.3, "MLP2@r3 -> logits@r3": 1.0}
TWO = HOP_1 | HOP_2 | {"MLP1@r2 -> logits@r2": 0.9}
THREE = HOP_1 | HOP_2 | {"MLP1@r2 -> L2H0.v@r2": 0.9} | HOP_3


def graph_of(roles: tuple[str, ...], **sizes: object) -> ComputationGraph:
    return ComputationGraph.transformer(roles, roles[-1], **{"n_layers": 3, "n_heads": 1, "n_blocks": 1} | sizes)


def circuit(values: dict[str, float], n_hops: int, seed: int = 0, n: int = 40, **sizes: object) -> Circuit:
    found = Circuit.from_effects(effects(values, n, seed, graph_of(ROLES[: n_hops + 1], **sizes)))
    return dataclasses.replace(found, provenance={**found.provenance, "pairs": str(n_hops), "contrast": str(n_hops)})


def everywhere(n_hops: int, seed: int, n: int = 30) -> Circuit:
    """A circuit all of whose edges have an effect, by query, with the measured standard errors."""
    graph, rng = graph_of(ROLES[: n_hops + 1]), np.random.default_rng(seed)
    gaps = -rng.uniform(8, 12, size=n)
    deltas = rng.normal(size=(len(graph.edges), 1)) * gaps + rng.normal(size=(len(graph.edges), n))
    names = {"sender": [str(e.sender) for e in graph.edges], "receiver": [str(e.receiver) for e in graph.edges]}
    numbers = {"effect": deltas.sum(1) / gaps.sum(), "stderr": 0.01, "n": n, "gap": -gaps.mean(), "kept": True}
    about = {"metric": "logit_difference", "contrast": str(n_hops), "direction": "noising", "pairs": str(seed)}
    return Circuit(pd.DataFrame({**names, **numbers}), graph, about, deltas, gaps)


def both(**changed: dict[str, float]) -> dict[str, Circuit]:
    return {"two": circuit(TWO | changed.get("two", {}), 2), "three": circuit(THREE | changed.get("three", {}), 3, seed=1)}


def found(circuits: dict[str, Circuit], roles: dict[str, str], **settings: object) -> CounterpartComparison:
    return compare_counterparts(circuits, roles, n_bootstrap=50, progress=False, **settings)


def value(comparison: CounterpartComparison | CircuitComparison, measure: str, column: str = "value") -> float:
    return float(comparison.table.set_index("measure").loc[measure, column])


def literal(circuit: Circuit, roles: dict[str, str], passed_on: str) -> list[str]:
    """The name of each edge's counterpart, made of the names alone; empty at roles that have none."""
    names = []
    for sender, receiver in zip(circuit.table["sender"], circuit.table["receiver"], strict=True):
        role = sender.split("@")[1]
        into = receiver.split("@")[0]
        if role not in roles:
            names.append("")
        elif roles[role] == passed_on and re.search(r"\.[kv]$", into):
            names.append(f"{sender.split('@')[0]}@{roles[role]} -> logits@{passed_on}")
        else:
            names.append(f"{sender.split('@')[0]}@{roles[role]} -> {into}@{roles[role]}")
    return names


@pytest.mark.usefixtures("few_shuffles")
def test_two_hops_reappear_as_the_beginning_of_three() -> None:
    comparison = found(both(), BEGINNING)
    assert comparison.distance == pytest.approx(0, abs=1e-6)
    assert value(comparison, "aligned jensen_shannon") == pytest.approx(0, abs=1e-6)
    assert value(comparison, "rank_correlation") == pytest.approx(1) and value(comparison, "weighted_overlap") == 1
    shares = {"two": 0.0, "three": sum(HOP_3.values()) / sum(THREE.values())}
    assert comparison.outside_shares == pytest.approx(shares)
    outside = comparison.outside[comparison.outside["effect"] != 0]
    assert set(outside["edge"]) == set(HOP_3) and set(outside["why"]) == {"its role has no counterpart"}
    assert (comparison.table["outside_b"] == shares["three"]).all() and len(comparison.table) == 11
    last = comparison.edges.set_index(["sender", "receiver"]).loc[("MLP1@r2", "logits@r2")]
    assert last["effect three"] == pytest.approx(0.9) == last["effect two"]
    assert [value(comparison, name) for name in ("shared", "lost", "gained")] == [7, 0, 0]


@pytest.mark.usefixtures("few_shuffles")
def test_another_beginning_is_told_apart() -> None:
    other = {"MLP0@r1 -> L1H0.v@r1": 0.0, "embed@r1 -> L1H0.v@r1": 1.0}
    comparison = found(both(two=other), BEGINNING)
    mass = sum(TWO.values())
    assert comparison.distance == pytest.approx(np.sqrt(1 / mass))  # of two distributions that share all but 1 of `mass`


@pytest.mark.usefixtures("not_aligned")
def test_two_hops_reappear_as_the_end_of_three_a_loop_later() -> None:
    two = {"L1H0@r2 -> MLP1@r2": 0.8, "embed@r2 -> MLP1@r2": 0.3, "MLP1@r2 -> logits@r2": 1.0}
    one = {"L0H0@r1 -> MLP0@r1": 0.9, "embed@r1 -> MLP0@r1": 0.4, "MLP0@r1 -> L1H0.v@r1": 0.9}
    circuits = {"two": circuit({"embed@h -> L0H0.v@h": 0.9} | one | two, 2), "three": circuit(THREE, 3, seed=1)}
    comparison = found(circuits, END)
    assert comparison.distance > 0.8  # only the edges of the embedding and into the logits have no loop
    assert value(comparison, "aligned jensen_shannon") == pytest.approx(0, abs=1e-6)
    assert comparison.alignment == "three: loops 0 0 1"
    assert comparison.outside_shares == pytest.approx(
        {"two": 0.9 / (0.9 + sum(one.values()) + sum(two.values())), "three": sum(HOP_1.values()) / sum(THREE.values())}
    )


@pytest.mark.parametrize("roles", [BEGINNING, END, {"h": "h"}, {"r1": "r3"}, {"h": "r1", "r2": "r3"}, {"r2": "r1"}], ids=str)
def test_counterparts_and_shares_equal_a_literal_loop(roles: dict[str, str]) -> None:
    circuits = {"two": everywhere(2, 0), "three": everywhere(3, 1)}
    laid = counterparts(circuits, roles)
    own = {role: role for role in roles.values()}
    two_answers, three_answers = "r2" in roles, "r3" in own
    passed = {"two": own.get("r3", ""), "three": roles.get("r2", "")} if two_answers != three_answers else {}
    names = {
        "two": literal(circuits["two"], roles, passed.get("two", "") if not two_answers else ""),
        "three": literal(circuits["three"], own, passed.get("three", "") if not three_answers else ""),
    }
    common = (set(names["two"]) & set(names["three"])) - {""}
    for label, circuit in circuits.items():
        added: dict[str, float] = {}
        outside = total = 0.0
        for name, effect in zip(names[label], circuit.table["effect"], strict=True):
            total += abs(effect)
            if name in common:
                added[name] = added.get(name, 0.0) + effect
            else:
                outside += abs(effect)
        edges = laid[label].table["sender"] + " -> " + laid[label].table["receiver"]
        assert set(edges) == common and len(edges) == len(common)
        np.testing.assert_allclose(laid[label].table["effect"], [added[edge] for edge in edges])
        about = laid[label].provenance["outside"]
        assert about["share"] == pytest.approx(outside / total)
        assert about["n_edges"] == about["n_kept"] == sum(name not in common for name in names[label])
        assert f"on {about['n_edges']} edges without a counterpart" in laid[label].caption
    assert laid["two"].graph == laid["three"].graph and laid["two"].graph.is_transformer


def test_sums_have_the_changes_by_query_and_the_standard_errors_of_sums() -> None:
    circuits = {"two": everywhere(2, 0), "three": everywhere(3, 1)}
    laid = counterparts(circuits, BEGINNING)["three"]
    np.testing.assert_allclose(laid.deltas.sum(1) / laid.donor_gaps.sum(), laid.table["effect"])
    table = circuits["three"].table
    rows = [table["sender"].eq("MLP0@r2") & table["receiver"].str.contains(r"\.[kv]@r2")]
    (place,) = laid.table.index[laid.table["sender"].eq("MLP0@r2") & laid.table["receiver"].eq("logits@r2")]
    summed, gaps = circuits["three"].deltas[rows[0]].sum(0), laid.donor_gaps
    np.testing.assert_allclose(laid.deltas[place], summed)
    left = [np.delete(summed, i).sum() / np.delete(gaps, i).sum() for i in range(len(gaps))]  # the jackknife's error
    n = len(gaps)
    jackknife = np.sqrt((n - 1) / n * ((left - np.mean(left)) ** 2).sum())
    assert laid.table["stderr"][place] == pytest.approx(jackknife, rel=0.05)
    assert laid.table["stderr"][0] == 0.01  # of an edge that stands alone, as it was measured
    bare = Circuit(table, laid_graph := circuits["three"].graph, circuits["three"].provenance)
    alone = counterparts({"two": circuits["two"], "three": bare}, BEGINNING)["three"]
    assert laid_graph is bare.graph and alone.deltas is None
    assert np.isnan(alone.table["stderr"][place]) and alone.table["stderr"][0] == 0.01


@pytest.mark.usefixtures("few_shuffles")
def test_numbers_and_intervals_over_renamed_roles_are_those_of_compare() -> None:
    one, other = circuit(TWO, 2), circuit(TWO | {"embed@h -> L0H0.v@h": 0.2}, 2, seed=1)
    new = dict(zip(("h", "r1", "r2"), NAMES, strict=False))
    table = other.table.replace(
        {name: {rf"@{a}$": f"@{b}" for a, b in new.items()} for name in ("sender", "receiver")}, regex=True
    )
    renamed = Circuit(table, graph_of(tuple(new.values())), other.provenance, other.deltas, other.donor_gaps)
    comparison = found({"a": one, "b": renamed}, new, top_k=(3,))
    plain = compare({"a": one, "b": other}, across_seeds=True, n_bootstrap=50, top_k=(3,), progress=False)
    numbers = ["value", "low", "high", "chance", "chance_bound", "p", "ceiling", "ceiling_bound", "n_edges"]
    np.testing.assert_allclose(comparison.table[numbers][:-2], plain.table[numbers])
    assert comparison.outside_shares == {"a": 0.0, "b": 0.0} and not len(comparison.outside)
    assert comparison.edges["sender"].str.split("@").str[1].isin(NAMES).all()
    assert not counterparts({"a": one, "b": renamed}, new)["a"].graph.to_dict().get("sinks")
    itself = found({"a": renamed, "b": one}, {b: a for a, b in new.items()})
    assert itself.roles == {b: a for a, b in new.items()}
    assert found({"a": other, "b": renamed}, new).distance == pytest.approx(0, abs=1e-6)
    assert draw(counterparts({"a": one, "b": renamed}, new), despite=DIFFER).html.count("window.hit=1</script>") == 0


@pytest.mark.usefixtures("few_shuffles")
def test_intervals_are_over_each_circuits_own_units() -> None:
    two, three = everywhere(2, 0, n=30), everywhere(3, 1, n=20)
    comparison = found({"two": two, "three": three}, BEGINNING, seed=3)
    row = comparison.table.iloc[0]
    assert [row[name] for name in ("n_a", "n_b", "n_units_a", "n_units_b")] == [30, 20, 30, 20]
    laid = counterparts({"two": two, "three": three}, BEGINNING)
    names = set(laid["three"].table["sender"] + " -> " + laid["three"].table["receiver"])
    outside = [name not in names for name in literal(three, {role: role for role in ROLES[:3]}, "r2")]
    draws = []
    for counts in np.random.default_rng([3, 1]).multinomial(20, np.full(20, 1 / 20), size=50):
        mass = np.abs((three.deltas * counts).sum(1) / (three.donor_gaps * counts).sum())
        draws.append(mass[outside].sum() / mass.sum())
    share = comparison.outside_shares["three"]
    low, high = np.quantile(draws, [0.025, 0.975]) + share - np.mean(draws)
    assert value(comparison, "outside_b", "low") == pytest.approx(low)
    assert value(comparison, "outside_b", "high") == pytest.approx(high)
    assert 0 < low < share < high < 1


@pytest.mark.usefixtures("few_shuffles")
def test_effects_in_other_units_have_no_overlap_in_one() -> None:
    circuits = both()
    circuits["three"] = dataclasses.replace(
        circuits["three"], provenance={**circuits["three"].provenance, "metric": "rank", "unit": "ranks"}
    )
    comparison = found(circuits, BEGINNING)
    assert not comparison.table["measure"].str.startswith("weighted_overlap in").any()
    assert (
        "difference_in_nats" not in comparison.differences and "difference_in_nats" in found(both(), BEGINNING).differences
    )


@pytest.mark.usefixtures("few_shuffles")
def test_it_shows_itself_and_reads_back() -> None:
    comparison = found(both(), BEGINNING)
    again = CounterpartComparison.from_json(comparison.to_json())
    assert again == comparison and again.caption == comparison.caption
    assert (
        "outside: 0.0 % of two and" in comparison.caption and "two / three at h → h, r1 → r1, r2 → r2" in comparison.caption
    )
    assert {"outside in a", "outside in b"} < set(comparison.in_words)
    assert len(comparison.figure().data[0].x) == len(comparison.edges) == 7
    diagram = draw(counterparts(both(), BEGINNING), despite=DIFFER)
    assert len(diagram.data["panels"]) == 2 and "edges without a counterpart" in diagram.html


def test_what_cannot_be_laid_side_by_side_is_refused_with_all_problems() -> None:
    two, three = both().values()
    with pytest.raises(ValueError) as error:
        counterparts({"two": two, "three": three}, {"h": "h", "x": "<b>", "r1": "h"})
    said = str(error.value)
    assert "roles names 'x', which 'two' does not have; it has h, r1, r2" in said
    assert "roles names '<b>', which 'three' does not have; it has h, r1, r2, r3" in said
    assert "roles leads 'h' and 'r1' to one role, 'h'" in said
    larger = circuit({}, 3, n_layers=4, n_heads=2)
    with pytest.raises(
        ValueError, match=r"differ in n_layers \(3 and 4\), n_heads \(1 and 2\); layers, heads and loops must"
    ):
        counterparts({"two": two, "three": larger}, {"h": "h"})
    with pytest.raises(ValueError, match=r"'x'.*differ in n_blocks \(1 and 3\)"):
        counterparts({"two": two, "three": circuit(THREE, 3, n_blocks=3)}, {"x": "h"})
    with pytest.raises(ValueError, match="head of layer 0 at h sees h, r1 in the first and h in the second"):
        counterparts({"two": two, "three": three}, {"h": "r1", "r1": "h"})
    with pytest.raises(ValueError, match="both answers are read at common roles, r3 and r2, and these are two"):
        counterparts({"three": three, "again": circuit_with_answer_at_r2()}, {role: role for role in ROLES})
    with pytest.raises(ValueError, match="two circuits, got 3"):
        counterparts({"two": two, "three": three, "four": three}, BEGINNING)
    with pytest.raises(ValueError, match="direction"):
        other = dataclasses.replace(three, provenance={**three.provenance, "direction": "denoising"})
        counterparts({"two": two, "three": other}, BEGINNING)
    with pytest.raises(ValueError, match="undefined effects \\(three: no gap"):
        table = three.table.assign(effect=np.nan)
        other = dataclasses.replace(three, table=table, provenance={**three.provenance, "reason": "no gap"})
        counterparts({"two": two, "three": other}, BEGINNING)
    with pytest.raises(ValueError, match="no edge of 'two' and 'three' has a counterpart"):
        counterparts({"two": dataclasses.replace(two, table=two.table.head(1), deltas=None), "three": three}, {"h": "h"})


def circuit_with_answer_at_r2() -> Circuit:
    graph = ComputationGraph.transformer(ROLES, "r2", n_layers=3, n_heads=1, n_blocks=1)
    found = Circuit.from_effects(effects({}, graph=graph))
    return dataclasses.replace(found, provenance={**found.provenance, "pairs": "p"})


def test_a_sum_is_verified_no_better_than_its_parts() -> None:
    two, three = everywhere(2, 0), everywhere(3, 1)
    estimated = three.table["sender"].eq("MLP0@r2") & three.table["receiver"].eq("L1H0.v@r2")
    assert estimated.sum() == 1
    words = np.where(estimated, "estimated", "exact")
    two = dataclasses.replace(two, table=two.table.assign(verified="sampled"))
    three = dataclasses.replace(three, table=three.table.assign(verified=words))
    laid = counterparts({"two": two, "three": three}, BEGINNING)
    assert set(laid["two"].table["verified"]) == {"sampled"}
    known = laid["three"].table.set_index(["sender", "receiver"])["verified"]
    assert known[("MLP0@r2", "logits@r2")] == "estimated" and known.drop(("MLP0@r2", "logits@r2")).eq("exact").all()


@pytest.mark.usefixtures("few_shuffles")
def test_what_it_says_of_itself_is_what_it_holds() -> None:
    comparison = found(both(), BEGINNING)
    assert_explained(comparison, constants={"5", "97.5"})
    assert f"They are {comparison.distance:.3f} apart (0 is equal" in comparison.explain().means
    assert f"{comparison.outside_shares['three']:.2f} of three" in comparison.explain().means
    rows = comparison.table[comparison.table["measure"] != "jensen_shannon"]
    assert "no rows" in dataclasses.replace(comparison, table=rows).explain().means
