"""The attention of a TransformerBridge: weights as views, and what is computed between projections and scores.

Bridges compute attention by classes of theirs, or leave it to the wrapped module; both take their numbers from the wrapped
module, and here they are taken from the same place.
"""

import sys
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .bridge_flow import Unread, told
from .decoder import Attention, Bias, Mask, Turn, as_projected


class Positions:
    """What attention is told about positions, asked of the model for the longest prompts so far."""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge
        self._found: dict[bytes | None, tuple[int, list[dict[str, Any]]]] = {}

    def at(self, layer: int, n_positions: int, mask: Mask | None) -> dict[str, Any]:
        """What one layer is told of prompts of at least some length."""
        key = None if mask is None else bytes(mask.shape[0].to_bytes(8, "big")) + mask.cpu().numpy().tobytes()
        length = n_positions if mask is None else mask.shape[1]
        if key not in self._found or self._found[key][0] < length:
            self._found[key] = length, told(self._bridge, length, mask)
        return self._found[key][1][layer]


def attention_of(bridge: Any, layer: int, multiplier: float, positions: Positions) -> Attention:
    """The attention of a layer, whose output is multiplied by something.

    Raises:
        Unread: if its projections are no matrices of a known kind.
    """
    attn, cfg = bridge.blocks[layer].attn, bridge.cfg
    module, n_heads = attn.original_component, cfg.n_heads
    if missing := [name for name in "qkvo" if name not in attn.submodules]:
        raise Unread(f"{type(attn).__name__} without projections {', '.join(missing)}")
    (W_Q, b_Q), (W_K, b_K), (W_V, b_V), (W_O, b_O) = (_matrix(attn.submodules[name]) for name in "qkvo")
    d_head = W_Q.shape[0] // n_heads
    n_shared = W_K.shape[0] // d_head
    if W_Q.shape[0] % n_heads or W_K.shape[0] % d_head or not n_shared or n_heads % n_shared or W_V.shape[0] % n_shared:
        shapes = ", ".join(str(each.shape[0]) for each in (W_Q, W_K, W_V))
        raise Unread(f"queries, keys and values of sizes {shapes} for {n_heads} heads")
    scale = _scale(attn, cfg, module, d_head, layer)
    return Attention(
        W_Q=W_Q.unflatten(0, (n_heads, d_head)).mT,
        W_K=W_K.unflatten(0, (n_shared, d_head)).mT,
        W_V=W_V.unflatten(0, (n_shared, -1)).mT,
        W_O=_multiplied(W_O.T.unflatten(0, (n_heads, -1)), multiplier),
        b_Q=b_Q.view(n_heads, d_head),
        b_K=b_K.view(n_shared, d_head),
        b_V=b_V.view(n_shared, -1),
        b_O=_multiplied(b_O, multiplier),
        scale=scale,
        causal=getattr(cfg, "attention_dir", "causal") == "causal",
        window=_window(module, bridge.original_model, layer),
        turn_q=_turn(attn, cfg, module, "q_norm", layer, positions),
        turn_k=_turn(attn, cfg, module, "k_norm", layer, positions),
        turn_v=_clipped(_clip(module)),
        heads_apart=not _over_heads(attn, "q_norm", W_Q.shape[0], d_head),
        soft_cap=_cap(module),
        bias=_alibi(layer, n_heads, positions, scale if "Falcon" in type(module).__name__ else 1.0),
        sinks=getattr(module, "sinks", None),
        softmax_in=_softmax_dtype(attn, module),
    )


def _matrix(projection: Any) -> tuple[Float[Tensor, "out inside"], Float[Tensor, " out"]]:
    """The weight and bias of a projection, out of the module that holds them."""
    module = projection.original_component
    if not isinstance(module, nn.Linear | Conv1D):
        raise Unread(f"attention projected by {type(module).__name__}")
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    return weight, weight.new_zeros(len(weight)) if module.bias is None else module.bias


def _multiplied(values: Tensor, multiplier: float) -> Tensor:
    return values if multiplier == 1 else values * multiplier


def _scale(attn: Any, cfg: Any, module: Any, d_head: int, layer: int) -> float:
    """What scores are divided by."""
    kind, usual = type(attn).__name__, d_head**0.5
    if kind == "JointQKVAttentionBridge":  # computes by itself
        return usual * (layer + 1 if getattr(cfg, "scale_attn_by_inverse_layer_idx", False) else 1)
    if kind in ("JointQKVPositionEmbeddingsAttentionBridge", "BloomAttentionBridge", "ALiBiJointQKVAttentionBridge"):
        return usual
    if type(module).__name__ == "GPTNeoSelfAttention":
        return 1.0
    for name in ("scale_attn", "scale"):
        if getattr(module, name, None) is not None:
            return float(getattr(module, name))
    for name in ("softmax_scale", "scaling"):
        if getattr(module, name, None) is not None:
            return 1 / float(getattr(module, name))
    return usual


def _window(module: Any, model: Any, layer: int) -> int | None:
    """How many positions are seen."""
    config: Any = getattr(module, "config", None) or getattr(model, "config", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        return config.sliding_window if kinds[layer] == "sliding_attention" else None
    if getattr(module, "attention_type", None) is not None:
        return config.window_size if module.attention_type == "local" else None
    return getattr(config, "sliding_window", None)


def _cap(module: Any) -> float | None:
    cap = getattr(module, "attn_logit_softcapping", None) or getattr(module, "attn_scores_soft_cap", None)
    return float(cap) if cap is not None and cap > 0 else None


def _clip(module: Any) -> float | None:
    clip = getattr(module, "clip_qkv", None) or getattr(getattr(module, "config", None), "clip_qkv", None)
    return float(clip) if clip else None


def _softmax_dtype(attn: Any, module: Any) -> torch.dtype | None:
    """What weights are computed in, whatever the model computes in; None: in that."""
    exact = type(attn).__name__ in ("JointQKVAttentionBridge", "JointQKVPositionEmbeddingsAttentionBridge")
    return None if exact or type(module).__name__ == "NativeAttention" else torch.float32


def _over_heads(attn: Any, name: str, n_all: int, d_head: int) -> bool:
    """Whether a norm of queries or keys is of all heads together."""
    norm = attn.submodules.get(name)
    weight = None if norm is None else getattr(norm.original_component, "weight", None)
    return weight is not None and weight.ndim == 1 and len(weight) == n_all != d_head


def _clipped(limit: float | None) -> Turn:
    if limit is None:
        return as_projected
    return lambda values, first, mask: values.clamp(min=-limit, max=limit)


def _turn(attn: Any, cfg: Any, module: Any, name: str, layer: int, positions: Positions) -> Turn:
    """Norm, clipping and rotation of queries or keys."""
    norm, clip, last = attn.submodules.get(name), _clipped(_clip(module)), getattr(cfg, "qk_norm_after_rope", False)

    def normed(values: Tensor) -> Tensor:
        if norm is None:
            return values
        over_heads = _over_heads(attn, name, values.shape[-2] * values.shape[-1], values.shape[-1])
        rows = values.flatten(0, -4) if values.ndim > 4 else values
        rows = rows.flatten(-2) if over_heads else rows
        return norm.forward(rows).view(values.shape)

    def turn(values: Tensor, first: int, mask: Mask | None) -> Tensor:
        values = clip(values if last else normed(values), first, mask)
        said = positions.at(layer, first + values.shape[-3], mask)
        values = _rotated(values, attn, cfg, said, slice(first, first + values.shape[-3]))
        return normed(values) if last else values

    return turn


def _rotated(values: Tensor, attn: Any, cfg: Any, said: dict[str, Any], at: slice) -> Tensor:
    """Rotated by position, in halves or neighbouring pairs of the first dimensions; the rest stays."""
    paired = _is_paired(attn, cfg)
    found = _angles(attn.original_component, said, paired and not getattr(cfg, "rotary_interleaved_cos_sin", False))
    if found is None:
        return values
    cos, sin = (each[:, at, None].to(values) for each in found)
    n = cos.shape[-1]
    first = values[..., :n]
    turned = first * cos + (_pairs_turned if paired else _halves_turned)(first) * sin
    return turned if n == values.shape[-1] else torch.cat([turned, values[..., n:]], -1)


def _angles(module: Any, said: dict[str, Any], halved: bool) -> tuple[Tensor, Tensor] | None:
    """Cosines and sines [query or 1, pos, rotated dimensions]; None: nothing is rotated."""
    if getattr(module, "use_rope", True) in (False, 0):
        return None
    if (tables := said.get("position_embeddings")) is not None:
        cos, sin = tables
        return _full_width(module, cos, sin, halved)
    places = said.get("position_ids")
    if places is None:
        return None
    if (native := getattr(module, "rotary", None)) is not None:
        return native.cos_cached[places], native.sin_cached[places]
    if (table := getattr(module, "embed_positions", None)) is not None:
        sin, cos = table.to(places.device)[places].chunk(2, -1)
        return cos.repeat_interleave(2, -1), sin.repeat_interleave(2, -1)
    return None


def _full_width(module: Any, cos: Tensor, sin: Tensor, halved: bool) -> tuple[Tensor, Tensor]:
    """Angles of every rotated dimension, where a model tells one for each pair, or those of pairs as halves."""
    if "gpt_oss" in type(module).__module__:
        return torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)
    if halved:
        cos, sin = (each[..., : each.shape[-1] // 2].repeat_interleave(2, -1) for each in (cos, sin))
    return cos, sin


def _is_paired(attn: Any, cfg: Any) -> bool:
    """Whether neighbouring dimensions are rotated together, not those half of all dimensions apart.

    A bridge that computes attention by itself is told so by its settings; else the function of the wrapped module is asked.
    """
    module = attn.original_component
    if getattr(module, "rotary", None) is not None or getattr(module, "embed_positions", None) is not None:
        return True
    if type(attn).__name__ != "AttentionBridge":
        return any(getattr(cfg, name, False) for name in ("rotary_adjacent_pairs", "rotary_interleaved_cos_sin"))
    rotate = getattr(sys.modules[type(module).__module__], "rotate_half", None)
    return rotate is not None and bool(rotate(torch.arange(4.0, device="cpu").view(1, 1, 1, 4)).flatten()[0] == -1)


def _halves_turned(values: Tensor) -> Tensor:
    left, right = values.chunk(2, -1)
    return torch.cat([-right, left], -1)


def _pairs_turned(values: Tensor) -> Tensor:
    return torch.stack([-values[..., 1::2], values[..., ::2]], -1).flatten(-2)


def _alibi(layer: int, n_heads: int, positions: Positions, divided_by: float) -> Bias | None:
    said = positions.at(layer, 1, None)
    if said.get("alibi") is None and said.get("position_bias") is None:
        return None

    def bias(queries: slice, keys: slice) -> Float[Tensor, "head query_pos pos"]:
        said = positions.at(layer, keys.stop, None)
        told = said["position_bias"] if "position_bias" in said else said["alibi"]
        by_key = told.reshape(-1, told.shape[-1])[:n_heads]
        by_key = by_key - by_key[:, :1]  # MPT counts from the end of the longest prompts, and a constant changes nothing
        return (by_key[:, None, keys] / divided_by).expand(-1, queries.stop - queries.start, -1)

    return bias
