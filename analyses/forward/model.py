"""What of a HookedTransformer an analysis needs: its computation graph and residual states; see `head` for the logits."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.arguments import names_problems, refuse
from ...circuits.roles import named_roles, role_problems
from ...tasks.questions.padding import aligned
from ...tasks.questions.validity import position_problems
from ...tasks.transformerlens import HookedTransformer, Model
from .decoder import Decoder, device_of
from .hooked import describe_hooked, problems_of_hooked

WRAPPED = ("_orig_mod", "module")
"""Where torch.compile, and DataParallel and its like, keep the model that they wrap."""


def check_model(model: object) -> None:
    """Raise unless it is a model whose insides are known here, and that holds numbers.

    Raises:
        TypeError: naming its class.
        ValueError: naming parameters on the meta device.
    """
    if not isinstance(model, HookedTransformer):
        kind, inside = type(model), [name for name in WRAPPED if isinstance(getattr(model, name, None), HookedTransformer)]
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
    if unsupported := problems_of_hooked(model, len(names)):
        raise ValueError(f"exact interventions are not defined here for a model with {', '.join(unsupported)}")
    decoder, cfg = described(model), model.cfg
    return ComputationGraph.transformer(
        roles=tuple(roles),
        answer_role=roles[answer_position],
        n_layers=cfg.n_layers,
        n_heads=cfg.n_heads,
        n_blocks=_n_distinct_blocks(model),
        causal=decoder.causal,
        has_mlp=decoder.layers[0].mlp is not None,
        n_key_value_heads=len(decoder.layers[0].attention.W_K),
        parallel=decoder.parallel,
        sinks=any(layer.attention.sinks is not None for layer in decoder.layers),
    )


def described(model: Model) -> Decoder:
    """A model as plain weights and functions."""
    return describe_hooked(model)


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
            prompts = aligned(model, tokens.to(device_of(model)), answer_position)
            return {Stage(-1, "embedding"): described(model).embed(prompts.tokens, prompts.mask)}
    names = {Stage(-1, "embedding"): "blocks.0.hook_resid_pre"}
    for layer in range(model.cfg.n_layers):
        if not (model.cfg.attn_only or model.cfg.parallel_attn_mlp):
            names[Stage(layer, "attention")] = f"blocks.{layer}.hook_resid_mid"
        names[Stage(layer, "layer")] = f"blocks.{layer}.hook_resid_post"
    with torch.no_grad():
        prompts = aligned(model, tokens.to(device_of(model)), answer_position)
        options = {"attention_mask": prompts.mask, "names_filter": list(names.values())}
        _, cache = model.run_with_cache(prompts.tokens, **options)
    return {stage: cache[name] for stage, name in names.items()}


def ends_of_loops(model: Model) -> list[int]:
    """The last layer of each pass of the shared blocks, whole or not; every layer, if no parameters are shared."""
    n_layers, n_blocks = model.cfg.n_layers, _n_distinct_blocks(model)
    if n_blocks == n_layers:
        return list(range(n_layers))
    return [*range(n_blocks - 1, n_layers - 1, n_blocks), n_layers - 1]


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
