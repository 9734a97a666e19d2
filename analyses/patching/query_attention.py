"""Where heads look on many queries: the mean of each entry of their patterns, and the patterns of some queries."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import Node
from ..forward.engine import AttendingEngine
from .running_means import RunningMeans

ELSEWHERE = "elsewhere"
"""The source of what is missing to 1 in a row of a pattern: given to pads, or to no position at all."""
MEANS = ("head", "destination", "source", "weight", "stderr", "n", "n_units")
OF_QUERIES = ("query", "head", "destination", "source", "weight")
ROW_BYTES = 100  # of a table: three words and some numbers
ROUNDING = torch.finfo(torch.float32).eps  # of weights: whatever a model computes in, its softmax may be in this


class QueryAttention:
    """Gathers the patterns of a model's heads.

    An entry is a role that looks and one that it can see, or `ELSEWHERE`; so the entries of a role that looks sum to 1.

    Attributes:
        kept: the numbers of the queries whose patterns are kept.
    """

    def __init__(self, engine: AttendingEngine[Any], kept: Sequence[int]) -> None:
        graph, self._engine, self.kept = engine.graph, engine, kept
        roles = graph.roles[: graph.roles.index(graph.answer_role) + 1] if graph.causal else graph.roles
        self._entries = [(to, source) for to in roles for source in (*graph.visible_from(to), ELSEWHERE)]
        places = {role: place for place, role in enumerate((*roles, ELSEWHERE))}
        self._to, self._source = torch.tensor([[places[each] for each in entry] for entry in self._entries], device="cpu").T
        self._means = [RunningMeans(graph.n_heads * len(self._entries)) for _ in range(graph.n_layers)]
        self._patterns: dict[int, list[Float[Tensor, "head entry"]]] = {row: [] for row in kept}
        self._there: dict[int, Bool[Tensor, " entry"]] = {}

    @property
    def n_bytes(self) -> int:
        """What the tables take, and what they are made of."""
        graph = self._engine.graph
        return ROW_BYTES * graph.n_layers * graph.n_heads * len(self._entries) * (2 + len(self.kept))

    def note(
        self, run: Any, real: Bool[Tensor, "query pos"], rows: Int[Tensor, " query"], unit: Int[Tensor, " query"]
    ) -> None:
        """Note some queries.

        Args:
            run: the engine's, of their clean prompts.
            real: which positions hold no pad.
            rows: the numbers of the queries.
            unit: see `RunningMeans.note`.
        """
        there = real[:, self._to]
        kept = [(place, row) for place, row in enumerate(rows.tolist()) if row in self._patterns]
        self._there |= {row: there[place] for place, row in kept}
        for means, pattern in zip(self._means, self._engine.patterns(run), strict=True):
            weights = self._by_entry(pattern.cpu().double(), real[:, : pattern.shape[-1]])
            means.note(weights.flatten(1), there.repeat(1, weights.shape[1]), unit)
            for place, row in kept:
                self._patterns[row].append(weights[place].clone())

    def _by_entry(
        self, pattern: Float[Tensor, "query head pos key"], real: Bool[Tensor, "query key"]
    ) -> Float[Tensor, "query head entry"]:
        """The weights of all entries; what is left of a row by rounding alone is 0."""
        at_roles = pattern * real[:, None, None]
        rest = 1.0 - at_roles.sum(-1, keepdim=True)
        rest = torch.where(rest.abs() <= ROUNDING * pattern.shape[-1], 0.0, rest)
        return torch.cat([at_roles, rest], -1)[:, :, self._to, self._source]

    def means(self) -> pd.DataFrame:
        """A row for each head and entry, with its mean over the queries that have a token at the destination."""
        found = [each.result() for each in self._means]
        numbers = {name: torch.cat([each[name] for each in found]).numpy() for name in ("mean", "stderr", "n", "n_units")}
        counts = {name: numbers[name].astype(int) for name in ("n", "n_units")}
        return pd.DataFrame({**self._named(), "weight": numbers["mean"], "stderr": numbers["stderr"], **counts})

    def patterns(self) -> pd.DataFrame:
        """A row for each kept query, head and entry; none of destinations at which the query has a pad."""
        parts = []
        for row, layers in self._patterns.items():
            weights = torch.cat(layers)
            frame = pd.DataFrame({"query": row, **self._named(), "weight": weights.flatten().numpy()})
            parts.append(frame[self._there[row].repeat(len(weights)).numpy()])
        return pd.concat(parts, ignore_index=True) if parts else nothing(OF_QUERIES)

    def _named(self) -> dict[str, np.ndarray]:
        """The columns that say of which head and entry a row is."""
        graph, places = self._engine.graph, np.array(self._entries, dtype=object)
        heads = [str(Node("head", "", layer, head)) for layer in range(graph.n_layers) for head in range(graph.n_heads)]
        columns = {"head": np.repeat(np.array(heads, dtype=object), len(places))}
        return columns | {name: np.tile(places[:, end], len(heads)) for end, name in enumerate(("destination", "source"))}


def nothing(columns: Sequence[str]) -> pd.DataFrame:
    """A table without rows."""
    return pd.DataFrame(columns=list(columns))
