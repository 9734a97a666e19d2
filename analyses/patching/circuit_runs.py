"""Circuits run alone on some pairs: their edges from the clean run, all others from a background that knows nothing.

Three backgrounds: the corrupt prompts; other pairs' corrupt prompts (resample ablation, Chan et al. 2022); the mean over
corrupt prompts of what each component writes at its position (mean ablation, Wang et al. 2022).
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Edge, Node
from ...tasks import PromptPairs
from ..forward.cached import MAX_BATCH, CachedRun, LayerCache, run_and_cache
from ..forward.edge_sets import logits_with_edges
from ..forward.literal import check_edges
from ..forward.model import graph_of
from ..statistics import another
from .effects import gap_and_reason, metric_by_query
from .metrics import Metric, logit_difference


def run_with_edges(
    model: HookedTransformer, pairs: PromptPairs, edges: Iterable[Edge | str]
) -> Float[Tensor, "query d_vocab"]:
    """Run the clean prompts with only the given edges intact; every other edge carries the corrupt run's value.

    Each input reads the sum of what its senders write: in this very run for the edges given, in the corrupt run for
    all others. With all edges this is the clean run, with none the corrupt one.

    Args:
        model: stays as it is.
        pairs: clean and corrupt prompts.
        edges: the circuit, as edges or their names.

    Returns:
        The logits at the answer position.

    Raises:
        KeyError: if edges are not in the model's graph.
        ValueError: see `path_patch`.
    """
    return run_with_edge_sets(model, pairs, [edges])[0]


def run_with_edge_sets(
    model: HookedTransformer,
    pairs: PromptPairs,
    edge_sets: Sequence[Iterable[Edge | str]],
    *,
    max_batch: int = MAX_BATCH,
) -> Float[Tensor, "set query d_vocab"]:
    """As `run_with_edges`, for many circuits together, such as random ones for a null.

    Args:
        model: stays as it is.
        pairs: clean and corrupt prompts.
        edge_sets: the circuits.
        max_batch: prompts run at once; bounds memory.
    """
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    intact = [check_edges(graph, edges, graph.edges) for edges in edge_sets]
    parts = []
    for rows in torch.arange(len(pairs)).split(max_batch):
        corrupt = run_and_cache(model, graph, pairs.corrupt[rows])
        change = run_and_cache(model, graph, pairs.clean[rows]).embedding - corrupt.embedding
        changes = {Node("embed", role): change[:, position] for position, role in enumerate(graph.roles)}
        parts.append(logits_with_edges(corrupt, intact, changes, max_batch=max_batch))
    return torch.cat(parts, 1)


Background = Literal["corrupt", "resampled", "mean"]
MIN_PAIRS = 8


class CircuitRuns:
    """Runs any circuits of one model on the same pairs.

    Attributes:
        graph: the model's computation graph.
        pairs: what it is run on.
        full: the metric by query with all edges, that is on the clean prompts.
        empty: the metric by query with no edge.
        gap: mean of full − empty, its 95 % interval, and why no share of it can be taken (empty if it can).
    """

    def __init__(
        self,
        model: HookedTransformer,
        pairs: PromptPairs,
        *,
        background: Background = "corrupt",
        metric: Metric = logit_difference,
        seed: int = 0,
    ) -> None:
        if background not in get_args(Background):
            raise ValueError(f"no background {background!r}; there are {', '.join(get_args(Background))}")
        if len(pairs) < MIN_PAIRS:
            raise ValueError(f"{len(pairs)} pairs are too few to judge circuits on, needed are {MIN_PAIRS}")
        self.graph, self.pairs, self._metric = graph_of(model, pairs.roles, pairs.answer_position), pairs, metric
        with torch.no_grad():
            clean = run_and_cache(model, self.graph, pairs.clean)
            self._frozen = _frozen(model, self.graph, pairs, background, seed)
            change = clean.embedding - self._frozen.embedding
        self._changes = {Node("embed", role): change[:, position] for position, role in enumerate(self.graph.roles)}
        self.full: Float[np.ndarray, " query"] = metric_by_query(metric, clean.logits, pairs)
        self.empty: Float[np.ndarray, " query"] = self.metric([[]])[0]
        self.gap = gap_and_reason(self.full - self.empty, seed=seed)

    def metric(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, "set query"]:
        """The metric by query of each circuit run alone.

        Raises:
            KeyError: if edges are not in the model's graph.
        """
        sets = [check_edges(self.graph, edges, self.graph.edges) for edges in edge_sets]
        with torch.no_grad():
            logits = logits_with_edges(self._frozen, sets, self._changes, max_batch=MAX_BATCH)
        return metric_by_query(self._metric, logits, self.pairs)

    def share(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, " set"]:
        """How much of the gap each circuit keeps: a ratio of sums over queries."""
        return (self.metric(edge_sets) - self.empty).sum(1) / (self.full - self.empty).sum()


def _frozen(
    model: HookedTransformer, graph: ComputationGraph, pairs: PromptPairs, background: Background, seed: int
) -> CachedRun:
    """What closed edges carry."""
    if background == "resampled":
        return run_and_cache(model, graph, pairs.corrupt[another(len(pairs), seed=seed)])
    run = run_and_cache(model, graph, pairs.corrupt)
    return _averaged(run) if background == "mean" else run


def _averaged(run: CachedRun) -> CachedRun:
    """Every component writes its mean; since reading is a sum, inputs then read the mean of what they read."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        return values.mean(0, keepdim=True).expand_as(values)

    layers = [LayerCache(*(mean(getattr(cache, field.name)) for field in fields(cache))) for cache in run.layers]
    return replace(run, embedding=mean(run.embedding), layers=layers)
