"""Bars: shares by component or condition, with their intervals."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .style import error_bars, stage_names
from .theme import COLOURS, GREYS, SHARE, TEMPLATE, apart, literal, panels

FROM_0: dict[str, Any] = SHARE | {"range": [0, 1.05]}


def transplant_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Bars by component of the gap that its own and another model's activation restore, with their intervals."""
    figure = go.Figure()
    for colour, name, label in zip(COLOURS, ("own", "other"), ("own activation", "the other model's"), strict=False):
        error = error_bars(table[name], table[f"{name}_low"], table[f"{name}_high"]) | {"thickness": 1, "width": 2}
        bars = {"x": apart(table["node"]), "y": table[name].tolist(), "error_y": error}
        figure.add_bar(**bars, name=label, marker_color=colour)
    figure.update_xaxes(title="component").update_yaxes(title="share of the gap restored")
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))


def realignment_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Accuracy by layer, a panel for each form, bars for each entity with their intervals; unmodified accuracy dashed."""
    forms, entities = (list(dict.fromkeys(table[name])) for name in ("form", "entity"))
    figure = panels(forms, horizontal_spacing=0.04)
    for column, form in enumerate(forms, start=1):
        for colour, entity in zip(COLOURS, entities, strict=False):
            rows = table[(table["form"] == form) & (table["entity"] == entity)]
            error = error_bars(rows["accuracy"], rows["low"], rows["high"]) | {"thickness": 1, "width": 2}
            bars = {"x": stage_names(rows), "y": rows["accuracy"].tolist(), "error_y": error}
            style = {"name": entity, "legendgroup": entity, "showlegend": column == 1, "marker_color": colour}
            figure.add_bar(**bars, **style, row=1, col=column)
        dashed: Any = {"line": {"color": GREYS["guide"], "dash": "dash", "width": 1}, "row": 1, "col": column}
        figure.add_hline(y=table["baseline"].iloc[0], **dashed)
    figure.update_xaxes(title="rewritten after layer").update_yaxes(**FROM_0).update_yaxes(title="exact match", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))


def copies_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Bars by set of positions of the answers that follow an exchanged bridge, with intervals, and with random vectors."""
    error = error_bars(table["followed"], table["low"], table["high"]) | {"thickness": 1, "width": 2}
    roles, figure = apart(table["roles"]), go.Figure()
    figure.add_bar(x=roles, y=table["followed"].tolist(), error_y=error, name="bridge", marker_color=COLOURS[0])
    figure.add_bar(x=roles, y=table["random"].tolist(), name="random", marker_color=COLOURS[1])
    figure.update_xaxes(title="exchanged at").update_yaxes(title="answers that follow", **FROM_0)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))


def direction_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Bars by direction of the answers that follow it, with their intervals; empty if nothing was measured."""
    figure = go.Figure()
    if len(table):
        error = error_bars(table["value"], table["low"], table["high"]) | {"thickness": 1, "width": 2}
        figure.add_bar(x=apart(table["measure"]), y=table["value"].tolist(), error_y=error, marker_color=COLOURS[0])
    figure.update_xaxes(title="direction").update_yaxes(title="answers that follow", **FROM_0)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))
