"""Gradients of an objective with respect to what every input reads, before its norm, and to what heads gather.

Those of all heads of a layer are as many as its inputs times the residual stream, so they are taken through the norm when
they are asked for, one layer at a time; what is kept are the gradients of queries, keys and values.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from .cached import CachedRun
from .decoder import Layer
from .differentiable import differentiable, gradients_on, remembered
from .layer import attention_output, attention_scores, gathered, linear, mlp_output, normalised, turned, weights_of
from .places import Gathered, Gradients, Objective, Sublayer


class Slopes(NamedTuple):
    """Gradients of one objective.

    Attributes:
        inputs: by what every input reads.
        gathered: by what every head gathers.
    """

    inputs: Gradients
    gathered: Gathered


def slopes(base: CachedRun, objective: Objective, *, dropped: int | None = None) -> Slopes:
    """The gradients of an objective, summed over queries, by what inputs read and by what heads gather.

    Args:
        base: gives the model and the prompts' embedding.
        objective: differentiable; logits at the answer position to one number for each query.
        dropped: a layer; what its attention and its MLP write counts as constant.
    """
    found = _gradients(base, objective, {}, dropped)
    return Slopes(found, found.gathered)


def input_gradients(
    base: CachedRun,
    objective: Objective,
    added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]] | None = None,
) -> Gradients:
    """The gradient of an objective, summed over queries, with respect to what every input reads.

    The objective is computed at once; what it is differentiated by, when the first gradient is asked for.

    Args:
        base: gives the model and the prompts' embedding.
        objective: differentiable; logits at the answer position to one number for each query.
        added: by sublayer, what is added to its output.
    """
    return _gradients(base, objective, added or {}, None)


def _gradients(
    base: CachedRun,
    objective: Objective,
    added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]],
    dropped: int | None,
) -> "_InputGradients":
    """See `input_gradients` and `slopes`."""
    reads, writes, heads = {}, {}, {}
    with gradients_on():
        base, added = differentiable(base), {at: remembered(change) for at, change in added.items()}
        residual = (base.embedding + added.get(("embed", -1), 0.0)).requires_grad_()
        for layer, block in enumerate(base.decoder.layers):
            at = "head", layer
            reads[at], writes[at] = residual, [linear(block, name, normalised(block, residual)) for name in "qkv"]
            q, k, v = (turned(block, name, values, 0, base.mask) for name, values in zip("qkv", writes[at], strict=True))
            heads[layer] = gathered(block, attention_scores(block, q, k, 0, base.mask), v)
            written = attention_output(block, heads[layer])
            before, residual = residual, residual + _as(written, layer, dropped) + added.get(at, 0.0)
            if base.graph.has_mlp:
                at = "mlp", layer
                reads[at] = (
                    before if base.decoder.parallel else residual
                ) + 0.0  # a new tensor, so that its gradient leaves out what bypasses the MLP
                residual = residual + _as(mlp_output(block, reads[at]), layer, dropped) + added.get(at, 0.0)
        last = "logits", base.graph.n_layers
        reads[last] = residual
        logits = base.decoder.decode(residual[:, base.answer])
        total = objective(logits).sum()
    return _InputGradients(base.decoder.layers, total, reads, writes, heads)


def _as(written: Tensor, layer: int, dropped: int | None) -> Tensor:
    """What a layer writes, as a constant if it is dropped."""
    return written.detach() if layer == dropped else written


class _InputGradients(Mapping[Sublayer, Float[Tensor, "query pos input d_model"]]):
    """Gradients of a number that is computed already, from what sublayers read and what heads make of it."""

    def __init__(
        self,
        layers: Sequence[Layer],
        total: Tensor,
        reads: dict[Sublayer, Tensor],
        writes: dict[Sublayer, list[Tensor]],
        heads: dict[int, Tensor],
    ) -> None:
        self._layers, self._reads, self._writes, self._total = layers, reads, writes, total
        self._heads = heads

    def __getitem__(self, at: Sublayer) -> Float[Tensor, "query pos input d_model"]:
        found = self._found[at]
        return found[0][:, :, None] if at[0] != "head" else _through_norm(self._layers[at[1]], self._reads[at], found)

    def __iter__(self) -> Iterator[Sublayer]:
        return iter(self._reads)

    def __len__(self) -> int:
        return len(self._reads)

    @property
    def gathered(self) -> Gathered:
        """The gradients by what heads gather."""
        return {layer: self._found["gathered", layer][0] for layer in range(len(self._layers))}

    @cached_property
    def _found(self) -> dict[Sublayer, list[Tensor]]:
        """By heads' queries, keys and values, by what other sublayers read, and by what heads gather; 0 if it is dropped."""
        wanted = {at: self._writes.get(at, [self._reads[at]]) for at in self._reads}
        wanted |= {("gathered", layer): [gathers] for layer, gathers in self._heads.items()}
        with gradients_on():
            flat = [each for some in wanted.values() for each in some]
            found = iter(torch.autograd.grad(self._total, flat, materialize_grads=True))
        self._reads = {at: reads.detach() for at, reads in self._reads.items()}
        del self._total, self._writes, self._heads  # and with them all that the backward pass needed
        return {at: [next(found) for _ in some] for at, some in wanted.items()}


def _through_norm(
    layer: Layer,
    reads: Float[Tensor, "query pos d_model"],
    by_input: list[Float[Tensor, "query pos _ _"]],
) -> Float[Tensor, "query pos input d_model"]:
    """From gradients of each head's queries, keys and values to those of what each of them reads before the norm."""
    parts = []
    for name, gradient in zip("qkv", by_input, strict=True):
        back = "query pos head d_head, head d_model d_head -> query pos head d_model"
        normed = einops.einsum(gradient, weights_of(layer, name)[0].detach(), back)
        with gradients_on():
            apart = reads[:, :, None].expand_as(normed).requires_grad_()
            parts += torch.autograd.grad(normalised(layer, apart), apart, normed)
    return torch.cat(parts, 2)
