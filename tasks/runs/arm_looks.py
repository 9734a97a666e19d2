"""How arms are shown: hue by family and by what was taught, shade by dose, and a label in words, from the one palette.

Natural arms are blue; taught ones are red for first hops, orange to brown for second ones, pink to purple for both, the
darker the more was added; arms of another architecture are green to teal, whatever they were taught; controls are grey.

A marker's shape is left for what is measured on an arm, such as the phase. No two arms that occur in one figure have one
colour; tests/tasks/runs/test_arm_looks.py holds how far colours are apart, for readers with deuteranopia, too.
"""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from .theme import PALETTE

OTHER = "other arms"  # the family of those that the palette does not know


class ArmLook(NamedTuple):
    """Colour, label in words, and family of an arm."""

    colour: str
    label: str
    family: str


KNOWN = {name: ArmLook(**row) for name, row in PALETTE["arms"].items()}
HUES = {
    "natural": "natural: blue",
    "taught": "taught: first hop red, second orange–brown, both pink–purple",
    "architecture": "another architecture: green",
    "control": "control: grey",
    OTHER: OTHER,
}
"""The same for legends, by family."""
FREE: tuple[str, ...] = tuple(PALETTE["arms_unknown"])
"""What arms that the palette does not know are given, in this order."""
FAMILIES = (*dict.fromkeys(look.family for look in KNOWN.values()), OTHER)


def arm_looks(arms: Iterable[str]) -> dict[str, ArmLook]:
    """The look of each arm of one figure, by name, in the palette's order; those that it does not know have free colours.

    Where there are too few, colours come again: names at the marks tell those apart.

    >>> looks = arm_looks(["mine", "natural"])
    >>> looks["natural"].family, looks["mine"].label, looks["mine"].colour != looks["natural"].colour
    ('natural', 'mine', True)
    """
    names = list(dict.fromkeys(map(str, arms)))
    taken = {KNOWN[name].colour for name in names if name in KNOWN}
    free = itertools.cycle([colour for colour in FREE if colour not in taken] or FREE)
    known = {name: look for name, look in KNOWN.items() if name in names}
    return known | {name: ArmLook(next(free), name, OTHER) for name in names if name not in KNOWN}
