"""Records that are equal if they hold the same: tensors, arrays and tables by their numbers."""

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd


class ByContent:
    """For frozen dataclasses with `eq=False`: equal are those of one class whose fields hold the same; NaN is NaN.

    The hash is of the fields that are single values, so that it costs nothing; equal records have equal ones.
    """

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or same(compared(self), compared(other))

    def __hash__(self) -> int:
        single = (value for value in compared(self).values() if isinstance(value, str | int | PurePath))
        return hash((type(self).__name__, *single))


def compared(record: Any) -> dict[str, Any]:
    """The fields of a dataclass that are compared, by name."""
    return {each.name: getattr(record, each.name) for each in fields(record) if each.compare}


def same(one: Any, other: Any) -> bool:
    """Whether two values hold the same; what has no rule here is asked whether it is equal."""
    if one is other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if type(one) is not type(other):
        return False
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    if hasattr(one, "__array__"):  # tensors, too
        return _same_numbers(np.asarray(one), np.asarray(other))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


def _same_numbers(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind in "fc" and other.dtype.kind in "fc")
