"""Panels of what decides: bands, graphs stacked with their number, and rows of which nothing is known."""

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import pytest

from grokscope.analyses.plots.deciding import ASIDE, LEAST, SAYS, deciding_panels

nan = math.nan
COLUMNS = ["panel", "kind", "line", "value", "low", "high", "band_low", "band_high", "n", "says", "against", "unclear"]


def lines(*rows: dict[str, Any]) -> pd.DataFrame:
    plain = {"panel": "where", "kind": "distance", "line": "causal", "value": 0.05, "low": 0.01, "high": 0.08}
    plain |= {"band_low": 0.0, "band_high": 0.1, "n": 5, "says": "supported", "against": "margin .1", "unclear": 0}
    return pd.DataFrame([plain | row for row in rows], columns=pd.Index(COLUMNS))


def points(*rows: tuple[str, str, object, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=pd.Index(["panel", "line", "graph", "value"]))


EMPTY: dict[str, Any] = {"value": nan, "low": nan, "high": nan, "n": 0, "says": "undecided"}


def traces(figure: go.Figure, name: str) -> list[Any]:
    return [trace for trace in figure.data if trace.name == name]


def test_the_band_is_where_a_quantity_supports() -> None:
    two = lines({}, {"panel": "how much", "band_low": 0.9, "band_high": 1.0, "kind": "share of questions"})
    figure = deciding_panels(two, points(), title="t")
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(0.0, 0.1), (0.9, 1.0)]
    assert [shape.xref for shape in figure.layout.shapes] == ["x", "x2"]
    one_sided = deciding_panels(lines({"band_low": -1.0}), points(), title="t")
    assert one_sided.layout.shapes[0].x0 == LEAST  # there is no lower end
    assert not deciding_panels(lines({"band_low": nan, "band_high": nan}), points(), title="t").layout.shapes


def test_estimates_are_drawn_with_bounds_in_the_colour_of_what_they_say() -> None:
    rows = {"line": "b", "says": "contradicted", "value": 0.4, "low": 0.2, "high": 0.7}, {"line": "c", "says": ""}
    figure = deciding_panels(lines({}, *rows), points(), title="one-sided bounds")
    (supported,), (contradicted,), (no_rule,) = (traces(figure, name) for name in ("supported", "contradicted", "no rule"))
    assert list(contradicted.x) == [0.4] and contradicted.marker.color == SAYS["contradicted"]
    assert contradicted.error_x.array[0] == pytest.approx(0.3) and contradicted.error_x.arrayminus[0] == pytest.approx(0.2)
    assert supported.y[0] == 0 - ASIDE / 2 and contradicted.y[0] == 1 - ASIDE / 2 and no_rule.y[0] == 2 - ASIDE / 2
    assert supported.error_x.color == SAYS["supported"] != no_rule.error_x.color
    assert list(figure.layout.yaxis.ticktext) == ["causal, n = 5", "b, n = 5", "c, n = 5"]
    assert figure.layout.title.text == "one-sided bounds"


def test_graphs_at_one_place_are_one_dot_with_their_number() -> None:
    found = points(("where", "causal", 1, 0.0), ("where", "causal", 2, 0.0), ("where", "causal", 3, 0.9),
                   ("where", "b", 1, 0.0))  # fmt: skip
    figure = deciding_panels(lines({}, {"line": "b"}), found, title="t")
    (dots,) = traces(figure, "a graph")
    assert list(zip(dots.x, dots.y, dots.text, strict=True)) == [
        (0.0, ASIDE, " 2 graphs"), (0.9, ASIDE, ""), (0.0, 1 + ASIDE, ""),
    ]  # fmt: skip
    assert list(dots.customdata) == ["graphs 1, 2", "graph 3", "graph 1"]
    assert list(dots.textposition) == ["middle right", "middle left", "middle right"]


def test_names_of_graphs_are_no_markup() -> None:
    figure = deciding_panels(lines({}), points(("where", "causal", "<b>1</b>", 0.1)), title="<i>t</i>")
    assert traces(figure, "a graph")[0].customdata[0] == "graph &lt;b&gt;1&lt;/b&gt;"
    assert figure.layout.title.text == "&lt;i&gt;t&lt;/i&gt;"


def test_each_name_stands_once_in_the_legend() -> None:
    figure = deciding_panels(
        lines({}, {"panel": "p2"}, {"panel": "p2", "line": "b", "says": "undecided"}), points(), title="t"
    )
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == ["a graph", "supported", "undecided"]
    assert len(traces(figure, "supported")) == 2


@pytest.mark.parametrize("place", range(3))
def test_a_row_without_a_number_keeps_its_line_and_breaks_nothing(place: int) -> None:
    rows = [{"line": "a"}, {"line": "b"}, {"line": "c"}]
    rows[place] |= EMPTY | {"kind": "", "band_low": nan, "band_high": nan}
    figure = deciding_panels(lines(*rows), points(("where", "abc"[place - 1], 1, 0.2)), title="t")
    assert [text.split(",")[0] for text in figure.layout.yaxis.ticktext] == ["a", "b", "c"]
    (drawn,) = traces(figure, "supported")
    assert list(drawn.y) == [number - ASIDE / 2 for number in range(3) if number != place]
    assert figure.layout.xaxis.title.text == "where: distance" and len(figure.layout.shapes) == 1


def test_the_axis_of_shares_is_whole_even_if_the_first_row_has_no_kind() -> None:
    figure = deciding_panels(lines({**EMPTY, "kind": ""}, {"line": "b", "kind": "share of questions"}), points(), title="t")
    assert figure.layout.xaxis.title.text == "where: share of questions" and tuple(figure.layout.xaxis.range) == (
        -0.02,
        1.02,
    )


def test_a_panel_of_nothing_measured_says_so() -> None:
    empty = EMPTY | {"kind": "", "band_low": nan, "band_high": nan}
    figure = deciding_panels(lines(empty, {"line": "b", **empty}), points(), title="t")
    assert figure.layout.xaxis.title.text == "where: not measured" and not figure.layout.shapes
    assert [trace.name for trace in figure.data] == ["a graph"] and not figure.data[0].x
    assert list(figure.layout.yaxis.ticktext) == ["causal, n = 0", "b, n = 0"]


def test_of_no_lines_at_all_there_is_an_empty_figure() -> None:
    figure = deciding_panels(lines(), points(), title="nothing")
    assert not figure.data and figure.layout.title.text == "nothing" and figure.layout.height > 0
    assert figure.to_json()


def test_a_panel_is_as_high_as_it_has_lines() -> None:
    rows = [{"line": f"{number}", "panel": "p1"} for number in range(6)] + [{"panel": "p2"}]
    figure = deciding_panels(lines(*rows), points(), title="t")
    (low, high), (low2, high2) = figure.layout.yaxis.domain, figure.layout.yaxis2.domain
    assert (high - low) / (high2 - low2) == pytest.approx(6) and figure.layout.height > deciding_panels(
        lines({}), points(), title="t"
    ).layout.height  # fmt: skip


def test_a_line_says_on_how_many_graphs_nothing_can_be_said() -> None:
    named = deciding_panels(lines({"unclear": 3}, {"line": "other"}), points(), title="t").layout.yaxis.ticktext
    assert named == ("causal, n = 5, 3 unclear", "other, n = 5")
