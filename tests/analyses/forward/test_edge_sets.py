"""Sets of edges in one run against one literal run for each set."""

import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_pairs, random_settings, seeds

from grokscope.analyses import graph_of, run_with_edge_sets, run_with_edges
from grokscope.analyses.forward import literal
from grokscope.circuits import Edge


def random_sets(edges: tuple[Edge, ...], seed: int, n: int = 4) -> list[set[Edge]]:
    """Sets of edges, of which a few hold hardly any and a few hardly miss any."""
    generator = torch.Generator().manual_seed(seed)
    shares = [0.0, 1.0, *torch.rand(n - 2, generator=generator).tolist()]
    return [{edge for edge in edges if torch.rand(1, generator=generator) < share} for share in shares]


@pytest.mark.parametrize("seed", seeds(30, fast=3))
def test_sets_of_edges_equal_literal_runs(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    sets, (corrupt, _) = random_sets(graph.edges, seed), literal.sender_outputs(model, graph, pairs.corrupt)
    together = run_with_edge_sets(model, pairs, sets, max_memory=2**30 if seed % 2 else 2**22)
    assert together.shape == (len(sets), len(pairs), model.cfg.d_vocab)
    for edges, logits in zip(sets, together, strict=True):
        expected = literal.run_with_edges(model, graph, pairs.clean, edges, corrupt)
        torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert no_hooks_left(model)


def test_one_set_by_names_equals_the_literal_run() -> None:
    model, pairs = random_model(0), random_pairs(0)
    graph = graph_of(model, pairs.roles, -1)
    corrupt, _ = literal.sender_outputs(model, graph, pairs.corrupt)
    expected = literal.run_with_edges(model, graph, pairs.clean, graph.edges[::2], corrupt)
    torch.testing.assert_close(run_with_edges(model, pairs, map(str, graph.edges[::2])), expected)
    with pytest.raises(KeyError, match=r"1 edges are not in the graph .*: embed@h -> L5H0.v@h"):
        run_with_edge_sets(model, pairs, [[], ["embed@h -> L5H0.v@h"]])
