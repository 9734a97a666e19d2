"""What each head by itself adds to the residual stream, of what it gathers: its output matrix, and a norm if one follows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import einops
import torch
from jaxtyping import Float
from torch import Tensor

NORMS = ("ln1_post", "ln1")
"""Where a block has the norm of what attention writes, if it has one."""
SHARE = 64  # by how many roundings of the largest number what heads add up to may differ


@dataclass(frozen=True, eq=False)
class MeasuredNorm:
    """A norm as it is seen from outside, whatever it calls its numbers.

    Attributes:
        module: computes it.
        centred: whether the mean is taken off.
        gain: what is multiplied by.
        bias: what is added in the end.
    """

    module: Callable[[Tensor], Tensor]
    centred: bool
    gain: Float[Tensor, " d_model"]
    bias: Float[Tensor, " d_model"]

    @classmethod
    def of(cls, module: Callable[[Tensor], Tensor], like: Float[Tensor, "*batch d_model"]) -> "MeasuredNorm":
        """Measure it on large states, to which what is added to the variance is nothing."""
        size = 1e6 if torch.finfo(like.dtype).max > 1e30 else 1e2
        ones = torch.ones_like(like.flatten(0, -2)[:1])
        signs = ones.clone()
        signs[:, 1::2] = -1
        signs = signs - signs.mean(-1, keepdim=True)
        (up, down), (one, other) = ([module(sign * size * each[None])[0, 0] for sign in (1, -1)] for each in (signs, ones))
        gain = (up - down) / 2 * signs[0].square().mean().sqrt() / signs[0]
        centred = bool((one - other).abs().max() < 0.5 * gain.abs().max())
        return cls(module, centred, gain, (up + down) / 2)

    def shares(
        self, parts: Float[Tensor, "*batch part d_model"], whole: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch part d_model"]:
        """What each part of a state has of the normed whole, at the whole's scale; the bias belongs to none."""
        directions = self._direct(whole)
        size = directions.square().sum(-1, keepdim=True)
        scale = ((self.module(whole) - self.bias) * directions).sum(-1, keepdim=True) / size
        return self._direct(parts) * scale.nan_to_num(0.0)[..., None, :]

    def _direct(self, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return (states - states.mean(-1, keepdim=True) if self.centred else states) * self.gain


@dataclass(frozen=True, eq=False)
class Writes:
    """From what heads gather to what they write.

    Attributes:
        W_O: of each head.
        b_O: belongs to no head; where a norm follows each has an equal part of it.
        norm: None: there is none.
    """

    W_O: Float[Tensor, "head d_head d_model"]
    b_O: Float[Tensor, " d_model"]
    norm: MeasuredNorm | None = None

    def __call__(self, z: Float[Tensor, "*batch head d_head"]) -> Float[Tensor, "*batch head d_model"]:
        """What each head adds to the residual stream."""
        written = einops.einsum(z, self.W_O, "... head d_head, head d_head d_model -> ... head d_model")
        if self.norm is None:
            return written
        parts = written + self.b_O / len(self.W_O)
        flat = parts.reshape(-1, *parts.shape[-3:])
        return self.norm.shares(flat, flat.sum(-2)).reshape(parts.shape)


def writes_of(
    block: Any,
    number: int,
    n_heads: int,
    z: Float[Tensor, "query pos *rest"],
    written: Float[Tensor, "query pos d_model"],
) -> Writes:
    """How the heads of a block write, of what they gathered and all of them wrote in a run.

    Raises:
        ValueError: if what the output matrix gives does not add up to what they wrote.
    """
    W_O, b_O = getattr(block.attn, "W_O", None), getattr(block.attn, "b_O", None)
    if not isinstance(W_O, Tensor):
        raise ValueError(f"what each head writes is not known: blocks.{number}.attn has no W_O [head, d_head, d_model]")
    z, d_model = z.flatten(2).unflatten(2, (n_heads, -1)), written.shape[-1]
    W_O = W_O.reshape(n_heads, z.shape[-1], d_model)
    plain = Writes(W_O, W_O.new_zeros(d_model) if b_O is None else b_O.reshape(d_model))
    whole = plain(z).sum(-2) + plain.b_O
    if _alike(whole, written):
        return plain
    times = (whole * written).sum() / whole.square().sum()  # some models multiply what joins the residual stream
    if _alike(times * whole, written):
        return Writes(times * plain.W_O, times * plain.b_O)
    for norm in (getattr(block, name, None) for name in NORMS):
        if norm is not None and _alike(norm(whole), written):
            return Writes(plain.W_O, plain.b_O, MeasuredNorm.of(norm, whole))
    raise ValueError(
        f"what the heads of layer {number} write by blocks.{number}.attn.W_O and b_O does not add up to what attention "
        f"adds, nor does any norm of it ({', '.join(NORMS)}): what a single head writes is not known"
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= min(SHARE * torch.finfo(one.dtype).eps, 0.05) * other.abs().max())
