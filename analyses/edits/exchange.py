"""A fact exchanged where it is used: the mean state of its new value minus that of the old one is added, at one cell.

No weight is changed. It is defined where the fact's value is an intermediate, which stands somewhere on the way to the
answer. Where it is the answer, there is nothing to exchange.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks import Queries, top_token
from ...tasks.transformerlens import Model
from ..bridge.bridge_means import BridgeMeans
from ..bridge.interchange import interchange
from ..bridge.sources import Source, with_units
from ..forward.model import graph_of
from ..forward.state_runs import run_model, with_states
from .fact_edit import Dependents, joined

MOST_ASKED = 200  # questions by which the cell is chosen


@dataclass(frozen=True, eq=False)
class Exchange:
    """Where and by what an intermediate is exchanged.

    Attributes:
        model: left as it is.
        graph: its computation graph.
        means: of states by value of the intermediate, over questions of other units than those of edited facts.
        layer, position: the cell.
    """

    model: Model
    graph: ComputationGraph
    means: BridgeMeans
    layer: int
    position: int

    @classmethod
    def of(
        cls,
        model: Model,
        source: Source,
        others: Queries,
        edited: Sequence[Dependents],
        intermediate: str,
        *,
        max_memory: int | None,
        seed: int,
    ) -> "Exchange":
        """At the cell where exchanging the intermediate's direction moves most answers of other questions.

        Args:
            model: any that `graph_of` accepts.
            source: the task.
            others: questions that rest on no edited fact, by which the cell is chosen.
            edited: questions that do; their units are left out of the means.
            intermediate: its name.
            max_memory: bytes that may be used; by default a quarter of what is free.
            seed: of means and donors.
        """
        order = torch.randperm(len(others), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
        some = others.take(order[:MOST_ASKED])
        options: dict[str, Any] = {"intermediate": intermediate, "max_memory": max_memory, "seed": seed}
        table = interchange(model, source, some, progress=False, **options).table
        moved = table[(table["donor"] == f"{intermediate} direction") & (table["layer"] >= 0)]
        best = moved.iloc[int(moved["success"].to_numpy().argmax())]
        graph = graph_of(model, others.roles, others.answer_position)
        without = joined([each.before for each in edited])
        means = BridgeMeans(model, graph, *with_units(source, without, intermediate), **options)
        return cls(model, graph, means, int(best["layer"]), graph.roles.index(best["role"]))

    @property
    def cell(self) -> str:
        """The cell's name, as in tables."""
        return f"L{self.layer} {self.graph.roles[self.position]}"

    @torch.no_grad()
    def answers(self, queries: Queries, old: int, new: int) -> Int[Tensor, " query"]:
        """What the model answers with one value exchanged for another."""
        values = torch.tensor([old, new], device="cpu")
        old_mean, new_mean = self.means.of(self.layer, self.position, values)
        run = run_model(self.model, self.graph, queries.tokens)
        state = run.state(self.layer)[:, self.position] + (new_mean - old_mean)
        return top_token(with_states(run, self.layer, {self.position: state[None]})[0]).cpu()
