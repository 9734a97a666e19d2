"""The arithmetic of one layer: norm, queries, keys and values, attention, MLP, from a block's weights."""

import math

import einops
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import layer_norm
from transformer_lens.components.layer_norm import LayerNorm
from transformer_lens.components.layer_norm_pre import LayerNormPre
from transformer_lens.components.transformer_block import TransformerBlock

MLP_ROWS = 2048  # hidden states of more rows do not fit into a processor's cache
Mask = Bool[Tensor, "query all_pos"]
"""Which positions of each prompt are no hidden pads; None stands for all."""


def normalised(norm: torch.nn.Module, residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What a norm makes of the residual stream; LayerNorm by torch's kernel, faster but in half precision not the same."""
    if residual.dtype.itemsize < 4:
        return norm(residual)
    if isinstance(norm, LayerNorm):
        return layer_norm(residual, residual.shape[-1:], norm.w, norm.b, norm.eps)
    if isinstance(norm, LayerNormPre):
        return layer_norm(residual, residual.shape[-1:], eps=norm.eps)
    return norm(residual)


def project(
    block: TransformerBlock, name: str, normed: Float[Tensor, "*batch pos d_model"], first: int, mask: Mask | None
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads for what they read at positions from `first` on."""
    return rotated(block, name, linear(block, name, normed), first, mask)


def linear(
    block: TransformerBlock, name: str, normed: Float[Tensor, "*batch pos d_model"]
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads, before rotation by position."""
    weight, bias = getattr(block.attn, f"W_{name.upper()}"), getattr(block.attn, f"b_{name.upper()}")
    return (normed @ weight.permute(1, 0, 2).flatten(1)).unflatten(-1, bias.shape) + bias


def rotated(
    block: TransformerBlock, name: str, values: Float[Tensor, "*batch query pos head d_head"], first: int, mask: Mask | None
) -> Float[Tensor, "*batch query pos head d_head"]:
    """Queries or keys at positions from `first` on, rotated by their position among those not hidden, if at all."""
    if name == "v" or block.cfg.positional_embedding_type != "rotary":
        return values
    rows = values.flatten(0, -4)
    if mask is not None:
        mask = mask[:, : first + values.shape[-3]].repeat(len(rows) // len(mask), 1)
    return block.attn.apply_rotary(rows, first, mask).view(values.shape)


def attention_scores(
    block: TransformerBlock,
    q: Float[Tensor, "*batch query_pos head d_head"],
    k: Float[Tensor, "*batch pos head d_head"],
    first: int,
    mask: Mask | None,
) -> Float[Tensor, "*batch head query_pos pos"]:
    """Scores of queries at positions from `first` on, with keys from position 0 on; −∞ where a position cannot see."""
    scores = q.transpose(-2, -3) @ k.transpose(-2, -3).mT / block.attn.attn_scale
    if block.cfg.attention_dir == "causal":
        query_pos, pos = scores.shape[-2:]
        hidden = torch.ones(query_pos, pos, dtype=torch.bool, device=q.device).triu(first + 1)
        if mask is not None:  # as in TransformerLens, a bidirectional model sees its pads
            hidden = hidden | ~mask[:, None, None, :pos]
        scores = scores.masked_fill(hidden, -math.inf)
    return scores


def attention_weights(scores: Float[Tensor, "*batch pos"]) -> Float[Tensor, "*batch pos"]:
    """Where each position looks; a hidden pad, which sees nothing, nowhere."""
    return scores.softmax(-1).nan_to_num(0.0)


def gathered(
    scores: Float[Tensor, "*batch head query_pos pos"], v: Float[Tensor, "*batch pos head d_head"]
) -> Float[Tensor, "*batch query_pos head d_head"]:
    """What each head gathers."""
    return (attention_weights(scores) @ v.transpose(-2, -3)).transpose(-2, -3)


def attention_output(
    block: TransformerBlock, z: Float[Tensor, "*batch pos head d_head"]
) -> Float[Tensor, "*batch pos d_model"]:
    """What a layer's attention adds to the residual stream, given what its heads gathered; the output bias included."""
    return einops.einsum(z, block.attn.W_O, "... head d_head, head d_head d_model -> ... d_model") + block.attn.b_O


def head_outputs(
    block: TransformerBlock, z: Float[Tensor, "*batch pos head d_head"]
) -> Float[Tensor, "*batch pos head d_model"]:
    """What each head by itself adds to the residual stream; the output bias belongs to none."""
    return einops.einsum(z, block.attn.W_O, "... head d_head, head d_head d_model -> ... head d_model")


def mlp_output(block: TransformerBlock, reads: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What a layer's MLP adds if it reads this; nothing in an attention-only model."""
    if block.cfg.attn_only:
        return torch.zeros_like(reads)
    rows = normalised(block.ln2, reads).flatten(0, -2)
    return torch.cat([block.mlp(part[None])[0] for part in rows.split(MLP_ROWS)]).view(reads.shape)
