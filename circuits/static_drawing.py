"""A circuit as plain SVG: what viewers that run no scripts show, and what the page begins with.

Colours stand in the elements themselves, since some viewers drop style sheets too; where there is one, it has the last word.
"""

import html
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from . import layout
from .circuit import Circuit, measured_rows
from .graph import ComputationGraph
from .kinds import css_name
from .node import Edge, Node
from .palette import HUES, PAGE
from .shown_edges import at_first
from .units import fixed

MAX_WIDTH, MIN_WIDTH = 9.0, 0.8
WIDE = 1400.0  # pixels; a wider picture is not made smaller, but scrolled
MOST_IDLE = 500  # of more nodes only those with edges are drawn
ARROW = (
    '<marker id="gs-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    f'<path d="M0 0 L8 4 L0 8 z" fill="{PAGE["faint"]}"/></marker>'
)


def static_panel(label: str, circuit: Circuit, widest: float, keeps: str, n: int | None = None) -> str:
    """A figure with heading, caption and drawing of the kept edges, or of the strongest few.

    Args:
        label: of the circuit, any text.
        circuit: what is drawn.
        widest: the |effect| drawn at full width.
        keeps: what the kept edges keep, see `kept_alone`.
        n: of how many of the strongest edges; None for the kept ones.
    """
    width, height = layout.size(circuit.graph)
    heading = f"<h4>{html.escape(label)}</h4>" if label else ""
    wide = ' class="gs-wide"' if width > WIDE else ""
    rows = at_first(circuit, n)
    said = keeps if n is None else f"drawn: {len(rows)} of {len(circuit.table)} edges"
    caption = f"{circuit.caption} · {said}" if said else circuit.caption
    return (
        f"<figure{wide}>{heading}<figcaption>{html.escape(caption)}</figcaption>"
        f'<div class="gs-view"><svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{html.escape(label or "circuit")}">{_drawing(circuit, rows, widest)}</svg></div></figure>'
    )


def _drawing(circuit: Circuit, rows: np.ndarray, widest: float) -> str:
    graph, table = circuit.graph, circuit.table.iloc[rows]
    names = zip(table["sender"], table["receiver"], strict=True)
    edges = [Edge(Node.parse(sender), Node.parse(receiver)) for sender, receiver in names]
    effects = dict(zip(map(str, edges), table["effect"], strict=True))
    estimated = {str(edge) for edge, is_measured in zip(edges, measured_rows(table), strict=True) if not is_measured}
    touched = {str(node) for edge in edges for node in (edge.sender, graph.component_of(edge.receiver))}
    moves = layout.moves(graph, edges)
    touched |= {str(node) for move in moves for node in move}
    parts = [ARROW]
    parts += [
        f'<text class="gs-row" x="4" y="{y:.1f}" text-anchor="start">{html.escape(text)}</text>'
        for text, y in layout.row_labels(graph)
    ]
    parts += [
        f'<text class="gs-role" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
        for text, x, y in layout.column_labels(graph)
    ]
    parts += [
        f'<path class="gs-move" d="{layout.move_path(graph, *move)}" fill="none" stroke="{PAGE["faint"]}" '
        'stroke-dasharray="2 3" marker-end="url(#gs-arrow)"/>'
        for move in moves
    ]
    weakest_first = sorted(edges, key=lambda edge: abs(effects[str(edge)]))
    parts += [_edge(edge, effects[str(edge)], graph, widest, str(edge) in estimated) for edge in weakest_first]
    nodes = layout.node_table(graph).to_dict("records")
    shown = nodes if len(nodes) <= MOST_IDLE else [node for node in nodes if node["node"] in touched]
    parts += [_node(node, node["node"] in touched) for node in shown]
    return f'<g font-family="sans-serif" font-size="10.5" text-anchor="middle">{"".join(parts)}</g>'


def _node(node: Mapping[Hashable, Any], is_touched: bool) -> str:
    x, y, width, height = node["x"], node["y"], node["width"], layout.NODE_HEIGHT
    look = f'rx="4" fill="{PAGE["paper"]}" stroke="{PAGE["line"]}"'
    return (
        f'<g class="gs-node{"" if is_touched else " gs-idle"}" opacity="{1 if is_touched else 0.22}">'
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width}" height="{height}" {look}/>'
        f'<text x="{x:.1f}" y="{y + 3.5:.1f}">{html.escape(node["component"])}</text></g>'
    )


def _edge(edge: Edge, effect: float, graph: ComputationGraph, widest: float, is_estimated: bool) -> str:
    width = max(MIN_WIDTH, MAX_WIDTH * abs(effect) / widest)
    sign = (" gs-negative" if effect < 0 else "") + (" gs-estimated" if is_estimated else "") + '"'
    if is_estimated or effect < 0:
        sign += ' stroke-dasharray="1 4"' if is_estimated else ' stroke-dasharray="6 4"'
    name, colour = html.escape(str(edge)), HUES[edge.look.colour]
    return (
        f'<path class="gs-edge gs-into-{css_name(edge.kind)}{sign} data-edge="{name}" fill="none" stroke="{colour}" '
        f'stroke-width="{width:.2f}" d="{layout.edge_path(graph, edge)}">'
        f"<title>{name}: {fixed(effect, 3, plus=True)}</title></path>"
    )
