"""What reads what in the blocks of a TransformerBridge, seen in a run instead of looked up by the name of a family.

Blocks of published models differ in where their norms stand, in whether MLPs run in parallel to attention, and in what a
residual is multiplied by. In a run of a few tokens every module's input is the output of another one, to the bit, so that
the order can be read off; what does not fit is named.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .decoder import Mask

TOLD = ("position_embeddings", "position_ids", "alibi", "position_bias")
"""What attention is told about positions, by name of the argument."""


class Unread(ValueError):
    """What a description of a bridge cannot say; the message completes "a model with …"."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module: the tensors it was given, in order, and the first one that it gave."""

    given: Sequence[Tensor]
    gave: Tensor


@dataclass(frozen=True, eq=False)
class Flow:
    """The order of a block.

    Attributes:
        before: the norm of what attention reads; None: there is none.
        after: of what attention writes.
        before_mlp: of what the MLP reads.
        after_mlp: of what the MLP writes.
        parallel: whether the MLP reads what attention reads.
        adds: whether the MLP adds what it writes to a second thing that it is given.
        multiplier: of what attention and MLP write, before it joins the residual stream.
    """

    before: nn.Module | None
    after: nn.Module | None
    before_mlp: nn.Module | None
    after_mlp: nn.Module | None
    parallel: bool
    adds: bool
    multiplier: float


def some_tokens(bridge: Any, n_prompts: int, n_positions: int) -> Tensor:
    """Prompts of different tokens, none of which is a pad."""
    pad = getattr(getattr(bridge, "tokenizer", None), "pad_token_id", None)
    tokens = torch.tensor([each for each in range(min(64, bridge.cfg.d_vocab)) if each != pad], device="cpu")
    places = torch.arange(n_prompts * n_positions, device="cpu") % len(tokens)
    return tokens[places].view(n_prompts, n_positions).to(next(bridge.parameters()).device)


def flows(bridge: Any) -> list[Flow]:
    """The order of every block.

    Raises:
        Unread: for the first block whose order is another one than can be described.
    """
    calls: list[dict[str, Call]] = [{} for _ in bridge.blocks]
    with contextlib.ExitStack() as stack, torch.no_grad():
        for block, found in zip(bridge.blocks, calls, strict=True):
            for name, module in {"": block, **parts(block)}.items():
                stack.enter_context(_watched(module, partial(_note, found, name)))
        bridge(some_tokens(bridge, 1, 5))
    return [_flow(layer, block, found) for layer, (block, found) in enumerate(zip(bridge.blocks, calls, strict=True))]


def told(bridge: Any, n_positions: int, mask: Mask | None) -> list[dict[str, Any]]:
    """By layer, what its attention is told about positions in prompts of some length."""
    found: list[dict[str, Any]] = [{} for _ in bridge.blocks]

    def note(layer: int, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        found[layer].update({name: kwargs[name] for name in TOLD if kwargs.get(name) is not None})

    with contextlib.ExitStack() as stack, torch.no_grad():
        for layer, block in enumerate(bridge.blocks):
            stack.enter_context(_watched(block.attn, partial(note, layer)))
        bridge(some_tokens(bridge, 1 if mask is None else len(mask), n_positions), attention_mask=mask)
    return found


def parts(block: Any) -> dict[str, Any]:
    """The modules whose inputs and outputs tell a block's order: norms, attention, its matrix, the MLP or its ends."""
    found = {name: part for name, part in block.submodules.items() if name == "attn" or name.startswith("ln")}
    if "attn" in found and "o" in found["attn"].submodules:
        found["o"] = found["attn"].submodules["o"]
    mlp = block.submodules.get("mlp")
    if mlp is not None and mlp.name is None:  # no module of the model computes it as a whole
        return found | {"in": mlp.submodules["in"], "out": mlp.submodules["out"]}
    return found if mlp is None else found | {"mlp": mlp}


@contextlib.contextmanager
def _watched(module: nn.Module, note: Any) -> Iterator[None]:
    handle = module.register_forward_hook(note, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _note(found: dict[str, Call], name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
    given = [each for each in (*args, kwargs.get("hidden_states")) if isinstance(each, Tensor) and each.is_floating_point()]
    gave = output[0] if isinstance(output, tuple) else output
    if given and isinstance(gave, Tensor):
        found[name] = Call(tuple(given), gave)


def _flow(layer: int, block: Any, calls: dict[str, Call]) -> Flow:
    where = f"block {layer}"
    if missing := [name for name in ("", "attn", "o") if name not in calls]:
        names = {"": "a residual stream", "attn": "attention", "o": "an output matrix of attention"}
        raise Unread(f"{where} without {', '.join(names[name] for name in missing)}")
    residual, written = calls[""].given[0], calls["o"].gave
    norms = {name: call for name, call in calls.items() if name.startswith("ln")}
    before, read = _norm_giving(block, norms, calls["attn"].given[0])
    if not _same(read, residual):
        raise Unread(f"{where} whose attention reads something else than the residual stream")
    after, joins = _norm_given(block, norms, written)
    multiplier = float(getattr(block.original_component, "residual_multiplier", 1.0))
    middle = residual + multiplier * joins
    if not ({"mlp", "out"} & set(calls)):
        _check_close(calls[""].gave, middle, f"{where} which adds more than attention")
        return Flow(before, after, None, None, False, False, multiplier)
    whole, first = calls.get("mlp") or calls["out"], calls.get("mlp") or calls["in"]
    before_mlp, read = _norm_giving(block, norms, first.given[0])
    parallel = _same(read, residual)
    if not parallel:
        _check_close(read, middle, f"{where} whose MLP reads something else than the residual stream")
    adds = "mlp" in calls and len(whole.given) > 1
    after_mlp, joins = _norm_given(block, norms, whole.gave - whole.given[1] if adds else whole.gave)
    _check_close(
        calls[""].gave, middle + multiplier * joins.view_as(middle), f"{where} which adds more than attention and MLP"
    )
    return Flow(before, after, before_mlp, after_mlp, parallel, adds, multiplier)


def _norm_giving(block: Any, norms: dict[str, Call], read: Tensor) -> tuple[nn.Module | None, Tensor]:
    """The norm that gave what is read, and what it was given; no norm and what is read itself, if none did."""
    found = [(block.submodules[name], call.given[0]) for name, call in norms.items() if _same(call.gave, read)]
    return found[0] if found else (None, read)


def _norm_given(block: Any, norms: dict[str, Call], written: Tensor) -> tuple[nn.Module | None, Tensor]:
    """The norm that was given what is written, and what it gave; no norm and what is written itself, if none was."""
    found = [(block.submodules[name], call.gave) for name, call in norms.items() if _same(call.given[0], written)]
    return found[0] if found else (None, written)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.reshape(-1), other.reshape(-1))


def _check_close(found: Tensor, expected: Tensor, what: str) -> None:
    close = 64 * torch.finfo(found.dtype).eps * float(expected.abs().max())
    if found.numel() != expected.numel() or not float((found.view_as(expected) - expected).abs().max()) <= close:
        raise Unread(what)
