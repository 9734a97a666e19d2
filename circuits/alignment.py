"""Aligning one circuit's loops and heads with another's: two trainings may do the same in other loops, with other heads.

Loops keep their order, but several may become one: a fact looked up in loops 0 and 1 and read in loop 2 is aligned with one
that is looked up in loop 0 and read in loop 1. Components that stand side by side, such as the heads of a layer, can change
places. Effects of edges that fall together are added, positive and negative ones apart; edges that would lead from a layer
into itself are dropped.

Where loops go is found by a beam (`loop_moves`), where heads go by optimal assignment (`orderings`). Both are exact in small
graphs and nearly so elsewhere; an alignment that is missed makes a distance too large, never too small.

All this describes how a function is written down. One head that was split into two has no partner, whatever the assignment;
nor has an idle block that was moved past others with weights of their own. Where loops become one, a function applied three
times in a row looks like one applied once, but for the share of effects that is dropped. So a distance says how alike two
circuits are, not whether two models take one path.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from .loop_moves import Move, loop_moves
from .moves import Moves, Parts, moved, parts
from .orderings import CLOSE, Found, Orderings, divergences
from .similarity import jensen_shannon

EFFORT = ((40_000, 3, 64), (12_000, 1, 12), (8_000, 2, 8))
"""Of each of three kinds of tries: edges looked at, the fewest and the most."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """One circuit's loops and heads moved to where another's are.

    Attributes:
        distance: Jensen–Shannon, between the two after it.
        moved: which of the two is moved, 0 or 1.
        name: how.
        edges: the number of the edge that each edge becomes; the number of edges for those that are dropped.
        dropped: share of the moved circuit's |effects| that are on dropped edges.
    """

    distance: float
    moved: int
    name: str
    edges: Int[np.ndarray, " edge"]
    dropped: float

    def distances(self, *circuits: Float[np.ndarray, "edge _"]) -> Float[np.ndarray, " _"]:
        """Jensen–Shannon distances of two circuits, one of which is moved so."""
        found = [parts(circuit) for circuit in circuits]
        found[self.moved] = np.stack([apply_alignment(part, self.edges) for part in found[self.moved]])
        return jensen_shannon(*(np.concatenate(part) for part in found))


def apply_alignment(
    effects: Float[np.ndarray, "edge sample"], alignment: Int[np.ndarray, " edge"]
) -> Float[np.ndarray, "edge sample"]:
    """Effects after an alignment; those of edges that fall together are added."""
    found = np.zeros((len(effects) + 1, effects.shape[1]))
    np.add.at(found, alignment, effects)
    return found[:-1]


def nearest(moves: Moves, one: Float[np.ndarray, " edge"], other: Float[np.ndarray, " edge"]) -> Alignment:
    """The alignment of either circuit at which the two are nearest: of the other one if both do as well.

    Args:
        moves: of the edges, in the order of the effects.
        one: effects of the first circuit.
        other: effects of the other one.
    """
    both = [_padded(one), _padded(other)]
    ways = [(1, *_aligned(moves, both[0], both[1]))]
    if not moves.one_to_one and ways[0][1] > CLOSE:
        ways.append((0, *_aligned(moves, both[1], both[0])))
    whose, least, move, orders = min(ways, key=lambda way: _rank(way[1]))
    edges = moves.edges(move, orders)
    mass = np.abs((one, other)[whose])
    dropped = float(mass[edges == moves.nowhere].sum() / mass.sum()) if mass.any() else 0.0
    distance = float(np.sqrt(least)) if np.isfinite(least) else float("nan")
    return Alignment(distance, whose, moves.name(move, orders), edges, dropped)


def _padded(effects: Float[np.ndarray, " edge"]) -> Parts:
    return np.pad(parts(effects), [(0, 0), (0, 1)])


def _aligned(moves: Moves, p: Parts, q: Parts) -> Found:
    """The best move of q: loops as if components were one, with quick orders; then the most promising ones in full."""
    p = p / p.sum() if p.any() else p
    by_loops = _by_loops(moves, p, q)
    if not moves.several:
        return *by_loops[0], moves.stay
    n_quick, n_full, n_random = effort(moves.nowhere)
    first: list[Found] = []
    for bound, move in by_loops[:n_quick]:
        if first and bound >= min(found[0] for found in first) - CLOSE:
            break
        first.append(Orderings(moves, p, q, move).quick())
    first.sort(key=lambda found: _rank(found[0]))
    if first[0][0] < CLOSE:
        return first[0]
    full = [Orderings(moves, p, q, move).full(orders, n_random) for _, move, orders in first[:n_full]]
    return min(full, key=lambda found: _rank(found[0]))


def effort(n_edges: int) -> tuple[int, int, int]:
    """How many moves of loops are given quick orders, how many are searched in full, and from how many random starts.

    It depends on the edges' number alone, so that shuffled circuits are searched as well as measured ones.
    """
    return tuple(min(most, max(least, budget // max(n_edges, 1))) for budget, least, most in EFFORT)  # pyright: ignore


def _by_loops(moves: Moves, p: Parts, q: Parts) -> list[tuple[float, Move]]:
    """Moves of loops, with the divergence if all components side by side are one: no order of theirs gives less."""
    if moves.several:
        edges = moves.edges(range(moves.n_loops), moves.pooled(()))
        p, q = (moved(each, edges) for each in (p, q))
    tried = loop_moves(moves, p, q)
    found = divergences(p, q, np.stack([moves.edges(move, moves.stay) for move in tried]))
    return sorted(zip(found.tolist(), tried, strict=True), key=lambda each: _rank(each[0]))


def _rank(value: float) -> float:
    """Divergences that differ by rounding alone are equal: of these the first one is taken."""
    return round(value / CLOSE) if np.isfinite(value) else value
