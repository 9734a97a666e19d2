"""Figures look alike: one template, the palette's colours, two scales, one format of numbers; each says of how many."""

import plotly.graph_objects as go
import pytest
from every_figure import SHOWN, TABLES, figure
from looks import problems

from grokscope.circuits.figure_look import DIVERGING, SEQUENTIAL, template


@pytest.mark.parametrize("name", [*SHOWN, *TABLES])
def test_looks_of_every_figure(name: str) -> None:
    made = figure(name)
    if made is not None:
        assert problems(made) == []


def planted(**trace: object) -> go.Figure:
    return go.Figure(go.Heatmap(z=[[1]], **trace)).update_layout(template=template(), title="n = 3")


PLANTED = {
    "another scale": {"colorscale": "Viridis"},
    "another colour: #123456": {"textfont": {"color": "#123456"}},
    "another format: .2g": {"hovertemplate": "%{z:.2g}"},
    "another bar: 30": {"colorbar": {"thickness": 30}},
    "another size: 17": {"colorbar": {"title": {"font": {"size": 17}}}},
}


@pytest.mark.parametrize("said", PLANTED)
def test_a_planted_fault_is_seen(said: str) -> None:
    assert problems(planted(colorscale=DIVERGING)) == problems(planted(colorscale=SEQUENTIAL)) == []
    assert said in "; ".join(problems(planted(**PLANTED[said])))


def test_a_figure_without_its_n_or_template_is_seen() -> None:
    assert problems(planted().update_layout(title="all of it")) == ["nothing says of how many: all of it"]
    assert problems(planted().update_layout(template="plotly")) == ["another template"]
