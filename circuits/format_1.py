"""Saved results of format 1: NaN was null, a tuple a list, and tables, arrays and graphs were known by their keys alone."""

import math
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import pandas as pd

from .graph import ComputationGraph


def decode_1(value: Any, declared: Any) -> Any:
    """A field of a file of format 1, in which NaN was null and a tuple a list; the declared type says which.

    Raises:
        KeyError, TypeError, ValueError: if the content is damaged.
    """
    kinds = [declared, *(get_args(declared) if get_origin(declared) in (Union, UnionType) else ())]
    origins = [get_origin(kind) or kind for kind in kinds]
    if value is None and float in kinds:
        return math.nan
    if isinstance(value, list) and tuple in origins:
        parts = next(get_args(kind) for kind in kinds if get_origin(kind) is tuple)
        return tuple(decode_1(item, parts[0]) for item in value)
    if isinstance(value, dict) and any(get_origin(kind) and get_args(kind)[-1] is float for kind in kinds):
        return {key: decode_1(item, float) for key, item in value.items()}
    return _untagged(value)


def _untagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "table" in value:
        columns = value["table"]
        return pd.DataFrame({name: pd.Series(_untagged(c["values"]), dtype=c["dtype"]) for name, c in columns.items()})
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"])
    if "graph" in value:
        return ComputationGraph.from_dict(value["graph"])
    return {key: _untagged(item) for key, item in value.items()}
