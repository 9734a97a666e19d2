"""What a diagram draws, as numbers ready for JSON: places of each graph's nodes, effects of each circuit's edges.

The page's script draws from this, shows its numbers and saves it, so that what is seen is what is here.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from . import layout
from .circuit import Circuit, measured_rows
from .drawn_faithfulness import kept_alone
from .graph import ComputationGraph
from .kinds import KINDS, Input, css_name
from .merged import weights_of
from .node import Node
from .result import Result
from .shown_edges import held_edges, n_at_first
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
        looks: of kinds of inputs [CSS name, bulge, port], see `kinds.Input`;
        panels: label, number of the graph, frames (see `_frame_data`) and curve: [n_edges, faithfulness, low, high];
        widest: the largest kept |effect|, which sets the scale of all;
        at_first: with how many of the strongest edges the page begins, None for the kept ones;
        most, left_out: how many of the strongest edges can be drawn, and the |effect| beyond which all can.
    """
    together: dict[Any, list[Circuit]] = {}
    for frames in panels.values():
        together.setdefault(_edges_key(frames), []).extend(frames.values())
    held = {key: held_edges(circuits) for key, circuits in together.items()}
    number = _numbered(held)
    shown = []
    for label, frames in panels.items():
        key = _edges_key(frames)
        about = lens.get(label), judged.get(label)
        rows = [_frame_data(step, circuit, held[key].rows, *about) for step, circuit in frames.items()]
        shown.append({"label": label, "graph": number[key], "frames": rows, "curve": _curve_data(curves.get(label))})
    circuits = [circuit for each in together.values() for circuit in each]
    complete, partial = (
        [each.n_strongest for each in held.values() if bool(each.left_out) == is_partial] for is_partial in (False, True)
    )
    return {
        "graphs": [_graph_data(each[0], held[key].rows) for key, each in together.items()],
        "looks": [[css_name(name or kind), each.bulge, each.port] for (kind, name), each in _inputs().items()],
        "panels": shown,
        "widest": max(map(_largest, circuits)) or 1.0,
        "at_first": n_at_first(circuits),
        "most": min(partial) if partial else max(complete),
        "left_out": max(each.left_out for each in held.values()),
    }


def _edges_key(frames: Frames) -> Any:
    """What panels have in common whose edges are the same."""
    first = next(iter(frames.values()))
    return first.graph, tuple(first.table["sender"]), tuple(first.table["receiver"])


def _graph_data(circuit: Circuit, rows: np.ndarray) -> dict[str, Any]:
    """A picture (see `_picture`) of the unrolled graph, and one by weights as `merged`; None if no weights are shared.

    `n_edges` were measured; `senders` and `receivers` are those that the page holds, as places among nodes and inputs.
    `outputs` has for each input the nodes whose output depends on it, as first place and number in turn. `fold` and
    `fold_inputs` have for each node and input its place among the merged ones, `loops` for each node the loop it is in.
    """
    graph, table = circuit.graph, circuit.table.iloc[rows]
    nodes, parsed = layout.nodes_of(graph), {name: Node.parse(name) for name in pd.unique(table["receiver"])}
    inputs, place = list(parsed.values()), {node: i for i, node in enumerate(nodes)}
    number, sender = _numbered(parsed), {str(node): i for node, i in place.items()}
    data = _picture(graph, nodes, inputs, str, with_layers=True)
    data["n_edges"] = len(circuit.table)
    data["senders"] = [sender[name] for name in table["sender"]]
    data["receivers"] = [number[name] for name in table["receiver"]]
    data["outputs"] = [_runs([place[node] for node in graph.outputs_of(each) if node in place]) for each in inputs]
    data["merged"] = None
    if graph.n_loops > 1:
        folded_nodes, folded_inputs = ([graph.first_use(node) for node in each] for each in (nodes, inputs))
        node_number, input_number = _numbered(folded_nodes), _numbered(folded_inputs)
        data["merged"] = _picture(
            graph.first_loop(),
            list(node_number),
            list(input_number),
            lambda node: f"{weights_of(node, graph)}@{node.role}",
            with_layers=False,
        )
        data["fold"] = [node_number[node] for node in folded_nodes]
        data["fold_inputs"] = [input_number[node] for node in folded_inputs]
        data["loops"] = [graph.loop_of(node) for node in nodes]
    return data


def _picture(
    graph: ComputationGraph,
    nodes: Sequence[Node],
    inputs: Sequence[Node],
    name: Callable[[Node], str],
    *,
    with_layers: bool,
) -> dict[str, Any]:
    """Where everything goes and what it is called; the curves between them are those of `layout`.

    Returns:
        width, height; column_width, row_height; rows [text, y] and columns [text, x, y] of labels; nodes [name, component,
        x, y, width]; inputs [name, place among the looks, node entered].
    """
    place = {node: i for i, node in enumerate(nodes)}
    (width, height), (column_width, row_height) = layout.size(graph), layout.spacing(graph)
    looks = _numbered(_inputs())
    return {
        "width": width,
        "height": height,
        "column_width": column_width,
        "row_height": row_height,
        "rows": [(text, y) for text, y in layout.row_labels(graph) if with_layers or not text.startswith("layer")],
        "columns": layout.column_labels(graph),
        "nodes": [
            [name(node), name(node).partition("@")[0], *layout.centre(graph, node), layout.node_width(node)]
            for node in nodes
        ],
        "inputs": [[name(each), looks[each.kind, each.input], place[graph.component_of(each)]] for each in inputs],
    }


def _inputs() -> dict[tuple[str, str], Input]:
    """All inputs by kind of node and name."""
    return {(kind, each.name): each for kind, row in KINDS.items() for each in row.inputs}


def _runs(places: Iterable[int]) -> list[int]:
    """Places in a row as their first and how many they are, in turn.

    >>> _runs([4, 5, 6, 9])
    [4, 3, 9, 1]
    """
    found: list[int] = []
    for place in sorted(places):
        if found and place == found[-2] + found[-1]:
            found[-1] += 1
        else:
            found += [place, 1]
    return found


def _frame_data(
    step: int | None, circuit: Circuit, rows: np.ndarray, lens: pd.DataFrame | None, judged: Shown | None
) -> dict[str, Any]:
    """One circuit: step, caption, why effects are missing, n, gap, effects, standard errors, places of edges, marks.

    Of the edges are those that the page holds. Places are those of the kept ones, and of those that are only estimated where
    others were measured.

    The gap is in words, with its unit; effects and standard errors are shares of it. Of the kept edges it also says what
    they keep, in words.

    Marks are [node, what it carries, share of queries in which a lens reads it there].
    """
    table = circuit.table
    held = table if len(rows) >= len(table) else table.iloc[rows]
    return {
        "step": step,
        "caption": circuit.caption,
        "reason": str(circuit.provenance.get("reason", "")),
        "n": int(table["n"].iloc[0]) if len(table) else 0,
        "gap": size_of_gap(float(table["gap"].iloc[0]), circuit.provenance) if len(table) else "",
        "effect": [_short(value) for value in held["effect"]],
        "stderr": [_short(value) for value in held["stderr"]],
        "kept": [i for i, kept in enumerate(held["kept"]) if kept],
        "estimated": np.flatnonzero(~measured_rows(held)).tolist(),
        "keeps": kept_alone(circuit, judged),
        "marks": [] if lens is None else _marks(step, circuit.graph, lens),
    }


def _marks(step: int | None, graph: ComputationGraph, lens: pd.DataFrame) -> list[list[Any]]:
    if "step" in lens:
        lens = lens[lens["step"] == step]
    readable = lens[(lens["top1"] >= READABLE) & lens["target"].isin(CARRIED) & (lens["layer"] >= 0)]
    rows = readable[["layer", "after", "role", "target", "top1"]].itertuples(index=False)
    place = _numbered(layout.nodes_of(graph))
    marks = []
    for layer, after, role, target, share in rows:
        node = _end_of(graph, layer, after, role)
        if node is not None and node in place:
            marks.append([place[node], target, round(float(share), 3)])
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
    return float(f"{value:.6g}") if math.isfinite(value) else None
