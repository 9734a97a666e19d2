"""First-order changes by edges: what a sender's output changes times the gradient of what the receiver reads.

All edges into one sublayer are one product of matrices, of which no more is held at once than one sublayer's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ..forward.places import Differences, Gradients, Sublayer, component, input_place, sender_place, sublayer_of
from ..statistics import double

Estimates = Float[np.ndarray, "edge query"]


class Products:
    """The products of some edges; those of an edge whose nodes have no role are summed over positions.

    Changes are those of what senders write, or, given a sublayer, of what they have in what it reads.

    Attributes:
        n_edges: how many there are.
        rows: by sublayer, the numbers of the edges that enter it.
    """

    def __init__(
        self, graph: ComputationGraph, edges: Sequence[Edge], changes: Differences | Callable[[Sublayer], Differences]
    ) -> None:
        self.n_edges = len(edges)
        self.rows: dict[Sublayer, list[int]] = {}
        where = {node: sublayer_of(graph, node) for node in dict.fromkeys(edge.receiver for edge in edges)}
        for row, edge in enumerate(edges):
            self.rows.setdefault(where[edge.receiver], []).append(row)
        senders = sorted(dict.fromkeys(component(edge.sender) for edge in edges), key=lambda node: sender_place(graph, node))
        self._senders, self._rows = senders, [sender_place(graph, sender) for sender in senders]
        self._changes = changes if callable(changes) else torch.stack([changes[sender] for sender in senders], 2)
        places = {sender: place for place, sender in enumerate(senders)}
        self._columns = {at: _columns(graph, [edges[row] for row in rows], places) for at, rows in self.rows.items()}

    def of(self, gradients: Gradients) -> Estimates:
        """The products of all edges."""
        found: np.ndarray | None = None
        for sublayer, rows in self.rows.items():
            products = self.into(sublayer, gradients[sublayer]).numpy()
            found = np.empty((self.n_edges, products.shape[1])) if found is None else found
            found[rows] = products
        assert found is not None  # there is an edge
        return found

    def into(
        self, sublayer: Sublayer, gradient: Float[Tensor, "query pos *sender input d_model"]
    ) -> Float[Tensor, "_ query"]:
        """The products of the edges that enter a sublayer, in double precision, on the CPU."""
        position, sender, receiver = self._columns[sublayer]
        n = int(sender.max()) + 1
        changes = self._changes_into(sublayer, n)
        if gradient.ndim == 4:
            product = changes @ gradient.mT
        else:
            product = (changes[:, :, :, None] * gradient[:, :, self._rows[:n]]).sum(-1)
        if position is None:
            return double(product).sum(1).cpu()[:, sender, receiver].T
        return double(product).cpu()[:, position, sender, receiver].T

    def _changes_into(self, sublayer: Sublayer, n: int) -> Float[Tensor, "query pos sender d_model"]:
        """Of the first senders."""
        if isinstance(self._changes, Tensor):
            return self._changes[:, :, :n]
        changes = self._changes(sublayer)
        nothing = torch.zeros_like(next(iter(changes.values())))
        return torch.stack([changes.get(sender, nothing) for sender in self._senders[:n]], 2)


def _columns(
    graph: ComputationGraph, edges: Sequence[Edge], places: dict[Node, int]
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Positions, places of senders and inputs of some edges; without roles there are no positions."""
    role = {name: position for position, name in enumerate(graph.roles)}
    sender = torch.tensor([places[component(edge.sender)] for edge in edges], device="cpu")
    receiver = torch.tensor([input_place(graph, edge.receiver) for edge in edges], device="cpu")
    if not edges[0].receiver.role:
        return None, sender, receiver
    return torch.tensor([role[edge.receiver.role] for edge in edges], device="cpu"), sender, receiver
