"""Figures of the claims: functions of tables that return plotly figures and compute nothing."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .style import error_bars
from .theme import COLOURS, GREYS, SHARE, TEMPLATE, apart, arm_looks, literal, panels

OPEN = dict.fromkeys(("undecided", "invalid", ""), GREYS["undecided"])
ROLE_SYMBOL = {"main": "circle", "falsifier": "diamond", "control": "square-open", "beside": "circle-open"}
ROW, BETWEEN = 28, 70  # pixels: of a quantity, and of the axis below a panel
SAYS_COLOUR = {"supported": COLOURS[2], "contradicted": COLOURS[1], **OPEN}


def quantity_rows(table: pd.DataFrame, *, title: str) -> go.Figure:
    """A panel for each kind of number and a line for each quantity: value and interval, coloured by what it says.

    Args:
        table: with the columns role, quantity, value, low, high, margin, says and, if they differ in it, kind.
        title: should name n and what the intervals are.
    """
    rows = table.dropna(subset="value")
    rows = rows.assign(quantity=apart(rows["quantity"]), kind=rows.get("kind", ""))
    kinds = list(dict.fromkeys(rows["kind"]))
    sizes = [int((rows["kind"] == kind).sum()) for kind in kinds]
    height = sum(sizes) * ROW + len(kinds) * BETWEEN
    spacing = {"row_heights": sizes or None, "vertical_spacing": BETWEEN / max(height, BETWEEN * 2)}
    figure = panels([], rows=max(1, len(kinds)), **spacing)
    for place, kind in enumerate(kinds, start=1):
        of_kind = rows[rows["kind"] == kind]
        _add_quantities(figure, of_kind, place)
        order = of_kind["quantity"].tolist()
        figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=order, row=place)
        figure.update_xaxes(title={"text": kind or "value", "standoff": 4}, row=place, **_range_of(kind))
    figure.update_yaxes(title="quantity")
    size = {"height": 110 + height, "margin": {"l": 20}}
    return literal(figure.update_layout(template=TEMPLATE, title=title, **size))


def _add_quantities(figure: go.Figure, rows: pd.DataFrame, place: int) -> None:
    traces: Any = figure.data
    named = {trace.legendgroup for trace in traces}
    for says, group in rows.groupby("says", sort=False):
        name = str(says) or "no rule"
        figure.add_scatter(
            x=group["value"].tolist(),
            y=group["quantity"].tolist(),
            error_x=error_bars(group["value"], group["low"], group["high"]),
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=name not in named,
            marker={
                "size": 9,
                "color": SAYS_COLOUR[str(says)],
                "symbol": [ROLE_SYMBOL.get(str(role), "circle") for role in group["role"]],
            },
            row=place,
            col=1,
        )
    bounded = rows.dropna(subset="margin")
    if len(bounded):
        tick = {"symbol": "line-ns-open", "size": 16, "color": GREYS["undecided"], "line": {"width": 2}}
        margins = {"x": bounded["margin"].tolist(), "y": bounded["quantity"].tolist(), "marker": tick, "mode": "markers"}
        legend = {"name": "margin", "legendgroup": "margin", "showlegend": "margin" not in named}
        figure.add_scatter(**margins, **legend, row=place, col=1)


def _range_of(kind: str) -> dict[str, Any]:
    """Shares end at 0 and 1, distances begin at 0."""
    return SHARE if kind.startswith("share") else {"rangemode": "tozero"}


def repair_bars(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Unmodified accuracy, and with the bridge or a random entity written at r1: a panel for each cell, a dot for each run.

    Args:
        table: with the columns run, arm, cell, accuracy, realigned and controlled.
        title: should name n.
    """
    cells, looks = list(dict.fromkeys(table["cell"])), arm_looks(table["arm"])
    figure = panels(cells, horizontal_spacing=0.03)
    kinds = {"accuracy": "unmodified", "realigned": "bridge as embedding", "controlled": "random entity as embedding"}
    for column, cell in enumerate(cells, start=1):
        rows = table[table["cell"] == cell]
        for place, (name, label) in enumerate(kinds.items()):
            figure.add_scatter(
                x=[looks[str(arm)].label for arm in rows["arm"]],
                y=rows[name].tolist(),
                text=rows["run"].tolist(),
                hovertemplate="%{text}: %{y:.3f}<extra></extra>",
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                marker={"color": COLOURS[place], "size": 9, "symbol": ("circle", "diamond", "x-thin-open")[place]},
                row=1,
                col=column,
            )
    figure.update_xaxes(title="trained from").update_yaxes(**SHARE).update_yaxes(title="exact match", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=440))


def exposure_points(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Accuracy against exposure, a panel for each hop.

    Args:
        table: with the columns hop, exposure, accuracy, low, high and n.
        title: should name n and what the intervals are.
    """
    hops = sorted(set(table["hop"]))
    titles = [f"fact of hop {hop}" for hop in hops]
    figure = panels(titles, horizontal_spacing=0.04)
    for column, hop in enumerate(hops, start=1):
        rows = table[table["hop"] == hop]
        figure.add_scatter(
            x=rows["exposure"].tolist(),
            y=rows["accuracy"].tolist(),
            error_y=error_bars(rows["accuracy"], rows["low"], rows["high"]),
            text=[f"n = {n}" for n in rows["n"]],
            mode="markers",
            marker={"color": COLOURS[0], "size": 9},
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_xaxes(title="trained compositions of the fact", rangemode="tozero", tickformat=",d")
    figure.update_yaxes(**SHARE).update_yaxes(title="exact match", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=380))
