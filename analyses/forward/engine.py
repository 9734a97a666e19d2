"""What measuring effects needs of a model, and what does it.

Patching asks an engine, never a model: any model that can answer these few questions can be patched. `FastEngine` answers
them by stacked partial runs (`cached`, `single`, `paths`, `edge_sets`, `gradients`); the interventions of `literal` define
the right answers.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Edge, Node
from .cached import MAX_BATCH as MAX_BATCH
from .cached import CachedRun, averaged, run_and_cache
from .edge_sets import logits_with_edges
from .gradients import input_gradients
from .model import graph_of
from .paths import path_logits
from .places import Differences, Gradients, Logits, Objective, Sublayer
from .single import differences, edge_logits, node_logits


@runtime_checkable
class Run(Protocol):
    """A plain run of a model on some prompts; what else it holds is for its engine only."""

    @property
    def logits(self) -> Float[Tensor, "query d_vocab"]:
        """At the answer position."""
        ...


AnyRun = TypeVar("AnyRun", bound=Run)


@runtime_checkable
class Engine(Protocol[AnyRun]):
    """One model on prompts of one layout. Runs go back to the engine that made them; a donor may be another model's.

    Wherever base and donor are given, a target is patched by replacing what its sender writes on the base prompts by what
    it writes on the donor prompts, each target by itself; `max_batch` is how many prompts are run at once.
    """

    @property
    def graph(self) -> ComputationGraph:
        """Of the model, on these prompts."""
        ...

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[AnyRun]:
        """Plain runs of several sets of prompts, in one batch."""
        ...

    def averaged(self, run: AnyRun) -> AnyRun:
        """A run in which every node writes, for each query, its mean over queries."""
        ...

    def edge_logits(self, base: AnyRun, donor: AnyRun, edges: Sequence[Edge], *, max_batch: int) -> Logits:
        """The logits with each edge patched; an edge whose nodes have no role is patched at all positions at once."""
        ...

    def path_logits(
        self, base: AnyRun, donor: AnyRun, ends: Sequence[Edge], through: Collection[Node], *, max_batch: int
    ) -> Logits:
        """The logits with each path patched, from its sender through some nodes to its receiver."""
        ...

    def node_logits(self, base: AnyRun, donor: AnyRun, nodes: Sequence[Node], *, max_batch: int) -> Logits:
        """The logits with each node patched for all its readers."""
        ...

    def logits_with_edges(
        self, background: AnyRun, run: AnyRun, edge_sets: Sequence[Collection[Edge]], *, max_batch: int
    ) -> Float[Tensor, "set query d_vocab"]:
        """The logits on the prompts of `run` with each set of edges open; all others carry the background's values."""
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
    """

    model: HookedTransformer
    graph: ComputationGraph

    def run(self, *prompts: Int[Tensor, "query pos"]) -> Sequence[CachedRun]:
        """One run of all prompts, divided."""
        whole = run_and_cache(self.model, self.graph, torch.cat(prompts))
        ends = accumulate(map(len, prompts))
        return [whole.part(slice(end - len(each), end)) for each, end in zip(prompts, ends, strict=True)]

    def averaged(self, run: CachedRun) -> CachedRun:
        """The mean of everything that is cached."""
        return averaged(run)

    def edge_logits(self, base: CachedRun, donor: CachedRun, edges: Sequence[Edge], *, max_batch: int) -> Logits:
        """See `single`."""
        return edge_logits(base, edges, differences(base, donor, edges), max_batch=max_batch)

    def path_logits(
        self, base: CachedRun, donor: CachedRun, ends: Sequence[Edge], through: Collection[Node], *, max_batch: int
    ) -> Logits:
        """See `paths`."""
        return path_logits(base, ends, differences(base, donor, ends), through, max_batch=max_batch)

    def node_logits(self, base: CachedRun, donor: CachedRun, nodes: Sequence[Node], *, max_batch: int) -> Logits:
        """See `single`."""
        return node_logits(base, nodes, differences(base, donor, nodes), max_batch=max_batch)

    def logits_with_edges(
        self, background: CachedRun, run: CachedRun, edge_sets: Sequence[Collection[Edge]], *, max_batch: int
    ) -> Float[Tensor, "set query d_vocab"]:
        """See `edge_sets`; the embeddings of `run` are what differs from the background."""
        change = run.embedding - background.embedding
        changes = {Node("embed", role): change[:, position] for position, role in enumerate(self.graph.roles)}
        frozen = replace(background, mask=run.mask)
        return logits_with_edges(frozen, edge_sets, changes, max_batch=max_batch)

    def differences(self, base: CachedRun, donor: CachedRun) -> Differences:
        """See `single`."""
        return differences(base, donor, self.graph.senders)

    def input_gradients(
        self, base: CachedRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
    ) -> Gradients:
        """See `gradients`."""
        return input_gradients(base, objective, added)


def engine_of(model: HookedTransformer, roles: tuple[str, ...], answer_position: int) -> Engine[CachedRun]:
    """The engine that measures effects in a model on prompts with the given roles.

    Raises:
        ValueError: if the model has an option for which interventions would not be exact.
    """
    return FastEngine(model, graph_of(model, roles, answer_position))
