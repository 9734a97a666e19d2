"""Orders of components that stand side by side, such as heads, by which one circuit comes nearest to another.

One layer's components are assigned after the other's (Kuhn 1955), given where all others are, until nothing changes, from
several starts; Ainsworth et al. 2023 match neurons so. Assignments are by Σ √p √q, a product of matrices; the best of the
starts go on by what is wanted, the mass in common. Up to 120 orders are all tried.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import permutations, product

import numpy as np
from jaxtyping import Float, Int

from .loop_moves import Move
from .moves import Moves, Orders, Parts, moved
from .similarity import common_mass

ALL_TRIED, N_POLISHED, MAX_SWEEPS = 120, 3, 20
CELLS = 2**20  # of a table of moved masses at a time
CLOSE = 1e-12  # divergences that differ by less are equal
Found = tuple[float, Move, Orders]
"""A divergence, and the moves of loops and of components that give it."""
Gain = Callable[[np.ndarray, np.ndarray], Float[np.ndarray, "component place"]]


class Orderings:
    """Orders of q's components for one move of its loops."""

    def __init__(self, moves: Moves, p: Parts, q: Parts, move: Move) -> None:
        self.moves, self.p, self.q, self.move = moves, p, q, move
        self.rows = range(len(moves.several))

    @property
    def few(self) -> bool:
        """Whether all orders are tried at once."""
        return math.prod(map(math.factorial, self.moves.several.values())) <= ALL_TRIED

    def quick(self) -> Found:
        """The best of three, as they are, improved, and matched layer by layer and improved; of all if they are few."""
        if self.few:
            return self._best(*self._all())
        return self._best(self.moves.stay, *self._by_affinity([self.moves.stay, self._matched(self.rows)]))

    def full(self, known: Orders, n_random: int) -> Found:
        """The best of known orders and of those found from more starts, some at random."""
        if self.few:
            return self._best(known)
        found = self._found(known, *self._by_affinity(self._more_starts(n_random)))[:N_POLISHED]
        return self._best(*(orders for _, _, orders in found), *(self._by_common(orders) for _, _, orders in found))

    def _best(self, *orders: Orders) -> Found:
        return self._found(*orders)[0]

    def _found(self, *orders: Orders) -> list[Found]:
        """Orders with their divergences, each once, the least first."""
        each = list({order.tobytes(): order for order in orders}.values())
        found = divergences(self.p, self.q, np.stack([self.moves.edges(self.move, one) for one in each]))
        return [(float(found[place]), self.move, each[place]) for place in np.argsort(found, kind="stable")]

    def _all(self) -> Iterator[Orders]:
        for each in product(*(permutations(range(n)) for n in self.moves.several.values())):
            yield self.moves.orders(dict(zip(self.moves.several, each, strict=True)))

    def _more_starts(self, n_random: int) -> Iterator[Orders]:
        """Matched layer by layer downwards, and at random."""
        yield self._matched(self.rows[::-1])
        rng = np.random.default_rng(0)
        for _ in range(n_random):
            yield self.moves.orders({weights: rng.permutation(n).tolist() for weights, n in self.moves.several.items()})

    def _matched(self, rows: Sequence[int]) -> Orders:
        """Row by row, with the components of rows that have not had their turn as one."""
        orders, apart, stay = self.moves.stay, set[int](), range(self.moves.n_loops)
        for row in rows:
            apart.add(row)
            edges = self.moves.edges(stay, self.moves.pooled(apart))
            side = _Side(self.moves, row, np.sqrt(moved(self.q, edges)), self.move)
            orders = self._assigned(side, orders, np.sqrt(moved(self.p, edges)), _affinity)
        return orders

    def _by_affinity(self, starts: Iterable[Orders]) -> list[Orders]:
        sides = self._sides(np.sqrt(self.q))
        return [self._improved(start, sides, np.sqrt(self.p), _affinity) for start in starts]

    def _by_common(self, start: Orders) -> Orders:
        kept = moved(self.q, self.moves.edges(self.move, start)).sum()
        return self._improved(start, self._sides(self.q / kept), self.p, _common)

    def _sides(self, masses: Parts) -> "list[_Side]":
        return [_Side(self.moves, row, masses, self.move) for row in self.rows]

    def _improved(self, orders: Orders, sides: "Sequence[_Side]", p: Parts, gain: Gain) -> Orders:
        """Orders after assigning one row after the other until nothing changes."""
        for _ in range(MAX_SWEEPS):
            before = orders
            for side in sides:
                orders = self._assigned(side, orders, p, gain)
            if (orders == before).all():
                break
        return orders

    def _assigned(self, side: "_Side", orders: Orders, p: Parts, gain: Gain) -> Orders:
        """The best places of one row's components, given those of all others."""
        from scipy.optimize import linear_sum_assignment  # not at the top: drawing a circuit should not wait for it

        found = orders.copy()
        gains = gain(side.masses, p[:, side.edges(self.moves.nodes(self.move, orders))])
        found[side.row, : len(gains)] = linear_sum_assignment(gains, maximize=True)[1]
        return found


class _Side:
    """The edges at one row's components that bear mass, and which edges they are in each place."""

    def __init__(self, moves: Moves, row: int, q: Parts, move: Move) -> None:
        ends, self.row, self._place = moves.ends[row], row, moves.place.ravel()
        masses = q[:, ends.edge]
        live = masses.any(axis=(0, 2))
        self.masses = masses[:, live]  # part, end, component
        kind, sends, n = ends.kind[live], ends.sends[live], len(moves.place)
        own = moves.at[kind, moves.loops(ends.loop[live], kind, move), : masses.shape[2]]
        self._own, self._times = own * np.where(sends, n, 1)[:, None], np.where(sends, 1, n)
        self._other = ends.other[live]

    def edges(self, nodes: Int[np.ndarray, " node"]) -> Int[np.ndarray, "end place"]:
        """By place of the component, given where the nodes at the other ends are."""
        return self._place[self._own + (nodes[self._other] * self._times)[:, None]]


def divergences(p: Parts, q: Parts, alignments: Int[np.ndarray, "alignment edge"]) -> Float[np.ndarray, " alignment"]:
    """Jensen–Shannon divergence of p and q after each move of q; infinite if nothing is left of one."""
    sign, edge = np.nonzero(q[:, :-1])
    if not p.any() or not len(edge):
        return np.full(len(alignments), np.inf)
    share, mass, place = (p / p.sum()).ravel(), q[sign, edge], sign * p.shape[1]
    step = max(1, CELLS // len(share))
    parts = [alignments[start : start + step][:, edge] + place for start in range(0, len(alignments), step)]
    return np.concatenate([_divergences(share, mass, cells, p.shape[1]) for cells in parts])


def _divergences(share: np.ndarray, mass: np.ndarray, cells: np.ndarray, width: int) -> np.ndarray:
    n = len(cells)
    row = len(share) * np.arange(n)[:, None]
    moved_to = np.bincount((cells + row).ravel(), np.tile(mass, n), minlength=n * len(share)).reshape(n, -1)
    moved_to[:, width - 1 :: width] = 0.0  # nowhere
    left = moved_to.sum(1)
    common = common_mass(share, moved_to / np.where(left > 0, left, 1.0)[:, None]).sum(1)
    return np.where(left > 0, np.maximum(0.0, 1.0 - common / 2), np.inf)


def _affinity(q: np.ndarray, p: np.ndarray) -> Float[np.ndarray, "component place"]:
    """Σ √p √q over the edges of each component, in each place."""
    return np.tensordot(q, p, axes=((0, 1), (0, 1)))


def _common(q: np.ndarray, p: np.ndarray) -> Float[np.ndarray, "component place"]:
    """The mass in common over the edges of each component, in each place."""
    return np.array([common_mass(q[..., [component]], p).sum((0, 1)) for component in range(q.shape[2])])
