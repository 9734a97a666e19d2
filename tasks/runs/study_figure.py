"""The picture of a study: how accuracies grow in each arm."""

import math
from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from .arm_looks import arm_looks
from .axes import SHARE, log_axis
from .labels import literal
from .panels import panels
from .theme import GREYS, PHASE_SYMBOL, TEMPLATE, split_colours

MARKED = ("memorised", "id_generalised", "ood_generalised")  # phases
COLUMNS = 3  # panels in a row
ABOVE = 1.07  # where phases are marked, just above an accuracy of 1


def study_figure(frame: pd.DataFrame, phases: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """A panel for each arm, a line for each run and test split, the median over runs thick; phases as symbols above.

    Args:
        frame: as `Study.to_frame` gives it, of the splits to be shown.
        phases: by run, the step at which each phase begins.
    """
    colours = split_colours(frame["split"].unique())
    arms = dict(list(frame.groupby("arm", sort=False)))
    n_rows = math.ceil(len(arms) / COLUMNS)
    looks = arm_looks(map(str, arms))
    titles = [
        f"{looks[str(arm)].label} ({_count(rows['run'], 'run')}, {_count(rows['seed'], 'graph')})"
        for arm, rows in arms.items()
    ]
    spacing = {"horizontal_spacing": 0.03, "vertical_spacing": 0.38 / n_rows}
    figure = panels(titles, rows=n_rows, columns=min(COLUMNS, len(arms)), **spacing)
    for place, rows in enumerate(arms.values()):
        where = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        _add_curves(figure, rows, colours, where)
        _add_phases(figure, {run: phases[run] for run in rows["run"].unique()}, where, in_legend=place == 0)
    _add_legend(figure, frame, colours)
    figure.update_xaxes(title="training step", **log_axis(frame["step"]))
    figure.update_yaxes(range=[SHARE["range"][0], 2 * ABOVE - 1], tickvals=[0, 0.5, 1])
    figure.update_yaxes(title="exact match", col=1)
    legend = {"orientation": "h", "y": -0.3 / n_rows}
    title = (
        f"{_count(frame['run'], 'run')} on {_count(frame['seed'], 'graph')} · exact match: thin, a run; thick, their median"
    )
    size = {"height": 160 + 280 * n_rows, "margin": {"t": 70}, "meta": {"flow": True}}
    return literal(figure.update_layout(template=TEMPLATE, title=title, legend=legend, **size))


def _count(values: pd.Series, what: str) -> str:
    n = values.nunique()
    return f"{n} {what}" + ("s" if n > 1 else "")


def _add_legend(figure: go.Figure, frame: pd.DataFrame, colours: Mapping[str, str]) -> None:
    for split, rows in frame.groupby("split", sort=False):
        n = sorted(rows["n"].unique())
        label = f"{split}, thick the median (n = {n[0]}{f' to {n[-1]}' if len(n) > 1 else ''} a run)"
        line = {"color": colours[str(split)], "width": 2.5}
        figure.add_scatter(x=[None], y=[None], name=label, legendgroup=str(split), mode="lines", line=line, row=1, col=1)


def _add_curves(figure: go.Figure, rows: pd.DataFrame, colours: Mapping[str, str], where: Mapping[str, int]) -> None:
    for split, of_split in rows.groupby("split", sort=False):
        split = str(split)
        style = {"color": colours[split]}
        for run, of_run in of_split.groupby("run", sort=False):
            figure.add_scatter(
                x=of_run["step"].tolist(),
                y=of_run["accuracy"].tolist(),
                name=str(run),
                mode="lines",
                line=style | {"width": 0.8},
                opacity=0.4,
                showlegend=False,
                **where,
            )
        median = of_split.groupby("step")["accuracy"].median()
        figure.add_scatter(
            x=median.index.tolist(),
            y=median.tolist(),
            name=split,
            legendgroup=split,
            showlegend=False,
            mode="lines",
            line=style | {"width": 2.5},
            **where,
        )


def _add_phases(
    figure: go.Figure, phases: Mapping[str, Mapping[str, int]], where: Mapping[str, int], *, in_legend: bool
) -> None:
    for phase in MARKED:
        reached = {run: steps[phase] for run, steps in phases.items() if phase in steps}
        figure.add_scatter(
            x=list(reached.values()) or [None],
            y=[ABOVE] * max(1, len(reached)),
            text=list(reached),
            hovertemplate=f"%{{text}}: {phase} at %{{x:,}}<extra></extra>",
            name=f"{phase} (one for each run)",
            legendgroup=phase,
            showlegend=in_legend,
            mode="markers",
            marker={"symbol": PHASE_SYMBOL[phase], "size": 8, "color": GREYS["marker"], "opacity": 0.7},
            **where,
        )
