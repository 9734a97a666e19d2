"""Mean states by value of an intermediate, such as the bridge: the directions that interventions on it use."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks import Queries
from ...tasks.questions.validity import check_same_roles
from ...tasks.transformerlens import Model
from ..forward.states import run_states
from .sources import Source

MIN_UNITS_FOR_MEAN = 2  # of one value, for its mean state


class BridgeMeans:
    """Mean states of a source's reference questions by value, over other units than those that are asked about.

    Args:
        model: the model.
        graph: its computation graph.
        source: of the reference questions.
        without: the questions that are asked; their units are left out.
        intermediate: whose values are told apart.
        seed: of the choice of reference questions.
        max_memory: bytes that may be used; by default a quarter of what is free.

    Attributes:
        intermediate: its name.
        questions: one for each other unit.
        values: the value of each.
        run: the model on them.
        counts: how many there are for each value.

    Raises:
        ValueError: if a question has a value that the source does not know, no other unit is left, or the source's
            questions do not fit the model or have other roles.
    """

    def __init__(
        self,
        model: Model,
        graph: ComputationGraph,
        source: Source,
        without: Queries,
        *,
        intermediate: str,
        seed: int,
        max_memory: int | None = None,
    ) -> None:
        n_values = source.n_values(intermediate)
        asked = without.intermediates[intermediate]
        if strange := sorted({int(value) for value in asked if not 0 <= value < n_values}):
            raise ValueError(f"values of {intermediate} are 0 to {n_values - 1}; {without.split} has {strange[:4]}")
        self.intermediate = intermediate
        self.questions = source.reference(seed=seed, without=frozenset(without.unit.tolist()))
        if not len(self.questions):
            raise ValueError(f"no question is left for mean states: those of {without.split} ask about every unit")
        self.questions.check_against(model)
        check_same_roles("the questions for mean states", self.questions, graph.roles)
        self.values = self.questions.intermediates[intermediate]
        self.run = run_states(model, graph, self.questions.tokens, max_memory=max_memory)
        self.counts = torch.bincount(self.values, minlength=n_values)

    def has(self, *values: int) -> bool:
        """Whether there are enough units for the means of these values."""
        return all(self.counts[value] >= MIN_UNITS_FOR_MEAN for value in values)

    def of(self, layer: int, position: int, values: Int[Tensor, " query"]) -> Float[Tensor, "query d_model"]:
        """The mean state of each value at a cell."""
        return means_by_label(self.run.state(layer)[:, position], self.values, len(self.counts))[values]

    def overall(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """The mean state at a cell over the values that have one."""
        known = (self.counts >= MIN_UNITS_FOR_MEAN).nonzero()[:, 0]
        return self.of(layer, position, known).mean(0)


def means_by_label(
    states: Float[Tensor, "query d_model"], labels: Int[Tensor, " query"], n_labels: int
) -> Float[Tensor, "label d_model"]:
    """The mean state of each label; zero for a label without states."""
    labels = labels.to(states.device)
    sums = states.new_zeros(n_labels, states.shape[1]).index_add_(0, labels, states)
    return sums / torch.bincount(labels, minlength=n_labels).clamp(min=1)[:, None]
