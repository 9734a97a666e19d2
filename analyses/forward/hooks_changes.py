"""Inputs that read something else, by hooks: what they make of it is noted in one pass, and put in alone in another.

A layer's queries, keys and values at a position depend on what enters the layer at that position only, and its MLP's output
on what the MLP reads there (`hook_checks` makes sure). So the whole state is changed in a first pass, which ends with what
is noted, and only the query, key, value or output of the input in question goes into the second.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Node
from ...tasks.transformerlens import Model
from .hook_points import Points
from .hooked_pass import Edit, Noted, Prompts, logits_of, noted_on, slots
from .hooks_run import HooksRun, State


@dataclass(frozen=True, eq=False)
class Change:
    """What one input reads more.

    Attributes:
        receiver: the input; at all positions if it has no role.
        by: at all positions; those of the receiver are used.
        key: equal for changes that are equal.
    """

    receiver: Node
    by: State
    key: Hashable


@dataclass(frozen=True, eq=False)
class Passes:
    """Passes of one model on prompts of one layout."""

    model: Model
    points: Points
    graph: ComputationGraph

    @property
    def answer(self) -> int:
        """The position at which the answer is read."""
        return self.graph.roles.index(self.graph.answer_role)

    def span(self, node: Node) -> slice:
        """The positions at which a node is changed."""
        if node.kind == "logits":
            return slice(self.answer, self.answer + 1)
        start = self.graph.roles.index(node.role) if node.role else 0
        return slice(start, start + 1 if node.role else len(self.graph.roles))

    def logits(self, prompts: Prompts, edits: dict[str, list[Edit]], n: int) -> Float[Tensor, "copy query d_vocab"]:
        """At the answer position."""
        return logits_of(self.model, prompts, edits, n=n)[:, :, self.answer].clone()

    def with_changes(self, run: HooksRun, changes: Sequence[Change]) -> Float[Tensor, "copy query d_vocab"]:
        """The logits of copies, each with one change."""
        places: dict[tuple[str, int, Hashable, int, int], int] = {}
        entries: list[Change] = []
        entry_of = {}
        for number, change in enumerate(changes):
            receiver, span = change.receiver, self.span(change.receiver)
            if receiver.kind == "logits":
                continue
            what = receiver.kind, receiver.layer, change.key, span.start, span.stop
            if what not in places:
                places[what] = len(entries)
                entries.append(change)
            entry_of[number] = places[what]
        noted = self._noted(run, entries, [changes[number].receiver for number in entry_of])
        edits: dict[str, list[Edit]] = {}
        for number, change in enumerate(changes):
            point, edit = self._put(number, change, noted, entry_of.get(number, 0))
            edits.setdefault(point, []).append(edit)
        return self.logits(run.prompts, edits, len(changes))

    def _noted(self, run: HooksRun, entries: Sequence[Change], receivers: Sequence[Node]) -> Noted:
        """What changed states make of queries, keys, values and MLPs, a copy for each entry."""
        edits: dict[str, list[Edit]] = {}
        for number, entry in enumerate(entries):
            receiver, span = entry.receiver, self.span(entry.receiver)
            if receiver.kind == "head":
                edits.setdefault(self.points.layers[receiver.layer].before, []).append(added(number, span, entry.by))
                continue
            state = run.middle[receiver.layer].clone()
            state[:, span] += entry.by[:, span]
            for point, edit in self.read_by_mlp(receiver.layer, number, state):
                edits.setdefault(point, []).append(edit)
        points = {self.point_of(receiver) for receiver in receivers}
        return noted_on(self.model, run.prompts, edits, points, n=len(entries)) if entries else {}

    def point_of(self, receiver: Node) -> str:
        """Where what an input makes of what it reads can be put in."""
        at = self.points.layers[receiver.layer]
        return at.mlp if receiver.kind == "mlp" else getattr(at, receiver.input)

    def read_by_mlp(self, layer: int, copy: int | slice, state: Tensor) -> list[tuple[str, Edit]]:
        """Edits after which a layer's MLP reads a state, whether it reads what enters the layer or what attention leaves."""
        at = self.points.layers[layer]
        return [(at.before, put(copy, state)), (at.attention, put(copy, 0.0))]

    def _put(self, number: int, change: Change, noted: Noted, entry: int) -> tuple[str, Edit]:
        """The second pass's edit of one copy."""
        receiver, span = change.receiver, self.span(change.receiver)
        if receiver.kind == "logits":
            return self.points.layers[-1].after, added(number, span, change.by)
        point = self.point_of(receiver)
        values = noted[point][entry]
        if receiver.kind == "mlp":
            return point, lambda activation: activation[number, :, span].copy_(values[:, span])
        n = self.points.n_slots(receiver.input)
        new = slots(values[None], n)[0, :, span, receiver.head]
        return point, lambda activation: slots(activation, n)[number, :, span, receiver.head].copy_(new)

    def chunked(
        self, n: int, at_once: int, run: Callable[[slice], Noted]
    ) -> dict[str, Float[Tensor, "copy query pos *rest"]]:
        """What is noted in n copies, some at a time."""
        parts = [run(slice(start, min(start + at_once, n))) for start in range(0, n, at_once)]
        return {point: torch.cat([part[point] for part in parts]) for point in parts[0]}


def added(copy: int | slice, span: slice, by: Tensor) -> Edit:
    """Adds to an activation at some positions."""
    return lambda activation: activation[copy, :, span].add_(by[..., span, :])


def put(copy: int | slice, values: Tensor | float) -> Edit:
    """Replaces an activation at all positions."""

    def edit(activation: Tensor) -> None:
        activation[copy] = values

    return edit
