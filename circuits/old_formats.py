"""Saved results of formats 1 and 2, brought to the format of today. They bore no checksum.

Format 1 had no number and its fields at the top: NaN was null, a tuple a list, and tables, arrays and graphs were known by
their keys alone. Format 2 wrote values as today, but the items of a set in any order.
"""

import math
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from .documents import FileError, validated
from .encoding import TAG, encode, in_order
from .graph import ComputationGraph

MOST_LETTERS = 1000  # of a word in an array


class _Format2(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    type: str
    format: Literal[2]
    fields: dict[str, Any]


def is_old(found: Any) -> bool:
    """Whether parsed JSON is a result of format 1 or 2: later ones call the type `kind`."""
    return isinstance(found, dict) and "type" in found and "kind" not in found


def migrated(found: dict[str, Any], declared: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of a saved result as they are written today.

    Args:
        found: of format 1 or 2, with its type.
        declared: the types of the fields of this kind of result.
        where: the name of the file, for messages.

    Raises:
        FileError: if it is of neither format, or cannot be read.
    """
    if "format" in found:
        return {name: _with_sets_in_order(value) for name, value in validated(_Format2, found, where).fields.items()}
    try:
        values = {name: _of_format_1(value, declared.get(name, Any)) for name, value in found.items() if name != "type"}
        return {name: encode(value, name) for name, value in values.items()}
    except Exception as error:  # whatever numpy and pandas make of what is damaged
        why = f"{type(error).__name__}: {str(error)[:200]}"
        raise FileError(f"{where}: this {found['type']} of format 1 is damaged ({why}); make it again") from error


def _with_sets_in_order(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_sets_in_order(item) for item in value] if any(isinstance(i, list | dict) for i in value) else value
    if not isinstance(value, dict):
        return value
    found = {name: _with_sets_in_order(item) for name, item in value.items()}
    is_set = found.get(TAG) in ("set", "frozenset") and isinstance(found.get("items"), list)
    return found | {"items": in_order(found["items"])} if is_set else found


def _of_format_1(value: Any, declared: Any) -> Any:
    """A field of a file of format 1, in which NaN was null and a tuple a list; the declared type says which."""
    declared = get_args(declared)[0] if get_origin(declared) is Annotated else declared
    kinds = [declared, *(get_args(declared) if get_origin(declared) in (Union, UnionType) else ())]
    origins = [get_origin(kind) or kind for kind in kinds]
    if value is None and float in kinds:
        return math.nan
    if isinstance(value, list) and tuple in origins:
        parts = next(get_args(kind) for kind in kinds if get_origin(kind) is tuple)
        return tuple(_of_format_1(item, parts[0]) for item in value)
    if isinstance(value, dict) and any(get_origin(kind) and get_args(kind)[-1] is float for kind in kinds):
        return {key: _of_format_1(item, float) for key, item in value.items()}
    return _untagged(value)


def _untagged(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "table" in value:
        return pd.DataFrame({name: _column(column) for name, column in value["table"].items()})
    if "array" in value:
        return _same(np.array(value["array"], dtype=_dtype(value["dtype"])), value["array"])
    if "graph" in value:
        return ComputationGraph.from_dict(value["graph"])
    return {key: _untagged(item) for key, item in value.items()}


def _column(content: Mapping[str, Any]) -> pd.Series:
    values = _untagged(content["values"])
    return _same(pd.Series(values, dtype=_dtype(content["dtype"])), values)


def _dtype(name: str) -> Any:
    """The dtype of that name, if there were such and it does not make room for letters that are not there."""
    dtype = pd.api.types.pandas_dtype(name)
    if isinstance(dtype, np.dtype) and (dtype.kind not in "biufOU" or dtype.itemsize > MOST_LETTERS * 4):
        raise ValueError(f"nothing of dtype {name} was saved")
    return dtype


def _same(made: Any, values: Any) -> Any:
    """What was made of values, if nothing was taken for something else."""
    if _without_nan(made.tolist()) != _without_nan(values):
        raise ValueError(f"values of dtype {made.dtype} are of another type")
    return made


def _without_nan(values: Any) -> Any:
    if isinstance(values, list):
        return [_without_nan(value) for value in values]
    return None if values is pd.NA or (isinstance(values, float) and math.isnan(values)) else values
