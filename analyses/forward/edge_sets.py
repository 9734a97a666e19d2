"""Runs in which only some edges are open, many sets of edges at once; every other edge carries a frozen run's values.

Each input reads what the frozen run read there, plus, for each of its open edges, how much the sender's output in this
run differs from the frozen one. One tensor holds the differences of all senders at a position, so that what all inputs of
one kind in a layer read is one matrix product with a mask of zeros and ones. Sets that have their first layers in common
share what is computed there, so that sets which differ in one edge are run from that edge on. `literal.run_with_edges` is
the oracle.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Node
from .cached import CachedRun
from .layer import attention_scores, gathered, head_outputs, mlp_output, normalised, turned, weights_of
from .places import Logits, OpenEdges, Sublayer, alike, input_place, n_inputs_of, n_senders, sender_place, sublayer_of

Changes = Mapping[Node, Float[Tensor, "query d_model"]]
"""Nodes whose output is not computed but given, as difference from the frozen one."""


def logits_with_edges(frozen: CachedRun, open_edges: OpenEdges, changes: Changes, *, n_sets: int) -> Logits:
    """The logits at the answer position with each set of edges open, some sets at a time.

    Args:
        frozen: what all other edges carry; its mask is that of the prompts that are run.
        open_edges: by set and edge of the graph.
        changes: see `Changes`.
        n_sets: run at once.
    """
    layout = _layout(frozen.graph)
    if not len(open_edges):
        return
    for places in alike([layout.columns[sublayer] for sublayer in layout.sublayers], open_edges).split(n_sets):
        yield places.tolist(), _together(frozen, layout, open_edges[places], changes)


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where the edges of a graph stand in the masks.

    Attributes:
        sublayers: in the order in which they are computed, the logits last.
        columns: by sublayer, the edges into it.
        at: by sublayer, the places of these edges in a flat mask [pos, input, sender].
    """

    sublayers: Sequence[Sublayer]
    columns: Mapping[Sublayer, Int[Tensor, " edge"]]
    at: Mapping[Sublayer, Int[Tensor, "3 edge"]]


@lru_cache(maxsize=8)
def _layout(graph: ComputationGraph) -> _Layout:
    kinds = ("head", "mlp") if graph.has_mlp else ("head",)
    sublayers: list[Sublayer] = [(kind, layer) for layer in range(graph.n_layers) for kind in kinds]
    sublayers.append(("logits", graph.n_layers))
    columns: dict[Sublayer, list[int]] = {sublayer: [] for sublayer in sublayers}
    at: dict[Sublayer, list[tuple[int, int, int]]] = {sublayer: [] for sublayer in sublayers}
    for number, (sender, receiver) in enumerate(graph.edges):
        sublayer = sublayer_of(graph, receiver)
        columns[sublayer].append(number)
        position = graph.roles.index(receiver.role)
        at[sublayer].append((position, input_place(graph, receiver), sender_place(graph, sender)))
    return _Layout(
        sublayers,
        {sublayer: torch.tensor(found, dtype=torch.long, device="cpu") for sublayer, found in columns.items()},
        {sublayer: torch.tensor(found, dtype=torch.long, device="cpu").view(-1, 3).T for sublayer, found in at.items()},
    )


@torch.no_grad()
def _together(
    frozen: CachedRun, layout: _Layout, open_edges: OpenEdges, changes: Changes
) -> Float[Tensor, "set query d_vocab"]:
    """Run what all sets have in common once, and the rest for each."""
    n_common = _n_common(layout, open_edges)
    common = _Run(frozen, layout, open_edges[:1], changes, n_common)
    for sublayer in layout.sublayers[:n_common]:
        common.compute(sublayer)
    rest = _Run(frozen, layout, open_edges, changes, len(layout.sublayers) - 1, shared=common.differences[:, 0])
    for sublayer in layout.sublayers[n_common:-1]:
        rest.compute(sublayer)
    return rest.logits()


def _n_common(layout: _Layout, open_edges: OpenEdges) -> int:
    """How many sublayers from the first on have the same open edges in all sets."""
    for number, sublayer in enumerate(layout.sublayers[:-1]):
        into = open_edges[:, layout.columns[sublayer]]
        if (into != into[:1]).any():
            return number
    return len(layout.sublayers) - 1


class _Run:
    """One run of several sets of edges through a number of sublayers, from the first on.

    `shared` holds the differences from the frozen run of the senders that write the same in all sets, `differences` those
    of the others.
    """

    def __init__(
        self,
        frozen: CachedRun,
        layout: _Layout,
        open_edges: OpenEdges,
        changes: Changes,
        n_sublayers: int,
        shared: Float[Tensor, "_ sender query d_model"] | None = None,
    ) -> None:
        self.frozen, self.graph, self.layout, self.open_edges = frozen, frozen.graph, layout, open_edges
        self.changes = changes
        (n_query, _, d_model), n_pos = frozen.embedding.shape, frozen.stop
        self.shared = frozen.embedding.new_zeros((n_pos, 0, n_query, d_model)) if shared is None else shared
        n_written = self._first_sender(n_sublayers) - self.shared.shape[1]
        self.differences = frozen.embedding.new_zeros((n_pos, len(open_edges), n_written, n_query, d_model))
        if shared is None:
            self._override(("embed", -1))

    def compute(self, sublayer: Sublayer) -> None:
        """Run one sublayer."""
        run = self._run_heads if sublayer[0] == "head" else self._run_mlp
        run(sublayer[1])
        self._override(sublayer)

    def logits(self) -> Float[Tensor, "set query d_vocab"]:
        """Final norm and unembedding."""
        mask = self._mask(("logits", self.graph.n_layers))
        return self.frozen.decoder.decode(self._reads(self.frozen.layers[-1].after, mask)[self.frozen.answer, :, 0])

    def _first_sender(self, number: int) -> int:
        """How many nodes write at a position before a sublayer."""
        kind, layer = self.layout.sublayers[number]
        return n_senders(self.graph) if kind == "logits" else sender_place(self.graph, Node(kind, "", layer, 0))

    def _mask(self, sublayer: Sublayer) -> Float[Tensor, "_ set input sender"]:
        """Ones where an edge into a sublayer is open."""
        n_inputs = n_inputs_of(self.graph, sublayer)
        n_before = self._first_sender(self.layout.sublayers.index(sublayer))
        mask = self.differences.new_zeros((self.frozen.stop, len(self.open_edges), n_inputs, n_before))
        position, receiver, sender = self.layout.at[sublayer].to(mask.device)
        seen = position < self.frozen.stop
        is_open = self.open_edges[:, self.layout.columns[sublayer]].to(mask).T
        mask[position[seen], :, receiver[seen], sender[seen]] = is_open[seen]
        return mask

    def _reads(
        self, base: Float[Tensor, "query pos d_model"], mask: Float[Tensor, "_ set input sender"]
    ) -> Float[Tensor, "_ set input query d_model"]:
        """What some inputs read, given what the frozen run read there."""
        n_shared, n_before = self.shared.shape[1], mask.shape[-1]
        found = mask[..., :n_shared].flatten(1, 2) @ self.shared[:, :n_before].flatten(2)
        if n_before > n_shared:
            written = self.differences[:, :, : n_before - n_shared].flatten(3).flatten(0, 1)
            found.view(-1, mask.shape[2], written.shape[-1]).baddbmm_(mask[..., n_shared:].flatten(0, 1), written)
        found = found.view(*mask.shape[:3], *self.shared.shape[-2:])
        return found.add_(base[:, : self.frozen.stop].transpose(0, 1)[:, None, None])

    def _run_heads(self, layer: int) -> None:
        block, cache = self.frozen.decoder.layers[layer], self.frozen.layers[layer]
        n_keys = self.graph.n_key_value_heads
        masks = self._mask(("head", layer)).split([self.graph.n_heads, n_keys, n_keys], 2)
        q, k, v = (self._projected(layer, name, mask) for name, mask in zip("qkv", masks, strict=True))
        z, frozen_z = gathered(block, attention_scores(block, q, k, 0, self.frozen.mask), v), cache.z[:, : self.frozen.stop]
        del q, k, v
        if block.norm_after is None:  # linear, so that one product gives the change
            change = head_outputs(block, z - frozen_z)
        else:
            change = head_outputs(block, z) - self.frozen.written_by(("head", layer))[:, : self.frozen.stop]
        self._written(("head", layer)).copy_(einops.rearrange(change, _BY_SENDER))

    def _projected(
        self, layer: int, name: str, mask: Float[Tensor, "_ set head sender"]
    ) -> Float[Tensor, "set query _ head d_head"]:
        """Queries, keys or values, of which each head reads by itself."""
        block, cache = self.frozen.decoder.layers[layer], self.frozen.layers[layer]
        weight, bias = weights_of(block, name)
        normed = normalised(block, self._reads(cache.before, mask))
        return turned(block, name, einops.einsum(normed, weight, _PROJECTION) + bias, 0, self.frozen.mask)

    def _run_mlp(self, layer: int) -> None:
        block, cache = self.frozen.decoder.layers[layer], self.frozen.layers[layer]
        written = mlp_output(block, self._reads(self.frozen.read_by_mlp(layer), self._mask(("mlp", layer)))[:, :, 0])
        frozen = (cache.after - cache.middle)[:, : self.frozen.stop].transpose(0, 1)[:, None]
        torch.sub(written, frozen, out=self._written(("mlp", layer))[:, :, 0])

    def _written(self, sublayer: Sublayer) -> Float[Tensor, "_ set sender query d_model"]:
        """The place for what a sublayer's nodes write."""
        start = self._first_sender(self.layout.sublayers.index(sublayer)) - self.shared.shape[1]
        return self.differences[:, :, start : start + (self.graph.n_heads if sublayer[0] == "head" else 1)]

    def _override(self, sublayer: Sublayer) -> None:
        for node, change in self._given(sublayer):
            place = sender_place(self.graph, node) - self.shared.shape[1]
            self.differences[self.graph.roles.index(node.role), :, place] = change

    def _given(self, sublayer: Sublayer) -> Iterator[tuple[Node, Float[Tensor, "query d_model"]]]:
        """The nodes of a sublayer whose output is given."""
        for node, change in self.changes.items():
            if (node.kind, node.layer) == sublayer and self.graph.roles.index(node.role) < self.frozen.stop:
                yield node, change


_PROJECTION = "pos set head query d_model, head d_model d_head -> set query pos head d_head"
_BY_SENDER = "set query pos head d_model -> pos set head query d_model"
