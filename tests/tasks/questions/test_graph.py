import numpy as np
import pytest

from grokscope.tasks import KnowledgeGraph


@pytest.mark.parametrize("seed", range(20))
def test_every_head_has_its_facts_and_no_slot_two_tails(seed: int) -> None:
    graph = KnowledgeGraph.random(n_entities=13, n_relations=7, out_degree=4, seed=seed)
    assert (np.bincount(graph.heads, minlength=13) == 4).all()
    assert len({*zip(graph.heads.tolist(), graph.relations.tolist(), strict=True)}) == len(graph) == 52
    assert graph.n_free_slots == 13 * 3


def test_compositions_are_those_of_a_double_loop() -> None:
    graph = KnowledgeGraph.random(n_entities=9, n_relations=5, out_degree=3, seed=0)
    literal = [
        (first, second)
        for first in range(len(graph))
        for second in range(len(graph))
        if graph.tails[first] == graph.heads[second]
    ]
    assert list(map(tuple, graph.compositions.tolist())) == literal


def test_fact_of_finds_each_fact_and_nothing_else() -> None:
    graph = KnowledgeGraph.random(n_entities=9, n_relations=5, out_degree=3, seed=0)
    assert (graph.fact_of[graph.heads, graph.relations] == np.arange(len(graph))).all()
    assert (graph.fact_of >= 0).sum() == len(graph)


def test_heads_without_facts_end_chains() -> None:
    graph = KnowledgeGraph.from_triples([(2, 0, 1), (0, 1, 2)], n_entities=3, n_relations=2)
    assert graph.compositions.tolist() == [[0, 1]]


def test_same_seed_same_graph() -> None:
    first, again, other = (KnowledgeGraph.random(n_entities=9, n_relations=5, out_degree=3, seed=s) for s in (3, 3, 4))
    assert (first.tails == again.tails).all() and (first.tails != other.tails).any()


def test_too_many_relations_per_head_says_how_many_are_possible() -> None:
    with pytest.raises(ValueError, match=r"out_degree=6 asks for more relations per head than the n_relations=5.*at most 5"):
        KnowledgeGraph.random(n_entities=9, n_relations=5, out_degree=6, seed=0)


def test_all_bad_sizes_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="n_entities is 0, needed is a whole number, at least 1; out_degree is 0"):
        KnowledgeGraph.random(n_entities=0, n_relations=5, out_degree=0, seed=0)


def test_two_tails_for_one_slot_are_refused() -> None:
    with pytest.raises(ValueError, match=r"have two tails, the first is \(head 0, relation 1\)"):
        KnowledgeGraph.from_triples([(0, 1, 2), (0, 1, 3)], n_entities=4, n_relations=2)


def test_entities_outside_the_range_and_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="tails must lie between 0 and 3, got 2 to 9"):
        KnowledgeGraph.from_triples([(0, 1, 2), (1, 1, 9)], n_entities=4, n_relations=2)
    with pytest.raises(ValueError, match="sorted by head"):
        KnowledgeGraph(4, 2, np.array([1, 0]), np.array([0, 0]), np.array([2, 2]))
