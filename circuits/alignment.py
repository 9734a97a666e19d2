"""Aligning one circuit's loops and heads with another's: two trainings may do the same in other loops, with other heads.

Loops keep their order, but several may become one: a fact looked up in loops 0 and 1 and read in loop 2 is aligned with one
that is looked up in loop 0 and read in loop 1. Components that stand side by side, such as the heads of a layer, can change
places. Effects of edges that fall together are added; edges that would lead from a layer into itself are dropped.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, permutations, product

import numpy as np
from jaxtyping import Float, Int

from .graph import ComputationGraph
from .node import Edge, Node
from .similarity import jensen_shannon

MAX_ALIGNMENTS = 2000

Weights = tuple[str, int | None]
"""What steps that share weights have in common, see `Step.weights`."""


def alignments(graph: ComputationGraph, edges: Sequence[Edge]) -> dict[str, Int[np.ndarray, " edge"]]:
    """Every alignment, as the number of the edge that each edge becomes; −1 for those that are dropped.

    Whole loops move; what is used in one loop only stays. Components that stand side by side change places, in all loops
    alike.

    Raises:
        ValueError: if there are more than 2,000.

    >>> graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=1, n_blocks=1)
    >>> list(alignments(graph, graph.edges))
    ['loops 0 1', 'loops 0 0', 'loops 1 1']
    """
    if (n := n_alignments(graph)) > MAX_ALIGNMENTS:
        raise ValueError(f"loops and heads can be aligned in {n} ways; up to {MAX_ALIGNMENTS} are tried")
    choices = combinations_with_replacement(range(graph.n_loops), graph.n_loops)
    loops = sorted(choices, key=lambda move: -len(set(move)))  # those that keep most loops apart first
    several = {weights: steps[0].n for weights, steps in graph.by_weights.items() if steps[0].n > 1}
    orders = list(product(*(permutations(range(n)) for n in several.values())))
    place = {edge: row for row, edge in enumerate(edges)}
    nodes = {node for edge in edges for node in edge}
    found = {}
    for move, order in product(loops, orders):
        order_of = dict(zip(several, order, strict=True))
        moved = {node: _moved(graph, node, move, order_of) for node in nodes}
        found[_name(move, order_of)] = np.array([place.get((moved[a], moved[b]), -1) for a, b in edges])  # pyright: ignore
    return found


def apply_alignment(
    effects: Float[np.ndarray, "edge sample"], alignment: Int[np.ndarray, " edge"]
) -> Float[np.ndarray, "edge sample"]:
    """Effects after an alignment; those of edges that fall together are added."""
    found, stays = np.zeros_like(effects), alignment >= 0
    np.add.at(found, alignment[stays], effects[stays])
    return found


def aligned_distances(
    one: Float[np.ndarray, "edge _"], other: Float[np.ndarray, "edge _"], alignment: Int[np.ndarray, " edge"]
) -> tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]:
    """Jensen–Shannon distances with the alignment applied to the other circuit, and to the first one."""
    return jensen_shannon(one, apply_alignment(other, alignment)), jensen_shannon(apply_alignment(one, alignment), other)


def n_alignments(graph: ComputationGraph) -> int:
    """How many alignments there are: of loops, times orders of the components that stand side by side."""
    orders = (math.factorial(steps[0].n) for steps in graph.by_weights.values())
    return math.comb(2 * graph.n_loops - 1, graph.n_loops) * math.prod(orders)


def _moved(
    graph: ComputationGraph, node: Node, move: Sequence[int], order_of: Mapping[Weights, Sequence[int]]
) -> Node | None:
    """Where a node goes; None if its weights are not used in that loop."""
    step = graph.steps[graph.number_of(node)]
    steps = graph.by_weights[step.weights]
    loop = move[steps.index(step)] if len(steps) > 1 else 0
    if loop >= len(steps):
        return None
    index = order_of[step.weights][node.index] if step.weights in order_of else node.index
    return node._replace(layer=steps[loop].layer, index=index)


def _name(move: Sequence[int], order_of: Mapping[Weights, Sequence[int]]) -> str:
    name = f"loops {' '.join(map(str, move))}"
    for kind in dict.fromkeys(kind for kind, _ in order_of):
        orders = [order for weights, order in order_of.items() if weights[0] == kind]
        if any(list(order) != sorted(order) for order in orders):
            name += f", {kind}s {' / '.join(' '.join(map(str, order)) for order in orders)}"
    return name
