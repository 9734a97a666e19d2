"""The picture of an attribution graph: positions across, layers upwards, links between them, as of a circuit."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from .diagram import Diagram, assembled
from .feature_graph import FeatureGraph
from .layout import CONSTANTS, layout_of
from .palette import HUES
from .picture import AROUND, LETTER, Entry, Look, Picture, Place, Row, packed_picture
from .shown_edges import MOST_AT_FIRST, MOST_HELD, THEN
from .static_drawing import StillEdge, still_panel

LOOKS = (  # named after the inputs of circuits whose colours they have
    Look("v", "into a feature", 0.5, 0.0),
    Look("logits", "into a logit", -0.5, 0.0),
    Look("mlp", "into another node", 0.0, 0.0),
)
LOOK_OF, COLOURS = {"feature": 0, "logit": 1}, ("green", "purple", "black")
NUMBERS = ("activation", "probability", "influence")
SHORTEST = {"embedding": "embed", "error": "error"}


def draw_features(graph: FeatureGraph) -> Diagram:
    """Draw an attribution graph; it opens with its supernodes as groups, and with the strongest links if there are many."""
    links = graph.table.assign(size=graph.table["effect"].abs())
    held = links.nlargest(MOST_HELD, "size").sort_index() if len(links) > MOST_HELD else links
    left_out = float(links.drop(held.index)["size"].max()) if len(held) < len(links) else 0.0
    first = THEN if len(held) > MOST_AT_FIRST else None
    drawn = held if first is None else held.nlargest(first, "size")
    picture = _picture(graph, held)
    place = {node.name: i for i, node in enumerate(picture.nodes)}
    entry = {each.name: i for i, each in enumerate(picture.inputs)}
    ends = [place[name] for name in pd.unique(drawn[["sender", "receiver"]].to_numpy().ravel())]
    title = graph.about.get("slug") or graph.about.get("scan") or "attribution graph"
    widest = float(drawn["size"].max()) if len(drawn) else 1.0
    data = {
        "graphs": [_graph_data(picture, held, place, entry, sorted(ends), len(links))],
        "looks": [list(look) for look in LOOKS],
        "panels": [{"label": "", "graph": 0, "frames": [_frame(graph, held)], "curve": [], "queries": None}],
        "differences": [],
        "widest": widest,
        "at_first": first,
        "most": len(held),
        "left_out": left_out,
        "layout": CONSTANTS,
        "measure": "|weight|",
        "about": _about(graph),
    }
    said = graph.caption if first is None else f"{graph.caption} · drawn: the strongest {first}"
    still = _still(picture, drawn, place, entry, ends, widest, said)
    groups = [
        {"name": name[:40], "nodes": list(nodes)} for name, nodes in graph.supernodes if len(set(nodes) & set(place)) > 1
    ]
    return assembled(data, str(title), {"groups": groups} if groups else {}, still, [])


def _picture(graph: FeatureGraph, held: pd.DataFrame) -> Picture:
    """Columns by position, rows by layer; in a cell nodes stand in the order of the file."""
    nodes = graph.nodes
    layers = sorted(set(nodes["layer"])) if len(nodes) else []
    row = {layer: number for number, layer in enumerate(layers)}
    last = nodes.loc[nodes["kind"] == "logit", "layer"].max() if len(nodes) else None
    texts = ["embed" if layer < 0 else "logits" if layer == last else f"layer {layer}" for layer in layers]
    n_columns = 1 + max(len(graph.prompt) - 1, int(nodes["position"].max()) if len(nodes) else 0)
    words = [*graph.prompt, *[""] * n_columns]
    columns = tuple(f"{i}:{words[i].strip()}" for i in range(n_columns))
    slots: dict[tuple[int, int], int] = {}
    places = []
    for node in nodes.sort_values(["layer", "position"], kind="stable").to_dict("records"):
        cell = int(node["position"]), row[node["layer"]]
        slots[cell] = slots.get(cell, -1) + 1
        label = _label(node)
        places.append(Place(node["node"], label, *cell, slots[cell], round(LETTER * len(label) + AROUND, 1)))
    number = {each.name: i for i, each in enumerate(places)}
    kind = dict(zip(nodes["node"], nodes["kind"], strict=True)) if len(nodes) else {}
    inputs = tuple(Entry(name, LOOK_OF.get(kind[name], 2), number[name]) for name in pd.unique(held["receiver"]))
    rows = tuple(
        Row(text, -1 if text in ("embed", "logits") else int(layer), 1, "features")
        for text, layer in zip(texts, layers, strict=True)
    )
    return Picture(columns, rows, tuple(places), inputs, LOOKS)


def _label(node: Mapping[Any, Any]) -> str:
    """What stands in a node's box: what it is, without layer and position, which its place says."""
    if node["kind"] == "feature":
        return f"F{node['index']}"
    return SHORTEST.get(node["kind"]) or node["node"].partition("@")[2].partition(":")[2] or node["node"]


def _graph_data(
    picture: Picture, held: pd.DataFrame, place: dict[str, int], entry: dict[str, int], shown: list[int], n_links: int
) -> dict[str, Any]:
    data = packed_picture(picture)
    data |= {"shown": shown, "n_edges": n_links, "merged": None}
    data["senders"] = [place[name] for name in held["sender"]]
    data["receivers"] = [entry[name] for name in held["receiver"]]
    data["outputs"] = [[each.node, 1] for each in picture.inputs]
    return data


def _frame(graph: FeatureGraph, held: pd.DataFrame) -> dict[str, Any]:
    effect = held["effect"].to_numpy(dtype=float)
    return {
        "step": None,
        "caption": graph.caption,
        "rule": "",
        "reason": "",
        "empty": "" if len(held) else "the graph has no link",
        "n": 1,
        "gap": "",
        "effect": [float(f"{value:.6g}") if np.isfinite(value) else None for value in effect],
        "stderr": [None] * len(held),
        "kept": list(range(len(held))),
        "estimated": [],
        "keeps": "",
        "marks": [],
        "strongest": [],
    }


def _about(graph: FeatureGraph) -> dict[str, str]:
    """What is known of a node beside its links, by name."""
    found = {}
    for node in graph.nodes.to_dict("records"):
        parts = [node["label"]] if node["label"] else []
        parts += [f"{name} {node[name]:.3g}" for name in NUMBERS if pd.notna(node[name])]
        if parts:
            found[node["node"]] = ", ".join(parts)
    return found


def _still(
    picture: Picture,
    drawn: pd.DataFrame,
    place: dict[str, int],
    entry: dict[str, int],
    shown: list[int],
    widest: float,
    said: str,
) -> str:
    edges = []
    for sender, receiver, effect in drawn[["sender", "receiver", "effect"]].itertuples(index=False):
        at = entry[receiver]
        colour = HUES[COLOURS[picture.inputs[at].look]]
        edges.append(StillEdge(f"{sender} -> {receiver}", place[sender], at, effect, colour))
    return still_panel("", layout_of(picture, shown), edges, [], shown, widest, said)
