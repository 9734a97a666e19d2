"""A metric on clean and corrupt prompts: whether it has a number there, and whether effects can be shares of its gap."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits.units import shown
from ...tasks import PromptPairs
from ..forward.engine import AnyRun, Engine
from ..statistics import Values, bootstrap_ratio, double
from .metrics import AnyMetric, as_metric
from .resolution import Resolution, rounding_of

N_NAMED = 5  # queries that a message names


class Ends:
    """A metric on the base and donor prompts, part by part.

    Attributes:
        metric: what is measured.
        direction: noising, from the clean prompts, or denoising, from the corrupt ones.
        resolution: of the model's arithmetic.
        base: m(base) by query; NaN where it is not noted yet.
        donor_gaps: m(donor) − m(base) by query.
        rounding: by how much rounding may change the latter, by query.
    """

    def __init__(self, metric: AnyMetric, n: int, direction: str, resolution: Resolution) -> None:
        self.metric, self.direction, self.resolution = as_metric(metric), direction, resolution
        self.base, self.donor_gaps, self.rounding = (np.full(n, np.nan) for _ in range(3))

    def note(
        self, rows: Int[np.ndarray, " part"], part: PromptPairs, base: AnyRun, donor: AnyRun
    ) -> Callable[[Tensor], Float[np.ndarray, "*copy part"]]:
        """Note the numbers of some queries; returns the metric of other runs of the same rows.

        Raises:
            ValueError: if the metric has no finite number for some of them; it names them.
        """
        clean = (base if self.direction == "noising" else donor).logits
        by_query = partial(metric_by_query, self.metric, pairs=part, clean=clean)
        before, after = by_query(base.logits), by_query(donor.logits)
        sides = ("the clean prompts", "the corrupt prompts")[:: 1 if self.direction == "noising" else -1]
        check_finite(self.metric.name, dict(zip(sides, (before, after), strict=True)), rows, len(self.base))
        self.base[rows], self.donor_gaps[rows] = before, after - before
        self.rounding[rows] = sum(rounding_of(by_query, run.logits, self.resolution) for run in (base, donor))
        return by_query

    @property
    def gaps(self) -> Float[np.ndarray, " query"]:
        """m(clean) − m(corrupt) by query."""
        return -self.donor_gaps if self.direction == "noising" else self.donor_gaps


def base_and_donor(pairs: PromptPairs, direction: str) -> tuple[Int[Tensor, "query pos"], Int[Tensor, "query pos"]]:
    """The prompts that are run, and those whose values are put into them.

    Raises:
        ValueError: for an unknown direction.
    """
    if direction not in ("noising", "denoising"):
        raise ValueError(f"direction must be 'noising' or 'denoising', got {direction!r}")
    return (pairs.clean, pairs.corrupt) if direction == "noising" else (pairs.corrupt, pairs.clean)


def metric_by_query(
    metric: AnyMetric,
    logits: Float[Tensor, "*copy query d_vocab"],
    pairs: PromptPairs,
    clean: Float[Tensor, "query d_vocab"] | None = None,
) -> Float[np.ndarray, "*copy query"]:
    """As `metric_values`, without gradient."""
    with torch.no_grad():
        return metric_values(metric, logits, pairs, clean).cpu().numpy()


def metric_values(
    metric: AnyMetric,
    logits: Float[Tensor, "*copy query d_vocab"],
    pairs: PromptPairs,
    clean: Float[Tensor, "query d_vocab"] | None = None,
) -> Float[Tensor, "*copy query"]:
    """The metric of each query, or of each copy of it, in double precision.

    Args:
        metric: a `Metric` or a plain function; it gets a copy of the logits, which it may change.
        logits: at the answer position, of the pairs in their order or of copies of all of them.
        pairs: have the answers and foils.
        clean: logits of the clean run of the same rows, for metrics that compare with it.

    Raises:
        ValueError: if the metric does not give one number for each query, or compares with a clean run that is not given.
    """
    metric, shape, given = as_metric(metric), logits.shape[:-1], logits
    columns = [pairs.answers, pairs.foils]
    if metric.reads == "two":
        given, clean = _of_two(given, pairs), clean if clean is None else _of_two(clean, pairs)
        columns = [torch.full_like(column, place) for place, column in enumerate(columns)]
    logits = double(given) if given.dtype != torch.float64 else double(given).clone()  # a metric may change its copy
    rows = [column.to(logits.device).expand(shape).clone().flatten() for column in columns]
    if metric.reference == "clean":
        if clean is None:
            raise ValueError(f"{metric.name} compares with the logits of the clean run, which are not known here")
        rows.append(double(clean.detach()).expand(logits.shape).flatten(0, -2))
    values = metric(logits.flatten(0, -2), *rows)
    if not isinstance(values, Tensor) or tuple(values.shape) != (shape.numel(),):
        got = f"the shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
        raise ValueError(f"the metric must give one number for each of the {shape.numel()} queries, got {got}")
    return values.double().view(shape)


def _of_two(logits: Float[Tensor, "*copy query d_vocab"], pairs: PromptPairs) -> Float[Tensor, "*copy query 2"]:
    """The logits of answer and foil."""
    places = torch.stack([pairs.answers, pairs.foils], -1).cpu()  # which index tensors of any device
    return logits[..., torch.arange(len(pairs), device="cpu")[:, None], places]


def check_metric(
    engine: Engine[AnyRun],
    metric: AnyMetric,
    pairs: PromptPairs,
    resolution: Resolution,
    batches: Sequence[Int[Tensor, " _"]],
) -> None:
    """Raise unless the metric has a number for every prompt, before the long work on a first part of them.

    Raises:
        ValueError: naming the metric and the queries.
    """
    if len(batches) > 1:  # a single part is checked when it is run
        note_all(engine, pairs, Ends(metric, len(pairs), "noising", resolution), batches)


def note_all(engine: Engine[AnyRun], pairs: PromptPairs, ends: Ends, batches: Sequence[Int[Tensor, " _"]]) -> None:
    """Run all prompts, part by part, and note the metric on them.

    Raises:
        ValueError: if it has no number for some of them.
    """
    base, donor = base_and_donor(pairs, ends.direction)
    for rows in batches:
        ends.note(rows.numpy(), pairs.take(rows), *engine.run(base[rows], donor[rows]))


def check_finite(
    metric: str, sides: Mapping[str, Float[np.ndarray, " part"]], rows: Int[np.ndarray, " part"], n: int
) -> None:
    """Raise unless all numbers are finite.

    Args:
        metric: its name.
        sides: the numbers by what they are on, such as `the clean prompts`.
        rows: which queries they are of.
        n: number of all queries.

    Raises:
        ValueError: naming the metric, the prompts and the queries.
    """
    problems = [f"{text} on {side}" for side, values in sides.items() if (text := _not_finite(values, rows, n))]
    if problems:
        raise ValueError(f"{metric} gives {' and '.join(problems)}; leave these pairs out or choose another metric")


def undefined(metric: str, deltas: Float[np.ndarray, "target query"]) -> str:
    """For how many targets and queries there is no number; empty if for none."""
    wrong = ~np.isfinite(deltas)
    if not wrong.any():
        return ""
    found = np.where(np.isnan(deltas).any(0), np.nan, np.where(wrong.any(0), np.inf, 0.0))
    text = _not_finite(found, np.arange(len(found)), len(found))
    return f"{metric} gives {text} where {int(wrong.any(1).sum())} of {len(deltas)} are patched"


def _not_finite(values: Float[np.ndarray, " part"], rows: Int[np.ndarray, " part"], n: int) -> str:
    """What values are not finite, and of which queries; empty if all are."""
    wrong = ~np.isfinite(values)
    if not wrong.any():
        return ""
    what = "NaN" if np.isnan(values[wrong]).all() else "no finite number"
    more = f" and {wrong.sum() - N_NAMED} more" if wrong.sum() > N_NAMED else ""
    queries = f"{'query' if wrong.sum() == 1 else 'queries'} {', '.join(map(str, rows[wrong][:N_NAMED]))}"
    return f"{what} for {queries}{more} of {n}"


def gap_and_reason(gaps: Float[np.ndarray, " query"], unit: Values, *, seed: int) -> tuple[float, tuple[float, float], str]:
    """The mean clean–corrupt gap, its 95 % interval over units, and why no effect can be a share of it (empty if it can).

    The gap may have either sign, as that of a loss, and any size. A ratio of sums is biased by about the squared coefficient
    of variation of its denominator. An interval as wide as the gap is means a coefficient of 1/(2·1.96), so a bias of 6.5 %;
    beyond that effects have no number.
    """
    mean, _, intervals = bootstrap_ratio(gaps[None], np.ones_like(gaps), unit=unit, seed=seed)
    gap, (low, high) = float(mean[0]), (float(intervals[0, 0]), float(intervals[0, 1]))
    if math.isnan(low) or math.isnan(high):  # of a single unit; its effects are exact, if only for itself
        return gap, (low, high), "" if gap else "the gap is 0"
    if low <= 0 <= high:
        return gap, (low, high), f"the gap's 95 % interval [{shown(low)}, {shown(high)}] reaches 0"
    if high - low > abs(gap):
        known = f"[{shown(low)}, {shown(high)}]"
        return gap, (low, high), f"the gap of {shown(gap)} is not known well enough: its 95 % interval {known} is wider"
    return gap, (low, high), ""


def below_rounding(gaps: Float[np.ndarray, " query"], rounding: Float[np.ndarray, " query"], resolution: Resolution) -> str:
    """Why gaps may be made of rounding; empty if they are not, or are 0. Up to half of them may be, as of an interval."""
    size, known = float(np.abs(gaps).mean()), float(rounding.mean())
    if size == 0 or size > 2 * known:
        return ""
    return f"gaps of {size:.1e} are below the resolution of {resolution.arithmetic}, ± {known:.1e}"
