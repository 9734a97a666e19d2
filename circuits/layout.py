"""Where the nodes and edges of a diagram go: positions across, layers upwards, one layout for all circuits shown.

Data before pictures: places and paths depend on the computation graph alone, so that a difference on screen is a
difference between circuits.
"""

import numpy as np
import pandas as pd

from .graph import ComputationGraph, Edge, Node

COLUMN_WIDTH = 200.0
ROW_HEIGHT, TALLEST_ROW, LEAST_HEIGHT = 48.0, 105.0, 440.0  # few rows stand further apart
HEAD_SPACING = 46.0
NODE_WIDTH = 42.0
NODE_HEIGHT = 20.0
MARGIN_LEFT, MARGIN_TOP = 46.0, 16.0
PORTS = {"q": -12.0, "k": 0.0, "v": 12.0}  # where on a head's lower edge each input arrives
_BULGE = {"q": -1.0, "k": -0.7, "v": 1.0, "mlp": 0.8, "logits": -1.0}  # which side a residual edge swings to


def size(graph: ComputationGraph) -> tuple[float, float]:
    """Width and height of one circuit's drawing in pixels."""
    height = _row_height(graph) * (_n_rows(graph) - 0.5) + 1.4 * ROW_HEIGHT
    return MARGIN_LEFT + _column_width(graph) * len(graph.roles), MARGIN_TOP + height


def nodes_of(graph: ComputationGraph) -> list[Node]:
    """Every node that is drawn."""
    return list(dict.fromkeys([*graph.senders, *(receiver._replace(input="") for receiver in graph.receivers)]))


def node_table(graph: ComputationGraph) -> pd.DataFrame:
    """The centre of each node: columns node, component, role, x, y in pixels, y downwards."""
    rows = []
    for node in nodes_of(graph):
        x, y = centre(graph, node)
        rows.append({"node": str(node), "component": node.component, "role": node.role, "x": x, "y": y})
    return pd.DataFrame(rows)


def edge_path(graph: ComputationGraph, edge: Edge) -> str:
    """The SVG path of an edge: a curve that swings aside, so that edges in one column do not cover each other."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = _curve(graph, edge)
    return f"M{x0:.1f} {y0:.1f} C{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f} {x3:.1f} {y3:.1f}"


def middle(graph: ComputationGraph, edge: Edge) -> tuple[float, float]:
    """The point half-way along an edge's path."""
    places = np.array(_curve(graph, edge))
    x, y = np.array([1, 3, 3, 1]) @ places / 8
    return float(x), float(y)


def _curve(graph: ComputationGraph, edge: Edge) -> list[tuple[float, float]]:
    """The four points of an edge's Bézier curve; an edge that leads downwards, between loops, goes around."""
    x0, y0 = centre(graph, edge.sender)
    x1, y1 = centre(graph, edge.receiver._replace(input=""))
    x1 += PORTS.get(edge.receiver.input, 0.0)
    y0, y1 = y0 - NODE_HEIGHT / 2, y1 + NODE_HEIGHT / 2
    if y1 >= y0:
        around = _BULGE[edge.kind] * (NODE_WIDTH + 40.0)
        return [(x0, y0), (x0 + around, y0 - 0.8 * ROW_HEIGHT), (x1 + around, y1 + 0.8 * ROW_HEIGHT), (x1, y1)]
    rows_apart = abs(y0 - y1) / _row_height(graph)
    clear_of_nodes = 0.0 if rows_apart < 1 else min(NODE_WIDTH + 9.0 * rows_apart, 0.55 * _column_width(graph))
    swing = _BULGE[edge.kind] * clear_of_nodes
    lift = 0.35 * (y0 - y1)
    return [(x0, y0), (x0 + swing, y0 - lift), (x1 + swing, y1 + lift), (x1, y1)]


def attention_moves(graph: ComputationGraph, edges: list[Edge]) -> list[tuple[Node, Node]]:
    """Where attention carries something along: from the position of a key or value to that of an output.

    A pair (input, output) is listed if the edges feed k or v of a head at one position and use its output at another.
    """
    used = {edge.sender for edge in edges}
    moves = {
        (edge.receiver._replace(input=""), output): None
        for edge in edges
        if edge.receiver.input in ("k", "v")
        for output in graph.outputs_of(edge.receiver)
        if output in used and output.role != edge.receiver.role
    }
    return list(moves)


def move_path(graph: ComputationGraph, source: Node, target: Node) -> str:
    """The SVG path of a move of attention: a flat arc from one column to another."""
    (x0, y), (x1, _) = centre(graph, source), centre(graph, target)
    side = 1.0 if x1 > x0 else -1.0
    start, end = x0 + side * NODE_WIDTH / 2, x1 - side * NODE_WIDTH / 2
    return f"M{start:.1f} {y:.1f} C{start + side * 30:.1f} {y - 12:.1f} {end - side * 30:.1f} {y - 12:.1f} {end:.1f} {y:.1f}"


def row_labels(graph: ComputationGraph) -> list[tuple[str, float]]:
    """What stands at the left of each layer, and where."""
    per_layer = 1 + graph.has_mlp
    labels = [("embed", 0.0), ("logits", _n_rows(graph) - 1.0)]
    for layer in range(graph.n_layers):
        tied = f" (loop {layer // graph.n_blocks})" if graph.n_blocks < graph.n_layers else ""
        labels.append((f"layer {layer}{tied}", 1 + per_layer * layer + (per_layer - 1) / 2))
    return [(text, _row_y(graph, row)) for text, row in labels]


def column_labels(graph: ComputationGraph) -> list[tuple[str, float, float]]:
    """The roles and where they stand, below the embeddings."""
    return [(role, _column_x(graph, role), _row_y(graph, 0) + 30.0) for role in graph.roles]


def _n_rows(graph: ComputationGraph) -> int:
    return 2 + graph.n_layers * (1 + graph.has_mlp)


def _row_height(graph: ComputationGraph) -> float:
    return min(TALLEST_ROW, max(ROW_HEIGHT, LEAST_HEIGHT / _n_rows(graph)))


def _column_width(graph: ComputationGraph) -> float:
    return max(COLUMN_WIDTH, HEAD_SPACING * graph.n_heads + 90.0)


def _column_x(graph: ComputationGraph, role: str) -> float:
    return MARGIN_LEFT + _column_width(graph) * (graph.roles.index(role) + 0.5)


def _row_y(graph: ComputationGraph, row: float) -> float:
    return MARGIN_TOP + _row_height(graph) * (_n_rows(graph) - 0.5 - row)


def centre(graph: ComputationGraph, node: Node) -> tuple[float, float]:
    """Where a node's middle is."""
    per_layer = 1 + graph.has_mlp
    row = {"embed": 0, "logits": _n_rows(graph) - 1}.get(node.kind, 1 + per_layer * node.layer + (node.kind == "mlp"))
    aside = HEAD_SPACING * (node.head - (graph.n_heads - 1) / 2) if node.kind == "head" else 0.0
    return _column_x(graph, node.role) + aside, _row_y(graph, row)
