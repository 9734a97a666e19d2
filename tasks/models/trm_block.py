"""A block of a token-mixing network as plain functions, in the layout and with the backward pass that training is fast in.

States are [pos, batch, d_model]: then both MLPs are products of two matrices. Autograd would keep more than is needed and go
through memory more often; the gradients here are written out, and tests compare them with autograd's. Weights and states may
have a first dimension more, of runs that are trained together.
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

    W_gate: Float[Tensor, "*run in_ hidden"]
    W_in: Float[Tensor, "*run in_ hidden"]
    W_out: Float[Tensor, "*run hidden in_"]


class TRMBlock(NamedTuple):
    """A block's weights, and the dimension of states [..., pos, batch, d_model] that the norm after mixing is over."""

    mixer: Gated
    mlp: Gated
    norm_over: int

    def __call__(self, states: Float[Tensor, "*run pos batch d_model"]) -> Float[Tensor, "*run pos batch d_model"]:
        """The block's output."""
        mixed = _GatedMixer.apply(states.flatten(-2), *self.mixer).view_as(states)
        middle = normed(states + mixed, self.norm_over)
        changed = _GatedMLP.apply(middle.flatten(-3, -2), *self.mlp).view_as(states)
        return normed(middle + changed, -1)


def normed(states: Float[Tensor, "*sizes"], dim: int) -> Float[Tensor, "*sizes"]:
    """States with a root mean square of 1 along a dimension."""
    return _Norm.apply(states, dim)  # pyright: ignore[reportReturnType] # torch types `apply` as returning anything or None


class _GatedMixer(torch.autograd.Function):
    """A gated MLP of columns x [pos, column]; gate and value are two halves of one product, which is faster here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_gate: Tensor, W_in: Tensor, W_out: Tensor) -> Tensor:
        W_both = torch.cat([W_gate, W_in], -1)
        both = W_both.mT @ x
        gate, value = both.chunk(2, -2)
        opened = silu(gate)
        hidden = opened * value
        ctx.save_for_backward(x, W_both, W_out, both, opened, hidden)
        return W_out.mT @ hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (x, W_both, W_out, both, opened, hidden), (slope,) = ctx.saved_tensors, grads
        to_both = torch.empty_like(both)
        (gate, value), (to_gate, to_value) = both.chunk(2, -2), to_both.chunk(2, -2)
        to_hidden = W_out @ slope
        torch.mul(to_hidden, opened, out=to_value)
        torch.ops.aten.silu_backward.grad_input(to_hidden.mul_(value), gate, grad_input=to_gate)
        to_gates, to_values = (x @ to_both.mT).chunk(2, -1)
        return W_both @ to_both, to_gates, to_values, hidden @ slope.mT


class _GatedMLP(torch.autograd.Function):
    """A gated MLP of rows x [row, d_model]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_gate: Tensor, W_in: Tensor, W_out: Tensor) -> Tensor:
        gate, value = x @ W_gate, x @ W_in
        opened = silu(gate)
        hidden = opened * value
        ctx.save_for_backward(x, W_gate, W_in, W_out, gate, value, opened, hidden)
        return hidden @ W_out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, W_gate, W_in, W_out, gate, value, opened, hidden = ctx.saved_tensors
        (slope,) = grads
        to_hidden = slope @ W_out.mT
        to_value = to_hidden * opened
        to_gate = torch.ops.aten.silu_backward(to_hidden.mul_(value), gate)
        add_product = torch.Tensor.baddbmm_ if x.ndim == 3 else torch.Tensor.addmm_
        to_x = add_product(to_gate @ W_gate.mT, to_value, W_in.mT)
        return to_x, x.mT @ to_gate, x.mT @ to_value, hidden.mT @ slope


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
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (result, inverse), (slope,) = ctx.saved_tensors, grads
        along = (slope * result).mean(ctx.dim, keepdim=True)
        return torch.addcmul(slope, result, along, value=-1).mul_(inverse), None
