"""One forward pass of a model on copies of some prompts, with activations changed and noted on the way."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...tasks.questions.padding import aligned
from ...tasks.transformerlens import Model
from .decoder import Mask, device_of

Edit = Callable[[Float[Tensor, "copy query pos *rest"]], object]
"""Changes an activation of all copies in place."""
Edits = Mapping[str, Sequence[Edit]]
"""By hook point."""
Noted = dict[str, Float[Tensor, "copy query pos *rest"]]
"""By hook point, what it held, changes included."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts as the model is asked them, see `aligned`."""

    tokens: Int[Tensor, "query pos"]
    mask: Mask | None

    @classmethod
    def of(cls, model: Model, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> "Prompts":
        """Moved and masked."""
        found = aligned(model, tokens.to(device_of(model)), graph.roles.index(graph.answer_role))
        return cls(found.tokens, found.mask)


class _Enough(Exception):
    """All is noted that was asked for."""


def logits_of(model: Model, prompts: Prompts, edits: Edits, *, n: int = 1) -> Float[Tensor, "copy query pos d_vocab"]:
    """The logits of n copies of prompts."""
    return _pass(model, prompts, n, _hooks(edits, (), n, {}, stops=False)).unflatten(0, (n, -1))


def noted_on(model: Model, prompts: Prompts, edits: Edits, points: Collection[str], *, n: int = 1) -> Noted:
    """What some hook points hold in n copies of prompts; the pass ends with the last of them."""
    noted: Noted = {}
    with contextlib.suppress(_Enough):
        _pass(model, prompts, n, _hooks(edits, points, n, noted, stops=True))
    return noted


def logits_and_noted(
    model: Model, prompts: Prompts, edits: Edits, points: Collection[str]
) -> tuple[Float[Tensor, "query pos d_vocab"], Noted]:
    """Both, of one copy."""
    noted: Noted = {}
    return _pass(model, prompts, 1, _hooks(edits, points, 1, noted, stops=False)), noted


def _hooks(
    edits: Edits, points: Collection[str], n: int, noted: Noted, *, stops: bool
) -> list[tuple[str, Callable[..., Tensor | None]]]:
    def at(point: str) -> Callable[..., Tensor | None]:
        def hook(activation: Tensor, hook: object) -> Tensor:
            values = activation.clone(memory_format=torch.contiguous_format).unflatten(0, (n, -1))
            for edit in edits.get(point, ()):
                edit(values)
            if point in points:
                noted[point] = values
                if stops and len(noted) == len(points):
                    raise _Enough
            return values.flatten(0, 1)

        return hook

    return [(point, at(point)) for point in dict.fromkeys((*edits, *points))]


def _pass(model: Model, prompts: Prompts, n: int, hooks: list) -> Float[Tensor, "row pos d_vocab"]:
    options = {} if prompts.mask is None else {"attention_mask": prompts.mask.repeat(n, 1)}
    with model.hooks(fwd_hooks=hooks):
        return model(prompts.tokens.repeat(n, 1), **options)


def slots(values: Float[Tensor, "copy query pos *rest"], n: int) -> Float[Tensor, "copy query pos slot _"]:
    """Queries, keys, values or what heads gather, by head or by what heads share; a view of what is contiguous."""
    return values.flatten(3).unflatten(3, (n, -1))
