"""The diagram in a real browser: what is drawn and shown is what the data say."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from chromium import launched, opened, until
from planted import CHAIN, GRAPH, LOOPS, effects
from playwright.sync_api import Browser, Page

from grokscope.analyses import FaithfulnessResult
from grokscope.circuits import Circuit, ComputationGraph, Diagram, Edge, draw, layout, merge_loops, shown_edges
from grokscope.circuits.drawn_faithfulness import kept_alone
from grokscope.circuits.merged import weights_of

Shown = Callable[..., Page]


def noisy(values: dict[str, float], seed: int) -> Circuit:
    """Planted effects, and small ones everywhere else, so that thresholds have something to cut."""
    frame = effects(values, graph=LOOPS)
    rng = np.random.default_rng(seed)
    small = dict(zip(map(str, LOOPS.edges), rng.normal(scale=0.01, size=len(LOOPS.edges)), strict=True))
    frame = effects(small | values, graph=LOOPS)
    return Circuit.from_effects(frame, threshold=0.05)


A = noisy(CHAIN | {"MLP1@r1 -> L2H0.v@r1": 0.3, "L2H0@r2 -> logits@r2": 0.3, "L1H0@r1 -> MLP1@r1": 0.2}, seed=0)
B = noisy({**CHAIN, "embed@h -> L0H0.v@h": 0.45}, seed=1)
BOTH = {"a": A, "b": B}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Shown]:
    """Opens a diagram, and in the end checks that nothing was complained of or asked for."""
    pages = []

    def open_one(diagram: Diagram, **settings: Any) -> Page:
        pages.append(opened(browser, diagram.save(tmp_path / f"{len(pages)}.html"), **settings))
        return pages[-1].__enter__()

    yield open_one
    for page in pages:
        page.__exit__(None, None, None)


def drawn(page: Page, panel: int = 0) -> set[str]:
    """The edges that can be seen in a panel."""
    return set(
        page.locator("figure")
        .nth(panel)
        .evaluate(
            "e => [...e.querySelectorAll('[data-edge]')].filter(x => x.getBoundingClientRect().width + "
            "x.getBoundingClientRect().height > 0).map(x => x.dataset.edge)"
        )
    )


def names(circuit: Circuit, chosen: pd.Series | None = None) -> set[str]:
    rows = circuit.table[circuit.table["kept"] if chosen is None else chosen]
    return set(rows["sender"] + " -> " + rows["receiver"])


def cut(page: Page, how: str, at: int) -> None:
    page.select_option(".gs-bar select", how)
    page.locator(".gs-cut").evaluate("(e, at) => { e.value = at; e.dispatchEvent(new Event('input')) }", at)


def test_the_circuits_are_drawn_with_and_without_scripts(show: Shown) -> None:
    for settings in ({}, {"java_script_enabled": False}):
        page = show(draw(BOTH), **settings)
        if settings:
            html = page.content()
            static = [set(re.findall(r'data-edge="([^"]+)"', part)) for part in html.split("<figure>")[1:]]
            assert static == [{name.replace(">", "&gt;") for name in names(c)} for c in (A, B)]
        else:
            assert drawn(page, 0) == names(A) and drawn(page, 1) == names(B)


def test_the_slider_draws_exactly_the_edges_beyond_it(show: Shown) -> None:
    diagram = draw(BOTH)
    page = show(diagram)
    for at in (0, 300, 600, 900):
        cut(page, "threshold", at)
        threshold = diagram.data["widest"] * 10 ** ((at - 1000) / 333)
        for panel, circuit in enumerate((A, B)):
            assert drawn(page, panel) == names(circuit, circuit.table["effect"].abs() >= threshold)
        assert page.locator(".gs-number").inner_text() == page.evaluate("x => x.toPrecision(3)", threshold)
    for k in (0, 1, 7, 40):
        cut(page, "top", k)
        for panel, circuit in enumerate((A, B)):
            strongest = circuit.table["effect"].abs().rank(ascending=False) <= k
            assert drawn(page, panel) == names(circuit, strongest) and strongest.sum() == k
    total = len(A.table)
    assert page.locator(".gs-count").inner_text() == f"a: 40 of {total} edges; b: 40 of {total} edges"


def test_edges_that_are_only_estimated_are_dotted_and_said_to_be(show: Shown) -> None:
    is_weak = (A.table["effect"].abs() < 0.05).to_numpy()
    table = A.table.assign(verified=np.where(is_weak, "estimated", "exact"))
    page = show(draw(Circuit(table, A.graph, A.provenance)))
    cut(page, "top", 40)
    dotted = page.locator(".gs-estimated[data-edge]").evaluate_all("all => all.map(x => x.dataset.edge)")
    assert set(dotted) == drawn(page) - names(A, table["verified"] == "exact") and dotted
    assert page.locator(f'[data-edge="{dotted[0]}"]').evaluate("x => getComputedStyle(x).strokeDasharray") == "1px, 4px"


def test_hovering_shows_the_numbers_of_the_data_in_both_circuits(show: Shown) -> None:
    page = show(draw(BOTH))
    for row in A.table[A.table["kept"]].head(3).itertuples():
        name = f"{row.sender} -> {row.receiver}"
        page.locator(f'figure >> nth=0 >> [data-edge="{name}"]').dispatch_event("pointermove", point_on(page, name))
        other = B.table[(B.table["sender"] == row.sender) & (B.table["receiver"] == row.receiver)].iloc[0]
        lines = [
            f"{label}: {each.effect:.3f} ± {1.96 * each.stderr:.3f} of a gap of 10.00 nats, n = {each.n}"
            f"{'' if each.kept else ' (not drawn)'}"
            for label, each in (("a", row), ("b", other))
        ]
        assert page.locator(".gs-tip").inner_text().split("\n") == [name, *lines]


def point_on(page: Page, name: str) -> dict[str, float]:
    """A point half-way along an edge, in the window."""
    return page.locator(f'figure >> nth=0 >> [data-edge="{name}"]').evaluate(
        "e => { const p = e.getPointAtLength(e.getTotalLength() / 2).matrixTransform(e.getScreenCTM());"
        "return { clientX: p.x, clientY: p.y, bubbles: true } }"
    )


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


def test_a_click_traces_the_paths_through_an_edge_until_it_is_clicked_again(show: Shown) -> None:
    page = show(draw(A))
    name = "MLP1@r1 -> L2H0.v@r1"
    point = point_on(page, name)
    lit = "[...document.querySelectorAll('figure .gs-edge.gs-lit')].map(e => e.dataset.edge)"
    page.mouse.click(point["clientX"], point["clientY"])
    assert set(page.evaluate(lit)) == literal_trace(A, name) < names(A)
    page.mouse.click(point["clientX"], point["clientY"])
    assert page.evaluate(lit) == []


def test_a_node_says_what_enters_and_leaves_it_and_traces(show: Shown) -> None:
    page = show(draw(A))
    page.locator('[data-name="MLP0@r1"]').hover()
    into = sum(str(edge.receiver) == "MLP0@r1" for edge in A.kept_edges)
    out = sum(str(edge.sender) == "MLP0@r1" for edge in A.kept_edges)
    assert page.locator(".gs-tip").inner_text() == f"MLP0@r1\n{into} drawn edges in, {out} out" and into and out
    page.locator('[data-name="MLP0@r1"]').click()
    assert page.locator("figure .gs-edge.gs-lit").count() >= into + out


def test_one_over_the_other_tells_what_is_in_which(show: Shown) -> None:
    page = show(draw(BOTH))
    page.locator('[data-toggle="overlay"]').check()
    assert page.locator("figure").count() == 1 and drawn(page) == names(A) | names(B)
    for kind, wanted in (("gs-only-a", names(A) - names(B)), ("gs-only-b", names(B) - names(A))):
        found = page.evaluate(f"[...document.querySelectorAll('figure .{kind}')].map(e => e.dataset.edge)")
        assert set(found) == wanted
    name = "embed@h -> L0H0.v@h"
    widths = page.locator(f'figure [data-edge="{name}"]').evaluate(
        "e => [e, e.nextSibling].map(x => Number(x.getAttribute('stroke-width')))"
    )
    assert widths[1] / widths[0] == pytest.approx(0.45 / 0.9, abs=0.01)
    assert "gs-a" in str(page.locator(f'figure [data-edge="{name}"]').get_attribute("class"))


def test_steps_of_a_run_are_walked_and_played(show: Shown) -> None:
    steps = {100: B, 2000: A}
    page = show(draw({"natural": steps, "other": A}))
    assert drawn(page) == names(A)
    slide = "(e, at) => { e.value = at; e.dispatchEvent(new Event('input')) }"
    page.locator(".gs-step").evaluate(slide, 0)
    assert drawn(page) == names(B) and drawn(page, 1) == names(A)
    page.locator(".gs-play").click()
    until(page, "document.querySelector('.gs-step').value === '1'")
    assert drawn(page) == names(A)
    assert [frame["step"] for frame in draw(steps).data["panels"][0]["frames"]] == [100, 2000]


def test_by_weights_each_edge_is_one_of_the_merged_circuit(show: Shown) -> None:
    page = show(draw(A))
    page.locator('[data-toggle="merged"]').check()
    merged = merge_loops(A).edges

    def named(row: Any) -> str:
        return f"{row.sender}@{row.role} -> {row.receiver}@{row.role}"

    assert drawn(page) == {named(row) for row in merged.itertuples()}
    place = "figure >> nth=0 >> "
    row = next(row for row in merged.itertuples() if row.n > 1)
    members = {name for name in names(A) if set(row.loops.split(", ")) and name.count("@" + row.role) == 2}
    point = point_on(page, named(row))
    page.locator(f'{place} [data-edge="{named(row)}"]').dispatch_event("pointermove", point)
    tip = page.locator(".gs-tip").inner_text()
    assert sum(name in tip for name in members) >= row.n and tip.count("(not drawn)") == tip.count("->") - row.n


def test_everything_can_be_reached_by_keys(show: Shown) -> None:
    page = show(draw(A))
    page.locator("figure svg").focus()
    by_strength = A.table[A.table["kept"]].assign(size=lambda t: t["effect"].abs()).sort_values("size", ascending=False)
    order = (by_strength["sender"] + " -> " + by_strength["receiver"]).tolist()
    tip = page.locator(".gs-tip")
    for name in (*order[:3], order[1]):
        page.keyboard.press("ArrowLeft" if name == order[1] and tip.inner_text().startswith(order[2]) else "ArrowRight")
        assert tip.inner_text().split("\n")[0] == name
    page.keyboard.press("Enter")
    assert page.locator("figure .gs-edge.gs-lit").count() == len(literal_trace(A, order[1]))
    page.keyboard.press("Escape")
    assert page.locator("figure .gs-edge.gs-lit").count() == 0 and tip.is_hidden()
    page.keyboard.press("ArrowUp")
    assert tip.inner_text().startswith("embed@")
    page.keyboard.press("+")
    box = [float(x) for x in str(page.locator("figure svg").get_attribute("viewBox")).split()]
    assert box[2] == pytest.approx(draw(A).data["graphs"][0]["width"] / 1.4, abs=0.1)
    reachable = page.evaluate("[...document.querySelectorAll('.gs-bar select, .gs-bar input, .gs-bar button')].length")
    assert reachable >= 6


def test_what_is_taken_away_is_what_is_seen(show: Shown, tmp_path: Path) -> None:
    diagram = draw(BOTH)
    page = show(diagram, accept_downloads=True)
    saved = {}
    for kind in ("SVG", "JSON", "HTML"):
        with page.expect_download() as download:
            page.get_by_role("button", name={"SVG": "drawing", "JSON": "numbers", "HTML": "this page"}[kind]).click()
        saved[kind] = tmp_path / f"saved.{kind.lower()}"
        download.value.save_as(saved[kind])
    data = json.loads(saved["JSON"].read_text())
    assert data["panels"] == json.loads(json.dumps(diagram.data["panels"])) and data["widest"] == diagram.data["widest"]
    root = ElementTree.parse(saved["SVG"]).getroot()
    edges = [e for e in root.iter() if "data-edge" in e.attrib]
    assert len(edges) == len(names(A)) + len(names(B)) and all("stroke:" in e.attrib["style"] for e in edges)
    again = show(Diagram(re.sub(r"^.*?<body>|</body>.*$", "", saved["HTML"].read_text(), flags=re.S), "again", {}))
    assert drawn(again, 0) == names(A) and drawn(again, 1) == names(B)


def test_hostile_labels_stay_text(show: Shown) -> None:
    hostile = "<img src=x onerror=\"document.title='hit'\"></script><!--<script>"
    page = show(draw({hostile: A, "b": B}))
    assert page.locator("h4").first.inner_text() == hostile
    page.locator('[data-toggle="overlay"]').check()
    page.locator("figure [data-edge]").first.dispatch_event("pointermove")
    assert page.locator("img").count() == 0 and page.title() != "hit"


def test_numbers_that_are_missing_come_with_their_reason(show: Shown) -> None:
    table = A.table.assign(effect=float("nan"), stderr=float("nan"), kept=False)
    page = show(draw({"a": A, "b": Circuit(table, A.graph, {**A.provenance, "reason": "the gap is 0.1 nats"})}))
    assert drawn(page, 1) == set() and "the gap is 0.1 nats" in page.locator("figcaption").nth(1).inner_text()
    cut(page, "top", len(A.table))
    assert drawn(page, 1) == set() and len(drawn(page, 0)) == len(A.table)
    page.locator("figure svg").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".gs-tip").inner_text().endswith("b: no number: the gap is 0.1 nats")


def test_nothing_drawn_is_said_to_be_nothing(show: Shown) -> None:
    page = show(draw(Circuit(A.table.assign(kept=False), A.graph, A.provenance)))
    assert drawn(page) == set() and page.locator(".gs-count").inner_text() == f"0 of {len(A.table)} edges"
    empty = show(draw(Circuit(A.table.iloc[:0], A.graph, A.provenance)))
    assert drawn(empty) == set() and empty.locator(".gs-count").inner_text() == "0 of 0 edges"


def test_marks_and_faithfulness_are_shown_if_given(show: Shown) -> None:
    rows = [
        {"layer": 0, "after": "layer", "role": "r1", "target": "bridge", "top1": 0.97},
        {"layer": 1, "after": "attention", "role": "r2", "target": "answer", "top1": 0.61},
        {"layer": 1, "after": "layer", "role": "r1", "target": "answer", "top1": 0.1},
    ]
    curve = pd.DataFrame({"n_edges": [4, 20], "faithfulness": [0.8, 0.99], "low": [0.7, 0.9], "high": [0.9, 1.0]})
    page = show(draw({"a": A, "b": B}, lens={"a": pd.DataFrame(rows)}, faithfulness={"b": curve}))
    titles = page.locator("figure .gs-mark title").all_text_contents()
    assert titles == [
        "bridge readable after MLP0@r1 in 0.970 of the queries", "answer readable after L1H0@r2 in 0.610 of the queries"
    ]  # fmt: skip
    cut(page, "top", 5)
    assert (
        page.locator(".gs-count")
        .inner_text()
        .endswith(
            "b: 5 of 174 edges, the strongest 4 of them, the next smaller measured size, keep 0.80 [0.70, 0.90] of the gap"
        )
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


def test_the_caption_says_what_just_the_circuit_keeps_and_of_other_cuts_what_was_measured_of_them(show: Shown) -> None:
    diagram = draw(BOTH, faithfulness={"a": judged(A), "b": judged(A)})
    n, total = int(A.table["kept"].sum()), len(A.table)
    keep = "they keep 0.74 [0.71, 0.77] of the gap, on 118 pairs"
    still = show(diagram, java_script_enabled=False).content()
    assert f"{A.caption} · {keep}" in still and still.count("0.74 [0.71") == diagram.html.count("0.74 [0.71") > 0
    page = show(diagram)
    captions, count = page.locator("figcaption"), page.locator(".gs-count")
    assert captions.nth(0).inner_text() == f"{A.caption} · {keep}"
    assert captions.nth(1).inner_text().endswith("what they keep is not in the faithfulness that was given")
    assert count.inner_text().startswith(f"a: {n} of {total} edges, {keep}; b: ")
    for k, said in {
        3: "no size up to 3 was measured, the smallest is 4",
        4: "they keep 0.80 [0.70, 0.90] of the gap",
        19: "the strongest 4 of them, the next smaller measured size, keep 0.80 [0.70, 0.90] of the gap",
        25: "the strongest 20 of them, the next smaller measured size, keep 0.99 [0.90, 1.00] of the gap",
    }.items():
        cut(page, "top", k)
        assert captions.nth(0).inner_text() == f"{A.caption} · drawn: {k} of {total} edges, {said}"
        assert f"b: {k} of {total} edges, {said}" in count.inner_text()


def test_what_a_circuit_keeps_is_said_of_the_model_in_which_it_was_measured() -> None:
    frame = draw(A, faithfulness=judged(A, "another")).data["panels"][0]["frames"][0]
    assert frame["keeps"] == "they keep 0.74 [0.71, 0.77] of the gap in another, on 118 pairs"
    assert kept_alone(A, judged(A, A.provenance["model"])) == "they keep 0.74 [0.71, 0.77] of the gap, on 118 pairs"
    assert kept_alone(A, judged(A, value=float("nan"))) == "what they keep is undefined: the gap is small"
    assert kept_alone(A, None) == "" == kept_alone(Circuit(A.table.assign(kept=False), A.graph, A.provenance), judged(A))


@pytest.mark.parametrize("width", [360, 1600])
def test_a_page_fits_narrow_and_wide_windows(show: Shown, width: int) -> None:
    page = show(draw(BOTH), viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tops = [page.locator("figure").nth(i).bounding_box()["y"] for i in (0, 1)]
    assert (tops[0] == tops[1]) == (width > 800)


def test_dark_and_light_are_told_apart_and_readable(show: Shown) -> None:
    colours = []
    for scheme in ("light", "dark"):
        page = show(draw(A), color_scheme=scheme)
        colours.append(
            page.evaluate("['color', 'backgroundColor'].map(k => getComputedStyle(document.querySelector('.grokscope'))[k])")
        )
    for ink, paper in colours:
        brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
        assert abs(brightness[0] - brightness[1]) > 400
    assert colours[0][1] != colours[1][1]


def numbers(path: str | None) -> list[float]:
    return [float(x) for x in re.findall(r"-?[\d.]+", str(path))]


def alike(points: Sequence[float], wanted: Sequence[float]) -> bool:
    """Whether both are the same to the last of the digits that are written, which a half may round up or down."""
    return len(points) == len(wanted) and all(abs(a - b) < 0.11 for a, b in zip(points, wanted, strict=True))


WIDE = ComputationGraph.transformer(("a", "b"), "b", n_layers=5, n_heads=6, n_blocks=5, n_key_value_heads=3)


@pytest.mark.parametrize("graph", [LOOPS, WIDE], ids=["loops", "wide, shared keys"])
def test_curves_and_arcs_of_the_page_are_those_of_the_still_picture(graph: ComputationGraph, show: Shown) -> None:
    page = show(draw(random_circuit(graph, 20)))
    page.select_option(".gs-bar select", "top")
    page.locator(".gs-cut").evaluate("e => { e.value = e.max; e.dispatchEvent(new Event('input')) }")
    found = dict(
        page.evaluate("[...document.querySelectorAll('figure .gs-edge')].map(e => [e.dataset.edge, e.getAttribute('d')])")
    )
    assert set(found) == set(map(str, graph.edges))
    for edge in graph.edges:
        assert alike(numbers(found[str(edge)]), numbers(layout.edge_path(graph, edge)))
    moves = page.evaluate("[...document.querySelectorAll('figure .gs-move')].map(e => e.getAttribute('d'))")
    wanted = sorted(numbers(layout.move_path(graph, *move)) for move in layout.moves(graph, list(graph.edges)))
    assert len(moves) == len(wanted)
    assert all(map(alike, sorted(map(numbers, moves)), wanted))


def test_by_weights_the_curves_are_those_of_the_first_loop(show: Shown) -> None:
    page = show(draw(A))
    page.locator('[data-toggle="merged"]').check()
    cut(page, "top", len(A.table))
    get = "(e, names) => [...document.querySelectorAll(e)].map(e => names.map(name => e.getAttribute(name)))"
    found = dict(page.evaluate(f"({get})('figure .gs-edge', ['data-edge', 'd'])"))
    first = LOOPS.first_loop()
    edges = dict.fromkeys(Edge(*map(LOOPS.first_use, edge)) for edge in A.measured_edges)
    by_name = {"{}@{} -> {}@{}".format(*(x for n in e for x in (weights_of(n, LOOPS), n.role))): e for e in edges}
    assert set(found) == set(by_name)
    for name, edge in by_name.items():
        assert alike(numbers(found[name]), numbers(layout.edge_path(first, edge)))
    labels = sorted(numbers(" ".join(at)) for at in page.evaluate(f"({get})('figure .gs-loops', ['x', 'y'])"))
    for at, wanted in zip(labels, sorted(layout.middle(first, edge) for edge in edges), strict=True):
        assert alike(at, wanted)


def random_circuit(graph: ComputationGraph, n_kept: int, seed: int = 0) -> Circuit:
    """Effects of many sizes on all edges; of which the strongest are kept, connected or not."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=len(graph.edges)) * 10.0 ** rng.uniform(-4, -1, size=len(graph.edges))
    table = pd.DataFrame({"sender": [str(a) for a, _ in graph.edges], "receiver": [str(b) for _, b in graph.edges]})
    kept = pd.Series(effect).abs().rank(ascending=False) <= n_kept
    return Circuit(table.assign(effect=effect, stderr=abs(effect) / 5, n=32, gap=3.0, kept=kept), graph)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if few edges were many."""
    for name, value in {"MOST_HELD": 60, "MOST_AT_FIRST": 8, "THEN": 5}.items():
        monkeypatch.setattr(shown_edges, name, value)


@pytest.mark.usefixtures("few")
def test_of_many_edges_the_page_holds_the_strongest_of_each_circuit_and_the_kept_ones(show: Shown) -> None:
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
    assert f"the page holds {len(held)} of {len(LOOPS.edges)} edges, the strongest of each circuit" in diagram.html
    left = max(size[name][[edge not in held for edge in all_names(circuit)]].max() for name, circuit in both.items())
    assert diagram.data["left_out"] == left and diagram.data["most"] == 30
    page = show(diagram)
    assert drawn(page) == names(both["a"])
    cut(page, "top", 10_000)
    assert [drawn(page, panel) for panel in (0, 1)] == list(top.values())
    assert page.locator(".gs-count").inner_text() == "a: 30 of 174 edges; b: 30 of 174 edges"
    cut(page, "threshold", 0)
    least = float(page.locator(".gs-cut").get_attribute("min") or 0)
    threshold = diagram.data["widest"] * 10 ** ((least - 1000) / 333)
    assert left < threshold < 1.02 * left
    for panel, circuit in enumerate(both.values()):
        assert drawn(page, panel) == names(circuit, circuit.table["effect"].abs() >= threshold)


def all_names(circuit: Circuit) -> list[str]:
    return (circuit.table["sender"] + " -> " + circuit.table["receiver"]).tolist()


@pytest.mark.usefixtures("few")
def test_if_more_are_kept_than_can_be_told_apart_the_page_begins_with_the_strongest(show: Shown) -> None:
    circuit = random_circuit(GRAPH, 9)
    strongest = names(circuit, circuit.table["effect"].abs().rank(ascending=False) <= 5)
    said = f"{circuit.caption} · drawn: 5 of 44 edges"
    still = show(draw(circuit), java_script_enabled=False)
    assert drawn(still) == strongest and still.locator("figcaption").inner_text() == said
    page = show(draw(circuit))
    assert drawn(page) == strongest and page.locator("figcaption").inner_text() == said
    assert page.locator(".gs-bar select").input_value() == "top" and page.locator(".gs-cut").input_value() == "5"
    page.select_option(".gs-bar select", "kept")
    assert drawn(page) == names(circuit)
    assert draw(random_circuit(GRAPH, 8)).data["at_first"] is None


def test_a_wide_picture_is_scrolled_and_keys_bring_what_they_reach_into_view(show: Shown) -> None:
    roles = tuple(f"r{i}" for i in range(9))
    graph = ComputationGraph.transformer(roles, "r8", n_layers=1, n_heads=1, n_blocks=1)
    page = show(draw(random_circuit(graph, 9)), viewport={"width": 700, "height": 900})
    svg = page.locator("figure svg")
    assert svg.bounding_box()["width"] == draw(random_circuit(graph, 9)).data["graphs"][0]["width"] > 1400
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    box = "document.querySelector('.gs-hover').getBoundingClientRect()"
    svg.focus()
    for name in ("embed@r0", "embed@r1"):
        page.keyboard.press("ArrowUp")
        assert page.locator(".gs-tip").inner_text().startswith(name) and page.evaluate(
            f"{box}.left >= 0 && {box}.right <= 700"
        )


def test_a_page_of_a_large_graph_is_small() -> None:
    graph = ComputationGraph.transformer(("x",), "x", n_layers=6, n_heads=12, n_blocks=6)
    assert len(graph.edges) > 2_700 and len(draw(random_circuit(graph, len(graph.edges))).html) < 150_000


@pytest.mark.slow
def test_a_page_of_the_size_of_gpt_2_with_fifteen_positions_is_small() -> None:
    roles = tuple(f"t{i}" for i in range(15))
    graph = ComputationGraph.transformer(roles, "t14", n_layers=12, n_heads=12, n_blocks=12)
    assert len(graph.edges) > 400_000 and len(draw(random_circuit(graph, 1000)).html) < 2_000_000


def test_a_pair_of_three_hundred_edges_is_small() -> None:
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=6, n_heads=1, n_blocks=1)
    frame = effects({str(edge): 0.1 + 0.001 * i for i, edge in enumerate(graph.edges[:300])}, n=2, graph=graph)
    circuit = Circuit.from_effects(frame, threshold=0.0)
    assert len(circuit.table) >= 300
    assert len(draw({"a": circuit, "b": circuit}).html) < 300_000


def test_panels_of_other_graphs_or_metrics_need_to_be_asked_for(show: Shown) -> None:
    small = Circuit.from_effects(effects(CHAIN, graph=GRAPH))
    other = Circuit(B.table, B.graph, {**B.provenance, "metric": "probability"})
    with pytest.raises(ValueError, match="graph"):
        draw({"a": A, "small": small})
    with pytest.raises(ValueError, match="metric"):
        draw({"a": A, "other": other}, despite=["graph"])
    page = show(draw({"a": A, "small": small, "other": other}, despite=["graph", "metric"]))
    assert (
        drawn(page, 0) == names(A)
        and drawn(page, 1) == names(small)
        and page.locator('[data-toggle="overlay"]').count() == 0
    )
    assert all(later != earlier for earlier, later in pairwise(page.locator("figcaption").all_inner_texts()))


def test_a_diagram_shown_twice_in_a_notebook_works_twice(show: Shown) -> None:
    diagram = draw(A)
    page = show(Diagram(diagram.html + diagram.html, "twice", diagram.data))
    assert page.locator(".gs-bar select").count() == 2 and drawn(page, 0) == drawn(page, 1) == names(A)


def test_without_style_sheet_and_scripts_the_drawing_still_stands(show: Shown) -> None:
    html = re.sub(r"<(style|script).*?</\1>", "", draw(BOTH).html, flags=re.S)
    page = show(Diagram(html, "bare", {}), java_script_enabled=False)
    assert re.findall(r'<path class="gs-edge[^>]* fill="none" stroke="#', page.content())
    assert page.locator("figure svg").first.bounding_box()["height"] > 300


def test_motion_stays_away_where_it_is_not_wanted(show: Shown) -> None:
    duration = "getComputedStyle(document.querySelector('figure .gs-edge')).transitionDuration"
    assert show(draw(A), reduced_motion="reduce").evaluate(duration) == "0s"
    assert show(draw(A), reduced_motion="no-preference").evaluate(duration) == "0.25s"


def test_a_zoomed_picture_is_dragged_about_and_put_back(show: Shown) -> None:
    page = show(draw(BOTH))

    def box(panel: int) -> str:
        return str(page.locator("figure svg").nth(panel).get_attribute("viewBox"))

    whole = box(0)
    page.get_by_role("button", name="zoom in").click()
    zoomed = box(0)
    assert zoomed != whole and box(1) == zoomed
    frame = page.locator("figure svg").first.bounding_box()
    page.mouse.move(frame["x"] + 150, frame["y"] + 20)
    page.mouse.down()
    page.mouse.move(frame["x"] + 110, frame["y"] + 20, steps=4)
    page.mouse.up()
    assert box(0) != zoomed and box(0).split()[2:] == zoomed.split()[2:]
    page.get_by_role("button", name="whole picture").click()
    assert box(0) == whole
