"""Stacked partial runs against one literal forward pass for each edge or node."""

import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_pairs, random_settings, seeds

from grokscope.analyses import graph_of, path_patch
from grokscope.analyses.forward.cached import from_first_change, run_and_cache
from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.literal import input_hook, logits_at, output_hooks, patch_edge, patch_node, sender_outputs
from grokscope.analyses.forward.single import Logits, component, differences, edge_logits, node_logits
from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer


def differences_of(model: HookedTransformer, graph: ComputationGraph, pairs: PromptPairs) -> dict[Node, torch.Tensor]:
    clean, corrupt = (run_and_cache(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    return differences(clean, corrupt, graph.senders)


def collected(logits: Logits, n: int) -> torch.Tensor:
    found = {}
    for places, values in logits:
        assert not found.keys() & set(places)
        found |= dict(zip(places, values, strict=True))
    return torch.stack([found[place] for place in range(n)])


@pytest.mark.parametrize("seed", seeds(30, fast=3))
def test_single_edges_and_nodes_equal_the_literal_ones(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, differences = run_and_cache(model, graph, pairs.clean), differences_of(model, graph, pairs)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    edges = graph.edges[:: 1 + len(graph.edges) // 80]
    fast = collected(edge_logits(run, edges, differences, n_copies=4), len(edges))
    for edge, logits in zip(edges, fast, strict=True):
        literal = patch_edge(model, graph, pairs.clean, edge, corrupt[edge.sender] - clean[edge.sender])
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(edge))
    fast = collected(node_logits(run, graph.senders, differences, n_copies=4), len(graph.senders))
    for node, logits in zip(graph.senders, fast, strict=True):
        literal = patch_node(model, graph, pairs.clean, node, corrupt[node] - clean[node])
        torch.testing.assert_close(logits, literal, rtol=1e-10, atol=1e-10, msg=str(node))
    assert no_hooks_left(model)


@pytest.mark.parametrize("seed", seeds(10, fast=4))
def test_all_positions_at_once_equal_one_literal_run(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, differences = run_and_cache(model, graph, pairs.clean), differences_of(model, graph, pairs)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    edges = list(dict.fromkeys(Edge(e.sender._replace(role=""), e.receiver._replace(role="")) for e in graph.edges))
    edges = edges[:: 1 + len(edges) // 50]
    fast = collected(edge_logits(run, edges, differences, n_copies=2000), len(edges))
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
    fast = collected(node_logits(run, nodes, differences, n_copies=2000), len(nodes))
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


def test_what_changes_nothing_has_no_effect_to_the_bit() -> None:
    """Pairs that share their last token: the embedding there is the same, and so is what only it feeds."""
    model, pairs = random_model(3, dtype=torch.float32), random_pairs(3, n=40)
    corrupt = pairs.corrupt.clone()
    corrupt[:, 2] = pairs.clean[:, 2]
    pairs = PromptPairs(pairs.clean, corrupt, pairs.answers, pairs.foils, roles=pairs.roles)
    result = path_patch(model, pairs, per_query=True, progress=False)
    assert result.deltas is not None
    unchanged = (result.table["sender"] == "embed@r2").to_numpy()
    assert unchanged.any() and (result.deltas[unchanged] == 0).all()
    assert (result.deltas[~unchanged] != 0).any(1).mean() > 0.9


@pytest.mark.parametrize("settings", [{}, {"attention_dir": "bidirectional"}, {"n_key_value_heads": 1}], ids=str)
@pytest.mark.parametrize("first", [1, 2])
def test_edges_at_all_positions_start_where_prompts_begin_to_differ(settings: dict[str, object], first: int) -> None:
    model, pairs = random_model(1, **settings), random_pairs(2)
    corrupt = torch.cat([pairs.clean[:, :first], pairs.corrupt[:, first:]], 1)
    fast, hooks = (engine_of(model, pairs.roles, -1, engine=name) for name in ("fast", "hooks"))
    edges, found = fast.graph.component_edges, {}
    for engine in (fast, hooks):
        found[engine.name] = collected(engine.edge_logits(*engine.run(pairs.clean, corrupt), edges), len(edges))
    torch.testing.assert_close(found["fast"], found["hooks"], rtol=1e-9, atol=1e-9)
    begins = from_first_change(*fast.run(pairs.clean, corrupt)).changed_from
    assert begins == (0 if "attention_dir" in settings else first)
