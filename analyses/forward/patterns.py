"""Attention patterns of a cached run: read, replaced, integrated over, and what they move straight to the answer."""

import einops
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..statistics import double
from .cached import CachedRun, after_layer, finish
from .differentiable import differentiable, gradients_on, remembered
from .head import final_direction
from .layer import attention_output, attention_weights, by_head, summed
from .lines import Integral, Places, Visit, integrate, rounding_of
from .places import Objective

Pattern = Float[Tensor, "query head pos key"]
Patterns = Float[Tensor, "copy query head pos key"]


def pattern_of(run: CachedRun, layer: int) -> Pattern:
    """A layer's attention weights, at the positions that can affect the answer."""
    return attention_weights(run.decoder.layers[layer].attention, run.layers[layer].scores)[:, :, : run.stop, : run.stop]


def run_with_pattern(run: CachedRun, layer: int, pattern: Patterns) -> Float[Tensor, "copy query d_vocab"]:
    """The logits of copies of a run in which a layer's attention patterns are given."""
    block, cache = run.decoder.layers[layer], run.layers[layer]
    rows = run.needed_after(layer, slice(0, run.stop))
    z = (pattern[:, :, :, rows] @ by_head(block.attention, cache.v[:, : run.stop]).transpose(1, 2)).transpose(2, 3)
    before = cache.before[:, rows].expand(len(pattern), -1, -1, -1)
    return finish(run, layer + 1, after_layer(run.decoder, block, before, before + attention_output(block, z)), 0)


def integrated_pattern(
    run: CachedRun, layer: int, pattern: Pattern, objective: Objective, *, steps: int, tolerance: float
) -> tuple[Pattern, Integral]:
    """The pattern times the objective's mean gradient by it, on the line from no attention to the pattern.

    Without attention the output's bias is left: what a model holds there in place of biases of values has no share.

    Args:
        run: the cached run.
        layer: whose pattern it is.
        pattern: see `pattern_of`.
        objective: differentiable; logits [copy, query, d_vocab] at the answer position to one number for each of them.
        steps: see `integrate`.
        tolerance: see `integrate`.
    """
    with gradients_on():
        run, pattern = differentiable(run), remembered(pattern)

    def visit(points: Places, weights: Places) -> Visit:
        places, shares = (torch.from_numpy(each).to(pattern)[:, :, None, None, None] for each in (points, weights))
        with gradients_on():
            scaled = (places * pattern.detach()).requires_grad_()
            values = objective(run_with_pattern(run, layer, scaled))
            (slopes,) = torch.autograd.grad(values.sum(), scaled)
        gradient = (shares * slopes).sum(0)
        attributed = double(pattern * gradient).sum((1, 2, 3))
        return Visit(values.detach().cpu().numpy(), {layer: gradient}, attributed.cpu().numpy())

    nothing = run_with_pattern(run, layer, torch.zeros_like(pattern)[None])[0]
    start, end = (objective(logits).detach().cpu().numpy() for logits in (nothing, run.logits))
    rounding = np.maximum(rounding_of(objective, nothing), rounding_of(objective, run.logits))
    integral = integrate(visit, start, end, rounding=rounding, steps=steps, tolerance=tolerance)
    return pattern * integral.gradients[layer], integral


def direct_contributions(
    run: CachedRun, layer: int, pattern: Pattern, answers: Int[Tensor, " query"], foils: Int[Tensor, " query"]
) -> Pattern:
    """What each head moves from each key position straight to logit(answer) − logit(foil), final norm frozen, in nats.

    Before the soft cap of the logits, if the model has one: a share of a sum is no share of what is bent afterwards. Biases
    of values are moved with the values; in a model that holds them in the output's bias, they belong to no entry.
    """
    block, cache = run.decoder.layers[layer], run.layers[layer]
    direction = final_direction(run.decoder, run.layers[-1].after[:, run.answer], answers, foils)
    if block.norm_after is not None:
        direction = block.norm_after.direction(direction, summed(block, cache.z[:, run.answer]))
    by_key = einops.einsum(
        by_head(block.attention, cache.v[:, : run.stop]),
        block.attention.W_O,
        direction,
        "query key head d_head, head d_head d_model, query d_model -> query head key",
    )
    direct = torch.zeros_like(pattern)
    direct[:, :, run.answer] = pattern[:, :, run.answer] * by_key
    return direct
