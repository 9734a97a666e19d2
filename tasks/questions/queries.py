"""Questions in tokens, with the answers, the bridges and the facts they rest on."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one kind, one row each.

    Attributes:
        tokens: the prompts; entity i is token i, relation j is token n_entities + j.
        answers: the token to be predicted at `answer_position`.
        bridges: the entity the first hop leads to; for an atomic fact this is its answer.
        hop1: the number of the first fact in the task's graph.
        hop2: the number of the second fact, or −1 for an atomic query.
        roles: the name of each position.
        answer_position: the position at which the answer is read.
        split: the split's name.
    """

    tokens: Int[Tensor, "query pos"]
    answers: Int[Tensor, " query"]
    bridges: Int[Tensor, " query"]
    hop1: Int[Tensor, " query"]
    hop2: Int[Tensor, " query"]
    roles: tuple[str, ...]
    answer_position: int
    split: str

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Int[Tensor, " row"] | Bool[Tensor, " query"]) -> "Queries":
        """The queries of the given rows (numbers or a mask), in that order."""
        columns = ("tokens", "answers", "bridges", "hop1", "hop2")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def halves(self) -> tuple["Queries", "Queries"]:
        """Every other query, and the rest: one half to choose on, the other to report."""
        rows = torch.arange(len(self))
        return self.take(rows[::2]), self.take(rows[1::2])
