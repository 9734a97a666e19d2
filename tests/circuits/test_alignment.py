import time

import numpy as np
import pytest
from every_alignment import after, every_alignment, least_distance, signed
from planted import LOOPS, effects
from scipy.spatial.distance import jensenshannon

from grokscope.circuits import Circuit, ComputationGraph, Edge, Step, compare
from grokscope.circuits.alignment import apply_alignment, nearest
from grokscope.circuits.moves import Moves

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
    moves = Moves(graph, graph.edges)
    orders = moves.orders({("head", 0): (1, 0)})
    place = {str(edge): row for row, edge in enumerate(graph.edges)}
    assert moves.name((0,), moves.stay) == "loops 0" and moves.name((0,), orders) == "loops 0, heads 1 0"
    assert moves.edges((0,), orders)[place["embed@h -> L0H0.v@h"]] == place["embed@h -> L0H1.v@h"]


def test_weights_that_are_not_used_in_every_loop_are_dropped_where_they_are_not() -> None:
    steps = [Step("embed"), *(Step("head", layer, group=0) for layer in range(3))]
    steps[2:2] = [Step("mlp", 0, group=0)]
    steps[4:4] = [Step("mlp", 1, group=0)]
    graph = ComputationGraph(("a",), "a", (*steps, Step("logits")))
    place, moves = {str(edge): row for row, edge in enumerate(graph.edges)}, Moves(graph, graph.edges)
    last = moves.edges((2, 2, 2), moves.stay)
    assert last[place["L0H0@a -> logits@a"]] == place["L2H0@a -> logits@a"]
    assert last[place["MLP0@a -> logits@a"]] == moves.nowhere


def test_equal_circuits_stay_where_they_are_and_shuffles_get_their_best_alignment_too() -> None:
    comparison = compare({"a": circuit(EARLY, LOOPS), "b": circuit(EARLY, LOOPS, seed=1)})
    assert comparison.alignment["a / b"].endswith("loops 0 1 2 3")
    rows = comparison.table.set_index("measure")
    assert rows.loc["aligned jensen_shannon", "chance"] < rows.loc["jensen_shannon", "chance"]


def test_edges_that_fall_together_are_added_and_some_go_nowhere() -> None:
    moves, effects_of_one = Moves(LOOPS, LOOPS.edges), np.eye(len(LOOPS.edges))
    np.testing.assert_array_equal(apply_alignment(effects_of_one, moves.edges(range(4), moves.stay)), effects_of_one)
    place = {str(edge): row for row, edge in enumerate(LOOPS.edges)}
    onto = moves.edges((0, 0, 1, 2), moves.stay)
    merged = apply_alignment(effects_of_one, onto)
    assert onto[place["MLP1@r1 -> L2H0.v@r1"]] == place["MLP0@r1 -> L1H0.v@r1"]
    assert merged[place["MLP0@r1 -> L1H0.v@r1"], place["MLP1@r1 -> L2H0.v@r1"]] == 1.0
    assert onto[place["MLP0@r1 -> MLP1@r1"]] == moves.nowhere  # it would lead from a layer into itself
    assert merged[:, place["MLP0@r1 -> MLP1@r1"]].sum() == 0.0


TRANSFORMER = ComputationGraph.transformer
SMALL = {
    "loops": LOOPS,
    "layers of three heads": TRANSFORMER(("a", "b"), "b", n_layers=2, n_heads=3, n_blocks=2),
    "layers of four heads": TRANSFORMER(("a", "b"), "b", n_layers=2, n_heads=4, n_blocks=2),
    "three layers of three heads": TRANSFORMER(("a", "b"), "b", n_layers=3, n_heads=3, n_blocks=3),
    "four heads in two loops": TRANSFORMER(("a", "b"), "b", n_layers=2, n_heads=4, n_blocks=1),
    "three heads in four loops": TRANSFORMER(("a", "b"), "b", n_layers=4, n_heads=3, n_blocks=1),
    "two blocks of two heads in two loops": TRANSFORMER(("a", "b"), "b", n_layers=4, n_heads=2, n_blocks=2),
    "six loops": TRANSFORMER(("a", "b"), "b", n_layers=6, n_heads=1, n_blocks=1),
}
QUICK = ("loops", "layers of three heads", "four heads in two loops", "two blocks of two heads in two loops")


def drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two circuits that have nothing to do with each other: dense, or with a few strong edges, or sparse."""
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(2, n)) ** (1, 5, 1)[seed % 3]
    both *= rng.random((2, n)) < (1, 1, 0.1)[seed % 3]
    both[:, 0] = 1.0
    return both[0], both[1]


def agreement(name: str, n: int) -> float:
    """The share of pairs with the least distance of all alignments; none may be less than that."""
    graph, found = SMALL[name], []
    every, moves = every_alignment(graph, graph.edges), Moves(graph, graph.edges)
    for seed in range(n):
        one, other = drawn(len(graph.edges), seed)
        distance, least = nearest(moves, one, other).distance, least_distance(every, one, other)
        assert distance > least - 1e-7
        found.append(distance < least + 1e-7)
    return float(np.mean(found))


@pytest.mark.parametrize("name", QUICK)
def test_unrelated_circuits_come_as_near_as_in_any_alignment(name: str) -> None:
    assert agreement(name, 6) >= 5 / 6


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_nearly_always_the_least_distance_of_all_alignments_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rate = agreement(name, 90)
    with capsys.disabled():
        print(f"\n{name}: the least distance of all alignments in {rate:.3f} of 90 unrelated pairs")  # noqa: T201
    assert rate >= 0.95


def permuted(moves: Moves, values: np.ndarray, seed: int) -> np.ndarray:
    """The same circuit with its heads in other places."""
    rng = np.random.default_rng(seed)
    orders = moves.orders({weights: rng.permutation(n).tolist() for weights, n in moves.several.items()})
    found = np.zeros_like(values)
    found[moves.edges(range(moves.n_loops), orders)] = values
    return found


@pytest.mark.parametrize(("n_layers", "n_blocks", "n_heads"), [(4, 4, 6), (4, 1, 5), (3, 3, 12), (2, 1, 12)])
def test_permuted_heads_are_found_again_however_many(n_layers: int, n_blocks: int, n_heads: int) -> None:
    graph = TRANSFORMER(("a", "b"), "b", n_layers=n_layers, n_heads=n_heads, n_blocks=n_blocks)
    moves = Moves(graph, graph.edges)
    for seed in range(3):
        values, _ = drawn(len(graph.edges), seed)
        assert nearest(moves, values, permuted(moves, values, seed)).distance == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_twelve_layers_of_twelve_heads_are_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    graph = TRANSFORMER(("h", "r1", "r2"), "r2", n_layers=12, n_heads=12, n_blocks=12)
    moves = Moves(graph, graph.edges)
    for seed in range(6):
        values, other = drawn(len(graph.edges), seed)
        start = time.perf_counter()
        assert nearest(moves, values, permuted(moves, values, seed)).distance == pytest.approx(0.0, abs=1e-6)
        again = time.perf_counter()
        assert nearest(moves, values, other).distance > 0.5
        with capsys.disabled():
            print(f"\n{moves.nowhere} edges: {again - start:.1f} s, unrelated {time.perf_counter() - again:.1f} s")  # noqa: T201


def test_sixteen_loops_are_aligned() -> None:
    graph = TRANSFORMER(("a",), "a", n_layers=16, n_heads=1, n_blocks=1)
    moves, place = Moves(graph, graph.edges), {str(edge): row for row, edge in enumerate(graph.edges)}
    values = np.zeros((2, len(graph.edges)))
    for row, (first, last) in enumerate(((3, 9), (5, 14))):
        path = ("embed@a -> MLP{0}@a", "MLP{0}@a -> L{1}H0.v@a", "L{1}H0@a -> logits@a")
        values[row, [place[name.format(first, last)] for name in path]] = 0.9, -0.8, 0.7
    found = nearest(moves, *values)
    assert found.distance == pytest.approx(0.0, abs=1e-6) and found.dropped == 0.0
    to = found.name.removeprefix("loops ").split()
    assert (to[5], to[14]) == ("3", "9")


def test_an_alignment_says_what_it_does() -> None:
    every = {tuple(each) for each in every_alignment(HEADS, HEADS.edges)}
    one, other = drawn(len(HEADS.edges), 4)
    found = nearest(Moves(HEADS, HEADS.edges), one, other)
    assert tuple(found.edges) in every and found.moved == 1  # there is one loop, so either can be moved
    expected = jensenshannon(signed(one), after(other, found.edges), base=2)
    assert found.distance == pytest.approx(expected)
    assert found.distances(one[:, None], other[:, None])[0] == pytest.approx(expected)
    assert found.dropped == 0.0


def test_signs_are_kept() -> None:
    turned = {**EARLY, "L1H0@r2 -> MLP1@r2": -EARLY["L1H0@r2 -> MLP1@r2"]}
    apart, together, _ = aligned(circuit(EARLY, LOOPS), circuit(turned, LOOPS, seed=1))
    share = 0.6 / sum(EARLY.values())
    assert apart == pytest.approx(together) == pytest.approx(np.sqrt(share), abs=1e-3)


def test_effects_of_opposite_sign_do_not_cancel_where_they_fall_together() -> None:
    moves, place = Moves(LOOPS, LOOPS.edges), {str(edge): row for row, edge in enumerate(LOOPS.edges)}
    one, other = np.zeros((2, len(LOOPS.edges)))
    one[[place["embed@r2 -> MLP0@r2"], place["MLP0@r2 -> logits@r2"]]] = 0.5, 0.5
    other[[place["embed@r2 -> MLP0@r2"], place["MLP0@r2 -> logits@r2"], place["MLP1@r2 -> logits@r2"]]] = 0.5, 0.5, -0.5
    assert nearest(moves, one, other).distance > 0.3


def test_what_an_alignment_drops_is_said() -> None:
    """One MLP application and three in a row become one: their distance is 0, and the row beside it is not."""
    once = {"embed@r2 -> MLP0@r2": 0.9, "MLP0@r2 -> logits@r2": 0.9}
    thrice = {"embed@r2 -> MLP0@r2": 0.9, "MLP2@r2 -> logits@r2": 0.9}
    thrice |= {"MLP0@r2 -> MLP1@r2": 0.9, "MLP1@r2 -> MLP2@r2": 0.9}
    table = compare({"a": circuit(once, LOOPS), "b": circuit(thrice, LOOPS, seed=1)}).table.set_index("measure")["value"]
    assert table["aligned jensen_shannon"] == pytest.approx(0.0, abs=1e-6)
    assert table["dropped in alignment"] == pytest.approx(0.5)


def test_a_split_head_has_no_partner() -> None:
    """A description of how a function is written down: two halves of a head are another circuit."""
    whole = {"embed@h -> L0H0.v@h": 0.8, "L0H0@r1 -> MLP0@r1": 0.8, "MLP0@r1 -> L1H0.v@r1": 0.8, "L1H0@r2 -> logits@r2": 0.8}
    split = {**whole, "embed@h -> L0H0.v@h": 0.4, "embed@h -> L0H1.v@h": 0.4}
    split |= {"L0H0@r1 -> MLP0@r1": 0.4, "L0H1@r1 -> MLP0@r1": 0.4}
    plain, after_alignment, _ = aligned(circuit(whole, HEADS), circuit(split, HEADS, seed=1))
    assert plain == pytest.approx(after_alignment) and plain > 0.3


def test_circuits_without_effects_have_no_distance() -> None:
    moves, nothing = Moves(LOOPS, LOOPS.edges), np.zeros(len(LOOPS.edges))
    for pair in ((nothing, nothing), (nothing + 1, nothing), (nothing, nothing + 1)):
        found = nearest(moves, *pair)
        assert np.isnan(found.distance) and found.name == "loops 0 1 2 3"


def test_many_heads_are_compared() -> None:
    wide = TRANSFORMER(("h", "r1"), "r1", n_layers=2, n_heads=5, n_blocks=2)
    values = {"embed@r1 -> L0H1.v@r1": 0.5, "L0H1@r1 -> MLP0@r1": 0.4, "MLP0@r1 -> logits@r1": 0.5}
    moved = {name.replace("L0H1", "L0H4"): value for name, value in values.items()}
    apart, together, how = aligned(circuit(values, wide), circuit(moved, wide, seed=1))
    assert apart > 0.5 and together == pytest.approx(0.0, abs=1e-6) and how.startswith("b: loops 0, heads ")


def test_edges_of_the_planted_paths_are_in_the_graphs() -> None:
    for name in (*EARLY, *LATE):
        assert Edge.parse(name) in LOOPS.edges
