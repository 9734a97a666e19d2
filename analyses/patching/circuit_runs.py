"""Circuits run alone on some pairs: their edges as on the clean prompts, all others from an uninformative background.

Three backgrounds: the corrupt prompts; other pairs' corrupt prompts (resample ablation, Chan et al. 2022); the mean over
corrupt prompts of what each component writes at its position (mean ablation, Wang et al. 2022).
"""

from collections.abc import Iterable, Sequence
from functools import partial
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
from ..statistics import derangement, resampled_ratios
from .gap import below_rounding, check_finite, gap_and_reason, metric_by_query
from .metrics import AnyMetric, as_metric, logit_difference
from .resolution import resolution_of, rounding_of


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

    gap: tuple[float, tuple[float, float], str] = np.nan, (np.nan, np.nan), ""

    def __init__(
        self,
        model: HookedTransformer,
        pairs: PromptPairs,
        *,
        background: Background = "corrupt",
        metric: AnyMetric = logit_difference,
        seed: int = 0,
    ) -> None:
        if background not in get_args(Background):
            raise ValueError(f"no background {background!r}; there are {', '.join(get_args(Background))}")
        pairs.check_against(model)
        if len(pairs) < MIN_PAIRS:
            raise ValueError(f"{len(pairs)} pairs are too few to judge circuits on, needed are {MIN_PAIRS}")
        self._engine = engine_of(model, pairs.roles, pairs.answer_position)
        self.graph, self.pairs, self._name = self._engine.graph, pairs, as_metric(metric).name
        (self._clean,) = self._engine.run(pairs.clean)
        self._background = _background(self._engine, pairs, background, seed)
        self._by_query = partial(metric_by_query, metric, pairs=pairs, clean=self._clean.logits)
        logits = self._clean.logits, self._logits([[]])[0]
        self.full, self.empty = map(self._by_query, logits)
        sides = {"the clean prompts": self.full, f"the {background} background": self.empty}
        check_finite(self._name, sides, np.arange(len(pairs)), len(pairs))
        resolution = resolution_of(model, self.graph)
        rounding = sum(rounding_of(self._by_query, each, resolution) for each in logits)
        gap, interval, reason = gap_and_reason(self.full - self.empty, seed=seed)
        self.gap = gap, interval, below_rounding(self.full - self.empty, rounding, resolution) or reason

    def metric(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, "set query"]:
        """The metric by query of each circuit run alone.

        Raises:
            KeyError: if edges are not in the model's graph.
            ValueError: if the metric has no finite number for a circuit; it names the queries.
        """
        found = self._by_query(self._logits(edge_sets))
        worst = found[np.isfinite(found).all(1).argmin()] if len(found) else self.full
        check_finite(self._name, {"a circuit run alone": worst}, np.arange(len(worst)), len(worst))
        return found

    def share(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[np.ndarray, " set"]:
        """How much of the gap each circuit keeps: a ratio of sums over queries; NaN if no share of it can be taken."""
        found = self.metric(edge_sets)
        return np.full(len(found), np.nan) if self.gap[2] else (found - self.empty).sum(1) / (self.full - self.empty).sum()

    def ratios(
        self, changes: Float[np.ndarray, "row query"], *, seed: int
    ) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, "row resample"]]:
        """Changes of the metric as shares of the gap, and the same of resampled queries; NaN if no share can be taken."""
        share, resampled = resampled_ratios(changes, self.full - self.empty, seed=seed)
        if self.gap[2]:
            return np.full_like(share, np.nan), np.full_like(resampled, np.nan)
        return share, resampled

    def _logits(self, edge_sets: Sequence[Iterable[Edge | str]]) -> Float[Tensor, "set query d_vocab"]:
        sets = [check_edges(self.graph, edges, self.graph.edges) for edges in edge_sets]
        return self._engine.logits_with_edges(self._background, self._clean, sets, max_batch=MAX_BATCH)


def _background(engine: Engine[AnyRun], pairs: PromptPairs, kind: Background, seed: int) -> AnyRun:
    """What closed edges carry."""
    resampled = kind == "resampled"
    (run,) = engine.run(pairs.corrupt[derangement(len(pairs), seed=seed)] if resampled else pairs.corrupt)
    return engine.averaged(run) if kind == "mean" else run
