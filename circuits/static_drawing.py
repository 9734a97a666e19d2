"""A circuit as plain SVG: what viewers that run no scripts show, and what the page begins with.

Colours stand in the elements themselves, since some viewers drop style sheets too; where there is one, it has the last word.
"""

import html
from collections.abc import Mapping

import numpy as np

from .circuit import Circuit, measured_rows
from .kinds import css_name
from .layout import NODE_HEIGHT, Layout, layout_of, svg_path
from .node import Edge, Node
from .palette import HUES, PAGE
from .picture import live_nodes, moves, nodes_of, picture_of
from .shown_edges import at_first
from .units import fixed

MAX_WIDTH, MIN_WIDTH = 9.0, 0.8
ARROW = (
    '<marker id="gs-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    f'<path d="M0 0 L8 4 L0 8 z" fill="{PAGE["faint"]}"/></marker>'
)
NOTHING = "No edge is drawn"


def static_panel(label: str, circuit: Circuit, shown: set[Node], widest: float, said: str, n: int | None = None) -> str:
    """A figure with heading, caption and drawing of the kept edges, or of the strongest few.

    Args:
        label: of the circuit, any text.
        circuit: what is drawn.
        shown: the nodes with boxes, see `layout.layout_of`.
        widest: the |effect| drawn at full width.
        said: the caption.
        n: of how many of the strongest edges; None for the kept ones.
    """
    heading = f'<p class="gs-title">{html.escape(label)}</p>' if label else ""
    rows = at_first(circuit, n)
    caption = f"<figcaption>{html.escape(said)}</figcaption>"
    if not len(rows):
        reason = circuit.why_empty or circuit.provenance.get("reason") or "none was kept"
        return f'<figure>{heading}<p class="gs-nothing">{NOTHING}: {html.escape(str(reason))}.</p>{caption}</figure>'
    edges = _edges(circuit, rows)
    nodes = nodes_of(circuit.graph)
    picture = picture_of(circuit.graph, dict.fromkeys(edge.receiver for edge in edges))
    layout = layout_of(picture, [i for i, node in enumerate(nodes) if node in shown])
    drawing = _drawing(circuit, rows, edges, layout, {node: i for i, node in enumerate(nodes)}, widest)
    return (
        f'<figure>{heading}<div class="gs-view"><svg viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" '
        f'width="{layout.width:.0f}" role="img" aria-label="{html.escape(label or "circuit")}">{drawing}</svg></div>'
        f"{caption}</figure>"
    )


def _edges(circuit: Circuit, rows: np.ndarray) -> list[Edge]:
    table = circuit.table.iloc[rows]
    names = zip(table["sender"], table["receiver"], strict=True)
    return [Edge(Node.parse(sender), Node.parse(receiver)) for sender, receiver in names]


def _drawing(
    circuit: Circuit, rows: np.ndarray, edges: list[Edge], layout: Layout, place: Mapping[Node, int], widest: float
) -> str:
    table = circuit.table.iloc[rows]
    entry = {each.name: i for i, each in enumerate(layout.picture.inputs)}
    rest = zip(edges, table["effect"], measured_rows(table), strict=True)
    weakest_first = sorted(rest, key=lambda row: abs(row[1]))
    touched = {place[node] for node in live_nodes(circuit.graph, edges)}
    parts = [ARROW]
    parts += [_text("gs-row", text, 4, y + 4, "start") for text, y in layout.row_texts]
    parts += [_text("gs-role", band.text, band.middle, layout.height - 14) for band in layout.columns]
    parts += [_move(svg_path(layout.move(place[source], place[target]))) for source, target in moves(circuit.graph, edges)]
    by_kind: dict[str, list[str]] = {}
    for edge, effect, is_measured in weakest_first:
        path = svg_path(layout.curve(place[edge.sender], entry[str(edge.receiver)]))
        by_kind.setdefault(_look(edge), []).append(_edge(edge, effect, path, widest, not is_measured))
    parts += [f'<g {look} fill="none" stroke-opacity="0.8">{"".join(paths)}</g>' for look, paths in by_kind.items()]
    parts += [_node(layout, number) for number in sorted(layout.shown & touched)]
    return f'<g font-family="sans-serif" font-size="11" text-anchor="middle">{"".join(parts)}</g>'


def _text(kind: str, text: str, x: float, y: float, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _move(path: str) -> str:
    look = f'fill="none" stroke="{PAGE["faint"]}" stroke-dasharray="2 3" marker-end="url(#gs-arrow)"'
    return f'<path class="gs-move" d="{path}" {look}/>'


def _node(layout: Layout, number: int) -> str:
    (x, y), node = layout.nodes[number], layout.picture.nodes[number]
    look = f'rx="4" fill="{PAGE["paper"]}" stroke="{PAGE["line"]}"'
    return (
        f'<g class="gs-node"><rect x="{x - node.width / 2:.1f}" y="{y - NODE_HEIGHT / 2:.1f}" width="{node.width}" '
        f'height="{NODE_HEIGHT}" {look}/><text x="{x:.1f}" y="{y + 4:.1f}">{html.escape(node.label)}</text></g>'
    )


def _look(edge: Edge) -> str:
    return f'class="gs-edge gs-into-{css_name(edge.kind)}" stroke="{HUES[edge.look.colour]}"'


def _edge(edge: Edge, effect: float, path: str, widest: float, is_estimated: bool) -> str:
    width = max(MIN_WIDTH, MAX_WIDTH * abs(effect) / widest)
    dash = ' stroke-dasharray="1 4"' if is_estimated else ' stroke-dasharray="7 4"' if effect < 0 else ""
    name = html.escape(str(edge))
    said = f"<title>{name}: {fixed(effect, 3, plus=True)}</title>"
    return f'<path data-edge="{name}"{dash} stroke-width="{width:.2f}" d="{path}">{said}</path>'
