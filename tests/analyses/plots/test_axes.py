"""Axes of every figure that the package makes: named, of one quantity where they are matched, in plain numbers."""

from itertools import pairwise

import plotly.graph_objects as go
import pytest
from axes import problems
from every_figure import SHOWN, TABLES, figure
from plotly.subplots import make_subplots

from grokscope.analyses.plots.cost import CountAxis
from grokscope.analyses.plots.direct_labels import LINE, apart_by
from grokscope.tasks.runs.axes import log_axis


@pytest.mark.parametrize("name", [*SHOWN, *TABLES])
def test_axes_of_every_figure(name: str) -> None:
    made = figure(name)
    if made is not None:
        assert problems(made) == []


def planted(**axis: object) -> go.Figure:
    figure = make_subplots(cols=2, shared_yaxes=True)
    for column in (1, 2):
        figure.add_scatter(x=[1], y=[2], row=1, col=column)
    figure.update_xaxes(title="edges")
    figure.update_yaxes(title="steps", col=1)
    return figure.update_layout(yaxis2=axis)


PLANTED = {
    "some on a log scale": {"type": "log", "ticktext": ["1"]},
    "has no plain ticks": {"type": "log"},
    "has ticks ('10k',)": {"type": "log", "ticktext": ["10k"]},
    "y2 has no title": {"matches": None},
    "are matched and called": {"title": "losses"},
    "ends at (0, 1.3)": {"matches": None, "title": "exact match", "range": [0, 1.3]},
}


@pytest.mark.parametrize("said", PLANTED)
def test_a_planted_fault_is_seen(said: str) -> None:
    assert problems(planted()) == []
    assert said in "; ".join(problems(planted(**PLANTED[said])))


def test_an_axis_of_counts_has_a_real_zero() -> None:
    counts = CountAxis([0, 108, 485, 1786, 3519])
    assert counts.layout["ticktext"] == ["0", "100", "300", "1,000", "3,000"] and counts.broken
    assert counts.layout["tickvals"][0] == counts(0) == 0 < counts(1) + 2.5
    assert counts(1000) - counts(100) == pytest.approx(1) and counts.ends[0] < 0 < counts(3519) < counts.ends[1]
    assert CountAxis([0]).layout["ticktext"] == ["0"] and not CountAxis([5, 50]).broken


def test_ticks_of_log_axes_lie_inside_and_are_plain() -> None:
    for values in ([1, 1_000_000], [90, 1100], [5, 6], [7], [0.2, 30]):
        axis = log_axis(values)
        assert len(axis["tickvals"]) == len(axis["ticktext"]) <= 8 and axis["range"][0] < axis["range"][1]
        assert [float(text.replace(",", "")) for text in axis["ticktext"]] == pytest.approx(axis["tickvals"])
    assert log_axis([1, 1_000_000])["ticktext"][-1] == "1,000,000" and "ticktext" not in log_axis([float("nan")])


@pytest.mark.parametrize("seed", range(20))
def test_names_do_not_touch_and_stay_near(seed: int) -> None:
    heights = [(seed * 37 + place * place * 11) % 60 for place in range(9)]
    moved = apart_by(heights, LINE)
    order = sorted(range(9), key=lambda place: moved[place])
    gaps = [moved[after] - moved[before] for before, after in pairwise(order)]
    assert min(gaps) >= LINE - 1e-9 and sum(moved) == pytest.approx(sum(heights))
    assert [heights[place] for place in order] == sorted(heights)
