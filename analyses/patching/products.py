"""First-order changes by edges: what a sender's output changes times the gradient of what the receiver reads.

All edges into one sublayer are one product of matrices, of which no more is held at once than one sublayer's.
"""

from collections.abc import Sequence

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

    Attributes:
        n_edges: how many there are.
        rows: by sublayer, the numbers of the edges that enter it.
    """

    def __init__(self, graph: ComputationGraph, edges: Sequence[Edge], changes: Differences) -> None:
        self.n_edges = len(edges)
        self.rows: dict[Sublayer, list[int]] = {}
        where = {node: sublayer_of(graph, node) for node in dict.fromkeys(edge.receiver for edge in edges)}
        for row, edge in enumerate(edges):
            self.rows.setdefault(where[edge.receiver], []).append(row)
        senders = sorted(dict.fromkeys(component(edge.sender) for edge in edges), key=lambda node: sender_place(graph, node))
        self._changes = torch.stack([changes[sender] for sender in senders], 2)
        places = {sender: place for place, sender in enumerate(senders)}
        self._columns = {at: _columns(graph, [edges[row] for row in rows], places) for at, rows in self.rows.items()}

    def of(self, gradients: Gradients) -> Estimates:
        """The products of all edges."""
        found = np.empty((self.n_edges, len(self._changes)))
        for sublayer in self.rows:
            found[self.rows[sublayer]] = self.into(sublayer, gradients[sublayer]).numpy()
        return found

    def into(self, sublayer: Sublayer, gradient: Float[Tensor, "query pos input d_model"]) -> Float[Tensor, "_ query"]:
        """The products of the edges that enter a sublayer, in double precision, on the CPU."""
        position, sender, receiver = self._columns[sublayer]
        product = self._changes[:, :, : int(sender.max()) + 1] @ gradient.mT
        if position is None:
            return double(product).sum(1).cpu()[:, sender, receiver].T
        return double(product).cpu()[:, position, sender, receiver].T


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
