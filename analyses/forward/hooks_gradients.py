"""Gradients by what every input reads, of a hooked run: first by what it makes of that, then back through this alone."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from .differentiable import gradients_on, remembered, remembered_model
from .hooked_pass import Edit, Noted, Prompts, logits_and_noted, slots
from .hooks_changes import Passes
from .hooks_run import HooksRun
from .places import Gradients, Objective, Sublayer


def input_gradients(
    passes: Passes,
    base: HooksRun,
    objective: Objective,
    added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]],
) -> Gradients:
    """The gradient of an objective, summed over queries, by what every input reads, see `Engine`."""
    graph, points = passes.graph, passes.points
    with gradients_on():
        passes = replace(passes, model=remembered_model(passes.model))
        start = torch.zeros_like(base.before[0], requires_grad=True)
        edits: dict[str, list[Edit]] = {points.layers[0].before: [_adding(start)]}
        for at, change in added.items():
            edits.setdefault(_written_at(passes, at), []).append(_adding(remembered(change)))
        reads = [name for each in points.layers for name in (each.before, each.attention)]
        makes = [name for each in points.layers for name in (each.q, each.k, each.v, each.mlp) if name]
        last = points.layers[-1].after
        mask = base.prompts.mask
        prompts = Prompts(remembered(base.prompts.tokens), mask if mask is None else remembered(mask))
        logits, noted = logits_and_noted(passes.model, prompts, edits, [*reads, *makes, last])
        total = objective(logits[:, passes.answer]).sum()
        outputs = [noted[name] for name in (*makes, last)]
        slopes = torch.autograd.grad(total, outputs, retain_graph=True, allow_unused=True)
        by_name = dict(zip((*makes, last), slopes, strict=True))
        found: dict[Sublayer, Tensor] = {}
        for layer, at in enumerate(points.layers):
            found["head", layer] = torch.stack(
                [each for name in "qkv" for each in _by_slot(passes, noted, by_name, layer, name)], 2
            )
            if at.mlp:
                read = at.before if graph.parallel else at.attention  # which the MLP reads as a part of a sum
                found["mlp", layer] = _back(noted[at.mlp], noted[read], by_name[at.mlp])[:, :, None]
        found["logits", graph.n_layers] = _or_zeros(by_name[last], noted[last])[0][:, :, None]
    return found


def _by_slot(
    passes: Passes, noted: Noted, slopes: Mapping[str, Tensor | None], layer: int, name: str
) -> list[Float[Tensor, "query pos d_model"]]:
    """By each query, key or value, the gradient by what it reads."""
    at, n = passes.points.layers[layer], passes.points.n_slots(name)
    made, slope = noted[getattr(at, name)], slopes[getattr(at, name)]
    found = []
    for number in range(n):
        alone = None
        if slope is not None:
            alone = torch.zeros_like(made)
            slots(alone, n)[:, :, :, number] = slots(slope.contiguous(), n)[:, :, :, number]
        found.append(_back(made, noted[at.before], alone))
    return found


def _back(made: Tensor, read: Tensor, slope: Tensor | None) -> Float[Tensor, "query pos d_model"]:
    """The gradient by what is read, given that by what is made of it."""
    if slope is None:
        return torch.zeros_like(read)[0]
    (found,) = torch.autograd.grad(made, read, slope, retain_graph=True, allow_unused=True)
    return _or_zeros(found, read)[0]


def _or_zeros(gradient: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if gradient is None else gradient


def _written_at(passes: Passes, at: Sublayer) -> str:
    """Where what a sublayer adds to the residual stream can be changed."""
    kind, layer = at
    points = passes.points.layers[max(0, layer)]
    return {"embed": points.before, "head": points.attention, "mlp": points.mlp}[kind]


def _adding(values: Tensor) -> Edit:
    return lambda activation: activation[0].add_(values)
