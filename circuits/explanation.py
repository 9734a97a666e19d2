"""What a result says in plain sentences: what was measured, on what, what that means, how sure, what would change it."""

import dataclasses
import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .plain_text import counted, plain, shortened
from .units import interval, shown, size_of_gap

LONGEST_ANSWER = 1_000  # characters; names can be of any length


@dataclass(frozen=True)
class Explanation:
    """Five answers about a result, each one or two sentences that are made from its fields. Prints them, a line each.

    Attributes:
        measured: what was measured, and how.
        on: which model, questions and places it was measured on, with n.
        means: the result's main number, and what such a number means.
        sure: its interval, or what else says how far to trust it; where there is none, that is said.
        would_change: what another result would take: a threshold that was not crossed, a choice that was made.

    >>> print(Explanation("How many.", "On 3 questions.", "2 are right.", "Of 3 little can be said.", "More questions."))
    What was measured: How many.
    On what: On 3 questions.
    What it means: 2 are right.
    How sure: Of 3 little can be said.
    What would change it: More questions.
    """

    measured: str
    on: str
    means: str
    sure: str
    would_change: str

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # names may be any text, an answer is one line
            object.__setattr__(self, field.name, shortened(getattr(self, field.name), LONGEST_ANSWER))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Question and answer, in the order in which they are read."""
        return zip(QUESTIONS, dataclasses.astuple(self), strict=True)

    def __str__(self) -> str:
        return "\n".join(f"{question}: {answer}" for question, answer in self)

    def __repr__(self) -> str:
        return plain(str(self))

    def _repr_html_(self) -> str:
        rows = "".join(f"<dt>{question}</dt><dd>{html.escape(answer)}</dd>" for question, answer in self)
        return f"<dl>{rows}</dl>"


QUESTIONS = ("What was measured", "On what", "What it means", "How sure", "What would change it")


def without_rows(who: str) -> Explanation:
    """Of a result whose table is empty."""
    return Explanation("Nothing: the table has no rows.", f"{who}, 0 rows.", *["Nothing: the table has no rows."] * 3)


def bounds_in_words(low: float, high: float, digits: int = 2, *, over: str = "resampled units") -> str:
    """The sentence on a 95 % interval.

    >>> bounds_in_words(0.1, 0.25), bounds_in_words(float("nan"), float("nan"))
    ('The 95 % interval over resampled units is [0.10, 0.25].', 'No interval was computed.')
    """
    bounds = interval(low, high, digits)
    return f"The 95 % interval over {over} is {bounds}." if bounds else "No interval was computed."


def counted_units(row: Mapping[Any, Any], one: str = "prompt pair", several: str = "") -> str:
    """How many pairs or other questions, and of how many units, which old files do not say.

    >>> counted_units({"n": 12, "n_units": 4}), counted_units({"n": 1})
    ('12 prompt pairs over 4 units', '1 prompt pair')
    """
    n_units = row.get("n_units", 0)
    over = f" over {counted(int(n_units), 'unit')}" if n_units > 0 else ""
    return f"{counted(int(row['n']), one, several)}{over}"


def gap_in_words(gap: float, about: Mapping[str, Any], *, to: str = "corrupt") -> str:
    """The sentence on the gap that effects are shares of; `about` is as for `size_of_gap`.

    >>> gap_in_words(10.0, {"metric": "logit_difference"}), gap_in_words(float("nan"), {})
    ('The gap, m(clean) − m(corrupt), is 10.00 nats.', 'The gap, m(clean) − m(corrupt), is not known.')
    """
    return f"The gap, m(clean) − m({to}), is {size_of_gap(gap, about) if gap == gap else 'not known'}."


def largest(table: pd.DataFrame, column: str) -> dict[Any, Any]:
    """The row of the largest |value| of a column, infinite ones aside; empty if none has a number."""
    known = table[np.isfinite(table[column].to_numpy(dtype=float))]
    return known.iloc[int(known[column].abs().argmax())].to_dict() if len(known) else {}


def strongest_in_words(table: pd.DataFrame) -> tuple[str, str]:
    """Of effects of edges or nodes, the sentence on the largest |effect|, empty if none has a number; and on its error."""
    if not (row := largest(table, "effect")):
        return "", "No standard error is held."
    place = f"node, {row['node']}," if "node" in row else f"edge, {row['sender']} -> {row['receiver']},"
    effect = f"{shown(row['effect'])} (1 is what patching everything does, 0 nothing)"
    error = (
        f"Its standard error is {shown(row['stderr'])}." if row["stderr"] == row["stderr"] else "It has no standard error."
    )
    return f"The strongest {place} has an effect of {effect}.", error
