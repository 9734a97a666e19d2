"""Names among marks: each near what it names, where nothing else is, with a thin tie to it.

A panel is as wide as the window and texts stay as they are, so a place is judged in panels of several widths at once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Bool, Float, Num

from .direct_labels import LETTER, LINE, Label, write_tied

WIDTHS = (380, 480, 640)  # pixels of a panel
FREE = 7  # pixels around the middle of a mark
STEP, NEAR, FAR = 8, 12, 160  # pixels: between the places that are tried, to the first and to the last ones
HIDES, CROSSES = 1e4, 80.0  # what it costs to hide something, and to lead a tie over it, in pixels of a longer tie

Points = Float[np.ndarray, "n width 2"]
"""In pixels, in each width of a panel."""


class Mark(NamedTuple):
    """A line that is named.

    Attributes:
        text: the name.
        ends: left and right, in the numbers of the axis, which are log10 on a log axis.
        y: the height.
        colour: of the line.
    """

    text: str
    ends: tuple[float, float]
    y: float
    colour: str


class Axes(NamedTuple):
    """Where names are written: the column of the figure, its height in pixels, and the ends of its axes."""

    column: int
    height: float
    x: tuple[float, float]
    y: tuple[float, float]


class Places(NamedTuple):
    """Where one name could stand: offsets in pixels from the mark, ends of ties, and corners of texts."""

    offsets: Float[np.ndarray, "n 2"]
    start: Points
    end: Points
    low: Points
    high: Points

    def only(self, place: int) -> "Places":
        """One of them."""
        return Places(*(each[place : place + 1] for each in self))


def label_marks(figure: go.Figure, marks: Sequence[Mark], points: Sequence[tuple[float, float]], axes: Axes) -> None:
    """Write each name at the nearest place at which it hides no point, line, name or tie.

    Args:
        figure: that is written on.
        marks: that are named.
        points: that are drawn, too, in the numbers of the axes.
        axes: where.
    """
    lines = [(x, mark.y) for mark in marks for x in np.linspace(*mark.ends, 3)]
    drawn = _pixels(np.unique(np.array([*points, *lines]), axis=0), axes)
    written: list[Places] = []
    for mark in sorted(marks, key=lambda each: each.ends):
        tried = _tried(mark, axes)
        best = int(np.argmin(_cost(tried, drawn, written, axes)))
        written.append(tried.only(best))
        across, up = map(float, tried.offsets[best])
        label = Label(mark.text, mark.ends[int(across > 0)], mark.y, mark.colour)
        write_tied(figure, label, (across, up), axes.column)


def _pixels(points: Float[np.ndarray, "n 2"], axes: Axes) -> Points:
    scale = np.array([(width / (axes.x[1] - axes.x[0]), axes.height / (axes.y[1] - axes.y[0])) for width in WIDTHS])
    return (points - (axes.x[0], axes.y[0]))[:, None] * scale


def _tried(mark: Mark, axes: Axes) -> Places:
    """To the left and to the right of a mark, above and below."""
    across, up = np.arange(NEAR, FAR, STEP), np.arange(0, FAR, STEP)
    offsets = np.array([(x, y) for x in (*across, *-across) for y in (*up, *-up[1:])], dtype=float)
    to_right = offsets[:, 0] > 0
    start = _pixels(np.array([(mark.ends[int(right)], mark.y) for right in to_right]), axes)
    end = start + offsets[:, None]
    size = np.array([LETTER * len(mark.text) + 2, LINE])
    low = end - np.where(to_right[:, None], [0, size[1] / 2], [size[0], size[1] / 2])[:, None]
    return Places(offsets, start, end, low, low + size)


def _cost(
    tried: Places, drawn: Float[np.ndarray, "mark width 2"], written: Sequence[Places], axes: Axes
) -> Num[np.ndarray, " n"]:
    room = np.array([(width, axes.height) for width in WIDTHS])
    hidden = ((tried.low < 0) | (tried.high > room)).any(axis=2).sum(axis=1)
    hidden = hidden + sum(_inside(point, tried, FREE - 2) for point in drawn)
    over = sum(_led_over(point, tried) for point in drawn)
    for other in written:
        hidden = hidden + ((tried.low < other.high) & (other.low < tried.high)).all(axis=2).sum(axis=1)
        along = np.linspace(0, 1, 12)[:, None, None]
        hidden = hidden + sum(_inside(point, tried, 1) for point in (other.start + along * (other.end - other.start)))
        hidden = hidden + sum(_inside(tried.start + part * (tried.end - tried.start), other, 1) for part in along)
        over = over + _crossed(tried, other)
    return np.hypot(*tried.offsets.T) + HIDES * hidden + CROSSES * over


def _inside(point: Points | Float[np.ndarray, "width 2"], places: Places, room: float) -> Num[np.ndarray, " n"]:
    """In how many widths a point lies under a text, or nearly."""
    return ((point > places.low - room) & (point < places.high + room)).all(axis=-1).sum(axis=-1)


def _led_over(point: Float[np.ndarray, "width 2"], tried: Places) -> Num[np.ndarray, " n"]:
    """In how many widths a tie runs over a mark, but for those that touch the mark which is named."""
    tie, away = tried.end - tried.start, point - tried.start
    part = np.clip((away * tie).sum(axis=2) / (tie * tie).sum(axis=2), 0, 1)[..., None]
    near = ((away - part * tie) ** 2).sum(axis=2) < (FREE - 2) ** 2
    return (near & ((away**2).sum(axis=2) > FREE**2)).sum(axis=1)


def _crossed(tried: Places, other: Places) -> Num[np.ndarray, " n"]:
    """In how many widths two ties cross."""

    def side(
        a: Float[np.ndarray, "#n width 2"], b: Float[np.ndarray, "#n width 2"], c: Float[np.ndarray, "#n width 2"]
    ) -> Bool[np.ndarray, "n width"]:
        return (b - a)[..., 0] * (c - a)[..., 1] > (b - a)[..., 1] * (c - a)[..., 0]

    one = side(tried.start, tried.end, other.start) != side(tried.start, tried.end, other.end)
    two = side(other.start, other.end, tried.start) != side(other.start, other.end, tried.end)
    return (one & two).sum(axis=1)
