"""Circuits alone on each background against literal hooked runs, input by input."""

from typing import Any

import jaxtyping
import literal_replay
import numpy as np
import oracles
import pytest
import torch
from conftest import no_hooks_left, other_pairs, random_model, random_pairs, random_settings, strong_model, wide_pairs
from padded import PADDED_ROLES, padded_pairs, padding_model
from token_mixing import EVERY, mixing_model, mixing_pairs

from grokscope.analyses import discover, faithfulness, graph_of
from grokscope.analyses.forward.engine import FastEngine, engine_of
from grokscope.analyses.forward.hook_points import points_of
from grokscope.analyses.forward.hooks_engine import HooksEngine
from grokscope.analyses.forward.literal import run_with_edges, sender_outputs
from grokscope.analyses.forward.places import Logits, open_edges_of
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.circuits import ComputationGraph, Edge
from grokscope.tasks.transformerlens import HookedTransformer


def backgrounds(model: object, pairs: object, seed: int) -> dict[str, dict]:
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    other = {row: order[place - 1] for place, row in enumerate(order)}
    rows = [other[row] for row in range(len(pairs))]
    assert all(row != place for place, row in enumerate(rows))
    return {
        "corrupt": corrupt,
        "resampled": sender_outputs(model, graph, pairs.corrupt[rows])[0],
        "mean": {node: value.mean(0, keepdim=True).expand_as(value) for node, value in corrupt.items()},
        "zero": {node: torch.zeros_like(value) for node, value in corrupt.items()},
    }


@pytest.mark.parametrize("seed", range(4))
def test_every_background_equals_a_literal_run(seed: int) -> None:
    settings = random_settings(seed) | {"n_layers": 2, "n_heads": 2, "n_blocks": 1}
    model = strong_model(0) if seed == 0 else random_model(seed, **settings)
    pairs = wide_pairs(0)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    rng = np.random.default_rng(seed)
    edges = [edge for edge in graph.edges if rng.random() < 0.5]
    rows = torch.arange(len(pairs))
    for name, outputs in backgrounds(model, pairs, seed=3).items():
        runs = CircuitRuns(model, pairs, background=name, seed=3)
        logits = run_with_edges(model, graph, pairs.clean, edges, outputs)
        literal = logits[rows, pairs.answers] - logits[rows, pairs.foils]
        np.testing.assert_allclose(runs.metric([edges])[0], literal.double().numpy(), atol=1e-10)
        np.testing.assert_allclose(runs.metric([graph.edges])[0], runs.full, atol=1e-10)
    assert no_hooks_left(model)


def test_shares_are_one_for_all_edges_and_zero_for_none() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    runs = CircuitRuns(model, pairs)
    np.testing.assert_allclose(runs.share([runs.graph.edges, []]), [1.0, 0.0], atol=1e-12)


def test_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    model, pairs = strong_model(2), wide_pairs(2)
    with pytest.raises(ValueError, match="no background 'noise'; there are corrupt, resampled, mean, zero"):
        CircuitRuns(model, pairs, background="noise")
    with pytest.raises(ValueError, match="7 pairs are too few to judge circuits on, needed are 8"):
        CircuitRuns(model, pairs.take(torch.arange(7)))
    with pytest.raises(KeyError, match="1 edges are not in the graph"):
        CircuitRuns(model, pairs).metric([["MLP7@h -> MLP8@h"]])


ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": False}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no norms": {"normalization_type": None},
    "norms before and after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "biases after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "shared keys": {"n_heads": 4, "d_head": 6, "n_key_value_heads": 2, **ROTARY},
    "parallel, bidirectional": {"parallel_attn_mlp": True, "attention_dir": "bidirectional"},
    "attention only": {"attn_only": True},
    "shared blocks": {"n_layers": 4, "n_blocks": 2},
}


class Shifted(torch.nn.Module):
    """A norm without centring that adds something in the end."""

    def __init__(self, norm: torch.nn.Module, seed: int) -> None:
        super().__init__()
        self.norm, self.eps, self.w, self.centred = norm, norm.eps, norm.w, False
        self.b = torch.randn(norm.w.shape, generator=torch.Generator().manual_seed(seed), dtype=norm.w.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.norm(states) + self.b


def model_with(name: str) -> HookedTransformer:
    """A random model with some settings; that with biases after has norms after attention that add something."""
    model = random_model(3, **SETTINGS[name])
    if name == "biases after":
        for number, block in enumerate(model.blocks):
            block.ln1_post = Shifted(block.ln1_post, seed=number)
        model.setup()
    return model.eval()


def one_by_one(graph: ComputationGraph) -> list[list[Edge]]:
    """No edge, all edges, some, and all but one, of every kind of sender and receiver."""
    kinds = {(edge.sender.kind, edge.receiver.kind, edge.receiver.input): edge for edge in graph.edges}
    closed = [[edge for edge in graph.edges if edge != each] for each in kinds.values()]
    return [[], list(graph.edges), list(graph.edges[::2]), list(graph.edges[1::3]), *closed]


def in_order(logits: Logits) -> torch.Tensor:
    rows = {place: values for places, group in logits for place, values in zip(places, group, strict=True)}
    return torch.stack([rows[place] for place in range(len(rows))])


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_from_closed_edges_equals_a_hooked_run(name: str, engine: Any) -> None:
    model, pairs = model_with(name), random_pairs(4, n=3)
    runner = engine_of(model, pairs.roles, -1, engine=engine)
    graph, (clean,) = runner.graph, runner.run(pairs.clean)
    nothing = {node: torch.zeros_like(value) for node, value in sender_outputs(model, graph, pairs.clean)[0].items()}
    silent, sets = runner.silenced(clean), one_by_one(graph)
    found = in_order(runner.logits_with_edges(silent, clean, open_edges_of(graph, sets)))
    for edges, logits in zip(sets, found, strict=True):
        literal = run_with_edges(model, graph, pairs.clean, edges, nothing)
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(silent.logits, found[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(clean.logits, found[1], rtol=1e-10, atol=1e-10)
    missed = (found[4:] - clean.logits).abs().amax((1, 2)) > 1e-6
    assert missed.double().mean() > 0.6  # where attention looks at one position alone, where it looks changes little
    assert no_hooks_left(model)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
@pytest.mark.parametrize("attn_only", [False, True])
def test_what_is_left_of_nothing_are_biases(engine: Any, attn_only: bool) -> None:
    """Of attention, the last norm and the head; an edge that is opened then carries what a transformer by hand says."""
    model, pairs = random_model(5, attn_only=attn_only), wide_pairs(1, n=8)
    runs = CircuitRuns(model, pairs, background="zero", engine=engine)
    state = sum(block.attn.b_O for block in model.blocks)
    centred = state - state.mean()
    normed = centred / (centred.pow(2).mean() + model.ln_final.eps).sqrt() * model.ln_final.w + model.ln_final.b
    logits = (normed @ model.unembed.W_U + model.unembed.b_U).detach()
    np.testing.assert_allclose(runs.empty, (logits[pairs.answers] - logits[pairs.foils]).numpy(), atol=1e-10)
    sets = one_by_one(runs.graph)[2:6]
    for edges, values in zip(sets, runs.metric(sets), strict=True):
        for row, prompt in enumerate(pairs.clean):
            logits, _ = oracles.run(
                model, runs.graph, prompt, lambda edge, live, edges=edges: live if edge in edges else torch.zeros_like(live)
            )
            literal = float((logits[pairs.answers[row]] - logits[pairs.foils[row]]).detach())
            assert values[row] == pytest.approx(literal, abs=1e-10)


@pytest.mark.parametrize("side", ["left", "right"])
def test_hidden_pads_stay_hidden_where_nothing_is_written(side: str) -> None:
    model = padding_model(2, side)
    pairs, graph = padded_pairs(model, side, "different"), graph_of(model, PADDED_ROLES, -1)
    found = []
    for runner in (FastEngine(model, graph, 2**30), HooksEngine(model, points_of(model), graph, 2**30)):
        (clean,) = runner.run(pairs.clean)
        sets = open_edges_of(graph, [graph.edges[::2], graph.edges])
        found.append(in_order(runner.logits_with_edges(runner.silenced(clean), clean, sets)))
        torch.testing.assert_close(found[-1][1], clean.logits)
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_nothing_in_a_recursive_network_is_a_replay_of_its_initial_states(name: str) -> None:
    model, pairs = mixing_model(name), mixing_pairs(name, n=8)
    runs = CircuitRuns(model, pairs, background="zero")
    nothing = {point: torch.zeros_like(each) for point, each in literal_replay.outputs_of(model, pairs.clean).items()}
    rng = np.random.default_rng(0)
    some = [[edge for edge in runs.graph.edges if rng.random() < share] for share in (0.3, 0.6, 0.9, 0.97)]
    sets, rows = [[], *some, list(runs.graph.edges)], torch.arange(8)
    with torch.no_grad():
        alone = literal_replay.replay(model, nothing)["logits"][:, -1] @ model.unembed.W_U
    for edges, values in zip(sets, runs.metric(sets), strict=True):
        logits = literal_replay.run_with_edges(model, runs.graph, pairs.clean, nothing, edges)
        literal = logits[rows, pairs.answers] - logits[rows, pairs.foils]
        np.testing.assert_allclose(values, literal.numpy(), atol=1e-10)
        if not edges:
            torch.testing.assert_close(logits, alone)
    np.testing.assert_allclose(runs.full, runs.metric([list(runs.graph.edges)])[0], atol=1e-10)
    assert len(set(runs.empty.round(8))) == len({(int(a), int(b)) for a, b in zip(pairs.answers, pairs.foils, strict=True)})


def test_faithfulness_is_measured_against_nothing() -> None:
    model, others = strong_model(0), other_pairs(0, n=120)
    circuit = discover(model, wide_pairs(0), top_k=20)
    result, runs = faithfulness(model, circuit, others, background="zero", n_random=2), zero_runs(model, others)
    assert result.background == "zero" and "(zero)" in result.caption and not result.reason
    assert result.faithfulness == pytest.approx(float(runs.share([circuit.kept_edges])[0]))
    corrupt = faithfulness(model, circuit, others, n_random=2)
    assert abs(result.faithfulness - corrupt.faithfulness) > 1e-3


def zero_runs(model: Any, pairs: Any) -> CircuitRuns:
    return CircuitRuns(model, pairs, background="zero")
