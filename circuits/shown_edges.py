"""Which of a circuit's edges a page holds, and which it shows at first.

Nobody can see hundreds of thousands of curves, and a page of all their numbers opens slowly. So a page holds every kept edge
and the strongest of the others, up to a number that no picture reaches. Whatever it offers to draw it draws completely.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from .circuit import Circuit

MOST_HELD = 40_000  # edges in a page; smaller measurements are in it whole
MOST_AT_FIRST, THEN = 300, 50  # if more are kept than can be told apart, the page begins with the strongest few


class Held(NamedTuple):
    """The edges of circuits with one table of edges that a page holds.

    Attributes:
        rows: of the tables, in order.
        n_strongest: up to which number the strongest edges of each circuit are among them.
        left_out: the largest |effect| that is not among them; 0 if all are.
    """

    rows: np.ndarray
    n_strongest: int
    left_out: float


def held_edges(circuits: Sequence[Circuit]) -> Held:
    """What a page holds of circuits whose tables have the same edges: of each the kept ones and equally many strongest."""
    n_edges = len(circuits[0].table)
    if n_edges <= MOST_HELD:
        return Held(np.arange(n_edges), n_edges, 0.0)
    each = max(MOST_HELD // len(circuits), MOST_AT_FIRST)
    held = np.zeros(n_edges, dtype=bool)
    for circuit in circuits:
        held[np.flatnonzero(circuit.table["kept"])] = True
        held[strongest(circuit.table, each)] = True
    others = [sizes(circuit.table)[~held] for circuit in circuits]
    return Held(np.flatnonzero(held), each, float(max(np.max(other, initial=0.0) for other in others)))


def n_at_first(circuits: Sequence[Circuit]) -> int | None:
    """With how many of the strongest edges a page begins; None where it begins with the kept ones."""
    return THEN if any(int(circuit.table["kept"].sum()) > MOST_AT_FIRST for circuit in circuits) else None


def at_first(circuit: Circuit, n: int | None) -> np.ndarray:
    """The rows of the edges that a page begins with, see `n_at_first`."""
    return np.flatnonzero(circuit.table["kept"]) if n is None else np.sort(strongest(circuit.table, n))


def strongest(table: pd.DataFrame, n: int) -> np.ndarray:
    """The rows of the n largest |effect|, largest first, of equal ones the first; those without a number are left out."""
    size = sizes(table)
    order = np.argsort(-size, kind="stable")[:n]
    return order[size[order] >= 0]


def sizes(table: pd.DataFrame) -> np.ndarray:
    """|effect| of each edge; −1 where there is no number."""
    effects = table["effect"].to_numpy(dtype=float)
    return np.where(np.isfinite(effects), np.abs(effects), -1.0)
