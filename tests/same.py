"""Whether two values are the same to the last digit, type by type: what `load(save(x))` promises."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from grokscope.circuits import Result


def assert_same(one: Any, other: Any, where: str = "value") -> None:
    """Raise unless types and values agree; NaN is NaN, a tuple no list, None no NaN."""
    mappings = isinstance(one, Mapping) and isinstance(other, Mapping)
    assert mappings or type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, Result):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, pd.DataFrame):
        pd.testing.assert_frame_equal(one, other, check_exact=True, check_column_type="equiv")
        assert_same(one.attrs, other.attrs, f"{where}.attrs")
        for number, name in enumerate(one):
            if one.dtypes.iloc[number].kind == "O":  # where pandas takes None for NaN
                for a, b in zip(one.iloc[:, number], other.iloc[:, number], strict=True):
                    assert_same(a, b, f"{where}[{name!r}]")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), where
        for a, b in zip(one.reshape(-1), other.reshape(-1), strict=True):
            assert_same(a, b, where)
    elif isinstance(one, Mapping):
        assert list(one) == list(other), where
        for key, again in zip(one, other, strict=True):
            assert_same(key, again, f"a key of {where}")
            assert_same(one[key], other[key], f"{where}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{number}]")
    elif isinstance(one, float | np.floating):
        assert (np.isnan(one) and np.isnan(other)) or (one == other and math.copysign(1, one) == math.copysign(1, other)), (
            where
        )
    elif isinstance(one, complex | np.complexfloating):
        assert_same(one.real, other.real, where)
        assert_same(one.imag, other.imag, where)
    else:
        assert one is other or one == other, where
