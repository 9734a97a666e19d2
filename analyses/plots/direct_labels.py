"""Names at the ends of lines, in place of a legend that would scroll: moved apart, each tied to its line."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from jaxtyping import Float
from numpy import arange, argsort, asarray, ndarray
from scipy.optimize import isotonic_regression

from .theme import GREYS, SMALL

LINE = 14  # pixels from one label to the next
LETTER = 6.2  # pixels, about
END = "end of a line"  # such names become a legend in a narrow window
AWAY = 16  # pixels from the end of a line to its name


class Label(NamedTuple):
    """A name at a place.

    Attributes:
        text: the name.
        x, y: the place, in the numbers of the axes, so log10 on a log axis.
        colour: of the line.
    """

    text: str
    x: float
    y: float
    colour: str


class Panel(NamedTuple):
    """Where names are written.

    Attributes:
        column: of the figure.
        width, height: in pixels. A panel is as high as it was asked to be and as wide as the window, so the width is that in
            a narrow one.
        span_x, span_y: what the axes span, in their numbers.
    """

    column: int
    width: float
    height: float
    span_x: float
    span_y: float


def apart_by(heights: Sequence[float], least: float) -> Float[ndarray, " label"]:
    """Heights in the same order with at least that much between them, as near to those given as can be.

    >>> apart_by([0.0, 1.0, 50.0], 10).tolist()
    [-4.5, 5.5, 50.0]
    """
    order = argsort(heights, kind="stable")
    steps = least * arange(len(order))
    found = asarray(heights, dtype=float)
    found[order] = isotonic_regression(found[order] - steps).x + steps
    return found


def width_of(labels: Sequence[str]) -> int:
    """Pixels that the longest takes, with its tie."""
    return AWAY + math.ceil(LETTER * max(map(len, labels), default=0))


def label_ends(figure: go.Figure, labels: Sequence[Label], panel: Panel) -> None:
    """Write each name to the right of its place; those that would touch are moved up and down."""
    for group in _together(labels, panel.width / panel.span_x):
        heights = [label.y * panel.height / panel.span_y for label in group]
        for label, shift in zip(group, apart_by(heights, LINE) - heights, strict=True):
            write_tied(figure, label, (AWAY, float(shift)), panel.column, width=1.2, gap=3, name=END)


def write_tied(
    figure: go.Figure,
    label: Label,
    offset: tuple[float, float],
    column: int,
    *,
    width: float = 1.0,
    gap: float = 0.0,
    name: str = "",
) -> None:
    """Write a name to the left or right of its place, with a thin tie to it.

    Args:
        figure: that is written on.
        label: the name and its place.
        offset: from the place to the name, to the right and up, in pixels.
        column: of the figure.
        width: of the tie, in pixels.
        gap: between the place and the tie, in pixels.
        name: what pages know the note by; see `assets/fitted.js`.
    """
    tie: Any = {"ax": offset[0], "ay": -offset[1], "arrowcolor": label.colour, "arrowhead": 0, "arrowwidth": width}
    look: Any = {"font": {"size": SMALL, "color": GREYS["marker"]}, "standoff": gap, "borderpad": 0}
    at: Any = {"x": label.x, "y": label.y, "xanchor": "left" if offset[0] > 0 else "right", "row": 1, "col": column}
    figure.add_annotation(text=label.text, name=name, showarrow=True, **tie, **look, **at)


def _together(labels: Sequence[Label], pixels: float) -> list[list[Label]]:
    """Labels in groups whose texts share no column of pixels with another group's."""
    groups: list[list[Label]] = []
    end = -math.inf
    for label in sorted(labels, key=lambda each: each.x):
        if label.x * pixels >= end or not groups:
            groups.append([])
        groups[-1].append(label)
        end = max(end, label.x * pixels + width_of([label.text]))
    return groups
