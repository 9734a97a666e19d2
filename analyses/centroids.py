"""Mean states by bridge entity: the directions that interventions on the bridge use."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ..circuits import ComputationGraph
from ..tasks import TwoHopTask
from .partial_forward import run_and_cache

MIN_FACTS = 2  # hop-1 facts behind a bridge's mean state


class BridgeMeans:
    """Mean states of trained ID questions by bridge, none of them about the facts that are asked about."""

    def __init__(
        self, model: HookedTransformer, graph: ComputationGraph, task: TwoHopTask, without: set[int], seed: int
    ) -> None:
        queries = task.split("train_inferred")
        order = torch.randperm(len(queries), generator=torch.Generator().manual_seed(seed))
        first_of_fact: dict[int, int] = {}
        for row in order.tolist():  # one question for each fact: states repeat
            if (fact := int(queries.hop1[row])) not in without and not task.is_ood[fact]:
                first_of_fact.setdefault(fact, row)
        chosen = queries.take(torch.tensor(sorted(first_of_fact.values())))
        self.run, self.bridges = run_and_cache(model, graph, chosen.tokens), chosen.bridges
        self.counts = torch.bincount(self.bridges, minlength=task.graph.n_entities)

    def has(self, *bridges: int) -> bool:
        """Whether there are enough facts for the means of these bridges."""
        return all(self.counts[bridge] >= MIN_FACTS for bridge in bridges)

    def of(self, layer: int, position: int, bridges: Int[Tensor, " query"]) -> Float[Tensor, "query d_model"]:
        """The mean state of each bridge at a cell."""
        states = self.run.state(layer)[:, position]
        sums = states.new_zeros(len(self.counts), states.shape[1]).index_add_(0, self.bridges.to(states.device), states)
        return (sums / self.counts.to(states.device)[:, None].clamp(min=1))[bridges.to(states.device)]

    def overall(self, layer: int, position: int) -> Float[Tensor, " d_model"]:
        """The mean state at a cell over the bridges that have one."""
        known = (self.counts >= MIN_FACTS).nonzero()[:, 0]
        return self.of(layer, position, known).mean(0)


def random_like(change: Float[Tensor, "query d_model"], generator: torch.Generator) -> Float[Tensor, "query d_model"]:
    """A random direction for each change, as long as it."""
    random = torch.randn(change.shape, generator=generator, dtype=torch.float64).to(change)
    return random / random.norm(dim=-1, keepdim=True) * change.norm(dim=-1, keepdim=True)
