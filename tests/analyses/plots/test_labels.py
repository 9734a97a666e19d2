"""Labels are shown as they are: what a browser shows of figures, views and pages, for text that markup would change."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch
from chromium import launched, opened, until
from playwright.sync_api import Browser, Page

from grokscope.analyses import view_attention
from grokscope.analyses.page import Report
from grokscope.analyses.plots import bars, claims, cost, curves, heatmaps, regimes, study
from grokscope.analyses.training.loops import LoopResult
from grokscope.circuits import Circuit, ComputationGraph, Result, compare, draw
from grokscope.tasks import SPLITS
from grokscope.tasks.runs.study_figure import study_figure

LINK = '<a/href="https://example.org">x</a>'
MARKUP = ("<s>", "R&D", "don't", "a$b$c", LINK, "&lt;b&gt;", "</script>", "<!--")
ROLES = (*MARKUP, "🦊", "שלום", "مرحبا")
LABELS = (*ROLES, "1", "1.0", "2024-01", "constructor", "__proto__")
"""Plotly takes the last five for numbers, a date, and what its tables of categories have from birth."""
ODD = "|".join(LABELS) + "\u2028 <b>bold</b>, <br>, %{x}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def texts(page: Page, selector: str) -> list[str]:
    return page.eval_on_selector_all(selector, "all => all.map(each => each.textContent)")


HOVER = """async ([curve, point, x, y, at]) => {
    const p = await plotly, d = document.querySelector('.js-plotly-plot');
    p.Fx.hover(d, x === null ? [{curveNumber: curve, pointNumber: point}] : {xval: x, yval: y}, at || 'xy');
}"""


def rows(**columns: object) -> pd.DataFrame:
    """A row for each label, with whatever columns the figure wants."""
    return pd.DataFrame({name: list(value) if isinstance(value, list | tuple) else value for name, value in columns.items()})


def numbers(*names: str) -> dict[str, object]:
    return dict.fromkeys(names, 0.5)


def product(**columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns of all combinations."""
    return dict(zip(columns, map(list, zip(*itertools.product(*columns.values()), strict=True)), strict=True))


def square(first: str, second: str) -> dict[str, list[str]]:
    return {first: [label for label in LABELS for _ in LABELS], second: list(LABELS) * len(LABELS)}


FIGURES = {
    "transplant": lambda: bars.transplant_bars(
        rows(node=LABELS, **numbers("own", "own_low", "own_high", "other", "other_low", "other_high")), title=ODD
    ),
    "copies": lambda: bars.copies_bars(rows(roles=LABELS, **numbers("followed", "low", "high", "random")), title=ODD),
    "quantities": lambda: claims.quantity_rows(
        rows(quantity=LABELS, says="", role="main", **numbers("value", "low", "high", "margin")), title=ODD
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
        rows(role=LABELS[:6], source=1, target=0, **numbers("corrected", "low", "high")), title=ODD
    ),
    "cost": lambda: cost.cost_frontier(
        rows(run=LABELS, arm=LABELS, added=5, level=0.5, step=10.0, trained=20),
        rows(arm=LABELS, added=5, level=0.5, median=10.0), title=ODD,
    ),
    "use": lambda: regimes.accuracy_against_use(
        rows(run=LABELS, arm=LABELS, phase="final", step=10, used="yes",
             **numbers("exact_match", "bridge_effect", "low", "high")), title=ODD,
    ),
    "repair": lambda: claims.repair_bars(
        rows(run=LABELS, arm=LABELS, cell="&lt;c&gt;", **numbers("accuracy", "realigned", "controlled")), title=ODD
    ),
    "exposure": lambda: claims.exposure_points(
        rows(hop=[1, 2], exposure=[3, 4], n=5, **numbers("accuracy", "low", "high")), title=ODD
    ),
    "growth": lambda: curves.growth_curves(
        rows(step=10, edge=LABELS[:6], **numbers("effect", "low", "high")),
        rows(step=[10], **numbers("weighted_overlap", "weighted_overlap_final", "loss", "restricted", "excluded")),
        {label: 20.0 for label in LABELS[6:]}, title=ODD,
    ),
    "accuracy": lambda: curves.accuracy_curves(
        {label: rows(step=[1, 2], **numbers(*SPLITS)) for label in LABELS[:6]}, dict.fromkeys(SPLITS, 9),
        {label: {other: 1 for other in (ODD, *LABELS[6 + 2 * n : 8 + 2 * n])} for n, label in enumerate(LABELS[:6])},
    ),
    "realignment": lambda: bars.realignment_bars(
        rows(**product(form=LABELS[:6], entity=LABELS[:6]), layer=0, **numbers("accuracy", "low", "high", "baseline")),
        title=ODD,
    ),
    "loops": lambda: LoopResult(
        rows(n_loops=2, split=list(SPLITS)[2:5], n=9, **numbers("exact_match", "low", "high")), ODD, 2
    ).figure(),
    "evidence": lambda: heatmaps.evidence_heatmaps(
        rows(layer=0, role=LABELS, measure=LABELS[4], excess=0.5), rows(layer=0, role=LABELS, used="yes"), title=ODD
    ),
    "pretraining": lambda: study.pretraining_comparison(
        rows(arm=LABELS[:6], run=LABELS[:6], rate="train", step=10, value=0.5),
        rows(arm=LABELS[:6], step=10, n=9, **numbers("train", "bridge", "target")), title=ODD,
    ),
    "transfer": lambda: study.transfer_comparison(
        rows(arm=LABELS, run=LABELS, cell="new+old", step=10, exact_match=0.5, n=9),
        rows(arm=LABELS, cell="new+old", step=10, exact_match=0.5, n=9),
        rows(arm=LABELS, cell="new+old", largest=0.5, n=9), arms=LABELS, title=ODD,
    ),
    "study": lambda: study_figure(
        rows(arm=LABELS[:6], run=LABELS[:6], seed=0, split=LABELS[:6], step=10, accuracy=0.5, n=9),
        {label: {"memorised": 5} for label in LABELS[:6]},
    ),
    "trajectory": lambda: curves.trajectory_curves(
        rows(panel=LABELS[:6], step=10, layer=0, **numbers("v", "low", "high")), "v", by="panel", title=ODD
    ),
}  # fmt: skip
SEEN = {
    "faithfulness": [f"by {label}" for label in LABELS[:5]],
    "lens": [*LABELS, *(f"{each}: answer" for each in LABELS[:5])],
}
SEEN |= {name: list(LABELS[:6]) for name in ("back patching", "trajectory", "realignment", "growth")}
SEEN |= {"exposure": [], "loops": [], "use": list(LABELS), "cost": list(LABELS)}
SEEN |= {"study": [f"{label} (1 run, 1 graph)" for label in LABELS[:6]]}
SEEN |= {
    "pretraining": [f"{label}, 1 runs" for label in LABELS[:6]] + [f"{label}, He et al., n = 9" for label in LABELS[:6]]
}
SEEN |= {"repair": [*LABELS, "&lt;c&gt;"], "growth": list(LABELS)}
UNTITLED = ("accuracy", "study")
"""By the figures themselves, not by who calls."""


ONE_OF_EACH = ("effects", "growth", "faithfulness", "study", "quantities")  # heat map, lines, bands, panels, bars
EVERY = [pytest.param(name, marks=() if name in ONE_OF_EACH else pytest.mark.slow) for name in FIGURES]


@pytest.mark.parametrize("name", EVERY)
def test_figures_show_labels_as_they_are(name: str, browser: Browser, tmp_path: Path) -> None:
    figure = FIGURES[name]()
    figure.update_layout(width=1500, height=900)
    report = Report(ODD)
    report.figure(figure, ODD)
    with opened(browser, report.save(tmp_path / "page.html"), viewport={"width": 1600, "height": 1000}) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        shown = [text.replace("\u200b", "") for text in texts(page, ".js-plotly-plot text")]
        assert set(SEEN.get(name, LABELS)) <= set(shown)
        assert name in UNTITLED or ODD in str(page.locator("p.measured").text_content())
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
            page.evaluate(HOVER, [0, 0, place, 0])
            page.wait_for_timeout(120)
            assert f"key: {label}" in " ".join(texts(page, ".hoverlayer tspan.line, .hoverlayer text"))


@pytest.mark.parametrize(
    "name", ["use", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cost", "repair", "study", "transfer"))]
)
def test_hovers_show_names_as_they_are(name: str, browser: Browser, tmp_path: Path) -> None:
    """Of every trace in turn: texts in templates, and names, which plotly would cut after 15 signs."""
    report, figure = Report("hover"), FIGURES[name]()
    report.figure(figure, "")
    with opened(browser, report.save(tmp_path / "page.html"), viewport={"width": 1600, "height": 1000}) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        found = ""
        for number, trace in enumerate(figure.data):
            for point in range(len(trace.x) if trace.x[0] is not None else 0):
                page.evaluate(HOVER, [number, point, None, None, f"{trace.xaxis or 'x'}{trace.yaxis or 'y'}"])
                page.wait_for_timeout(60)
                found += " ".join(texts(page, ".hoverlayer text")) + "\n"
        assert [label for label in LABELS[:6] if label not in found] == []


def test_equal_labels_stay_apart(browser: Browser, tmp_path: Path) -> None:
    twice, ends = ["a", "b", "a"], numbers("low", "high", "random", "own", "own_low", "own_high")
    ends |= numbers("other", "other_low", "other_high", "followed", "value")
    report = Report("twice")
    for figure in (
        bars.copies_bars(rows(roles=twice, **ends), title=""),
        bars.transplant_bars(rows(node=twice, **ends), title=""),
        claims.quantity_rows(
            rows(quantity=twice, says=["", "supported", ""], role="main", margin=float("nan"), **ends), title=""
        ),
    ):
        report.figure(figure, "")
    with opened(browser, report.save(tmp_path / "page.html")) as page:
        page.wait_for_selector(".js-plotly-plot >> nth=2 >> .main-svg text")
        for number, axis in enumerate("xxy"):
            ticks = page.locator(".js-plotly-plot").nth(number).locator(f".{axis}tick text").all_text_contents()
            assert sorted(tick.replace("\u200b", "") for tick in ticks) == ["a", "a", "b"]


def circuit(model: str) -> Circuit:
    graph = ComputationGraph.transformer(n_layers=1, n_heads=1, roles=ROLES, answer_role=ROLES[-1], n_blocks=1)
    edges = {"sender": [str(e.sender) for e in graph.edges], "receiver": [str(e.receiver) for e in graph.edges]}
    effect = [0.3 + 0.01 * place for place in range(len(graph.edges))]
    frame = rows(**edges, effect=effect, stderr=0.01, n=8, gap=3.0)
    frame.attrs |= {"graph": graph.to_dict(), "provenance": {"model": model, "metric": ODD, "pairs": "p"}}
    return Circuit.from_effects(frame, threshold=0.1)


@pytest.mark.parametrize("scripts", [True, False])
def test_diagrams_show_labels_as_they_are(scripts: bool, browser: Browser, tmp_path: Path) -> None:
    diagram = draw({LABELS[0]: circuit("a$b$c"), LINK: circuit(ODD)})
    path = diagram.save(tmp_path / "page.html")
    with opened(browser, path, java_script_enabled=scripts, viewport={"width": 2000, "height": 1000}) as page:
        if scripts:
            until(page, f"!!{DIAGRAM}")
        for number, (label, model) in enumerate(((LABELS[0], "a$b$c"), (LINK, ODD))):
            panel = page.locator(".gs-panels figure").nth(number)
            roles = panel.locator(".gs-column" if scripts else ".gs-role").all_text_contents()
            assert set(roles) <= set(ROLES) and len(roles) > 1
            assert panel.locator(".gs-title").text_content() == label and model in panel.locator("figcaption").text_content()
        assert page.locator(".gs-panels a").count() == 0
        page.screenshot(path=tmp_path / "shown.png")
        if scripts:
            assert page.title() == f"grokscope: {LABELS[0]} / {LINK}"
            page.locator(".gs-panels svg").first.focus()
            page.keyboard.press("ArrowRight")
            tip = page.locator(".gs-tip").inner_text().split("\n")
            assert tip[0] in page.evaluate(f"{DIAGRAM}.drawn[0]")
            assert [line.partition(": 0.")[0] for line in tip[1:]] == [LABELS[0], LINK]


DIAGRAM = "document.querySelector('.grokscope').grokscope"


@pytest.mark.parametrize("kind", ["SVG", "JSON", "page"])
def test_exports_of_diagrams_show_labels_as_they_are(kind: str, browser: Browser, tmp_path: Path) -> None:
    diagram = draw({LABELS[0]: circuit("a$b$c"), LINK: circuit(ODD)})
    path = tmp_path / f"saved.{'html' if kind == 'page' else kind.lower()}"
    with opened(browser, diagram.save(tmp_path / "page.html"), accept_downloads=True) as page:
        until(page, f"!!{DIAGRAM}")
        page.locator("summary", has_text="save").click()
        with page.expect_download() as download:
            page.get_by_role("button", name=kind, exact=True).click()
        download.value.save_as(path)
    if kind == "JSON":
        content = json.loads(path.read_text(encoding="utf-8"))
        assert [panel["label"] for panel in content["panels"]] == [LABELS[0], LINK]
        assert content["graphs"][0]["columns"] == list(ROLES)
        return
    with opened(browser, path, viewport={"width": 2000, "height": 1000}) as page:
        if kind == "page":
            until(page, f"!!{DIAGRAM}")
            assert page.locator("figure .gs-title").all_text_contents() == [LABELS[0], LINK]
            assert page.title() == f"grokscope: {LABELS[0]} / {LINK}"
        else:
            said = page.locator("svg text").all_text_contents()
            assert {LABELS[0], LINK} <= set(said) and set(said) & set(ROLES)
        assert page.locator("svg a").count() == 0
        page.screenshot(path=tmp_path / "saved.png")  # which is how a PNG is made


def test_comparisons_show_labels_as_they_are(browser: Browser, tmp_path: Path) -> None:
    report = Report("compared")
    report.figure(compare({LABELS[0]: circuit("m"), "a$b$c": circuit("m")}).figure(), "")
    with opened(browser, report.save(tmp_path / "page.html")) as page:
        page.wait_for_selector(".js-plotly-plot .main-svg text")
        assert {f"effect in {LABELS[0]}, share of the gap", "effect in a$b$c, share of the gap"} <= set(
            texts(page, ".js-plotly-plot text")
        )


def test_views_of_attention_show_tokens_as_they_are(browser: Browser, tmp_path: Path) -> None:
    n = len(LABELS)
    view = view_attention(torch.eye(n)[None, None], LABELS, causal=True, title=ODD)
    with opened(browser, view.save(tmp_path / "view.html"), viewport={"width": 1400, "height": 900}) as page:
        until(page, "document.body.innerText.includes('L0H0')")
        shown = page.locator("body").inner_text()
        assert all(label in shown for label in LABELS) and "&#x27;" not in shown
        assert page.locator("h1").text_content() == ODD and page.locator("a").count() == 0
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
