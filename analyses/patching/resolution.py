"""What a model's arithmetic can resolve: by how much rounding moves logits, metrics and gradients.

A logit is the end of a chain of steps, each of which rounds what it writes to the model's precision and sums over d_model
terms in 32 bits at least. Independent errors of such a chain add up like a random walk (Higham & Mary 2019), so a logit is
known to about √steps · (ε + √d_model · ε₃₂) times the size of the largest one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks.transformerlens import Model
from ..forward.places import Objective
from ..statistics import double


@dataclass(frozen=True)
class Resolution:
    """How precisely a model computes its logits.

    Attributes:
        dtype: of the model's numbers.
        share: of the largest logit that rounding may move each logit by.
    """

    dtype: torch.dtype
    share: float

    @property
    def arithmetic(self) -> str:
        """Its name in sentences, such as `32-bit arithmetic`."""
        return f"{torch.finfo(self.dtype).bits}-bit arithmetic"

    def moved(self, logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch d_vocab"]:
        """The logits in double precision, each moved by its rounding, up or down at random, always in the same way."""
        exact = double(logits.detach())
        finite = exact.nan_to_num(0.0, 0.0, 0.0)  # tokens may be ruled out by an infinite logit
        signs = torch.randint(0, 2, exact.shape, generator=torch.Generator().manual_seed(0), device="cpu").to(exact) * 2 - 1
        return exact + signs * self.share * finite.abs().amax(-1, keepdim=True)


def resolution_of(model: Model, graph: ComputationGraph) -> Resolution:
    """How precisely effects in a model are computed from the logits of a graph's answer."""
    dtype = torch.promote_types(next(model.parameters()).dtype, torch.float32)  # see `as_measured`
    summed = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    one_step = torch.finfo(dtype).eps + math.sqrt(model.cfg.d_model) * summed
    return Resolution(dtype, math.sqrt(len(graph.steps)) * one_step)


def rounding_of(
    by_query: Callable[[Tensor], Float[np.ndarray, " query"]],
    logits: Float[Tensor, "query d_vocab"],
    resolution: Resolution,
) -> Float[np.ndarray, " query"]:
    """By how much rounding of the logits moves a metric of each query; not finite values move nothing."""
    before, after = by_query(logits), by_query(resolution.moved(logits))
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.abs(after - before), nan=0.0, posinf=0.0) + np.finfo(float).eps * np.abs(before)


class Signal:
    """Watches objectives while they are differentiated: are their gradients more than rounding?

    Give `watch(objective)` to `input_gradients` or `integrated_pattern` in place of the objective, then ask for `reason`.

    Attributes:
        name: of the metric, for messages.
        resolution: of the model's arithmetic.
        size: Σ |gradient by the logits| over all points at which it was taken; None if it never was.
        noise: the same of what rounding changes in it: the logits' rounding, and its own in the model's precision.
    """

    def __init__(self, name: str, resolution: Resolution) -> None:
        self.name, self.resolution = name, resolution
        self.size: float | None = None
        self.noise = 0.0

    @property
    def reason(self) -> str:
        """Why what was differentiated says nothing; empty if it says something, or was never differentiated."""
        if self.size is None:
            return ""
        if not math.isfinite(self.size):
            return f"the gradient of {self.name} by the logits is not finite"
        exact = self.resolution.arithmetic
        return (
            "" if self.size > self.noise else f"estimates are below the resolution of {exact}: {self.name} has no gradient"
        )

    def watch(self, objective: Objective) -> Objective:
        """The same objective, watched wherever it is differentiated. It raises a ValueError if it cannot be."""

        def watched(logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch"]:
            if not logits.requires_grad:
                return objective(logits)
            values = with_gradient(self.name, objective, logits)
            gradient = _gradient(objective, double(logits.detach()))
            changed = (_gradient(objective, self.resolution.moved(logits)) - gradient).abs()
            rounded = (gradient.to(self.resolution.dtype).double() - gradient).abs()
            self.size = (self.size or 0.0) + float(gradient.abs().sum())
            self.noise += float((changed + rounded).sum())
            return values

        return watched


def with_gradient(name: str, objective: Objective, logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch"]:
    """The values of an objective, which have a gradient by the logits if these ask for one.

    Args:
        name: of the metric, for the message.
        objective: logits to one number for each query.
        logits: at the answer position.

    Raises:
        ValueError: if it cannot be differentiated.
    """
    if not logits.requires_grad:
        return objective(logits)
    problem = "it is made of comparisons or the like"
    try:
        values = objective(logits)
    except RuntimeError as error:
        if "requires grad" not in str(error):  # as that of .numpy() on a tensor that needs a gradient does
            raise
        values, problem = logits.detach(), str(error).rstrip(".")
    if values.requires_grad:
        (slope,) = torch.autograd.grad(values.sum(), logits, retain_graph=True, allow_unused=True)
        if slope is not None:
            return values
        problem = "its gradient does not reach the logits"
    raise ValueError(f"{name} cannot be differentiated, so effects cannot be estimated ({problem}); measure exactly")


def _gradient(objective: Objective, logits: Float[Tensor, "*batch d_vocab"]) -> Float[Tensor, "*batch d_vocab"]:
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (found,) = torch.autograd.grad(objective(leaf).sum(), leaf, allow_unused=True)
    return torch.zeros_like(leaf) if found is None else found
