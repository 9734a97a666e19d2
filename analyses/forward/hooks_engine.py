"""The engine that needs nothing but hooks: slower, and right for every model whose hook points are found to add up.

A model computes everything itself; what is changed is changed at its hook points (`hook_points`), many copies of the
prompts at once. `hooks_changes` says how a single input is changed where a model has no hook point for it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...tasks.transformerlens import Model
from .hook_points import Points
from .hooked_pass import Edit
from .hooks_changes import Change, Passes, added, put
from .hooks_gradients import input_gradients
from .hooks_paths import along_paths
from .hooks_patterns import patterns_by_hooks
from .hooks_run import HooksRun, averaged, run_with_hooks, silenced
from .hooks_sets import with_open_edges
from .memory import MAX_BATCH, MAX_SET_ROWS, Sizes
from .patterns import Pattern
from .places import Differences, Gradients, Logits, Objective, OpenEdges, Sublayer, component, rows_of
from .room import Room, Work


@dataclass(frozen=True, eq=False)
class HooksEngine:
    """Hooked runs of a model, see `Engine`.

    Attributes:
        model: in evaluation mode; left unmodified.
        points: its hook points.
        graph: its computation graph.
        memory: bytes that may be used.
    """

    name: ClassVar[str] = "hooks"
    model: Model
    points: Points
    graph: ComputationGraph
    memory: int

    def batches(self, n: int, work: Work, *, results: int = 0) -> Sequence[Int[Tensor, " row"]]:
        """See `Engine`."""
        return self._room.batches(n, work, results)

    @cached_property
    def _room(self) -> Room:
        sizes = Sizes.of(self.model, len(self.graph.roles))
        written = sizes.n_senders * sizes.residual
        works = {
            "copies": (sizes.whole_pass, MAX_BATCH),
            "sets": (sizes.whole_pass + 2 * written, MAX_SET_ROWS),
            "gradients": (sizes.gradients + sizes.whole_pass, MAX_BATCH),
            "looks": (sizes.whole_pass + sizes.n_layers * (5 * sizes.heads + sizes.scores), MAX_BATCH),
        }
        return Room.of(self.memory, self.graph, sizes.pair, works)

    @cached_property
    def _passes(self) -> Passes:
        return Passes(self.model, self.points, self.graph)

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[HooksRun]:
        """One run of all prompts, divided."""
        whole = run_with_hooks(self.model, self.points, self.graph, torch.cat(prompts))
        return [whole.part(rows) for rows in rows_of(prompts)]

    def averaged(self, runs: Iterable[HooksRun], n: int) -> HooksRun:
        """The mean of everything that is read and written."""
        return averaged(runs, n)

    @torch.no_grad()
    def silenced(self, run: HooksRun) -> HooksRun:
        """The output biases of attention alone, and the logits that the model makes of them."""
        nothing = silenced(run, self.points.writes, parallel=self.graph.parallel)
        edits = {self.points.layers[-1].after: [put(slice(None), nothing.last)]}
        return replace(nothing, logits=self._passes.logits(run.prompts, edits, 1)[0])

    def edge_logits(self, base: HooksRun, donor: HooksRun, edges: Sequence[Edge]) -> Logits:
        """See `hooks_changes`."""
        changes = self._written(base, donor, [edge.sender for edge in edges])
        return self._changed(base, [Change(r, changes[component(s)], component(s)) for s, r in edges])

    def path_logits(self, base: HooksRun, donor: HooksRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """See `hooks_paths`."""
        changes = self._written(base, donor, [edge.sender for edge in ends])
        at_once = self._room.at_once("copies", len(base.logits))
        for start in range(0, len(ends), at_once):
            some = ends[start : start + at_once]
            reads = along_paths(self._passes, base, some, changes, through)
            more = [Change(edge.receiver, each, number) for number, (edge, each) in enumerate(zip(some, reads, strict=True))]
            for places, logits in self._changed(base, more):
                yield [start + place for place in places], logits

    @torch.no_grad()
    def node_logits(self, base: HooksRun, donor: HooksRun, nodes: Sequence[Node]) -> Logits:
        """What nodes write is changed where all of their readers see it."""
        changes = self._written(base, donor, nodes)
        differs = [bool(changes[component(node)][:, self._passes.span(node)].any()) for node in nodes]
        yield from self._as_before(base, differs)
        for some in self._some(base, [i for i, each in enumerate(differs) if each]):
            edits: dict[str, list[Edit]] = {}
            for number, i in enumerate(some):
                at = self.points.layers[max(0, nodes[i].layer)]
                point = {"embed": at.before, "head": at.attention, "mlp": at.mlp}[nodes[i].kind]
                edit = added(number, self._passes.span(nodes[i]), changes[component(nodes[i])])
                edits.setdefault(point, []).append(edit)
            yield some, self._passes.logits(base.prompts, edits, len(some))

    def logits_with_edges(self, background: HooksRun, run: HooksRun, open_edges: OpenEdges) -> Logits:
        """See `hooks_sets`."""
        n_sets, n_copies = (self._room.at_once(work, len(run.logits)) for work in ("sets", "copies"))
        for places in torch.arange(len(open_edges), device="cpu").split(n_sets) if len(open_edges) else ():
            yield places.tolist(), with_open_edges(self._passes, background, run, open_edges[places], n_copies)

    def differences(self, base: HooksRun, donor: HooksRun) -> Differences:
        """Of all senders."""
        return self._written(base, donor, self.graph.senders)

    def input_gradients(
        self, base: HooksRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
    ) -> Gradients:
        """See `hooks_gradients`."""
        return input_gradients(self._passes, base, objective, added)

    def patterns(self, run: HooksRun) -> Iterable[Pattern]:
        """See `hooks_patterns`."""
        stop = self._passes.answer + 1 if self.graph.causal else len(self.graph.roles)
        return (each[:, :, :stop, :stop] for each in patterns_by_hooks(self._passes, run.prompts))

    def _written(self, base: HooksRun, donor: HooksRun, nodes: Iterable[Node]) -> Differences:
        """What components write more in the donor run."""
        return {node: donor.written_by(node) - base.written_by(node) for node in dict.fromkeys(map(component, nodes))}

    @torch.no_grad()
    def _changed(self, base: HooksRun, changes: Sequence[Change]) -> Logits:
        """The logits with each change by itself; those of one layer together, so that first passes end early."""
        differs = [bool(each.by[:, self._passes.span(each.receiver)].any()) for each in changes]
        yield from self._as_before(base, differs)
        changed = (i for i, each in enumerate(differs) if each)
        order = sorted(changed, key=lambda i: self.graph.number_of(changes[i].receiver))
        for some in self._some(base, order):
            yield some, self._passes.with_changes(base, [changes[i] for i in some])

    def _as_before(self, base: HooksRun, differs: Sequence[bool]) -> Logits:
        """Where nothing changes the logits are the run's to the bit, so that the effect is zero and not rounding."""
        for some in self._some(base, [i for i, each in enumerate(differs) if not each]):
            yield some, base.logits.expand(len(some), -1, -1)

    def _some(self, base: HooksRun, places: Sequence[int]) -> Iterator[list[int]]:
        """As many at once as fit."""
        n = self._room.at_once("copies", len(base.logits))
        return (list(places[start : start + n]) for start in range(0, len(places), n))
