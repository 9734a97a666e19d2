"""What measuring effects needs of a model, and what does it.

Patching asks an engine, never a model: any model that can answer these few questions can be patched. `FastEngine` answers
them by stacked partial runs (`cached`, `single`, `paths`, `edge_sets`, `gradients`); the interventions of `literal` define
the right answers.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...tasks.transformerlens import Model
from .cached import CachedRun, averaged, run_and_cache
from .edge_sets import logits_with_edges
from .gradients import input_gradients
from .memory import EDGE_BYTES, ENOUGH, MAX_BATCH, MAX_SET_ROWS, N_COPIES, Sizes, batches, budget, how_many, readable
from .model import graph_of
from .paths import path_logits
from .places import Differences, Gradients, Logits, Objective, OpenEdges, Sublayer
from .single import differences, edge_logits, node_logits


@runtime_checkable
class Run(Protocol):
    """A plain run of a model on some prompts; what else it holds is for its engine only."""

    @property
    def logits(self) -> Float[Tensor, "query d_vocab"]:
        """At the answer position."""
        ...


AnyRun = TypeVar("AnyRun", bound=Run)
Work = Literal["copies", "sets", "gradients"]
"""What is done with runs: patched copies of them, runs with sets of edges, gradients."""


@runtime_checkable
class Engine(Protocol[AnyRun]):
    """One model on prompts of one layout. Runs go back to the engine that made them; a donor may be another model's.

    Wherever base and donor are given, a target is patched by replacing what its sender writes on the base prompts by what
    it writes on the donor prompts, each target by itself, as many at once as memory allows.
    """

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


@dataclass(frozen=True, eq=False)
class FastEngine:
    """Stacked partial runs of a HookedTransformer, see `Engine`.

    Attributes:
        model: left unmodified.
        graph: its computation graph.
        memory: bytes that may be used.
    """

    model: Model
    graph: ComputationGraph
    memory: int

    def batches(self, n: int, work: Work, *, results: int = 0) -> Sequence[Int[Tensor, " row"]]:
        """Half of the memory is for results and runs, half for what is computed from these, see `memory`."""
        (each, most), wanted = self._work(work), 1 if work == "gradients" else N_COPIES
        runs = how_many(n, self._sizes.pair, self._half - results, _purpose(work, results))
        copies = how_many(n * wanted, each, self._half, _purpose(work, 0))
        return batches(n, min(runs, max(1, copies // wanted), most))

    def _at_once(self, work: Work, run: CachedRun) -> int:
        """How many copies of a run fit."""
        (each, most), n = self._work(work), len(run.embedding)
        return how_many(max(1, min(most, ENOUGH // each) // n), each * n, self._half, _purpose(work, 0))

    @property
    def _half(self) -> int:
        """Of the bytes that tensors may take."""
        return max(0, self.memory - EDGE_BYTES * len(self.graph.edges)) // 2

    @property
    def _sizes(self) -> Sizes:
        return Sizes.of(self.model, len(self.graph.roles))

    def _work(self, work: Work) -> tuple[int, int]:
        """Bytes that a prompt takes, and how many prompts there may be at most."""
        sizes = self._sizes
        return {
            "copies": (sizes.copy, MAX_BATCH),
            "sets": (sizes.edge_set, MAX_SET_ROWS),
            "gradients": (sizes.gradients, MAX_BATCH),
        }[work]

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[CachedRun]:
        """One run of all prompts, divided."""
        whole = run_and_cache(self.model, self.graph, torch.cat(prompts))
        ends = accumulate(map(len, prompts))
        return [whole.part(slice(end - len(each), end)) for each, end in zip(prompts, ends, strict=True)]

    def averaged(self, runs: Iterable[CachedRun], n: int) -> CachedRun:
        """The mean of everything that is cached."""
        return averaged(runs, n)

    def edge_logits(self, base: CachedRun, donor: CachedRun, edges: Sequence[Edge]) -> Logits:
        """See `single`."""
        return edge_logits(base, edges, differences(base, donor, edges), n_copies=self._at_once("copies", base))

    def path_logits(self, base: CachedRun, donor: CachedRun, ends: Sequence[Edge], through: Collection[Node]) -> Logits:
        """See `paths`."""
        changes = differences(base, donor, ends)
        return path_logits(base, ends, changes, through, n_paths=self._at_once("sets", base))

    def node_logits(self, base: CachedRun, donor: CachedRun, nodes: Sequence[Node]) -> Logits:
        """See `single`."""
        return node_logits(base, nodes, differences(base, donor, nodes), n_copies=self._at_once("copies", base))

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


def engine_of(
    model: Model, roles: tuple[str, ...], answer_position: int, *, max_memory: int | None = None
) -> Engine[CachedRun]:
    """The engine that measures effects in a model on prompts with the given roles.

    Args:
        model: left unmodified.
        roles: of the prompts' positions.
        answer_position: where the answer is read.
        max_memory: bytes that may be used; by default a quarter of what is free.

    Raises:
        ValueError: if the model has an option for which interventions would not be exact, or there is no budget.
    """
    return FastEngine(model, graph_of(model, roles, answer_position), budget(max_memory, model))


def _purpose(work: Work, results: int) -> str:
    """What a refusal names."""
    kept = f", next to {readable(results)} of results," if results else ""
    return {
        "copies": f"one patched copy of one pair of prompts{kept}",
        "sets": f"one set of edges on one pair of prompts{kept}",
        "gradients": f"the gradient of one pair of prompts{kept}",
    }[work]
