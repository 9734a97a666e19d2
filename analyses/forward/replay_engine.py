"""The engine of token-mixing networks: exact edges by replay, see `recursion`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...tasks.models.trm import TRM
from .memory import ENOUGH, MAX_BATCH, MAX_SET_ROWS, METRIC_COPIES
from .places import Differences, Gradients, Logits, Objective, OpenEdges, Sublayer, component, rows_of
from .replay import ReplayRun, averaged, number_of_output, rebuilt, replay_run
from .replay_edges import first_order, patched_logits
from .replay_gradients import changes_of_shares, input_gradients, reading_gradients
from .replay_sets import logits_with_open_edges, path_logits
from .room import Room, Work

CACHED = 2**25  # bytes of copies at once: much of the time goes to the token mixers' hidden layers, and through memory


@dataclass(frozen=True, eq=False)
class ReplayEngine:
    """Stacked partial runs of a token-mixing network, see `Engine`.

    Attributes:
        model: left unmodified.
        graph: its computation graph.
        memory: bytes that may be used.
    """

    name: ClassVar[str] = "replay"
    model: TRM
    graph: ComputationGraph
    memory: int

    def batches(self, n: int, work: Work, *, results: int = 0) -> Sequence[Int[Tensor, " row"]]:
        """See `Engine`."""
        return self._room.batches(n, work, results)

    @cached_property
    def _room(self) -> Room:
        return room_of(self.model, self.graph, self.memory)

    def _at_once(self, work: Work, run: ReplayRun) -> int:
        """How many copies of a run fit."""
        return self._room.at_once(work, len(run.logits))

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[ReplayRun]:
        """One run of all prompts, divided."""
        whole = replay_run(self.model, self.graph, torch.cat(prompts))
        return [whole.part(rows) for rows in rows_of(prompts)]

    def averaged(self, runs: Iterable[ReplayRun], n: int) -> ReplayRun:
        """The run in which everything writes its mean."""
        return averaged(runs, n)

    @torch.no_grad()
    def silenced(self, run: ReplayRun) -> ReplayRun:
        """What becomes of the initial states alone, which are constants and stay."""
        return rebuilt(run.recursion, run.graph, [torch.zeros_like(each) for each in run.written])

    def edge_logits(self, base: ReplayRun, donor: ReplayRun, edges: Sequence[Edge]) -> Logits:
        """See `replay_edges`."""
        return patched_logits(base, donor, edges, n_copies=self._at_once("copies", base))

    def path_logits(self, base: ReplayRun, donor: ReplayRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """See `replay_sets`."""
        return path_logits(base, donor, ends, through, n_paths=self._at_once("sets", base))

    def node_logits(self, base: ReplayRun, donor: ReplayRun, nodes: Sequence[Node]) -> Logits:
        """See `replay_edges`."""
        return patched_logits(base, donor, nodes, n_copies=self._at_once("copies", base))

    def logits_with_edges(self, background: ReplayRun, run: ReplayRun, open_edges: OpenEdges) -> Logits:
        """See `replay_sets`."""
        return logits_with_open_edges(background, run.written[0], open_edges, n_sets=self._at_once("sets", run))

    def differences(self, base: ReplayRun, donor: ReplayRun) -> Differences:
        """Of all senders; the initial states are the same in all runs."""
        nothing = torch.zeros_like(base.embedding)
        return {node: self._change(base, donor, node, nothing) for node in dict.fromkeys(map(component, self.graph.senders))}

    def changes_of_shares(self, base: ReplayRun, donor: ReplayRun, at: Sublayer) -> Differences:
        """See `replay_gradients`."""
        return changes_of_shares(base, donor, at)

    def input_gradients(
        self, base: ReplayRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
    ) -> Gradients:
        """See `replay_gradients`."""
        return input_gradients(base, objective, added)

    def first_order(
        self, base: ReplayRun, donor: ReplayRun, edges: Sequence[Edge], objective: Objective
    ) -> Float[Tensor, "edge query"]:
        """See `replay_edges`."""
        gradients = reading_gradients(base, objective)
        return first_order(base, donor, edges, gradients, n_copies=self._at_once("copies", base))

    def reading_gradients(self, base: ReplayRun, objective: Objective) -> Gradients:
        """See `replay_gradients`."""
        return reading_gradients(base, objective)

    def _change(self, base: ReplayRun, donor: ReplayRun, node: Node, nothing: Tensor) -> Float[Tensor, "query pos d_model"]:
        if node.kind == "init":
            return nothing
        number = number_of_output(node)
        return (donor.written[number] - base.written[number]).transpose(0, 1)


def room_of(model: TRM, graph: ComputationGraph, memory: int) -> Room:
    """How much fits into a budget, from the shapes of a network."""
    shape, n_pos, item = model.cfg.shape, len(graph.roles), next(model.parameters()).dtype.itemsize
    n_states, state = 2 * shape.n_layers + 1, item * n_pos * shape.d_model
    inside = 4 * item * max(shape.d_mixer * shape.d_model, n_pos * shape.d_mlp)
    logits = (2 * item + 8 * METRIC_COPIES) * model.cfg.d_vocab
    run = 3 * n_states * state + inside + item * model.cfg.d_vocab * (n_pos + 1)
    copy = (n_states + 8) * state + inside + logits
    edge_set = (2 * n_states + 8) * state + inside + logits
    kept = 2 * shape.n_layers * (inside + 8 * state)  # by the backward pass
    products = (item + 16) * n_pos * n_states + 2 * n_states * state
    gradients = 2 * kept + 4 * n_states * state + products + logits
    most = {
        "copies": (copy, MAX_BATCH, CACHED),
        "sets": (edge_set, MAX_SET_ROWS, CACHED),
        "looks": (copy, MAX_BATCH, ENOUGH),
    }
    most["gradients"] = gradients, MAX_BATCH, ENOUGH
    works = {name: (each, max(1, min(rows, n_bytes // each))) for name, (each, rows, n_bytes) in most.items()}
    return Room.of(memory, graph, 2 * run + n_states * state, works)
