"""Where the nodes and edges of a diagram go: positions across, steps upwards, one layout for all circuits shown.

Data before pictures: places and paths depend on the computation graph alone, so that a difference on screen is a
difference between circuits.
"""

import numpy as np
import pandas as pd

from .graph import ComputationGraph
from .kinds import KINDS
from .node import Edge, Node

COLUMN_WIDTH = 200.0
ROW_HEIGHT, TALLEST_ROW, LEAST_HEIGHT = 48.0, 105.0, 440.0  # few rows stand further apart
NODE_GAP = 4.0  # between nodes side by side
NODE_HEIGHT = 20.0
MARGIN_LEFT, MARGIN_TOP = 46.0, 16.0
REACH = 0.55  # how far from the middle of a column its edges are pulled, in its widths: no curve leaves the column


def size(graph: ComputationGraph) -> tuple[float, float]:
    """Width and height of one circuit's drawing in pixels."""
    height = _row_height(graph) * (len(graph.steps) - 0.5) + 1.4 * ROW_HEIGHT
    return MARGIN_LEFT + _column_width(graph) * len(graph.roles), MARGIN_TOP + height


def spacing(graph: ComputationGraph) -> tuple[float, float]:
    """How far columns, and rows, are apart in pixels."""
    return _column_width(graph), _row_height(graph)


def node_width(node: Node) -> float:
    """The width of a node's box in pixels."""
    return KINDS[node.kind].width


def nodes_of(graph: ComputationGraph) -> list[Node]:
    """Every node that is drawn: step by step upwards, then one beside the other, then by position.

    Heads that share an input are all where it is read, since each carries it on from there.
    """
    place = {role: i for i, role in enumerate(graph.roles)}
    found = {*graph.senders, *map(graph.component_of, graph.receivers)}
    found |= {output._replace(role=each.role) for each in graph.receivers for output in graph.outputs_of(each)}
    return sorted(found, key=lambda node: (graph.number_of(node), node.index, place[node.role]))


def node_table(graph: ComputationGraph) -> pd.DataFrame:
    """The centre and width of each node: columns node, component, role, x, y, width in pixels, y downwards."""
    rows = []
    for node in nodes_of(graph):
        x, y = centre(graph, node)
        name = {"node": str(node), "component": node.component, "role": node.role}
        rows.append(name | {"x": x, "y": y, "width": node_width(node)})
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
    entered = graph.component_of(edge.receiver)
    (x0, y0), (x1, y1) = centre(graph, edge.sender), centre(graph, entered)
    x1 += edge.look.port
    y0, y1 = y0 - NODE_HEIGHT / 2, y1 + NODE_HEIGHT / 2
    width = max(node_width(edge.sender), node_width(entered))
    if y1 >= y0:
        around = edge.look.bulge * (width + 40.0)
        return [(x0, y0), (x0 + around, y0 - 0.8 * ROW_HEIGHT), (x1 + around, y1 + 0.8 * ROW_HEIGHT), (x1, y1)]
    rows_apart = abs(y0 - y1) / _row_height(graph)
    clear_of_nodes = 0.0 if rows_apart < 1 else min(width + 9.0 * rows_apart, REACH * _column_width(graph))
    swing = edge.look.bulge * clear_of_nodes
    lift = 0.35 * (y0 - y1)
    middle_x, reach = _column_x(graph, edge.sender.role), REACH * _column_width(graph)
    between = [min(max(x + swing, middle_x - reach), middle_x + reach) for x in (x0, x1)]
    return [(x0, y0), (between[0], y0 - lift), (between[1], y1 + lift), (x1, y1)]


def moves(graph: ComputationGraph, edges: list[Edge]) -> list[tuple[Node, Node]]:
    """Where something is carried along between positions: from that of an input to that of an output.

    A pair (input, output) is listed if the edges feed a component at one position and use its output at another.
    """
    used = {edge.sender for edge in edges}
    found = {
        (output._replace(role=edge.receiver.role), output): None
        for edge in edges
        for output in graph.outputs_of(edge.receiver)
        if output in used and output.role != edge.receiver.role
    }
    return list(found)


def move_path(graph: ComputationGraph, source: Node, target: Node) -> str:
    """The SVG path of a move: a flat arc from one column to another."""
    (x0, y), (x1, _) = centre(graph, source), centre(graph, target)
    side = 1.0 if x1 > x0 else -1.0
    start, end = x0 + side * node_width(source) / 2, x1 - side * node_width(target) / 2
    return f"M{start:.1f} {y:.1f} C{start + side * 30:.1f} {y - 12:.1f} {end - side * 30:.1f} {y - 12:.1f} {end:.1f} {y:.1f}"


def row_labels(graph: ComputationGraph) -> list[tuple[str, float]]:
    """The label at the left of each layer, and of what is in none, and its y."""
    alone = [(step.kind, _row_y(graph, row)) for row, step in enumerate(graph.steps) if step.layer < 0]
    return alone + [
        (f"layer {layer}" + (f" (loop {loop})" if graph.n_loops > 1 else ""), _row_y(graph, sum(rows) / len(rows)))
        for layer, (loop, rows) in _layers(graph).items()
    ]


def column_labels(graph: ComputationGraph) -> list[tuple[str, float, float]]:
    """The roles and where they stand, below the first row."""
    return [(role, _column_x(graph, role), _row_y(graph, 0) + 30.0) for role in graph.roles]


def centre(graph: ComputationGraph, node: Node) -> tuple[float, float]:
    """Where a node's middle is."""
    row = graph.number_of(node)
    places = graph.steps[row].n
    aside = (node_width(node) + NODE_GAP) * (node.index - (places - 1) / 2) if node.index >= 0 else 0.0
    return _column_x(graph, node.role) + aside, _row_y(graph, row)


def _layers(graph: ComputationGraph) -> dict[int, tuple[int, list[int]]]:
    """By layer, the loop of its first step and the rows of all of them."""
    found: dict[int, tuple[int, list[int]]] = {}
    for row, step in enumerate(graph.steps):
        if step.layer >= 0:
            found.setdefault(step.layer, (graph.loop_of(Node(step.kind, "", step.layer)), []))[1].append(row)
    return found


def _row_height(graph: ComputationGraph) -> float:
    return min(TALLEST_ROW, max(ROW_HEIGHT, LEAST_HEIGHT / len(graph.steps)))


def _column_width(graph: ComputationGraph) -> float:
    widest = max((KINDS[step.kind].width + NODE_GAP) * step.n for step in graph.steps)
    return max(COLUMN_WIDTH, widest + 90.0)


def _column_x(graph: ComputationGraph, role: str) -> float:
    return MARGIN_LEFT + _column_width(graph) * (graph.roles.index(role) + 0.5)


def _row_y(graph: ComputationGraph, row: float) -> float:
    return MARGIN_TOP + _row_height(graph) * (len(graph.steps) - 0.5 - row)
