"""What waiting costs against what was added to the training set: a figure of tables, which computes nothing."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .mark_labels import WIDTHS, Axes, Mark, label_marks
from .theme import GREYS, TEMPLATE, arm_looks, literal, log_axis, panels

HEIGHT, ABOVE, BELOW = 470, 60, 60  # pixels
ZERO = 1.1  # where the decades of an axis begin that has a 0
ASIDE = 0.09  # of a decade, between arms with as many added compositions
HALF = 0.04  # of a decade, by which the line of a median is longer than its points lie apart
NAMES = 1.3  # decades, room for names at the right


class CountAxis:
    """A log axis of counts with a real 0, which stands apart.

    Attributes:
        ends: of the axis, in decades.
        layout: plotly's settings of it.
    """

    def __init__(self, counts: Iterable[int]) -> None:
        """An axis for these counts."""
        counts = list(counts)
        some = [count for count in counts if count > 0]
        ticks = log_axis(some)
        self._first = ticks["range"][0] if some else 0.0
        self.ends = (-0.35 if 0 in counts else ZERO - 0.1, (self(max(some)) if some else 0.0) + NAMES)
        places = [self(10**power) for power in map(math.log10, ticks.get("tickvals", ()))]
        zero = ([0.0], ["0"]) if 0 in counts else ([], [])
        text = [*zero[1], *ticks.get("ticktext", ())]
        self.layout: dict[str, Any] = {"range": self.ends, "tickvals": [*zero[0], *places], "ticktext": text}
        self.broken = 0 in counts and bool(some)

    def __call__(self, count: float) -> float:
        """Where a count is, in decades."""
        return ZERO + math.log10(count) - self._first if count > 0 else 0.0


def cost_frontier(table: pd.DataFrame, medians: pd.DataFrame, *, title: str) -> go.Figure:
    """Steps against added compositions, a panel for each level; medians as lines with the names of their arms.

    Args:
        table: a row for each run and level with run, arm, added, level, step (NaN: not reached) and trained.
        medians: a row for each arm and level with arm, level, added and median (infinite: not reached by most graphs).
        title: should name n.
    """
    levels, looks = list(dict.fromkeys(table["level"])), arm_looks(table["arm"])
    figure = panels([], columns=len(levels), horizontal_spacing=0.08)
    steps, counts = log_axis([*table["step"], *table["trained"]]), CountAxis(table["added"])
    aside = _aside(medians)
    ends_x = counts.ends[0] - max(aside.values(), default=0.0), counts.ends[1]  # a mark outside would have no name
    for column, level in enumerate(levels, start=1):
        where: Any = {"row": 1, "col": column}
        marks: list[Mark] = []
        points: list[tuple[float, float]] = []
        for arm, rows in table[table["level"] == level].groupby("arm", sort=False):
            (of_arm,) = medians[(medians["arm"] == arm) & (medians["level"] == level)].to_dict("records")
            x = [counts(added) + aside[str(arm)] for added in rows["added"]]
            look, drawn = looks[str(arm)], rows["step"].fillna(rows["trained"])
            figure.add_trace(_points(rows, x, drawn, look.colour, look.label), **where)
            points += zip(x, np.log10(drawn), strict=True)
            height, ends = float(of_arm["median"]), (min(x) - HALF, max(x) + HALF)
            if math.isfinite(height):
                line = {"color": look.colour, "width": 3}
                figure.add_scatter(x=ends, y=[height] * 2, mode="lines", line=line, hoverinfo="skip", **where)
            else:
                height = float(np.median(drawn))
            marks.append(Mark(look.label, ends, math.log10(height), look.colour))
        label_marks(figure, marks, points, Axes(column, HEIGHT - ABOVE - BELOW, ends_x, tuple(steps["range"])))
        named = f"steps until OOD+OOD accuracy stays at {level:g}"
        figure.update_yaxes(title=named, showticklabels=True, **steps, **where)
        if counts.broken:
            mark: Any = {"x": ZERO / 2, "y": 0, "yanchor": "middle", "yref": "y domain"}
            figure.add_annotation(text="//", showarrow=False, font={"color": GREYS["marker"]}, **mark, **where)
    axis: dict[str, Any] = counts.layout | {"title": "added compositions", "range": ends_x}
    figure.update_xaxes(axis)
    margin = {"t": ABOVE, "b": BELOW}
    size = {"height": HEIGHT, "margin": margin, "meta": {"least": WIDTHS[0]}}
    return literal(figure.update_layout(template=TEMPLATE, title=title, showlegend=False, **size))


def _points(rows: pd.DataFrame, x: list[float], y: pd.Series, colour: str, name: str) -> go.Scatter:
    symbols = ["triangle-up-open" if missing else "circle" for missing in rows["step"].isna()]
    return go.Scatter(
        x=x,
        y=y.tolist(),
        text=[f"{run}: {added:,} added" for run, added in zip(rows["run"], rows["added"], strict=True)],
        hovertemplate="%{text}, step %{y:,}<extra></extra>",
        name=name,
        mode="markers",
        marker={"color": colour, "size": 8, "symbol": symbols, "opacity": 0.75},
    )


def _aside(medians: pd.DataFrame) -> dict[str, float]:
    """By arm, how far it is moved aside from others with as many added compositions."""
    found: dict[str, float] = {}
    for _, same in medians.drop_duplicates("arm").groupby("added"):
        middle = (len(same) - 1) / 2
        found |= {str(arm): (place - middle) * ASIDE for place, arm in enumerate(same["arm"])}
    return found
