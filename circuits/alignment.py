"""Laying one circuit's loops and heads onto another's: two trainings may do the same in other loops, with other heads.

Loops keep their order, but several may become one: a fact looked up in loops 0 and 1 and read in loop 2 is laid onto one
that is looked up in loop 0 and read in loop 1. Heads of a layer can change places. Effects of edges that fall together are
added; edges that would lead from a layer into itself are dropped.
"""

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement, permutations, product

import numpy as np
from jaxtyping import Float, Int

from .graph import ComputationGraph, Edge, Node
from .similarity import jensen_shannon

MAX_ALIGNMENTS = 2000


def alignments(graph: ComputationGraph, edges: Sequence[Edge]) -> dict[str, Int[np.ndarray, " edge"]]:
    """Every alignment, as the number of the edge onto which each edge is laid; −1 for those that are dropped.

    Layers move by whole loops; heads change places in a block, in all its loops alike.

    Raises:
        ValueError: if there are more than 2,000.

    >>> graph = ComputationGraph(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=1)
    >>> list(alignments(graph, graph.edges))
    ['loops 0 1', 'loops 0 0', 'loops 1 1']
    """
    if (n := n_alignments(graph)) > MAX_ALIGNMENTS:
        raise ValueError(f"loops and heads can be aligned in {n} ways; up to {MAX_ALIGNMENTS} are tried")
    n_loops = graph.n_layers // graph.n_blocks
    moves = combinations_with_replacement(range(n_loops), n_loops)
    loops = sorted(moves, key=lambda move: -len(set(move)))  # those that keep most loops apart first
    orders = list(product(permutations(range(graph.n_heads)), repeat=graph.n_blocks))
    place = {edge: row for row, edge in enumerate(edges)}
    found = {}
    for move, heads in product(loops, orders):
        moved = [Edge(*(_moved(graph, node, move, heads) for node in edge)) for edge in edges]
        found[_name(move, heads)] = np.array([place.get(edge, -1) for edge in moved])
    return found


def laid(effects: Float[np.ndarray, "edge sample"], onto: Int[np.ndarray, " edge"]) -> Float[np.ndarray, "edge sample"]:
    """Effects where an alignment lays them; those that fall together are added."""
    found, stays = np.zeros_like(effects), onto >= 0
    np.add.at(found, onto[stays], effects[stays])
    return found


def laid_distances(
    own: Float[np.ndarray, "edge _"], other: Float[np.ndarray, "edge _"], onto: Int[np.ndarray, " edge"]
) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Jensen–Shannon distances with the alignment applied to the other circuit, and to this one."""
    return jensen_shannon(own, laid(other, onto)), jensen_shannon(laid(own, onto), other)


def n_alignments(graph: ComputationGraph) -> int:
    """How many alignments there are: of loops, times orders of heads in each block."""
    n_loops = graph.n_layers // graph.n_blocks
    return math.comb(2 * n_loops - 1, n_loops) * math.factorial(graph.n_heads) ** graph.n_blocks


def _moved(graph: ComputationGraph, node: Node, move: Sequence[int], heads: Sequence[Sequence[int]]) -> Node:
    if node.layer < 0:
        return node
    loop, block = divmod(node.layer, graph.n_blocks)
    head = heads[block][node.head] if node.kind == "head" else node.head
    return node._replace(layer=move[loop] * graph.n_blocks + block, head=head)


def _name(move: Sequence[int], heads: Sequence[Sequence[int]]) -> str:
    name = f"loops {' '.join(map(str, move))}"
    if any(list(order) != sorted(order) for order in heads):
        name += f", heads {' / '.join(' '.join(map(str, order)) for order in heads)}"
    return name
