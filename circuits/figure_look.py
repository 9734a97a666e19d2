"""How every plotly figure looks, on light and on dark ground, as data: template, and the two scales of heat maps.

A figure is made for light ground. A page on dark ground puts the other template in place of its own, and colours as
`on_dark` says; see `analyses/page`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PALETTE: dict[str, Any] = json.loads((Path(__file__).parent / "assets" / "palette.json").read_text(encoding="utf-8"))
TEXT, TITLE, SMALL = 12, 13, 11  # pixels: of axes, of a figure's title and of its panels', of legends
BAR, TICK = 12, 4  # pixels: thickness of a colour bar, length of a tick

Scale = list[tuple[float, str]]


def _scale(colours: Sequence[str]) -> Scale:
    """Colours at equal steps from 0 to 1, as plotly wants them."""
    return [(round(place / (len(colours) - 1), 4), colour) for place, colour in enumerate(colours)]


SEQUENTIAL = _scale(PALETTE["sequential"])
"""Of amounts: the more, the further from the ground."""
DIVERGING = _scale(PALETTE["diverging"])
"""Of what has a sign: orange below 0, blue above, the ground between."""


def template(*, dark: bool = False) -> dict[str, Any]:
    """Plotly's template of every figure: one font, no grid, numbers written out, colour bars of one size."""
    page = PALETTE["report_on_dark" if dark else "report"]
    axis = {
        **dict.fromkeys(("linecolor", "tickcolor", "zerolinecolor"), page["soft"]),
        **{"gridcolor": page["line"], "showgrid": False, "zeroline": False, "showline": True, "automargin": True},
        **{"ticks": "outside", "ticklen": TICK},
        **{"exponentformat": "none", "separatethousands": True, "hoverformat": ",.3~f"},
    }
    bar = {"outlinewidth": 0, "thickness": BAR, "ticks": "outside", "ticklen": TICK, "tickcolor": page["soft"]}
    heat = {"colorbar": bar | {"exponentformat": "none", "separatethousands": True}, "xgap": 1, "ygap": 1}
    layout = {
        **{"font": {"family": PALETTE["font"], "size": TEXT, "color": page["ink"]}, "title": {"font": {"size": TITLE}}},
        **dict.fromkeys(("paper_bgcolor", "plot_bgcolor"), page["paper"]),
        **{
            "xaxis": axis,
            "yaxis": axis | {"title": {"standoff": 12}},
            "colorway": _on(dark, [PALETTE["hues"][hue] for hue in PALETTE["series"]]),
        },
        **{"autotypenumbers": "strict", "hovermode": "closest", "legend": {"font": {"size": SMALL}, "tracegroupgap": 0}},
        **{"hoverlabel": {"align": "left", "font": {"family": PALETTE["font"]}}},
        **{"annotationdefaults": {"arrowhead": 0, "arrowwidth": 1}},
    }
    bars = {"type": "bar", "error_x": {"color": page["ink"]}, "error_y": {"color": page["ink"]}}
    return {"layout": layout, "data": {"heatmap": [{"type": "heatmap", **heat}], "bar": [bars]}}


def on_dark() -> dict[str, str]:
    """What stands on dark ground for each colour that would not be seen there."""
    scales = [zip(PALETTE[name], PALETTE[f"{name}_on_dark"], strict=True) for name in ("sequential", "diverging")]
    return PALETTE["on_dark"] | {light: dark for scale in scales for light, dark in scale}


def _on(dark: bool, colours: Sequence[str]) -> list[str]:
    return [PALETTE["on_dark"].get(colour, colour) if dark else colour for colour in colours]
