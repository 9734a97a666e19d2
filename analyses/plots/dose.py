"""Answers by the strength of an intervention: a figure of a table, which computes nothing."""

import pandas as pd
import plotly.graph_objects as go

from .style import band
from .theme import COLOURS, SHARE, TEMPLATE, literal


def dose_curves(table: pd.DataFrame, *, title: str) -> go.Figure:
    """The share of answers that follow by dose, a line with its band for each direction.

    Args:
        table: with the columns dose, direction, moved, moved_low and moved_high; rows of a direction by dose.
        title: of the figure; it should name n and what the bands are.
    """
    figure = go.Figure()
    for place, (direction, rows) in enumerate(table.groupby("direction", sort=False)):
        colour = COLOURS[place % len(COLOURS)]
        figure.add_scatter(**band(rows["dose"], rows["moved_low"], rows["moved_high"], colour))
        points = {"x": rows["dose"].tolist(), "y": rows["moved"].tolist(), "mode": "lines+markers", "marker": {"size": 5}}
        figure.add_scatter(**points, name=str(direction), line={"color": colour, "width": 2})
    figure.update_xaxes(title="dose: times the difference of two values")
    figure.update_yaxes(title="answers that follow", **SHARE)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))
