"""The diagram in a real browser: what is drawn and shown is what the data say."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import until
from diagrams import API, BOTH, A, B, Shown, cut, drawn, names, on_screen, pixel, random_circuit, show
from planted import CHAIN, GRAPH, LOOPS, effects

from grokscope.analyses import FaithfulnessResult
from grokscope.circuits import Circuit, ComputationGraph, Diagram, draw, merge_loops, shown_edges
from grokscope.circuits.drawn_faithfulness import kept_alone


def test_the_circuits_are_drawn_with_and_without_scripts(shown: Shown) -> None:
    html = shown(draw(BOTH), java_script_enabled=False).content()
    static = [set(re.findall(r'data-edge="([^"]+)"', part)) for part in html.split("<script")[0].split("<figure>")[1:]]
    assert static == [{name.replace(">", "&gt;") for name in names(c)} for c in (A, B)]
    page = shown(draw(BOTH))
    assert drawn(page, 0) == names(A) and drawn(page, 1) == names(B)
    for panel, circuit in enumerate((A, B)):
        painted = [pixel(page, name, panel) for name in names(circuit) if "MLP0@r1 -> " in name or "embed@h" in name]
        assert painted and all(alpha > 100 for *_, alpha in painted)


def test_the_slider_draws_exactly_the_edges_beyond_it(shown: Shown) -> None:
    diagram = draw(BOTH)
    page = shown(diagram)
    for at in (0, 300, 600, 900):
        cut(page, "threshold", at)
        threshold = diagram.data["widest"] * 10 ** ((at - 1000) / 333)
        for panel, circuit in enumerate((A, B)):
            assert drawn(page, panel) == names(circuit, circuit.table["effect"].abs() >= threshold)
        assert float(page.locator(".gs-number").input_value()) == pytest.approx(threshold, rel=6e-3)
    for k in (0, 1, 7, 40):
        cut(page, "top", k)
        for panel, circuit in enumerate((A, B)):
            strongest = circuit.table["effect"].abs().rank(ascending=False) <= k
            assert drawn(page, panel) == names(circuit, strongest) and strongest.sum() == k
            assert (
                page.locator("figcaption").nth(panel).inner_text().startswith(f"{k} of {len(A.table)} edges, the strongest")
            )


def test_a_threshold_can_be_typed(shown: Shown) -> None:
    page = shown(draw(A))
    page.select_option("[aria-label='which edges are drawn']", "threshold")
    page.locator(".gs-number").fill("0.35")
    page.keyboard.press("Enter")
    assert drawn(page) == names(A, A.table["effect"].abs() >= 0.35)
    page.locator(".gs-number").fill("-1")
    page.keyboard.press("Enter")
    assert drawn(page) == names(A, A.table["effect"].abs() >= 0.35)


def test_moving_the_threshold_moves_no_node(shown: Shown) -> None:
    page = shown(draw(BOTH))
    places = f"JSON.stringify({API}.app.views.map((view) => view.layout.nodes))"
    before = page.evaluate(places)
    for how, at in (("threshold", 0), ("threshold", 900), ("top", 60)):
        cut(page, how, at)
        assert page.evaluate(places) == before


def test_edges_that_are_only_estimated_are_said_to_be(shown: Shown) -> None:
    is_weak = (A.table["effect"].abs() < 0.05).to_numpy()
    table = A.table.assign(verified=np.where(is_weak, "estimated", "exact"))
    page = shown(draw(Circuit(table, A.graph, A.provenance)))
    cut(page, "top", 40)
    dotted = page.evaluate(f"{API}.app.views[0].scene.order.filter((each) => each.isEstimated).map((each) => each.name)")
    assert set(dotted) == drawn(page) - names(A, table["verified"] == "exact") and dotted
    assert page.locator(".gs-legend .gs-estimated").count() == 1


def test_hovering_shows_the_numbers_of_the_data_in_both_circuits(shown: Shown) -> None:
    page = shown(draw(BOTH), viewport={"width": 1280, "height": 1400})
    for row in A.table[A.table["kept"]].head(3).itertuples():
        name = f"{row.sender} -> {row.receiver}"
        page.mouse.move(*on_screen(page, name))
        other = B.table[(B.table["sender"] == row.sender) & (B.table["receiver"] == row.receiver)].iloc[0]
        lines = [
            f"{label}: {bounds(each)} of a gap of 10.00 nats, n = {each.n}{'' if each.kept else ' (not drawn)'}"
            for label, each in (("a", row), ("b", other))
        ]
        assert page.locator(".gs-tip").inner_text().replace("−", "-").split("\n") == [name, *lines]


def bounds(row: Any) -> str:
    low, high = row.effect - 1.96 * row.stderr, row.effect + 1.96 * row.stderr
    return f"{row.effect:z.3f} [{low:z.3f}, {high:z.3f}]"


def literal_trace(circuit: Circuit, start: str) -> set[str]:
    """Edges upstream and downstream of one, by following every path."""
    edges = circuit.kept_edges
    begin = next(edge for edge in edges if str(edge) == start)

    def follow(edge: Any, down: bool) -> set[str]:
        found = {str(edge)}
        for other in edges:
            first, second = (edge, other) if down else (other, edge)
            if second.sender in circuit.graph.outputs_of(first.receiver):
                found |= follow(other, down)
        return found

    return follow(begin, True) | follow(begin, False)


VIEW = f"{API}.app.views[0]"
LIT = f"(({{ scene, trace }}) => scene.order.filter((c) => trace && trace.keys.has(c.key)).map((c) => c.name))({VIEW})"


def test_a_click_traces_the_paths_through_an_edge_until_it_is_clicked_again(shown: Shown) -> None:
    page = shown(draw(A), viewport={"width": 1280, "height": 1400})
    name = "MLP1@r1 -> L2H0.v@r1"
    before = pixel(page, "L1H0@r2 -> logits@r2")
    page.mouse.click(*on_screen(page, name))
    assert set(page.evaluate(LIT)) == literal_trace(A, name) < names(A)
    assert page.locator(".gs-details .gs-title").inner_text() == name
    after = pixel(page, "L1H0@r2 -> logits@r2")
    assert "L1H0@r2 -> logits@r2" not in literal_trace(A, name) and after[3] < 0.3 * before[3]
    page.mouse.click(*on_screen(page, name))
    assert page.evaluate(LIT) == [] and page.locator(".gs-details").inner_text() == ""


def test_a_tap_shows_the_numbers_and_they_stay(shown: Shown) -> None:
    page = shown(draw(BOTH), has_touch=True, viewport={"width": 420, "height": 900})
    name = "embed@h -> L0H0.v@h"
    page.locator("figure svg").first.scroll_into_view_if_needed()
    page.touchscreen.tap(*on_screen(page, name))
    assert page.locator(".gs-details .gs-title").inner_text() == name
    said = page.locator(".gs-details").inner_text()
    assert "0.900 [" in said and "0.450 [" in said and "n = 6" in said


def test_a_node_says_what_enters_and_leaves_it_and_traces(shown: Shown) -> None:
    page = shown(draw(A), viewport={"width": 1280, "height": 1400})
    page.mouse.move(*on_screen(page, "MLP0@r1"))
    into = sum(str(edge.receiver) == "MLP0@r1" for edge in A.kept_edges)
    out = sum(str(edge.sender) == "MLP0@r1" for edge in A.kept_edges)
    assert page.locator(".gs-tip").inner_text() == f"MLP0@r1\n{into} drawn edge in, {out} out" and into == 1 == out
    page.mouse.click(*on_screen(page, "MLP0@r1"))
    assert len(page.evaluate(LIT)) >= into + out
    said = page.locator(".gs-details").inner_text()
    assert "into an MLP: 1, together 0.800" in said and "out of it: 1, together 0.700" in said


def test_an_arrow_between_positions_carries_a_number_and_says_what_it_is(shown: Shown) -> None:
    page = shown(draw(A), viewport={"width": 1280, "height": 1400})
    assert sorted(page.locator(".gs-move text").all_text_contents()) == ["0.30", "0.70", "0.90"]
    middle = (
        "(() => { const p = document.querySelector('[data-move] path');"
        "const at = p.getPointAtLength(p.getTotalLength() / 3).matrixTransform(p.getScreenCTM()); return [at.x, at.y] })()"
    )
    page.mouse.move(*page.evaluate(middle))
    assert "enters there along drawn edges" in page.locator(".gs-tip").inner_text()


def test_steps_of_a_run_are_walked_and_played(shown: Shown) -> None:
    steps = {100: B, 2000: A}
    page = shown(draw({"natural": steps, "other": A}))
    assert drawn(page) == names(A)
    slide = "(e, at) => { e.value = at; e.dispatchEvent(new Event('input')) }"
    page.locator(".gs-step").evaluate(slide, 0)
    assert drawn(page) == names(B) and drawn(page, 1) == names(A)
    page.locator(".gs-play").click()
    until(page, "document.querySelector('.gs-step').value === '1'")
    assert drawn(page) == names(A)
    assert [frame["step"] for frame in draw(steps).data["panels"][0]["frames"]] == [100, 2000]


def test_all_steps_stand_side_by_side_and_lead_to_each(shown: Shown) -> None:
    page = shown(draw({100: B, 2000: A}))
    page.locator('[data-toggle="multiples"]').check()
    strip = page.locator(".gs-strip button")
    assert strip.all_inner_texts() == ["100", "2,000"]
    ink = "e => e.getContext('2d').getImageData(0, 0, e.width, e.height).data.some((x) => x > 0)"
    assert all(canvas.evaluate(ink) for canvas in page.locator(".gs-strip canvas").all())
    strip.first.click()
    assert drawn(page) == names(B) and page.locator(".gs-strip [aria-pressed=true]").inner_text() == "100"


def test_by_weights_each_edge_is_one_of_the_merged_circuit(shown: Shown) -> None:
    page = shown(draw(A))
    page.locator('[data-toggle="weights"]').check()
    merged = merge_loops(A).edges

    def named(row: Any) -> str:
        name, _, entered = row.receiver.partition(".")
        return f"{row.sender}@{row.role} -> {name}@{row.role}" + (f" ({entered})" if entered else "")

    assert drawn(page) == {named(row) for row in merged.itertuples()}
    sums = dict(page.evaluate(f"{API}.app.views[0].scene.order.map((each) => [each.name, each.strengths[0]])"))
    for row in merged.itertuples():
        members = [float(text) for text in row.effects.split(", ")]
        assert sums[named(row)] == pytest.approx(sum(members), abs=0.002)
    row = next(row for row in merged.itertuples() if row.n > 1)
    show(page, selected=[named(row)])
    assert f"A sum of {row.n} edges" in page.locator(".gs-details").inner_text()


def test_everything_can_be_reached_by_keys(shown: Shown) -> None:
    page = shown(draw(A))
    page.locator("figure svg").focus()
    by_strength = A.table[A.table["kept"]].assign(size=lambda t: t["effect"].abs()).sort_values("size", ascending=False)
    order = (by_strength["sender"] + " -> " + by_strength["receiver"]).tolist()
    tip = page.locator(".gs-tip")
    for key, name in (("ArrowRight", order[0]), ("ArrowRight", order[1]), ("ArrowRight", order[2]), ("ArrowLeft", order[1])):
        page.keyboard.press(key)
        assert tip.inner_text().split("\n")[0] == name
    page.keyboard.press("Enter")
    assert len(page.evaluate(LIT)) == len(literal_trace(A, order[1]))
    page.keyboard.press("Escape")
    assert page.evaluate(LIT) == [] and tip.is_hidden()
    page.keyboard.press("ArrowUp")
    assert tip.inner_text().startswith("embed@")
    scale = f"{API}.app.views[0].scale"
    before = page.evaluate(scale)
    page.keyboard.press("+")
    assert page.evaluate(scale) == pytest.approx(1.4 * before)
    page.keyboard.press("0")
    assert page.evaluate(scale) == pytest.approx(before)


def test_hostile_labels_stay_text(shown: Shown) -> None:
    hostile = "<img src=x onerror=\"document.title='hit'\"></script><!--<script>"
    page = shown(draw({hostile: A, "b": B}))
    assert page.locator("figure .gs-title").first.inner_text() == hostile
    show(page, view="difference", selected=["embed@h -> L0H0.v@h"], list="differences")
    assert (
        page.locator("img").count() == 0
        and page.title() != "hit"
        and hostile in page.locator("figure .gs-title").first.inner_text()
    )


def test_numbers_that_are_missing_come_with_their_reason(shown: Shown) -> None:
    table = A.table.assign(effect=float("nan"), stderr=float("nan"), kept=False)
    page = shown(draw({"a": A, "b": Circuit(table, A.graph, {**A.provenance, "reason": "the gap is 0.1 nats"})}))
    assert drawn(page, 1) == set() and "the gap is 0.1 nats" in page.locator("figcaption").nth(1).inner_text()
    assert page.locator("figure .gs-nothing").nth(1).inner_text() == "No edge is drawn: the gap is 0.1 nats."
    cut(page, "top", len(A.table))
    assert drawn(page, 1) == set() and len(drawn(page, 0)) == len(A.table)
    page.locator("figure svg").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".gs-tip").inner_text().endswith("b: no number: the gap is 0.1 nats")


def test_a_circuit_without_edges_is_a_sentence_with_the_reason(shown: Shown) -> None:
    empty = Circuit.from_effects(effects({}, graph=LOOPS))
    page = shown(draw(empty))
    assert drawn(page) == set() and not page.locator("figure canvas").is_visible()
    assert page.locator(".gs-nothing").inner_text() == f"No edge is drawn: {empty.why_empty}."
    none = shown(draw(Circuit(A.table.iloc[:0], A.graph, A.provenance)))
    assert drawn(none) == set() and none.locator("figcaption").inner_text().startswith("0 of 0 edges")


def test_marks_and_faithfulness_are_shown_if_given(shown: Shown) -> None:
    rows = [
        {"layer": 0, "after": "layer", "role": "r1", "target": "bridge", "top1": 0.97},
        {"layer": 1, "after": "attention", "role": "r2", "target": "answer", "top1": 0.61},
        {"layer": 1, "after": "layer", "role": "r1", "target": "answer", "top1": 0.1},
    ]
    curve = pd.DataFrame({"n_edges": [4, 20], "faithfulness": [0.8, 0.99], "low": [0.7, 0.9], "high": [0.9, 1.0]})
    page = shown(draw({"a": A, "b": B}, lens={"a": pd.DataFrame(rows)}, faithfulness={"b": curve}))
    titles = page.locator("figure .gs-mark title").all_text_contents()
    assert titles == [
        "bridge readable after MLP0@r1 in 0.970 of the queries", "answer readable after L1H0@r2 in 0.610 of the queries"
    ]  # fmt: skip
    cut(page, "top", 5)
    assert (
        page.locator("figcaption")
        .nth(1)
        .inner_text()
        .endswith("the strongest 4 of them, the next smaller measured size, keep 0.80 [0.70, 0.90] of the gap")
    )
    with pytest.raises(KeyError, match="no circuit is called c, but there is a lens"):
        draw(BOTH, lens={"c": pd.DataFrame(rows)})


def judged(circuit: Circuit, model: str = "", value: float = 0.742) -> FaithfulnessResult:
    """As `analyses.faithfulness` gives it; the curve's sizes and values are others than the circuit's."""
    edges = circuit.table.loc[circuit.table["kept"], ["sender", "receiver"]].assign(needed=True)
    row = {"edges": "circuit", "n_edges": len(edges), "faithfulness": value, "low": 0.71, "high": 0.77, "n": 118}
    curve = pd.DataFrame(
        {"n_edges": [0, 4, 20], "faithfulness": [0, 0.8, 0.99], "low": [0, 0.7, 0.9], "high": [0, 0.9, 1.0]}
    )
    text = {name: "" for name in ("pairs", "chosen_on", "background")}
    reason = "" if value == value else "the gap is small"
    table = pd.DataFrame([row | {"without": 0.1, "without_low": 0.0, "without_high": 0.2, "gap": 3.0, "n_units": 9}])
    return FaithfulnessResult(table, curve, edges, model=model, recipe={}, reason=reason, **text)


def test_the_caption_says_what_just_the_circuit_keeps_and_of_other_cuts_what_was_measured_of_them(shown: Shown) -> None:
    diagram = draw(BOTH, faithfulness={"a": judged(A), "b": judged(A)})
    n, total = int(A.table["kept"].sum()), len(A.table)
    keep = "they keep 0.74 [0.71, 0.77] of the gap, on 118 pairs"
    assert f"{A.caption} · {keep}" in shown(diagram, java_script_enabled=False).content()
    page = shown(diagram)
    captions = page.locator("figcaption")
    said = captions.nth(0).inner_text()
    assert said.startswith(f"{n} of {total} edges") and said.endswith(keep) and said.count(f"{total}") == 1
    assert captions.nth(1).inner_text().endswith("what they keep is not in the faithfulness that was given")
    for k, said in {
        3: "no size up to 3 was measured, the smallest is 4",
        4: "they keep 0.80 [0.70, 0.90] of the gap",
        19: "the strongest 4 of them, the next smaller measured size, keep 0.80 [0.70, 0.90] of the gap",
        25: "the strongest 20 of them, the next smaller measured size, keep 0.99 [0.90, 1.00] of the gap",
    }.items():
        cut(page, "top", k)
        text = captions.nth(0).inner_text()
        assert text.startswith(f"{k} of {total} edges, the strongest") and text.endswith(said)
    show(page, cut="kept", search="@r1")
    assert "keep" not in captions.nth(0).inner_text(), "of what is searched for nothing was measured"


def test_what_a_circuit_keeps_is_said_of_the_model_in_which_it_was_measured() -> None:
    frame = draw(A, faithfulness=judged(A, "another")).data["panels"][0]["frames"][0]
    assert frame["keeps"] == "they keep 0.74 [0.71, 0.77] of the gap in another, on 118 pairs"
    assert kept_alone(A, judged(A, A.provenance["model"])) == "they keep 0.74 [0.71, 0.77] of the gap, on 118 pairs"
    assert kept_alone(A, judged(A, value=float("nan"))) == "what they keep is undefined: the gap is small"
    assert kept_alone(A, None) == "" == kept_alone(Circuit(A.table.assign(kept=False), A.graph, A.provenance), judged(A))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if few edges were many."""
    for name, value in {"MOST_HELD": 60, "MOST_AT_FIRST": 8, "THEN": 5}.items():
        monkeypatch.setattr(shown_edges, name, value)
    yield


@pytest.mark.usefixtures("few")
def test_of_many_edges_the_page_holds_the_strongest_of_each_circuit_and_the_kept_ones(shown: Shown) -> None:
    both = {"a": random_circuit(LOOPS, 7, seed=1), "b": random_circuit(LOOPS, 7, seed=2)}
    weakest = both["a"].table["effect"].abs().idxmin()
    both["a"].table.loc[weakest, "kept"] = True
    diagram = draw(both)
    (graph,) = diagram.data["graphs"]
    held = {
        f"{graph['nodes'][a][0]} -> {graph['inputs'][b][0]}"
        for a, b in zip(graph["senders"], graph["receivers"], strict=True)
    }
    size = {name: circuit.table["effect"].abs() for name, circuit in both.items()}
    top = {name: names(circuit, size[name].rank(ascending=False) <= 30) for name, circuit in both.items()}
    assert held == top["a"] | top["b"] | names(both["a"]) and graph["n_edges"] == len(LOOPS.edges)
    left = max(size[name][[edge not in held for edge in all_names(circuit)]].max() for name, circuit in both.items())
    assert diagram.data["left_out"] == left and diagram.data["most"] == 30
    page = shown(diagram)
    said = f"the page holds {len(held)} of {len(LOOPS.edges)} edges, the strongest of each circuit"
    assert said in page.locator(".gs-legend").inner_text()
    assert drawn(page) == names(both["a"])
    cut(page, "top", 10_000)
    assert [drawn(page, panel) for panel in (0, 1)] == list(top.values())
    cut(page, "threshold", 0)
    least = float(page.locator(".gs-cut").get_attribute("min") or 0)
    threshold = diagram.data["widest"] * 10 ** ((least - 1000) / 333)
    assert left < threshold < 1.02 * left
    for panel, circuit in enumerate(both.values()):
        assert drawn(page, panel) == names(circuit, circuit.table["effect"].abs() >= threshold)


def all_names(circuit: Circuit) -> list[str]:
    return (circuit.table["sender"] + " -> " + circuit.table["receiver"]).tolist()


@pytest.mark.usefixtures("few")
def test_if_more_are_kept_than_can_be_told_apart_the_page_begins_with_the_strongest(shown: Shown) -> None:
    circuit = random_circuit(GRAPH, 9)
    strongest = names(circuit, circuit.table["effect"].abs().rank(ascending=False) <= 5)
    still = shown(draw(circuit), java_script_enabled=False)
    assert still.locator("figcaption").inner_text() == f"{circuit.caption} · drawn: the strongest 5"
    page = shown(draw(circuit))
    assert drawn(page) == strongest and page.locator("figcaption").inner_text().startswith("5 of 44 edges, the strongest")
    assert page.locator("[aria-label='which edges are drawn']").input_value() == "top"
    page.select_option("[aria-label='which edges are drawn']", "kept")
    assert drawn(page) == names(circuit)
    assert draw(random_circuit(GRAPH, 8)).data["at_first"] is None


@pytest.mark.parametrize("n_edges", [300, 2_700])
def test_a_page_is_small(n_edges: int) -> None:
    graph = ComputationGraph.transformer(("x",), "x", n_layers=6, n_heads=12, n_blocks=6)
    circuit = random_circuit(graph, n_edges)
    fewer = Circuit(circuit.table[circuit.table["kept"]].reset_index(drop=True), graph, circuit.provenance)
    assert len(draw(fewer).html) < {300: 150_000, 2_700: 250_000}[n_edges]


@pytest.mark.slow
def test_a_page_of_the_size_of_gpt_2_with_fifteen_positions_is_small() -> None:
    roles = tuple(f"t{i}" for i in range(15))
    graph = ComputationGraph.transformer(roles, "t14", n_layers=12, n_heads=12, n_blocks=12)
    assert len(graph.edges) > 400_000 and len(draw(random_circuit(graph, 1000)).html) < 2_000_000


def test_panels_of_other_graphs_or_metrics_need_to_be_asked_for(shown: Shown) -> None:
    small = Circuit.from_effects(effects(CHAIN, graph=GRAPH))
    other = Circuit(B.table, B.graph, {**B.provenance, "metric": "probability"})
    with pytest.raises(ValueError, match="graph"):
        draw({"a": A, "small": small})
    with pytest.raises(ValueError, match="metric"):
        draw({"a": A, "other": other}, despite=["graph"])
    page = shown(draw({"a": A, "small": small, "other": other}, despite=["graph", "metric"]))
    assert [drawn(page, panel) for panel in range(3)] == [names(A), names(small), names(other)]
    captions: Sequence[str] = page.locator("figcaption").all_inner_texts()
    assert len(set(captions)) == 3


def test_a_diagram_shown_twice_in_a_notebook_works_twice(shown: Shown) -> None:
    diagram = draw(A)
    page = shown(Diagram(diagram.html + diagram.html, "twice", diagram.data))
    assert page.locator(".gs-search").count() == 2
    both = page.evaluate("[...document.querySelectorAll('.grokscope')].map((each) => each.grokscope.drawn[0])")
    assert [set(each) for each in both] == [names(A), names(A)]


def test_without_style_sheet_and_scripts_the_drawing_still_stands(shown: Shown) -> None:
    html = re.sub(r"<(style|script).*?</\1>", "", draw(BOTH).html, flags=re.S)
    page = shown(Diagram(html, "bare", {}), java_script_enabled=False)
    assert re.findall(r'<g class="gs-edge[^>]* stroke="#[^>]* fill="none"', page.content())
    assert page.locator("figure svg").first.bounding_box()["height"] > 300


def test_a_zoomed_picture_is_dragged_about_and_put_back(shown: Shown) -> None:
    page = shown(draw(BOTH))
    places = f"{API}.app.views.map((view) => [view.scale, ...view.at])"
    whole = page.evaluate(places)
    page.get_by_role("button", name="zoom in").click()
    zoomed = page.evaluate(places)
    assert zoomed[0][0] == pytest.approx(1.4 * whole[0][0]) and zoomed[1][0] / whole[1][0] == pytest.approx(1.4)
    frame = page.locator("figure svg").first.bounding_box()
    page.mouse.move(frame["x"] + 250, frame["y"] + 120)
    page.mouse.down()
    page.mouse.move(frame["x"] + 210, frame["y"] + 120, steps=4)
    page.mouse.up()
    dragged = page.evaluate(places)
    assert dragged[0][0] == zoomed[0][0] and dragged[0][1] < zoomed[0][1]
    assert page.locator(".gs-details").inner_text() == "", "a drag selects nothing"
    page.get_by_role("button", name="as it opened").click()
    assert page.evaluate(places) == whole


def test_zoom_goes_nowhere_empty(shown: Shown) -> None:
    """However far one zooms, something that is drawn stays in the middle of what can be reached."""
    page = shown(draw(A))
    for _ in range(12):
        page.get_by_role("button", name="zoom in").click()
    inside = page.evaluate(
        f"""(() => {{ const view = {API}.app.views[0]; const [w, h] = view.size;
        const x = (w / 2 - view.at[0]) / view.scale, y = (h / 2 - view.at[1]) / view.scale;
        return x > 0 && x < view.layout.width && y > 0 && y < view.layout.height }})()"""
    )
    assert inside and page.evaluate(f"{API}.app.views[0].scale") < 30


def test_the_queries_behind_an_edge_are_named_and_a_head_shows_where_it_looks(shown: Shown) -> None:
    n, roles = A.donor_gaps.shape[0], ("h", "r1", "r2")
    table = pd.DataFrame(
        [
            {"query": q, "role": role, "clean": f"{role}-{q}", "corrupt": f"{role}-{q}" if role != "h" else f"other-{q}"}
            for q in range(n)
            for role in roles
        ]
    )
    page = shown(draw(A, queries=table))
    name = "embed@h -> L0H0.v@h"
    show(page, selected=[name])
    row = names_in_order(A).index(name)
    strongest = np.argsort(-np.abs(A.deltas[row]), kind="stable")[:4]
    lines = page.locator(".gs-details table").nth(1).locator("tbody tr").all_inner_texts()
    assert [line.split("\t")[0] for line in lines] == [str(q) for q in strongest]
    assert lines[0].split("\t")[1] == f"h-{strongest[0]}other-{strongest[0]}"
    share = A.deltas[row, strongest[0]] / A.donor_gaps.mean()
    assert lines[0].split("\t")[-1].replace("−", "-") == f"{share:.2f}"


def names_in_order(circuit: Circuit) -> list[str]:
    return [str(edge) for edge in circuit.measured_edges]


def test_a_saved_page_is_one_file(tmp_path: Path) -> None:
    assert [path.name for path in [draw(A).save(tmp_path / "a.html")]] == [path.name for path in tmp_path.iterdir()]
