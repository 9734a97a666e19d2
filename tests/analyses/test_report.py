from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from grokscope.analyses.report import Report


def test_a_page_holds_its_parts_in_order_and_plotly_once(tmp_path: Path) -> None:
    report = Report("A <title>")
    report.heading("First & last")
    report.paragraph("x < y")
    report.bullets(["<b>one</b>", "two"])
    report.table(pd.DataFrame({"value": [0.12345, float("nan")], "n": [3, 4]}))
    report.figure(go.Figure(go.Scatter(y=[1, 2])))
    report.figure(go.Figure(go.Scatter(y=[3, 4])))
    page = report.save(tmp_path / "new" / "page.html").read_text()
    assert "<h1>A &lt;title&gt;</h1>" in page and "<h2>First &amp; last</h2>" in page
    places = [page.index(text) for text in ("First &amp; last", "x &lt; y", "&lt;b&gt;one", "0.123", "Plotly.newPlot")]
    assert places == sorted(places)
    assert "<td>–</td>" in page
    assert page.count("Plotly.newPlot") == 2 and 4_000_000 < len(page) < 5_500_000
    assert not list(tmp_path.glob("**/*.partial"))
