"""What of a HookedTransformer an analysis needs: its computation graph and residual states; see `head` for the logits."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformer_lens.utilities.architectures import POST_NORM_ARCHITECTURES

from ...circuits import ComputationGraph
from ...circuits.arguments import names_problems, refuse
from ...circuits.roles import named_roles, role_problems
from ...tasks.questions.padding import aligned
from ...tasks.questions.validity import position_problems
from ...tasks.transformerlens import Model

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
    "load_in_4bit": (False, None),
}

WRAPPED = ("_orig_mod", "module")
"""Where torch.compile, and DataParallel and its like, keep the model that they wrap."""


def check_model(model: object) -> None:
    """Raise unless it is a model whose insides are known here, and that holds numbers.

    Raises:
        TypeError: naming its class.
        ValueError: naming parameters on the meta device.
    """
    if not isinstance(model, Model):
        kind, inside = type(model), [name for name in WRAPPED if isinstance(getattr(model, name, None), Model)]
        whence = (
            "HookedTransformer.from_pretrained makes one of a published decoder, tasks.build_model and tasks.Run give one"
        )
        raise TypeError(
            f"a model must be a transformer_lens.HookedTransformer, got a {kind.__module__}.{kind.__qualname__}; "
            + (f"pass the one that it wraps, model.{inside[0]}" if inside else whence)
        )
    if empty := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        raise ValueError(
            f"the model holds no numbers: {len(empty)} of its parameters are on the meta device, the first is {empty[0]}; "
            "load its weights"
        )


def graph_of(model: Model, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The computation graph of a model on prompts with the given roles.

    Raises:
        TypeError: if it is no HookedTransformer.
        ValueError: if the position is none of the roles'; if the model has an option whose interventions would not be
            exact; all such options are named.
    """
    check_model(model)
    names = named_roles(roles)
    problems = role_problems(names, len(names)) if not isinstance(roles, str) else names_problems(roles=roles)
    refuse(problems + [f"{each} {', '.join(map(str, names))}" for each in position_problems(answer_position, len(names))])
    cfg = model.cfg
    unsupported = [
        f"{option}={getattr(cfg, option)!r}"
        for option, values in _UNSUPPORTED.items()
        if getattr(cfg, option, None) not in values
    ]
    if not cfg.n_layers:
        unsupported.append("n_layers=0")
    if cfg.original_architecture in POST_NORM_ARCHITECTURES:
        unsupported.append(f"original_architecture={cfg.original_architecture!r}")
    if cfg.use_dynamic_ntk_rope and len(roles) > (cfg.train_seq_length or cfg.n_ctx):
        unsupported.append(f"use_dynamic_ntk_rope=True at {len(roles)} positions")
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


class Stage(NamedTuple):
    """A place on the way through a model: after the `embedding` (layer −1), a layer's `attention`, or the whole `layer`."""

    layer: int
    after: str


def residual_states(
    model: Model, tokens: Int[Tensor, "query pos"], answer_position: int
) -> dict[Stage, Float[Tensor, "query pos d_model"]]:
    """The residual stream at every stage, in order.

    Without MLPs, and where attention and MLP run in parallel, there is no state between attention and the layer's end.
    Prompts with trailing pads are moved until their last real token stands at the answer position, see `aligned`.

    Raises:
        TypeError: if it is no HookedTransformer.
        ValueError: if several layers are one module, whose hooks cannot tell them apart.
    """
    check_model(model)
    _refuse_one_module(model)
    if not model.cfg.n_layers:
        with torch.no_grad():
            prompts = aligned(model, tokens.to(model.W_E.device), answer_position)
            return {Stage(-1, "embedding"): embedded(model, prompts.tokens, prompts.mask)}
    names = {Stage(-1, "embedding"): "blocks.0.hook_resid_pre"}
    for layer in range(model.cfg.n_layers):
        if not (model.cfg.attn_only or model.cfg.parallel_attn_mlp):
            names[Stage(layer, "attention")] = f"blocks.{layer}.hook_resid_mid"
        names[Stage(layer, "layer")] = f"blocks.{layer}.hook_resid_post"
    with torch.no_grad():
        prompts = aligned(model, tokens.to(model.W_E.device), answer_position)
        options = {"attention_mask": prompts.mask, "names_filter": list(names.values())}
        _, cache = model.run_with_cache(prompts.tokens, **options)
    return {stage: cache[name] for stage, name in names.items()}


def ends_of_loops(model: Model) -> list[int]:
    """The last layer of each pass of the shared blocks, whole or not; every layer, if no parameters are shared."""
    n_layers, n_blocks = model.cfg.n_layers, _n_distinct_blocks(model)
    if n_blocks == n_layers:
        return list(range(n_layers))
    return [*range(n_blocks - 1, n_layers - 1, n_blocks), n_layers - 1]


def embedded(
    model: Model, tokens: Int[Tensor, "query pos"], mask: Bool[Tensor, "query pos"] | None = None
) -> Float[Tensor, "query pos d_model"]:
    """Token embedding, and position embedding if the model adds one; positions that the mask hides are not counted."""
    embedding = model.embed(tokens)
    if model.cfg.positional_embedding_type != "standard":
        return embedding
    return embedding + model.pos_embed(tokens, 0, mask)


def _refuse_one_module(model: Model) -> None:
    layers: dict[int, list[int]] = {}
    for layer, block in enumerate(model.blocks):
        layers.setdefault(id(block), []).append(layer)
    if same := [" and ".join(map(str, each)) for each in layers.values() if len(each) > 1]:
        raise ValueError(
            f"layers {', '.join(same)} of the model are one module, whose hooks cannot tell them apart; give every layer a "
            "module, which may share its parameters with others"
        )


def _n_distinct_blocks(model: Model) -> int:
    """After how many layers the blocks' Parameter objects repeat."""
    keys = [tuple(id(parameter) for parameter in block.parameters()) for block in model.blocks]
    return next((n for n in range(1, len(keys) + 1) if all(key == keys[i % n] for i, key in enumerate(keys))), 0)
