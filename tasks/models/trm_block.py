"""A block of a token-mixing network as plain functions, in the layout and with the backward pass that training is fast in.

States are [pos, batch, d_model]: then both MLPs are products of two matrices. Autograd would keep more than is needed and go
through memory more often; the gradients here are written out, and tests compare them with autograd's.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

EPS = 1e-5


class Gated(NamedTuple):
    """The weights of a gated MLP: silu(x W_gate) * (x W_in), times W_out."""

    W_gate: Float[Tensor, "in_ hidden"]
    W_in: Float[Tensor, "in_ hidden"]
    W_out: Float[Tensor, "hidden in_"]


class TRMBlock(NamedTuple):
    """A block's weights, and the dimension of states [pos, batch, d_model] that the norm after mixing positions is over."""

    mixer: Gated
    mlp: Gated
    norm_over: int

    def __call__(self, states: Float[Tensor, "pos batch d_model"]) -> Float[Tensor, "pos batch d_model"]:
        """The block's output."""
        mixed = _GatedMLP.apply(states.flatten(1), *self.mixer, True).view_as(states)
        middle = normed(states + mixed, self.norm_over)
        changed = _GatedMLP.apply(middle.flatten(0, 1), *self.mlp, False).view_as(states)
        return normed(middle + changed, -1)


def normed(states: Float[Tensor, "*sizes"], dim: int) -> Float[Tensor, "*sizes"]:
    """States with a root mean square of 1 along a dimension."""
    return _Norm.apply(states, dim)  # pyright: ignore[reportReturnType] # torch types `apply` as returning anything or None


class _GatedMLP(torch.autograd.Function):
    """A gated MLP over rows x [row, in_] or, as `by_column`, over columns x [in_, column]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_gate: Tensor, W_in: Tensor, W_out: Tensor, by_column: bool) -> Tensor:
        gate, value = _times(x, W_gate, by_column), _times(x, W_in, by_column)
        opened = silu(gate)
        hidden = opened * value
        ctx.save_for_backward(x, W_gate, W_in, W_out, gate, value, opened, hidden)
        ctx.by_column = by_column
        return _times(hidden, W_out, by_column)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, W_gate, W_in, W_out, gate, value, opened, hidden = ctx.saved_tensors
        (slope,), by_column = grads, ctx.by_column
        to_hidden = _back(slope, W_out, by_column)
        to_value = to_hidden * opened
        to_gate = torch.ops.aten.silu_backward(to_hidden.mul_(value), gate)
        to_x = _back(to_gate, W_gate, by_column).add_(_back(to_value, W_in, by_column))
        weights = ((x, to_gate), (x, to_value), (hidden, slope))
        return to_x, *(_by_weight(*each, by_column) for each in weights), None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, dim: int) -> Tensor:
        precise = states.to(torch.promote_types(states.dtype, torch.float32))
        inverse = torch.rsqrt(precise.square().mean(dim, keepdim=True).add_(EPS)).to(states.dtype)
        result = states * inverse
        ctx.save_for_backward(result, inverse)
        ctx.dim = dim
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (result, inverse), (slope,) = ctx.saved_tensors, grads
        along = (slope * result).mean(ctx.dim, keepdim=True)
        return torch.addcmul(slope, result, along, value=-1).mul_(inverse), None


def _times(x: Tensor, weight: Tensor, by_column: bool) -> Tensor:
    return weight.T @ x if by_column else x @ weight


def _back(slope: Tensor, weight: Tensor, by_column: bool) -> Tensor:
    """The gradient by what a product was taken of."""
    return weight @ slope if by_column else slope @ weight.T


def _by_weight(x: Tensor, slope: Tensor, by_column: bool) -> Tensor:
    return x @ slope.T if by_column else x.T @ slope
