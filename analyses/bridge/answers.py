"""What a model answers, as it is and with changed states, to as many questions at a time as memory allows."""

from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.progress import bar
from ...tasks import Queries, top_token
from ...tasks.transformerlens import Model
from ..forward.head import decode
from ..forward.memory import Sizes, batches_of, budget, how_many
from ..forward.state_runs import StateRun, run_model

Place = TypeVar("Place", bound=Hashable)
Rows = Int[Tensor, " row"]
Copies = Float[Tensor, "copy row d_vocab"]
Changed = Callable[[StateRun, Rows], Iterator[tuple[Place, Copies]]]
"""A run of some of the questions and their numbers to the logits of its changed copies, a set of them for each place."""
N_VECTORS = 4  # of all questions, in double precision, that are held while a cell is changed


@torch.no_grad()
def answers_of(
    model: Model, graph: ComputationGraph, queries: Queries, *, max_memory: int | None = None
) -> Int[Tensor, " query"]:
    """What the model answers."""
    parts = [torch.zeros(0, dtype=torch.long, device="cpu")]
    for rows in batches_of(model, *queries.tokens.shape, max_memory=max_memory, n_copies=0):
        parts.append(top_token(run_model(model, graph, queries.tokens[rows]).logits).cpu())
    return torch.cat(parts)


@torch.no_grad()
def answers_with(
    model: Model,
    graph: ComputationGraph,
    queries: Queries,
    changed: Changed[Place],
    *,
    n_places: int,
    n_copies: int,
    n_runs: int = 1,
    kept: int = 0,
    max_memory: int | None = None,
    what: str,
    progress: bool = True,
) -> dict[Place, Int[Tensor, "copy query"]]:
    """What it answers with changed states, by place.

    What is drawn at random must be drawn for all questions, in each part anew, so that parts change no answer.

    Args:
        model: left unmodified.
        graph: its computation graph.
        queries: that are asked.
        changed: see `Changed`.
        n_places: that it gives, for the bar.
        n_copies: that it gives for each.
        n_runs: plain runs of a part that are held at once, those it makes included.
        kept: bytes that are held all the while.
        max_memory: bytes that may be used; by default a quarter of what is free.
        what: stands next to the bar.
        progress: whether it may be shown.

    Raises:
        MemoryError: if not a single question fits.
    """
    vectors = N_VECTORS * 8 * len(queries) * model.cfg.d_model
    options = {"n_runs": n_runs, "n_copies": n_copies, "results": kept + vectors}
    found: dict[Place, list[Tensor]] = {}
    with bar(n_places * len(queries), what, show=progress) as shown:
        for rows in batches_of(model, *queries.tokens.shape, max_memory=max_memory, **options):
            for place, logits in changed(run_model(model, graph, queries.tokens[rows]), rows):
                found.setdefault(place, []).append(top_token(logits).cpu())
                shown.update(len(rows))
    return {place: torch.cat(parts, 1) for place, parts in found.items()}


def said(model: Model, states: Float[Tensor, "query d_model"], *, max_memory: int | None = None) -> Int[Tensor, " query"]:
    """The token that the model's head makes of each state, see `top_token`."""
    each = Sizes.of(model, 1).decoded
    n_at_once = how_many(max(1, len(states)), each, budget(max_memory, model), "the logits of one state")
    return torch.cat([top_token(decode(model, part)).cpu() for part in states.split(n_at_once)])
