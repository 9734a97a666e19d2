"""Options of decoders, each exact against hooks on the model itself, and against the gradient of such runs."""

import pytest
import torch
from conftest import random_model, random_pairs

from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.literal import input_hook, logits_at, patch_edge, patch_node, run_with_edges, sender_outputs
from grokscope.analyses.forward.places import input_place, open_edges_of, sublayer_of
from grokscope.circuits import ComputationGraph

LOCAL = {"use_local_attn": True, "attn_types": ["local", "global"], "window_size": 2}
ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": False}
CLOSE = {torch.float64: {"rtol": 1e-9, "atol": 1e-9}, torch.float32: {"rtol": 1e-4, "atol": 1e-4}}
DECODERS = {
    "shared keys": {"n_heads": 4, "d_head": 6, "n_key_value_heads": 2},
    "one key": {"n_heads": 4, "d_head": 6, "n_key_value_heads": 1, **ROTARY},
    "norms of queries and keys": {"use_qk_norm": True, "normalization_type": "RMS", **ROTARY},
    "norms over heads, and after": {
        "original_architecture": "Olmo2ForCausalLM",
        "normalization_type": "RMS",
        "d_head": 6,
        **ROTARY,
    },
    "norms before and after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "parallel": {"parallel_attn_mlp": True},
    "parallel, bidirectional": {"parallel_attn_mlp": True, "attention_dir": "bidirectional"},
    "window": LOCAL,
    "soft caps": {"attn_scores_soft_cap": 0.7, "output_logits_soft_cap": 2.0},
    "ALiBi": {"positional_embedding_type": "alibi"},
    "sinks": {"use_attention_sinks": True},
    "clipping": {"clip_qkv": 0.3, **ROTARY},
    "experts": {"num_experts": 3, "experts_per_token": 2, "gated_mlp": True, "act_fn": "silu", "dtype": torch.float32},
    "all at once": {
        "n_heads": 4,
        "d_head": 6,
        "n_key_value_heads": 2,
        "use_qk_norm": True,
        "normalization_type": "RMS",
        "use_normalization_before_and_after": True,
        "attn_scores_soft_cap": 0.7,
        "gated_mlp": True,
        **LOCAL,
        **ROTARY,
    },
}


@pytest.mark.parametrize("name", DECODERS)
def test_every_edge_and_node_is_exact(name: str) -> None:
    model, pairs = random_model(3, **DECODERS[name]), random_pairs(4, n=3)
    engine = engine_of(model, pairs.roles, -1)
    graph = engine.graph
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    written, logits = sender_outputs(model, graph, pairs.clean)
    other, _ = sender_outputs(model, graph, pairs.corrupt)
    torch.testing.assert_close(base.logits, logits, **CLOSE[model.cfg.dtype])
    for found, targets, patch in (
        (engine.edge_logits(base, donor, graph.edges), graph.edges, patch_edge),
        (engine.node_logits(base, donor, graph.senders), graph.senders, patch_node),
    ):
        seen = set()
        for places, patched in found:
            for place, values in zip(places, patched, strict=True):
                target = targets[place]
                sender = getattr(target, "sender", target)
                expected = patch(model, graph, pairs.clean, target, other[sender] - written[sender])
                torch.testing.assert_close(values, expected, **CLOSE[model.cfg.dtype])
                seen.add(place)
        assert len(seen) == len(targets)


@pytest.mark.parametrize("name", DECODERS)
def test_sets_of_edges_are_exact(name: str) -> None:
    model, pairs = random_model(3, **DECODERS[name]), random_pairs(4, n=3)
    engine = engine_of(model, pairs.roles, -1)
    graph = engine.graph
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    background, _ = sender_outputs(model, graph, pairs.corrupt)
    generator = torch.Generator().manual_seed(0)
    sets = [[edge for edge in graph.edges if torch.rand((), generator=generator) < share] for share in (0.3, 0.6, 0.9)]
    sets += [[], list(graph.edges)]
    for places, found in engine.logits_with_edges(donor, base, open_edges_of(graph, sets)):
        for place, logits in zip(places, found, strict=True):
            expected = run_with_edges(model, graph, pairs.clean, sets[place], background)
            torch.testing.assert_close(logits, expected, **CLOSE[model.cfg.dtype])


@pytest.mark.parametrize("name", DECODERS)
def test_gradients_are_those_of_hooked_runs(name: str) -> None:
    """The slope of the objective along a direction, at one input, by central differences of hooked runs."""
    model, pairs = random_model(3, **DECODERS[name]), random_pairs(4, n=2)
    engine = engine_of(model, pairs.roles, -1)
    graph: ComputationGraph = engine.graph
    (base,) = engine.run(pairs.clean)
    gradients = engine.input_gradients(base, lambda logits: logits[:, 0] - logits[:, 1], {})
    step, close = (1e-5, 1e-5) if model.cfg.dtype == torch.float64 else (1e-2, 2e-2)
    generator = torch.Generator().manual_seed(1)
    for receiver in graph.receivers[:: max(1, len(graph.receivers) // 12)]:
        direction = torch.randn(2, model.cfg.d_model, generator=generator, dtype=model.cfg.dtype)
        ends = []
        for by in (step * direction, -step * direction):
            hook = input_hook(graph, receiver, lambda reads, by=by: reads + by)
            logits = logits_at(model, pairs.clean, graph.roles.index(graph.answer_role), [hook])
            ends.append(logits[:, 0] - logits[:, 1])
        expected = (ends[0] - ends[1]) / (2 * step)
        at = gradients[sublayer_of(graph, receiver)][:, graph.roles.index(receiver.role), input_place(graph, receiver)]
        torch.testing.assert_close((at * direction).sum(-1), expected, rtol=close, atol=close)


@pytest.mark.parametrize("name", ["norms before and after", "norms over heads, and after", "all at once"])
def test_longer_paths_and_means_know_what_heads_share(name: str) -> None:
    """A path without nodes in between is an edge; with all edges open, nothing is left of the mean prompt."""
    model, pairs = random_model(3, **DECODERS[name]), random_pairs(4, n=3)
    engine = engine_of(model, pairs.roles, -1)
    graph = engine.graph
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    edges = [edge for edge in graph.edges if edge.receiver.kind == "head"][::7]
    paths = {
        i: logits
        for places, found in engine.path_logits(base, donor, edges, [])
        for i, logits in zip(places, found, strict=True)
    }
    for places, found in engine.edge_logits(base, donor, edges):
        for place, logits in zip(places, found, strict=True):
            torch.testing.assert_close(paths[place], logits, rtol=1e-9, atol=1e-9)
    mean = engine.averaged([base, donor], 3)
    for _, found in engine.logits_with_edges(mean, base, open_edges_of(graph, [graph.edges])):
        torch.testing.assert_close(found[0], base.logits, rtol=1e-9, atol=1e-9)
    heads = [node for node in graph.senders if node.kind == "head" and node.layer == 0 and node.role == "r2"]
    with pytest.raises(ValueError, match="several heads of one layer share a norm"):
        list(engine.path_logits(base, donor, edges[-1:], heads))
