"""The table of a comparison as it is read: every measure in words with its unit, counts as counts."""

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from .units import cell, fixed, interval
from .verdicts import ALIGNED, COUNTS, DISTANCE

NOTHING, OVERLAP = "–", r"overlap@(\d+)"
OUTSIDE = ("outside_a", "outside_b")
"""Measures of circuits with different roles, see `circuits.compare_counterparts`."""
WORDS = {
    "rank_correlation": "rank correlation of signed effects (−1 to 1)",
    "weighted_overlap": "weighted overlap of effects as shares of the gap (0 to 1)",
    DISTANCE: "Jensen–Shannon distance (0 is equal, 1 nothing in common)",
    ALIGNED: "the same after the best alignment of loops and heads",
    "dropped in alignment": "effects left out by the alignment (share)",
    "shared": "kept edges in both (number)",
    "lost": "kept edges in a only: lost from a to b (number)",
    "gained": "kept edges in b only: gained from a to b (number)",
    "outside_a": "effects of a without a counterpart in b (share of Σ |effect|)",
    "outside_b": "effects of b without a counterpart in a (share of Σ |effect|)",
}


def table_in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Text for each cell of a comparison's table; the sizes, which are in the caption, are left out."""
    return pd.DataFrame([_row(row) for row in table.to_dict("records")])


def _row(row: Mapping[Any, Any]) -> dict[str, str]:
    measure, value = str(row["measure"]), float(row["value"])
    return {
        "a": str(row["a"]),
        "b": str(row["b"]),
        "measure": _in_words(measure),
        "value": _value(measure, value),
        "95 % interval": interval(row["low"], row["high"]) or NOTHING,
        "chance: mean": cell(row["chance"]),
        "chance: 5 % most alike": cell(row["chance_bound"]),
        "p of chance": cell(row["p"]),
        "two halves of one circuit": cell(row["ceiling"]),
        "halves: 2.5 % least alike": cell(row.get("ceiling_bound", math.nan)),
    }


def _in_words(measure: str) -> str:
    if match := re.fullmatch(OVERLAP, measure):
        return f"overlap of the {match[1]} strongest edges (Jaccard, 0 to 1)"
    if match := re.fullmatch(r"weighted_overlap in (.+)", measure, re.DOTALL):
        return f"weighted overlap of effects in {match[1]} (0 to 1)"
    return WORDS.get(measure, measure)


def _value(measure: str, value: float) -> str:
    """Counts as counts; of an overlap also the numbers of edges whose ratio it is."""
    if measure in COUNTS and value == value // 1:
        return str(int(value))
    if (match := re.fullmatch(OVERLAP, measure)) and not math.isnan(value):
        either = 2 * int(match[1]) / (1 + value)
        return f"{fixed(value, 3)} ({round(value * either)} of {round(either)})"
    return cell(value)
