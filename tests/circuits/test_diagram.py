import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import CHAIN, GRAPH, effects

from grokscope.circuits import Circuit, ComputationGraph, Edge, Node, Result, draw
from grokscope.circuits.kinds import KINDS
from grokscope.circuits.layout import NODE_HEIGHT, Layout, layout_of, svg_path
from grokscope.circuits.packed import packed
from grokscope.circuits.palette import HUES, style_sheet
from grokscope.circuits.picture import Picture, live_nodes, moves, nodes_of, picture_of
from grokscope.tasks.runs.theme import COLOURS


def circuit(values: dict[str, float]) -> Circuit:
    return Circuit.from_effects(effects(values))


def drawn_edges(html: str) -> list[list[str]]:
    """Names of the drawn edges, panel by panel."""
    panels = html.split("<script")[0].split("<figure>")[1:]
    return [re.findall(r'data-edge="([^"]+)"', panel) for panel in panels]


def in_page(html: str) -> Any:
    """The numbers of a page, with its packed lists as lists."""
    match = re.search(r'class="gs-data">(.*?)</script>', html)
    assert match is not None

    def unpacked(value: dict[str, Any]) -> Any:
        kinds = {"f32": "<f4", "u16": "<u2", "u32": "<u4"}
        if len(value) != 1 or not (kind := kinds.get(next(iter(value)))):
            return value
        numbers = np.frombuffer(base64.b64decode(next(iter(value.values()))), kind)
        return [None if x != x else x for x in numbers.tolist()]

    return json.loads(match[1], object_hook=unpacked)


def named_edges(graph: dict[str, Any]) -> list[str]:
    return [
        f"{graph['nodes'][sender][0]} -> {graph['inputs'][receiver][0]}"
        for sender, receiver in zip(graph["senders"], graph["receivers"], strict=True)
    ]


def test_the_kept_edges_are_drawn_and_no_others() -> None:
    html = draw(circuit(CHAIN)).html
    assert [sorted(panel) for panel in drawn_edges(html)] == [sorted(name.replace(">", "&gt;") for name in CHAIN)]


def test_width_is_proportional_to_the_effect_and_dashes_mean_negative() -> None:
    html = draw(circuit(CHAIN)).html
    widths = {name: float(width) for name, width in re.findall(r'data-edge="([^"]+)"[^>]* stroke-width="([\d.]+)"', html)}
    strong, weak = (widths[name.replace(">", "&gt;")] for name in ("embed@h -> L0H0.v@h", "MLP0@r1 -> L1H0.v@r1"))
    assert weak / strong == pytest.approx(0.7 / 0.9, abs=0.01)
    assert re.findall(r'data-edge="([^"]+)" stroke-dasharray="7 4"', html) == ["L1H0@r2 -&gt; logits@r2"]


def test_edges_that_are_only_estimated_are_dotted() -> None:
    frame = effects(CHAIN).to_frame() if isinstance(effects(CHAIN), Result) else effects(CHAIN)
    last = "L1H0@r2 -> logits@r2"
    is_last = frame["sender"] + " -> " + frame["receiver"] == last
    frame["verified"] = np.where(is_last, "estimated", "exact")
    given = [Edge.parse(name) for name in CHAIN]
    html = draw(Circuit.from_effects(frame, edges=given)).html
    assert re.findall(r'data-edge="([^"]+)" stroke-dasharray="1 4"', html) == [last.replace(">", "&gt;")]
    said = ["estimated, not measured" in text.split("<script")[0] for text in (html, draw(circuit(CHAIN)).html)]
    assert said == [True, False]
    data = in_page(html)
    (frame_data,) = data["panels"][0]["frames"]
    assert frame_data["estimated"] == [named_edges(data["graphs"][0]).index(last)]
    kept = {str(edge) for edge in Circuit.from_effects(frame, threshold=0.02).kept_edges}
    assert last not in kept, "unless it is given, an estimate does not make an edge part of a circuit"


def test_circuits_share_layout_scale_and_numbers() -> None:
    a, b = circuit(CHAIN), circuit({**CHAIN, "embed@h -> L0H0.v@h": 0.45})
    html = draw({"a": a, "b": b}).html
    paths = [
        dict(re.findall(r'data-edge="([^"]+)".*? d="([^"]+)"', panel))
        for panel in html.split("<script")[0].split("<figure>")[1:]
    ]
    assert paths[0] == paths[1]
    widths = re.findall(r'data-edge="embed@h -&gt; L0H0.v@h"[^>]* stroke-width="([\d.]+)"', html)
    assert float(widths[1]) / float(widths[0]) == pytest.approx(0.5, abs=0.01)
    data = in_page(html)
    assert [panel["label"] for panel in data["panels"]] == ["a", "b"] and len(data["graphs"]) == 1
    names = named_edges(data["graphs"][0])
    for panel, source in zip(data["panels"], (a, b), strict=True):
        assert len(names) == len(source.table)
        frame = panel["frames"][0]
        for i, row in enumerate(source.table.itertuples()):
            assert names[i] == f"{row.sender} -> {row.receiver}" and frame["n"] == row.n and row.kept == (i in frame["kept"])
            assert [frame["effect"][i], frame["stderr"][i]] == pytest.approx([row.effect, row.stderr], rel=1e-5)


def test_numbers_are_packed_without_a_loss_that_shows() -> None:
    effects = [None, -0.0, 0.123457, -1.5e-7, 98765.4, *[0.1] * 5]
    data = {"a": [{"effect": effects, "kept": [65535] * 9, "senders": [65536] * 9, "stderr": [0.5], "other": [1] * 20}]}
    assert set(packed(data)["a"][0]["kept"]) == {"u16"} and set(packed(data)["a"][0]["senders"]) == {"u32"}
    again = in_page(f'class="gs-data">{json.dumps(packed(data))}</script>')
    six = [each if each is None else float(f"{each:.6g}") for each in again["a"][0].pop("effect")]
    assert six == data["a"][0].pop("effect") and again == data


def test_a_saved_page_needs_no_network(tmp_path: Path) -> None:
    page = draw({"a": circuit(CHAIN), "b": circuit(CHAIN)}).save(tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    page_without_names = page.replace("http://www.w3.org/2000/svg", "")  # what SVG is called; nothing is fetched there
    assert not re.search(r"https?://|src=|@import|url\((?!#)", page_without_names)
    assert len(page) < 300_000


def test_hostile_labels_appear_as_text() -> None:
    hostile = '<img src=x onerror="alert(1)"></script>'
    html = draw({hostile: circuit(CHAIN), "b": circuit(CHAIN)}).html
    assert "<img" not in html
    assert html.count("</script>") == 3


def test_incomparable_circuits_and_none_are_refused() -> None:
    a = circuit(CHAIN)
    with pytest.raises(ValueError, match="differ in metric"):
        draw({"a": a, "b": Circuit(a.table, a.graph, {**a.provenance, "metric": "other"})})
    with pytest.raises(ValueError, match="no circuit to draw"):
        draw({})


def test_circuits_show_themselves_in_jupyter() -> None:
    html = circuit(CHAIN)._repr_html_()
    assert "<svg" in html and "4 of 44 edges" in html and "<script>" in html


def test_a_circuit_without_edges_says_why_instead_of_a_grid() -> None:
    empty = circuit({})
    html = draw(empty).html
    assert drawn_edges(html) == [[]] and empty.why_empty
    assert f"No edge is drawn: {empty.why_empty}" in html
    assert not re.search(r'<g class="gs-node"', html)


def whole(graph: ComputationGraph) -> tuple[Layout, dict[str, int]]:
    """A layout in which every node has a box, and the numbers of nodes by name."""
    picture = picture_of(graph, graph.receivers)
    return layout_of(picture, range(len(picture.nodes))), {node.name: i for i, node in enumerate(picture.nodes)}


def test_nodes_are_apart_and_layers_go_up() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=3, n_heads=4, n_blocks=1)
    layout, place = whole(graph)
    assert len(set(layout.nodes)) == len(layout.nodes)
    for i, (x0, y0) in enumerate(layout.nodes):
        for j, (x1, y1) in enumerate(layout.nodes[:i]):
            apart = (layout.picture.nodes[i].width + layout.picture.nodes[j].width) / 2
            assert abs(x0 - x1) >= apart or abs(y0 - y1) >= NODE_HEIGHT
    heights = [layout.nodes[place[name]][1] for name in ("embed@r2", "L0H0@r2", "MLP0@r2", "L1H3@r2", "logits@r2")]
    assert heights == sorted(heights, reverse=True)
    assert all(0 < x < layout.width and 0 < y < layout.height for x, y in layout.nodes)


def folded(shown: set[str], n_roles: int = 9, n_layers: int = 6) -> tuple[Layout, dict[str, int]]:
    roles = tuple(f"p{i}" for i in range(n_roles))
    graph = ComputationGraph.transformer(roles, roles[-1], n_layers=n_layers, n_heads=4, n_blocks=n_layers)
    picture = picture_of(graph, graph.receivers)
    place = {node.name: i for i, node in enumerate(picture.nodes)}
    return layout_of(picture, [place[name] for name in shown]), place


def test_idle_positions_and_layers_fold_into_a_thin_gap_with_their_number() -> None:
    shown = {"embed@p2", "L0H3@p2", "L0H3@p8", "MLP4@p8", "logits@p8"}
    layout, place = folded(shown)
    assert [(band.text, band.is_folded) for band in layout.columns] == [
        ("2 positions", True), ("p2", False), ("5 positions", True), ("p8", False)
    ]  # fmt: skip
    assert [text for text, _ in layout.row_texts] == ["embed", "layer 0", "3 layers", "layer 4", "layer 5", "logits"]
    assert max(band.size for band in layout.columns if band.is_folded) < min(
        band.size for band in layout.columns if not band.is_folded
    )
    everything, _ = whole(ComputationGraph.transformer(tuple(f"p{i}" for i in range(9)), "p8", 6, 4, 6))
    assert layout.width < 0.3 * everything.width
    assert layout.nodes[place["L0H0@p4"]][0] == layout.columns[2].middle  # what is not shown has its point in the gap
    assert layout.nodes[place["L0H0@p8"]][0] > layout.nodes[place["L0H3@p8"]][0]  # or beside the shown ones of its cell
    assert {place[name] for name in shown} == layout.shown


def test_places_depend_on_what_is_shown_alone() -> None:
    a, _ = folded({"embed@p2", "logits@p8"})
    b, _ = folded({"embed@p2", "logits@p8"})
    assert a == b and a.nodes != folded({"embed@p3", "logits@p8"})[0].nodes


def test_what_lives_is_what_edges_touch_and_where_they_are_carried() -> None:
    edges = [Edge.parse(name) for name in ("embed@h -> L0H0.v@h", "L0H0@r1 -> MLP0@r1", "embed@r1 -> L1H0.q@r1")]
    assert moves(GRAPH, edges) == [(Node.parse("L0H0@h"), Node.parse("L0H0@r1"))]
    live = {"embed@h", "L0H0@h", "L0H0@r1", "MLP0@r1", "embed@r1", "L1H0@r1"}
    assert {str(node) for node in live_nodes(GRAPH, edges)} == live


def points(path: str) -> list[tuple[float, float]]:
    """The end and control points of an SVG path."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_edges_leave_above_a_node_and_arrive_below_another_at_their_port() -> None:
    layout, place = whole(GRAPH)
    entry = {each.name: i for i, each in enumerate(layout.picture.inputs)}
    for kind, port, role in (("q", -12.0, "r2"), ("k", 0.0, "r1"), ("v", 12.0, "r1")):
        curve = layout.curve(place[f"embed@{role}"], entry[f"L1H0.{kind}@{role}"])
        start, *between, end = points(svg_path(curve))
        (x0, y0), (x1, y1) = layout.nodes[place[f"embed@{role}"]], layout.nodes[place[f"L1H0@{role}"]]
        assert start == pytest.approx((x0, y0 - NODE_HEIGHT / 2), abs=0.1)
        assert end == pytest.approx((x1 + port, y1 + NODE_HEIGHT / 2), abs=0.1)
        assert all(end[1] < y < start[1] for _, y in between)  # an edge upwards stays between its ends
        assert (between[0][0] > start[0]) == (kind == "v")
        assert all(abs(x - x0) <= 0.6 * layout.columns[1].size for x, _ in curve)  # no curve leaves its column
    around = layout.curve(place["MLP1@r2"], entry["L0H0.v@r2"])  # back to an earlier layer
    assert around[1][1] < around[0][1] < around[3][1] < around[2][1]


def test_an_edge_to_another_position_goes_straight_across() -> None:
    layout, place = whole(GRAPH)
    entry = {each.name: i for i, each in enumerate(layout.picture.inputs)}
    (x0, _), *between, (x1, _) = layout.curve(place["embed@h"], entry["MLP1@r2"])
    assert [x for x, _ in between] == [x0, x1] and x1 > x0


def test_moves_go_from_side_to_side() -> None:
    layout, place = whole(GRAPH)
    for a, b, side in (("L0H0@h", "L0H0@r1", 1), ("L0H0@r1", "L0H0@h", -1)):
        curve = layout.move(place[a], place[b])
        half = layout.picture.nodes[place[a]].width / 2
        wanted = [layout.nodes[place[a]][0] + side * half, layout.nodes[place[b]][0] - side * half]
        assert [curve[0][0], curve[-1][0]] == pytest.approx(wanted, abs=0.1)
        assert curve[0][1] == curve[-1][1] > curve[1][1]


def test_names_fit_their_boxes() -> None:
    graph = ComputationGraph.transformer(("x",), "x", n_layers=12, n_heads=12, n_blocks=12)
    picture: Picture = picture_of(graph, graph.receivers)
    assert len(nodes_of(graph)) == len(picture.nodes)
    for node in picture.nodes:
        assert node.width >= 6.6 * len(node.label) and node.width >= KINDS["head"].width


def test_the_page_has_the_colours_of_the_plotly_figures() -> None:
    css = style_sheet()
    light = css[: css.index("@media")]
    colours = dict(re.findall(r"--(?:edge-)?([\w-]+): (#[0-9a-f]{6})", light))
    inputs = {each.name or kind: HUES[each.colour] for kind, row in KINDS.items() for each in row.inputs}
    assert {name: colours[name] for name in inputs} == inputs
    assert {colours[name] for name in ("q", "k", "v", "logits", "a", "b")} <= set(COLOURS)
    still = dict(re.findall(r'gs-into-(\w+)[^>]* stroke="(#[0-9a-f]{6})"', draw(circuit(CHAIN)).html))
    assert still == {name: inputs[name] for name in ("v", "mlp", "logits")}


@dataclass(frozen=True, eq=False)
class Judged(Result):
    """What `analyses.faithfulness` gives, as far as a diagram looks at it."""

    curve: pd.DataFrame


@pytest.mark.usefixtures("as_users_call")
def test_results_are_shown_as_their_tables_are() -> None:
    curve = pd.DataFrame({"n_edges": [4, 20], "faithfulness": [0.8, 0.99], "low": [0.7, 0.9], "high": [0.9, 1.0]})
    lens = pd.DataFrame({"layer": [0], "after": ["layer"], "role": ["r1"], "target": ["bridge"], "top1": [0.97]})
    both, judged = {"a": circuit(CHAIN), "b": circuit(CHAIN)}, Judged(pd.DataFrame(), curve)
    by_label = draw(both, faithfulness={"b": judged}, lens={"a": Result(lens)}).data["panels"]
    assert [panel["curve"] for panel in by_label] == [[], [[4, 0.8, 0.7, 0.9], [20, 0.99, 0.9, 1.0]]]
    assert [len(panel["frames"][0]["marks"]) for panel in by_label] == [1, 0]
    assert by_label == draw(both, faithfulness={"b": curve}, lens={"a": lens}).data["panels"]
    assert draw(both["a"], faithfulness=judged).data["panels"][0]["curve"] == by_label[1]["curve"]
    with pytest.raises(KeyError, match="no circuit is called c, but there is a faithfulness for it; there are a, b"):
        draw(both, faithfulness={"c": judged})
    with pytest.raises(
        ValueError,
        match=r"despite .*; lens of 'a' is 3, .*analyses.logit_lens.*; faithfulness is <Result.*, or its curve; queries is",
    ):
        draw(both, lens={"a": 3}, faithfulness=Result(lens), queries=3, despite=["x"])
