"""Plain runs of a recursive network: what its components write, and the states that follow from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Node
from ...tasks.models.trm import TRM
from .agreement import check_agreement, nudge
from .at_rest import at_rest
from .decoder import device_of
from .hooks import refuse_hooks
from .recursion import Recursion, States, recursion_of, replayed


@dataclass(frozen=True, eq=False)
class ReplayRun:
    """A plain run of a recursive network on some prompts.

    Attributes:
        recursion: the network that was run.
        graph: its computation graph.
        written: what the embedding and each component write, [pos, query, d_model], see `Recursion`.
        states: by number.
        readings: what each component reads, last what the logits do.
        logits: at the answer position.
    """

    recursion: Recursion
    graph: ComputationGraph
    written: Sequence[States]
    states: Sequence[States]
    readings: Sequence[States]
    logits: Float[Tensor, "query d_vocab"]

    @property
    def embedding(self) -> Float[Tensor, "query pos d_model"]:
        """What is put into every refinement of z_L."""
        return self.written[0].transpose(0, 1)

    @property
    def answer(self) -> int:
        """The position at which the answer is read."""
        return self.graph.roles.index(self.graph.answer_role)

    def state(self, layer: int) -> Float[Tensor, "query pos d_model"]:
        """What leaves an application of a block; −1 is the embedding."""
        return self.states[number_of_state(layer)].transpose(0, 1)

    def part(self, rows: slice) -> "ReplayRun":
        """The run of some of the prompts."""
        lists = {name: [each[:, rows] for each in getattr(self, name)] for name in ("written", "states", "readings")}
        return replace(self, **lists, logits=self.logits[rows])


def number_of_state(layer: int) -> int:
    """The number of the state that leaves an application; −1 is the embedding."""
    return 2 * layer + 2


def number_of_output(node: Node) -> int:
    """The number of what a node writes; the initial states, which are constants, have none."""
    return {"embed": 0, "mixer": 2 * node.layer + 1, "mlp": 2 * node.layer + 2}[node.kind]


def number_of_reading(graph: ComputationGraph, node: Node) -> int:
    """The number of what a node reads."""
    return {"mixer": 2 * node.layer, "mlp": 2 * node.layer + 1, "logits": 2 * graph.n_layers}[node.kind]


@torch.no_grad()
def replay_run(model: TRM, graph: ComputationGraph, tokens: Int[Tensor, "query pos"]) -> ReplayRun:
    """Run prompts once and note what everything writes.

    Raises:
        ValueError: if the model carries hooks, or for some prompt the model's logits are not finite or differ from those
            computed here.
    """
    refuse_hooks(model)
    resting: Any = at_rest(model)
    tokens = tokens.to(device_of(model))
    run = _run(recursion_of(resting), graph, tokens)
    check_agreement(resting, tokens, run.answer, run.logits, partial(_nudged, run, tokens))
    return run


def rebuilt(recursion: Recursion, graph: ComputationGraph, written: Sequence[States]) -> ReplayRun:
    """The run in which components write what is given, whatever they read."""
    return _of(recursion, graph, *replayed(recursion, lambda number, _: written[number]))


def averaged(runs: Iterable[ReplayRun], n: int) -> ReplayRun:
    """A run of n prompts in which everything writes its mean over all prompts of some runs, taken one after the other.

    States are rebuilt from these means: they are not the means of states.
    """
    last, total, n_prompts = None, None, 0
    for last in runs:
        summed = [each.sum(1, keepdim=True) for each in last.written]
        total = summed if total is None else list(map(torch.add, total, summed))
        n_prompts += len(last.logits)
    if last is None or total is None:
        raise ValueError("there is no run to average")
    return rebuilt(last.recursion, last.graph, [(each / n_prompts).expand(-1, n, -1) for each in total])


def _run(
    recursion: Recursion,
    graph: ComputationGraph,
    tokens: Int[Tensor, "query pos"],
    change: Callable[[Tensor], Tensor] = lambda reading: reading,
) -> ReplayRun:
    """Every component writes what it makes of what `change` makes of its reading."""

    def output(number: int, readings: Sequence[States]) -> States:
        return recursion.components[number - 1](readings[-1]) if number else recursion.embedded(tokens)

    return _of(recursion, graph, *replayed(recursion, output, change))


def _of(
    recursion: Recursion,
    graph: ComputationGraph,
    written: Sequence[States],
    states: Sequence[States],
    readings: Sequence[States],
) -> ReplayRun:
    """The run with the logits that follow from the last reading."""
    logits = recursion.decode(readings[-1][graph.roles.index(graph.answer_role)])
    return ReplayRun(recursion, graph, written, states, readings, logits)


def _nudged(run: ReplayRun, tokens: Int[Tensor, "query pos"]) -> Float[Tensor, "query d_vocab"]:
    """The logits if every reading had been rounded otherwise."""
    change = partial(nudge, generator=torch.Generator().manual_seed(0))
    return _run(run.recursion, run.graph, tokens, change).logits
