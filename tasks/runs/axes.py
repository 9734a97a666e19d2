"""Axes that every figure shares: shares that end at 1, and log axes that say plain numbers."""

import math
from collections.abc import Iterable
from typing import Any

SHARE: dict[str, Any] = {"range": [-0.04, 1.05], "tickvals": [0, 0.25, 0.5, 0.75, 1]}
"""Of accuracies: a little room for markers, and no tick beyond 1."""
ROOM = 0.04  # of the width, on either side


def log_axis(values: Iterable[float], *, most: int = 8) -> dict[str, Any]:
    """A log axis over some counts: ticks at 1 and 3 times powers of ten, written out; at powers alone if more than `most`.

    >>> log_axis([90, 1100])["ticktext"]
    ['100', '300', '1,000']
    """
    found = [value for value in values if value > 0 and math.isfinite(value)]
    if not found:
        return {"type": "log", "dtick": 1}
    low, high = math.log10(min(found)), math.log10(max(found))
    room = ROOM * (high - low) or 0.1
    ends = [low - room, high + room]
    powers = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
    ticks = [tick for power in powers for tick in (10**power, 3 * 10**power) if ends[0] <= math.log10(tick) <= ends[1]]
    if len(ticks) > most:
        ticks = [10**power for power in powers if 10**power in ticks]
    if len(ticks) < 2:  # less than a third of a decade: its ends
        ticks = sorted({round(min(found), 3), round(max(found), 3)})
    return {"type": "log", "range": ends, "tickvals": ticks, "ticktext": list(map(_plain, ticks))}


def _plain(tick: float) -> str:
    return f"{tick:,.0f}" if tick == round(tick) else f"{tick:g}"
