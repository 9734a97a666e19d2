"""Single edges and nodes of a recursive network patched exactly, many in one batch, each from where it matters.

An edge changes what one component reads: its reading is rebuilt from all outputs before it, one of them from the donor run
at one position, see `recursion`. What the component makes of it is put into the base run, and everything later is computed
as usual. A node changes what it writes, for all its readers.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from .places import Logits
from .recursion import States
from .replay import ReplayRun, number_of_output, number_of_reading


class Patch(NamedTuple):
    """An output that is taken from the donor run.

    Attributes:
        output: its number, −1 for what is a constant.
        role: at which position; empty for all.
        reading: the number of the reading in which it is; −1 for all.
    """

    output: int
    role: str
    reading: int

    @classmethod
    def of(cls, graph: ComputationGraph, target: Edge | Node) -> "Patch":
        """Of an edge, or of a node."""
        node, reading = (
            (target, -1) if isinstance(target, Node) else (target.sender, number_of_reading(graph, target.receiver))
        )
        return cls(-1 if node.kind == "init" else number_of_output(node), node.role, reading)

    @property
    def entered(self) -> int:
        """The number of the first state that differs."""
        return self.output if self.reading < 0 else self.reading + 1


@torch.no_grad()
def patched_logits(base: ReplayRun, donor: ReplayRun, targets: Sequence[Edge] | Sequence[Node], *, n_copies: int) -> Logits:
    """The logits with each edge or node patched by itself, some at a time.

    Where a target changes nothing the logits are the run's to the bit, so that its effect is zero and not rounding.

    Args:
        base: the prompts that are run.
        donor: whose outputs are put in.
        targets: those without a role are patched at all positions at once.
        n_copies: of each query, at once.
    """
    patches = [Patch.of(base.graph, target) for target in targets]

    @cache
    def changes(output: int, role: str) -> bool:
        at = slots_of(base.graph, role)
        return output >= 0 and not base.written[output][at].equal(donor.written[output][at])

    differs = [changes(each.output, each.role) for each in patches]
    for some in _chunks([i for i, each in enumerate(differs) if not each], n_copies):
        yield some, base.logits.expand(len(some), -1, -1)
    order = sorted((i for i, each in enumerate(differs) if each), key=lambda i: (patches[i].entered, patches[i]))
    for (entered, _), group in groupby(order, key=lambda i: (patches[i].entered, patches[i].reading)):
        for some in _chunks(list(group), n_copies):
            yield some, finish(base, entered, _entering(base, donor, [patches[i] for i in some]))


def slots_of(graph: ComputationGraph, role: str) -> slice:
    """A role's position, or all."""
    if not role:
        return slice(0, len(graph.roles))
    place = graph.roles.index(role)
    return slice(place, place + 1)


def _chunks(places: list[int], n: int) -> Iterator[list[int]]:
    return (places[start : start + n] for start in range(0, len(places), n))


def _entering(base: ReplayRun, donor: ReplayRun, patches: Sequence[Patch]) -> States:
    """The first states that differ, [pos, copy, query, d_model]: of patches that enter at the same one, by output."""
    parts = []
    for output, group in groupby(patches, key=lambda each: each.output):
        slots = [slots_of(base.graph, each.role) for each in group]
        written = base.written[output][:, None].repeat(1, len(slots), 1, 1)
        for copy, at in enumerate(slots):
            written[at, copy] = donor.written[output][at]
        parts.append(written if patches[0].reading < 0 else _reading(base, output, written, patches[0].reading))
    changed, entered = torch.cat(parts, 1), patches[0].entered
    recursion, reading = base.recursion, patches[0].reading
    if reading == len(recursion.components):
        return changed
    if reading >= 0:
        changed = recursion.components[reading](changed)
    return _state(base, entered, changed)


def _state(base: ReplayRun, number: int, written: States) -> States:
    """A state if its component reads what it reads in the base run and writes something else."""
    return written if number == 0 else base.recursion.state(number, base.readings[number - 1][:, None], written)


def _reading(base: ReplayRun, output: int, written: States, reading: int) -> States:
    """What a component reads if another one before it writes something else, and all others what they write."""
    recursion, states = base.recursion, [*(each[:, None] for each in base.states[:output]), _state(base, output, written)]
    for number in range(output + 1, reading + 1):
        before = recursion.reading(number - 1, states)
        states.append(recursion.state(number, before, base.written[number][:, None]))
    return recursion.reading(reading, states)


def finish(base: ReplayRun, number: int, state: States) -> Float[Tensor, "copy query d_vocab"]:
    """The logits at the answer position of copies of a run, given the first state that differs.

    Args:
        base: the run.
        number: of the state; one more than there are means that it is what the answer is read of.
        state: [pos, copy, query, d_model].
    """
    recursion, answer = base.recursion, base.answer
    if number > len(recursion.components):
        return recursion.decode(state[answer])
    states, last = [*(each[:, None] for each in base.states[:number]), state], len(recursion.components) - 1
    for place in range(number, last + 1):
        reading = recursion.reading(place, states)
        if place == last and recursion.last_is_local:
            reading, answer = reading[answer : answer + 1], 0
        states.append(recursion.state(place + 1, reading, recursion.components[place](reading)))
    return recursion.decode(recursion.reading(last + 1, states)[answer])
