"""What a diagram draws, as numbers ready for JSON: the picture of each graph, effects of each circuit's edges, differences.

The page's script draws from this, shows its numbers and saves it, so that what is seen is what is here.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .circuit import Circuit, has_number, measured_rows
from .differences import Differences, differences_of
from .drawn_faithfulness import kept_alone
from .drawn_queries import Queries, strongest_queries
from .graph import ComputationGraph
from .layout import CONSTANTS
from .node import Edge, Node
from .picture import live_nodes, looks, merged_picture, nodes_of, packed_picture, picture_of
from .result import Result
from .shown_edges import Held, at_first, held_edges, n_at_first
from .units import size_of_gap

Item = TypeVar("Item")
READABLE = 0.5  # top-1 rate from which on a node is marked as carrying the bridge or the answer
CARRIED = ("bridge", "answer")
MOST_COMPARED = 4  # circuits of which every two are compared; of more, each with the first

Frames = Mapping[int | None, Circuit]
"""The circuits of one panel by training step, or a single one without."""

Shown = Result | pd.DataFrame
"""What is shown next to circuits: a result, or that table of it."""


def diagram_data(
    panels: Mapping[str, Frames],
    lens: Mapping[str, pd.DataFrame],
    curves: Mapping[str, pd.DataFrame],
    judged: Mapping[str, Shown],
    queries: Mapping[str, Queries],
    *,
    seed: int,
) -> dict[str, Any]:
    """All that a diagram shows.

    Args:
        panels: by label.
        lens: lens tables for some labels, of one checkpoint or with a column step.
        curves: faithfulness curves for some labels.
        judged: the results that these are from, or the curves themselves.
        queries: what was asked, and where heads look, for some labels.
        seed: of the bootstrap of differences.

    Returns:
        graphs: of the panels, see `_graph_data`;
        looks: of kinds of inputs [CSS name, label, bulge, port];
        panels: label, number of the graph, frames (see `_frame_data`), curve [n_edges, faithfulness, low, high] and queries;
        differences: of panels with one table of edges, see `_difference_data`;
        widest: the largest kept |effect|, which sets the scale of all;
        at_first: with how many of the strongest edges the page begins, None for the kept ones;
        most, left_out: how many of the strongest edges can be drawn, and the |effect| beyond which all can;
        layout: sizes, see `layout.CONSTANTS`.
    """
    keys = {label: _edges_key(frames) for label, frames in panels.items()}
    together: dict[Any, list[Circuit]] = {}
    for label, frames in panels.items():
        together.setdefault(keys[label], []).extend(frames.values())
    held = {key: held_edges(circuits) for key, circuits in together.items()}
    circuits = [circuit for each in together.values() for circuit in each]
    first = n_at_first(circuits)
    number = _numbered(held)
    shown = []
    for label, frames in panels.items():
        key = keys[label]
        about = lens.get(label), judged.get(label), queries.get(label)
        rows = [_frame_data(step, circuit, held[key].rows, *about) for step, circuit in frames.items()]
        panel = {"label": label, "graph": number[key], "frames": rows, "curve": _curve_data(curves.get(label))}
        shown.append(panel | {"queries": queries[label].data if label in queries else None})
    complete, partial = (
        [each.n_strongest for each in held.values() if bool(each.left_out) == is_partial] for is_partial in (False, True)
    )
    return {
        "graphs": [_graph_data(each, held[key], first) for key, each in together.items()],
        "looks": [list(look) for look in looks().values()],
        "panels": shown,
        "differences": _all_differences(panels, {label: held[key].rows for label, key in keys.items()}, keys, seed),
        "widest": max(map(_largest, circuits)) or 1.0,
        "at_first": first,
        "most": min(partial) if partial else max(complete),
        "left_out": max(each.left_out for each in held.values()),
        "layout": CONSTANTS,
    }


def _edges_key(frames: Frames) -> Any:
    """What panels have in common whose edges are the same."""
    first = next(iter(frames.values()))
    return first.graph, tuple(first.table["sender"]), tuple(first.table["receiver"])


def _graph_data(circuits: list[Circuit], held: Held, first: int | None) -> dict[str, Any]:
    """The picture of the unrolled graph, and that by weights as `merged`; None if no weights are shared.

    `n_edges` were measured; `senders` and `receivers` are those that the page holds, as places among nodes and inputs.
    `outputs` has for each input the nodes whose output depends on it, as first place and number in turn. `shown` are the
    nodes with boxes of their own when the page opens: those of the edges that are drawn then, in any of the circuits.
    `fold` and `fold_inputs` have for each node and input its place among the merged ones, `loops` for each node its loop.
    """
    graph, table = circuits[0].graph, circuits[0].table.iloc[held.rows]
    nodes, parsed = nodes_of(graph), {name: Node.parse(name) for name in pd.unique(table["receiver"])}
    inputs, place = list(parsed.values()), {node: i for i, node in enumerate(nodes)}
    number, sender = _numbered(parsed), {str(node): i for node, i in place.items()}
    live = live_nodes(graph, drawn_first(circuits, first))
    data = packed_picture(picture_of(graph, inputs))
    data["shown"] = [i for i, node in enumerate(nodes) if node in live]
    data["n_edges"] = len(circuits[0].table)
    data["senders"] = [sender[name] for name in table["sender"]]
    data["receivers"] = [number[name] for name in table["receiver"]]
    data["outputs"] = [_runs([place[node] for node in graph.outputs_of(each) if node in place]) for each in inputs]
    data["merged"] = None
    if graph.n_loops > 1:
        folded_nodes, folded_inputs = ([graph.first_use(node) for node in each] for each in (nodes, inputs))
        node_number, input_number = _numbered(folded_nodes), _numbered(folded_inputs)
        data["merged"] = packed_picture(merged_picture(graph, node_number, input_number))
        data["fold"] = [node_number[node] for node in folded_nodes]
        data["fold_inputs"] = [input_number[node] for node in folded_inputs]
        data["loops"] = [graph.loop_of(node) for node in nodes]
    return data


def drawn_first(circuits: Iterable[Circuit], first: int | None) -> set[tuple[Node, Node]]:
    """The edges that any of the circuits is drawn with when a page opens."""
    tables = [circuit.table.iloc[at_first(circuit, first)] for circuit in circuits]
    names = {pair for table in tables for pair in zip(table["sender"], table["receiver"], strict=True)}
    return {Edge(Node.parse(sender), Node.parse(receiver)) for sender, receiver in names}


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
    step: int | None,
    circuit: Circuit,
    rows: np.ndarray,
    lens: pd.DataFrame | None,
    judged: Shown | None,
    queries: Queries | None,
) -> dict[str, Any]:
    """One circuit: step, caption, why effects are missing, n, gap, effects, standard errors, places of edges, marks.

    Of the edges are those that the page holds. Places are those of the kept ones, and of those that are only estimated where
    others were measured.

    The gap is in words, with its unit; effects and standard errors are shares of it. Of the kept edges it also says what
    they keep, in words; and which queries each kept edge matters to most, see `strongest_queries`.

    Marks are [node, what it carries, share of queries in which a lens reads it there].
    """
    table = circuit.table
    held = table if len(rows) >= len(table) else table.iloc[rows]
    return {
        "step": step,
        "caption": _about(circuit),
        "rule": str(circuit.provenance.get("kept", "")),
        "reason": str(circuit.provenance.get("reason", "")),
        "empty": circuit.why_empty,
        "n": int(table["n"].iloc[0]) if len(table) else 0,
        "gap": size_of_gap(float(table["gap"].iloc[0]), circuit.provenance) if len(table) else "",
        **_by_edge(held, circuit),
        "effect": [_short(value) for value in held["effect"]],
        "stderr": [_short(value) for value in held["stderr"]],
        "kept": [i for i, kept in enumerate(held["kept"]) if kept],
        "estimated": np.flatnonzero(~measured_rows(held)).tolist(),
        "keeps": kept_alone(circuit, judged),
        "marks": [] if lens is None else _marks(step, circuit.graph, lens),
        "strongest": strongest_queries(circuit, rows, queries),
    }


def _by_edge(held: pd.DataFrame, circuit: Circuit) -> dict[str, Any]:
    """Number of queries and gap of each edge, where they are not the same for all, as in tables put together."""
    if held["n"].nunique(dropna=False) <= 1 and held["gap"].nunique(dropna=False) <= 1:
        return {}
    gaps = [size_of_gap(float(gap), circuit.provenance) for gap in held["gap"]]
    return {"n_each": [int(n) for n in held["n"]], "gap_each": gaps}


def _about(circuit: Circuit) -> str:
    """The caption without what a page says anew of what it draws: how many edges."""
    parts = circuit.caption.split(" · ")
    return " · ".join(part.partition(" edges, ")[2] or part if " edges, gap" in part else part for part in parts)


def _marks(step: int | None, graph: ComputationGraph, lens: pd.DataFrame) -> list[list[Any]]:
    if "step" in lens:
        lens = lens[lens["step"] == step]
    readable = lens[(lens["top1"] >= READABLE) & lens["target"].isin(CARRIED) & (lens["layer"] >= 0)]
    rows = readable[["layer", "after", "role", "target", "top1"]].itertuples(index=False)
    place = _numbered(nodes_of(graph))
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


def compared(labels: Iterable[str]) -> list[tuple[str, str]]:
    """Which circuits are compared: every two, or of many each with the first."""
    couples = list(combinations(labels, 2))
    return couples if len({each for couple in couples for each in couple}) <= MOST_COMPARED else couples[: _n_first(couples)]


def _n_first(couples: list[tuple[str, str]]) -> int:
    return sum(a == couples[0][0] for a, _ in couples)


def _all_differences(
    panels: Mapping[str, Frames], rows: Mapping[str, np.ndarray], keys: Mapping[str, Any], seed: int
) -> list[dict[str, Any]]:
    """The differences of circuits with one table of edges, at each step at which one of the two changes."""
    number, found = _numbered(panels), []
    for a, b in compared(panels):
        if keys[a] != keys[b]:
            continue
        place = {str(node): i for i, node in enumerate(nodes_of(next(iter(panels[a].values())).graph))}
        for step in _steps(panels[a], panels[b]):
            one, other = (frame_at(panels[label], step) for label in (a, b))
            each = differences_of(one, other, rows[a], paired=_on_same_pairs(one, other), seed=seed)
            found.append({"a": number[a], "b": number[b], "step": step, **_difference_data(each, place)})
    return found


def _steps(a: Frames, b: Frames) -> list[int | None]:
    """The steps at which what is shown of either changes; None if neither has any."""
    steps = sorted({step for step in (*a, *b) if step is not None})
    return [*steps] or [None]


def frame_at(frames: Frames, step: int | None) -> Circuit:
    """What a panel shows at a step: the last circuit up to it, or else the first."""
    upto = [each for each in frames if each is None or step is None or each <= step]
    return frames[upto[-1]] if upto else next(iter(frames.values()))


def _on_same_pairs(a: Circuit, b: Circuit) -> bool:
    """Whether two circuits were measured on the same queries, so that these can be drawn together."""
    pairs = [circuit.provenance.get("pairs") for circuit in (a, b)]
    sizes = [-1 if circuit.donor_gaps is None else len(circuit.donor_gaps) for circuit in (a, b)]
    return pairs[0] is not None and pairs[0] == pairs[1] and sizes[0] == sizes[1]


def _difference_data(found: Differences, place: Mapping[str, int]) -> dict[str, Any]:
    """Numbers of edges and of nodes, with bounds that are None where there are none."""
    edges, nodes = found.edges, found.nodes
    return {
        "how": found.how,
        "n_family": found.n_family,
        **{name: [_short(value) for value in edges[name]] for name in ("value", "low", "high")},
        "nodes": {
            "node": [place[name] for name in nodes["node"]],
            **{name: [_short(value) for value in nodes[name]] for name in ("value", "low", "high")},
        },
    }


def _largest(circuit: Circuit) -> float:
    strengths = circuit.table.loc[circuit.table["kept"], "effect"].abs()
    return float(strengths[has_number(strengths)].max()) if has_number(strengths).any() else 0.0


def _numbered(items: Iterable[Item]) -> dict[Item, int]:
    """Each item once, with its number in the order of first appearance."""
    return {item: number for number, item in enumerate(dict.fromkeys(items))}


def _short(value: float) -> float | None:
    """Six digits are enough to see; None where there is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
