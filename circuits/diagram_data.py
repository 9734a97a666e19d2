"""What a diagram draws, as numbers ready for JSON: places and paths of each graph, effects of each circuit.

The page's script draws from this, shows its numbers and saves it, so that what is seen is what is here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pandas as pd

from . import layout
from .circuit import Circuit
from .drawn_faithfulness import kept_alone
from .graph import ComputationGraph
from .kinds import css_name
from .merged import weights_of
from .node import Edge, Node
from .result import Result
from .units import size_of_gap

Item = TypeVar("Item")
READABLE = 0.5  # top-1 rate from which on a node is marked as carrying the bridge or the answer
CARRIED = ("bridge", "answer")

Frames = Mapping[int | None, Circuit]
"""The circuits of one panel by training step, or a single one without."""

Shown = Result | pd.DataFrame
"""What is shown next to circuits: a result, or that table of it."""


def diagram_data(
    panels: Mapping[str, Frames],
    lens: Mapping[str, pd.DataFrame],
    curves: Mapping[str, pd.DataFrame],
    judged: Mapping[str, Shown],
) -> dict[str, Any]:
    """All that a diagram shows.

    Args:
        panels: by label.
        lens: lens tables for some labels, of one checkpoint or with a column step.
        curves: faithfulness curves for some labels.
        judged: the results that these are from, or the curves themselves.

    Returns:
        graphs: of the panels, see `_graph_data`;
        panels: label, number of the graph, frames (see `_frame_data`) and curve: [n_edges, faithfulness, low, high];
        widest: the largest kept |effect|, which sets the scale of all.
    """
    graphs: dict[tuple[ComputationGraph, tuple[Edge, ...]], int] = {}
    shown, widest = [], 0.0
    for label, frames in panels.items():
        first = next(iter(frames.values()))
        number = graphs.setdefault((first.graph, tuple(first.measured_edges)), len(graphs))
        rows = [_frame_data(step, circuit, lens.get(label), judged.get(label)) for step, circuit in frames.items()]
        widest = max([widest, *(_largest(circuit) for circuit in frames.values())])
        shown.append({"label": label, "graph": number, "frames": rows, "curve": _curve_data(curves.get(label))})
    return {"graphs": [_graph_data(*key) for key in graphs], "panels": shown, "widest": widest or 1.0}


def _graph_data(graph: ComputationGraph, edges: Sequence[Edge]) -> dict[str, Any]:
    """A picture (see `_picture`) of the unrolled graph, and one by weights as `merged`; None if no weights are shared.

    `outputs` has for each edge the nodes whose output depends on it, `of_weights` its place among the merged edges, `loops`
    from which loop to which it leads; `fold` has for each node its place among the merged ones.
    """
    nodes, moves = layout.nodes_of(graph), layout.moves(graph, list(edges))
    data = _picture(graph, nodes, edges, moves, str, with_layers=True)
    place = {name: i for i, (name, *_) in enumerate(data["nodes"])}
    data["outputs"] = [[place[str(n)] for n in graph.outputs_of(e.receiver) if str(n) in place] for e in edges]
    data["merged"] = None
    if graph.n_loops > 1:
        folded = [Edge(*map(graph.first_use, edge)) for edge in edges]
        folded_nodes = [graph.first_use(node) for node in nodes]
        number, node_number = _numbered(folded), _numbered(folded_nodes)
        data["merged"] = _picture(
            graph.first_loop(),
            list(node_number),
            list(number),
            list(_numbered((graph.first_use(a), graph.first_use(b)) for a, b in moves)),
            lambda node: f"{weights_of(node, graph)}@{node.role}",
            with_layers=False,
        )
        data["fold"] = [node_number[node] for node in folded_nodes]
        data["of_weights"] = [number[edge] for edge in folded]
        data["loops"] = [[graph.loop_of(node) for node in edge] for edge in edges]
    return data


def _picture(
    graph: ComputationGraph,
    nodes: Sequence[Node],
    edges: Sequence[Edge],
    moves: Sequence[tuple[Node, Node]],
    name: Callable[[Node], str],
    *,
    with_layers: bool,
) -> dict[str, Any]:
    """Where everything goes and what it is called.

    Returns:
        width, height; rows [text, y] and columns [text, x, y] of labels; nodes [name, component, x, y, width]; edges [name,
        kind of input, node left, node entered, path, x and y of a label]; moves between positions [from, to, path].
    """
    place = {node: i for i, node in enumerate(nodes)}
    width, height = layout.size(graph)
    return {
        "width": width,
        "height": height,
        "rows": [(text, y) for text, y in layout.row_labels(graph) if with_layers or not text.startswith("layer")],
        "columns": layout.column_labels(graph),
        "nodes": [
            [name(node), name(node).partition("@")[0], *layout.centre(graph, node), layout.node_width(node)]
            for node in nodes
        ],
        "edges": [
            [
                f"{name(edge.sender)} -> {name(edge.receiver)}",
                css_name(edge.kind),
                place[edge.sender],
                place[graph.component_of(edge.receiver)],
                layout.edge_path(graph, edge),
                *(round(at, 1) for at in layout.middle(graph, edge)),
            ]
            for edge in edges
        ],
        "moves": [[place[a], place[b], layout.move_path(graph, a, b)] for a, b in moves],
    }


def _frame_data(step: int | None, circuit: Circuit, lens: pd.DataFrame | None, judged: Shown | None) -> dict[str, Any]:
    """One circuit: step, caption, why effects are missing, n, gap, effects, standard errors, places of kept edges, marks.

    The gap is in words, with its unit; effects and standard errors are shares of it. Of the kept edges it also says what
    they keep, in words.

    Marks are [node, what it carries, share of queries in which a lens reads it there].
    """
    table = circuit.table
    return {
        "step": step,
        "caption": circuit.caption,
        "reason": str(circuit.provenance.get("reason", "")),
        "n": int(table["n"].iloc[0]) if len(table) else 0,
        "gap": size_of_gap(float(table["gap"].iloc[0]), circuit.provenance) if len(table) else "",
        "effect": [_short(value) for value in table["effect"]],
        "stderr": [_short(value) for value in table["stderr"]],
        "kept": [i for i, kept in enumerate(table["kept"]) if kept],
        "keeps": kept_alone(circuit, judged),
        "marks": [] if lens is None else _marks(step, circuit.graph, lens),
    }


def _marks(step: int | None, graph: ComputationGraph, lens: pd.DataFrame) -> list[list[Any]]:
    if "step" in lens:
        lens = lens[lens["step"] == step]
    readable = lens[(lens["top1"] >= READABLE) & lens["target"].isin(CARRIED) & (lens["layer"] >= 0)]
    rows = readable[["layer", "after", "role", "target", "top1"]].itertuples(index=False)
    nodes = layout.nodes_of(graph)
    marks = []
    for layer, after, role, target, share in rows:
        node = _end_of(graph, layer, after, role)
        if node is not None and node in nodes:
            marks.append([nodes.index(node), target, round(float(share), 3)])
    return marks


def _end_of(graph: ComputationGraph, layer: int, after: str, role: str) -> Node | None:
    """The first node of a layer's last step, of its first if the lens looked between them; None without that layer."""
    steps = [step for step in graph.steps if step.layer == layer]
    if not steps:
        return None
    step = steps[-1] if after == "layer" else steps[0]
    return Node(step.kind, role, layer, step.indices[0])


def _curve_data(curve: pd.DataFrame | None) -> list[list[float | None]]:
    if curve is None:
        return []
    rows = curve[curve["order"] == "|effect|"] if "order" in curve else curve
    rows = rows[rows["n_edges"] > 0]  # of no edges there is nothing to say
    return [[int(k), *map(_short, rest)] for k, *rest in rows[["n_edges", "faithfulness", "low", "high"]].to_numpy()]


def _largest(circuit: Circuit) -> float:
    strengths = circuit.table.loc[circuit.table["kept"], "effect"].abs()
    return float(strengths.max()) if len(strengths) else 0.0


def _numbered(items: Iterable[Item]) -> dict[Item, int]:
    """Each item once, with its number in the order of first appearance."""
    return {item: number for number, item in enumerate(dict.fromkeys(items))}


def _short(value: float) -> float | None:
    """Six digits are enough to see; None where there is no number."""
    return float(f"{value:.6g}") if value == value else None
