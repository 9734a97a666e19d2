"""Figures of how far models' paths are apart: functions of tables that return plotly figures and compute nothing."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import error_bars
from .theme import COLOURS, GREYS, TEMPLATE, literal


def by_age_panels(points: pd.DataFrame, effects: pd.DataFrame, *, title: str) -> go.Figure:
    """A panel for each measure and a place for each contrast: graphs as points, typical values with bounds, margins.

    Args:
        points: with the columns measure, contrast, graph, distance and replicate_distance.
        effects: with the columns measure, contrast, varies, value, low, high and margin.
        title: should name n and what the bounds are.
    """
    measures = list(dict.fromkeys(effects["measure"]))
    figure = make_subplots(rows=1, cols=max(1, len(measures)), subplot_titles=measures, horizontal_spacing=0.06)
    for column, measure in enumerate(measures, start=1):
        place = {"row": 1, "col": column}
        of_measure, typical = points[points["measure"] == measure], effects[effects["measure"] == measure]
        look = {"showlegend": column == 1, "mode": "markers"}
        for name, values, colour in (
            ("replicates, a graph each", "replicate_distance", GREYS["undecided"]),
            ("distance, a graph each", "distance", COLOURS[0]),
        ):
            figure.add_scatter(
                x=of_measure["contrast"].tolist(),
                y=of_measure[values].tolist(),
                text=[f"graph {graph}" for graph in of_measure["graph"]],
                name=name,
                legendgroup=name,
                marker={"color": colour, "size": 7, "opacity": 0.7},
                **look,
                **place,
            )
        figure.add_scatter(
            x=typical["contrast"].tolist(),
            y=typical["value"].tolist(),
            text=typical["varies"].tolist(),
            error_y=error_bars(typical["value"], typical["low"], typical["high"]),
            name="typical, with bounds",
            legendgroup="typical",
            marker={"color": COLOURS[1], "size": 11, "symbol": "line-ew-open"},
            **look,
            **place,
        )
        for margin in typical["margin"].dropna().unique():
            figure.add_hline(y=float(margin), line={"dash": "dash", "color": GREYS["undecided"]}, **place)
    figure.update_yaxes(title="distance", rangemode="tozero", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=480))
