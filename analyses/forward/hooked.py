"""The description of a HookedTransformer, see `decoder`."""

from functools import partial
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from ...tasks.transformerlens import HookedTransformer
from .decoder import Attention, Decoder, Layer, Map, Mask, Norm, Turn, as_projected
from .layer import capped

POSITIONS = ("standard", "rotary", "alibi")
POST_NORM = ("Olmo2ForCausalLM", "Olmo3ForCausalLM")  # their blocks' norms come after attention and MLP
NORM_OVER_HEADS = (*POST_NORM, "OlmoeForCausalLM")  # their queries, and keys, are normed over all heads together


def problems_of_hooked(model: HookedTransformer, n_positions: int) -> list[str]:
    """The options by which a HookedTransformer computes something that `describe_hooked` does not say."""
    cfg: Any = model.cfg
    problems = [] if cfg.n_layers else ["n_layers=0"]
    if cfg.positional_embedding_type not in POSITIONS:
        problems.append(f"positional_embedding_type={cfg.positional_embedding_type!r}")
    if getattr(cfg, "load_in_4bit", False):
        problems.append("load_in_4bit=True")
    trained_to = getattr(cfg, "train_seq_length", None) or cfg.n_ctx
    if n_positions > trained_to:
        grown = [name for name in ("use_dynamic_ntk_rope", "use_logn_attn") if getattr(cfg, name, False)]
        problems += [f"{name}=True at {n_positions} positions" for name in grown]
    return problems


def describe_hooked(model: Any) -> Decoder:
    """Read a HookedTransformer."""
    cfg: Any = model.cfg
    after = cfg.original_architecture in POST_NORM
    return Decoder(
        source=model,
        embed_tokens=model.embed,
        embedded=partial(_embedded, model),
        layers=[_layer(block, cfg, after) for block in model.blocks],
        norm=None if cfg.normalization_type is None else _norm(model.ln_final),
        unembed=partial(_unembedded, model),
        W_U=model.unembed.W_U,
    )


def _embedded(model: Any, tokens: Int[Tensor, "query pos"], mask: Mask | None) -> Float[Tensor, "query pos d_model"]:
    embedding = model.embed(tokens)
    if model.cfg.positional_embedding_type != "standard":
        return embedding
    return embedding + model.pos_embed(tokens, 0, mask)


def _unembedded(model: Any, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab_out"]:
    """As the model's module does it, which copies the whole matrix each time, and that takes longer than the product."""
    logits = linear(normed, model.unembed.W_U.T, model.unembed.b_U)
    return capped(logits, model.cfg.output_logits_soft_cap)


def _layer(block: Any, cfg: Any, norms_after: bool) -> Layer:
    if norms_after:
        norms = None, block.ln1, None, block.ln2
    else:
        norms = block.ln1, getattr(block, "ln1_post", None), getattr(block, "ln2", None), getattr(block, "ln2_post", None)
    before, after, before_mlp, after_mlp = map(_norm, norms)
    mlp = None if cfg.attn_only else in_turn(before_mlp, _mlp(block.mlp, cfg), after_mlp)
    attention = _attention(block.attn, cfg)
    return Layer(norm=before, attention=attention, norm_after=after, mlp=mlp, parallel=bool(cfg.parallel_attn_mlp))


def _mlp(mlp: Any, cfg: Any) -> Map:
    """The MLP; GPT-2's, whose activation TransformerLens computes in eight steps, with that in a single one."""
    if type(mlp).__name__ != "MLP" or cfg.act_fn != "gelu_new":
        return mlp

    def run(reads: Tensor) -> Tensor:
        hidden = gelu(linear(reads, mlp.W_in.T, mlp.b_in), approximate="tanh")
        return linear(hidden, mlp.W_out.T, mlp.b_out)

    return run


def in_turn(*maps: Map | None) -> Map:
    """Maps one after the other; None is left out."""
    given = [each for each in maps if each is not None]

    def run(states: Tensor) -> Tensor:
        for each in given:
            states = each(states)
        return states

    return run


def _norm(module: Any) -> Norm | None:
    if module is None or isinstance(module, nn.Identity):
        return None
    centred = getattr(module, "centred", not type(module).__name__.startswith("RMS"))
    return Norm(module, float(module.eps), centred, getattr(module, "w", None), getattr(module, "b", None))


def _attention(attn: Any, cfg: Any) -> Attention:
    grouped = cfg.n_key_value_heads is not None
    keys = {name: getattr(attn, f"_{name}" if grouped else name) for name in ("W_K", "W_V", "b_K", "b_V")}
    cap = getattr(cfg, "attn_scores_soft_cap", None)
    return Attention(
        W_Q=attn.W_Q,
        W_O=attn.W_O,
        b_Q=attn.b_Q,
        b_O=attn.b_O,
        **keys,
        scale=float(attn.attn_scale),
        causal=cfg.attention_dir == "causal",
        window=cfg.window_size if getattr(attn, "attn_type", "global") == "local" else None,
        turn_q=_turn(attn, cfg, attn.q_norm if _norms_heads(cfg) else None),
        turn_k=_turn(attn, cfg, attn.k_norm if _norms_heads(cfg) else None),
        turn_v=partial(_clipped, float(cfg.clip_qkv)) if getattr(cfg, "clip_qkv", None) is not None else as_projected,
        heads_apart=cfg.original_architecture not in NORM_OVER_HEADS,
        soft_cap=cap if cap is not None and cap > 0 else None,
        bias=_alibi(attn, cfg) if cfg.positional_embedding_type == "alibi" else None,
        sinks=attn.sinks if getattr(cfg, "use_attention_sinks", False) else None,
    )


def _norms_heads(cfg: Any) -> bool:
    return bool(getattr(cfg, "use_qk_norm", False)) or cfg.original_architecture in NORM_OVER_HEADS


def _turn(attn: Any, cfg: Any, norm: Map | None) -> Turn:
    over_heads, clip = cfg.original_architecture in NORM_OVER_HEADS, getattr(cfg, "clip_qkv", None)
    rotary = cfg.positional_embedding_type == "rotary"
    if norm is None and clip is None and not rotary:
        return as_projected

    def turn(values: Tensor, first: int, mask: Mask | None) -> Tensor:
        if norm is not None:
            rows = values.flatten(-2) if over_heads else values
            values = norm(rows.flatten(0, -2)).view(values.shape)
        if clip is not None:
            values = values.clamp(min=-clip, max=clip)
        return _rotated(attn, values, first, mask) if rotary else values

    return turn


def _clipped(limit: float, values: Tensor, first: int, mask: Mask | None) -> Tensor:
    return values.clamp(min=-limit, max=limit)


def _rotated(attn: Any, values: Tensor, first: int, mask: Mask | None) -> Tensor:
    """Rotated by position, counted among those not hidden."""
    rows = values.flatten(0, -4)
    if mask is not None:
        mask = mask[:, : first + values.shape[-3]].repeat(len(rows) // len(mask), 1)
    return attn.apply_rotary(rows, first, mask).view(values.shape)


def _alibi(attn: Any, cfg: Any) -> Any:
    def bias(queries: slice, keys: slice) -> Float[Tensor, "head query_pos pos"]:
        whole = attn.create_alibi_bias(cfg.n_heads, max(queries.stop, keys.stop), attn.W_Q.device)
        return whole[:, queries, keys].to(attn.W_Q.dtype)

    return bias
