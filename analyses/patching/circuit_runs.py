"""Circuits run alone on some pairs: their edges as on the clean prompts, all others from an uninformative background.

Three backgrounds: the corrupt prompts; other pairs' corrupt prompts (resample ablation, Chan et al. 2022); the mean over
corrupt prompts of what each component writes at its position (mean ablation, Wang et al. 2022).
"""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import Edge
from ...tasks import PromptPairs
from ..forward.engine import MAX_BATCH, AnyRun, Engine, engine_of
from ..forward.places import check_edges
from ..statistics import derangement
from .effects import gap_and_reason, metric_by_query
from .metrics import Metric, logit_difference


def run_with_edges(
    model: HookedTransformer, pairs: PromptPairs, edges: Iterable[Edge | str]
) -> Float[Tensor, "query d_vocab"]:
    """Run the clean prompts with only the given edges intact; every other edge carries the corrupt run's value.

    Each input reads the sum of what its senders write: in this run for the edges given, in the corrupt run for
    all others. With all edges this is the clean run, with none the corrupt one.

    Args:
        model: left unmodified.
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
        model: left unmodified.
        pairs: clean and corrupt prompts.
        edge_sets: the circuits.
        max_batch: prompts run at once; bounds memory.
    """
    pairs.check_against(model)
    engine = engine_of(model, pairs.roles, pairs.answer_position)
    intact = [check_edges(engine.graph, edges, engine.graph.edges) for edges in edge_sets]
    parts = []
    for rows in torch.arange(len(pairs)).split(max_batch):
        (corrupt,), (clean,) = engine.run(pairs.corrupt[rows]), engine.run(pairs.clean[rows])
        parts.append(engine.logits_with_edges(corrupt, clean, intact, max_batch=max_batch))
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
        pairs.check_against(model)
        if len(pairs) < MIN_PAIRS:
            raise ValueError(f"{len(pairs)} pairs are too few to judge circuits on, needed are {MIN_PAIRS}")
        self._engine = engine_of(model, pairs.roles, pairs.answer_position)
        self.graph, self.pairs, self._metric = self._engine.graph, pairs, metric
        (self._clean,) = self._engine.run(pairs.clean)
        self._background = _background(self._engine, pairs, background, seed)
        self.full: Float[np.ndarray, " query"] = metric_by_query(metric, self._clean.logits, pairs)
        self.empty: Float[np.ndarray, " query"] = self.metric([[]])[0]
        self.gap = gap_and_reason(self.full - self.empty, seed=seed)

    def metric(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, "set query"]:
        """The metric by query of each circuit run alone.

        Raises:
            KeyError: if edges are not in the model's graph.
        """
        sets = [check_edges(self.graph, edges, self.graph.edges) for edges in edge_sets]
        logits = self._engine.logits_with_edges(self._background, self._clean, sets, max_batch=MAX_BATCH)
        return metric_by_query(self._metric, logits, self.pairs)

    def share(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, " set"]:
        """How much of the gap each circuit keeps: a ratio of sums over queries."""
        return (self.metric(edge_sets) - self.empty).sum(1) / (self.full - self.empty).sum()


def _background(engine: Engine[AnyRun], pairs: PromptPairs, kind: Background, seed: int) -> AnyRun:
    """What closed edges carry."""
    resampled = kind == "resampled"
    (run,) = engine.run(pairs.corrupt[derangement(len(pairs), seed=seed)] if resampled else pairs.corrupt)
    return engine.averaged(run) if kind == "mean" else run
