"""What is wrong with a figure's axes, as a reader would find it."""

import re
from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

SHARES = re.compile(r"(exact match|accuracy|share of (questions|graphs|trainings))\b")
MOST = 1.15  # where an axis of shares may end: room for markers
PLAIN = re.compile(r"[\d,]+(\.\d+)?")


def problems(figure: go.Figure) -> list[str]:
    """Every axis without a name, matched with another quantity, beyond 1 if of shares, or in other than plain numbers."""
    return [problem for letter in "xy" for problem in _problems(figure, letter)]


def _problems(figure: go.Figure, letter: str) -> Iterator[str]:
    axes = {
        axis.plotly_name.replace("axis", ""): axis
        for axis in (figure.select_xaxes() if letter == "x" else figure.select_yaxes())
        if axis.visible is not False
    }
    drawn = {getattr(trace, f"{letter}axis", None) or letter for trace in figure.data}
    axes = {name: axis for name, axis in axes.items() if name in drawn}
    groups: dict[str, list[str]] = {}
    for name, axis in axes.items():
        groups.setdefault(axis.matches or name, []).append(name)
    for group in groups.values():
        titled = [name for name in group if axes[name].title.text]
        for name in group:
            if not any(name == other or _beside(axes[name], axes[other]) for other in titled):
                yield f"{name} has no title"
        if len({axes[name].type == "log" for name in group}) > 1:
            yield f"{', '.join(group)} are matched, some on a log scale"
        if len({re.sub(r"[\d.]+", "", axes[name].title.text) for name in titled}) > 1:
            yield f"{', '.join(group)} are matched and called {[axes[name].title.text for name in titled]}"
        text = axes[titled[0]].title.text if titled else ""
        for name in group:
            yield from (f"{name}: {problem}" for problem in _of_scale(axes[name], text))


def _beside(axis: Any, other: Any) -> bool:
    """Whether the panels of two axes lie in one row or column, so that one title serves both."""
    return axis.plotly_name[0] == "y" or tuple(axis.domain) == tuple(other.domain)


def _of_scale(axis: Any, title: str) -> Iterator[str]:
    if SHARES.match(title) and axis.type != "log":
        if axis.range is None or axis.range[1] > MOST:
            yield f"{title} ends at {axis.range}"
        if axis.tickvals is None or max(axis.tickvals) > 1:
            yield f"{title} has ticks {axis.tickvals}"
    if axis.type == "log" and not axis.ticktext:
        yield f"{title} has no plain ticks"
    if axis.type == "log" and axis.ticktext and not all(map(PLAIN.fullmatch, axis.ticktext)):
        yield f"{title} has ticks {axis.ticktext}"
