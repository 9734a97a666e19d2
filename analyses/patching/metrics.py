"""What an intervention is measured by."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

Metric = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits [query, d_vocab], answers [query] and foils [query] to one number for each query."""


def logit_difference(
    logits: Float[Tensor, "query d_vocab"], answers: Int[Tensor, " query"], foils: Int[Tensor, " query"]
) -> Float[Tensor, " query"]:
    """How much the answer is preferred to the foil, in nats."""
    rows = torch.arange(len(logits), device=logits.device)
    return logits[rows, answers] - logits[rows, foils]


def metric_name(metric: Metric) -> str:
    """What a result calls its metric."""
    return getattr(metric, "__name__", str(metric))


def cross_entropy(
    logits: Float[Tensor, "query d_vocab"], answers: Int[Tensor, " query"], foils: Int[Tensor, " query"]
) -> Float[Tensor, " query"]:
    """−log p(answer) by query, in nats; a metric like `logit_difference`, whatever the foils."""
    return torch.nn.functional.cross_entropy(logits, answers, reduction="none")
