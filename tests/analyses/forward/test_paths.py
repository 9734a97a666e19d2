"""Paths through given nodes against three literal passes."""

import pytest
import torch
from conftest import pairs_of_five, random_model, random_pairs, random_settings, seeds

from grokscope.analyses import graph_of, path_patch
from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.literal import input_hook, logits_at, recorder, sender_outputs
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.circuits import ComputationGraph, Edge, Node


def order(node: Node) -> float:
    return {"embed": -1, "logits": 99}.get(node.kind, 2 * node.layer + (node.kind == "mlp"))


def reads_of(graph: ComputationGraph, node: Node) -> list[Node]:
    return [receiver for receiver in graph.receivers if node in graph.outputs_of(receiver)]


def three_passes(model, graph, tokens, ends: Edge, through: list[Node], difference, base) -> torch.Tensor:
    """Each node in between is run with the changed ones before it; then the receiver is."""
    changes = {ends.sender: difference}
    for node in sorted(through, key=order):
        if not order(ends.sender) < order(node) < order(ends.receiver):
            continue
        outputs: dict[Node, torch.Tensor] = {}
        hooks = recorder(model, graph, outputs)
        for receiver in reads_of(graph, node):
            here = [change for sender, change in changes.items() if sender in set(graph.senders_into(receiver))]
            hooks.append(input_hook(graph, receiver, lambda reads, here=here: reads + sum(here)))
        logits_at(model, tokens, graph.roles.index(graph.answer_role), hooks)
        changes[node] = outputs[node] - base[node]
    here = [change for sender, change in changes.items() if sender in set(graph.senders_into(ends.receiver))]
    hook = input_hook(graph, ends.receiver, lambda reads: reads + sum(here))
    return logits_at(model, tokens, graph.roles.index(graph.answer_role), [hook])


@pytest.mark.parametrize("seed", seeds(12, fast=3))
def test_paths_equal_three_literal_passes(seed: int) -> None:
    settings = random_settings(seed) | {"n_layers": 3, "n_blocks": 3, "n_heads": 1 + seed % 2}
    model, pairs = random_model(seed, **settings), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    clean, before = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    generator = torch.Generator().manual_seed(seed)
    through = [node for node in graph.senders if torch.rand(1, generator=generator) < 0.3 and node.kind != "embed"]
    senders, receivers = graph.senders[:: 1 + len(graph.senders) // 5], graph.receivers[:: 1 + len(graph.receivers) // 9]
    ends = [Edge(s, r) for s in senders for r in receivers if order(s) < order(r)]
    result = path_patch(model, pairs, edges=ends, through=through, per_query=True, max_memory=2**20)
    for row, path in enumerate(ends):
        difference = corrupt[path.sender] - clean[path.sender]
        literal = three_passes(model, graph, pairs.clean, path, through, difference, clean)
        change = logit_difference(literal - before, pairs.answers, pairs.foils)  # which is linear
        tolerance = 1e-11 * float(before.abs().max())  # without norms logits can be huge
        torch.testing.assert_close(torch.as_tensor(result.deltas[row]), change, rtol=1e-9, atol=tolerance, msg=str(path))


@pytest.mark.parametrize("settings", [{}, {"n_heads": 4, "d_head": 6, "n_key_value_heads": 2}], ids=str)
def test_by_hooks_each_node_in_between_is_alone_where_a_norm_follows(settings: dict[str, object]) -> None:
    after = {"use_normalization_before_and_after": True, "normalization_type": "RMS"}
    model, pairs = random_model(0, **after, **settings), random_pairs(0, n=2)
    engine = engine_of(model, pairs.roles, -1, engine="hooks")
    graph, (base, donor) = engine.graph, engine.run(pairs.clean, pairs.corrupt)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    through = [node for node in graph.senders if node.kind == "mlp" or (node.kind == "head" and node.head != 1)]
    ends = [Edge(graph.senders[0], receiver) for receiver in graph.receivers if order(receiver) > 1][::7]
    for places, found in engine.path_logits(base, donor, ends, through):
        for place, logits in zip(places, found, strict=True):
            difference = corrupt[ends[place].sender] - clean[ends[place].sender]
            literal = three_passes(model, graph, pairs.clean, ends[place], through, difference, clean)
            torch.testing.assert_close(logits, literal, rtol=1e-9, atol=1e-9)


def test_without_nodes_in_between_a_path_is_an_edge() -> None:
    model, pairs = random_model(0, n_ctx=5), pairs_of_five(0, answer_position=4)
    edges = graph_of(model, pairs.roles, 4).edges[::5]
    last = [f"MLP1@{pairs.roles[4]}"]  # lies between none of those below
    below = [edge for edge in edges if order(edge.receiver) < 3]
    direct = path_patch(model, pairs, edges=below, per_query=True)
    through = path_patch(model, pairs, edges=[str(edge) for edge in below], through=last, per_query=True)
    torch.testing.assert_close(torch.as_tensor(through.deltas), torch.as_tensor(direct.deltas))


def test_impossible_paths_are_named() -> None:
    model, pairs = random_model(0, n_ctx=5), pairs_of_five(0, answer_position=4)
    with pytest.raises(ValueError, match=r"MLP9@h is no node.*MLP1@end -> L0H0.v@h goes backwards"):
        path_patch(model, pairs, edges=["MLP1@end -> L0H0.v@h"], through=["MLP9@h"])
    with pytest.raises(ValueError, match="need their ends"):
        path_patch(model, pairs, through=["MLP0@h"])
