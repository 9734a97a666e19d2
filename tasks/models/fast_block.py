"""One transformer block as a plain function of a HookedTransformer's parameters.

How rows of the residual stream see each other is left to a function, so that prompts can share rows. Fewer and larger
operations than the module's, at the precision asked for.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

LAYER_NORM_EPS = 1e-5  # as in every HookedTransformerConfig that build_model makes
Mix = Callable[[Float[Tensor, "row 3 head d"]], Float[Tensor, "row head d"]]
"""Attention between rows: from their queries, keys and values to what each gathers."""


class Block(NamedTuple):
    """A block's weights in the dtype of the matrix products; queries, keys and values side by side."""

    n_heads: int
    norm_1: tuple[Tensor, Tensor]
    norm_2: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    mlp_out: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], block: int, dtype: torch.dtype) -> "Block":
        """Gather them from a model's parameters."""

        def get(name: str) -> Tensor:
            return parameters[f"blocks.{block}.{name}"]

        weights = torch.cat([get(f"attn.W_{name}") for name in "QKV"])
        biases = torch.cat([get(f"attn.b_{name}") for name in "QKV"])
        qkv = einops.rearrange(weights, "head d_model d_head -> d_model (head d_head)")
        return cls(
            n_heads=len(get("attn.W_Q")),
            norm_1=(get("ln1.w"), get("ln1.b")),
            norm_2=(get("ln2.w"), get("ln2.b")),
            qkv=(qkv.to(dtype), biases.flatten().to(dtype)),
            output=(get("attn.W_O").flatten(0, 1).to(dtype), get("attn.b_O").to(dtype)),
            mlp_in=(get("mlp.W_in").to(dtype), get("mlp.b_in").to(dtype)),
            mlp_out=(get("mlp.W_out").to(dtype), get("mlp.b_out").to(dtype)),
        )

    def apply(
        self, residual: Float[Tensor, "row d_model"], mix: Mix, wanted: Int[Tensor, " wanted"] | None = None
    ) -> Float[Tensor, "_ d_model"]:
        """The residual stream after this block, for all rows at once or only for those wanted."""
        z = mix(affine(normed(residual, self.norm_1), self.qkv).unflatten(1, (3, self.n_heads, -1))).flatten(1)
        if wanted is not None:
            residual, z = residual.index_select(0, wanted), z.index_select(0, wanted)
        residual = residual + affine(z, self.output)
        return residual + affine(gelu(affine(normed(residual, self.norm_2), self.mlp_in)), self.mlp_out)


def affine(reads: Float[Tensor, "row in_"], weight_and_bias: tuple[Tensor, Tensor]) -> Float[Tensor, "row out"]:
    """The product with a weight, in the weight's dtype, and its bias."""
    weight, bias = weight_and_bias
    return torch.addmm(bias, reads.to(weight.dtype), weight)


def normed(residual: Float[Tensor, "row d_model"], gain_and_bias: tuple[Tensor, Tensor]) -> Float[Tensor, "row d_model"]:
    """LayerNorm, at the residual stream's precision."""
    return layer_norm(residual, residual.shape[-1:], *gain_and_bias, LAYER_NORM_EPS)
