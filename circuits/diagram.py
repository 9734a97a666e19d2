"""The picture of one or several circuits: inline SVG and a little JavaScript in one self-contained piece of HTML.

All circuits of a diagram share layout and width scale. Width is |effect|, colour and port the kind of input, a dashed
line a negative effect. Hovering an edge shows its numbers in every circuit. Nothing is loaded from anywhere.
"""

import html
import json
import uuid
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import layout
from .circuit import Circuit
from .compare import check_comparable
from .graph import ComputationGraph, Edge
from .result import write_text

ASSETS = Path(__file__).parent / "assets"
LEGEND = {"q": "into a query", "k": "into a key", "v": "into a value", "mlp": "into an MLP", "logits": "into the logits"}
MAX_WIDTH, MIN_WIDTH = 9.0, 0.8
_ARROW = (
    '<marker id="gs-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
    '<path d="M0 0 L8 4 L0 8 z" fill="#8a8a8a"/></marker>'
)


@dataclass(frozen=True)
class Diagram:
    """A drawn diagram; shows itself in Jupyter.

    Attributes:
        html: a fragment with style, drawing and script, for a cell or a page.
        title: of the saved page.
    """

    html: str
    title: str

    def save(self, path: str | Path) -> Path:
        """Write a page that works from a file and without a network; returns the path."""
        page = (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f'<meta name="viewport" content="width=device-width"></head><body>{self.html}</body></html>'
        )
        return write_text(Path(path), page)

    def _repr_html_(self) -> str:
        return self.html


def draw(circuits: Circuit | Mapping[str, Circuit]) -> Diagram:
    """Draw a circuit, or several side by side, on one layout and one scale.

    Raises:
        ValueError: if circuits of one diagram were not measured alike, or none is given.
    """
    named = {"": circuits} if isinstance(circuits, Circuit) else dict(circuits)
    if not named:
        raise ValueError("there is no circuit to draw")
    check_comparable(named)
    graph = next(iter(named.values())).graph
    largest = max((_strengths(circuit).max(initial=0.0) for circuit in named.values()), default=0.0) or 1.0
    name = f"grokscope-{uuid.uuid4().hex[:8]}"
    panels = "".join(_panel(label, circuit, graph, largest) for label, circuit in named.items())
    data = json.dumps(_numbers(named)).replace("</", "<\\/")
    title = " / ".join(label for label in named if label) or "circuit"
    fragment = (
        f"<style>{(ASSETS / 'diagram.css').read_text(encoding='utf-8')}</style>"
        f'<div class="grokscope" id="{name}">{_legend(largest)}<div class="gs-panels">{panels}</div>'
        f'<div class="gs-tip" hidden></div>'
        f'<script type="application/json" class="gs-data">{data}</script></div>'
        f"<script>({(ASSETS / 'diagram.js').read_text(encoding='utf-8').strip()})"
        f"(document.getElementById({json.dumps(name)}));</script>"
    )
    return Diagram(fragment, f"grokscope: {title}")


def _strengths(circuit: Circuit) -> np.ndarray:
    return circuit.table.loc[circuit.table["kept"], "effect"].abs().to_numpy(dtype=float)


def _panel(label: str, circuit: Circuit, graph: ComputationGraph, largest: float) -> str:
    width, height = layout.size(graph)
    heading = f"<h4>{html.escape(label)}</h4>" if label else ""
    return (
        f"<figure>{heading}<figcaption>{html.escape(circuit.caption)}</figcaption>"
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img" '
        f'aria-label="{html.escape(label or "circuit")}">{_drawing(circuit, graph, largest)}</svg></figure>'
    )


def _drawing(circuit: Circuit, graph: ComputationGraph, largest: float) -> str:
    edges = circuit.kept_edges
    effects = dict(zip(map(str, edges), circuit.table.loc[circuit.table["kept"], "effect"], strict=True))
    touched = {str(node._replace(input="")) for edge in edges for node in edge}
    moves = layout.attention_moves(graph, edges)
    touched |= {str(node) for move in moves for node in move}
    parts = [_ARROW]
    parts += [f'<text class="gs-row" x="4" y="{y:.1f}">{html.escape(text)}</text>' for text, y in layout.row_labels(graph)]
    parts += [
        f'<text class="gs-role" x="{x:.1f}" y="{y:.1f}">{html.escape(text)}</text>'
        for text, x, y in layout.column_labels(graph)
    ]
    parts += [f'<path class="gs-move" d="{layout.move_path(graph, *move)}" marker-end="url(#gs-arrow)"/>' for move in moves]
    weakest_first = sorted(edges, key=lambda edge: abs(effects[str(edge)]))
    parts += [_edge(edge, effects[str(edge)], graph, largest) for edge in weakest_first]
    parts += [_node(node, node["node"] in touched) for node in layout.node_table(graph).to_dict("records")]
    return "".join(parts)


def _node(node: Mapping[Hashable, Any], is_touched: bool) -> str:
    x, y, width, height = node["x"], node["y"], layout.NODE_WIDTH, layout.NODE_HEIGHT
    return (
        f'<g class="gs-node{"" if is_touched else " gs-idle"}">'
        f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width}" height="{height}" rx="4"/>'
        f'<text x="{x:.1f}" y="{y + 3.5:.1f}">{html.escape(node["component"])}</text></g>'
    )


def _edge(edge: Edge, effect: float, graph: ComputationGraph, largest: float) -> str:
    kind = edge.receiver.input or edge.receiver.kind
    width = max(MIN_WIDTH, MAX_WIDTH * abs(effect) / largest)
    sign = " gs-negative" if effect < 0 else ""
    return (
        f'<path class="gs-edge gs-{kind}{sign}" data-edge="{html.escape(str(edge))}" tabindex="0" '
        f'stroke-width="{width:.2f}" d="{layout.edge_path(graph, edge)}"><title>{html.escape(str(edge))}: '
        f"{effect:+.3f}</title></path>"
    )


def _numbers(circuits: Mapping[str, Circuit]) -> list[dict[str, Any]]:
    """What hovering shows: for each circuit its label and edge → effect, stderr, n, kept."""
    return [
        {"label": label, "edges": dict(map(_hover, circuit.table.to_dict("records")))} for label, circuit in circuits.items()
    ]


def _hover(row: Mapping[Hashable, Any]) -> tuple[str, list[Any]]:
    numbers = [_finite(row["effect"]), _finite(row["stderr"]), int(row["n"]), bool(row["kept"])]
    return f"{row['sender']} -> {row['receiver']}", numbers


def _finite(value: float) -> float | None:
    return float(value) if value == value else None


def _legend(largest: float) -> str:
    lines = [f'<svg width="26" height="10"><path class="gs-edge gs-{kind}" stroke-width="4" d="M1 5 H25"/></svg>{text}'
             for kind, text in LEGEND.items()]  # fmt: skip
    lines.append(
        '<svg width="26" height="10"><path class="gs-edge gs-mlp gs-negative" stroke-width="3" d="M1 5 H25"/></svg>negative'
    )
    lines.append('<svg width="26" height="10"><path class="gs-move" d="M1 5 H25"/></svg>moved by attention')
    lines.append(f"width: |effect|, widest {largest:.2f} of the clean–corrupt gap")
    return '<div class="gs-legend">' + "".join(f"<span>{line}</span>" for line in lines) + "</div>"
