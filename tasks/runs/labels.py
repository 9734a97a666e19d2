"""Text of figures, shown as it is: plotly reads `<…>` as markup, `&…;` as one character and `$…$` as a formula."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ...circuits.figure_text import escaped

INVISIBLE = "\u200b"
INHERITED = {
    *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString", "valueOf"),
    *("__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
}
"""What every object of a browser has: plotly takes categories of these names for known ones and does not show them."""


def literal(figure: go.Figure) -> go.Figure:
    """Escape every text of a finished figure once, and keep words on axes from being read as numbers or dates.

    Names, titles, notes, places on axes and texts of points; hover templates are ours and hold no names. Names in hovers
    are not shortened, which could cut an escaped sign in two.
    """
    for trace in figure.data:
        _trace(figure, trace)
    layout = figure.layout
    layout.hoverlabel.namelength = -1
    axes = [layout[name] for name in layout if name.startswith(("xaxis", "yaxis"))]
    for place in (layout, *axes):
        _if_there(place.title, "text", _escaped)
    for axis in axes:
        _if_there(axis, "categoryarray", _categories)
        _if_there(axis, "ticktext", _escaped)
    for note in layout.annotations:
        _if_there(note, "text", _escaped)
    return figure


def _trace(figure: go.Figure, trace: Any) -> None:
    for axis in "xy":
        _if_there(trace, axis, lambda values, axis=axis: _places(figure, trace, axis, values))
    for field in ("name", "text", "legendgroup"):
        _if_there(trace, field, _escaped)
    if "colorbar" in trace:
        _if_there(trace.colorbar.title, "text", _escaped)


def _if_there(holder: Any, field: str, change: Callable[[Any], Any]) -> None:
    if field in holder and holder[field] is not None:
        holder[field] = change(holder[field])


def _places(figure: go.Figure, trace: Any, axis: str, values: Any) -> Any:
    if not any(isinstance(value, str) for value in values):
        return values
    name = getattr(trace, f"{axis}axis", None) or axis
    figure.layout[f"{axis}axis{name[1:]}"].type = "category"
    return _categories(values)


def apart(labels: Iterable[str]) -> list[str]:
    """Labels of rows that stay rows of their own: plotly puts equal ones on one place, so equal ones differ by unseen signs.

    >>> [len(label) for label in apart(["a", "b", "a", "a"])]
    [1, 1, 2, 3]
    """
    seen: Counter[str] = Counter()
    found = []
    for label in map(str, labels):
        found.append(label + INVISIBLE * seen[label])
        seen[label] += 1
    return found


def _categories(values: Any) -> Any:
    return [f"{each}{INVISIBLE}" if each in INHERITED else each for each in _escaped(values)]


def _escaped(value: Any) -> Any:
    """A text, or a list of them at any depth; what is no text stays."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list | tuple | np.ndarray):
        return [_escaped(each) for each in value]
    return value
