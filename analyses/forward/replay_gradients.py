"""Gradients of a recursive network, by what every component writes through every reading; and shares by fixed scales.

What a component reads is no sum of what others write. Near one run it is linear in it: `input_gradients` takes the gradient
by a reading back through the replay, norms included. Or the scales of each run are held, then what each component has in a
reading is its output times the scales of all norms on its way, and these shares add up to the reading: `shares`.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Node
from .differentiable import gradients_on, remembered, remembered_model
from .places import Differences, Gradients, Objective, Sublayer, first_of
from .recursion import Recursion, States, recursion_of, replayed
from .replay import ReplayRun, number_of_output, number_of_reading


def input_gradients(
    base: ReplayRun, objective: Objective, added: Mapping[Sublayer, Float[Tensor, "query pos d_model"]]
) -> Gradients:
    """The gradient of an objective, summed over queries, by what every sender writes, through each reading alone.

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
        for number in range(len(recursion.sums)):
            before = recursion.reading(number - 1, states) if number else None
            states.append(written[0] if before is None else recursion.state(number, before, written[-1]))
            reads.append(recursion.reading(number, states) + 0.0)  # whose gradient leaves out what bypasses the component
            for component in recursion.components[number : number + 1]:
                written.append(component(reads[-1]) + _given(more, number + 1))
        total = objective(recursion.decode(reads[-1][base.answer])).sum()
    return _Gradients(graph, recursion, total, reads, written)


def _given(added: Mapping[int, States], number: int) -> States | float:
    return remembered(added[number]) if number in added else 0.0


def _differentiable(recursion: Recursion) -> Recursion:
    source: Any = None if recursion.source is None else remembered_model(recursion.source)
    return recursion if source is recursion.source else recursion_of(source)


class _Gradients(Mapping[Sublayer, Float[Tensor, "query pos sender input d_model"]]):
    """Gradients of a number that is computed already, taken through the replay when they are asked for."""

    def __init__(
        self, graph: ComputationGraph, recursion: Recursion, total: Tensor, reads: list[States], written: list[States]
    ) -> None:
        self._graph, self._recursion, self._total, self._reads = graph, recursion, total, reads
        self._written = [each.detach() for each in written]
        self._nodes = [Node(step.kind, "", step.layer) for step in graph.steps]
        kinds = [(node.kind, node.layer) for node in self._nodes if node.kind in ("mixer", "mlp")]
        self._sublayers: list[Sublayer] = [*kinds, ("logits", graph.n_layers)]

    def __getitem__(self, at: Sublayer) -> Float[Tensor, "query pos sender input d_model"]:
        receiver = first_of(at)
        number, senders = number_of_reading(self._graph, receiver), self._nodes[: self._graph.number_of(receiver)]
        written, readings = self._replay
        found = torch.autograd.grad(
            readings[number], written[: number + 1], self._by_reading[number], retain_graph=True, materialize_grads=True
        )
        constant = torch.zeros_like(found[0])
        by_sender = [constant if node.kind == "init" else found[number_of_output(node)] for node in senders]
        return torch.stack(by_sender, 2).transpose(0, 1)[:, :, :, None]

    def by_reading(self, at: Sublayer) -> Float[Tensor, "query pos input d_model"]:
        """By what a sublayer reads."""
        return self._by_reading[number_of_reading(self._graph, first_of(at))].transpose(0, 1)[:, :, None]

    def __iter__(self) -> Iterator[Sublayer]:
        return iter(self._sublayers)

    def __len__(self) -> int:
        return len(self._sublayers)

    @cached_property
    def _by_reading(self) -> list[States]:
        """By what each component reads, through it alone."""
        with gradients_on():
            found = list(torch.autograd.grad(self._total, self._reads, materialize_grads=True))
        del self._total, self._reads  # and with them all that the backward pass needed
        return found

    @cached_property
    def _replay(self) -> tuple[list[States], list[States]]:
        """Outputs, and the readings that follow from them."""
        with gradients_on():
            written = [each.requires_grad_() for each in self._written]
            return written, replayed(self._recursion, written)[1]


@torch.no_grad()
def changes_of_shares(base: ReplayRun, donor: ReplayRun, at: Sublayer) -> Differences:
    """By component, what more it has in what a sublayer reads in the donor run, by the scales of each run itself."""
    number = number_of_reading(base.graph, first_of(at))
    after, before = shares(donor, number), shares(base, number)
    return {node: (after[node] - before[node]).transpose(0, 1) for node in before}


def shares(run: ReplayRun, number: int) -> Mapping[Node, States]:
    """What every component, and the initial states, have in a reading; all together are the reading."""
    recursion, nodes = run.recursion, [Node(step.kind, "", step.layer) for step in run.graph.steps]
    whole = torch.ones_like(run.readings[number])
    into = {state: whole for state in recursion.sums[number]}  # by state, what of it is in the reading
    found: dict[int, States] = {}
    for state in range(number, -1, -1):
        if state not in into:
            found[state] = torch.zeros_like(whole)
            continue
        if state == 0:
            found[0] = into[0] * run.written[0]
            break
        part = into[state] / recursion.scale(state, run.readings[state - 1] + run.written[state])
        found[state] = part * run.written[state]
        for earlier in recursion.sums[state - 1]:
            into[earlier] = into[earlier] + part if earlier in into else part
    constant = sum((into[-1 - k] * each for k, each in enumerate(recursion.constants)), torch.zeros_like(whole))
    by_node = {
        node: found[number_of_output(node)]
        for node in nodes
        if node.kind in ("embed", "mixer", "mlp") and number_of_output(node) <= number
    }
    return by_node | {node: constant for node in nodes if node.kind == "init"}
