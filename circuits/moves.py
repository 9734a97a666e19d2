"""Where a circuit's edges go when its loops and the components that stand side by side are moved.

Loops keep their order, but several may become one. Components that stand side by side, such as the heads of a layer, change
places, in all loops alike. What is used in one loop only stays in it. An edge whose ends would lie where there is no edge,
such as from a layer into itself, goes nowhere.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .graph import ComputationGraph
from .node import Edge, Node

Weights = tuple[str, int | None]
"""What steps that share weights have in common, see `Step.weights`."""
Parts = Float[np.ndarray, "part edge_or_nowhere"]
"""Positive and negative effects by size, and nowhere a 0."""
Orders = Int[np.ndarray, "weights component"]
"""By weights of which several stand side by side, where each component goes; a last row for all others, which stay."""


@dataclass(frozen=True, eq=False)
class Ends:
    """The edges at components that stand side by side, a row for those that differ only in which component it is.

    Attributes:
        kind: what the component's end of the edge is, a row of `Moves.at`.
        loop: of that end.
        other: the node at the other end.
        sends: whether the component is the sender.
        edge: by component, the edge's number; that of nowhere if it has none.
    """

    kind: Int[np.ndarray, " row"]
    loop: Int[np.ndarray, " row"]
    other: Int[np.ndarray, " row"]
    sends: np.ndarray
    edge: Int[np.ndarray, "row component"]


class Moves:
    """What moving loops and components does to some edges of a graph; nowhere is the number after the last edge."""

    def __init__(self, graph: ComputationGraph, edges: Sequence[Edge]) -> None:
        self.n_loops, self.nowhere = graph.n_loops, len(edges)
        self.several = {weights: steps[0].n for weights, steps in graph.by_weights.items() if steps[0].n > 1}
        self.stay = np.tile(np.arange(max(self.several.values(), default=1)), (len(self.several) + 1, 1))
        nodes = list(dict.fromkeys(node for edge in edges for node in edge))
        number = {node: place for place, node in enumerate(nodes)}
        self._describe(graph, nodes)
        self.sender, self.receiver = (np.array([number[edge[end]] for edge in edges], dtype=int) for end in (0, 1))
        self.place = np.full((len(nodes) + 1,) * 2, len(edges), dtype=np.int32)
        self.place[self.sender, self.receiver] = np.arange(len(edges))
        self._moved: dict[tuple[int, ...], np.ndarray] = {}
        self.ends = [self._ends(row) for row in range(len(self.several))]

    @property
    def one_to_one(self) -> bool:
        """Whether there is a single loop, so that every move can be undone."""
        return self.n_loops == 1

    def nodes(self, move: Sequence[int], orders: Orders) -> Int[np.ndarray, " node"]:
        """Where each node goes."""
        return self.at[self.kind, self.loops(self.loop, self.kind, move), orders[self.row, self.component]]

    def loops(self, loop: np.ndarray, kind: np.ndarray, move: Sequence[int]) -> np.ndarray:
        """Where loops of kinds of ends go."""
        return np.where(self.fixed[kind], loop, np.asarray(move)[loop])

    def edges(self, move: Sequence[int], orders: Orders) -> Int[np.ndarray, " edge"]:
        """The number of the edge that each edge becomes."""
        if orders is not self.stay:
            return self._edges(move, orders)
        move = tuple(move)  # moves of loops alone are asked for again and again
        if move not in self._moved:
            self._moved[move] = self._edges(move, orders)
        return self._moved[move]

    def orders(self, order_of: Mapping[Weights, Sequence[int]]) -> Orders:
        """Orders of some weights, the others as they are."""
        found = self.stay.copy()
        for row, weights in enumerate(self.several):
            found[row, : self.several[weights]] = order_of.get(weights, range(self.several[weights]))
        return found

    def pooled(self, apart: Collection[int]) -> Orders:
        """Orders that make one component of all that stand side by side, but for some rows."""
        found = self.stay.copy()
        found[[row for row in range(len(self.several)) if row not in apart]] = 0
        return found

    def name(self, move: Sequence[int], orders: Orders) -> str:
        """How loops, and components that change places, are moved."""
        name = f"loops {' '.join(map(str, move))}"
        for kind in dict.fromkeys(kind for kind, _ in self.several):
            rows = [(row, n) for row, ((each, _), n) in enumerate(self.several.items()) if each == kind]
            found = [orders[row, :n] for row, n in rows]
            if any((order != np.arange(len(order))).any() for order in found):
                name += f", {kind}s {' / '.join(' '.join(map(str, order)) for order in found)}"
        return name

    def _describe(self, graph: ComputationGraph, nodes: Sequence[Node]) -> None:
        """By node: kind (weights, role and input), loop, row of the orders and component; and the node that has these."""
        steps = [graph.steps[graph.number_of(node)] for node in nodes]
        kinds = [(step.weights, node.role, node.input) for step, node in zip(steps, nodes, strict=True)]
        number = {kind: place for place, kind in enumerate(dict.fromkeys(kinds))}
        row = {weights: place for place, weights in enumerate(self.several)}
        self.kind = np.array([number[kind] for kind in kinds], dtype=int)
        self.loop = np.array([graph.by_weights[step.weights].index(step) for step in steps], dtype=int)
        self.row = np.array([row.get(step.weights, -1) for step in steps], dtype=int)
        self.component = np.array([max(node.index, 0) for node in nodes], dtype=int)
        self.fixed = np.array([len(graph.by_weights[weights]) == 1 for weights, *_ in number], dtype=bool)
        self.at = np.full((len(number), self.n_loops, self.stay.shape[1]), len(nodes))
        self.at[self.kind, self.loop, self.component] = np.arange(len(nodes))

    def _edges(self, move: Sequence[int], orders: Orders) -> Int[np.ndarray, " edge"]:
        nodes = self.nodes(move, orders)
        return self.place[nodes[self.sender], nodes[self.receiver]]

    def _ends(self, row: int) -> Ends:
        edges = np.arange(self.nowhere)
        both = [(self.sender, self.receiver, edges, True), (self.receiver, self.sender, edges, False)]
        keys, components, numbers = [], [], []
        for own, other, edge, sends in both:
            here = self.row[own] == row
            end = own[here]
            keys.append(np.stack([self.kind[end], self.loop[end], other[here], np.full(len(end), sends)]))
            components.append(self.component[end])
            numbers.append(edge[here])
        found, which = np.unique(np.concatenate(keys, axis=1), axis=1, return_inverse=True)
        table = np.full((found.shape[1], list(self.several.values())[row]), self.nowhere)
        table[which.ravel(), np.concatenate(components)] = np.concatenate(numbers)
        return Ends(found[0], found[1], found[2], found[3].astype(bool), table)


def parts(effects: np.ndarray) -> np.ndarray:
    """Positive and negative effects as two parts, both by size: an axis before all others."""
    return np.stack([np.maximum(effects, 0.0), np.maximum(-effects, 0.0)])


def moved(masses: Parts, edges: Int[np.ndarray, " edge"]) -> Parts:
    """Masses after a move; what goes nowhere is gone."""
    n = masses.shape[1]
    found = np.stack([np.bincount(edges, part[:-1], minlength=n) for part in masses])
    found[:, -1] = 0.0
    return found
