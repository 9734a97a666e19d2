"""What patching found: effects of nodes or edges as shares of the clean–corrupt gap, with their uncertainty.

The effect of a patch is Σ_q [m(patched) − m(base)] / Σ_q [m(donor) − m(base)], a ratio of sums over queries: patching
everything gives 1, patching nothing 0. Noising puts the corrupt run into the clean one, denoising the reverse.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node, Result
from ...circuits.circuit import without_numbers
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, counted_units, gap_in_words, strongest_in_words, without_rows
from ...circuits.interrupts import noticing_interrupts, stop_at_once
from ...circuits.plain_text import counted
from ...circuits.progress import bar
from ...circuits.units import after_number, fixed, shown, size_of_gap
from ...circuits.workers import end_workers
from ...tasks import PromptPairs
from ...tasks.transformerlens import Model
from ..forward.engine import AnyRun, Engine, Work, method_by
from ..forward.places import Logits
from ..plots.heatmaps import effect_heatmap
from ..statistics import ratio_and_stderr
from .completeness import largest_residual
from .gap import Ends, below_rounding, check_metric, gap_and_reason, note_all, undefined
from .kept import Changes, Question
from .metrics import AnyMetric
from .resolution import resolution_of
from .shards import Asked, Found, measured_here

Direction = Literal["noising", "denoising"]


@dataclass(frozen=True, eq=False)
class PatchingResult(Result):
    """Effects of patching single edges or single nodes.

    Attributes:
        table: a row for each edge (columns sender, receiver) or node (column node), with
            effect: as a fraction of the gap, NaN where it has no number (see `reason`);
            stderr: of the effect, by bootstrap over units of queries, see `PromptPairs.unit`;
            n: number of queries; n_units: of their units;
            gap: mean m(clean) − m(corrupt), in the metric's unit.
        graph: the model's computation graph.
        metric: name of the metric.
        direction: noising or denoising.
        model: the model's name.
        pairs: hash of the prompt pairs.
        contrast: what differs between clean and corrupt.
        recipe: how the pairs were made.
        n_asked: pairs asked for, before those answered wrongly were dropped.
        gap_interval: 95 % interval of the gap.
        reason: why effects are NaN, all or some of them; empty if none is.
        deltas: m(patched) − m(base) by row and query, if asked for.
        donor_gaps: m(donor) − m(base) by query, if asked for.
        method: exact, or how effects were estimated; ends with `by hooks` or `by replay` where the fast engine did not do.
        error: of estimates, on a sample of n_edges edges patched exactly: rank_correlation, and relative_error, the
            length of the error as a share of that of the exact effects.
        unit: of the metric; empty if nobody said.
        higher_is_better: whether a larger metric means better answers; None if nobody said.
        hashes: of each prompt and unit, see `PromptPairs.hashes`; empty in files written before there were any.
        completeness: of integrated gradients, by line, how far they add up: sum and difference, the means over queries of
            what the estimates of its edges sum to and of what they should; residual, the mean size of the error, of no sign,
            as a share of the mean |difference|; steps, the most points on the line that a query took.
    """

    table: Annotated[pd.DataFrame, Columns(numbers="effect stderr gap", whole="n")]
    graph: ComputationGraph
    metric: str
    direction: str
    model: str
    pairs: str
    contrast: str
    recipe: Mapping[str, Any]
    n_asked: int
    gap_interval: tuple[float, float]
    reason: str
    deltas: np.ndarray | None = None
    donor_gaps: np.ndarray | None = None
    method: str = "exact"
    error: Mapping[str, float] | None = None
    unit: str = ""
    higher_is_better: bool | None = None
    hashes: Mapping[str, list[str]] = field(default_factory=dict)
    completeness: pd.DataFrame | None = None

    @property
    def provenance(self) -> dict[str, Any]:
        """How the effects were measured, for a circuit made of them."""
        names = ("metric", "unit", "higher_is_better", "direction", "method", "model", "pairs", "contrast")
        names += ("n_asked", "reason")
        split = {"split": self.recipe["split"]} if "split" in self.recipe else {}
        hashes = {"hashes": dict(self.hashes)} if self.hashes else {}
        return {name: getattr(self, name) for name in names} | split | {"recipe": dict(self.recipe)} | hashes

    @property
    def gap(self) -> float:
        """Mean m(clean) − m(corrupt)."""
        return float(self.table["gap"].iloc[0])

    @property
    def n(self) -> int:
        """Number of queries."""
        return int(self.table["n"].iloc[0])

    @property
    def caption(self) -> str:
        """Model, contrast, gap and n in one line."""
        low, high = self.gap_interval
        one = "pair" if self.n == 1 else "unit"
        interval = f"(one {one}: no interval)" if math.isnan(low) else f"[{shown(low)}, {shown(high)}]"
        gap = f"gap {shown(self.gap)}{after_number(self.unit)} {interval}"
        text = f"{self.model} · {self.contrast} · {self.direction} · {self.metric}, {gap} · n = {self.n} of {self.n_asked}"
        if self.higher_is_better is not None and (low > 0 or high < 0) and (self.gap > 0) != self.higher_is_better:
            text += " · the corrupt prompts do better"
        if self.method != "exact":
            text += f" · {self.method}" if self.method.startswith("exact") else f" · estimated by {self.method}"
        if self.error:
            text += (
                " (rank correlation {rank_correlation:z.2f}, relative error {relative_error:.2f}, {n_edges} edges)".format(
                    **self.error
                )
            )
        text += largest_residual(self.completeness)
        return f"{text} · {without_numbers(self.table['effect'], 'effects')}: {self.reason}" if self.reason else text

    def explain(self) -> Explanation:
        """The strongest effect, and what effects are shares of."""
        if self.table.empty:
            return without_rows(self.model)
        what, missing = "node" if "node" in self.table else "edge", without_numbers(self.table["effect"], "effects")
        strongest, error = strongest_in_words(self.table)
        low, high = self.gap_interval
        gap = "The gap has no interval" if math.isnan(low) else f"The gap's 95 % interval is [{shown(low)}, {shown(high)}]"
        how = "" if self.method.startswith("exact") else f", estimated by {self.method}"
        return Explanation(
            measured=f"What patching each of {counted(len(self.table), what)} by itself does to the metric, as a share of "
            f"the gap ({self.direction}){how}.",
            on=f"{self.model}, {counted_units(self.table.iloc[0].to_dict())} ({self.n_asked:,} were asked for), contrast "
            f"{self.contrast}. {gap_in_words(self.gap, self.provenance)}",
            means=" ".join(filter(None, [strongest, f"There are {missing}: {self.reason}." if missing else ""])),
            sure=f"{error} {gap}.{self._estimates}",
            would_change=f"Another metric than {self.metric}, another contrast than {self.contrast}, or the direction "
            f"opposite to {self.direction}.",
        )

    @property
    def _estimates(self) -> str:
        """How near estimates are to exact effects, where some were measured."""
        if not self.error:
            return ""
        rank, n = fixed(self.error["rank_correlation"], 2), counted(int(self.error["n_edges"]), "edge")
        return f" Estimates have a rank correlation of {rank} with the effects of {n} that were patched exactly."

    def to_frame(self) -> pd.DataFrame:
        """The table; with per-query changes it has a row for each edge or node and query, columns query and delta.

        Graph and provenance travel in `attrs`, so that `Circuit.from_effects` takes the frame unchanged.
        """
        frame = self.table.copy()
        if self.deltas is not None and self.donor_gaps is not None:
            n = len(self.donor_gaps)
            frame = frame.loc[frame.index.repeat(n)].reset_index(drop=True)
            frame = frame.assign(query=np.tile(np.arange(n), len(self.table)), delta=self.deltas.reshape(-1))
            frame.attrs["donor_gaps"] = self.donor_gaps.tolist()
        frame.attrs |= {"graph": self.graph.to_dict(), "provenance": self.provenance}
        return frame

    def figure(self) -> Any:
        """A heat map of the effects: senders or nodes against receivers or positions."""
        about = f"of a gap of {size_of_gap(self.gap, self.provenance)}"
        options = {"label": "share of the gap", "about": about, "roles": self.graph.roles}
        return effect_heatmap(self.table, title=self.caption, **options)


@torch.no_grad()
def patch_each(
    model: Model,
    engine: Engine[AnyRun],
    pairs: PromptPairs,
    targets: Sequence[Edge] | Sequence[Node],
    patched: Callable[..., Logits],
    work: Work,
    *,
    direction: Direction,
    metric: AnyMetric,
    per_query: bool,
    progress: bool,
    seed: int,
    kept: Question | None = None,
    there: Callable[[Asked, Bool[np.ndarray, "target batch"]], Iterator[Found]] | None = None,
) -> PatchingResult:
    """Patch each edge or node by itself and summarise what it does to the metric.

    Args:
        model: gives its name to the result.
        engine: runs the prompts.
        pairs: clean and corrupt prompts.
        targets: edges or nodes; without roles they are patched at all positions at once.
        patched: the engine's method for such targets, e.g. `edge_logits`.
        work: which that is, see `Engine.batches`.
        direction: noising or denoising.
        metric: logits, answers and foils to one number for each query.
        per_query: keep the change of every query.
        progress: show a bar if it takes longer than a moment.
        seed: of the bootstrap.
        kept: whose folder keeps what is measured so far, see `kept`.
        there: measures in place of this process, see `workers`.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM; it says how far it came.
    """
    resolution = resolution_of(model, engine.graph)
    batches = engine.batches(len(pairs), work, results=8 * len(targets) * len(pairs))
    changes, ends = Changes.of(len(targets), batches, kept), Ends(metric, len(pairs), direction, resolution)
    asked = Asked(pairs, targets, direction, metric, batches, alone=work == "copies")
    if there is None:
        check_metric(engine, metric, pairs, resolution, batches)
        found = measured_here(engine, patched, asked, ends, changes.done)
    else:
        note_all(engine, pairs, ends, batches)
        found = there(asked, changes.done)
    _note_each(found, changes, batches, progress=progress, at_once=there is not None)
    changes.save()
    deltas = changes.deltas
    result = summarise(model, pairs, engine.graph, targets, deltas, ends, per_query=per_query, seed=seed)
    return replace(result, method=method_by(engine, "exact"))


def _note_each(
    found: Iterator[Found],
    changes: Changes,
    batches: Sequence[Int[Tensor, " _"]],
    *,
    progress: bool,
    at_once: bool,
) -> None:
    """Note changes as they are found, under one bar.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM; after what is under way, or at once where that is in other processes.
    """
    then, rows = stop_at_once if at_once else None, [each.numpy() for each in batches]
    measuring = bar(changes.deltas.size, "patching", show=progress, unit=" runs")
    with noticing_interrupts(then=then) as stop, measuring as shown_bar, contextlib.closing(found):  # pyright: ignore
        shown_bar.skip(int(changes.done.sum(0) @ np.array([len(each) for each in rows])))
        try:
            for number, places, values in found:
                changes.note(number, np.array(places), rows[number], values)
                shown_bar.update(values.size)
                if stop.asked:
                    raise changes.stopped(stop)
        except KeyboardInterrupt as error:
            if str(error) or not at_once:
                raise
            end_workers()
            raise changes.stopped(stop) from None


def summarise(
    model: Model,
    pairs: PromptPairs,
    graph: ComputationGraph,
    targets: Sequence[Edge] | Sequence[Node],
    deltas: Float[np.ndarray, "target query"],
    ends: Ends,
    *,
    per_query: bool,
    seed: int,
    without_signal: str = "",
) -> PatchingResult:
    """Changes by query as shares of the gap, with their uncertainty.

    Args:
        model: gives its name to the result.
        pairs: clean and corrupt prompts.
        graph: of the model.
        targets: edges or nodes.
        deltas: m(patched) − m(base).
        ends: the metric on base and donor prompts.
        per_query: keep the change of every query.
        seed: of the bootstrap.
        without_signal: why the changes say nothing, if they do not.
    """
    metric = ends.metric
    gap, interval, reason = gap_and_reason(ends.gaps, pairs.unit, seed=seed)
    reason = below_rounding(ends.gaps, ends.rounding, ends.resolution) or reason or without_signal
    effect, stderr = np.full((2, len(targets)), np.nan)
    if not reason:
        finite = deltas if np.isfinite(deltas).all() else np.where(np.isfinite(deltas), deltas, np.nan)
        effect, stderr = ratio_and_stderr(finite, ends.donor_gaps, unit=pairs.unit, seed=seed)
    return PatchingResult(
        table=pd.DataFrame(
            {**_names(targets), "effect": effect, "stderr": stderr, "n": len(pairs), "gap": gap, "n_units": pairs.n_units}
        ),
        graph=graph,
        metric=metric.name,
        direction=ends.direction,
        model=model.cfg.model_name,
        pairs=pairs.key,
        contrast=pairs.contrast,
        recipe=dict(pairs.recipe),
        n_asked=pairs.n_asked,
        gap_interval=interval,
        reason=reason or undefined(metric.name, deltas),
        deltas=deltas if per_query else None,
        donor_gaps=ends.donor_gaps if per_query else None,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        hashes=pairs.hashes,
    )


def _names(targets: Sequence[Edge | Node]) -> dict[str, list[str]]:
    """The columns that say what was patched."""
    if edges := [target for target in targets if isinstance(target, Edge)]:
        return {"sender": [str(edge.sender) for edge in edges], "receiver": [str(edge.receiver) for edge in edges]}
    return {"node": [str(target) for target in targets]}
