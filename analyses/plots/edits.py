"""Whether composed questions follow an edit of a fact: a figure of tables, which computes nothing."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from .style import error_bars
from .theme import COLOURS, SHARE, TEMPLATE, apart, literal, panels

WIDTH, DOTS_LEFT = 0.6, 0.06  # of a place's distance from the next


def propagation_by_place(by_edit: pd.DataFrame, summary: pd.DataFrame, *, title: str) -> go.Figure:
    """Shares that follow by place and method, a panel for each split of facts and part; dots are edits.

    Args:
        by_edit: with the columns method, facts, part, place, edit and propagated.
        summary: the same without edit, with low, high, n_edits and n.
        title: should name n and what the intervals are.
    """
    names = list(dict.fromkeys(zip(summary["facts"], summary["part"], strict=True))) if len(summary) else []
    figure = panels([f"{facts}, {part} questions" for facts, part in names] or [""], horizontal_spacing=0.03)
    places, methods = (list(dict.fromkeys(summary[name] if len(summary) else [])) for name in ("place", "method"))
    for column, (facts, part) in enumerate(names, start=1):
        for number, method in enumerate(methods):
            shift, colour = (number - (len(methods) - 1) / 2) * WIDTH / len(methods), COLOURS[number % len(COLOURS)]
            means, dots = (_rows(table, facts, part, method) for table in (summary, by_edit))
            where: Any = {"row": 1, "col": column}
            figure.add_trace(_dots(dots, _at(dots, places, shift - DOTS_LEFT), colour, method), **where)
            figure.add_trace(_means(means, _at(means, places, shift), colour, method, in_legend=column == 1), **where)
        axis: Any = {"tickvals": list(range(len(places))), "ticktext": apart(places), "range": [-0.5, len(places) - 0.5]}
        figure.update_xaxes(**axis, title="the fact is used as", col=column)
    figure.update_yaxes(**SHARE).update_yaxes(title="answers that follow the edit", col=1)
    return literal(figure.update_layout(template=TEMPLATE, title=title, height=400))


def _rows(table: pd.DataFrame, facts: str, part: str, method: str) -> pd.DataFrame:
    return table[(table["facts"] == facts) & (table["part"] == part) & (table["method"] == method)]


def _at(rows: pd.DataFrame, places: list[str], shift: float) -> list[float]:
    """Where points stand: at their place, methods next to each other."""
    return [places.index(place) + shift for place in rows["place"]]


def _dots(rows: pd.DataFrame, x: list[float], colour: str, method: str) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=rows["propagated"].tolist(),
        text=[f"{method}, edit {row.edit}, n = {row.n:.0f} questions" for row in rows.itertuples()],
        hovertemplate="%{text}<br>%{y:.3f}<extra></extra>",
        mode="markers",
        legendgroup=method,
        showlegend=False,
        marker={"color": colour, "size": 6, "opacity": 0.4},
    )


def _means(rows: pd.DataFrame, x: list[float], colour: str, method: str, *, in_legend: bool) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=rows["propagated"].tolist(),
        error_y=error_bars(rows["propagated"], rows["low"], rows["high"]) | {"thickness": 1.5, "width": 3},
        text=[f"{method}, {row.n_edits} edits, {row.n} questions" for row in rows.itertuples()],
        hovertemplate="%{text}<br>%{y:.3f}<extra></extra>",
        mode="markers",
        name=method,
        legendgroup=method,
        showlegend=in_legend,
        marker={"color": colour, "size": 10, "symbol": "diamond"},
    )
