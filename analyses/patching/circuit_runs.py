"""Circuits run alone on some pairs: their edges as on the clean prompts, all others from an uninformative background.

Four backgrounds: the corrupt prompts; other pairs' corrupt prompts (resample ablation, Chan et al. 2022); the mean over
corrupt prompts of what each component writes at its position (mean ablation, Wang et al. 2022); and nothing (zero ablation,
Michel et al. 2019).

On the background of nothing a node that writes through a closed edge writes zeros, embeddings of tokens and positions too.
An MLP's output bias is part of what it writes, and gone with it. What belongs to no node stays: what attention adds besides
its heads (its output bias, or that of a norm which follows), the biases inside components, norms and the head, rotations,
and the initial states of a recursive network. So with all edges closed the logits are those of these biases, the same for
all prompts, and no run of the model: of the four this background is the furthest from what the model was trained on.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge
from ...circuits.arguments import common_problems, refuse
from ...circuits.progress import bar
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice, engine_of
from ..forward.places import Logits, at_all_positions, check_edges, open_edges_of, without_positions
from ..statistics import bootstrap_ratio, derangement
from .gap import below_rounding, check_finite, gap_and_reason, metric_by_query
from .metrics import AnyMetric, as_metric, logit_difference
from .resolution import Resolution, resolution_of, rounding_of


def run_with_edges(
    model: Model, pairs: PromptPairs, edges: Iterable[Edge | str], *, engine: Choice = "auto"
) -> Float[Tensor, "query d_vocab"]:
    """Run the clean prompts with only the given edges intact; every other edge carries the corrupt run's value.

    Each input reads the sum of what its senders write: in this run for the edges given, in the corrupt run for
    all others. With all edges this is the clean run, with none the corrupt one.

    Args:
        model: left unmodified.
        pairs: clean and corrupt prompts.
        edges: the circuit, as edges or their names; those without positions, `L0H0 -> MLP1`, or of `graph.together` are
            intact at every position.
        engine: see `path_patch`.

    Returns:
        The logits at the answer position.

    Raises:
        KeyError: if edges are not in the model's graph.
        ValueError: see `path_patch`.
    """
    return run_with_edge_sets(model, pairs, [edges], engine=engine)[0]


def run_with_edge_sets(
    model: Model,
    pairs: PromptPairs,
    edge_sets: Sequence[Iterable[Edge | str]],
    *,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
) -> Float[Tensor, "set query d_vocab"]:
    """As `run_with_edges`, for many circuits together, such as random ones for a null.

    Args:
        model: left unmodified.
        pairs: clean and corrupt prompts.
        edge_sets: the circuits.
        max_memory: bytes that may be used, the returned logits included; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
    """
    refuse(pairs_problems(pairs=pairs) + common_problems(max_memory=max_memory, engine=engine, progress=progress))
    pairs.check_against(model)
    runner = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine)
    open_edges = _open_edges(runner.graph, edge_sets)
    shape = (len(open_edges), len(pairs), model.cfg.d_vocab_out)
    batches = runner.batches(len(pairs), "sets", results=8 * math.prod(shape))
    found: Any = None
    with bar(len(open_edges) * len(pairs), "running circuits", show=progress, unit=" runs") as shown:
        for rows in batches:
            (corrupt,), (clean,) = runner.run(pairs.corrupt[rows]), runner.run(pairs.clean[rows])
            found = clean.logits.new_empty(shape) if found is None else found
            for places, logits in runner.logits_with_edges(corrupt, clean, open_edges):
                found[torch.tensor(places, device="cpu")[:, None], rows] = logits
                shown.update(len(places) * len(rows))
    assert found is not None  # there is a pair, so there is a batch
    return found


def _open_edges(graph: ComputationGraph, edge_sets: Sequence[Iterable[Edge | str]]) -> Bool[Tensor, "set edge"]:
    """By set, which of the graph's edges are in it.

    Raises:
        KeyError: if some are not in the graph.
    """
    return open_edges_of(graph, [check_edges(graph, at_all_positions(graph, edges), graph.edges) for edges in edge_sets])


Background = Literal["corrupt", "resampled", "mean", "zero"]
"""What closed edges carry, see above."""
MIN_PAIRS = 8
ROWS_AT_ONCE = 2**26  # bytes of sets of edges at every position


def check_enough(pairs: PromptPairs) -> None:
    """Raise unless there are enough pairs to judge circuits on."""
    if len(pairs) < MIN_PAIRS:
        few = "1 pair is" if len(pairs) == 1 else f"{len(pairs)} pairs are"
        raise ValueError(f"{few} too few to judge circuits on, needed are {MIN_PAIRS}")


class CircuitRuns:
    """Runs any circuits of one model on the same pairs, as many at once as memory allows.

    Attributes:
        graph: the model's computation graph, or that of its edges at all positions together.
        pairs: what it is run on.
        full: the metric by query with all edges, that is on the clean prompts.
        empty: the metric by query with no edge.
        gap: mean of full − empty, its 95 % interval, and why no share of it can be taken (empty if it can).
    """

    gap: tuple[float, tuple[float, float], str] = np.nan, (np.nan, np.nan), ""

    def __init__(
        self,
        model: Model,
        pairs: PromptPairs,
        *,
        background: Background = "corrupt",
        together: bool = False,
        metric: AnyMetric = logit_difference,
        max_memory: int | None = None,
        engine: Choice = "auto",
        progress: bool = True,
        seed: int = 0,
    ) -> None:
        if background not in get_args(Background):
            raise ValueError(f"no background {background!r}; there are {', '.join(get_args(Background))}")
        common = common_problems(max_memory=max_memory, progress=progress, seed=seed)
        refuse(pairs_problems(pairs=pairs) + common)
        pairs.check_against(model)
        check_enough(pairs)
        self._engine = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine)
        self.graph, self.pairs, self._metric, self._progress = self._engine.graph, pairs, as_metric(metric), progress
        self._places: Int[np.ndarray, " edge"] | None = None  # by edge at one position, the number of that of the graph
        if together:
            number = {without_positions(edge): place for place, edge in enumerate(self.graph.together.edges)}
            self._places = np.array([number[without_positions(edge)] for edge in self.graph.edges])
            self.graph = self.graph.together
        self._corrupt = pairs.corrupt[derangement(len(pairs), seed=seed)] if background == "resampled" else pairs.corrupt
        self._mean: Any = self._averaged() if background == "mean" else None
        self._is_silent = background == "zero"
        resolution = resolution_of(model, self.graph)
        self.full, self.empty, rounding = self._ends(resolution)
        sides = {"the clean prompts": self.full, f"the {background} background": self.empty}
        check_finite(self._metric.name, sides, np.arange(len(pairs)), len(pairs))
        gap, interval, reason = gap_and_reason(self.full - self.empty, pairs.unit, seed=seed)
        self.gap = gap, interval, below_rounding(self.full - self.empty, rounding, resolution) or reason

    def open_edges(self, circuits: Sequence[Iterable[Edge | str]]) -> Bool[np.ndarray, "set edge"]:
        """Circuits as rows: which of the graph's edges, in their order, are in each.

        Raises:
            KeyError: if edges are not in the model's graph.
            ValueError: if the metric has no finite number for a circuit; it names the queries.
        """
        return _open_edges(self.graph, circuits).numpy()

    def metric(
        self, circuits: Sequence[Iterable[Edge | str]] | Bool[np.ndarray, "set edge"], *, what: str = "running circuits"
    ) -> Float[np.ndarray, "set query"]:
        """The metric by query of each circuit run alone.

        Args:
            circuits: edges, or rows as `open_edges` gives them.
            what: stands next to the bar.

        Raises:
            KeyError: if edges are not in the model's graph.
            ValueError: if the metric has no finite number for a circuit; it names the queries.
        """
        rows_open = circuits if isinstance(circuits, np.ndarray) else self.open_edges(circuits)
        found = np.empty((len(rows_open), len(self.pairs)))
        with bar(found.size, what, show=self._progress, unit=" runs") as shown:
            for rows, clean, background in self._batches(found.nbytes + rows_open.nbytes):
                by_query = partial(metric_by_query, self._metric, pairs=self.pairs.take(rows), clean=clean.logits)
                for places, logits in self._run(background, clean, rows_open):
                    found[np.array(places)[:, None], rows.numpy()] = by_query(logits)
                    shown.update(len(places) * len(rows))
        worst = found[np.isfinite(found).all(1).argmin()] if len(found) else self.full
        check_finite(self._metric.name, {"a circuit run alone": worst}, np.arange(len(worst)), len(worst))
        return found

    def share(
        self, circuits: Sequence[Iterable[Edge | str]] | Bool[np.ndarray, "set edge"], *, what: str = "running circuits"
    ) -> Float[np.ndarray, " set"]:
        """How much of the gap each circuit keeps: a ratio of sums over queries; NaN if no share of it can be taken."""
        found = self.metric(circuits, what=what)
        return np.full(len(found), np.nan) if self.gap[2] else (found - self.empty).sum(1) / (self.full - self.empty).sum()

    def ratios(
        self, changes: Float[np.ndarray, "row query"], *, seed: int
    ) -> tuple[Float[np.ndarray, " row"], Float[np.ndarray, "row 2"]]:
        """Changes of the metric as shares of the gap, and their 95 % bootstrap intervals over units; NaN without a share."""
        if self.gap[2]:
            return np.full(len(changes), np.nan), np.full((len(changes), 2), np.nan)
        share, _, interval = bootstrap_ratio(changes, self.full - self.empty, unit=self.pairs.unit, seed=seed)
        return share, interval

    def _ends(self, resolution: Resolution) -> Float[np.ndarray, "3 query"]:
        """The metric with all edges, with none, and by how much rounding may change their difference."""
        found, none = np.empty((3, len(self.pairs))), np.zeros((1, len(self.graph.edges)), dtype=bool)
        for rows, clean, background in self._batches(0):
            by_query = partial(metric_by_query, self._metric, pairs=self.pairs.take(rows), clean=clean.logits)
            ((_, (empty,)),) = self._run(background, clean, none)
            rounding = sum(rounding_of(by_query, logits, resolution) for logits in (clean.logits, empty))
            found[:, rows.numpy()] = by_query(clean.logits), by_query(empty), rounding
        return found

    def _run(self, background: Any, clean: Any, rows_open: Bool[np.ndarray, "set edge"]) -> Logits:
        """The logits with each set of edges open; where edges stand for all positions, some sets after the others."""
        if self._places is None:
            yield from self._engine.logits_with_edges(background, clean, torch.from_numpy(rows_open))
            return
        n_at_once = max(1, ROWS_AT_ONCE // len(self._places))
        for start in range(0, len(rows_open), n_at_once):
            some = torch.from_numpy(rows_open[start : start + n_at_once][:, self._places])
            for places, logits in self._engine.logits_with_edges(background, clean, some):
                yield [start + place for place in places], logits

    def _batches(self, results: int) -> Iterator[tuple[Int[Tensor, " row"], Any, Any]]:
        """Some pairs after the others: their rows, clean runs, and what closed edges carry."""
        batches = self._engine.batches(len(self.pairs), "sets", results=results)
        for rows in batches:
            yield rows, *(self._whole if len(batches) == 1 else self._runs(rows))

    @cached_property
    def _whole(self) -> tuple[Any, Any]:
        """The runs of all pairs, kept where they fit into memory together."""
        return self._runs(torch.arange(len(self.pairs), device="cpu"))

    def _runs(self, rows: Int[Tensor, " row"]) -> tuple[Any, Any]:
        """The clean run of some pairs, and what closed edges carry."""
        (clean,) = self._engine.run(self.pairs.clean[rows])
        if self._mean is not None:
            return clean, self._engine.averaged([self._mean], len(rows))
        if self._is_silent:
            return clean, self._engine.silenced(clean)
        (background,) = self._engine.run(self._corrupt[rows])
        return clean, background

    def _averaged(self) -> Any:
        """A run of one prompt in which every node writes its mean over all corrupt prompts."""
        batches = self._engine.batches(len(self.pairs), "sets")
        return self._engine.averaged((self._engine.run(self._corrupt[rows])[0] for rows in batches), 1)
