"""What a recursive network computes, as components that read sums of normed states.

Component r reads reading r and writes output r + 1; output 0 is the embedding. State 0 is the embedding, state k the norm of
reading k − 1 plus output k. A reading is a sum of states and constants, the last one what the answer is read of. So all
readings follow from outputs and constants: that is the replay. Positions come first, as then both MLPs are single products.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...tasks.models.trm import EPS, TRM, GatedMLP

States = Float[Tensor, "_ ... d_model"]
"""By position, and after that copies or queries."""


@dataclass(frozen=True, eq=False)
class Recursion:
    """The arithmetic of a recursive network, see above.

    Attributes:
        source: the model; None if there is none.
        embedded: tokens [query, pos] to the embedding.
        components: by number, readings to outputs.
        mixes: by component, whether its output at a position depends on its reading at others.
        norms: by state, over which dimension it is normed: 0, positions, or −1, channels; None: not at all.
        sums: by reading, the numbers of the states of which it is the sum, in order; −1 and below are constants.
        constants: initial states [d_model]; number −1 is the first.
        decode: reading [*batch, d_model] at the answer to logits.
    """

    source: Any
    embedded: Callable[[Int[Tensor, "query pos"]], States]
    components: Sequence[Callable[[States], States]]
    mixes: Sequence[bool]
    norms: Sequence[int | None]
    sums: Sequence[Sequence[int]]
    constants: Sequence[Float[Tensor, " d_model"]]
    decode: Callable[[Tensor], Tensor]

    @property
    def last_is_local(self) -> bool:
        """Whether the answer depends on the last component's output and reading at the answer position alone."""
        return not self.mixes[-1] and self.norms[-1] != 0 and self.sums[-1] == (len(self.components),)

    def reading(self, number: int, states: Sequence[States]) -> States:
        """What a component reads, given the states before it."""
        first, *others = (states[k] if k >= 0 else self.constants[-1 - k] for k in self.sums[number])
        for each in others:
            first = first + each
        return first

    def state(self, number: int, reading: States, output: States) -> States:
        """A state from what its component reads and writes."""
        return self.normed(number, reading + output)

    def normed(self, number: int, total: States) -> States:
        """A sum, normed as a state is."""
        return total if self.norms[number] is None else total / self.scale(number, total)

    def scale(self, number: int, total: States) -> Float[Tensor, "*sizes"]:
        """What a sum is divided by."""
        dim = self.norms[number]
        return total.new_ones(()) if dim is None else (total.square().mean(dim, keepdim=True) + EPS).sqrt()


def recursion_of(model: TRM) -> Recursion:
    """The arithmetic of a token-mixing network, with its parameters."""
    parts: Any = model
    shape = model.cfg.shape
    mixing, components, norms = 0 if shape.mixer_norm == "positions" else -1, [], [None]
    for layer in range(shape.n_layers):
        core = parts.core[layer % shape.n_blocks]
        components += [_mixing(core.mixer), core.mlp]
        norms += [mixing, -1]
    return Recursion(
        model,
        lambda tokens: model.embedded(tokens).transpose(0, 1).contiguous(),
        components,
        [True, False] * shape.n_layers,
        norms,
        _sums(shape.h_cycles, shape.l_cycles, shape.n_blocks),
        (parts.z_h, parts.z_l),
        lambda reading: reading @ parts.unembed.W_U,
    )


Z_H, Z_L, X = -1, -2, 0


def _sums(h_cycles: int, l_cycles: int, n_blocks: int) -> list[tuple[int, ...]]:
    """Which states each reading is the sum of: after application `a`, state 2a + 2."""
    found: list[tuple[int, ...]] = []
    z_h, z_l = Z_H, Z_L
    for _ in range(h_cycles):
        for refined in ("l",) * l_cycles + ("h",):
            enters = (z_l, z_h, X) if refined == "l" else (z_h, z_l)
            for _ in range(n_blocks):
                found += [enters, (len(found) + 1,)]
                enters = (len(found),)
            z_h, z_l = (z_h, len(found)) if refined == "l" else (len(found), z_l)
    return [*found, (z_h,)]


def _mixing(mixer: GatedMLP) -> Callable[[States], States]:
    """An MLP over positions, as a product of matrices."""

    def mixed(reading: States) -> States:
        flat = reading.flatten(1)
        hidden = torch.nn.functional.silu(mixer.W_gate.T @ flat) * (mixer.W_in.T @ flat)
        return (mixer.W_out.T @ hidden).view_as(reading)

    return mixed


def replayed(
    recursion: Recursion,
    output: Callable[[int, Sequence[States]], States],
    change: Callable[[States], States] = lambda reading: reading,
) -> tuple[list[States], list[States], list[States]]:
    """All outputs, states and readings.

    Args:
        recursion: the network.
        output: number of an output and the readings before it to what is written.
        change: of every reading, what is read instead.
    """
    written: list[States] = []
    states: list[States] = []
    readings: list[States] = []
    for number in range(len(recursion.sums)):
        written.append(output(number, readings))
        states.append(written[0] if number == 0 else recursion.state(number, readings[-1], written[-1]))
        readings.append(change(recursion.reading(number, states)))
    return written, states, readings
