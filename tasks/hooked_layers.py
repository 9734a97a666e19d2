"""The layers of a HookedTransformer; see `hooked_transformer`."""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens.hook_points import HookPoint
from transformer_lens.utilities.tensors import get_offset_position_ids

from .hooked_config import HookedTransformerConfig
from .rotary import turned, turns

Mask = Bool[Tensor, "query pos"] | Int[Tensor, "query pos"]  # which positions are seen
ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class Norm(nn.Module):
    """A layer norm or, without centring, an RMS norm; with a gain and, where centred, a bias, unless these are folded."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.eps = cfg, cfg.eps
        self.centred, self.folded = cfg.normalization_type.startswith("LN"), cfg.normalization_type.endswith("Pre")
        if not self.folded:
            self.w = nn.Parameter(torch.ones(cfg.d_model, dtype=cfg.dtype, device=cfg.device))
            if self.centred:
                self.b = nn.Parameter(torch.zeros(cfg.d_model, dtype=cfg.dtype, device=cfg.device))
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """Each row divided by its standard deviation, or by the root of its mean square."""
        if self.cfg.dtype not in (torch.float32, torch.float64):
            x = x.to(torch.float32)
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        x = x / self.hook_scale((x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        x = self.hook_normalized(x).to(self.cfg.dtype)
        if self.folded:
            return x
        return x * self.w + self.b if self.centred else x * self.w


class Attention(nn.Module):
    """The heads of a layer."""

    IGNORE: Tensor
    rotary_cos: Tensor
    rotary_sin: Tensor

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.attn_scale = cfg, math.sqrt(cfg.d_head) if cfg.use_attn_scale else 1.0
        into, out_of = (cfg.n_heads, cfg.d_model, cfg.d_head), (cfg.n_heads, cfg.d_head, cfg.d_model)
        self.W_Q, self.W_O = _empty(cfg, *into), _empty(cfg, *out_of)  # the order in which initial weights are drawn
        self.b_Q, self.b_O = _zeros(cfg, *into[::2]), _zeros(cfg, cfg.d_model)
        self.W_K, self.W_V = _empty(cfg, *into), _empty(cfg, *into)
        self.b_K, self.b_V = _zeros(cfg, *into[::2]), _zeros(cfg, *into[::2])
        # as in state_dicts of TransformerLens 3; the first is not used
        self.register_buffer("mask", torch.empty((0, 0), dtype=torch.bool, device=cfg.device))
        self.register_buffer("IGNORE", torch.tensor(-torch.inf, device=cfg.device))
        self.hook_q, self.hook_k, self.hook_v, self.hook_z = (HookPoint() for _ in range(4))
        self.hook_attn_scores, self.hook_pattern, self.hook_result = (HookPoint() for _ in range(3))
        if cfg.positional_embedding_type == "rotary":
            cosine, sine = turns(cfg.n_ctx, cfg.rotary_dim or cfg.d_head, dtype=cfg.dtype, device=cfg.device)
            self.register_buffer("rotary_sin", sine)
            self.register_buffer("rotary_cos", cosine)
            self.hook_rot_k, self.hook_rot_q = HookPoint(), HookPoint()

    def apply_rotary(
        self, values: Float[Tensor, "query pos head d_head"], first: int = 0, mask: Mask | None = None
    ) -> Float[Tensor, "query pos head d_head"]:
        """Queries or keys at positions from `first` on, turned by these, counted without those that the mask hides."""
        places = torch.arange(first, first + values.shape[1], device=values.device)[None]
        if mask is not None:
            places = get_offset_position_ids(first, mask)
        size, cosine, sine = self.rotary_cos.shape[1], self.rotary_cos[places, None], self.rotary_sin[places, None]
        return torch.cat([turned(values[..., :size], cosine, sine), values[..., size:]], dim=-1)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Float[Tensor, "query pos d_model"]:
        """What the heads add, if they read normalised inputs [query, pos, d_model] or [query, pos, head, d_model]."""
        split = self.cfg.use_split_qkv_input
        q = self.hook_q(_projected(q, self.W_Q, self.b_Q, split))
        k = self.hook_k(_projected(k, self.W_K, self.b_K, split))
        v = self.hook_v(_projected(v, self.W_V, self.b_V, split))
        if self.cfg.positional_embedding_type == "rotary":
            q, k = self.hook_rot_q(self.apply_rotary(q, 0, mask)), self.hook_rot_k(self.apply_rotary(k, 0, mask))
        scores = rearrange(q, "n q h d -> n h q d") @ rearrange(k, "n k h d -> n h d k") / self.attn_scale
        scores = soft_capped(scores, self.cfg.attn_scores_soft_cap)
        if self.cfg.attention_dir == "causal":
            places = torch.arange(scores.shape[-1], device=scores.device)
            seen = (places[None, :] <= places[:, None])[None, None]
            if mask is not None:
                seen = seen & mask[:, None, None].bool()
            scores = torch.where(seen, scores, self.IGNORE)
        pattern = F.softmax(self.hook_attn_scores(scores), dim=-1)
        pattern = torch.where(torch.isnan(pattern), torch.zeros_like(pattern), pattern)  # rows that see nothing
        pattern = self.hook_pattern(pattern).to(v.dtype)
        z = self.hook_z(rearrange(pattern @ rearrange(v, "n k h d -> n h k d"), "n h q d -> n q h d"))
        if self.cfg.use_attn_result:
            return self.hook_result((z[..., None] * self.W_O).sum(-2)).sum(2) + self.b_O
        return F.linear(z.flatten(2), rearrange(self.W_O, "h d m -> m (h d)").contiguous(), self.b_O)


class MLP(nn.Module):
    """The MLP of a layer, gated or not."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.act_fn = cfg, ACTIVATIONS[cfg.act_fn]
        self.W_in = _empty(cfg, cfg.d_model, cfg.d_mlp)
        if not cfg.gated_mlp:
            self.b_in = _zeros(cfg, cfg.d_mlp)
        self.W_out = _empty(cfg, cfg.d_mlp, cfg.d_model)
        if cfg.gated_mlp:
            self.W_gate, self.b_in = _empty(cfg, cfg.d_model, cfg.d_mlp), _zeros(cfg, cfg.d_mlp)
            self.hook_pre_linear = HookPoint()
        self.b_out = _zeros(cfg, cfg.d_model)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """What it adds, if it reads this."""
        if self.cfg.gated_mlp:
            pre = self.hook_pre(F.linear(x, self.W_gate.T.contiguous()))
            linear = self.hook_pre_linear(F.linear(x, self.W_in.T.contiguous()))
            post = self.hook_post(self.act_fn(pre) * linear + self.b_in)
            return F.linear(post, self.W_out.T.contiguous(), self.b_out)
        pre = self.hook_pre(_addmm(self.b_in, self.W_in, x))
        return _addmm(self.b_out, self.W_out, self.hook_post(self.act_fn(pre)))


class TransformerBlock(nn.Module):
    """A layer: attention, then the MLP, if there is one."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        norm: Callable[..., nn.Module] = nn.Identity if cfg.normalization_type is None else Norm
        self.ln1 = norm(cfg)
        if not cfg.attn_only:
            self.ln2 = norm(cfg)
        self.attn = Attention(cfg)
        if not cfg.attn_only:
            self.mlp = MLP(cfg)
        self.hook_q_input, self.hook_k_input, self.hook_v_input, self.hook_mlp_in = (HookPoint() for _ in range(4))
        self.hook_attn_out, self.hook_mlp_out, self.hook_resid_pre, self.hook_resid_post = (HookPoint() for _ in range(4))
        if not cfg.attn_only:
            self.hook_resid_mid = HookPoint()

    def forward(
        self, resid_pre: Float[Tensor, "query pos d_model"], mask: Mask | None
    ) -> Float[Tensor, "query pos d_model"]:
        """The residual stream after the layer."""
        resid_pre = self.hook_resid_pre(resid_pre)
        reads = [resid_pre] * 3
        if self.cfg.use_split_qkv_input:
            hooks = (self.hook_q_input, self.hook_k_input, self.hook_v_input)
            reads = [hook(resid_pre[:, :, None].repeat(1, 1, self.cfg.n_heads, 1)) for hook in hooks]
        state = resid_pre + self.hook_attn_out(self.attn(*map(self.ln1, reads), mask))
        if not self.cfg.attn_only:
            resid_mid = self.hook_resid_mid(state)
            read = self.hook_mlp_in(resid_mid.clone()) if self.cfg.use_hook_mlp_in else resid_mid
            state = resid_mid + self.hook_mlp_out(self.mlp(self.ln2(read)))
        return self.hook_resid_post(state)


class Embed(nn.Module):
    """A vector for each token."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.W_E = cfg, _empty(cfg, cfg.d_vocab, cfg.d_model)

    def forward(self, tokens: Int[Tensor, "query pos"]) -> Float[Tensor, "query pos d_model"]:
        """The tokens' vectors."""
        return self.W_E[tokens, :]


class PosEmbed(nn.Module):
    """A vector for each position."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.W_pos = cfg, _empty(cfg, cfg.n_ctx, cfg.d_model)

    def forward(
        self,
        tokens: Int[Tensor, "query pos"],
        past: int = 0,
        attention_mask: Mask | None = None,
    ) -> Float[Tensor, "query pos d_model"]:
        """The positions' vectors, counted from `past` and without those that the mask hides, which get zeros."""
        if attention_mask is None:
            return self.W_pos[past : past + tokens.shape[1]].repeat(len(tokens), 1, 1)
        places = get_offset_position_ids(past, attention_mask)
        return torch.where(~attention_mask.bool()[..., None], 0, self.W_pos[places])


class Unembed(nn.Module):
    """Logits."""

    def __init__(self, cfg: HookedTransformerConfig) -> None:
        super().__init__()
        self.cfg, self.W_U, self.b_U = cfg, _empty(cfg, cfg.d_model, cfg.d_vocab_out), _zeros(cfg, cfg.d_vocab_out)
        self.hook_in = HookPoint()
        self.hook_out = HookPoint()

    def forward(self, states: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_vocab"]:
        """The logits of states."""
        return self.hook_out(F.linear(self.hook_in(states), self.W_U.T.contiguous(), self.b_U))


def _empty(cfg: HookedTransformerConfig, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=cfg.dtype, device=cfg.device))


def _zeros(cfg: HookedTransformerConfig, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=cfg.dtype, device=cfg.device))


def _projected(read: Tensor, weights: Tensor, bias: Tensor, by_head: bool) -> Float[Tensor, "query pos head d_head"]:
    """Queries, keys or values of all heads, which read the same state or one each."""
    if by_head:
        return torch.einsum("nphm,hmd->nphd", read, weights) + bias
    together = F.linear(read, rearrange(weights, "h m d -> (h d) m"), bias.flatten())
    return together.unflatten(-1, tuple(bias.shape))


def _addmm(bias: Tensor, weights: Tensor, x: Float[Tensor, "*rows d_in"]) -> Float[Tensor, "*rows d_out"]:
    return torch.addmm(bias, x.view(-1, x.shape[-1]), weights).unflatten(0, x.shape[:-1])


def soft_capped(values: Tensor, cap: float | None) -> Tensor:
    """Values that stay below the cap, if there is one above 0."""
    return cap * torch.tanh(values / cap) if cap and cap > 0 else values
