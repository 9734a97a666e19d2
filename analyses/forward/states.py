"""The residual stream of many prompts, run some at a time; of what a run caches, only this and the logits are kept.

It takes (layers + 1) × positions × d_model numbers for each prompt, a sixth or less of a `CachedRun`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph
from .cached import CachedRun, run_and_cache
from .memory import batches_of


@dataclass(frozen=True, eq=False)
class StatesRun:
    """The residual stream at the end of every layer, after the embedding first; logits at the answer position."""

    model: HookedTransformer
    graph: ComputationGraph
    states: Sequence[Float[Tensor, "query pos d_model"]]
    logits: Float[Tensor, "query d_vocab"]
    stop: int

    def state(self, layer: int) -> Float[Tensor, "query pos d_model"]:
        """The residual stream after a layer; −1 is the embedding."""
        return self.states[layer + 1]


AnyStates = StatesRun | CachedRun
"""What can be asked for a state."""


@torch.no_grad()
def run_states(model: HookedTransformer, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> StatesRun:
    """Run prompts, as many at a time as a quarter of the free memory allows.

    Raises:
        ValueError: as `run_and_cache`.
        MemoryError: if that is not a single one.
    """
    layers, parts, logits, stop = range(-1, graph.n_layers), [], [], 0
    for rows in batches_of(model, *tokens.shape, n_copies=0) or [torch.arange(0, device="cpu")]:
        run = run_and_cache(model, graph, tokens[rows])
        parts.append([run.state(layer) for layer in layers])
        logits.append(run.logits)
        stop = run.stop
    return StatesRun(model, graph, [torch.cat(part) for part in zip(*parts, strict=True)], torch.cat(logits), stop)
