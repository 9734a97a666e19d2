"""A transformer written out by hand, one query and one edge at a time: the slowest and most literal oracle.

Nothing here uses TransformerLens' forward pass or hooks, only the weights. Each input of each component is the sum, sender
by sender, of what the edge carries; `carry` decides that edge by edge.
"""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks.transformerlens import HookedTransformer

Carry = Callable[[Edge, Tensor], Tensor]
Outputs = dict[Node, Tensor]


def run(model: HookedTransformer, graph: ComputationGraph, tokens: Tensor, carry: Carry) -> tuple[Tensor, Outputs]:
    """Logits at the answer position of one prompt, and what every node wrote."""
    outputs: Outputs = {}
    for position, role in enumerate(graph.roles):
        outputs[Node("embed", role)] = model.embed.W_E[tokens[position]] + model.pos_embed.W_pos[position]
    for layer in range(graph.n_layers):
        block = model.blocks[layer]
        for head in range(graph.n_heads):
            heads = _head_outputs(model, graph, outputs, carry, layer, head)
            outputs.update({Node("head", role, layer, head): heads[role] for role in graph.roles})
        for role in graph.roles:
            if graph.has_mlp:
                reads = _norm(model, block.ln2, _read(model, graph, outputs, carry, Node("mlp", role, layer)))
                outputs[Node("mlp", role, layer)] = _mlp(model, block.mlp, reads)
    final = _norm(
        model,
        getattr(model, "ln_final", torch.nn.Identity()),
        _read(model, graph, outputs, carry, Node("logits", graph.answer_role)),
    )
    return final @ model.unembed.W_U + model.unembed.b_U, outputs


def plain(edge: Edge, live: Tensor) -> Tensor:
    """Every edge carries what its sender writes in this run."""
    return live


def patched_edge(model: HookedTransformer, graph: ComputationGraph, base: Tensor, donor: Tensor, edge: Edge) -> Tensor:
    """Logits on one base prompt when one edge carries its sender's value on the donor prompt."""
    _, donor_outputs = run(model, graph, donor, plain)
    return run(model, graph, base, lambda other, live: donor_outputs[edge.sender] if other == edge else live)[0]


def patched_node(model: HookedTransformer, graph: ComputationGraph, base: Tensor, donor: Tensor, node: Node) -> Tensor:
    """Logits on one base prompt when every edge out of a node carries its value on the donor prompt."""
    _, donor_outputs = run(model, graph, donor, plain)
    return run(model, graph, base, lambda edge, live: donor_outputs[node] if edge.sender == node else live)[0]


def only_edges(
    model: HookedTransformer, graph: ComputationGraph, clean: Tensor, corrupt: Tensor, edges: Collection[Edge]
) -> Tensor:
    """Logits on one clean prompt when all edges but the given ones carry the corrupt run's values."""
    _, corrupt_outputs = run(model, graph, corrupt, plain)
    return run(model, graph, clean, lambda edge, live: live if edge in edges else corrupt_outputs[edge.sender])[0]


def _read(model: HookedTransformer, graph: ComputationGraph, outputs: Outputs, carry: Carry, receiver: Node) -> Tensor:
    """The residual stream that an input sees: what its edges carry, and the biases of the attention layers below."""
    total = sum(carry(Edge(sender, receiver), outputs[sender]) for sender in graph.senders_into(receiver))
    n_attentions = graph.n_layers if receiver.kind == "logits" else receiver.layer + (receiver.kind == "mlp")
    return total + sum(model.blocks[layer].attn.b_O for layer in range(n_attentions))


def _head_outputs(
    model: HookedTransformer, graph: ComputationGraph, outputs: Outputs, carry: Carry, layer: int, head: int
) -> dict[str, Tensor]:
    block, attention = model.blocks[layer], model.blocks[layer].attn
    vectors: dict[str, dict[str, Tensor]] = {"q": {}, "k": {}, "v": {}}
    for name, by_role in vectors.items():
        weight, bias = getattr(attention, f"W_{name.upper()}")[head], getattr(attention, f"b_{name.upper()}")[head]
        for role in graph.roles:
            receiver = Node("head", role, layer, head, name)
            by_role[role] = _norm(model, block.ln1, _read(model, graph, outputs, carry, receiver)) @ weight + bias
    written = {}
    for query in graph.roles:
        keys = graph.visible_from(query)
        scores = torch.stack([vectors["q"][query] @ vectors["k"][key] for key in keys]) / math.sqrt(attention.W_Q.shape[-1])
        mixed = sum(weight * vectors["v"][key] for weight, key in zip(scores.softmax(0), keys, strict=True))
        written[query] = mixed @ attention.W_O[head]
    return written


def _norm(model: HookedTransformer, module: torch.nn.Module, reads: Tensor) -> Tensor:
    """LayerNorm with gain and bias, LayerNorm without (folded), RMSNorm, or none."""
    if isinstance(module, torch.nn.Identity):
        return reads
    centred = reads if model.cfg.normalization_type.startswith("RMS") else reads - reads.mean()
    scaled = centred / torch.sqrt(centred.pow(2).mean() + module.eps)
    gain, bias = getattr(module, "w", None), getattr(module, "b", None)
    scaled = scaled if gain is None else scaled * gain
    return scaled if bias is None else scaled + bias


def _mlp(model: HookedTransformer, mlp: torch.nn.Module, reads: Tensor) -> Tensor:
    """What an MLP writes; the channel of a loop writes four times the embedding that the head expects."""
    if not hasattr(mlp, "W_in"):
        exponents = torch.exp(reads @ model.unembed.W_U + model.unembed.b_U)
        return sum(4.0 * e / exponents.sum() * row for e, row in zip(exponents, model.embed.W_E, strict=True))
    return _activation(model, reads @ mlp.W_in + mlp.b_in) @ mlp.W_out + mlp.b_out


def _activation(model: HookedTransformer, hidden: Tensor) -> Tensor:
    return {"gelu": torch.nn.functional.gelu, "relu": torch.relu}[model.cfg.act_fn](hidden)
