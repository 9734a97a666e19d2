"""Questions chosen by unit, since states repeat within one: a sample of units, or halves that share none."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from ...tasks import Queries
from ...tasks.questions.padding import aligned
from ...tasks.transformerlens import Model


def as_read(model: Model, queries: Queries) -> Queries:
    """The questions with, at each role, the token that the model reads there, see `aligned`; not for running."""
    return replace(queries, tokens=aligned(model, queries.tokens, queries.answer_position).tokens)


def seen_by(model: Model, queries: Queries) -> Bool[Tensor, "query pos"]:
    """Which positions hold a token that the model sees, and no hidden pad, see `aligned`."""
    mask = aligned(model, queries.tokens, queries.answer_position).mask
    return torch.ones_like(queries.tokens, dtype=torch.bool) if mask is None else mask


def sample(queries: Queries, n: int, *, max_units: int, seed: int) -> Queries:
    """At most n of the questions, at random, covering at most `max_units` units.

    Raises:
        ValueError: if n is below 0.
    """
    if n < 0:
        raise ValueError(f"n is the most questions to ask, 0 or more, got {n}")
    order = np.random.default_rng(seed).permutation(len(queries))
    units, first = np.unique(queries.unit.numpy()[order], return_index=True)
    chosen = units[np.argsort(first)[:max_units]]
    order = order[np.isin(queries.unit.numpy()[order], chosen)]
    return queries.take(torch.from_numpy(np.sort(order[:n])))


def halves_by_unit(queries: Queries, *, seed: int) -> tuple[Queries, Queries]:
    """Two parts of the questions that have no unit in common, each with half of the units."""
    units = np.unique(queries.unit.numpy())
    half = np.random.default_rng(seed).permutation(units)[: len(units) // 2]
    is_first = torch.from_numpy(np.isin(queries.unit.numpy(), half))
    return queries.take(is_first), queries.take(~is_first)
