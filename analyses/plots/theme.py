"""Template, colours and text of every figure. A study draws its own curves, so the values are read in `tasks`, once."""

from ...tasks.runs.labels import apart, literal
from ...tasks.runs.theme import COLOURS, GREYS, PHASE_SYMBOL, SPLIT_COLOUR, TEMPLATE

__all__ = ["COLOURS", "GREYS", "PHASE_SYMBOL", "SPLIT_COLOUR", "TEMPLATE", "apart", "literal"]
