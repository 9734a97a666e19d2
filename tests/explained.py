"""Whether what a result says of itself rests on its fields: every number of a sentence is one of them, at its digits."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from grokscope.circuits import Result
from grokscope.circuits.units import fixed

CONSTANTS = {"95", "0", "1"}  # the interval's level, and the ends of a scale
NUMBER = r"(?<![\w.])[-−+]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"


def assert_explained(result: Result, *, constants: set[str] = frozenset()) -> None:  # pyright: ignore[reportArgumentType]
    """Five answers of a line, with n and the main number, and no number that the result does not hold.

    Args:
        result: measured, not made up.
        constants: further numbers that sentences may name, such as a threshold that is fixed in the code.
    """
    explanation = result.explain()
    for question, answer in explanation:
        assert answer.strip() and "\n" not in answer and answer[-1] in ".)", f"{question}: {answer!r}"
        assert not re.search(r"\bnan\b|\binf\b|None|\{|\.\.|  ", answer), f"{question}: {answer!r}"
    assert re.search(r"\d", explanation.on) and re.search(r"\d", explanation.means + explanation.sure), explanation
    there = list(_numbers(result))
    for question, answer in explanation:
        strange = [
            text for text in re.findall(NUMBER, answer) if text not in CONSTANTS | constants and not _held(text, there)
        ]
        assert not strange, f"{question}: {answer!r} names what the result does not hold: {', '.join(strange)}"


def _held(text: str, there: list[float]) -> bool:
    plain = text.replace(",", "").replace("−", "-")
    small = "e" in plain or re.fullmatch(r"-?0\.0\d+", plain)  # as `shown` writes what is small
    if small and any(math.isclose(float(plain), number, rel_tol=0.06) for number in there):
        return True
    if "e" in plain:
        return False
    digits = len(plain.partition(".")[2])
    return any(fixed(number, digits) == fixed(float(plain), digits) for number in there)


def _numbers(result: Result) -> Iterator[float]:
    """What fields and properties hold: cells, lengths, numbers in words, and the counts of words in a column."""
    values = [getattr(result, field.name) for field in dataclasses.fields(result)]
    properties = [name for name in dir(type(result)) if isinstance(getattr(type(result), name), property)]
    values += [getattr(result, name) for name in properties if not name.startswith("_") and name != "caption"]
    for value in values:
        for number in _inside(value):
            if math.isfinite(number):
                yield from (number, abs(number))


def _inside(value: Any) -> Iterator[float]:
    if isinstance(value, bool | np.bool_):
        return
    if isinstance(value, int | float | np.number):
        yield float(value)
    elif isinstance(value, str):
        yield from (float(text.replace(",", "").replace("−", "-")) for text in re.findall(NUMBER, value))
    elif isinstance(value, pd.DataFrame):
        yield from (len(value), len(value) - 1)
        for _, column in value.items():
            counts = column.map(repr).value_counts()
            yield from (float(count) for count in counts)
            yield float(len(counts))
            for each in column.drop_duplicates() if column.map(pd.api.types.is_hashable).all() else column:
                yield from _inside(each)
    elif isinstance(value, Mapping):
        yield len(value)
        for key, each in value.items():
            yield from _inside(key)
            yield from _inside(each)
    elif isinstance(value, list | tuple | set | frozenset):
        yield len(value)
        for each in value:
            yield from _inside(each)
    elif isinstance(value, np.ndarray):
        yield from map(float, value.ravel()[:10_000] if value.dtype.kind in "iuf" else ())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _inside(getattr(value, field.name))
