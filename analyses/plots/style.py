"""What figures share: names of layers and stages, error bars, bands."""

from typing import Any

import pandas as pd


def layer_name(layer: int) -> str:
    """What axes call a layer: `embed` for −1."""
    return "embed" if layer < 0 else f"L{layer}"


def stage_names(cells: pd.DataFrame) -> list[str]:
    """What axes call the stages of a table with a column layer, and perhaps `after`."""
    after = cells["after"] if "after" in cells else [""] * len(cells)
    words = {"attention": " attn"}
    return [f"{layer_name(layer)}{words.get(part, '')}" for layer, part in zip(cells["layer"], after, strict=True)]


def error_bars(value: pd.Series, low: pd.Series, high: pd.Series) -> dict[str, Any]:
    """Plotly's error bars of values with their intervals."""
    return {"array": (high - value).tolist(), "arrayminus": (value - low).tolist(), "symmetric": False}


def band(x: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    """A shaded area between two curves, for `add_scatter`."""
    places = x.tolist()
    area = {"x": places + places[::-1], "y": high.tolist() + low.tolist()[::-1]}
    look = {"fill": "toself", "fillcolor": colour, "opacity": 0.15, "mode": "none", "hoverinfo": "skip"}
    return area | look | {"showlegend": False}
