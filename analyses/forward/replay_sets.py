"""Runs of a recursive network in which only some edges are open, many sets of edges at once, and longer paths.

Every component has a replay of its own, see `recursion`, in which outputs whose edge into it is open are those of this run,
all others a frozen run's. What is the same in all sets is computed once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from .paths import path_edges
from .places import Logits, OpenEdges, alike, open_edges_of
from .recursion import States
from .replay import ReplayRun, number_of_output, number_of_reading
from .replay_edges import slots_of

Given = Mapping[int, tuple[int, Float[Tensor, "query d_model"]]]
"""By number of an output: a position, and what is written there whatever is read."""


@torch.no_grad()
def logits_with_open_edges(
    frozen: ReplayRun, embedding: States, open_edges: OpenEdges, *, given: Given | None = None, n_sets: int
) -> Logits:
    """The logits at the answer position with each set of edges open, some sets at a time.

    Args:
        frozen: what all other edges carry.
        embedding: of the prompts that are run.
        open_edges: by set and edge of the graph.
        given: see `Given`.
        n_sets: run at once.
    """
    layout = _layout(frozen.graph)
    if len(open_edges):
        for places in alike([into.columns for into in layout], open_edges).split(n_sets):
            yield places.tolist(), _together(frozen, layout, embedding, open_edges[places], given or {})


def path_logits(
    base: ReplayRun, donor: ReplayRun, ends: Sequence[Edge], through: Collection[Node], *, n_paths: int
) -> Logits:
    """The logits with each path patched by itself, see `paths`."""
    for sender in dict.fromkeys(edge.sender for edge in ends):
        group = [i for i, edge in enumerate(ends) if edge.sender == sender]
        if sender.kind == "init":  # a constant
            yield group, base.logits.expand(len(group), -1, -1)
            continue
        output, at = number_of_output(sender), slots_of(base.graph, sender.role).start
        given = {output: (at, donor.written[output][at])}
        for start in range(0, len(group), n_paths):
            some = group[start : start + n_paths]
            open_edges = open_edges_of(base.graph, [path_edges(base.graph, ends[i], through) for i in some])
            for rows, logits in logits_with_open_edges(base, base.written[0], open_edges, given=given, n_sets=n_paths):
                yield [some[row] for row in rows], logits


@dataclass(frozen=True, eq=False)
class _Into:
    """The edges into one component.

    Attributes:
        columns: their numbers in the graph.
        at: positions, and numbers of outputs.
    """

    columns: Int[Tensor, " edge"]
    at: Sequence[Int[Tensor, " edge"]]


@lru_cache(maxsize=8)
def _layout(graph: ComputationGraph) -> list[_Into]:
    """By reading."""
    found: list[list[tuple[int, int, int]]] = [[] for _ in range(2 * graph.n_layers + 1)]
    for number, (sender, receiver) in enumerate(graph.edges):
        if sender.kind != "init":  # which writes the same in all runs
            row = number, graph.roles.index(receiver.role), number_of_output(sender)
            found[number_of_reading(graph, receiver)].append(row)
    tensors = [torch.tensor(rows, dtype=torch.long, device="cpu").view(-1, 3).T for rows in found]
    return [_Into(rows[0], (rows[1], rows[2])) for rows in tensors]


def _together(
    frozen: ReplayRun, layout: Sequence[_Into], embedding: States, open_edges: OpenEdges, given: Given
) -> Float[Tensor, "set query d_vocab"]:
    """Run all sets together; what they have in common has one set in its tensors."""
    recursion, live = frozen.recursion, [_overridden(embedding[:, None], given.get(0))]
    for number, component in enumerate(recursion.components):
        written = component(_read(frozen, live, _mask(layout[number], open_edges, len(embedding), number)))
        live.append(_overridden(written, given.get(number + 1)))
    last = len(recursion.components)
    reading = _read(frozen, live, _mask(layout[last], open_edges, len(embedding), last))
    return recursion.decode(reading[frozen.answer]).expand(len(open_edges), -1, -1)


def _overridden(written: States, given: tuple[int, Float[Tensor, "query d_model"]] | None) -> States:
    if given is None:
        return written
    at, values = given
    written = written.clone()
    written[at] = values
    return written


def _mask(into: _Into, open_edges: OpenEdges, n_pos: int, number: int) -> Bool[Tensor, "_ pos _"]:
    """By output, which edges into a component are open; of one set, if they are the same in all."""
    is_open = open_edges[:, into.columns].cpu()
    if (is_open == is_open[:1]).all():
        is_open = is_open[:1]
    mask = torch.zeros(number + 1, n_pos, len(is_open), dtype=torch.bool, device="cpu")
    mask[into.at[1], into.at[0]] = is_open.T
    return mask


def _read(frozen: ReplayRun, live: Sequence[States], mask: Bool[Tensor, "_ pos _"]) -> States:
    """What a component reads: outputs before it are replayed, this run's where the mask says so."""
    recursion, number = frozen.recursion, len(mask) - 1
    is_open = mask.flatten(1).any(1).tolist()
    if not any(is_open):
        return frozen.readings[number][:, None]
    first = is_open.index(True)
    states = [each[:, None] for each in frozen.states[:first]]
    for output in range(first, number + 1):
        written = frozen.written[output][:, None]
        if is_open[output]:
            written = torch.where(mask[output][:, :, None, None].to(written.device), live[output], written)
        before = frozen.readings[first - 1][:, None] if output == first and first else None
        if output > first:
            before = recursion.reading(output - 1, states)
        states.append(written if before is None else recursion.state(output, before, written))
    return recursion.reading(number, states)
