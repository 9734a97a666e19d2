"""A circuit as plain SVG: what viewers that run no scripts show, and what the page begins with.

Colours stand in the elements themselves, since some viewers drop style sheets too; where there is one, it has the last word.
"""

import html
from collections.abc import Collection, Sequence
from typing import NamedTuple

from .circuit import Circuit, measured_rows
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


class StillEdge(NamedTuple):
    """An edge of a still picture: its name, sender and input by number, effect, colour, and whether it is an estimate."""

    name: str
    sender: int
    entry: int
    effect: float
    colour: str
    is_estimated: bool = False


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
    table = circuit.table.iloc[at_first(circuit, n)]
    if not len(table):
        reason = circuit.why_empty or circuit.provenance.get("reason") or "none was kept"
        return _figure(label, f'<p class="gs-nothing">{NOTHING}: {html.escape(str(reason))}.</p>', said)
    names = zip(table["sender"], table["receiver"], strict=True)
    edges = [Edge(Node.parse(sender), Node.parse(receiver)) for sender, receiver in names]
    nodes = nodes_of(circuit.graph)
    place = {node: i for i, node in enumerate(nodes)}
    picture = picture_of(circuit.graph, dict.fromkeys(edge.receiver for edge in edges))
    entry = {each.name: i for i, each in enumerate(picture.inputs)}
    still = [
        StillEdge(str(edge), place[edge.sender], entry[str(edge.receiver)], effect, HUES[edge.look.colour], not is_measured)
        for edge, effect, is_measured in zip(edges, table["effect"], measured_rows(table), strict=True)
    ]
    layout = layout_of(picture, [i for i, node in enumerate(nodes) if node in shown])
    touched = [place[node] for node in live_nodes(circuit.graph, edges)]
    arcs = [(place[source], place[target]) for source, target in moves(circuit.graph, edges)]
    return still_panel(label, layout, still, arcs, touched, widest, said)


def still_panel(
    label: str,
    layout: Layout,
    edges: Sequence[StillEdge],
    moves: Sequence[tuple[int, int]],
    touched: Collection[int],
    widest: float,
    said: str,
) -> str:
    """A figure of edges and of moves between nodes by number, with the boxes of the nodes that they touch."""
    parts = [ARROW]
    parts += [_text("gs-row", text, 4, y + 4, "start") for text, y in layout.row_texts]
    parts += [_text("gs-role", band.text, band.middle, layout.height - 14) for band in layout.columns]
    parts += [_move(svg_path(layout.move(*move))) for move in moves]
    by_look: dict[str, list[str]] = {}
    for edge in sorted(edges, key=lambda edge: abs(edge.effect)):  # the strongest on top
        kind = layout.picture.looks[layout.picture.inputs[edge.entry].look].name
        look = f'class="gs-edge gs-into-{kind}" stroke="{edge.colour}"'
        by_look.setdefault(look, []).append(_edge(edge, svg_path(layout.curve(edge.sender, edge.entry)), widest))
    parts += [f'<g {look} fill="none" stroke-opacity="0.8">{"".join(paths)}</g>' for look, paths in by_look.items()]
    parts += [_node(layout, number) for number in sorted(layout.shown & set(touched))]
    size = f'viewBox="0 0 {layout.width:.0f} {layout.height:.0f}" width="{layout.width:.0f}"'
    named = f'role="img" aria-label="{html.escape(label or "circuit")}"'
    inside = f'<g font-family="sans-serif" font-size="11" text-anchor="middle">{"".join(parts)}</g>'
    return _figure(label, f'<div class="gs-view"><svg {size} {named}>{inside}</svg></div>', said)


def _figure(label: str, content: str, said: str) -> str:
    heading = f'<p class="gs-title">{html.escape(label)}</p>' if label else ""
    return f"<figure>{heading}{content}<figcaption>{html.escape(said)}</figcaption></figure>"


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


def _edge(edge: StillEdge, path: str, widest: float) -> str:
    width = min(2 * MAX_WIDTH, max(MIN_WIDTH, MAX_WIDTH * abs(edge.effect) / widest))
    dash = ' stroke-dasharray="1 4"' if edge.is_estimated else ' stroke-dasharray="7 4"' if edge.effect < 0 else ""
    name = html.escape(edge.name)
    said = f"<title>{name}: {fixed(edge.effect, 3, plus=True)}</title>"
    return f'<path data-edge="{name}"{dash} stroke-width="{width:.2f}" d="{path}">{said}</path>'
