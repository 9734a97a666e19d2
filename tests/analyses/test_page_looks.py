"""Pages in every window: wide and narrow, light and dark, on paper, and tables that are long or wide."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from chromium import launched, opened, until
from colour_vision import contrast
from hostile import DRAWN
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from grokscope.analyses import accuracy_curves, lens_heatmaps, view_attention
from grokscope.analyses.page import FIRST_ROWS, MOST_ROWS, Report
from grokscope.analyses.plots.bars import transplant_bars
from grokscope.analyses.plots.claims import quantity_rows
from grokscope.analyses.plots.heatmaps import evidence_heatmaps
from grokscope.circuits.figure_look import PALETTE
from grokscope.tasks import SPLITS

LIGHT, DARK = PALETTE["report"]["paper"], PALETTE["report_on_dark"]["paper"]
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 420, "height": 900}
LONG = "a quantity whose name says in many words what was measured, and where"
INSIDE = """() => [...document.querySelectorAll(".js-plotly-plot")].flatMap((figure) => {
  const box = figure.getBoundingClientRect();
  const beyond = (r) => Math.max(box.left - r.left, r.right - box.right, box.top - r.top, r.bottom - box.bottom);
  const texts = [...figure.querySelectorAll("text")].filter((text) => beyond(text.getBoundingClientRect()) > 1);
  return texts.map((text) => text.textContent);
})"""
"""Texts that a reader would not see whole."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def lens() -> go.Figure:
    cells = [
        {"layer": layer, "role": role, "target": target, "top1": 0.1 * layer}
        for target in ("bridge", "answer", "another question's bridge")
        for layer in range(8)
        for role in ("h", "r1", "r2")
    ]
    table = pd.DataFrame(cells)
    return lens_heatmaps({"a": table, "b": table}, list(dict.fromkeys(table["target"])), value="top1", title="n = 3 <b>")


def evidence() -> go.Figure:
    measures = [
        {"layer": layer, "role": role, "measure": measure, "excess": 0.2 * layer - 0.3}
        for measure in ("lens", "probe", "ablation", "held out", "direction")
        for layer in range(3)
        for role in ("h", "r1", "all positions")
    ]
    table = pd.DataFrame(measures)
    cells = table[table["measure"] == "lens"].assign(used="yes")
    return evidence_heatmaps(table, cells, title="n = 4")


def curves() -> go.Figure:
    metrics = pd.DataFrame({"step": [100, 200], **{split: [0.2, 0.1 * n] for n, split in enumerate(SPLITS)}})
    return accuracy_curves({"a": metrics, "b": metrics}, dict.fromkeys(SPLITS, 9), {"a": {"memorised": 190}, "b": {}})


def quantities() -> go.Figure:
    rows = {"quantity": [f"{LONG}, {n}" for n in range(4)], "says": "", "role": "main", "kind": "share of graphs"}
    return quantity_rows(pd.DataFrame({**rows, "value": 0.5, "low": 0.4, "high": 0.6, "margin": 0.3}), title="n = 5")


def bars() -> go.Figure:
    shares = dict.fromkeys(("own", "own_low", "own_high", "other", "other_low", "other_high"), 0.5)
    nodes = [f"L{n}H0@a long role of a word" for n in range(6)]
    return transplant_bars(pd.DataFrame({"node": nodes, **shares}), title=f"n = 6 pairs · {LONG} · {LONG} · {LONG}")


FIGURES = {"lens": lens, "evidence": evidence, "curves": curves, "quantities": quantities, "bars": bars}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = Report("Every window")
    for name, figure in FIGURES.items():
        report.heading(name)
        report.figure(figure(), f"How {name} is read.")
    attention = view_attention(torch.eye(3)[None, None], ("h", "r1", "r2"), causal=True, title="n = 7")
    report.fragment(attention.html, scripts=[attention.script])
    return report.save(tmp_path_factory.mktemp("looks") / "page.html")


def drawn(page: Page) -> Page:
    until(page, DRAWN)
    until(page, "document.body.innerText.includes('L0H0')")
    return page


def hexadecimal(colour: str) -> str:
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", colour)[:3])


def ground(page: Page) -> str:
    return hexadecimal(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def unreadable(page: Page) -> list[str]:
    """Texts that hardly differ from the ground; numbers in cells stand on the cells' colours."""
    texts = page.eval_on_selector_all(
        "h1, p, figcaption, .js-plotly-plot text:not(.heatmap-label text):not([class*=modebar] text)",
        """all => all.map(each => [each.textContent, each.namespaceURI.endsWith("svg") ? getComputedStyle(each).fill
                                                                                      : getComputedStyle(each).color])""",
    )
    assert len(texts) > 100
    return [text for text, colour in texts if text and contrast(hexadecimal(colour), ground(page)) < 3]


def test_a_page_follows_the_readers_setting_while_it_is_open(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=WIDE, color_scheme="dark") as page:
        assert ground(drawn(page)) == DARK and unreadable(page) == []
        papers = page.eval_on_selector_all(
            ".js-plotly-plot .main-svg:first-child", "all => all.map(e => e.style.background)"
        )
        assert {hexadecimal(paper) for paper in papers} == {DARK} and len(papers) == len(FIGURES)
        scales = page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map(f => f.data[0].colorscale)")
        assert [stop[1] for stop in scales[0]] == PALETTE["sequential_on_dark"]
        assert [stop[1] for stop in scales[1]] == PALETTE["diverging_on_dark"]
        filtered = "getComputedStyle(document.querySelector('.grokscope-attention canvas')).filter"
        assert page.evaluate(filtered) != "none"
        page.emulate_media(color_scheme="light")
        lightest = PALETTE["sequential"][0]
        until(page, f"document.querySelector('.js-plotly-plot').data[0].colorscale[0][1] === '{lightest}'")
        assert ground(page) == "#ffffff" and unreadable(page) == [] and page.evaluate(filtered) == "none"


def test_numbers_in_cells_can_be_read_on_dark_ground(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=WIDE, color_scheme="dark") as page:
        fills = "all => all.map(each => [each.textContent, getComputedStyle(each).fill])"
        found = dict(drawn(page).eval_on_selector_all(".heatmap-label text", fills))
        assert hexadecimal(found["0.00"]) != hexadecimal(found["0.70"]), "light on dark cells, dark on light ones"


@pytest.mark.parametrize("viewport", [NARROW, {"width": 700, "height": 900}, WIDE], ids=lambda each: str(each["width"]))
def test_figures_fit_the_window_and_nothing_is_cut(viewport: dict[str, int], browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=viewport) as page:
        assert drawn(page).evaluate(INSIDE) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.evaluate("document.querySelector('.js-plotly-plot .xtitle').setAttribute('x', 9999)")
        assert page.evaluate(INSIDE) == ["position"], "a planted one is seen"


STARTS = """number => {
  const { layout } = document.querySelectorAll(".js-plotly-plot")[number];
  const axes = (kind) => Object.keys(layout).filter((name) => name.startsWith(kind)).map((name) => layout[name].domain[0]);
  return ["xaxis", "yaxis"].map(axes);
}"""


def domains(page: Page, number: int) -> list[set[float]]:
    """Where columns and rows of a figure begin."""
    return [{round(start, 3) for start in starts} for starts in page.evaluate(STARTS, number)]


def test_panels_stand_below_each_other_where_they_have_no_room(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=WIDE) as page:
        assert [len(starts) for starts in domains(drawn(page), 0)] == [3, 2], "three targets, two models"
        page.set_viewport_size(NARROW)
        until(page, "document.querySelector('.js-plotly-plot').layout.height > 1200")
        columns, rows = domains(page, 0)
        assert (len(columns), len(rows)) == (1, 6)
        titles = page.eval_on_selector_all(
            "#figure-0 .annotation-text-g text", "all => all.map(e => [e.getBoundingClientRect().top, e.textContent])"
        )
        order = [text for _, text in sorted(titles)]
        assert order == ["share of questions", *(f"{model}: {target}" for model in "ab" for target in TARGETS)]
        assert page.locator("#figure-0 .y2tick text").count() == 8, "each says its layers itself"


TARGETS = ("bridge", "answer", "another question's bridge")


def test_long_names_break_into_lines_and_names_at_lines_become_a_legend(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=NARROW) as page:
        names = drawn(page).locator("#figure-3 .ytick text")
        assert names.count() == 4 and names.first.locator("tspan.line").count() > 2
        assert " ".join(names.first.locator("tspan.line").all_text_contents()) == f"{LONG}, 0"
        boxes = page.eval_on_selector_all(
            "#figure-3 .ytick text", "all => all.map(e => [e.getBoundingClientRect().top, e.getBoundingClientRect().bottom])"
        )
        assert all(before[1] <= after[0] for before, after in zip(sorted(boxes), sorted(boxes)[1:], strict=False))
        assert page.locator("#figure-4 .xtick text").first.get_attribute("transform").count("rotate(-90")
        legend = page.locator("#figure-2 .legendtext").all_text_contents()
        assert {f"{split} (n = 9)" for split in SPLITS} <= set(legend)
        page.set_viewport_size(WIDE)
        until(page, "!document.querySelector('#figure-2 .legendtext')")
        assert page.locator("#figure-2 .annotation-text-g text", has_text="n = 9").count() == len(SPLITS)


def test_a_title_stands_above_its_figure_as_text_and_its_reading_below(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=NARROW) as page:
        shown = drawn(page).locator("figure.shown")
        assert shown.first.locator("p.measured").text_content() == "n = 3 <b>"
        assert page.locator(".gtitle").count() == 0
        tops = [shown.first.locator(name).bounding_box()["y"] for name in (".measured", ".plotly-figure", "figcaption")]
        assert tops == sorted(tops)


def test_on_paper_figures_are_light_and_as_wide_as_it(browser: Browser, page_file: Path) -> None:
    with opened(browser, page_file, viewport=WIDE, color_scheme="dark") as page:
        drawn(page).emulate_media(media="print", color_scheme="dark")
        until(page, "[...document.querySelectorAll('.js-plotly-plot')].every(f => f.layout.width <= 680)")
        assert ground(page) == "#ffffff" and page.evaluate(INSIDE) == []
        papers = page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map(f => f._fullLayout.paper_bgcolor)")
        assert set(papers) == {LIGHT}
        assert max(page.evaluate("[...document.querySelectorAll('.js-plotly-plot')].map(f => f.layout.height)")) < 1000
        assert page.evaluate("getComputedStyle(document.querySelector('figure.shown')).breakInside") == "avoid"
        page.emulate_media(media="screen", color_scheme="dark")
        until(page, "document.querySelector('.js-plotly-plot').layout.width > 680")
        assert ground(page) == DARK and unreadable(page) == []


def test_a_saved_picture_is_the_figure_as_it_was_made(browser: Browser, page_file: Path, tmp_path: Path) -> None:
    with opened(browser, page_file, viewport=WIDE, color_scheme="dark", accept_downloads=True) as page:
        drawn(page).locator("#figure-0").hover()
        with page.expect_download() as download:
            page.locator("#figure-0 .modebar-btn[data-title='Save as a picture']").click()
        download.value.save_as(tmp_path / "figure.png")
    picture = np.asarray(Image.open(tmp_path / "figure.png").convert("L"))
    assert picture.shape[1] == 2200 and picture[2, 2] == 255, "light, though the page is dark"
    assert (picture[: picture.shape[0] // 12] < 128).any(), "its title is in it"


# ---- tables


@pytest.fixture(scope="module")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = Report("Tables")
    for n_rows in (MOST_ROWS, MOST_ROWS + 1, 57):
        report.table(pd.DataFrame({"row": [f"row {n}" for n in range(n_rows)], "n": range(n_rows)}))
    report.table(pd.DataFrame({"name": [LONG, "b"], **{f"column_{n}": [0.123, 4.5] for n in range(40)}}))
    return report.save(tmp_path_factory.mktemp("tables") / "page.html")


def rows_shown(page: Page, number: int) -> int:
    return page.eval_on_selector_all(f"#table-{number} tbody tr", "all => all.filter(e => e.offsetParent !== null).length")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_long_table_shows_its_first_rows_and_opens(scripts: bool, browser: Browser, table_file: Path) -> None:
    context = browser.new_context(offline=True, java_script_enabled=scripts)
    page = context.new_page()
    page.goto(table_file.as_uri())
    rows = page.locator("#table-2 tbody tr")
    assert page.locator("details").count() == 2 and page.locator("#table-0 tbody tr:visible").count() == MOST_ROWS
    assert rows.locator("visible=true").count() == FIRST_ROWS and "row 9" in page.locator("body").inner_text()
    opener = page.locator("details").nth(1)
    assert opener.inner_text().strip() == "all 57 rows"
    opener.locator("summary").click()
    expect(rows.nth(56)).to_be_visible()
    assert rows.locator("visible=true").count() == 57 and opener.inner_text().strip() == f"the first {FIRST_ROWS} of 57 rows"
    opener.locator("summary").click()
    assert rows.locator("visible=true").count() == FIRST_ROWS
    context.close()


def test_on_paper_tables_are_whole(browser: Browser, table_file: Path) -> None:
    with opened(browser, table_file) as page:
        assert [rows_shown(page, n) for n in range(3)] == [MOST_ROWS, FIRST_ROWS, FIRST_ROWS]
        page.emulate_media(media="print")
        assert [rows_shown(page, n) for n in range(3)] == [MOST_ROWS, MOST_ROWS + 1, 57]
        assert page.locator("details").first.is_hidden()


@pytest.mark.parametrize("viewport", [NARROW, WIDE], ids=["narrow", "wide"])
def test_a_wide_table_scrolls_in_its_box_and_keeps_its_first_column(
    viewport: dict[str, int], browser: Browser, table_file: Path
) -> None:
    with opened(browser, table_file, viewport=viewport) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        box, cells = page.locator(".wide").last, page.locator("#table-3 tbody tr").first.locator("td")
        before = [cells.nth(n).bounding_box() for n in (0, 1)]
        box.evaluate("box => box.scrollLeft = 300")
        after = [cells.nth(n).bounding_box() for n in (0, 1)]
        assert after[0]["x"] == before[0]["x"] and after[1]["x"] == before[1]["x"] - 300
        assert before[0]["width"] < 0.5 * viewport["width"], "there is room left for the others"
        cells.first.scroll_into_view_if_needed()
        at = cells.first.bounding_box()
        covering = f"document.elementFromPoint({at['x'] + 9}, {at['y'] + 9}).textContent"
        assert page.evaluate(covering) == LONG, "and they pass below it"
