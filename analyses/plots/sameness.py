"""Figures of how far models' paths are apart: functions of tables that return plotly figures and compute nothing."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .style import error_bars
from .theme import COLOURS, GREYS, TEMPLATE, literal, panels

ASIDE = 0.22  # of a row, by which replicates lie below what they are compared with
ROW, AROUND = 46, 230  # pixels: of a contrast, and of all else


def by_age_panels(points: pd.DataFrame, effects: pd.DataFrame, *, title: str) -> go.Figure:
    """A panel for each measure and a row for each contrast: graphs as points, typical values with bounds, margins.

    Args:
        points: with the columns measure, contrast, graph, distance and replicate_distance.
        effects: with the columns measure, contrast, varies, value, low, high and margin.
        title: should name n and what the bounds are.
    """
    measures = list(dict.fromkeys(effects["measure"]))
    labels = {row.contrast: f"{row.contrast} ({row.varies})" for row in effects.itertuples()}
    rows = {contrast: place for place, contrast in enumerate(labels)}
    figure = panels(measures, horizontal_spacing=0.04)
    for column, measure in enumerate(measures, start=1):
        of_measure, typical = (each[each["measure"] == measure] for each in (points, effects))
        for trace in (*_graphs(of_measure, rows), _typical(typical, rows)):
            figure.add_trace(trace.update(showlegend=column == 1), row=1, col=column)
        for margin in typical["margin"].dropna().unique():
            line = {"dash": "dash", "color": GREYS["undecided"], "width": 1.5}
            figure.add_vline(x=float(margin), line=line, opacity=1, row=1, col=column)  # pyright: ignore[reportArgumentType]
    ends = [len(rows) - 0.4, -0.6]
    figure.update_xaxes(title="distance (dashed: margin)", rangemode="tozero")
    figure.update_yaxes(tickvals=list(rows.values()), range=ends, zeroline=False)
    figure.update_yaxes(title="contrast (what differs)", ticktext=list(labels.values()), col=1)
    legend = {"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top"}
    height = AROUND + ROW * len(rows)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=height, legend=legend))


def _graphs(points: pd.DataFrame, rows: dict[Any, int]) -> list[go.Scatter]:
    """A point for each graph: its distance, and below it that of replicates, in grey."""
    kinds = (
        ("distance, a graph each", "distance", COLOURS[0], 0.0),
        ("replicates, a graph each", "replicate_distance", GREYS["undecided"], ASIDE),
    )
    return [
        go.Scatter(
            x=points[values].tolist(),
            y=[rows[contrast] + aside for contrast in points["contrast"]],
            text=[f"{each.contrast}, graph {each.graph}" for each in points.itertuples()],
            hovertemplate="%{text}: %{x:.3f}<extra></extra>",
            name=name,
            legendgroup=name,
            mode="markers",
            marker={"color": colour, "size": 8, "opacity": 0.6},
        )
        for name, values, colour, aside in kinds
    ]


def _typical(effects: pd.DataFrame, rows: dict[Any, int]) -> go.Scatter:
    """The typical distances with their bounds, above the graphs' points."""
    return go.Scatter(
        x=effects["value"].tolist(),
        y=[rows[contrast] - ASIDE for contrast in effects["contrast"]],
        text=[f"{each.contrast} ({each.varies})" for each in effects.itertuples()],
        hovertemplate="%{text}: %{x:.3f}<extra></extra>",
        error_x=error_bars(effects["value"], effects["low"], effects["high"]) | {"thickness": 2},
        name="typical, with bounds",
        legendgroup="typical",
        mode="markers",
        marker={"color": COLOURS[1], "size": 9, "symbol": "diamond"},
    )
