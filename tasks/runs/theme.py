"""The colours and the template that every picture shares; see `circuits/assets/palette.json`, `circuits/figure_look.py`."""

from typing import Any

from ...circuits.figure_look import DIVERGING, PALETTE, SEQUENTIAL, SMALL, TITLE, template

__all__ = [
    "COLOURS",
    "DIVERGING",
    "GREYS",
    "PALETTE",
    "PHASE_SYMBOL",
    "SEQUENTIAL",
    "SMALL",
    "SPLIT_COLOUR",
    "TEMPLATE",
    "TITLE",
]

COLOURS: tuple[str, ...] = tuple(PALETTE["hues"][hue] for hue in PALETTE["series"])
GREYS: dict[str, str] = PALETTE["greys"]
SPLIT_COLOUR: dict[str, str] = PALETTE["splits"]
TEMPLATE: dict[str, Any] = template()
PHASE_SYMBOL = {
    "memorised": "square",
    "id_generalised": "triangle-down",
    "before": "diamond",  # the last saved step before OOD answers, of runs that know the OOD facts
    "ood_generalised": "star",
    "final": "circle",
}
