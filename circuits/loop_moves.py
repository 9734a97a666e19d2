"""Which loops of one circuit may be those of another: the most promising of all moves that keep loops in order.

There are C(2 L − 1, L) such moves of L loops, 35 of 4 and 3 · 10⁸ of 16. They are built loop by loop; of those that have
placed the last loop alike, the ones with most in common so far are followed (a beam). Up to four loops all are given.
"""

import math
from itertools import combinations_with_replacement

import numpy as np
from jaxtyping import Float

from .moves import Moves, Parts

BEAM = 32  # followed for each place of the last loop
N_CANDIDATES = 64

Move = tuple[int, ...]


def loop_moves(moves: Moves, p: Parts, q: Parts) -> list[Move]:
    """Moves of q's loops by which it has most in common with p, the best first."""
    if math.comb(2 * moves.n_loops - 1, moves.n_loops) <= N_CANDIDATES:
        return sorted(combinations_with_replacement(range(moves.n_loops), moves.n_loops), key=lambda move: -len(set(move)))
    common = _common(moves, np.sqrt(p), np.sqrt(q))
    beam: list[tuple[float, Move]] = [(0.0, ())]
    for loop in range(moves.n_loops):
        beam = [each for place in range(moves.n_loops) for each in _extended(beam, common, loop, place)]
    stay = tuple(range(moves.n_loops))
    beam.sort(key=lambda each: (-round(each[0], 9), -len(set(each[1]))))  # of equals those that keep most loops apart
    best = [move for _, move in beam[:N_CANDIDATES]]
    return [stay, *(move for move in best if move != stay)]


def _extended(beam: list[tuple[float, Move]], common: np.ndarray, loop: int, place: int) -> list[tuple[float, Move]]:
    """The best moves of one loop more, which goes to that place."""
    found = []
    for score, move in beam:
        if move and move[-1] > place:
            continue
        gain = common[loop, loop, place, place] + sum(common[k, loop, t, place] for k, t in enumerate(move))
        found.append((score + float(gain), (*move, place)))
    return sorted(found, key=lambda each: -each[0])[:BEAM]


def _common(moves: Moves, p: Parts, q: Parts) -> Float[np.ndarray, "loop loop place place"]:
    """What q's edges between two loops, the earlier named first, have in common with p where these are placed.

    An edge with one end that stays belongs to the loop of its other end alone. In common is √(p q), summed over edges.
    """
    n = moves.n_loops
    sign, edge = np.nonzero(q[:, : moves.nowhere])
    nodes = [moves.sender[edge], moves.receiver[edge]]
    kinds, components = [moves.kind[node] for node in nodes], [moves.component[node] for node in nodes]
    fixed = [moves.fixed[kind] for kind in kinds]
    loops = [moves.loop[node] for node in nodes]
    first, second = (np.where(fixed[i], loops[1 - i], loops[i]) for i in (0, 1))
    found = np.zeros((n, n, n, n))
    for s in range(n):
        for t in range(n):
            to = [
                moves.at[kind, np.where(stays, loop, place), component]
                for kind, stays, loop, place, component in zip(kinds, fixed, loops, (s, t), components, strict=True)
            ]
            gain = q[sign, edge] * p[sign, moves.place[to[0], to[1]]]
            np.add.at(found[:, :, s, t], (first, second), gain)
    swapped = found.transpose(1, 0, 3, 2)  # an edge may lead from a later use of one weight to an earlier one of another
    both = found + swapped
    loop = np.arange(n)
    both[loop, loop] /= 2
    return both
