"""Labels are shown as they are: what a browser shows of figures, views and pages, for text that markup would change."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from chromium import launched, opened
from playwright.sync_api import Browser, Page

from grokscope.analyses import view_attention
from grokscope.analyses.page import Report
from grokscope.analyses.plots import bars, claims, curves, heatmaps
from grokscope.circuits import Circuit, ComputationGraph, Result, compare, draw

LINK = '<a/href="https://example.org">x</a>'
MARKUP = ("<s>", "R&D", "don't", "a$b$c", LINK, "&lt;b&gt;", "</script>", "<!--")
ROLES = (*MARKUP, "🦊", "שלום", "مرحبا")
LABELS = (*ROLES, "1", "2024-01")  # plotly takes the last two for a number and a date
ODD = "|".join(LABELS) + "\u2028 <b>bold</b>, <br>, %{x}"


@pytest.fixture(scope="module")
def browser() -> Browser:
    with launched() as browser:
        yield browser


def texts(page: Page, selector: str) -> list[str]:
    return page.eval_on_selector_all(selector, "all => all.map(each => each.textContent)")


def rows(**columns: object) -> pd.DataFrame:
    """A row for each label, with whatever columns the figure wants."""
    return pd.DataFrame({name: list(value) if isinstance(value, list | tuple) else value for name, value in columns.items()})


def numbers(*names: str) -> dict[str, object]:
    return dict.fromkeys(names, 0.5)


def square(first: str, second: str) -> dict[str, list[str]]:
    return {first: [label for label in LABELS for _ in LABELS], second: list(LABELS) * len(LABELS)}


FIGURES = {
    "transplant": lambda: bars.transplant_bars(
        rows(node=LABELS, **numbers("own", "own_low", "own_high", "other", "other_low", "other_high")), title=ODD
    ),
    "copies": lambda: bars.copies_bars(rows(roles=LABELS, **numbers("followed", "low", "high", "random")), title=ODD),
    "quantities": lambda: claims.quantity_rows(
        rows(quantity=LABELS, says="", **numbers("value", "low", "high")), title=ODD
    ),
    "faithfulness": lambda: curves.faithfulness_curves(
        rows(order=LABELS[:5], n_edges=3, **numbers("faithfulness", "low", "high", "random", "random_low", "random_high")),
        3, 0.5, title=ODD,
    ),
    "attention": lambda: heatmaps.attention_heatmaps(
        rows(layer=0, head=0, **square("query", "key"), **numbers("integrated")), "integrated", title=ODD
    ),
    "effects": lambda: heatmaps.effect_heatmap(rows(**square("sender", "receiver"), **numbers("effect")), title=ODD),
    "nodes": lambda: heatmaps.effect_heatmap(
        rows(node=[f"MLP0@{label}" for label in LABELS], **numbers("effect")), title=ODD
    ),
    "lens": lambda: heatmaps.lens_heatmaps(
        {label: rows(layer=0, role=LABELS, target="answer", **numbers("top1")) for label in LABELS[:5]},
        ("answer",), value="top1", title=ODD,
    ),
    "back patching": lambda: heatmaps.back_patching_heatmaps(
        rows(role=LABELS[:6], source=1, target=0, **numbers("corrected")), title=ODD
    ),
    "trajectory": lambda: curves.trajectory_curves(
        rows(panel=LABELS[:6], step=10, layer=0, **numbers("v", "low", "high")), "v", panels="panel", title=ODD
    ),
}  # fmt: skip
SEEN = {
    "faithfulness": [f"by {label}" for label in LABELS[:5]],
    "lens": [*LABELS, *(f"{each}: answer" for each in LABELS[:5])],
}
SEEN |= {name: list(LABELS[:6]) for name in ("back patching", "trajectory")}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_show_labels_as_they_are(name: str, browser: Browser, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    figure.update_layout(width=1500, height=900)
    report = Report(ODD)
    report.figure(figure, ODD)
    with opened(browser, report.save(tmp_path / "page.html"), viewport={"width": 1600, "height": 1000}) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        shown = texts(page, ".js-plotly-plot text")
        assert set(SEEN.get(name, LABELS)) <= set(shown)
        assert ODD.replace("\u2028", " ") in [text.replace("\u2028", " ") for text in shown]
        assert page.locator("h1").text_content() == ODD
        assert page.locator("figcaption").text_content() == ODD
        assert page.locator(".js-plotly-plot text a").count() == 0
        page.screenshot(path=tmp_path / "shown.png")
    assert "$" not in figure.to_json()  # with MathJax on the page plotly would set a formula


def test_hovers_show_labels_as_they_are(browser: Browser, tmp_path: Path) -> None:
    report = Report("hover")
    report.figure(heatmaps.attention_heatmaps(
        rows(layer=0, head=0, **square("query", "key"), **numbers("integrated")), "integrated", title="t"), "")  # fmt: skip
    with opened(browser, report.save(tmp_path / "page.html"), viewport={"width": 1600, "height": 1000}) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        for label in LABELS:
            place = list(LABELS).index(label)
            page.evaluate(
                "async (at) => { const p = await plotly; const d = document.querySelector('.js-plotly-plot');"
                " p.Fx.hover(d, {xval: at, yval: 0}, 'xy'); }", place
            )  # fmt: skip
            page.wait_for_timeout(120)
            assert f"x: {label}" in " ".join(texts(page, ".hoverlayer tspan.line, .hoverlayer text"))


def circuit(model: str) -> Circuit:
    graph = ComputationGraph.transformer(n_layers=1, n_heads=1, roles=ROLES, answer_role=ROLES[-1], n_blocks=1)
    edges = {"sender": [str(e.sender) for e in graph.edges], "receiver": [str(e.receiver) for e in graph.edges]}
    effect = [0.3 + 0.01 * place for place in range(len(graph.edges))]
    frame = rows(**edges, effect=effect, stderr=0.01, n=8, gap=3.0)
    frame.attrs |= {"graph": graph.to_dict(), "provenance": {"model": model, "metric": ODD, "pairs": "p"}}
    return Circuit.from_effects(frame, threshold=0.1)


@pytest.mark.parametrize("scripts", [True, False])
def test_diagrams_show_labels_as_they_are(scripts: bool, browser: Browser, tmp_path: Path) -> None:
    diagram = draw({LABELS[0]: circuit("a$b$c"), LINK: circuit(ODD)}, despite=("model",))
    path = diagram.save(tmp_path / "page.html")
    with opened(browser, path, java_script_enabled=scripts, viewport={"width": 2000, "height": 1000}) as page:
        for number, (label, model) in enumerate(((LABELS[0], "a$b$c"), (LINK, ODD))):
            panel = page.locator(".gs-panels figure").nth(number)
            assert panel.locator(".gs-role").all_text_contents() == list(ROLES)
            assert panel.locator("h4").text_content() == label and model in panel.locator("figcaption").text_content()
        assert page.locator(".gs-panels a").count() == 0
        page.screenshot(path=tmp_path / "shown.png")
        if scripts:
            edge = page.locator('.gs-edge[data-edge*="@</script> ->"]').first
            name = edge.get_attribute("data-edge")
            edge.dispatch_event("pointermove")
            assert "@</script> -> " in name and page.title() == f"grokscope: {LABELS[0]} / {LINK}"


def test_comparisons_show_labels_as_they_are(browser: Browser, tmp_path: Path) -> None:
    report = Report("compared")
    report.figure(compare({LABELS[0]: circuit("m"), "a$b$c": circuit("m")}).figure(), "")
    with opened(browser, report.save(tmp_path / "page.html")) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        assert {f"effect in {LABELS[0]}", "effect in a$b$c"} <= set(texts(page, ".js-plotly-plot text"))


def test_views_of_attention_show_tokens_as_they_are(browser: Browser, tmp_path: Path) -> None:
    n = len(LABELS)
    view = view_attention(torch.eye(n)[None, None], LABELS, causal=True, title=ODD)
    with opened(browser, view.save(tmp_path / "view.html"), viewport={"width": 1400, "height": 900}) as page:
        page.wait_for_function("document.body.innerText.includes('L0H0')")
        shown = page.locator("body").inner_text()
        assert all(label in shown for label in LABELS) and "&#x27;" not in shown
        assert page.locator("h4").first.text_content() == ODD and page.locator("a").count() == 0
        page.screenshot(path=tmp_path / "shown.png")


def test_tables_show_labels_as_they_are(browser: Browser, tmp_path: Path) -> None:
    report, table = Report(ODD), pd.DataFrame({LABELS[0]: LABELS, "n": 1})
    report.heading(ODD)
    report.bullets(LABELS)
    report.table(table)
    report.fragment(Result(table)._repr_html_())
    with opened(browser, report.save(tmp_path / "page.html")) as page:
        for number in range(2):
            cells = page.locator("table").nth(number).locator("td:first-child")
            assert cells.all_text_contents() == list(LABELS)
            assert page.locator("table").nth(number).locator("th").first.text_content() == LABELS[0]
        assert page.locator("li").all_text_contents() == list(LABELS)
        assert page.locator("h1").text_content() == page.locator("h2").text_content() == ODD
