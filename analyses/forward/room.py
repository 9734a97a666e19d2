"""How many pairs and copies an engine runs at once: half of the budget for runs and results, half for what follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from ...circuits import ComputationGraph
from .memory import EDGE_BYTES, ENOUGH, N_COPIES, batches, evenly, how_many, readable

Work = Literal["copies", "sets", "gradients", "looks"]
"""What is done with runs: patched copies of them, runs with sets of edges, gradients; or they are looked at as they are."""


@dataclass(frozen=True)
class Room:
    """What fits into a budget.

    Attributes:
        memory: bytes that may be used.
        edges: bytes of the edges of the graph, for works that list them.
        pair: bytes of the plain runs of one pair of prompts.
        works: by work, the bytes that a prompt takes, and how many prompts there may be at most.
    """

    memory: int
    edges: int
    pair: int
    works: Mapping[str, tuple[int, int]]

    @classmethod
    def of(cls, memory: int, graph: ComputationGraph, pair: int, works: Mapping[str, tuple[int, int]]) -> "Room":
        """A budget in bytes, for a model of some graph."""
        return cls(memory, EDGE_BYTES * graph.n_edges, pair, works)

    def half(self, work: Work) -> int:
        """Half of the bytes that tensors may take."""
        return max(0, self.memory - (self.edges if work != "looks" else 0)) // 2

    def batches(self, n: int, work: Work, results: int) -> Sequence[Int[Tensor, " row"]]:
        """The rows of n pairs, as many at a time as fit, see `Engine.batches`."""
        (each, most), wanted = self.works[work], 1 if work in ("gradients", "looks") else N_COPIES
        runs = how_many(n, self.pair, self.half(work) - results, _purpose(work, results))
        copies = how_many(n * wanted, each, self.half(work), _purpose(work, 0))
        size = min(runs, max(1, copies // wanted), most)
        return batches(n, size if work != "gradients" else evenly(n, size))

    def at_once(self, work: Work, n: int) -> int:
        """How many copies of a run of n prompts fit."""
        each, most = self.works[work]
        return how_many(max(1, min(most, ENOUGH // each) // n), each * n, self.half(work), _purpose(work, 0))


def _purpose(work: Work, results: int) -> str:
    """What a refusal names."""
    kept = f", next to {readable(results)} of results," if results else ""
    return {
        "copies": f"one patched copy of one pair of prompts{kept}",
        "sets": f"one set of edges on one pair of prompts{kept}",
        "gradients": f"the gradient of one pair of prompts{kept}",
        "looks": f"one pair of prompts{kept}",
    }[work]
