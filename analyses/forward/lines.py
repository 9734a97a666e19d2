"""Integrals of gradients along straight lines, on parts that are halved until they add up.

Along a line the gradients integrate to the difference between the values at its ends. That holds on every part of it, so the
error on a part is known, not estimated. Each query has parts of its own: its result depends on no other query.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits.arguments import number_problems, shortly, whole_problems
from ..statistics import double
from .differentiable import gradients_on
from .places import Objective

MOST_STEPS = 10_000  # points on a part; finding them takes a time that grows with their cube
MAX_PARTS = 100  # visited for one query; a line that needs more has a jump or a spike
ROUNDING = 16.0  # by how many units in the last place of logits a value may be off
TOLERANCE = 0.02
ByQuery = Float[np.ndarray, " query"]
Places = Float[np.ndarray, "point query"]


class Visit(NamedTuple):
    """What is found at some points of the line.

    Attributes:
        values: of the objective, at each point and query.
        gradients: by any name the sum over points of weight · gradient, [query, ...].
        attributed: the sum over points of weight · slope along the line, by query.
    """

    values: Places
    gradients: Mapping[Any, Tensor]
    attributed: ByQuery


@dataclass(frozen=True, eq=False)
class Integral:
    """Gradients integrated along a line, and how far they add up.

    Attributes:
        gradients: their mean along the line, by name, [query, ...].
        attributed: by query, the mean slope: what all attributions sum to.
        difference: by query, what they should sum to.
        error: by query, the sizes of the errors on the parts of the line, summed.
        rounding: by query, how much of it is due to the arithmetic.
        steps: by query, points that were visited.
    """

    gradients: Mapping[Any, Tensor]
    attributed: ByQuery
    difference: ByQuery
    error: ByQuery
    rounding: ByQuery
    steps: Int[np.ndarray, " query"]

    @property
    def without_gradients(self) -> "Integral":
        """How far they add up, which is small and may be kept of all queries."""
        return replace(self, gradients={})


def n_points(steps: int) -> int:
    """How many points of a part are visited, see `_rule`."""
    return steps + (steps % 2 == 0)


def integrate(
    visit: Callable[[Places, Places], Visit],
    start: ByQuery,
    end: ByQuery,
    *,
    rounding: ByQuery,
    steps: int,
    tolerance: float,
) -> Integral:
    """Integrate over the whole line first, then over halves of the parts that miss the difference of their ends.

    The errors of all parts of a query together stay within the tolerance: a part may take half of what is left of it, the
    last one all.

    Args:
        visit: points between 0 and 1 and their weights, [point, query], to what is found there.
        start: the objective at 0.
        end: the objective at 1.
        rounding: error of a value that is due to the arithmetic; smaller errors are none.
        steps: Gauss–Legendre points on each part.
        tolerance: of a query's error, as a share of its difference; infinite for one part.
    """
    nodes, weights = _rule(steps)
    difference = end - start
    allowed = tolerance * np.maximum(np.abs(difference), np.finfo(float).tiny)
    error, attributed = np.zeros_like(start), np.zeros_like(start)
    n_parts, sums = np.zeros(len(start), dtype=int), {}
    todo = [deque([(0.0, 1.0, *values)]) for values in zip(start, end, strict=True)]
    while any(todo):
        busy = np.array([len(parts) > 0 for parts in todo])
        parts = np.array([parts.popleft() if parts else (0.0, 1.0, 0.0, 0.0) for parts in todo])
        left, right, before, after = parts.T
        found = visit(left + (right - left) * nodes[:, None], (right - left) * weights[:, None])
        misses, n_parts = np.abs(found.attributed - (after - before)), n_parts + busy
        share = np.where([len(parts) > 0 for parts in todo], 0.5, 1.0)
        too_far = misses > share * np.maximum(allowed - error, 0.0) + rounding  # not so where it is no number
        done = busy & ~(too_far & (n_parts < MAX_PARTS))
        error, attributed = error + np.where(done, misses, 0.0), attributed + np.where(done, found.attributed, 0.0)
        sums = {name: _added(sums.get(name), values, done) for name, values in found.gradients.items()}
        for query in np.flatnonzero(busy & ~done):
            middle, value = (left[query] + right[query]) / 2, found.values[len(nodes) // 2, query]
            halves = (left[query], middle, before[query], value), (middle, right[query], value, after[query])
            todo[query].extend(halves)
    return Integral(sums, attributed, difference, error, n_parts * rounding, len(nodes) * n_parts)


def rounding_of(objective: Objective, logits: Float[Tensor, "query d_vocab"]) -> ByQuery:
    """The error of the objective that the rounding of the logits can make, to first order."""
    with gradients_on():
        logits = logits.detach().clone().requires_grad_()
        (slope,) = torch.autograd.grad(objective(logits).sum(), logits)
    moved = (double(slope) * double(logits.detach())).abs().sum(-1)
    return ROUNDING * torch.finfo(logits.dtype).eps * moved.cpu().numpy()


def steps_problems(steps: Any, tolerance: Any) -> list[str]:
    """Why there is no point to visit, or no error to allow."""
    problems = whole_problems(1, most=MOST_STEPS, steps=steps)
    if tolerance != math.inf and number_problems(0, above=True, tolerance=tolerance):
        wrong = f"tolerance is {shortly(tolerance)}, needed is a number above 0"
        problems.append(f"{wrong} (math.inf: one part of the line is enough)")
    return problems


def _rule(steps: int) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]]:
    """Gauss–Legendre points and weights on [0, 1]; the middle, where parts are halved, is always one of the points."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    if steps % 2 == 0:
        nodes, weights = (np.insert(values, steps // 2, 0.0) for values in (nodes, weights))
    return (nodes + 1) / 2, weights / 2


def _added(sums: Tensor | None, values: Tensor, done: np.ndarray) -> Tensor:
    chosen = torch.from_numpy(done).to(values.device).view(-1, *[1] * (values.ndim - 1))
    values = torch.where(chosen, values, 0.0)  # a product would keep what is no number
    return values if sums is None else sums + values
