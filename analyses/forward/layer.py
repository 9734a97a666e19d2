"""The arithmetic of one layer: norm, queries, keys and values, attention, MLP, from its description."""

import math

import einops
import torch
from jaxtyping import Float
from torch import Tensor

from .decoder import Attention, Layer, Mask

MLP_ROWS = 2048  # hidden states of more rows do not fit into a processor's cache


def normalised(layer: Layer, residual: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What queries, keys and values are projected from."""
    return residual if layer.norm is None else layer.norm(residual)


def project(
    layer: Layer, name: str, normed: Float[Tensor, "*batch pos d_model"], first: int, mask: Mask | None
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads for what they read at positions from `first` on."""
    return turned(layer, name, linear(layer, name, normed), first, mask)


def linear(layer: Layer, name: str, normed: Float[Tensor, "*batch pos d_model"]) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries, keys or values of all heads, before norms and rotation."""
    weight, bias = weights_of(layer, name)
    return (normed @ weight.permute(1, 0, 2).flatten(1)).unflatten(-1, bias.shape) + bias


def weights_of(layer: Layer, name: str) -> tuple[Float[Tensor, "head d_model d_head"], Float[Tensor, "head d_head"]]:
    """The matrices and biases of queries, keys or values."""
    return getattr(layer.attention, f"W_{name.upper()}"), getattr(layer.attention, f"b_{name.upper()}")


def turned(
    layer: Layer, name: str, values: Float[Tensor, "*batch query pos head d_head"], first: int, mask: Mask | None
) -> Float[Tensor, "*batch query pos head d_head"]:
    """Queries, keys or values at positions from `first` on, of their projections."""
    return getattr(layer.attention, f"turn_{name}")(values, first, mask)


def turned_with_one(
    layer: Layer,
    name: str,
    unchanged: Float[Tensor, "query pos head d_head"],
    index: int,
    new: Float[Tensor, "copy query pos d_head"],
    first: int,
    mask: Mask | None,
) -> Float[Tensor, "copy query pos head d_head"]:
    """All queries, keys or values, with one projection new, where what becomes of one depends on the others."""
    projected = unchanged.expand(len(new), -1, -1, -1, -1).clone()
    projected[:, :, :, index] = new
    return turned(layer, name, projected, first, mask)


def attention_scores(
    layer: Layer,
    q: Float[Tensor, "*batch query_pos head d_head"],
    k: Float[Tensor, "*batch pos kv_head d_head"],
    first: int,
    mask: Mask | None,
) -> Float[Tensor, "*batch head query_pos pos"]:
    """Scores of queries at positions from `first` on, with keys from position 0 on; −∞ where a position cannot see."""
    attention, (query_pos, pos) = layer.attention, (q.shape[-3], k.shape[-3])
    scores = q.transpose(-2, -3) @ by_head(attention, k).transpose(-2, -3).mT / attention.scale
    scores = biased(attention, scores, slice(first, first + query_pos), slice(0, pos))
    if attention.causal:
        hidden = _hidden(attention, query_pos, pos, first, q.device)
        if mask is not None:  # as in TransformerLens, a bidirectional model sees its pads
            hidden = hidden | ~mask[:, None, None, :pos]
        scores = scores.masked_fill(hidden, -math.inf)
    return scores


def by_head(attention: Attention, shared: Float[Tensor, "*batch kv_head d_head"]) -> Float[Tensor, "*batch head d_head"]:
    """Keys or values of every head, of those that heads share."""
    return shared if attention.n_sharing == 1 else shared.repeat_interleave(attention.n_sharing, -2)


def biased(
    attention: Attention, scores: Float[Tensor, "*batch query_pos pos"], queries: slice, keys: slice, head: int | None = None
) -> Float[Tensor, "*batch query_pos pos"]:
    """Products of some queries and keys, of all heads or of one, with soft cap and bias."""
    scores = capped(scores, attention.soft_cap)
    if attention.bias is None:
        return scores
    bias = attention.bias(queries, keys)
    return scores + (bias if head is None else bias[head])


def capped(values: Float[Tensor, "*batch last"], cap: float | None) -> Float[Tensor, "*batch last"]:
    """Values softly held below a cap; None, or what is not above 0, stands for no cap."""
    return values if cap is None or cap <= 0 else cap * torch.tanh(values / cap)


def _hidden(attention: Attention, query_pos: int, pos: int, first: int, device: torch.device) -> Tensor:
    """Which positions each query does not see."""
    hidden = torch.ones(query_pos, pos, dtype=torch.bool, device=device).triu(first + 1)
    if attention.window is None:
        return hidden
    return hidden | torch.ones_like(hidden).tril(first - attention.window)


def attention_weights(
    attention: Attention, scores: Float[Tensor, "*batch query_pos pos"], head: int | None = None
) -> Float[Tensor, "*batch query_pos pos"]:
    """Where each position looks, of all heads or of one; a hidden pad, which sees nothing, nowhere."""
    weights = with_sink(attention, scores, head).softmax(-1, dtype=attention.softmax_in).to(scores.dtype)
    return weights[..., : scores.shape[-1]].nan_to_num(0.0)


def with_sink(
    attention: Attention, scores: Float[Tensor, "*batch pos"], head: int | None = None
) -> Float[Tensor, "*batch all_pos"]:
    """Scores of all heads or of one, with that of looking nowhere if there is one."""
    if attention.sinks is None:
        return scores
    sink = attention.sinks[:, None, None] if head is None else attention.sinks[head]
    return torch.cat([scores, sink.to(scores).expand(*scores.shape[:-1], 1)], -1)


def gathered(
    layer: Layer, scores: Float[Tensor, "*batch head query_pos pos"], v: Float[Tensor, "*batch pos kv_head d_head"]
) -> Float[Tensor, "*batch query_pos head d_head"]:
    """What each head gathers."""
    weights = attention_weights(layer.attention, scores)
    return (weights @ by_head(layer.attention, v).transpose(-2, -3)).transpose(-2, -3)


def attention_output(layer: Layer, z: Float[Tensor, "*batch pos head d_head"]) -> Float[Tensor, "*batch pos d_model"]:
    """What a layer's attention adds to the residual stream, given what its heads gathered; the output bias included."""
    written = summed(layer, z)
    return written if layer.norm_after is None else layer.norm_after(written)


def summed(layer: Layer, z: Float[Tensor, "*batch pos head d_head"]) -> Float[Tensor, "*batch pos d_model"]:
    """What all heads write, with the output bias, before a norm."""
    attention = layer.attention
    return einops.einsum(z, attention.W_O, "... head d_head, head d_head d_model -> ... d_model") + attention.b_O


def head_outputs(layer: Layer, z: Float[Tensor, "*batch pos head d_head"]) -> Float[Tensor, "*batch pos head d_model"]:
    """What each head by itself adds to the residual stream.

    The output bias belongs to none. Where a norm follows it depends on the heads what becomes of the bias, so each of them
    has an equal part of it, and the norm's scale is that of all heads' sum.
    """
    attention = layer.attention
    written = einops.einsum(z, attention.W_O, "... head d_head, head d_head d_model -> ... head d_model")
    if layer.norm_after is None:
        return written
    return layer.norm_after.shares(written + attention.b_O / len(attention.W_O), summed(layer, z))


def run_layer(
    layer: Layer, before: Float[Tensor, "query pos d_model"], mask: Mask | None
) -> tuple[Float[Tensor, "query pos d_model"], Float[Tensor, "query pos d_model"]]:
    """The residual stream after attention, and after the layer."""
    normed = normalised(layer, before)
    q, k, v = (project(layer, name, normed, 0, mask) for name in "qkv")
    middle = before + attention_output(layer, gathered(layer, attention_scores(layer, q, k, 0, mask), v))
    return middle, middle + mlp_output(layer, before if layer.parallel else middle)


def mlp_output(layer: Layer, reads: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """What a layer's MLP adds if it reads this; nothing in an attention-only model."""
    if layer.mlp is None:
        return torch.zeros_like(reads)
    rows = reads.flatten(0, -2)
    return torch.cat([layer.mlp(part[None])[0] for part in rows.split(MLP_ROWS)]).view(reads.shape)
