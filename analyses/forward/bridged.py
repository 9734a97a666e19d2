"""The description of a TransformerBridge, see `decoder`: its modules are called, its projections read as matrices.

The order of a block is seen in a run (`bridge_flow`), attention is read off the wrapped modules (`bridge_attention`), and
what is described is compared with the model's logits before anything is measured (`problems_of_bridge`): a family that
computes something else is refused by name, or left to hooks.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.activations import NewGELUActivation

from ...circuits.plain_text import shortened
from .bridge_attention import Positions, attention_of
from .bridge_flow import Flow, Unread, flows, some_tokens
from .decoder import Decoder, Layer, Map, Mask, Norm
from .hooked import in_turn
from .layer import capped, run_layer

ROUNDINGS = 512  # by how many roundings of the largest logit the description may differ from the model in a probing run


def describe_bridge(bridge: Any) -> Decoder:
    """Read a TransformerBridge; its layers are read when they are first asked for, and then may be refused."""
    last = getattr(bridge, "ln_final", None)
    return Decoder(
        source=bridge,
        embed_tokens=partial(_embedded_tokens, bridge),
        embedded=partial(_embedded, bridge),
        layers=_Layers(bridge),
        norm=None if last is None else _norm(last, bridge.cfg),
        unembed=partial(_unembedded, bridge),
        W_U=_unembedding(bridge),
    )


@torch.no_grad()
def problems_of_bridge(bridge: Any, n_positions: int) -> list[str]:
    """Why a bridge at rest computes something that `describe_bridge` does not say, known from prompts of some tokens."""
    kind = f"{type(bridge.original_model).__name__}'s"
    if not getattr(bridge.cfg, "n_layers", 0):
        return ["n_layers=0"]
    try:
        layers = list(_Layers(bridge))
        decoder = describe_bridge(bridge)
        if len({(len(each.attention.W_Q), len(each.attention.W_K)) for each in layers}) > 1:
            return [f"{kind} numbers of heads, which change from layer to layer"]
        if len({(each.parallel, each.mlp is None) for each in layers}) > 1:
            return [f"{kind} order of attention and MLP, which changes from layer to layer"]
        tokens = some_tokens(bridge, 2, n_positions)
        state = decoder.embedded(tokens, None)
        for layer in layers:
            _, state = run_layer(layer, state, None)
        logits, expected = decoder.decode(state), bridge(tokens)
    except Unread as problem:
        return [f"{kind} {problem}"]
    except Exception as problem:  # any, for a module of transformers may be made in any way: hooks need not know it
        return [f"{kind} blocks, which could not be described ({type(problem).__name__}: {shortened(str(problem))})"]
    error, size = float((logits - expected).abs().max()), float(expected.abs().max())
    if error <= ROUNDINGS * torch.finfo(logits.dtype).eps * size:
        return []
    return [f"{kind} blocks, which compute something that is not described: logits differ by {error:.2g} of {size:.2g}"]


class _Layers(Sequence[Layer]):
    """The layers of a bridge, read when they are first asked for."""

    def __init__(self, bridge: Any) -> None:
        self._bridge = bridge

    @cached_property
    def _layers(self) -> list[Layer]:
        positions, cfg = Positions(self._bridge), self._bridge.cfg
        return [
            Layer(
                norm=None if flow.before is None else _norm(flow.before, cfg),
                attention=attention_of(self._bridge, number, flow.multiplier, positions),
                norm_after=_norm_after(flow, cfg),
                mlp=_mlp(self._bridge.blocks[number], flow, cfg),
                parallel=flow.parallel,
            )
            for number, flow in enumerate(flows(self._bridge))
        ]

    def __len__(self) -> int:
        return len(self._bridge.blocks)

    @overload
    def __getitem__(self, place: int) -> Layer: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Layer]: ...
    def __getitem__(self, place: int | slice) -> Layer | Sequence[Layer]:
        return self._layers[place]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)


def _embedded(bridge: Any, tokens: Int[Tensor, "query pos"], mask: Mask | None) -> Float[Tensor, "query pos d_model"]:
    """What enters the first block of the model."""
    return bridge(tokens, attention_mask=mask, stop_at_layer=0)


def _embedded_tokens(bridge: Any, tokens: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch d_model"]:
    """Without position: as a module gives it, or what enters the first block where no position is added."""
    if "pos_embed" in bridge._modules:
        return bridge.embed.forward(tokens)
    return _embedded(bridge, tokens.reshape(-1, 1), None).view(*tokens.shape, -1)


def _unembedded(bridge: Any, normed: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab_out"]:
    """Logits, with what the model does to them after the unembedding."""
    model = bridge.original_model
    cap = getattr(getattr(model, "config", None), "final_logit_softcapping", None)
    logits = bridge.unembed.forward(normed) * _multiplier_of_logits(model)
    return capped(logits, cap or getattr(model, "output_logits_soft_cap", None))


def _unembedding(bridge: Any) -> Float[Tensor, "d_model d_vocab_out"]:
    matrix, multiplier = bridge.unembed.original_component.weight.T, _multiplier_of_logits(bridge.original_model)
    return matrix if multiplier == 1 else matrix * multiplier


def _multiplier_of_logits(model: Any) -> float:
    """Of Cohere and Granite."""
    scale = getattr(model, "logit_scale", None)
    divisor = getattr(getattr(model, "config", None), "logits_scaling", None)
    return float(1.0 if scale is None else scale) / float(1.0 if divisor is None else divisor)


def _mlp(block: Any, flow: Flow, cfg: Any) -> Map | None:
    mlp = block.submodules.get("mlp")
    if mlp is None:
        return None
    ends = (None if each is None else _norm(each, cfg) for each in (flow.before_mlp, flow.after_mlp))
    before, after = ends
    scale = None if flow.multiplier == 1 else (lambda written: written * flow.multiplier)
    return in_turn(before, partial(_mlp_written, block, mlp, flow.adds), after, scale)


def _mlp_written(block: Any, mlp: Any, adds: bool, read: Tensor) -> Tensor:
    """What an MLP makes of what it reads; modules are run without torch's hooks, by which bridges take notes."""
    if (activation := _between(block, mlp)) is not None:
        return mlp.submodules["out"].forward(activation(mlp.submodules["in"].forward(read)))
    written = mlp.forward(read, torch.zeros_like(read)) if adds else mlp.forward(read)
    return written[0] if isinstance(written, tuple) else written


def _between(block: Any, mlp: Any) -> Map | None:
    """What is done between an MLP's two matrices where they are called one by one; None: it is called as a whole."""
    if mlp.name is None:
        return block.original_component.activation_fn
    is_gelu = isinstance(getattr(mlp.original_component, "act", None), NewGELUActivation)
    if is_gelu and {"in", "out"} <= set(mlp.submodules):
        return partial(gelu, approximate="tanh")  # which GPT-2's module takes eight steps for
    return None


def _norm_after(flow: Flow, cfg: Any) -> Norm | None:
    if flow.after is None:
        return None
    if flow.multiplier != 1:
        raise Unread("a multiplier of the residual stream after a norm")
    return _norm(flow.after, cfg)


def _norm(bridge: Any, cfg: Any) -> Norm:
    """A norm; what it does is measured where its module is none of torch's."""
    module = bridge.original_component
    eps = next((getattr(module, name) for name in ("eps", "variance_epsilon") if hasattr(module, name)), cfg.eps)
    by_itself = getattr(bridge, "use_native_layernorm_autograd", False) or getattr(cfg, "layer_norm_folding", False)
    compute = module.forward if by_itself else bridge.forward
    if isinstance(module, nn.LayerNorm):
        return Norm(compute, float(eps), True, module.weight, module.bias)
    return _measured(compute, float(eps), module, cfg)


@torch.no_grad()
def _measured(compute: Map, eps: float, module: Any, cfg: Any) -> Norm:
    """Whether a norm is centred, its gain and its bias, by what it makes of two vectors."""
    weight = getattr(module, "weight", None)
    like = weight if weight is not None else torch.ones(cfg.d_model, dtype=cfg.dtype, device=cfg.device)
    signs = 1 - 2 * (torch.arange(cfg.d_model, device=like.device) % 2).to(like)
    bias, shifted = compute(torch.zeros_like(signs)[None])[0], compute(signs[None] + 3)[0]
    centred = torch.allclose(shifted, compute(signs[None])[0], rtol=1e-2, atol=1e-3)
    read = signs - signs.mean() if centred else signs
    gain = (compute(signs[None])[0] - bias) * (read.square().mean() + eps).sqrt() / read
    known = (torch.ones_like(gain), *(() if weight is None else (weight, 1 + weight)))
    exact = next((each for each in known if each.shape == gain.shape and torch.allclose(each, gain, 1e-2, 1e-3)), gain)
    return Norm(compute, eps, centred, exact, bias if bias.any() else None, by_module=True)
