"""Random circuits that a found one can be held against: connected, of its size, with edges in the same places.

Most random sets of edges connect nothing and are beaten by any circuit; a null that says something is made of circuits.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np

from .graph import ComputationGraph
from .node import Edge, Node
from .progress import with_bar

Choice = TypeVar("Choice")
N_CANDIDATES = 4  # drawn for each random circuit; the one most like the original in layers and kinds is taken
N_ATTEMPTS = 200


def random_circuits(
    graph: ComputationGraph, kept: Collection[Edge], n: int, *, rng: np.random.Generator, progress: bool = False
) -> list[list[Edge]]:
    """Draw circuits as unions of random paths from the sources to the answer.

    Each has as many edges as `kept`, all on a path from a source to the answer, and is the one of a few draws whose
    edges are distributed most alike over layers and kinds of input (in a transformer q, k, v, MLP, logits).

    Args:
        graph: the computation graph.
        kept: the edges of the circuit to be matched, themselves connected.
        n: how many to draw.
        rng: the source of randomness.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Raises:
        ValueError: if there is no edge to match, or no connected circuit of that size was found.
    """
    if not kept:
        raise ValueError("an empty circuit has no random counterpart")
    if len(kept) == len(graph.edges):
        return [sorted(graph.edges)] * n
    paths, classes = _Paths(graph), Counter(map(edge_class, kept))
    numbers = with_bar(range(n), "drawing random circuits", show=progress)
    return [_like(classes, [_union(paths, len(kept), rng) for _ in range(N_CANDIDATES)]) for _ in numbers]


def edge_class(edge: Edge) -> tuple[int, str]:
    """The layer that an edge enters and the kind of input, `Edge.kind`."""
    return edge.receiver.layer, edge.kind


class _Paths:
    """Random paths, drawn downwards from the answer."""

    def __init__(self, graph: ComputationGraph) -> None:
        self.into: dict[Node, list[Edge]] = {}
        self.inputs_of: dict[Node, list[Node]] = {}
        for edge in graph.edges:
            if edge.receiver not in self.into:
                for node in graph.outputs_of(edge.receiver):
                    self.inputs_of.setdefault(node, []).append(edge.receiver)
            self.into.setdefault(edge.receiver, []).append(edge)
        self.graph, self.end, self.sources = graph, graph.answer, graph.sources

    def draw(self, rng: np.random.Generator) -> list[Edge]:
        """One path; each step is chosen evenly."""
        path = [_one_of(self.into[self.end], rng)]
        while (sender := path[-1].sender) not in self.sources:
            path.append(_one_of(self.into[_one_of(self.inputs_of[sender], rng)], rng))
        return path


def _one_of(choices: Sequence[Choice], rng: np.random.Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]


def _union(paths: _Paths, size: int, rng: np.random.Generator) -> list[Edge]:
    """Add paths until there are enough edges, then remove edges that no other one needs."""
    for _ in range(N_ATTEMPTS):
        edges: set[Edge] = set()
        while len(edges) < size:
            edges.update(paths.draw(rng))
        if (trimmed := _trimmed(paths, edges, size, rng)) is not None:
            return sorted(trimmed)
    raise ValueError(f"found no connected circuit of {size} edges in {N_ATTEMPTS} attempts")


def _trimmed(paths: _Paths, edges: set[Edge], size: int, rng: np.random.Generator) -> set[Edge] | None:
    order, left = sorted(edges), _Connected(paths, edges)
    for place in rng.permutation(len(order)):
        if len(left.edges) == size:
            break
        if left.can_spare(order[place]):
            left.remove(order[place])
    return left.edges if len(left.edges) == size else None


class _Connected:
    """Edges that all lie on paths from a source to the answer; each is looked at by its ends alone.

    Since nothing reads what comes after it, an edge that leaves is missed only where it was the last into what its receiver
    feeds, or the last out of what its sender reads.
    """

    def __init__(self, paths: _Paths, edges: Collection[Edge]) -> None:
        self.edges, self._outputs_of, self._inputs_of = set(edges), paths.graph.outputs_of, paths.inputs_of
        self._into, self._out_of = (Counter(getattr(edge, end) for edge in edges) for end in ("receiver", "sender"))

    def can_spare(self, edge: Edge) -> bool:
        """Whether all other edges stay on such paths without it."""
        sender, receiver = edge.sender, edge.receiver
        if self._into[receiver] == 1:
            for node in self._outputs_of(receiver):
                others = (self._into[other] for other in self._inputs_of[node] if other != receiver)
                if self._out_of[node] and not any(others):
                    return False
        if self._out_of[sender] == 1:
            for read in self._inputs_of.get(sender, ()):
                others = (self._out_of[other] for other in self._outputs_of(read) if other != sender)
                if self._into[read] and not any(others):
                    return False
        return True

    def remove(self, edge: Edge) -> None:
        """Take an edge away."""
        self.edges.remove(edge)
        self._into[edge.receiver] -= 1
        self._out_of[edge.sender] -= 1


def _like(classes: Mapping[tuple[int, str], int], candidates: Sequence[list[Edge]]) -> list[Edge]:
    """The candidate whose classes differ least from those wanted."""

    def distance(edges: list[Edge]) -> int:
        found = Counter(map(edge_class, edges))
        return sum(abs(found[name] - classes.get(name, 0)) for name in found.keys() | classes.keys())

    return min(candidates, key=distance)
