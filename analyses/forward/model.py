"""What of a model an analysis needs: its computation graph and residual states; see `head` for the logits."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.arguments import names_problems, refuse
from ...circuits.roles import named_roles, role_problems
from ...tasks.models.trm import TRM
from ...tasks.questions.padding import aligned
from ...tasks.questions.validity import position_problems
from ...tasks.transformerlens import HookedTransformer, Model, TransformerBridge
from .at_rest import at_rest
from .bridged import describe_bridge, problems_of_bridge
from .decoder import Decoder, device_of
from .hook_checks import reading_of
from .hook_points import Points, has_hook_points, points_of
from .hooked import describe_hooked, problems_of_hooked
from .hooked_pass import Prompts, logits_and_noted
from .layer import run_layer
from .trm_graph import trm_graph

WRAPPED = ("_orig_mod", "module")
"""Where torch.compile, and DataParallel and its like, keep the model that they wrap."""

KNOWN = (HookedTransformer, TransformerBridge, TRM)


def check_model(model: object) -> None:
    """Raise unless it is a model whose insides are known here, and that holds numbers.

    Raises:
        TypeError: naming its class.
        ValueError: naming parameters on the meta device.
    """
    _check_class(model)
    _check_numbers(model)


def _check_class(model: object) -> None:
    if not isinstance(model, KNOWN):
        kind, inside = type(model), [name for name in WRAPPED if isinstance(getattr(model, name, None), KNOWN)]
        whence = (
            "TransformerBridge.boot_transformers makes one of a published decoder, tasks.build_model and tasks.Run give one"
        )
        whence = "pass what its model() gives" if callable(getattr(model, "model", None)) else whence
        raise TypeError(
            "a model must be a transformer_lens.HookedTransformer or TransformerBridge, or a TRM of this project, got a "
            f"{kind.__module__}.{kind.__qualname__}; "
            + (f"pass the one that it wraps, model.{inside[0]}" if inside else whence)
        )


def _check_numbers(model: Any) -> None:
    if empty := [name for name, parameter in model.named_parameters() if parameter.is_meta]:
        raise ValueError(
            f"the model holds no numbers: {len(empty)} of its parameters are on the meta device, the first is {empty[0]}; "
            "load its weights"
        )


def check_reachable(model: object) -> None:
    """Raise unless its insides are known here, or it has hook points of a decoder.

    Raises:
        TypeError: naming its class.
        ValueError: naming parameters on the meta device.
    """
    if not has_hook_points(model):
        _check_class(model)
    _check_numbers(model)


def graph_of(model: Model, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The computation graph of a model on prompts with the given roles.

    Args:
        model: hooked, bridged, or a `TRM`.
        roles: the names of the positions.
        answer_position: where the answer is read.

    Raises:
        TypeError: if its insides are not known here, and it has no hook points of a decoder.
        ValueError: if the position is none of the roles'; if the model is known by its hook points only and these do not do
            for exact interventions; all problems are named.
    """
    check_places(roles, answer_position)
    check_reachable(model)
    model = at_rest(model)
    if isinstance(model, TRM):
        return trm_graph(model, roles, answer_position)
    if problems_of(model, len(roles)):
        return hooked_graph(model, points_of(model), roles, answer_position)
    return described_graph(model, roles, answer_position)


def described_graph(model: Model, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The same of a model whose description says all that it computes, see `problems_of`."""
    decoder = described(model)
    return _graph(
        model,
        roles,
        answer_position,
        causal=decoder.causal,
        has_mlp=decoder.layers[0].mlp is not None,
        n_key_value_heads=len(decoder.layers[0].attention.W_K),
        parallel=decoder.parallel,
        sinks=any(layer.attention.sinks is not None for layer in decoder.layers),
    )


def hooked_graph(model: Model, points: Points, roles: tuple[str, ...], answer_position: int) -> ComputationGraph:
    """The same of a model that is known by its hook points.

    Raises:
        ValueError: as `graph_of`.
    """
    reading = reading_of(model, points)
    return _graph(
        model,
        roles,
        answer_position,
        causal=reading.causal,
        has_mlp=points.has_mlp,
        n_key_value_heads=points.n_key_value_heads,
        parallel=reading.parallel,
        sinks=reading.sinks,
    )


def check_places(roles: tuple[str, ...], answer_position: int) -> None:
    """Raise unless an answer can be read at the position of one of the roles.

    Raises:
        ValueError: naming all problems.
    """
    names = named_roles(roles)
    problems = role_problems(names, len(names)) if not isinstance(roles, str) else names_problems(roles=roles)
    refuse(problems + [f"{each} {', '.join(map(str, names))}" for each in position_problems(answer_position, len(names))])


def _graph(model: Model, roles: tuple[str, ...], answer_position: int, **shape: Any) -> ComputationGraph:
    return ComputationGraph.transformer(
        roles=tuple(roles),
        answer_role=roles[answer_position],
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        n_blocks=_n_distinct_blocks(model),
        **shape,
    )


def problems_of(model: Model, n_positions: int) -> list[str]:
    """What of a model its description leaves out, on prompts of a length.

    Raises:
        TypeError: if there is neither a description nor hook points of a decoder.
    """
    if isinstance(model, HookedTransformer):
        check_model(model)
        return problems_of_hooked(model, n_positions)
    if isinstance(model, TransformerBridge):
        return problems_of_bridge(model, n_positions)
    if isinstance(model, TRM):
        return ["token mixing instead of attention"]
    check_reachable(model)
    return [f"the insides of a {type(model).__name__}"]


def check_described(model: Model, n_positions: int) -> None:
    """Raise unless the model's description says all that it computes.

    Args:
        model: in evaluation mode, see `at_rest`.
        n_positions: of the prompts.

    Raises:
        TypeError: if there is none of its class.
        ValueError: naming the options that it leaves out.
    """
    check_model(model)
    if unsupported := problems_of(model, n_positions):
        raise ValueError(
            f"exact interventions are not defined here for a model with {', '.join(unsupported)}, but by hooks: path_patch, "
            "activation_patch, edge_attribution, discover, run_with_edges and faithfulness do that"
        )


def described(model: Model) -> Decoder:
    """A model, at rest, as plain weights and functions."""
    model = at_rest(model)
    return describe_bridge(model) if isinstance(model, TransformerBridge) else describe_hooked(model)


class Stage(NamedTuple):
    """A place on the way through a model: after the `embedding` (layer −1), a layer's `attention`, or the whole `layer`."""

    layer: int
    after: str


def residual_states(
    model: Model, tokens: Int[Tensor, "query pos"], answer_position: int
) -> dict[Stage, Float[Tensor, "query pos d_model"]]:
    """The residual stream at every stage, in order; of a token-mixing network what each application of a block puts out.

    Without MLPs, and where attention and MLP run in parallel, there is no state between attention and the layer's end.
    Prompts with trailing pads are moved until their last real token stands at the answer position, see `aligned`.

    Raises:
        TypeError: if its insides are not known here.
        ValueError: if several layers are one module, whose hooks cannot tell them apart.
    """
    check_model(model)
    model = at_rest(model)
    _refuse_one_module(model)
    if isinstance(model, TRM):
        return _states_of_trm(model, tokens)
    if isinstance(model, TransformerBridge):
        known = not problems_of(model, tokens.shape[1])
        return (_described_states if known else _noted_states)(model, tokens, answer_position)
    if not model.cfg.n_layers:
        with torch.no_grad():
            prompts = aligned(model, tokens.to(device_of(model)), answer_position)
            return {Stage(-1, "embedding"): described(model).embedded(prompts.tokens, prompts.mask)}
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


@torch.no_grad()
def _states_of_trm(model: TRM, tokens: Int[Tensor, "query pos"]) -> dict[Stage, Tensor]:
    """The embedding that is put into every refinement, and the states after each application."""
    names = {Stage(-1, "embedding"): "hook_embed"}
    names |= {Stage(layer, "layer"): f"blocks.{layer}.hook_out" for layer in range(model.cfg.n_layers)}
    _, cache = model.run_with_cache(tokens.to(device_of(model)), names_filter=list(names.values()))
    return {stage: cache[name][:, model.cfg.shape.n_prefix :] for stage, name in names.items()}


@torch.no_grad()
def _described_states(model: Model, tokens: Int[Tensor, "query pos"], answer_position: int) -> dict[Stage, Tensor]:
    """The states as `described` computes them: in a bridge not every family has hook points for all of them."""
    prompts, decoder = aligned(model, tokens.to(device_of(model)), answer_position), described(model)
    states = {Stage(-1, "embedding"): decoder.embedded(prompts.tokens, prompts.mask)}
    for number, layer in enumerate(decoder.layers):
        middle, after = run_layer(layer, list(states.values())[-1], prompts.mask)
        if layer.mlp is not None and not layer.parallel:
            states[Stage(number, "attention")] = middle
        states[Stage(number, "layer")] = after
    return states


@torch.no_grad()
def _noted_states(model: Model, tokens: Int[Tensor, "query pos"], answer_position: int) -> dict[Stage, Tensor]:
    """The states as a bridge's hook points hold them, where its description leaves something out."""
    points, prompts = points_of(model), aligned(model, tokens.to(device_of(model)), answer_position)
    names = [name for at in points.layers for name in (at.before, at.attention, at.after)]
    _, noted = logits_and_noted(model, Prompts(prompts.tokens, prompts.mask), {}, names)
    held = {name: values[0] for name, values in noted.items()}
    states, parallel = {Stage(-1, "embedding"): held[points.layers[0].before]}, reading_of(model, points).parallel
    for number, at in enumerate(points.layers):
        if points.has_mlp and not parallel:
            states[Stage(number, "attention")] = held[at.before] + held[at.attention]
        states[Stage(number, "layer")] = held[at.after]
    return states


def ends_of_loops(model: Model) -> list[int]:
    """The last layer of each pass of the shared blocks, whole or not; every layer, if no parameters are shared."""
    n_layers, n_blocks = model.cfg.n_layers, _n_distinct_blocks(model)
    if n_blocks == n_layers:
        return list(range(n_layers))
    return [*range(n_blocks - 1, n_layers - 1, n_blocks), n_layers - 1]


def cycle_of(model: Model) -> int:
    """After how many layers the same is computed again; if no parameters are shared, each layer counts as a cycle.

    A recursive network refines z_L several times and z_H once in each cycle.
    """
    n_blocks = _n_distinct_blocks(model)
    if isinstance(model, TRM):
        return n_blocks * (model.cfg.shape.l_cycles + 1)
    return n_blocks if n_blocks < model.cfg.n_layers else 1


def _refuse_one_module(model: Any) -> None:
    layers: dict[int, list[int]] = {}
    for layer, block in enumerate(model.blocks):
        layers.setdefault(id(block), []).append(layer)
    if same := [" and ".join(map(str, each)) for each in layers.values() if len(each) > 1]:
        raise ValueError(
            f"layers {', '.join(same)} of the model are one module, whose hooks cannot tell them apart; give every layer a "
            "module, which may share its parameters with others"
        )


def _n_distinct_blocks(model: Any) -> int:
    """After how many layers the blocks' Parameter objects repeat."""
    if isinstance(model, TRM):
        return model.cfg.shape.n_blocks
    keys = [tuple(id(parameter) for parameter in block.parameters()) for block in model.blocks]
    return next((n for n in range(1, len(keys) + 1) if all(key == keys[i % n] for i, key in enumerate(keys))), 0)
