"""What exact means in a token-mixing network, literally: one prompt set, one edge, plain loops over the module itself."""

from collections.abc import Collection, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks.models.trm import TRM

Outputs = Mapping[str, Float[Tensor, "query pos d_model"]]
"""By hook point: what the embedding, token mixers and MLPs write."""
EPS = 1e-5


def hook_of(node: Node) -> str:
    """Where a node writes."""
    points = {
        "embed": "hook_embed",
        "mixer": f"blocks.{node.layer}.hook_mixer_out",
        "mlp": f"blocks.{node.layer}.hook_mlp_out",
    }
    return points[node.kind]


def outputs_of(model: TRM, tokens: Int[Tensor, "query pos"]) -> Outputs:
    """What everything writes on plain prompts."""
    _, cache = model.run_with_cache(tokens)
    return {name: cache[name] for name in cache if name.endswith(("hook_embed", "mixer_out", "mlp_out"))}


def replay(model: TRM, outputs: Outputs) -> dict[str, Tensor]:
    """What everything reads if outputs are these: every state built again, with its norms."""
    shape, x, layer, read = model.cfg.shape, outputs["hook_embed"], 0, {}
    z_h, z_l = model.z_h.expand_as(x), model.z_l.expand_as(x)

    def refined(states: Tensor, layer: int) -> tuple[Tensor, int]:
        for _ in range(shape.n_blocks):
            read[f"MIX{layer}"] = states
            states = normed(states + outputs[f"blocks.{layer}.hook_mixer_out"], 1 if shape.mixer_norm == "positions" else 2)
            read[f"MLP{layer}"] = states
            states, layer = normed(states + outputs[f"blocks.{layer}.hook_mlp_out"], 2), layer + 1
        return states, layer

    for _ in range(shape.h_cycles):
        for _ in range(shape.l_cycles):
            z_l, layer = refined(z_l + z_h + x, layer)
        z_h, layer = refined(z_h + z_l, layer)
    return read | {"logits": z_h}


def normed(states: Tensor, dim: int) -> Tensor:
    """Of root mean square 1."""
    return states / (states.pow(2).mean(dim, keepdim=True) + EPS).sqrt()


def written_by(model: TRM, node: Node, reads: Tensor) -> Tensor:
    """What a mixer or MLP makes of what it reads, position by position and channel by channel."""
    core = model.core[node.layer % model.cfg.shape.n_blocks]
    if node.kind == "mlp":
        return torch.stack([core.mlp(reads[:, at]) for at in range(reads.shape[1])], 1)
    return torch.stack([core.mixer(reads[:, :, channel]) for channel in range(reads.shape[2])], 2)


def swapped(graph: ComputationGraph, outputs: Outputs, donor: Outputs, node: Node) -> Outputs:
    """The outputs with one node's, at its position, from the donor."""
    if node.kind == "init":
        return outputs
    at, changed = graph.roles.index(node.role), outputs[hook_of(node)].clone()
    changed[:, at] = donor[hook_of(node)][:, at]
    return {**outputs, hook_of(node): changed}


def logits_with(model: TRM, tokens: Int[Tensor, "query pos"], answer: int, outputs: Outputs) -> Tensor:
    """The logits of a forward pass in which some hook points hold something else."""
    hooks = [(name, partial(_instead, value)) for name, value in outputs.items()]
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=hooks)[:, answer]


def _instead(value: Tensor, activation: Tensor, hook: object) -> Tensor:
    return value


def patch_edge(
    model: TRM, graph: ComputationGraph, tokens: Int[Tensor, "query pos"], base: Outputs, donor: Outputs, edge: Edge
) -> Float[Tensor, "query d_vocab"]:
    """The logits if one receiver reads one sender's donor output at one position."""
    return from_receiver(model, graph, tokens, swapped(graph, base, donor, edge.sender), edge.receiver)


def from_receiver(model: TRM, graph: ComputationGraph, tokens: Tensor, outputs: Outputs, receiver: Node) -> Tensor:
    """The logits if one receiver reads what follows from some outputs, and everything later what it makes of it."""
    with torch.no_grad():
        return reading_put(model, graph, tokens, receiver, replay(model, outputs)[receiver.component])


def reading_put(model: TRM, graph: ComputationGraph, tokens: Tensor, receiver: Node, reads: Tensor) -> Tensor:
    """The logits if one receiver reads something else."""
    answer = graph.roles.index(graph.answer_role)
    with torch.no_grad():
        if receiver.kind == "logits":
            return reads[:, answer] @ model.unembed.W_U
        return logits_with(model, tokens, answer, {hook_of(receiver): written_by(model, receiver, reads)})


def patch_node(
    model: TRM, graph: ComputationGraph, tokens: Int[Tensor, "query pos"], base: Outputs, donor: Outputs, node: Node
) -> Float[Tensor, "query d_vocab"]:
    """The logits if everyone reads a node's donor output."""
    changed = swapped(graph, base, donor, node)
    answer, put = (
        graph.roles.index(graph.answer_role),
        {} if node.kind == "init" else {hook_of(node): changed[hook_of(node)]},
    )
    return logits_with(model, tokens, answer, put)


def patch_path(
    model: TRM,
    graph: ComputationGraph,
    tokens: Int[Tensor, "query pos"],
    base: Outputs,
    donor: Outputs,
    ends: Edge,
    through: Collection[Node],
) -> Float[Tensor, "query d_vocab"]:
    """The same, of the sender's output and of what that makes of nodes in between, each at its position alone."""
    order = [step.kind + str(step.layer) for step in graph.steps]

    def when(node: Node) -> int:
        return order.index(node.kind + str(node.layer))

    outputs = swapped(graph, base, donor, ends.sender)
    between = sorted((node for node in through if when(ends.sender) < when(node) < when(ends.receiver)), key=when)
    for step in dict.fromkeys(map(when, between)):
        before = outputs
        for node in (node for node in between if when(node) == step):
            with torch.no_grad():
                written = written_by(model, node, replay(model, before)[node.component])
            outputs = swapped(graph, outputs, {hook_of(node): written}, node)
    read = base
    for node in (ends.sender, *between):
        if node.role == ends.receiver.role:  # edges join nodes at one position
            read = swapped(graph, read, outputs, node)
    return from_receiver(model, graph, tokens, read, ends.receiver)


def run_with_edges(
    model: TRM, graph: ComputationGraph, tokens: Int[Tensor, "query pos"], background: Outputs, open_edges: Collection[Edge]
) -> Float[Tensor, "query d_vocab"]:
    """The logits if every receiver has a private replay, with this run's outputs where edges are open."""
    live = {"hook_embed": outputs_of(model, tokens)["hook_embed"]}

    def read(component: Node) -> Tensor:
        outputs: Outputs = background
        for role in graph.roles:
            for edge in open_edges:
                if edge.receiver == component._replace(role=role) and edge.sender.kind != "init":
                    outputs = swapped(graph, outputs, live, edge.sender)
        return replay(model, outputs)[component.component]

    with torch.no_grad():
        for step in graph.steps:
            if step.kind in ("mixer", "mlp"):
                node = Node(step.kind, "", step.layer)
                live[hook_of(node)] = written_by(model, node, read(node))
        return read(Node("logits", ""))[:, graph.roles.index(graph.answer_role)] @ model.unembed.W_U
