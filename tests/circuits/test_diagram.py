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

from grokscope.circuits import Circuit, ComputationGraph, Edge, Node, Result, draw, layout
from grokscope.circuits.kinds import KINDS
from grokscope.circuits.packed import packed
from grokscope.circuits.palette import HUES, style_sheet
from grokscope.tasks.runs.theme import COLOURS


def circuit(values: dict[str, float]) -> Circuit:
    return Circuit.from_effects(effects(values))


def drawn_edges(html: str) -> list[list[str]]:
    """Names of the drawn edges, panel by panel."""
    panels = html.split("<figure>")[1:]
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
    assert re.findall(r'gs-negative"[^>]* data-edge="([^"]+)"', html) == ["L1H0@r2 -&gt; logits@r2"]


def test_edges_that_are_only_estimated_are_dotted() -> None:
    frame = effects(CHAIN).to_frame() if isinstance(effects(CHAIN), Result) else effects(CHAIN)
    last = "L1H0@r2 -> logits@r2"
    is_last = frame["sender"] + " -> " + frame["receiver"] == last
    frame["verified"] = np.where(is_last, "estimated", "exact")
    given = [Edge.parse(name) for name in CHAIN]
    html = draw(Circuit.from_effects(frame, edges=given)).html
    assert re.findall(r'gs-estimated"[^>]* stroke-dasharray="1 4"[^>]* data-edge="([^"]+)"', html) == [
        last.replace(">", "&gt;")
    ]
    assert "estimated, not measured" in html and "estimated, not measured" not in draw(circuit(CHAIN)).html
    data = in_page(html)
    (frame_data,) = data["panels"][0]["frames"]
    assert frame_data["estimated"] == [named_edges(data["graphs"][0]).index(last)]
    kept = {str(edge) for edge in Circuit.from_effects(frame, threshold=0.02).kept_edges}
    assert last not in kept, "unless it is given, an estimate does not make an edge part of a circuit"


def test_circuits_share_layout_scale_and_numbers() -> None:
    a, b = circuit(CHAIN), circuit({**CHAIN, "embed@h -> L0H0.v@h": 0.45})
    html = draw({"a": a, "b": b}).html
    paths = [dict(re.findall(r'data-edge="([^"]+)".*? d="([^"]+)"', panel)) for panel in html.split("<figure>")[1:]]
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
    assert html.count("</script>") == 2


def test_incomparable_circuits_and_none_are_refused() -> None:
    a = circuit(CHAIN)
    with pytest.raises(ValueError, match="differ in metric"):
        draw({"a": a, "b": Circuit(a.table, a.graph, {**a.provenance, "metric": "other"})})
    with pytest.raises(ValueError, match="no circuit to draw"):
        draw({})


def test_circuits_show_themselves_in_jupyter() -> None:
    html = circuit(CHAIN)._repr_html_()
    assert "<svg" in html and "4 of 44 edges" in html and "<script>" in html


def test_a_circuit_without_edges_is_still_drawn() -> None:
    assert drawn_edges(draw(circuit({})).html) == [[]]


def test_nodes_are_apart_and_layers_go_up() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=3, n_heads=4, n_blocks=1)
    table = layout.node_table(graph).set_index("node")
    places = list(zip(table["x"], table["y"], strict=True))
    assert len(set(places)) == len(places)
    for x0, y0 in places:
        for x1, y1 in places:
            assert (x0, y0) == (x1, y1) or abs(x0 - x1) >= KINDS["head"].width or abs(y0 - y1) >= layout.NODE_HEIGHT
    heights = table.loc[["embed@r2", "L0H0@r2", "MLP0@r2", "L1H3@r2", "logits@r2"], "y"].tolist()
    assert heights == sorted(heights, reverse=True)
    width, height = layout.size(graph)
    assert table["x"].min() > 0 and table["x"].max() < width and table["y"].min() > 0 and table["y"].max() < height


def test_attention_moves_join_fed_inputs_with_used_outputs() -> None:
    edges = [Edge.parse(name) for name in ("embed@h -> L0H0.v@h", "L0H0@r1 -> MLP0@r1", "embed@r1 -> L1H0.q@r1")]
    assert layout.moves(GRAPH, edges) == [(Node.parse("L0H0@h"), Node.parse("L0H0@r1"))]


def points(path: str) -> list[tuple[float, float]]:
    """The end and control points of an SVG path."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_edges_leave_above_a_node_and_arrive_below_another_at_their_port() -> None:
    table = layout.node_table(GRAPH).set_index("node")
    for kind, port in (("q", -12.0), ("k", 0.0), ("v", 12.0)):
        edge = Edge.parse(f"embed@r1 -> L1H0.{kind}@r1")
        start, *between, end = points(layout.edge_path(GRAPH, edge))
        sender, receiver = table.loc["embed@r1"], table.loc["L1H0@r1"]
        assert start == pytest.approx((sender["x"], sender["y"] - layout.NODE_HEIGHT / 2), abs=0.1)
        assert end == pytest.approx((receiver["x"] + port, receiver["y"] + layout.NODE_HEIGHT / 2), abs=0.1)
        assert all(end[1] < y < start[1] for _, y in between)  # an edge upwards stays between its ends
        assert (between[0][0] > start[0]) == (kind == "v")
        assert min(start[0], end[0]) - 110 < layout.middle(GRAPH, edge)[0] < max(start[0], end[0]) + 110
    around = points(
        layout.edge_path(GRAPH, Edge(Node.parse("MLP1@r1"), Node.parse("L0H0.v@r1")))
    )  # back to an earlier layer
    assert around[1][1] < around[0][1] < around[3][1] < around[2][1]


def test_moves_go_from_side_to_side() -> None:
    table = layout.node_table(GRAPH).set_index("node")
    for a, b, side in (("L0H0@h", "L0H0@r1", 1), ("L0H0@r1", "L0H0@h", -1)):
        ends = points(layout.move_path(GRAPH, Node.parse(a), Node.parse(b)))
        wanted = table.loc[a, "x"] + side * 21, table.loc[b, "x"] - side * 21
        assert (ends[0][0], ends[-1][0]) == pytest.approx(wanted, abs=0.1)
        assert ends[0][1] == ends[-1][1] > ends[1][1]


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
        match=r"despite .*; lens of 'a' is 3, .*analyses.logit_lens.*; faithfulness is <Result.*, or its curve",
    ):
        draw(both, lens={"a": 3}, faithfulness=Result(lens), despite=["x"])
