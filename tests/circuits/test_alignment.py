import numpy as np
import pytest
from planted import LOOPS, effects

from grokscope.circuits import Circuit, ComputationGraph, Edge, Step, compare
from grokscope.circuits.alignment import MAX_ALIGNMENTS, alignments, apply_alignment, n_alignments

HEADS = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=3, n_blocks=2)
EARLY = {
    "embed@h -> L0H0.v@h": 0.9,
    "L0H0@r1 -> MLP0@r1": 0.8,
    "MLP0@r1 -> L1H0.v@r1": 0.7,
    "L1H0@r2 -> MLP1@r2": 0.6,
    "MLP1@r2 -> logits@r2": 0.5,
}
LATE = {  # the same, with the bridge waiting for a loop
    "embed@h -> L0H0.v@h": 0.9,
    "L0H0@r1 -> MLP0@r1": 0.8,
    "MLP0@r1 -> MLP1@r1": 0.7,
    "MLP1@r1 -> L2H0.v@r1": 0.7,
    "L2H0@r2 -> MLP2@r2": 0.6,
    "MLP2@r2 -> logits@r2": 0.5,
}


def circuit(values: dict[str, float], graph: ComputationGraph, seed: int = 0) -> Circuit:
    return Circuit.from_effects(effects(values, n=40, seed=seed, graph=graph))


def aligned(a: Circuit, b: Circuit) -> tuple[float, float, str]:
    comparison = compare({"a": a, "b": b})
    table = comparison.table.set_index("measure")["value"]
    return table["jensen_shannon"], table["aligned jensen_shannon"], comparison.alignment["a / b"]


def test_a_path_that_waits_for_a_loop_is_aligned_with_one_that_does_not() -> None:
    apart, together, how = aligned(circuit(EARLY, LOOPS), circuit(LATE, LOOPS, seed=1))
    assert apart > 0.5 and together == pytest.approx(0.0, abs=1e-6) and how == "b: loops 0 0 1 2"
    apart, together, how = aligned(circuit(LATE, LOOPS), circuit(EARLY, LOOPS, seed=1))
    assert apart > 0.5 and together == pytest.approx(0.0, abs=1e-6) and how == "a: loops 0 0 1 2"


def test_heads_that_changed_places_are_changed_back() -> None:
    one = {"embed@h -> L0H0.v@h": 0.9, "L0H0@r1 -> L1H2.v@r1": 0.8, "L1H2@r2 -> logits@r2": 0.7}
    other = {"embed@h -> L0H1.v@h": 0.9, "L0H1@r1 -> L1H0.v@r1": 0.8, "L1H0@r2 -> logits@r2": 0.7}
    apart, together, how = aligned(circuit(one, HEADS), circuit(other, HEADS, seed=1))
    assert apart == pytest.approx(1.0) and together == pytest.approx(0.0, abs=1e-6) and "heads" in how
    turned = {**one, "L0H0@r1 -> L1H2.v@r1": 0.01, "L0H0@r1 -> L1H2.k@r1": 0.8}  # another thing, not another place
    assert aligned(circuit(one, HEADS), circuit(turned, HEADS, seed=1))[1] > 0.3


def test_two_heads_can_change_places() -> None:
    graph = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=1, n_heads=2, n_blocks=1)
    found = alignments(graph, graph.edges)
    assert list(found) == ["loops 0", "loops 0, heads 1 0"] and n_alignments(graph) == 2
    place = {str(edge): row for row, edge in enumerate(graph.edges)}
    assert found["loops 0, heads 1 0"][place["embed@h -> L0H0.v@h"]] == place["embed@h -> L0H1.v@h"]


def test_weights_that_are_not_used_in_every_loop_are_dropped_where_they_are_not() -> None:
    steps = [Step("embed"), *(Step("head", layer, group=0) for layer in range(3))]
    steps[2:2] = [Step("mlp", 0, group=0)]
    steps[4:4] = [Step("mlp", 1, group=0)]
    graph = ComputationGraph(("a",), "a", (*steps, Step("logits")))
    place = {str(edge): row for row, edge in enumerate(graph.edges)}
    last = alignments(graph, graph.edges)["loops 2 2 2"]
    assert last[place["L0H0@a -> logits@a"]] == place["L2H0@a -> logits@a"]
    assert last[place["MLP0@a -> logits@a"]] == -1


def test_equal_circuits_stay_where_they_are_and_shuffles_get_their_best_alignment_too() -> None:
    comparison = compare({"a": circuit(EARLY, LOOPS), "b": circuit(EARLY, LOOPS, seed=1)})
    assert comparison.alignment["a / b"].endswith("loops 0 1 2 3")
    rows = comparison.table.set_index("measure")
    assert rows.loc["aligned jensen_shannon", "chance"] < rows.loc["jensen_shannon", "chance"]


def test_every_alignment_moves_edges_to_edges_and_the_first_is_none() -> None:
    found = alignments(LOOPS, LOOPS.edges)
    assert len(found) == n_alignments(LOOPS) == 35 and next(iter(found)) == "loops 0 1 2 3"
    effects_of_one = np.eye(len(LOOPS.edges))
    np.testing.assert_array_equal(apply_alignment(effects_of_one, next(iter(found.values()))), effects_of_one)
    place = {str(edge): row for row, edge in enumerate(LOOPS.edges)}
    onto = found["loops 0 0 1 2"]
    merged = apply_alignment(effects_of_one, onto)
    assert onto[place["MLP1@r1 -> L2H0.v@r1"]] == place["MLP0@r1 -> L1H0.v@r1"]
    assert merged[place["MLP0@r1 -> L1H0.v@r1"], place["MLP1@r1 -> L2H0.v@r1"]] == 1.0
    assert onto[place["MLP0@r1 -> MLP1@r1"]] == -1  # it would lead from a layer into itself
    assert merged[:, place["MLP0@r1 -> MLP1@r1"]].sum() == 0.0


def test_too_many_alignments_are_left_out_of_a_comparison() -> None:
    wide = ComputationGraph.transformer(("h", "r1"), "r1", n_layers=2, n_heads=5, n_blocks=2)
    assert n_alignments(wide) == 120**2 > MAX_ALIGNMENTS
    with pytest.raises(ValueError, match="can be aligned in 14400 ways; up to 2000 are tried"):
        alignments(wide, wide.edges)
    values = {"embed@r1 -> MLP0@r1": 0.5, "MLP0@r1 -> logits@r1": 0.5}
    comparison = compare({"a": circuit(values, wide), "b": circuit(values, wide, seed=1)})
    assert "aligned jensen_shannon" not in set(comparison.table["measure"]) and comparison.alignment["a / b"] == ""


def test_edges_of_the_planted_paths_are_in_the_graphs() -> None:
    for name in (*EARLY, *LATE):
        assert Edge.parse(name) in LOOPS.edges
