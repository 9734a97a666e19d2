"""Template, colours and text of every figure. A study draws its own curves, so the values are read in `tasks`, once."""

from ...tasks.runs.arm_looks import FAMILIES, HUES, arm_looks
from ...tasks.runs.axes import SHARE, log_axis
from ...tasks.runs.labels import apart, literal
from ...tasks.runs.theme import COLOURS, GREYS, PHASE_SYMBOL, SPLIT_COLOUR, TEMPLATE

__all__ = [
    "COLOURS",
    "FAMILIES",
    "GREYS",
    "HUES",
    "PHASE_SYMBOL",
    "SHARE",
    "SPLIT_COLOUR",
    "TEMPLATE",
    "apart",
    "arm_looks",
    "literal",
    "log_axis",
]
