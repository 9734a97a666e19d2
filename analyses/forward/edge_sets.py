"""Runs in which only some edges are open, many sets of edges at once; every other edge carries a frozen run's values.

Each input reads what the frozen run read there, plus, for each of its open edges, how much the sender's output in this
run differs from the frozen one. One tensor holds the differences of all senders at a position, so that what all inputs of
a layer read is one matrix product with a mask of zeros and ones. `literal.run_with_edges` is the oracle.
"""

from collections.abc import Collection, Mapping, Sequence

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from .cached import CachedRun
from .head import decode
from .layer import attention_scores, gathered, head_outputs, mlp_output, normalised, rotated
from .places import Sublayer, input_place, n_senders, sender_place, sublayer_of


@torch.no_grad()
def logits_with_edges(
    frozen: CachedRun,
    edge_sets: Sequence[Collection[Edge]],
    changes: Mapping[Node, Float[Tensor, "query d_model"]],
    *,
    max_batch: int,
) -> Float[Tensor, "set query d_vocab"]:
    """The logits at the answer position with each set of edges open.

    Args:
        frozen: what all other edges carry; its mask is that of the prompts that are run.
        edge_sets: edges of the graph.
        changes: nodes whose output is not computed but given, as difference from the frozen one.
        max_batch: prompts run at once; at least one copy of each query.
    """
    n_at_once = max(1, max_batch // len(frozen.embedding))
    groups = [edge_sets[start : start + n_at_once] for start in range(0, len(edge_sets), n_at_once)]
    return torch.cat([_Run(frozen, group, changes).logits() for group in groups])


_PROJECTION = "set pos head query d_model, head d_model d_head -> set query pos head d_head"  # each head reads by itself


class _Run:
    """One run of several sets of edges; `differences` holds every sender's output minus the frozen one."""

    def __init__(self, frozen: CachedRun, edge_sets: Sequence[Collection[Edge]], changes: Mapping[Node, Tensor]) -> None:
        self.frozen, self.graph = frozen, frozen.graph
        self.masks = _masks(frozen, edge_sets)
        self.changes = changes
        shape = (len(edge_sets), frozen.stop, n_senders(self.graph), *frozen.embedding[:, 0].shape)
        self.differences = frozen.embedding.new_zeros(shape)  # set, position, sender, query, d_model
        self._override("embed", -1)

    def logits(self) -> Float[Tensor, "set query d_vocab"]:
        """Run all layers."""
        for layer in range(self.graph.n_layers):
            self._run_heads(layer)
            if self.graph.has_mlp:
                self._run_mlp(layer)
        reads = self._reads(self.frozen.layers[-1].after, "logits", self.graph.n_layers)
        return decode(self.frozen.model, reads[:, self.frozen.answer, 0])

    def _reads(
        self, base: Float[Tensor, "query pos d_model"], kind: str, layer: int
    ) -> Float[Tensor, "set _ input query d_model"]:
        """What each input of one kind in a layer reads, given what the frozen run read there."""
        mask = self.masks[kind, layer]
        found = mask @ self.differences[:, :, : mask.shape[-1]].flatten(-2)
        return found.unflatten(-1, self.differences.shape[-2:]) + base[:, : self.frozen.stop].transpose(0, 1)[:, None]

    def _run_heads(self, layer: int) -> None:
        block, cache = self.frozen.model.blocks[layer], self.frozen.layers[layer]
        normed = normalised(block.ln1, self._reads(cache.before, "head", layer)).unflatten(2, (3, self.graph.n_heads))
        q, k, v = (
            rotated(block, name, einops.einsum(part, weight, _PROJECTION) + bias, 0, self.frozen.mask)
            for name, part, weight, bias in zip(
                "qkv",
                normed.unbind(2),
                (block.attn.W_Q, block.attn.W_K, block.attn.W_V),
                (block.attn.b_Q, block.attn.b_K, block.attn.b_V),
                strict=True,
            )
        )
        z_change = gathered(attention_scores(block, q, k, 0, self.frozen.mask), v) - cache.z[:, : self.frozen.stop]
        place = sender_place(self.graph, Node("head", "", layer, 0))
        written = einops.rearrange(head_outputs(block, z_change), "set query pos head d_model -> set pos head query d_model")
        self.differences[:, :, place : place + self.graph.n_heads] = written
        self._override("head", layer)

    def _run_mlp(self, layer: int) -> None:
        block, cache = self.frozen.model.blocks[layer], self.frozen.layers[layer]
        written = mlp_output(block, self._reads(cache.middle, "mlp", layer)[:, :, 0])
        frozen = (cache.after - cache.middle)[:, : self.frozen.stop].transpose(0, 1)
        self.differences[:, :, sender_place(self.graph, Node("mlp", "", layer))] = written - frozen
        self._override("mlp", layer)

    def _override(self, kind: str, layer: int) -> None:
        for node, change in self.changes.items():
            position = self.graph.roles.index(node.role)
            if (node.kind, node.layer) == (kind, layer) and position < self.frozen.stop:
                self.differences[:, position, sender_place(self.graph, node)] = change


def _masks(
    frozen: CachedRun, edge_sets: Sequence[Collection[Edge]]
) -> dict[Sublayer, Float[Tensor, "set pos input sender"]]:
    """By sublayer of the inputs: ones where an edge is open."""
    graph, n_sets, n_pos = frozen.graph, len(edge_sets), frozen.stop
    sizes = {("logits", graph.n_layers): (1, n_senders(graph))}
    for layer in range(graph.n_layers):
        sizes["head", layer] = (3 * graph.n_heads, sender_place(graph, Node("head", "", layer, 0)))
        sizes["mlp", layer] = (1, sender_place(graph, Node("mlp", "", layer)))
    masks = {sublayer: frozen.embedding.new_zeros((n_sets, n_pos, *size)) for sublayer, size in sizes.items()}
    places = {edge: _mask_place(graph, edge) for edge in set().union(*edge_sets)}
    for number, edges in enumerate(edge_sets):
        for edge in edges:
            sublayer, position, receiver, sender = places[edge]
            masks[sublayer][number, position, receiver, sender] = 1
    return masks


def _mask_place(graph: ComputationGraph, edge: Edge) -> tuple[Sublayer, int, int, int]:
    receiver, position = edge.receiver, graph.roles.index(edge.receiver.role)
    return sublayer_of(graph, receiver), position, input_place(graph, receiver), sender_place(graph, edge.sender)
