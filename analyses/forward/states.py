"""The residual stream of many prompts, run some at a time; of what a run holds, only this and the logits are kept.

It takes (layers + 1) × positions × d_model numbers for each prompt, a sixth or less of a `CachedRun`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks.transformerlens import Model
from .memory import Sizes, batches_of
from .state_runs import run_model, stop_of


@dataclass(frozen=True, eq=False)
class StatesRun:
    """The residual stream at the end of every layer, after the embedding first; logits at the answer position."""

    graph: ComputationGraph
    states: Sequence[Float[Tensor, "query pos d_model"]]
    logits: Float[Tensor, "query d_vocab"]
    stop: int

    @property
    def n_bytes(self) -> int:
        """What it takes."""
        return sum(each.nbytes for each in (*self.states, self.logits))

    def state(self, layer: int) -> Float[Tensor, "query pos d_model"]:
        """The residual stream after a layer; −1 is the embedding."""
        return self.states[layer + 1]


@torch.no_grad()
def run_states(
    model: Model, graph: ComputationGraph, tokens: Int[Tensor, "query pos"], *, max_memory: int | None = None
) -> StatesRun:
    """Run prompts, as many at a time as memory allows next to what is kept of all of them.

    Raises:
        ValueError: as `run_model`.
        MemoryError: if that is not a single one.
    """
    (n, n_positions), n_layers = tokens.shape, graph.n_layers
    kept = n * states_bytes(model, n_positions)
    states, logits, stop = [], None, 0
    for rows in batches_of(model, n, n_positions, max_memory, n_copies=0, results=kept) or [torch.arange(0, device="cpu")]:
        run = run_model(model, graph, tokens[rows])
        if logits is None:
            logits, stop = run.logits.new_empty(n, run.logits.shape[-1]), stop_of(run)
            states = [run.embedding.new_empty(n, *run.embedding.shape[1:]) for _ in range(n_layers + 1)]
        for layer in range(-1, n_layers):
            states[layer + 1][rows] = run.state(layer)
        logits[rows] = run.logits
    assert logits is not None  # at least one part is run, if only to know the shapes
    return StatesRun(graph, states, logits, stop)


def states_bytes(model: Model, n_positions: int) -> int:
    """What is kept of each prompt."""
    sizes = Sizes.of(model, n_positions)
    return (sizes.n_layers + 1) * sizes.residual + sizes.logits
