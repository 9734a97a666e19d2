"""Rows of a table of cells by what is largest in them, and what sentences say of such a row.

The largest of many numbers is above the truth by chance, for which its own interval does not allow; so that is said.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from ...circuits.explanation import Explanation, bounds_in_words, counted_units, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import shown
from ..plots.style import layer_name

CHOSEN = "The place was chosen by this number, and the interval does not allow for that choice."
READABLE = "Readable is not used, and unreadable is not absent."
MISSING = "–"


@dataclass(frozen=True, eq=False)
class Row:
    """A row as sentences speak of it, whatever it lacks.

    Attributes:
        values: by column.
        n_steps: of how many checkpoints of a run the table is.

    >>> row = Row(pd.Series({"layer": 0, "role": "r1", "value": 0.5, "low": 0.1, "high": 0.25, "n": 80, "n_facts": 43}))
    >>> row.place, row.number("value"), row.number("control"), row.whole("n")
    ('L0 r1', '0.50', '–', '80')
    >>> row.bounds(), row.bounds(of="Of the gain", low="gain_low")
    ('The 95 % interval over units is [0.10, 0.25].', 'Of the gain, no interval was computed.')
    >>> row.asked("tiny", "test", of=120)
    'tiny, test: 80 of 120 questions over 43 units'
    """

    values: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    n_steps: int = 1

    def as_number(self, column: str) -> float:
        """A value; NaN for what is missing."""
        value = self.values.get(column)
        return math.nan if value is None or pd.isna(value) else float(value)

    def number(self, column: str) -> str:
        """A number; a dash where there is none."""
        number = self.as_number(column)
        return MISSING if math.isnan(number) else shown(number)

    def whole(self, column: str) -> str:
        """A count; a dash where there is none."""
        number = self.as_number(column)
        return MISSING if math.isnan(number) else f"{int(number):,}"

    def text(self, column: str) -> str:
        """A name; empty where there is none."""
        value = self.values.get(column)
        return value if isinstance(value, str) else ""

    def layer(self, column: str = "layer") -> str:
        """A layer as axes call it; empty where there is none."""
        number = self.as_number(column)
        return "" if math.isnan(number) else layer_name(int(number))

    @property
    def place(self) -> str:
        """Layer and role; of an input, what reads it."""
        if not self.text("role"):
            return self.text("receiver")
        return f"{self.layer()}{' attn' if self.text('after') == 'attention' else ''} {self.text('role')}".strip()

    def bounds(self, low: str = "low", high: str = "high", *, of: str = "", over: str = "units") -> str:
        """The sentence on a 95 % interval."""
        ends = self.as_number(low), self.as_number(high)
        said = "No interval was computed." if any(map(math.isnan, ends)) else bounds_in_words(*ends, over=over)
        return f"{of}, {said[0].lower()}{said[1:]}" if of else said

    def asked(self, *about: str, of: float | None = None) -> str:
        """Model and split, how many questions, `of` how many, over how many units, and of a run the step; no full stop."""
        n, known = self.as_number("n"), of is not None and not math.isnan(of)
        counts = {"n": of if known else n, "n_units": self.as_number("n_facts")}
        some = f"{self.whole('n')} of " if known else ""
        questions = "an unknown number of questions" if math.isnan(n) else some + counted_units(counts, "question")
        return f"{', '.join(about)}: {questions}{self.at_step}"

    @property
    def at_step(self) -> str:
        """Of a run, at which of its checkpoints this was measured; else empty."""
        step = self.as_number("step")
        if math.isnan(step):
            return ""
        return f"; the numbers are those of step {int(step):,}, the last of {counted(self.n_steps, 'checkpoint')}"


@dataclass(frozen=True, eq=False)
class Cells:
    """The rows of a table that sentences are about: of a run those of its last checkpoint.

    >>> cells = Cells(pd.DataFrame({"role": ["h", "r1", "r2"], "value": [0.1, 0.7, float("nan")]}))
    >>> cells.largest("value").number("value"), cells.largest("value", least=True).number("value")
    ('0.70', '0.10')
    >>> cells.having(role="r2").largest("value"), cells.having(step=3).names("role")
    (None, [])
    """

    rows: pd.DataFrame
    n_steps: int = 1

    @classmethod
    def of(cls, table: pd.DataFrame) -> "Cells":
        """Those of a table.

        >>> Cells.of(pd.DataFrame({"step": [0, 500], "value": [0.1, 0.7]})).largest("value").at_step
        '; the numbers are those of step 500, the last of 2 checkpoints'
        """
        if "step" not in table:
            return cls(table)
        return cls(having(table, step=table["step"].max()), table["step"].nunique())

    def having(self, **values: Any) -> "Cells":
        """Those with these values; none where a column is not there."""
        return replace(self, rows=having(self.rows, **values))

    def names(self, column: str) -> list[str]:
        """The words of a column, each once."""
        return [each for each in dict.fromkeys(self.rows.get(column, ())) if isinstance(each, str)]

    def largest(self, column: str, *, least: bool = False) -> Row | None:
        """The first row in which a number is largest, or `least`; None if there is no number."""
        numbers = self._numbers(column)
        if numbers.isna().all():
            return None
        return Row(self.rows.iloc[int(np.nanargmin(numbers) if least else np.nanargmax(numbers))], self.n_steps)

    def beside(self, row: Row, *same: str, **other: Any) -> Row:
        """The first row that is as another in some columns and has these values; one without values if there is none."""
        rows = self.having(**{name: row.values[name] for name in same if name in row.values.index}, **other).rows
        return Row() if rows.empty else Row(rows.iloc[0], self.n_steps)

    def mean(self, column: str) -> str:
        """The mean of a column, such as a share of truth values; a dash where there is none."""
        mean = float(self._numbers(column).mean())
        return MISSING if math.isnan(mean) else shown(mean)

    def _numbers(self, column: str) -> pd.Series:
        values = self.rows[column] if column in self.rows else pd.Series(dtype=float)
        return pd.to_numeric(values, errors="coerce").astype(float)


def having(table: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows of a table with these values; none where a column is not there."""
    for name, value in values.items():
        table = table[table[name] == value] if name in table else table.iloc[:0]
    return table


def without_number(measured: str, table: pd.DataFrame, *about: str) -> Explanation:
    """Of a result that holds no number: its table is empty, or the number is missing in all rows."""
    who = ", ".join(about)
    if table.empty:
        return without_rows(who)
    none = "Nothing: the number is missing in all rows."
    rows = f"{who}, {counted(len(table), 'row')}."
    return Explanation(measured, rows, none, "No interval was computed.", "Questions that give a number.")
