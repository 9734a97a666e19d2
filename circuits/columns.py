"""The columns that a table must have, said in the type of the field that holds it."""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True)
class Columns:
    """Names of columns by what they hold: `table: Annotated[pd.DataFrame, Columns(words="edge", numbers="effect")]`.

    Any value but those of flags may be missing. A table may have more columns; one without rows need not have any.

    Attributes:
        words, numbers, whole, flags: names, with spaces between them; `whole` are whole numbers, flags are True or False.

    >>> Columns(words="edge", numbers="effect").problems(pd.DataFrame({"edge": [1]}))
    ['it lacks the column effect', "the column 'edge' holds 1, needed are words"]
    """

    words: str = ""
    numbers: str = ""
    whole: str = ""
    flags: str = ""

    @property
    def kinds(self) -> list[tuple[str, type]]:
        """Each name and what it holds: `str`, `float`, `int` or `bool`."""
        by_kind = {str: self.words, float: self.numbers, int: self.whole, bool: self.flags}
        return [(name, kind) for kind, names in by_kind.items() for name in names.split()]

    def problems(self, table: pd.DataFrame) -> list[str]:
        """What a table lacks, and columns that hold something else."""
        if not len(table):
            return []
        lacking = [name for name, _ in self.kinds if name not in table.columns]
        twice = [name for name, _ in self.kinds if name not in lacking and isinstance(table[name], pd.DataFrame)]
        wrong = [_misfit(table[name], kind) for name, kind in self.kinds if name not in (*lacking, *twice)]
        found = [f"it lacks the column{'s' if len(lacking) > 1 else ''} {', '.join(lacking)}"] if lacking else []
        return found + [f"it has the column {name} twice" for name in twice] + [problem for problem in wrong if problem]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of the table's type, then this check."""
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, table: pd.DataFrame) -> pd.DataFrame:
        if problems := self.problems(table):
            raise ValueError("; ".join(problems))
        return table


def _misfit(column: pd.Series, kind: type) -> str:
    """Why a column does not hold what it should; empty if it does."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in _SURE[kind]:
        return ""
    needed, fits = _NEEDED[kind]
    present = column.astype(object) if kind is bool else column[column.notna()].astype(object)
    wrong = [value for value in present if not fits(value)]
    return f"the column {column.name!r} holds {_short(wrong[0])}, needed are {needed}" if wrong else ""


def _short(value: Any) -> str:
    return text if len(text := repr(value)) < 60 else type(value).__name__


_NEEDED: dict[type, tuple[str, Callable[[Any], bool]]] = {
    str: ("words", lambda value: isinstance(value, str)),
    bool: ("True and False", lambda value: isinstance(value, bool | np.bool_)),
    int: ("whole numbers", lambda value: _is_number(value) and value == value // 1),
    float: ("numbers", lambda value: _is_number(value)),
}

_SURE = {str: "", bool: "b", int: "iu", float: "iuf"}  # kinds of dtypes of which no value is wrong


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | np.number) and not isinstance(value, bool)
