from collections import Counter

import numpy as np
import pytest

from grokscope.circuits import ComputationGraph, Edge, connected
from grokscope.circuits.random_circuits import _Connected, _Paths, edge_class, random_circuits

GRAPH = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=4, n_heads=2, n_blocks=1)


def some_circuit(seed: int, n: int) -> list[Edge]:
    return random_circuits(GRAPH, GRAPH.edges[:n], 1, rng=np.random.default_rng(seed))[0]


@pytest.mark.parametrize("n", [1, 6, 24, 80, len(GRAPH.edges)])
def test_they_are_connected_of_the_asked_size_and_follow_the_seed(n: int) -> None:
    kept = some_circuit(0, n)
    drawn = random_circuits(GRAPH, kept, 5, rng=np.random.default_rng(1))
    for edges in drawn:
        assert len(edges) == len(set(edges)) == n and connected(GRAPH, edges) == set(edges)
    assert drawn == random_circuits(GRAPH, kept, 5, rng=np.random.default_rng(1))
    if 1 < n < len(GRAPH.edges):
        assert len({tuple(edges) for edges in drawn}) > 1


def test_their_edges_are_in_more_alike_places_than_those_of_any_draw() -> None:
    kept = some_circuit(3, 12)
    wanted = Counter(map(edge_class, kept))

    def distance(edges: list[Edge]) -> int:
        found = Counter(map(edge_class, edges))
        return sum(abs(found[name] - wanted[name]) for name in found.keys() | wanted.keys())

    matched = [distance(edges) for edges in random_circuits(GRAPH, kept, 60, rng=np.random.default_rng(4))]
    free = [distance(some_circuit(seed, 12)) for seed in range(60)]
    assert np.mean(matched) < np.mean(free)


def test_an_empty_circuit_has_none() -> None:
    with pytest.raises(ValueError, match="an empty circuit has no random counterpart"):
        random_circuits(GRAPH, [], 3, rng=np.random.default_rng(0))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_an_edge_is_spared_where_all_others_stay_connected_without_it(causal: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = {"roles": ("a", "b", "c"), "answer_role": "c", "n_layers": 2, "n_heads": 2, "n_blocks": 2}
    graph = ComputationGraph.transformer(**shape, causal=causal, has_mlp=bool(seed % 2))
    chosen = rng.random(len(graph.edges)) < rng.uniform(0.3, 0.8)
    some = connected(graph, [edge for edge, taken in zip(graph.edges, chosen, strict=True) if taken])
    left, order, answers = _Connected(_Paths(graph), some), sorted(some), set()
    for edge in [order[place] for place in rng.permutation(len(order))]:
        fewer = left.edges - {edge}
        answers.add(spared := connected(graph, fewer) == fewer)
        assert left.can_spare(edge) == spared
        if spared:
            left.remove(edge)
    assert False in answers
