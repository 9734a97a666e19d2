"""The colours and the template that every picture shares; see `circuits/assets/palette.json`, `circuits/figure_look.py`."""

from collections.abc import Iterable
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
    "split_colours",
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


def split_colours(splits: Iterable[str]) -> dict[str, str]:
    """A split's usual colour; for splits that have none those of the palette that are left, in turn."""
    names = list(splits)
    usual = {split: SPLIT_COLOUR[split] for split in names if split in SPLIT_COLOUR}
    in_turn = sorted(COLOURS, key=lambda colour: colour in usual.values())  # those that are left first
    others = [split for split in names if split not in usual]
    return {**usual, **{split: in_turn[place % len(in_turn)] for place, split in enumerate(others)}}
