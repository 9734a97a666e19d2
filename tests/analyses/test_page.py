import base64
import html
import io
import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest
from chromium import launched, opened, until

from grokscope.analyses.page import Report


def test_a_page_holds_its_parts_in_order_and_plotly_once(tmp_path: Path) -> None:
    report = Report("A <title>")
    report.heading("First & last")
    report.paragraph("x < y")
    report.bullets(["<b>one</b>", "two"])
    report.table(pd.DataFrame({"value": [0.12345, float("nan")], "n": [3, 4]}))
    report.figure(go.Figure(go.Scatter(y=[1, 2])), "Up is more.")
    report.figure(go.Figure(go.Scatter(y=[3, 4], name="</script><b>")), "And here.")
    page = report.save(tmp_path / "new" / "page.html").read_text()
    assert "<h1>A &lt;title&gt;</h1>" in page and ">First &amp; last</h2>" in page
    places = [page.index(text) for text in ("First &amp; last", "x &lt; y", "&lt;b&gt;one", "0.123", "figure-0", "figure-1")]
    assert places == sorted(places)
    assert "<td>–</td>" in page
    assert page.count("Plotly.react") == 1 and page.count("plotly-packed") == 2 and len(page) < 2_500_000
    assert "<nav>" not in page and not re.search(r"(src|href)=|@import", page)
    assert not list(tmp_path.glob("**/*.partial"))


def test_a_browser_draws_the_figures_and_the_contents_lead_to_them(tmp_path: Path) -> None:
    report = Report("three")
    for title in ("One", "Two & a half", "Three"):
        report.heading(title)
        report.figure(go.Figure(go.Scatter(y=[1, 2], name="<b>x")), f"{title} is read like this.")
    with launched() as browser, opened(browser, report.save(tmp_path / "page.html")) as page:
        until(page, "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length === 3")
        assert page.locator("nav a").all_inner_texts() == ["One", "Two & a half", "Three"]
        page.locator("nav a").nth(1).click()
        assert page.locator("h2:target").inner_text() == "Two & a half"
        assert page.locator("figure.shown figcaption").nth(2).inner_text() == "Three is read like this."


def test_a_quote_is_the_words_of_another_with_their_source() -> None:
    report = Report("a")
    report.quote("x < y & z", "Wang et al. <2024>")
    assert report.parts == ["<blockquote>x &lt; y &amp; z <cite>Wang et al. &lt;2024&gt;</cite></blockquote>"]


def test_a_heading_has_the_name_given_or_one_made_of_its_text() -> None:
    report = Report("a")
    for text, name in (("What it <is>", ""), ("Second one", "claim-i"), ("  Third, & last  ", "")):
        report.heading(text, name=name)
    assert list(report.headings) == ["s0-what-it-is", "claim-i", "s2-third-last"]
    assert list(report.headings.values()) == ["What it <is>", "Second one", "  Third, & last  "]
    assert report.parts[1] == '<h2 id="claim-i">Second one</h2>'
    links = re.findall('<li><a href="#([^"]+)">([^<]*)</a></li>', report.page())
    assert links == [(name, html.escape(text)) for name, text in report.headings.items()]
    short = Report("a", with_contents=False)
    for name in ("one", "two", "three"):
        short.heading(name, name=name)
    assert "<nav>" not in short.page() and all(f'<h2 id="{name}">' in short.page() for name in ("one", "two", "three"))


TABLE = pd.DataFrame({"word": ["a,b", 'say "<i>"', "∑"], "value": [0.123456789, float("nan"), 1e-9], "n": [3, 4, 5]})


def saved_in(page: str, file: str) -> str:
    """What the link of that name saves."""
    (content,) = re.findall(rf'<a download="{re.escape(file)}" href="data:text/csv;base64,([^"]+)">CSV</a>', page)
    return base64.b64decode(content).decode()


def test_a_table_can_be_saved_whole_with_all_digits() -> None:
    report = Report("a")
    report.table(TABLE, file="effects & co.csv")
    text = saved_in(report.page(), html.escape("effects & co.csv"))
    assert text == TABLE.to_csv(index=False)
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), TABLE, check_exact=True)
    long = pd.DataFrame({"value": [number / 7 for number in range(40)]})
    report.table(long, file="long.csv")
    name, *digits = saved_in(report.page(), "long.csv").split()
    assert name == "value" and [float(each) for each in digits] == long["value"].tolist()
    report.table(TABLE)
    assert report.page().count("<a download=") == 2  # without a name it cannot


def test_rows_have_the_names_that_links_lead_to() -> None:
    report = Report("a")
    names = ["first", 'se"cond', "third"]
    report.table(TABLE, rows=names)
    shown = report.parts[0]
    body = shown.partition("<tbody>")[2]
    rows = re.findall('<tr id="([^"]+)">(.*?)</tr>', body, re.DOTALL)
    assert [html.unescape(name) for name, _ in rows] == names and body.count("<tr") == 3
    assert "a,b" in rows[0][1] and "∑" in rows[2][1] and "<tr id" not in shown.partition("<tbody>")[0]
    plain = Report("a")
    plain.table(TABLE)
    assert re.sub(' id="(first|third|se&quot;cond)"', "", shown) == plain.parts[0]
    with pytest.raises(ValueError, match="zip"):
        report.table(TABLE, rows=names[:2])


def test_a_link_leads_to_a_named_row_and_a_click_saves_the_table(tmp_path: Path) -> None:
    report = Report("a")
    report.fragment('<a id="to-row" href="#row-2">there</a>')
    report.table(TABLE, rows=["row-0", "row-1", "row-2"], file="effects.csv")
    with launched() as browser, opened(browser, report.save(tmp_path / "page.html")) as page:
        page.locator("#to-row").click()
        assert page.locator("tr:target td").nth(0).inner_text() == "∑"
        with page.expect_download() as waited:
            page.locator("p.save a").click()
        assert waited.value.suggested_filename == "effects.csv"
        waited.value.save_as(tmp_path / "effects.csv")
        assert (tmp_path / "effects.csv").read_text() == TABLE.to_csv(index=False)


def folded(tmp_path: Path) -> Path:
    """A page with a figure that is seen, and a folded part with a figure and a named heading in it."""
    report = Report("a")
    report.figure(go.Figure(go.Scatter(y=[1, 2])), "Seen.")
    report.fragment('<a id="into" href="#inside">there</a>')
    with report.folded("More & <more>"):
        report.heading("Inside", name="inside")
        report.figure(go.Figure(go.Scatter(y=[3, 4])), "Folded.")
    report.paragraph("After.")
    return report.save(tmp_path / "page.html")


DRAWN = "document.querySelectorAll('#figure-{} .scatterlayer .trace').length === 1"
WIDE = "document.querySelector('#figure-1 .main-svg')?.getBoundingClientRect().width"


def test_a_folded_part_holds_what_is_added_inside(tmp_path: Path) -> None:
    page = folded(tmp_path).read_text()
    start, end = page.index('<details class="fold"><summary>More &amp; &lt;more&gt;</summary>'), page.index("</details>")
    assert start < page.index('id="inside"') < page.index('id="figure-1"') < end < page.index("After.")


def test_a_figure_in_a_folded_part_is_drawn_as_wide_as_others_when_it_opens(tmp_path: Path) -> None:
    with launched() as browser, opened(browser, folded(tmp_path)) as page:
        until(page, DRAWN.format(0))
        assert not page.locator("#figure-1").is_visible() and not page.locator("details.fold h2").is_visible()
        page.locator("details.fold > summary").click()
        until(page, DRAWN.format(1))
        assert page.locator("#figure-1").is_visible()
        assert page.evaluate(WIDE) == page.evaluate(WIDE.replace("figure-1", "figure-0"))
        page.locator("details.fold > summary").click()
        assert not page.locator("#figure-1").is_visible()


def test_a_link_into_a_folded_part_opens_it(tmp_path: Path) -> None:
    with launched() as browser, opened(browser, folded(tmp_path)) as page:
        until(page, DRAWN.format(0))
        page.locator("#into").click()
        until(page, "document.querySelector('details.fold').open")
        until(page, DRAWN.format(1))
        assert page.locator("h2:target").is_visible()


def test_on_paper_a_folded_part_is_as_the_reader_left_it(tmp_path: Path) -> None:
    with launched() as browser, opened(browser, folded(tmp_path)) as page:
        until(page, DRAWN.format(0))
        page.emulate_media(media="print")
        assert not page.locator("#figure-1").is_visible()
        page.emulate_media(media="screen")
        page.locator("details.fold > summary").click()
        page.emulate_media(media="print")
        until(page, DRAWN.format(1))
        assert page.locator("#figure-1").is_visible()
