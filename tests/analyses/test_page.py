import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
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
