"""The colours that every picture shares: Okabe and Ito's, which colour-blind readers can tell apart."""

from ..questions.twohop import SPLITS

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
TEMPLATE = "simple_white"
SPLIT_COLOUR: dict[str, str] = dict(
    zip(SPLITS, ("#999999", "#56b4e9", "#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True)
)
