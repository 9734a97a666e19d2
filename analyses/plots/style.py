"""What figures share: names of layers and stages, error bars, bands, scales of heat maps."""

from typing import Any

import pandas as pd

from .theme import DIVERGING, SEQUENTIAL


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


def heat_scale(values: pd.Series, *, signed: bool = False, least: float = 1.0) -> dict[str, Any]:
    """Plotly's scale of a heat map: of amounts from 0 up; of what has a sign, as far down as up.

    Args:
        values: of all its panels.
        signed: whether they can be below 0 by nature; values that are below 0 have a sign anyway.
        least: how far it reaches at least, 1 for shares.

    >>> ends = [heat_scale(pd.Series(values)) for values in ([0.2, 0.5], [3.0], [-0.25, 0.1])]
    >>> [(scale["zmin"], scale["zmax"]) for scale in ends]
    [(0.0, 1.0), (0.0, 3.0), (-1.0, 1.0)]
    """
    largest = float(values.abs().max())
    end = max(least, largest if largest > 0 else 0.0) or 1.0  # and where there is no number at all
    if signed or (values < 0).any():
        return {"zmin": -end, "zmax": end, "colorscale": DIVERGING}
    return {"zmin": 0.0, "zmax": end, "colorscale": SEQUENTIAL}
