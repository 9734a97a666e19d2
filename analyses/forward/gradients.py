"""Gradients of an objective with respect to what every input reads, before its norm."""

from collections.abc import Mapping

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from .cached import CachedRun
from .decoder import Layer
from .differentiable import differentiable, gradients_on, remembered
from .layer import attention_output, attention_scores, gathered, linear, mlp_output, normalised, turned, weights_of
from .places import Gradients, Objective, Sublayer


def input_gradients(
    base: CachedRun,
    objective: Objective,
    added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]] | None = None,
) -> Gradients:
    """The gradient of an objective, summed over queries, with respect to what every input reads.

    Args:
        base: gives the model and the prompts' embedding.
        objective: differentiable; logits at the answer position to one number for each query.
        added: by sublayer, what is added to its output.
    """
    reads, writes = {}, {}
    with gradients_on():
        base, added = differentiable(base), {at: remembered(change) for at, change in (added or {}).items()}
        residual = (base.embedding + added.get(("embed", -1), 0.0)).requires_grad_()
        for layer, block in enumerate(base.decoder.layers):
            at = "head", layer
            reads[at], writes[at] = residual, [linear(block, name, normalised(block, residual)) for name in "qkv"]
            q, k, v = (turned(block, name, values, 0, base.mask) for name, values in zip("qkv", writes[at], strict=True))
            z = gathered(block, attention_scores(block, q, k, 0, base.mask), v)
            before, residual = residual, residual + attention_output(block, z) + added.get(at, 0.0)
            if base.graph.has_mlp:
                at = "mlp", layer
                reads[at] = (
                    before if base.decoder.parallel else residual
                ) + 0.0  # a new tensor, so that its gradient leaves out what bypasses the MLP
                residual = residual + mlp_output(block, reads[at]) + added.get(at, 0.0)
        last = "logits", base.graph.n_layers
        reads[last] = residual
        logits = base.decoder.decode(residual[:, base.answer])
        total = objective(logits).sum()
        wanted = [value for values in writes.values() for value in values]
        wanted += [reads[at] for at in reads if at[0] != "head"]
        found = iter(torch.autograd.grad(total, wanted))
    gradients = {at: _through_norm(base.decoder.layers[at[1]], reads[at], [next(found) for _ in "qkv"]) for at in writes}
    return gradients | {at: next(found)[:, :, None] for at in reads if at[0] != "head"}


def _through_norm(
    layer: Layer,
    reads: Float[Tensor, "query pos d_model"],
    by_input: list[Float[Tensor, "query pos _ _"]],
) -> Float[Tensor, "query pos input d_model"]:
    """From gradients of each head's queries, keys and values to those of what each of them reads before the norm."""
    weights = [weights_of(layer, name)[0] for name in "qkv"]
    back = "query pos head d_head, head d_model d_head -> query pos head d_model"
    normed = torch.cat([einops.einsum(*each, back) for each in zip(by_input, weights, strict=True)], 2)
    with gradients_on():
        apart = reads.detach()[:, :, None].expand_as(normed).requires_grad_()
        return torch.autograd.grad(normalised(layer, apart), apart, normed)[0]
