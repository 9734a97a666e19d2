"""Names are never markup: one page with a figure of every kind, in a browser that would tell."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from chromium import launched, opened, until
from hostile import DRAWN, NAMES, ODD, circuit, harmless, results, texts
from playwright.sync_api import Browser

from grokscope.analyses import AttentionView, view_attention
from grokscope.analyses.page import Report
from grokscope.circuits import Diagram, Result, draw

RESULTS = dict(results())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def drawing(result: Result) -> go.Figure | Diagram | None:
    return result.figure() if hasattr(result, "figure") else None


def test_no_name_in_any_figure_table_or_text_is_markup(browser: Browser, tmp_path: Path) -> None:
    report, shown = Report(ODD), []
    report.heading(ODD)
    report.paragraph(ODD)
    report.bullets([ODD, *NAMES])
    report.table(pd.DataFrame({ODD: NAMES, NAMES[0]: ODD}))
    for result in RESULTS.values():
        picture = drawing(result)
        if isinstance(picture, Diagram):
            report.diagram(picture, ODD)
        elif picture is not None:
            report.fragment(Result(result.table.head(2))._repr_html_())
        if isinstance(picture, go.Figure):
            assert [text for text in texts(picture) if "<" in text and "%{" not in text] == []
            report.figure(picture.update_layout(width=500, height=300), ODD)
            shown.append(picture)
    attention = view_attention(torch.eye(len(NAMES))[None, None], NAMES, causal=True, title=ODD)
    report.fragment(attention._repr_html_(), scripts=[attention.script])
    with opened(browser, report.save(tmp_path / "page.html"), viewport={"width": 1300, "height": 900}) as page:
        until(page, DRAWN)
        until(page, "document.body.innerText.includes('L0H0')")
        found = page.eval_on_selector_all(
            "figure:has(.js-plotly-plot)",
            "all => all.map(each => [...each.querySelectorAll('text, .measured')].map(t => t.textContent).join('\\n'))",
        )
        assert len(found) == len(shown) > 20
        assert [number for number, each in enumerate(found) if "<" not in each] == []
        assert page.evaluate(HOVERED) > 20
        page.screenshot(path=tmp_path / "page.png")
        harmless(page)
        assert page.locator("h1").text_content() == page.locator("h2").first.text_content() == ODD
        assert page.locator("li").all_text_contents() == [ODD, *NAMES]


HOVERED = """async () => {
  const p = await plotly;
  let n = 0;
  for (const place of document.querySelectorAll(".js-plotly-plot")) {
    for (const [curveNumber, trace] of place.data.entries()) {
      if (!trace.x || trace.x[0] === null || trace.hoverinfo === "skip") continue;
      const pointNumber = trace.type === "heatmap" ? [0, 0] : 0;
      p.Fx.hover(place, [{ curveNumber, pointNumber }], `${trace.xaxis || "x"}${trace.yaxis || "y"}`);
      n += 1;
    }
  }
  return n;
}"""


PAGES = {
    "diagram": lambda: draw({NAMES[0]: circuit(), ODD: circuit(NAMES[2])}),
    "attention": lambda: view_attention(torch.eye(len(NAMES))[None, None], NAMES, causal=True, title=ODD),
}


@pytest.mark.parametrize("kind", PAGES)
def test_no_name_in_a_page_by_itself_is_markup(kind: str, browser: Browser, tmp_path: Path) -> None:
    made: Diagram | AttentionView = PAGES[kind]()
    with opened(browser, made.save(tmp_path / "page.html")) as page:
        until(page, "document.body.innerText.includes('L0H0')")
        harmless(page)
        assert ODD.replace("\n", " ") in page.locator("body").inner_text().replace("\n", " ") or kind == "attention"


def test_a_script_that_nobody_declared_does_not_run(browser: Browser, tmp_path: Path) -> None:
    report = Report("injected")
    report.figure(go.Figure(go.Scatter(y=[1, 2])), "")
    report.diagram(draw(circuit()), "")
    report.fragment("<script>window.hit=1</script><img src=x onerror=window.hit=1><a href='javascript:window.hit=1'>x</a>")
    report.fragment("<base href='http://x.test'><form action='http://x.test'><button>y</button></form>")
    report.fragment("<link rel=stylesheet href=http://x.test><iframe src=http://x.test></iframe><script src=x.js></script>")
    context = browser.new_context(offline=True)
    page, asked, refused = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request))
    page.add_init_script("window.no = []; addEventListener('securitypolicyviolation', e => no.push(e.effectiveDirective))")
    page.goto(report.save(tmp_path / "page.html").as_uri())
    until(page, DRAWN)
    page.evaluate("document.querySelector('a[href]').click(), document.querySelector('form').submit()")
    page.wait_for_timeout(200)
    refused = set(page.evaluate("no"))
    assert page.evaluate("window.hit") is None
    assert {request.failure for request in asked} == {None, "csp"}
    assert [request.url for request in asked if request.failure is None] == [page.url]
    assert refused == {
        *("script-src-elem", "script-src-attr", "img-src", "base-uri", "form-action", "style-src-elem", "frame-src"),
    }
    context.close()


def test_figures_are_saved_as_pictures(browser: Browser, tmp_path: Path) -> None:
    report = Report("saved")
    report.figure(go.Figure(go.Scatter(y=[1, 2])), "")
    with opened(browser, report.save(tmp_path / "page.html"), accept_downloads=True) as page:
        until(page, DRAWN)
        with page.expect_download() as download:
            page.evaluate("plotly.then((p) => p.downloadImage(document.querySelector('.plotly-figure'), { format: 'png' }))")
        download.value.save_as(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
