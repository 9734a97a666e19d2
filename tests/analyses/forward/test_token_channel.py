"""Interventions in a loop that carries a token: the channel is a node like any MLP, and what is exact stays exact."""

import warnings

import numpy as np
import oracles
import pytest
import torch
from conftest import no_hooks_left, random_pairs

from grokscope.analyses import (
    activation_patch,
    edge_attribution,
    graph_of,
    logit_difference,
    logit_lens,
    path_patch,
)
from grokscope.analyses.forward.literal import patch_edge, sender_outputs
from grokscope.analyses.forward.model import cycle_of, ends_of_loops
from grokscope.circuits import Node
from grokscope.tasks import ModelConfig, PromptPairs, Queries, TwoHopTask, build_model
from grokscope.tasks.models.transformer import load_parameters, trained_parameters
from grokscope.tasks.transformerlens import HookedTransformer

SHAPE = ModelConfig(d_model=12, n_heads=2, n_blocks=1, n_loops=3, carries="state and token", tie_embeddings=False)
CHANNELS = (1, 3)


@pytest.fixture(scope="module")
def model() -> HookedTransformer:
    """Random weights of every kind, in double precision, over the eleven tokens of `random_pairs`."""
    task = TwoHopTask.random(n_entities=7, n_relations=4, out_degree=3, ood_fraction=0.1, test_fraction=0.3, seed=0)
    assert task.n_tokens == 11
    made = build_model(SHAPE, task).to(torch.float64)
    generator = torch.Generator().manual_seed(0)
    parameters = trained_parameters(made, SHAPE)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.copy_(0.6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    load_parameters(made, SHAPE, parameters)
    return made.eval()


@pytest.fixture(scope="module")
def pairs() -> PromptPairs:
    return random_pairs(1, n=2)


def test_the_graph_has_the_channel_as_an_mlp_with_weights_of_its_own(model: HookedTransformer, pairs: PromptPairs) -> None:
    graph = graph_of(model, pairs.roles, -1)
    assert (graph.n_layers, graph.n_blocks, graph.n_loops) == (5, 2, 3) and graph.is_transformer
    assert graph.first_use(Node("mlp", "r1", 3)) == Node("mlp", "r1", 1) and graph.loop_of(Node("mlp", "r1", 3)) == 1
    assert {"MLP0@r1 -> MLP1@r1", "MLP1@r1 -> L2H0.v@r1", "MLP1@r2 -> logits@r2"} <= set(map(str, graph.edges))
    assert ends_of_loops(model) == [1, 3, 4] and cycle_of(model) == 2


def test_what_the_channel_writes_is_a_mean_of_embeddings_and_its_heads_write_nothing(
    model: HookedTransformer, pairs: PromptPairs
) -> None:
    graph = graph_of(model, pairs.roles, -1)
    outputs, _ = sender_outputs(model, graph, pairs.clean)
    with_one = torch.cat([model.W_E, torch.ones(len(model.W_E), 1)], 1)  # weights that add up to 1 are a mean's
    for layer, role in ((layer, role) for layer in CHANNELS for role in pairs.roles):
        written = torch.cat([outputs[Node("mlp", role, layer)] / 4, torch.ones(len(pairs), 1)], 1)
        weights = torch.linalg.lstsq(with_one.T, written.T).solution
        torch.testing.assert_close(with_one.T @ weights, written.T)
        assert weights.min() > -1e-9
    assert not any(outputs[node].any() for node in outputs if node.kind == "head" and node.layer in CHANNELS)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_every_edge_at_a_channel_equals_the_handwritten_run(
    model: HookedTransformer, pairs: PromptPairs, engine: str
) -> None:
    graph = graph_of(model, pairs.roles, -1)
    at_channel = [edge for edge in graph.edges if any(node.kind == "mlp" and node.layer in CHANNELS for node in edge)]
    at_channel = at_channel[::11]  # some of all kinds
    result = path_patch(model, pairs, edges=at_channel, engine=engine, per_query=True, progress=False)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    clean, logits = sender_outputs(model, graph, pairs.clean)
    before = logit_difference(logits, pairs.answers, pairs.foils)
    changed = 0
    for edge, deltas in zip(at_channel, result.deltas, strict=True):
        hooked = patch_edge(model, graph, pairs.clean, edge, corrupt[edge.sender] - clean[edge.sender])
        literal = [
            oracles.patched_edge(model, graph, base, donor, edge)
            for base, donor in zip(pairs.clean, pairs.corrupt, strict=True)
        ]
        torch.testing.assert_close(hooked, torch.stack(literal), rtol=1e-9, atol=1e-9)
        wanted = logit_difference(hooked, pairs.answers, pairs.foils) - before
        np.testing.assert_allclose(deltas, wanted, atol=1e-8)
        changed += bool(wanted.abs().max() > 1e-6)
    assert changed > 6 and no_hooks_left(model)


def test_other_edges_and_nodes_are_the_same_in_both_engines(model: HookedTransformer, pairs: PromptPairs) -> None:
    for measure in (path_patch, activation_patch):
        fast, hooks = (
            measure(model, pairs, engine=engine, per_query=True, progress=False).deltas for engine in ("fast", "hooks")
        )
        np.testing.assert_allclose(fast, hooks, atol=1e-8)


def test_edges_into_heads_that_write_nothing_do_nothing(model: HookedTransformer, pairs: PromptPairs) -> None:
    graph = graph_of(model, pairs.roles, -1)
    dead = [edge for edge in graph.edges if edge.receiver.kind == "head" and edge.receiver.layer in CHANNELS]
    result = path_patch(model, pairs, edges=dead, per_query=True, progress=False)
    np.testing.assert_allclose(result.deltas, 0, atol=1e-9)


def test_integrated_gradients_add_up_through_the_channel(model: HookedTransformer, pairs: PromptPairs) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as where they do not
        result = edge_attribution(model, pairs, method="eap_ig_inputs", per_query=True, progress=False)
    assert np.abs(result.deltas).max() > 1e-3


def test_the_lens_reads_before_and_after_the_channel(model: HookedTransformer, pairs: PromptPairs) -> None:
    asked = Queries(pairs.clean, pairs.answers, pairs.roles, -1, intermediates={"carry": pairs.foils})
    result = logit_lens(model, asked)
    at_channel = result.table[result.table["layer"] == 1]
    assert set(at_channel["after"]) == {"attention", "layer"}
