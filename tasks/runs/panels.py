"""Panels of a figure, with titles of one size."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .theme import TITLE


def panels(titles: Sequence[str], *, rows: int = 1, columns: int | None = None, **spacing: Any) -> go.Figure:
    """A figure of empty panels that share their heights' axis row by row.

    Args:
        titles: of the panels, row by row.
        rows: how many.
        columns: how many; as many as titles if not given.
        spacing: what `make_subplots` takes.
    """
    settings: dict[str, Any] = {"shared_yaxes": True} | spacing
    columns = max(1, len(titles) if columns is None else columns)
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=list(titles) or None, **settings)
    return figure.update_annotations(font={"size": TITLE})
