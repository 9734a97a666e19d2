"""A plain run of a model, seen through its hook points: what every part reads and writes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Node
from ...tasks.transformerlens import Model
from .agreement import check_passes
from .head_writes import Writes
from .hook_points import Points
from .hooked_pass import Prompts, logits_and_noted, logits_of, slots
from .hooks import refuse_hooks

State = Float[Tensor, "query pos d_model"]


@dataclass(frozen=True, eq=False)
class HooksRun:
    """What a model reads and writes on some prompts.

    Attributes:
        prompts: as the model is asked them.
        before: what enters each layer.
        heads: what each head of each layer writes.
        middle: what each layer's MLP reads; none without MLPs.
        mlp: what each MLP writes.
        last: what leaves the last layer.
        logits: at the answer position.
    """

    prompts: Prompts
    before: Sequence[State]
    heads: Sequence[Float[Tensor, "query pos head d_model"]]
    middle: Sequence[State]
    mlp: Sequence[State]
    last: State
    logits: Float[Tensor, "query d_vocab"]

    def written_by(self, node: Node) -> State:
        """What a component adds to the residual stream; the node's role is ignored."""
        if node.kind == "embed":
            return self.before[0]
        return self.mlp[node.layer] if node.kind == "mlp" else self.heads[node.layer][:, :, node.head]

    def combined(self, combine: Callable[..., Tensor], *others: "HooksRun") -> "HooksRun":
        """A run that holds everywhere what is made of the values that this one and others hold there."""
        lists = {
            name: [combine(*each) for each in zip(*(getattr(run, name) for run in (self, *others)), strict=True)]
            for name in ("before", "heads", "middle", "mlp")
        }
        ends = {name: combine(*(getattr(run, name) for run in (self, *others))) for name in ("last", "logits")}
        return replace(self, **lists, **ends)

    def part(self, rows: slice) -> "HooksRun":
        """The run of some of the prompts."""
        mask = None if self.prompts.mask is None else self.prompts.mask[rows]
        return replace(self.combined(lambda values: values[rows]), prompts=Prompts(self.prompts.tokens[rows], mask))


@torch.no_grad()
def run_with_hooks(model: Model, points: Points, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> HooksRun:
    """Run prompts once and note what parts read and write.

    Raises:
        ValueError: if the model carries hooks, an answer would be read at a pad, or logits are not finite or change from one
            pass to the next.
    """
    refuse_hooks(model)
    prompts, answer = Prompts.of(model, graph, tokens), graph.roles.index(graph.answer_role)
    names = [name for at in points.layers for name in (at.before, at.z, at.attention, at.mlp) if name]
    logits, noted = logits_and_noted(model, prompts, {}, [*names, points.layers[-1].after])
    logits = logits[:, answer].clone()
    _check(logits, logits_of(model, prompts, {})[0, :, answer], tokens, graph.n_layers)
    held = {name: values[0] for name, values in noted.items()}
    before = [held[at.before] for at in points.layers]
    return HooksRun(
        prompts,
        before,
        [write(slots(noted[at.z], graph.n_heads)[0]) for at, write in zip(points.layers, points.writes, strict=True)],
        [x if graph.parallel else x + held[at.attention] for x, at in zip(before, points.layers, strict=True) if at.mlp],
        [held[at.mlp] for at in points.layers if at.mlp],
        held[points.layers[-1].after],
        logits,
    )


def averaged(runs: Iterable[HooksRun], n: int) -> HooksRun:
    """A run for n queries in which every part reads and writes its mean over all queries of some runs; no pad is hidden."""
    total, n_prompts = None, 0
    for run in runs:
        summed = run.combined(lambda values: values.sum(0, keepdim=True))
        total = summed if total is None else total.combined(torch.add, summed)
        n_prompts += len(run.logits)
    if total is None:
        raise ValueError("there is no run to average")
    tokens = total.prompts.tokens[:1].expand(n, -1)
    mean = total.combined(lambda values: (values / n_prompts).expand(n, *values.shape[1:]))
    return replace(mean, prompts=Prompts(tokens, None))


def silenced(run: HooksRun, writes: Sequence[Writes], *, parallel: bool) -> HooksRun:
    """A run of the same prompts in which no part writes anything; what belongs to none is read, and no logits are known.

    Args:
        run: of the prompts.
        writes: by layer; the bias of its attention, or of a norm that follows, belongs to no head.
        parallel: whether MLPs read what attention reads.
    """
    nothing = run.combined(torch.zeros_like)
    states = [nothing.last]
    for each in writes:
        states.append(states[-1] + (each.b_O if each.norm is None else each.norm.bias))
    middle = (states if parallel else states[1:])[: len(run.middle)]
    return replace(nothing, before=states[:-1], middle=middle, last=states[-1])


def _check(
    logits: Float[Tensor, "query d_vocab"], again: Float[Tensor, "query d_vocab"], tokens: Tensor, n_layers: int
) -> None:
    if (broken := ~logits.isfinite().all(-1)).any():
        first = int(broken.int().argmax())
        raise ValueError(
            f"the model's logits are not finite on {int(broken.sum())} of {len(tokens)} prompts, the first is {first} with "
            f"the tokens {tokens[first].tolist()}"
        )
    check_passes(logits, again, tokens, n_layers)
