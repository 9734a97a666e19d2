"""What measuring effects needs of a model, and what does it.

Patching asks an engine, never a model: any model that can answer these few questions can be patched. `FastEngine` answers
them by stacked partial runs (`cached`, `single`, `paths`, `edge_sets`, `gradients`), `HooksEngine` by whole runs with hooks;
the interventions of `literal` define the right answers. `ReplayEngine` is for networks in which reading is no sum.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...circuits.arguments import common_problems, refuse
from ...tasks.models.trm import TRM
from ...tasks.transformerlens import Model
from .at_rest import as_measured
from .cached import CachedRun, averaged, from_first_change, run_and_cache, silenced
from .choices import Choices, choice_changes
from .edge_sets import logits_with_edges
from .gradients import Slopes, input_gradients, slopes
from .hook_points import points_of
from .hooks_engine import HooksEngine
from .memory import ENOUGH_GRADIENTS, MAX_BATCH, MAX_SET_ROWS, Sizes, budget
from .model import check_described, check_places, check_reachable, described_graph, hooked_graph, problems_of
from .paths import path_logits
from .patterns import Pattern, pattern_of
from .places import Differences, Gathered, Gradients, Logits, Objective, OpenEdges, Sublayer, rows_of
from .replay_engine import ReplayEngine
from .room import Room, Work
from .single import differences, edge_logits, node_logits
from .trm_graph import trm_graph


@runtime_checkable
class Run(Protocol):
    """A plain run of a model on some prompts; what else it holds is for its engine only."""

    @property
    def logits(self) -> Float[Tensor, "query d_vocab"]:
        """At the answer position."""
        ...


AnyRun = TypeVar("AnyRun", bound=Run)
Choice = Literal["auto", "fast", "hooks", "replay"]
"""Of an engine; auto: the fast one, where it knows all that the model computes, and of replay for token mixing."""


@runtime_checkable
class Engine(Protocol[AnyRun]):
    """One model on prompts of one layout. Runs go back to the engine that made them; a donor may be another model's.

    Wherever base and donor are given, a target is patched by replacing what its sender writes on the base prompts by what
    it writes on the donor prompts, each target by itself, as many at once as memory allows.
    """

    name: ClassVar[str]
    """Fast, hooks or replay, see `engine_of`."""

    @property
    def graph(self) -> ComputationGraph:
        """Of the model, on these prompts."""
        ...

    def batches(self, n: int, work: Work, *, results: int = 0) -> Sequence[Int[Tensor, " row"]]:
        """The rows of n pairs of prompts, as many at a time as memory allows for what is done with their runs.

        Args:
            n: pairs.
            work: see `Work`.
            results: bytes that are kept of all of them.

        Raises:
            MemoryError: if it does not allow a single one.
        """
        ...

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[AnyRun]:
        """Plain runs of several sets of prompts, in one batch."""
        ...

    def averaged(self, runs: Iterable[AnyRun], n: int) -> AnyRun:
        """A run for n queries in which every node writes its mean over all queries of some runs."""
        ...

    def silenced(self, run: AnyRun) -> AnyRun:
        """A run for the queries of `run` in which no node writes anything, so that inputs read what belongs to none."""
        ...

    def edge_logits(self, base: AnyRun, donor: AnyRun, edges: Sequence[Edge]) -> Logits:
        """The logits with each edge patched; an edge whose nodes have no role is patched at all positions at once."""
        ...

    def path_logits(self, base: AnyRun, donor: AnyRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """The logits with each path patched, from its sender through some nodes to its receiver."""
        ...

    def node_logits(self, base: AnyRun, donor: AnyRun, nodes: Sequence[Node]) -> Logits:
        """The logits with each node patched for all its readers."""
        ...

    def logits_with_edges(self, background: AnyRun, run: AnyRun, open_edges: OpenEdges) -> Logits:
        """The logits on the prompts of `run` with each set of edges open; others carry the background's values."""
        ...

    def differences(self, base: AnyRun, donor: AnyRun) -> Differences:
        """What each component writes on the donor prompts minus what it writes on the base prompts."""
        ...

    def input_gradients(
        self, base: AnyRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
    ) -> Gradients:
        """The gradient of an objective by what every input reads, with something added to the output of sublayers."""
        ...


@runtime_checkable
class ChoosingEngine(Engine[AnyRun], Protocol[AnyRun]):
    """An engine that also knows how heads choose where to look; other engines need not."""

    def slopes(self, base: AnyRun, objective: Objective, *, dropped: int | None = None) -> Slopes:
        """Gradients by what inputs read and by what heads gather; what a dropped layer writes counts as constant."""
        ...

    def choice_changes(
        self, base: AnyRun, changes: Differences, slopes: Sequence[Gathered], *, together: bool = False
    ) -> Iterator[Choices]:
        """What edges into queries and keys change, the softmax recomputed, and linear in what heads gather."""
        ...


@runtime_checkable
class AttendingEngine(Engine[AnyRun], Protocol[AnyRun]):
    """An engine of models whose heads look at positions; those of networks without heads have no such thing."""

    def patterns(self, run: AnyRun) -> Iterable[Pattern]:
        """By layer, what weight each head gives each position, at the positions that can affect the answer.

        What is missing to 1 in a row looks nowhere, see sinks; the rows of hidden pads are without meaning.

        Raises:
            ValueError: if a model does not let it be seen, naming the layers.
        """
        ...


@runtime_checkable
class ReadingEngine(Engine[AnyRun], Protocol[AnyRun]):
    """An engine of models in which reading is no sum of outputs."""

    def first_order(
        self, base: AnyRun, donor: AnyRun, edges: Sequence[Edge], objective: Objective
    ) -> Float[Tensor, "edge query"]:
        """What each edge changes in what its receiver reads, times the gradient of an objective by that."""
        ...

    def changes_of_shares(self, base: AnyRun, donor: AnyRun, at: Sublayer) -> Differences:
        """What more each component has in what a sublayer reads on the donor prompts, by the scales of each run itself."""
        ...

    def reading_gradients(self, base: AnyRun, objective: Objective) -> Gradients:
        """The gradient of an objective by what every input reads."""
        ...


@dataclass(frozen=True, eq=False)
class FastEngine:
    """Stacked partial runs of a described model, see `Engine`.

    Attributes:
        model: left unmodified.
        graph: its computation graph.
        memory: bytes that may be used.
    """

    name: ClassVar[str] = "fast"
    model: Model
    graph: ComputationGraph
    memory: int

    def batches(self, n: int, work: Work, *, results: int = 0) -> Sequence[Int[Tensor, " row"]]:
        """See `Engine`."""
        return self._room.batches(n, work, results)

    @cached_property
    def _room(self) -> Room:
        sizes = Sizes.of(self.model, len(self.graph.roles))
        works = {
            "copies": (sizes.copy, MAX_BATCH),
            "sets": (sizes.edge_set, MAX_SET_ROWS),
            "gradients": (sizes.gradients, max(1, min(MAX_BATCH, ENOUGH_GRADIENTS // sizes.gradients))),
            "looks": (sizes.copy, MAX_BATCH),
        }
        return Room.of(self.memory, self.graph, sizes.pair, works)

    def _at_once(self, work: Work, run: CachedRun) -> int:
        """How many copies of a run fit."""
        return self._room.at_once(work, len(run.embedding))

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[CachedRun]:
        """One run of all prompts, divided."""
        whole = run_and_cache(self.model, self.graph, torch.cat(prompts))
        return [whole.part(rows) for rows in rows_of(prompts)]

    def averaged(self, runs: Iterable[CachedRun], n: int) -> CachedRun:
        """The mean of everything that is cached."""
        return averaged(runs, n)

    def silenced(self, run: CachedRun) -> CachedRun:
        """The output biases of attention alone."""
        return silenced(run)

    def edge_logits(self, base: CachedRun, donor: CachedRun, edges: Sequence[Edge]) -> Logits:
        """See `single`."""
        changes, n_copies = differences(base, donor, edges), self._at_once("copies", base)
        return edge_logits(from_first_change(base, donor), edges, changes, n_copies=n_copies)

    def path_logits(self, base: CachedRun, donor: CachedRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """See `paths`."""
        changes = differences(base, donor, ends)
        return path_logits(base, ends, changes, through, n_paths=self._at_once("sets", base))

    def node_logits(self, base: CachedRun, donor: CachedRun, nodes: Sequence[Node]) -> Logits:
        """See `single`."""
        changes, n_copies = differences(base, donor, nodes), self._at_once("copies", base)
        return node_logits(from_first_change(base, donor), nodes, changes, n_copies=n_copies)

    def logits_with_edges(self, background: CachedRun, run: CachedRun, open_edges: OpenEdges) -> Logits:
        """See `edge_sets`; the embeddings of `run` are what differs from the background."""
        change = run.embedding - background.embedding
        changes = {Node("embed", role): change[:, position] for position, role in enumerate(self.graph.roles)}
        frozen = replace(background, mask=run.mask)
        return logits_with_edges(frozen, open_edges, changes, n_sets=self._at_once("sets", run))

    def differences(self, base: CachedRun, donor: CachedRun) -> Differences:
        """See `single`."""
        return differences(base, donor, self.graph.senders)

    def input_gradients(
        self, base: CachedRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
    ) -> Gradients:
        """See `gradients`."""
        return input_gradients(base, objective, added)

    def slopes(self, base: CachedRun, objective: Objective, *, dropped: int | None = None) -> Slopes:
        """See `gradients`."""
        return slopes(base, objective, dropped=dropped)

    def choice_changes(
        self, base: CachedRun, changes: Differences, slopes: Sequence[Gathered], *, together: bool = False
    ) -> Iterator[Choices]:
        """See `choices`."""
        return choice_changes(base, changes, slopes, together=together, n_copies=self._at_once("copies", base))

    def patterns(self, run: CachedRun) -> Iterable[Pattern]:
        """See `patterns`."""
        return (pattern_of(run, layer) for layer in range(self.graph.n_layers))


def engine_of(
    model: Model,
    roles: tuple[str, ...],
    answer_position: int,
    *,
    max_memory: int | None = None,
    engine: Choice = "auto",
) -> Engine[Any]:
    """The engine that measures effects in a model on prompts with the given roles.

    Args:
        model: left unmodified; numbers of 16 bits are copied to 32, see `as_measured`.
        roles: of the prompts' positions.
        answer_position: where the answer is read.
        max_memory: bytes that may be used; by default a quarter of what is free.
        engine: the fast one is exact where it knows all that the model computes, and chosen there; the one of hooks is
            slower and needs only hook points. A token-mixing network has the one of replay and no other.

    Raises:
        TypeError: if its insides are not known here, and it has no hook points of a decoder.
        ValueError: if the engine is not for such models; if the model has an option that the fast engine is asked for and
            does not know, or hook points that an engine of hooks needs are missing, or there is no budget.
    """
    refuse(common_problems(engine=engine))
    check_places(roles, answer_position)
    check_reachable(model)
    model = as_measured(model)
    memory = budget(max_memory, model)
    if engine not in (("auto", "replay") if isinstance(model, TRM) else ("auto", "fast", "hooks")):
        raise ValueError(_other_engine(model, engine))
    if isinstance(model, TRM):
        return ReplayEngine(model, trm_graph(model, roles, answer_position), memory)
    if engine == "fast":
        check_described(model, len(roles))
    if engine == "fast" or (engine == "auto" and not problems_of(model, len(roles))):
        return FastEngine(model, described_graph(model, roles, answer_position), memory)
    points = points_of(model)
    return HooksEngine(model, points, hooked_graph(model, points, roles, answer_position), memory)


def _other_engine(model: Model, engine: Choice) -> str:
    """Why a model has not the engine that was asked for."""
    kind = type(model).__name__
    if engine == "replay":
        return (
            f"engine='replay' is for token-mixing networks (TRM), this is a {kind}; leave it out, or ask for fast or hooks"
        )
    return (
        f"engine={engine!r} reads sums of what components write, which a {kind} norms on the way: its edges are exact by "
        "replay; leave engine out, or ask for engine='replay'"
    )


def method_by(engine: Engine[Any], method: str) -> str:
    """A method's name in results: it says so where the engine is not the fast one."""
    return method if engine.name == "fast" else f"{method}, by {engine.name}"


def engine_in(method: str) -> str:
    """The name of the engine that `method_by` noted."""
    return next((name for name in ("hooks", "replay") if method.endswith(f", by {name}")), "fast")
