"""Places in the page are those of the still picture; what is idle folds; what is drawn fits and can be read."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from diagrams import API, A, Shown, cut, random_circuit, show
from planted import LOOPS
from playwright.sync_api import Page

from grokscope.circuits import Circuit, ComputationGraph, draw
from grokscope.circuits.graph import ComputationGraph as Graph
from grokscope.circuits.layout import Layout, layout_of
from grokscope.circuits.picture import live_nodes, moves, nodes_of, picture_of

WIDE = ComputationGraph.transformer(("a", "b"), "b", n_layers=5, n_heads=6, n_blocks=5, n_key_value_heads=3)
LONG = ComputationGraph.transformer(
    tuple(f"p{i}" for i in range(11)), "p10", n_layers=2, n_heads=4, n_blocks=2, has_mlp=False
)
VIEW = f"{API}.app.views[0]"


def induction() -> Circuit:
    """Twenty edges at three of eleven positions of an attention-only model."""
    rng = np.random.default_rng(1)
    alive = {"p7", "p9", "p10"}
    strong = [i for i, edge in enumerate(LONG.edges) if {edge.sender.role, edge.receiver.role} <= alive]
    effect = rng.normal(scale=1e-4, size=len(LONG.edges))
    effect[rng.choice(strong, size=20, replace=False)] = rng.uniform(0.1, 0.5, size=20)
    table = pd.DataFrame({"sender": [str(a) for a, _ in LONG.edges], "receiver": [str(b) for _, b in LONG.edges]})
    kept = np.abs(effect) > 0.05
    return Circuit(table.assign(effect=effect, stderr=0.01, n=32, gap=3.0, kept=kept), LONG)


def expected(circuit: Circuit) -> Layout:
    """The layout of the library with which a page opens."""
    live = live_nodes(circuit.graph, circuit.kept_edges)
    nodes = nodes_of(circuit.graph)
    return layout_of(picture_of(circuit.graph, circuit.graph.receivers), [i for i, node in enumerate(nodes) if node in live])


def flat(points: Sequence[Sequence[float]]) -> list[float]:
    return [x for point in points for x in point]


@pytest.mark.parametrize("make", [induction, lambda: random_circuit(LOOPS, 30), lambda: random_circuit(WIDE, 25)])
def test_places_and_curves_of_the_page_are_those_of_the_still_picture(make: object, shown: Shown) -> None:
    circuit = make()
    layout, page = expected(circuit), shown(draw(circuit))
    found = page.evaluate(f"(({{ layout: l }}) => [l.nodes, [l.width, l.height, l.rowSize], l.rowTexts])({VIEW})")
    assert flat(found[0]) == pytest.approx(flat(layout.nodes), abs=1e-6)
    assert found[1] == pytest.approx([layout.width, layout.height, layout.row_size])
    assert [(text, y) for text, y, _ in found[2]] == [(text, pytest.approx(y)) for text, y in layout.row_texts]
    cut(page, "top", len(circuit.table))
    curves = dict(page.evaluate(f"{VIEW}.scene.order.map((each) => [each.name, each.points])"))
    place = {node.name: i for i, node in enumerate(layout.picture.nodes)}
    entry = {each.name: i for i, each in enumerate(layout.picture.inputs)}
    assert set(curves) == {str(edge) for edge in circuit.graph.edges}
    for edge in circuit.graph.edges:
        wanted = layout.curve(place[str(edge.sender)], entry[str(edge.receiver)])
        assert flat(curves[str(edge)]) == pytest.approx(flat(wanted), abs=1e-6)
    arcs = page.evaluate(f"{VIEW}.scene.moves.map((each) => each.points)")
    wanted = [layout.move(place[str(a)], place[str(b)]) for a, b in moves(circuit.graph, list(circuit.graph.edges))]
    assert sorted(map(flat, arcs)) == [pytest.approx(each, abs=1e-6) for each in sorted(map(flat, wanted))]


def test_a_gap_of_layers_is_called_after_the_layer_that_is_idle(shown: Shown) -> None:
    page = shown(draw(A))  # of loop 2 only the MLP is idle, of loop 3 everything
    texts = [text for text, _, bands in page.evaluate(f"{VIEW}.layout.rowTexts") if bands[0]["isFolded"]]
    assert texts == ["loop 3"] and len({text for text, _ in expected(A).row_texts}) == len(expected(A).row_texts)


@pytest.mark.slow
def test_many_nodes_have_names_when_one_zooms_in(shown: Shown) -> None:
    graph = ComputationGraph.transformer(tuple(f"p{i}" for i in range(12)), "p11", n_layers=5, n_heads=12, n_blocks=5)
    page = shown(draw(random_circuit(graph, 290)))
    cut(page, "top", 2000)
    assert page.evaluate(f"{VIEW}.scene.dots.length") > 500
    middle = page.evaluate(f"[{VIEW}.layout.width / 2, {VIEW}.layout.height / 2]")
    show(page, zoom=[8, *middle])
    seen = page.evaluate(
        f"(v => v.scene.dots.filter(({{ at: [x, y] }}) => Math.abs(v.at[0] + v.scale * x - v.size[0] / 2) < v.size[0] / 4"
        f" && Math.abs(v.at[1] + v.scale * y - v.size[1] / 2) < v.size[1] / 4).length)({VIEW})"
    )
    assert seen and page.locator(".gs-labels .gs-name").count() >= seen


def test_by_weights_the_picture_is_that_of_the_first_loop(shown: Shown) -> None:
    page = shown(draw(A))
    page.locator('[data-toggle="weights"]').check()
    first = LOOPS.first_loop()
    texts = page.evaluate(f"{VIEW}.layout.rowTexts.map(([text]) => text)")
    assert texts == ["embed", "block", "logits"] and page.evaluate(f"{VIEW}.picture.columns") == list(first.roles)
    labels = page.evaluate(f"[...new Set({VIEW}.picture.nodes.map((node) => node.label))]")
    assert set(labels) == {"embed", "H0", "MLP", "logits"}


def test_idle_positions_and_heads_unfold_with_a_click_and_fold_again(shown: Shown) -> None:
    page = shown(draw(induction()))
    gap = page.locator(".gs-column.gs-folded", has_text="7").first
    assert re.sub(r"\s+", "", gap.text_content() or "") == "7positions7positionsfold" or "7" in (gap.text_content() or "")
    width = page.evaluate(f"{VIEW}.layout.width")
    gap.click()
    assert page.evaluate(f"{VIEW}.layout.columns.filter((band) => !band.isFolded).length") == 10
    assert page.evaluate(f"{VIEW}.layout.width") > 2 * width
    page.locator(".gs-column [role=button], .gs-column[role=button]").first.press("Enter")
    assert page.evaluate(f"{VIEW}.layout.width") == pytest.approx(width)


def test_dead_heads_are_in_their_layer_until_it_is_clicked(shown: Shown) -> None:
    circuit = random_circuit(WIDE, 12, seed=3)
    page = shown(draw(circuit))
    shown_boxes = "document.querySelectorAll('[data-node]').length"
    before = page.evaluate(shown_boxes)
    label = page.locator(".gs-row[role=button]", has_text="heads").first
    hidden = int(re.search(r"\+(\d+) heads", label.text_content() or "").group(1))
    label.click()
    assert page.evaluate(shown_boxes) >= before + hidden
    page.get_by_role("button", name="undo").click()
    assert page.evaluate(shown_boxes) == before


def sizes_of_text(page: Page) -> list[float]:
    """The height in pixels of every text of the picture that can be seen."""
    return page.evaluate(
        """[...document.querySelectorAll('figure svg text')].filter((e) => e.getBoundingClientRect().width > 0)
        .map((e) => parseFloat(getComputedStyle(e).fontSize) * (e.getScreenCTM().a))"""
    )


GPT2 = ComputationGraph.transformer(tuple(f"t{i}" for i in range(6)), "t5", n_layers=8, n_heads=8, n_blocks=8)


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize(
    "make",
    [
        induction,
        pytest.param(lambda: random_circuit(LOOPS, 60), marks=pytest.mark.slow),
        lambda: random_circuit(GPT2, 200),
    ],
)
def test_no_text_is_below_eleven_pixels_and_nothing_is_wider_than_the_window(make: object, width: int, shown: Shown) -> None:
    page = shown(draw({"a": make(), "b": make()}), viewport={"width": width, "height": 800})
    for view in ("side", "difference"):
        show(page, view=view)
        sizes = sizes_of_text(page)
        assert sizes and min(sizes) > 10.9
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="zoom in").click()
    assert min(sizes_of_text(page)) > 10.9


def test_one_circuit_takes_the_whole_width_and_two_share_it(shown: Shown) -> None:
    page = shown(draw(induction()), viewport={"width": 1280, "height": 800})
    body, figure = (page.locator(name).first.bounding_box() for name in (".gs-body", "figure"))
    aside = page.locator(".gs-aside").bounding_box()
    assert figure["width"] > 0.98 * body["width"] or figure["width"] + aside["width"] > 0.95 * body["width"]
    two = shown(draw({"a": A, "b": A}), viewport={"width": 1280, "height": 800})
    boxes = [two.locator("figure").nth(i).bounding_box() for i in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["width"] == pytest.approx(boxes[1]["width"], abs=1)
    assert two.locator(".gs-aside").bounding_box()["y"] < 300, "what differs is in the first screen"
    narrow = shown(draw({"a": A, "b": A}), viewport={"width": 420, "height": 800})
    tops = [narrow.locator("figure").nth(i).bounding_box()["y"] for i in (0, 1)]
    assert tops[0] < tops[1]


def test_the_live_part_fills_the_picture_when_it_opens(shown: Shown) -> None:
    page = shown(draw(induction()), viewport={"width": 1280, "height": 800})
    spread = page.evaluate(
        "(({ scene, scale, at, size }) => {"
        "const xs = scene.order.flatMap((c) => c.points.map(([x]) => at[0] + scale * x));"
        f"return [Math.min(...xs), Math.max(...xs), size[0]] }})({VIEW})"
    )
    assert spread[0] > 80 and spread[1] < spread[2]
    assert isinstance(LONG, Graph) and spread[1] - spread[0] > 0.25 * spread[2]
