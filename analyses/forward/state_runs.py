"""Plain runs of any model here whose states can be replaced: what analyses of states ask of a model.

Which engine made a run is no matter of theirs. A cell is a layer and a position, its state what is there after that layer:
the residual stream of a transformer, what an application of a block puts out in a token-mixing network (see `trm_states`).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks.models.trm import TRM
from ...tasks.transformerlens import Model
from .cached import CachedRun, States, cached_with, run_and_cache
from .memory import batches_of
from .replay import ReplayRun, replay_run
from .trm_states import replayed_with

StateRun = CachedRun | ReplayRun
"""What `run_model` gives: graph, logits, `state(layer)` and `part(rows)`."""


def run_model(model: Model, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> StateRun:
    """Run prompts once and keep all states.

    Raises:
        TypeError: if no states of a model of this class are known.
        ValueError: as `run_and_cache`.
    """
    return replay_run(model, graph, tokens) if isinstance(model, TRM) else run_and_cache(model, graph, tokens)


def stop_of(run: StateRun) -> int:
    """One past the last position that can affect the answer; in a network that mixes all positions that is any."""
    return run.stop if isinstance(run, CachedRun) else len(run.graph.roles)


@torch.no_grad()
def with_states(run: StateRun, layer: int, states: States, *further: States) -> Float[Tensor, "copy query d_vocab"]:
    """The logits with the states replaced at some positions after a layer (−1: the embedding).

    Args:
        run: of `run_model`.
        layer: after which `states` are put in.
        states: by position.
        further: what is put in after each of the next layers; layers that the model does not have are ignored.
    """
    n_copies, (n, n_positions, _) = len(next(iter(states.values()))), run.embedding.shape
    model = run.decoder.source if isinstance(run, CachedRun) else run.recursion.source
    batches = batches_of(model, n, n_positions, n_runs=0, n_copies=n_copies)
    if len(batches) <= 1:
        return _with_states(run, layer, states, *further)
    parts = []
    for rows in (slice(int(each[0]), int(each[-1]) + 1) for each in batches):
        of_rows = ({position: state[:, rows] for position, state in each.items()} for each in (states, *further))
        parts.append(_with_states(run.part(rows), layer, *of_rows))
    return torch.cat(parts, 1)


def _with_states(run: StateRun, layer: int, *replaced: States) -> Float[Tensor, "copy query d_vocab"]:
    return cached_with(run, layer, replaced) if isinstance(run, CachedRun) else replayed_with(run, layer, replaced)
