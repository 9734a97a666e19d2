"""What of a HookedTransformer an analysis needs: its computation graph, residual states, decoding, token vectors."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components.layer_norm import LayerNorm
from transformer_lens.components.layer_norm_pre import LayerNormPre
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from ...circuits import ComputationGraph

_UNSUPPORTED = {
    "parallel_attn_mlp": (False, None),
    "use_normalization_before_and_after": (False, None),
    "n_key_value_heads": (None,),
    "positional_embedding_type": ("standard", "rotary"),
    "use_attn_in": (False, None),
    "use_local_attn": (False, None),
    "use_qk_norm": (False, None),
    "clip_qkv": (None,),
    "use_logn_attn": (False, None),
    "use_attention_sinks": (False, None),
    "attn_scores_soft_cap": (-1.0, 0.0, None),
    "output_logits_soft_cap": (-1.0, 0.0, None),
    "load_in_4bit": (False, None),
}


def graph_of(model: HookedTransformer, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The computation graph of a model on prompts with the given roles.

    Raises:
        ValueError: if the model has an option whose interventions would not be exact; all such options are named.
    """
    cfg = model.cfg
    unsupported = [
        f"{option}={getattr(cfg, option)!r}"
        for option, values in _UNSUPPORTED.items()
        if getattr(cfg, option, None) not in values
    ]
    if cfg.original_architecture in POST_NORM_ARCHITECTURES:
        unsupported.append(f"original_architecture={cfg.original_architecture!r}")
    if unsupported:
        raise ValueError(f"exact interventions are not defined here for a model with {', '.join(unsupported)}")
    return ComputationGraph.transformer(
        roles=tuple(roles),
        answer_role=roles[answer_position],
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        n_blocks=_n_distinct_blocks(model),
        causal=cfg.attention_dir == "causal",
        has_mlp=not cfg.attn_only,
    )


def hooks_in_place(model: HookedTransformer) -> list[str]:
    """The hook points of a model that carry hooks."""
    return [name for name, point in model.hook_dict.items() if point.fwd_hooks or point.bwd_hooks]


class Stage(NamedTuple):
    """A place on the way through a model: after the `embedding` (layer −1), a layer's `attention`, or the whole `layer`."""

    layer: int
    after: str


def residual_states(
    model: HookedTransformer, tokens: Int[Tensor, "query pos"]
) -> dict[Stage, Float[Tensor, "query pos d_model"]]:
    """The residual stream at every stage, in order; without MLPs there is nothing between attention and the layer's end."""
    names = {Stage(-1, "embedding"): "blocks.0.hook_resid_pre"}
    for layer in range(model.cfg.n_layers):
        if not model.cfg.attn_only:
            names[Stage(layer, "attention")] = f"blocks.{layer}.hook_resid_mid"
        names[Stage(layer, "layer")] = f"blocks.{layer}.hook_resid_post"
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens.to(model.W_E.device), names_filter=list(names.values()))
    return {stage: cache[name] for stage, name in names.items()}


def ends_of_loops(model: HookedTransformer) -> list[int]:
    """The last layer of each pass of the shared blocks; every layer, if no parameters are shared."""
    n_layers, n_blocks = model.cfg.n_layers, _n_distinct_blocks(model)
    return list(range(n_layers) if n_blocks == n_layers else range(n_blocks - 1, n_layers, n_blocks))


def embedded(model: HookedTransformer, tokens: Int[Tensor, "query pos"]) -> Float[Tensor, "query pos d_model"]:
    """Token embedding, and position embedding if the model adds one."""
    embedding = model.embed(tokens)
    return embedding + model.pos_embed(tokens) if model.cfg.positional_embedding_type == "standard" else embedding


def token_embeddings(model: HookedTransformer) -> Float[Tensor, "d_vocab d_model"]:
    """The embedding of every token, without position."""
    return model.W_E


def unembedding_directions(model: HookedTransformer) -> Float[Tensor, "d_vocab d_model"]:
    """What each token's logit is the dot product with, after the final norm; biases left out."""
    return model.W_U.T


def decode(model: HookedTransformer, states: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
    """Final norm, if the model has one, and unembedding."""
    return model.unembed(model.ln_final(states) if model.cfg.normalization_type else states)


def final_direction(
    model: HookedTransformer,
    residual: Float[Tensor, "query d_model"],
    answers: Int[Tensor, " query"],
    foils: Int[Tensor, " query"],
) -> Float[Tensor, "query d_model"]:
    """The direction whose dot product with a part of the residual stream is its share of logit(answer) − logit(foil).

    The final norm's scale is fixed at that of the whole `residual`; its bias and the unembedding's belong to no part.
    """
    unembedding = unembedding_directions(model)
    direction = unembedding[answers.to(residual.device)] - unembedding[foils.to(residual.device)]
    if not model.cfg.normalization_type:
        return direction
    norm = model.ln_final
    if isinstance(gain := getattr(norm, "w", None), Tensor):
        direction = direction * gain
    if isinstance(norm, (LayerNorm, LayerNormPre)):
        residual = residual - residual.mean(-1, keepdim=True)
        direction = direction - direction.mean(-1, keepdim=True)
    return direction / (residual.square().mean(-1, keepdim=True) + model.cfg.eps).sqrt()


def _n_distinct_blocks(model: HookedTransformer) -> int:
    """After how many layers the blocks' Parameter objects repeat."""
    keys = [tuple(id(parameter) for parameter in block.parameters()) for block in model.blocks]
    return next(n for n in range(1, len(keys) + 1) if all(key == keys[i % n] for i, key in enumerate(keys)))
