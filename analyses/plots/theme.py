"""Template, colours and text of every figure. A study draws its own curves, so the values are read in `tasks`, once."""

from ...tasks.runs.arm_looks import FAMILIES, HUES, arm_looks
from ...tasks.runs.axes import SHARE, log_axis
from ...tasks.runs.labels import apart, literal
from ...tasks.runs.panels import panels
from ...tasks.runs.theme import COLOURS, DIVERGING, GREYS, PHASE_SYMBOL, SEQUENTIAL, SMALL, TEMPLATE, TITLE, split_colours

__all__ = [
    "COLOURS",
    "DIVERGING",
    "FAMILIES",
    "GREYS",
    "HUES",
    "PHASE_SYMBOL",
    "SEQUENTIAL",
    "SHARE",
    "SMALL",
    "TEMPLATE",
    "TITLE",
    "apart",
    "arm_looks",
    "literal",
    "log_axis",
    "panels",
    "split_colours",
]
