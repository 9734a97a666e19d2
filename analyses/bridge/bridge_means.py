"""Mean states by bridge entity: the directions that interventions on the bridge use."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph
from ...tasks import Queries, TwoHopTask
from ..forward.cached import run_and_cache

MIN_FACTS = 2  # hop-1 facts behind a bridge's mean state


class BridgeMeans:
    """Mean states of trained ID questions by bridge, none of them about the facts that are asked about.

    Attributes:
        questions: one for each other ID fact.
        run: the model on them.
        counts: how many there are for each bridge.
    """

    def __init__(
        self, model: HookedTransformer, graph: ComputationGraph, task: TwoHopTask, without: Queries, *, seed: int
    ) -> None:
        n_entities = task.graph.n_entities
        if strange := sorted({int(b) for b in without.bridges if not 0 <= b < n_entities}):
            raise ValueError(f"bridges are entities, 0 to {n_entities - 1}; {without.split} has {strange[:4]}")
        asked = frozenset(without.unit.tolist())
        self.questions = task.reference(seed=seed, without=asked)
        self.run = run_and_cache(model, graph, self.questions.tokens)
        self.counts = torch.bincount(self.questions.bridges, minlength=n_entities)

    def has(self, *bridges: int) -> bool:
        """Whether there are enough facts for the means of these bridges."""
        return all(self.counts[bridge] >= MIN_FACTS for bridge in bridges)

    def of(self, layer: int, position: int, bridges: Int[Tensor, " query"]) -> Float[Tensor, "query d_model"]:
        """The mean state of each bridge at a cell."""
        return means_by_label(self.run.state(layer)[:, position], self.questions.bridges, len(self.counts))[bridges]

    def overall(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """The mean state at a cell over the bridges that have one."""
        known = (self.counts >= MIN_FACTS).nonzero()[:, 0]
        return self.of(layer, position, known).mean(0)


def means_by_label(
    states: Float[Tensor, "query d_model"], labels: Int[Tensor, " query"], n_labels: int
) -> Float[Tensor, "label d_model"]:
    """The mean state of each label; zero for a label without states."""
    labels = labels.to(states.device)
    sums = states.new_zeros(n_labels, states.shape[1]).index_add_(0, labels, states)
    return sums / torch.bincount(labels, minlength=n_labels).clamp(min=1)[:, None]
