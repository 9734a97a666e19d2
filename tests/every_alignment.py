"""Every alignment of two circuits, one by one and node by node: slow and literal."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, permutations, product

import numpy as np
from scipy.spatial.distance import jensenshannon

from grokscope.circuits import ComputationGraph, Edge, Node


def moved_node(graph: ComputationGraph, node: Node, move: Sequence[int], orders: Mapping) -> Node | None:
    """Where a node goes; None if its weights are not used in that loop."""
    step = graph.steps[graph.number_of(node)]
    steps = graph.by_weights[step.weights]
    loop = move[steps.index(step)] if len(steps) > 1 else 0
    if loop >= len(steps):
        return None
    index = orders[step.weights][node.index] if step.weights in orders else node.index
    return node._replace(layer=steps[loop].layer, index=index)


def every_alignment(graph: ComputationGraph, edges: Sequence[Edge]) -> list[np.ndarray]:
    """By alignment, the number of the edge that each edge becomes; the number of edges for those that are dropped."""
    several = {weights: steps[0].n for weights, steps in graph.by_weights.items() if steps[0].n > 1}
    place = {edge: row for row, edge in enumerate(edges)}
    nodes = {node for edge in edges for node in edge}
    found = []
    for move in combinations_with_replacement(range(graph.n_loops), graph.n_loops):
        for order in product(*(permutations(range(n)) for n in several.values())):
            to = {node: moved_node(graph, node, move, dict(zip(several, order, strict=True))) for node in nodes}
            found.append(np.array([place.get((to[a], to[b]), len(edges)) for a, b in edges]))
    return found


def signed(effects: np.ndarray) -> np.ndarray:
    """Positive effects, then the sizes of the negative ones."""
    return np.concatenate([np.maximum(effects, 0), np.maximum(-effects, 0)])


def after(effects: np.ndarray, alignment: np.ndarray) -> np.ndarray:
    """`signed` effects after an alignment."""
    n = len(effects)
    halves = [np.bincount(alignment, half, minlength=n + 1)[:n] for half in np.split(signed(effects), 2)]
    return np.concatenate(halves)


def least_distance(alignments: Sequence[np.ndarray], one: np.ndarray, other: np.ndarray) -> float:
    """The least distance of all alignments of either circuit."""
    pairs = [pair for a in alignments for pair in ((signed(one), after(other, a)), (after(one, a), signed(other)))]
    return min(float(jensenshannon(p, q, base=2)) for p, q in pairs if p.any() and q.any())
