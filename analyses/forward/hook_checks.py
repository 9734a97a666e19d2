"""Whether changes at a model's hook points do what an engine of hooks takes for granted, by making some.

All layers are looked at in one pass: a copy of the tiny batch for each layer and question, changed in that layer only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...circuits.arguments import refuse
from ...tasks.transformerlens import Model
from .hook_points import Points, alike
from .hooked_pass import Edit, Noted, noted_on

QUESTIONS = ("middle", "before", "last", "held", "first")


@dataclass(frozen=True)
class Reading:
    """What a model's parts read.

    Attributes:
        parallel: whether MLPs read what enters the layer, instead of what attention leaves.
        causal: whether positions see earlier ones only, in every layer.
        sinks: whether heads can also look nowhere, in any layer.
    """

    parallel: bool
    causal: bool
    sinks: bool


@torch.no_grad()
def reading_of(model: Model, points: Points) -> Reading:
    """Find out, and make sure that parts read nothing else.

    Raises:
        ValueError: naming the layers in which attention reads more than queries, keys and values, a query, key, value or
            MLP depends on other positions, or an MLP reads another state.
    """
    found = _changed(model, points)
    layers = range(len(points.layers))
    parallel = [
        _reads_before(points, found, layer, bool(getattr(model.cfg, "parallel_attn_mlp", False))) for layer in layers
    ]
    problems = [line for layer in layers for line in _problems(points, found, layer)]
    if len({each for each in parallel if each is not None}) > 1:
        problems.append("MLPs of some layers read what enters the layer, those of others what attention leaves")
    refuse(problems)
    causal = all(alike(*_pair(points, found, layer, "last", "attention", slice(0, -1))) for layer in layers)
    sinks = any(not alike(*_pair(points, found, layer, "first", "z", slice(0, 1))) for layer in layers)
    return Reading(bool(parallel[0]), causal, causal and sinks)


def _changed(model: Model, points: Points) -> Noted:
    """What the points hold in a copy for each layer and question, changed there.

    `middle` and `before`: the MLP reads the state after attention, or before it. `last`: what enters the layer is changed at
    the last position. `held`: the same, with queries, keys and values as before. `first`: queries are changed at the first
    position.
    """
    edits: dict[str, list[Edit]] = {}
    noted, n = points.noted, len(QUESTIONS)
    generator = torch.Generator().manual_seed(0)
    for layer, at in enumerate(points.layers):
        copy = {question: n * layer + number for number, question in enumerate(QUESTIONS)}
        before, attention = noted[at.before][0], noted[at.attention][0]
        changed = before.clone()
        changed[:, -1] = _like(changed[:, -1], generator)
        states = {"middle": before + attention, "before": before, "last": changed, "held": changed}
        for question, state in states.items():
            edits.setdefault(at.before, []).append(_put(copy[question], state))
        for question in ("middle", "before"):
            edits.setdefault(at.attention, []).append(_put(copy[question], torch.zeros_like(attention)))
        for name in (at.q, at.k, at.v):
            edits.setdefault(name, []).append(_put(copy["held"], noted[name][0]))
        queries = noted[at.q][0].clone()
        queries[:, 0] = _like(queries[:, 0], generator)
        edits[at.q].append(_put(copy["first"], queries))
    names = [name for at in points.layers for name in (at.q, at.k, at.v, at.z, at.attention, at.mlp) if name]
    return noted_on(model, points.prompts, edits, names, n=n * len(points.layers))


def _like(values: Tensor, generator: torch.Generator) -> Tensor:
    """Other numbers of the same size."""
    noise = torch.randn(values.shape, generator=generator, device="cpu").to(values)
    return values + noise * values.abs().mean()


def _put(copy: int, values: Tensor) -> Edit:
    def edit(activation: Tensor) -> None:
        activation[copy] = values

    return edit


def _pair(points: Points, found: Noted, layer: int, question: str, name: str, span: slice) -> tuple[Tensor, Tensor]:
    """What a point holds in a copy and in the plain run, at some positions."""
    point = getattr(points.layers[layer], name)
    copy = len(QUESTIONS) * layer + QUESTIONS.index(question)
    return found[point][copy][:, span], points.noted[point][0][:, span]


def _reads_before(points: Points, found: Noted, layer: int, stated: bool) -> bool | None:
    """Whether the MLP reads what enters the layer; None if it reads neither state; as stated if both give the same."""
    if not points.has_mlp:
        return stated
    fits = {question: alike(*_pair(points, found, layer, question, "mlp", slice(None))) for question in ("middle", "before")}
    if all(fits.values()):
        return stated
    return fits["before"] if any(fits.values()) else None


def _problems(points: Points, found: Noted, layer: int) -> list[str]:
    problems = []
    if points.has_mlp and _reads_before(points, found, layer, False) is None:
        problems.append(f"the MLP of layer {layer} reads neither what enters the layer nor what attention leaves")
    names = [name for name in "qkv" if not alike(*_pair(points, found, layer, "last", name, slice(0, -1)))]
    if names:
        problems.append(f"in layer {layer} what is read at one position changes {', '.join(names)} at others")
    if not alike(*_pair(points, found, layer, "held", "attention", slice(None))):
        problems.append(f"attention of layer {layer} reads the residual stream not by queries, keys and values alone")
    return problems
