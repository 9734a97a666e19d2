"""Where heads look, by hooks: every position's value says which position it is of, so that heads gather their weights.

Queries and keys are held as they are in the plain run. That what heads gather is a sum of values with these weights is
looked at on the run itself, so that nothing rests on what a hook point of patterns may be called, or hold.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits.arguments import refuse
from .hook_points import alike
from .hooked_pass import Edit, Noted, Prompts, noted_on, slots
from .hooks_changes import Passes

Weights = Float[Tensor, "query head pos key"]


@torch.no_grad()
def patterns_by_hooks(passes: Passes, prompts: Prompts) -> Sequence[Weights]:
    """By layer, what weight each head gives each position; a hidden pad, which sees nothing, looks nowhere.

    Raises:
        ValueError: naming the layers in which what heads gather is no sum of values with the weights found.
    """
    layers = passes.points.layers
    noted = noted_on(passes.model, prompts, {}, {name for at in layers for name in (at.q, at.k, at.v, at.z)})
    n_pos, width = prompts.tokens.shape[1], min(_values(passes, noted, layer).shape[-1] for layer in range(len(layers)))
    parts = [_gathered(passes, prompts, noted, range(at, min(at + width, n_pos))) for at in range(0, n_pos, width)]
    found = [torch.cat(each, -1).transpose(1, 2).nan_to_num(0.0) for each in zip(*parts, strict=True)]
    refuse(_not_sums(passes, noted, found))
    return found


def _gathered(
    passes: Passes, prompts: Prompts, noted: Noted, keys: range
) -> list[Float[Tensor, "query pos head some_keys"]]:
    """By layer, what weight each position gives some others."""
    edits: dict[str, list[Edit]] = {}
    for at in passes.points.layers:
        for point in (at.q, at.k):
            edits[point] = [lambda values, held=noted[point]: values.copy_(held)]
        edits[at.v] = [lambda values: _say_which(slots(values, passes.points.n_key_value_heads), keys)]
    names = [at.z for at in passes.points.layers]
    found = noted_on(passes.model, prompts, edits, names)
    return [slots(found[name], passes.points.n_heads)[0, ..., : len(keys)] for name in names]


def _say_which(values: Float[Tensor, "copy query pos slot d_head"], keys: range) -> None:
    """Values of some positions are directions of their own, others are 0."""
    values.zero_()
    for direction, position in enumerate(keys):
        values[:, :, position, :, direction] = 1.0


def _values(passes: Passes, noted: Noted, layer: int) -> Float[Tensor, "query pos head d_head"]:
    """The values that each head gathers."""
    points = passes.points
    values = slots(noted[points.layers[layer].v], points.n_key_value_heads)[0]
    return values.repeat_interleave(points.n_heads // points.n_key_value_heads, 2)


def _not_sums(passes: Passes, noted: Noted, found: Sequence[Weights]) -> list[str]:
    """Layers whose heads gather something else than the values weighted so."""
    problems = []
    for layer, weights in enumerate(found):
        at, values = passes.points.layers[layer], _values(passes, noted, layer).transpose(1, 2)
        gathered = slots(noted[at.z], passes.points.n_heads)[0].transpose(1, 2).nan_to_num(0.0)
        if not alike(weights @ values, gathered):
            problems.append(f"in layer {layer} what heads gather ({at.z}) is no weighted sum of {at.v}: no one can say")
    return [f"{each} where they look" for each in problems]
