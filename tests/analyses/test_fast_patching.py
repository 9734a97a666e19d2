"""Stacked partial runs against one literal forward pass for each edge or node."""

import pytest
import torch
from conftest import no_hooks_left, random_model, random_pairs
from transformer_lens import HookedTransformer

from grokscope.analyses import graph_of
from grokscope.analyses.fast_patching import component, edge_logits, node_logits
from grokscope.analyses.hooks import input_hook, logits_at, output_hooks
from grokscope.analyses.literal import patch_edge, patch_node, sender_outputs
from grokscope.analyses.partial_forward import run_and_cache
from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks import PromptPairs


def random_settings(seed: int) -> dict[str, object]:
    """A model drawn over the options that are done exactly."""
    generator = torch.Generator().manual_seed(seed)

    def pick(*choices: object) -> object:
        return choices[int(torch.randint(len(choices), (1,), generator=generator))]

    n_layers = pick(1, 2, 3, 4, 6)
    settings = {"n_layers": n_layers, "n_heads": pick(1, 2, 3), "d_head": 4, "n_ctx": 5}
    settings |= {"normalization_type": pick("LN", "LNPre", "RMS", "RMSPre", None), "act_fn": pick("gelu", "relu", "silu")}
    settings |= {"attention_dir": pick("causal", "bidirectional"), "attn_only": pick(False, False, True)}
    settings |= pick({}, {"positional_embedding_type": "rotary", "rotary_dim": 4})
    settings |= pick({}, {"gated_mlp": True}) if not settings["attn_only"] else {}
    divisors = [n for n in range(1, n_layers + 1) if n_layers % n == 0]
    return settings | {"n_blocks": pick(*divisors)}


def pairs_of_five(seed: int, answer_position: int) -> PromptPairs:
    """Pairs of prompts of five tokens, answered before the end or at it."""
    pairs, more = random_pairs(seed, n=3), random_pairs(seed + 1000, n=3)
    tokens = [torch.cat([a, b[:, :2]], 1) for a, b in ((pairs.clean, more.clean), (pairs.corrupt, more.corrupt))]
    roles = ("h", "r1", "r2", "answer", "end")
    return PromptPairs(*tokens, pairs.answers, pairs.foils, roles=roles, answer_position=answer_position)


def differences_of(model: HookedTransformer, graph: ComputationGraph, pairs: PromptPairs) -> dict[Node, torch.Tensor]:
    clean, corrupt = (run_and_cache(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    nodes = {component(sender) for sender in graph.senders}
    return {node: corrupt.written_by(node) - clean.written_by(node) for node in nodes}


def collected(logits: object, n: int) -> torch.Tensor:
    found = {}
    for places, values in logits:
        assert not found.keys() & set(places)
        found |= dict(zip(places, values, strict=True))
    return torch.stack([found[place] for place in range(n)])


@pytest.mark.parametrize("seed", range(30))
def test_single_edges_and_nodes_equal_the_literal_ones(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, differences = run_and_cache(model, graph, pairs.clean), differences_of(model, graph, pairs)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    edges = graph.edges[:: 1 + len(graph.edges) // 80]
    fast = collected(edge_logits(run, edges, differences, max_batch=20), len(edges))
    for edge, logits in zip(edges, fast, strict=True):
        literal = patch_edge(model, graph, pairs.clean, edge, corrupt[edge.sender] - clean[edge.sender])
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(edge))
    fast = collected(node_logits(run, graph.senders, differences, max_batch=20), len(graph.senders))
    for node, logits in zip(graph.senders, fast, strict=True):
        literal = patch_node(model, graph, pairs.clean, node, corrupt[node] - clean[node])
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(node))
    assert no_hooks_left(model)


@pytest.mark.parametrize("seed", range(10))
def test_all_positions_at_once_equal_one_literal_run(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, differences = run_and_cache(model, graph, pairs.clean), differences_of(model, graph, pairs)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    edges = list(dict.fromkeys(Edge(e.sender._replace(role=""), e.receiver._replace(role="")) for e in graph.edges))[::2]
    fast = collected(edge_logits(run, edges, differences, max_batch=10_000), len(edges))
    for edge, logits in zip(edges, fast, strict=True):
        roles = [graph.answer_role] if edge.receiver.kind == "logits" else graph.roles
        hooks = []
        for role in roles:
            sender = edge.sender._replace(role=role)
            change = model_difference(corrupt, clean, sender)
            hooks.append(input_hook(graph, edge.receiver._replace(role=role), lambda reads, change=change: reads + change))
        literal = logits_at(model, pairs.clean, pairs.answer_position, hooks)
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(edge))
    nodes = list({component(sender) for sender in graph.senders})
    fast = collected(node_logits(run, nodes, differences, max_batch=10_000), len(nodes))
    for node, logits in zip(nodes, fast, strict=True):
        hooks = []
        for role in graph.roles:
            sender = node._replace(role=role)
            hooks += output_hooks(graph, sender, model_difference(corrupt, clean, sender))
        literal = logits_at(model, pairs.clean, pairs.answer_position, hooks)
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(node))


def model_difference(corrupt: dict[Node, torch.Tensor], clean: dict[Node, torch.Tensor], node: Node) -> torch.Tensor:
    return corrupt[node] - clean[node]


def test_a_model_with_hooks_or_with_nan_is_refused() -> None:
    model, pairs = random_model(0), random_pairs(0)
    graph = graph_of(model, pairs.roles, -1)
    model.add_hook("blocks.0.hook_mlp_out", lambda activation, hook: activation * 2)
    with pytest.raises(ValueError, match=r"carries hooks at blocks.0.hook_mlp_out.*reset_hooks"):
        run_and_cache(model, graph, pairs.clean)
    model.reset_hooks()
    with torch.no_grad():
        model.W_E[pairs.clean[2, 0]] = float("nan")
    with pytest.raises(ValueError, match=r"not finite on \d of 5 prompts"):
        run_and_cache(model, graph, pairs.clean)


def test_a_model_that_computes_something_else_is_refused() -> None:
    model, pairs = random_model(0), random_pairs(0)
    model.blocks[1].attn.cfg = type(model.cfg).from_dict(model.cfg.to_dict() | {"attn_scores_soft_cap": 0.01})
    with pytest.raises(ValueError, match="something that partial runs do not know"):
        run_and_cache(model, graph_of(model, pairs.roles, -1), pairs.clean)
