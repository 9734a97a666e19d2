"""Gradients of a recursive network, by what every component writes through every reading; and shares by fixed scales.

What a component reads is no sum of what others write. Near one run it is linear in it: `input_gradients` takes the gradient
by a reading back through the replay, norms included. Or the scales of each run are held, then what each component has in a
reading is its output times the scales of all norms on its way, and these shares add up to the reading: `shares`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Node
from .differentiable import gradients_on, remembered, remembered_model
from .places import Differences, Gradients, Objective, Sublayer, first_of
from .recursion import Recursion, States, recursion_of
from .replay import ReplayRun, number_of_output, number_of_reading


def input_gradients(
    base: ReplayRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
) -> Gradients:
    """The gradient of an objective, summed over queries, by what every sender writes, through each reading alone.

    The objective is computed at once; what it is differentiated by, when the first gradient is asked for.

    Args:
        base: gives the model and the prompts' embedding.
        objective: differentiable; logits at the answer position to one number for each query.
        added: by sublayer, what is added to its output.
    """
    return _gradients(base, objective, added)


def reading_gradients(base: ReplayRun, objective: Objective) -> Gradients:
    """The same by what every component reads, as one gradient for all senders."""
    found = _gradients(base, objective, {})
    return {at: found.by_reading(at) for at in found}


def _gradients(
    base: ReplayRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
) -> "_Gradients":
    recursion, graph = _differentiable(base.recursion), base.graph
    more = {number_of_output(first_of(at)): change.transpose(0, 1) for at, change in added.items() if at[0] != "init"}
    states: list[States] = []
    with gradients_on():
        written = [(remembered(base.written[0]) + _given(more, 0)).requires_grad_()]
        reads: list[States] = []
        totals: list[States] = [written[0]]  # by state, what is normed
        for number in range(len(recursion.sums)):
            states.append(recursion.normed(number, totals[-1]))
            reading = recursion.reading(number, states)
            reads.append(reading + 0.0)  # whose gradient leaves out what bypasses the component
            for component in recursion.components[number : number + 1]:
                totals.append(reading + component(reads[-1]) + _given(more, number + 1))
        total = objective(recursion.decode(reads[-1][base.answer])).sum()
    return _Gradients(graph, recursion, total, reads, [each.detach() for each in totals])


def _given(added: Mapping[int, States], number: int) -> States | float:
    return remembered(added[number]) if number in added else 0.0


def _differentiable(recursion: Recursion) -> Recursion:
    source: Any = None if recursion.source is None else remembered_model(recursion.source)
    return recursion if source is recursion.source else recursion_of(source)


class _Gradients(Mapping[Sublayer, Float[Tensor, "query pos sender input d_model"]]):
    """Gradients of a number that is computed already, taken through the replay when they are asked for."""

    def __init__(
        self,
        graph: ComputationGraph,
        recursion: Recursion,
        total: Tensor,
        reads: list[States],
        totals: Sequence[States],
    ) -> None:
        self._graph, self._recursion, self._total, self._reads, self._totals = graph, recursion, total, reads, totals
        self._nodes = _nodes(graph)
        kinds = [(node.kind, node.layer) for node in self._nodes if node.kind in ("mixer", "mlp")]
        self._sublayers: list[Sublayer] = [*kinds, ("logits", graph.n_layers)]

    @torch.no_grad()
    def __getitem__(self, at: Sublayer) -> Float[Tensor, "query pos sender input d_model"]:
        receiver = first_of(at)
        number, senders = number_of_reading(self._graph, receiver), self._nodes[: self._graph.number_of(receiver)]
        found = _taken_back(self._recursion, number, self._by_reading[number], self._through)
        constant = torch.zeros_like(self._totals[0])
        by_sender = [constant if node.kind == "init" else found.get(number_of_output(node), constant) for node in senders]
        return torch.stack(by_sender, 2).transpose(0, 1)[:, :, :, None]

    def __iter__(self) -> Iterator[Sublayer]:
        return iter(self._sublayers)

    def __len__(self) -> int:
        return len(self._sublayers)

    def by_reading(self, at: Sublayer) -> Float[Tensor, "query pos input d_model"]:
        """By what a sublayer reads."""
        return self._by_reading[number_of_reading(self._graph, first_of(at))].transpose(0, 1)[:, :, None]

    @cached_property
    def _by_reading(self) -> list[States]:
        """By what each component reads, through it alone."""
        with gradients_on():
            found = list(torch.autograd.grad(self._total, self._reads, materialize_grads=True))
        del self._total, self._reads  # and with them all that the backward pass needed
        return found

    @cached_property
    def _scales(self) -> list[Tensor]:
        return [self._recursion.scale(number, total) for number, total in enumerate(self._totals)]

    @cached_property
    def _states(self) -> list[States]:
        return [total / scale for total, scale in zip(self._totals, self._scales, strict=True)]

    def _through(self, number: int, gradient: States) -> States:
        """From the gradient by a state to that by what is normed to it."""
        dim, state = self._recursion.norms[number], self._states[number]
        if dim is None:
            return gradient
        return (gradient - state * (gradient * state).mean(dim, keepdim=True)) / self._scales[number]


def _nodes(graph: ComputationGraph) -> list[Node]:
    """By step, its component."""
    return [Node(step.kind, "", step.layer) for step in graph.steps]


def _taken_back(
    recursion: Recursion, number: int, gradient: States, through: Callable[[int, States], States]
) -> dict[int, States]:
    """From the gradient by a reading to those by outputs, and by the constants, whose numbers are below 0.

    Args:
        recursion: the network.
        number: of the reading.
        gradient: by it.
        through: number of a state and gradient by it to that by what is normed to it.
    """
    by_state, found = dict.fromkeys(recursion.sums[number], gradient), {}
    for state in range(number, -1, -1):
        if state in by_state:
            found[state] = through(state, by_state[state])
            for earlier in recursion.sums[state - 1] if state else ():
                by_state[earlier] = by_state[earlier] + found[state] if earlier in by_state else found[state]
    return found | {state: part for state, part in by_state.items() if state < 0}


@torch.no_grad()
def changes_of_shares(base: ReplayRun, donor: ReplayRun, at: Sublayer) -> Differences:
    """By component, what more it has in what a sublayer reads in the donor run, by the scales of each run itself."""
    number = number_of_reading(base.graph, first_of(at))
    after, before = shares(donor, number), shares(base, number)
    return {node: (after[node] - before[node]).transpose(0, 1) for node in before}


def shares(run: ReplayRun, number: int) -> Mapping[Node, States]:
    """What every component, and the initial states, have in a reading; all together are the reading."""
    recursion, nothing = run.recursion, torch.zeros_like(run.readings[number])

    def scaled(state: int, part: States) -> States:
        return part / recursion.scale(state, run.readings[state - 1] + run.written[state]) if state else part

    parts = _taken_back(recursion, number, torch.ones_like(nothing), scaled)
    found = {state: part * run.written[state] for state, part in parts.items() if state >= 0}
    constant = sum((parts.get(-1 - k, nothing) * each for k, each in enumerate(recursion.constants)), nothing)
    nodes = [node for node in _nodes(run.graph) if node.kind in ("embed", "mixer", "mlp")]
    by_node = {node: found.get(number_of_output(node), nothing) for node in nodes if number_of_output(node) <= number}
    return by_node | {node: constant for node in _nodes(run.graph) if node.kind == "init"}
