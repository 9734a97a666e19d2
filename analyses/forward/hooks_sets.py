"""Runs in which only some edges are open, by hooks: layer after layer, every input by itself."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Node
from .hooked_pass import Noted, noted_on, slots
from .hooks_changes import Passes, put
from .hooks_run import HooksRun, State
from .places import (
    OpenEdges,
    Sublayer,
    input_place,
    n_inputs_of,
    n_senders,
    sender_place,
    sublayer_of,
)

Differences = Float[Tensor, "set query pos sender d_model"]
"""What senders write in a run of each set, minus what closed edges carry."""


@torch.no_grad()
def with_open_edges(
    passes: Passes, frozen: HooksRun, run: HooksRun, open_edges: OpenEdges, at_once: int
) -> Float[Tensor, "set query d_vocab"]:
    """The logits on the prompts of `run` with each set of edges open; others carry what `frozen` holds.

    Args:
        passes: of the model.
        frozen: may be no run of any prompts, but their mean.
        run: the prompts, and what their embedding is.
        open_edges: by set and edge of the graph.
        at_once: copies of the prompts in one pass.
    """
    graph, (n, n_pos, d_model) = passes.graph, run.last.shape
    found = run.last.new_zeros(len(open_edges), n, n_pos, n_senders(graph), d_model)
    found[:, :, :, 0] = run.before[0] - frozen.before[0]
    sets = _Sets(passes, frozen, run, open_edges, at_once)
    for layer in range(graph.n_layers):
        place = sender_place(graph, Node("head", "", layer, 0))
        found[:, :, :, place : place + graph.n_heads] = sets.heads(layer, found[:, :, :, :place])
        if graph.has_mlp:
            place += graph.n_heads
            found[:, :, :, place] = sets.mlp(layer, found[:, :, :, :place])
    return sets.logits(found)


@dataclass(frozen=True, eq=False)
class _Sets:
    passes: Passes
    frozen: HooksRun
    run: HooksRun
    open_edges: OpenEdges
    at_once: int

    def heads(self, layer: int, found: Differences) -> Float[Tensor, "set query pos head d_model"]:
        """What heads write, minus what they write in the frozen run."""
        points, graph = self.passes.points, self.passes.graph
        at = points.layers[layer]
        reads, which = self._reads(("head", layer), self.frozen.before[layer], found)
        names = {name: getattr(at, name) for name in "qkv"}
        noted = self._noted({at.before: lambda rows: reads[rows]}, names.values(), len(reads))
        inputs, start = {}, 0
        for name, point in names.items():
            n = points.n_slots(name)
            by_input = slots(noted[point], n)
            rows = which[:, start : start + n]
            chosen = torch.stack([by_input[rows[:, number], :, :, number] for number in range(n)], 3)
            inputs[point], start = chosen.reshape(len(rows), *noted[point].shape[1:]), start + n
        replaced = {point: lambda rows, values=values: values[rows] for point, values in inputs.items()}
        z = self._noted(replaced, [at.z], len(which))[at.z]
        return points.writes[layer](slots(z, graph.n_heads)) - self.frozen.heads[layer]

    def mlp(self, layer: int, found: Differences) -> Float[Tensor, "set query pos d_model"]:
        """What an MLP writes, minus what it writes in the frozen run."""
        at = self.passes.points.layers[layer]
        reads, which = self._reads(("mlp", layer), self.frozen.middle[layer], found)
        edits = {at.before: lambda rows: reads[rows], at.attention: lambda rows: torch.zeros_like(reads[rows])}
        return self._noted(edits, [at.mlp], len(reads))[at.mlp][which[:, 0]] - self.frozen.mlp[layer]

    def logits(self, found: Differences) -> Float[Tensor, "set query d_vocab"]:
        """What is made of the last state."""
        point, parts = self.passes.points.layers[-1].after, []
        reads, which = self._reads(("logits", self.passes.graph.n_layers), self.frozen.last, found)
        for some in reads.split(self.at_once):
            parts.append(self.passes.logits(self.run.prompts, {point: [put(slice(None), some)]}, len(some)))
        return torch.cat(parts)[which[:, 0]]

    def _noted(self, replaced: Mapping, points: Collection[str], n: int) -> Noted:
        """What points hold in n copies in which others are replaced."""

        def some(rows: slice) -> Noted:
            edits = {point: [put(slice(None), values(rows))] for point, values in replaced.items()}
            return noted_on(self.passes.model, self.run.prompts, edits, points, n=rows.stop - rows.start)

        return self.passes.chunked(n, self.at_once, some)

    def _reads(
        self, sublayer: Sublayer, base: State, found: Differences
    ) -> tuple[Float[Tensor, "read query pos d_model"], Int[Tensor, "set input"]]:
        """What inputs of a sublayer read, each different one once, and which of these each input of each set reads."""
        is_open = _open(self.passes.graph, self.open_edges, sublayer)[..., : found.shape[3]]
        (n_sets, n_inputs), device = is_open.shape[:2], found.device
        of_set = torch.arange(n_sets, device="cpu")[:, None, None].expand(n_sets, n_inputs, 1)
        rows, which = torch.cat([of_set, is_open.flatten(2).long()], 2).flatten(0, 1).unique(dim=0, return_inverse=True)
        sets, weights = rows[:, 0], rows[:, 1:].view(len(rows), *is_open.shape[2:]).to(found)
        reads = [
            base + torch.einsum("ps,qpsd->qpd", weight, found[number])
            for number, weight in zip(sets.tolist(), weights, strict=True)
        ]
        return torch.stack(reads), which.view(n_sets, n_inputs).to(device)


def _open(graph: ComputationGraph, open_edges: OpenEdges, sublayer: Sublayer) -> Bool[Tensor, "set input pos sender"]:
    """Which edges into a sublayer are open."""
    columns, places = _into(graph)[sublayer]
    shape = (len(open_edges), n_inputs_of(graph, sublayer), len(graph.roles), n_senders(graph))
    found = torch.zeros(shape, dtype=torch.bool, device="cpu")
    found[(slice(None), *places)] = open_edges[:, columns].cpu()
    return found


@lru_cache(maxsize=8)
def _into(graph: ComputationGraph) -> Mapping[Sublayer, tuple[Int[Tensor, " edge"], Sequence[Int[Tensor, " edge"]]]]:
    """By sublayer, the numbers of the edges into it, and their input, position and sender."""
    found: dict[Sublayer, list[tuple[int, int, int, int]]] = {}
    for layer in range(graph.n_layers):
        found |= {("head", layer): [], ("mlp", layer): []}
    found["logits", graph.n_layers] = []
    for number, (sender, receiver) in enumerate(graph.edges):
        place = input_place(graph, receiver), graph.roles.index(receiver.role), sender_place(graph, sender)
        found[sublayer_of(graph, receiver)].append((number, *place))
    tensors = {at: torch.tensor(rows, dtype=torch.long, device="cpu").view(-1, 4).T for at, rows in found.items()}
    return {at: (rows[0], list(rows[1:])) for at, rows in tensors.items()}
