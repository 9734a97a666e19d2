"""A causal model's answers to many queries that share prefixes, each prefix computed once.

In a causal model the state at h depends on h alone and the state at r1 on (h, r1), so all queries of a batch that begin
alike share them, and atomic queries are read off the same states. The parameters are those of the HookedTransformer
itself: gradients reach them as through its own forward pass, and the logits are the same up to rounding.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import einops
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import gelu, layer_norm

from .models import ModelConfig

LAYER_NORM_EPS = 1e-5  # as in every HookedTransformerConfig that build_model makes


@dataclass(frozen=True, eq=False)
class Prefixes:
    """The distinct beginnings of a batch of prompts, and which prompt has which.

    Attributes:
        heads: the distinct first tokens.
        relations: the second token of each distinct (h, r1).
        head_of: which of `heads` each (h, r1) begins with.
        prefix_of: which (h, r1) each prompt begins with.
    """

    heads: Int[Tensor, " head"]
    relations: Int[Tensor, " prefix"]
    head_of: Int[Tensor, " prefix"]
    prefix_of: Int[Tensor, " prompt"]


def distinct_prefixes(tokens: Int[Tensor, "prompt pos"]) -> Prefixes:
    """Find the distinct first tokens and pairs of first tokens of some prompts."""
    base = int(tokens.max()) + 1
    codes, prefix_of = torch.unique(tokens[:, 0] * base + tokens[:, 1], return_inverse=True)
    heads, head_of = torch.unique(codes // base, return_inverse=True)
    return Prefixes(heads, codes % base, head_of, prefix_of)


class _Rows(NamedTuple):
    """How many rows of the residual stream are at h, r1 and r2, and which earlier rows each of these can attend to."""

    n_heads: int
    n_prefixes: int
    n_queries: int
    head_of_prefix: Int[Tensor, " prefix"]
    head_of_query: Int[Tensor, " query"]
    prefix_of_query: Int[Tensor, " query"]


class _Block(NamedTuple):
    """A block's weights in the dtype of the matrix products; queries, keys and values side by side."""

    n_heads: int
    norm_1: tuple[Tensor, Tensor]
    norm_2: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    mlp_in: tuple[Tensor, Tensor]
    mlp_out: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, parameters: Mapping[str, Tensor], block: int, dtype: torch.dtype) -> "_Block":
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

    def apply(self, residual: Float[Tensor, "row d_model"], rows: _Rows) -> Float[Tensor, "row d_model"]:
        """The residual stream behind this block, for all rows at once."""
        residual = residual + _affine(self._mix(_affine(_normed(residual, self.norm_1), self.qkv), rows), self.output)
        return residual + _affine(gelu(_affine(_normed(residual, self.norm_2), self.mlp_in)), self.mlp_out)

    def _mix(self, qkv: Float[Tensor, "row qkv"], rows: _Rows) -> Float[Tensor, "row z"]:
        """Attention: a row at h sees itself alone, one at r1 also its h, one at r2 also its h and r1."""
        split = qkv.unflatten(1, (3, self.n_heads, -1)).split([rows.n_heads, rows.n_prefixes, rows.n_queries])
        (_, at_h), (q_r1, at_r1), (q_r2, at_r2) = (part.split([1, 2], dim=1) for part in split)
        z_r1 = _attend(q_r1, [at_h.index_select(0, rows.head_of_prefix), at_r1])
        before = [at_h.index_select(0, rows.head_of_query), at_r1.index_select(0, rows.prefix_of_query)]
        return torch.cat([at_h[:, 1], z_r1, _attend(q_r2, [*before, at_r2])]).flatten(1)


def _attend(
    queries: Float[Tensor, "row 1 head d"], keys_and_values: list[Float[Tensor, "row 2 head d"]]
) -> Float[Tensor, "row head d"]:
    """What each row gathers from the rows it sees, given their keys and values."""
    keys, values = torch.stack(keys_and_values, dim=2).unbind(1)  # row, seen, head, d
    scores = (queries * keys).sum(-1, dtype=torch.promote_types(keys.dtype, torch.float32)) / math.sqrt(keys.shape[-1])
    return (scores.softmax(1).to(values.dtype)[..., None] * values).sum(1)


def _affine(reads: Float[Tensor, "row in_"], weight_and_bias: tuple[Tensor, Tensor]) -> Float[Tensor, "row out"]:
    weight, bias = weight_and_bias
    return torch.addmm(bias, reads.to(weight.dtype), weight)


def _normed(residual: Float[Tensor, "row d_model"], gain_and_bias: tuple[Tensor, Tensor]) -> Float[Tensor, "row d_model"]:
    return layer_norm(residual, residual.shape[-1:], *gain_and_bias, LAYER_NORM_EPS)


def answer_logits(
    parameters: Mapping[str, Tensor],
    config: ModelConfig,
    tokens: Int[Tensor, "prompt 3"],
    positions: Int[Tensor, " prompt"],
    *,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "prompt d_vocab"]:
    """The logits of each prompt at its answer position.

    Args:
        parameters: the trained parameters by name, see `models.trained_parameters`.
        config: the model's shape.
        tokens: prompts; of an atomic query the third token is not looked at.
        positions: where each answer is read: 1 for atomic, 2 for two-hop queries.
        dtype: of the matrix products; by default that of the parameters. Norms, softmax and the residual stream keep
            the parameters' precision.
    """
    is_two_hop = positions == 2
    prefixes, second = distinct_prefixes(tokens), tokens[is_two_hop, 2]
    of_query = prefixes.prefix_of[is_two_hop]
    sizes = len(prefixes.heads), len(prefixes.relations), len(second)
    rows = _Rows(*sizes, prefixes.head_of, prefixes.head_of[of_query], of_query)
    embedding, position = parameters["embed.W_E"], parameters["pos_embed.W_pos"]
    dtype = embedding.dtype if dtype is None else dtype
    where = torch.repeat_interleave(torch.tensor(sizes, device=tokens.device))
    everything = torch.cat([prefixes.heads, prefixes.relations, second])
    residual = embedding.index_select(0, everything) + position.index_select(0, where)
    blocks = [_Block.of(parameters, block, dtype) for block in range(config.n_blocks)]
    for layer in range(config.n_layers):
        residual = blocks[layer % config.n_blocks].apply(residual, rows)
    place = torch.cumsum(is_two_hop, 0) - 1 + sizes[0] + sizes[1]
    states = residual.index_select(0, torch.where(is_two_hop, place, sizes[0] + prefixes.prefix_of))
    unembedding = embedding.T if config.tie_embeddings else parameters["unembed.W_U"]
    normed = _normed(states, (parameters["ln_final.w"], parameters["ln_final.b"]))
    return _affine(normed, (unembedding.to(dtype), parameters["unembed.b_U"].to(dtype)))
