"""`equivalence` given circuits: their distances decide over graphs, those of one graph only say what they show alone."""

import dataclasses

import pytest
from planted import ONE, OTHER, with_replicates

from grokscope.analyses import equivalence
from grokscope.analyses.sameness.circuit_distances import jensen_shannon_by_couple
from grokscope.circuits import Circuit, Result, compare

pytestmark = pytest.mark.usefixtures("few_shuffles", "as_users_call")


def graph(other: dict[str, float], seed: int) -> dict[str, Circuit]:
    made = with_replicates(ONE, other, 10 * seed, spread=0.02)
    return {name: dataclasses.replace(c, provenance={**c.provenance, "pairs": str(seed)}) for name, c in made.items()}


def test_distances_of_circuits_are_those_of_their_comparison() -> None:
    circuits = graph(OTHER, 0)
    table = compare(circuits, n_bootstrap=2, progress=False).table
    rows = table[table["measure"] == "jensen_shannon"]
    known = dict(zip(zip(rows["a"], rows["b"], strict=True), rows["value"], strict=True))
    assert jensen_shannon_by_couple(circuits) == pytest.approx(known)


def test_circuits_by_graph_decide_as_their_distances_do() -> None:
    for other, verdict, margin in ((ONE, "same", 0.2), (OTHER, "different", 0.12)):
        circuits = {seed: graph(other, seed) for seed in range(4)}
        found = equivalence(circuits, margin=margin)
        distances = {seed: jensen_shannon_by_couple(each) for seed, each in circuits.items()}
        assert found.caption == equivalence(distances, ("a", "b"), margin=margin).caption
        assert found.verdict == verdict and found.conditions == ("a", "b") and found.table["pairs"].tolist() == [4] * 4


def test_circuits_of_one_graph_say_what_they_show_and_what_is_missing() -> None:
    found = equivalence({name: each for name, each in graph(OTHER, 0).items() if "again" not in name})
    assert found.verdict == "undecided" and found.conditions == ("a", "b")
    assert "needed are 3 with replicates, as in {graph: {'a', 'a again', 'b', 'b again'}, …}" in found.reason
    assert "of these circuits alone: a / b: different. They are 0." in found.reason
    assert Result.from_json(found.to_json()).caption == found.caption
    row = equivalence({"only": graph(OTHER, 0)}, margin=0.1).table.iloc[0]
    assert row["pairs"] == 4 and row["ratio"] == pytest.approx(row["distance"] / row["replicate_distance"])


def test_what_circuits_lack_is_said_at_once() -> None:
    whole = {seed: graph(OTHER, seed) for seed in range(3)}
    bare = {seed: {name: each[name] for name in ("a", "b")} for seed, each in whole.items()}
    with pytest.raises(
        ValueError, match=r"margin is None, .*graph 0: there is no replicate: give .* as 'a again' or 'b again'"
    ):
        equivalence(bare)
    with pytest.raises(ValueError, match=r"graph 1: there is no circuit of 'b'"):
        equivalence({**whole, 1: {name: whole[1][name] for name in ("a", "a again")}}, margin=0.1)
    three = {**whole[0], "c": whole[0]["b"]}
    with pytest.raises(
        ValueError, match=r"conditions are the names of two, .* got \('a', 'b', 'c'\); there are 'a', 'b', 'c'"
    ):
        equivalence(three)
    assert equivalence(three, ("a", "c")).conditions == ("a", "c")
    with pytest.raises(ValueError, match="circuits holds 3 under 'b', needed is a Circuit"):
        equivalence({"a": whole[0]["a"], "b": 3})
    with pytest.raises(ValueError, match=r"max_ratio is 0.5.*conditions are the names of two"):
        equivalence({"a": whole[0]["a"]}, max_ratio=0.5)
    mixed = {**whole, 2: {**whole[2], "b": whole[1]["b"]}}
    with pytest.raises(ValueError, match="differ in pairs"):
        equivalence(mixed, margin=0.1)
