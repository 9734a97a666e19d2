"""Values as JSON that reads back equal: tables, arrays, graphs, tuples, NaN and infinities, whatever a mapping's keys.

What JSON has no word for is an object with the key `$`, which says what it is: `{"$": "float", "value": "nan"}`. A mapping
that has that key itself, or keys that are no strings, is written as its items. So nothing that a user writes is taken for
something else. Sets are written in a fixed order, so that equal values are written alike. Older files are read by
`circuits.old_formats`.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from .graph import ComputationGraph

TAG = "$"
_NO_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_NUMPY_KINDS = "biufcOU"
MOST_PADDING = 2**26  # bytes that an array of words may take beyond its letters; the dtype says for how many there is room


def encode(value: Any, where: str) -> Any:
    """A value as JSON.

    Args:
        value: made of strings, numbers, None, mappings, lists, tuples, sets of these, tables, arrays and graphs.
        where: its name, for messages.

    Raises:
        TypeError: if it holds something else; the message says where.
    """
    if isinstance(value, np.generic):
        return {TAG: "scalar", "array": _encode_array(np.asarray(value), where)}
    if value is None or isinstance(value, bool | str):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {TAG: "float", "value": str(float(value))}
    if isinstance(value, list):
        return [encode(item, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        return _encode_mapping(value, where)
    return _encode_tagged(value, where)


def _encode_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    if TAG in value or not all(isinstance(key, str) for key in value):
        items = [[encode(key, f"a key of {where}"), encode(item, f"{where}[{key!r}]")] for key, item in value.items()]
        return {TAG: "mapping", "items": items}
    return {str(key): encode(item, f"{where}[{key!r}]") for key, item in value.items()}


def _encode_tagged(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, tuple | set | frozenset):
        kind = next(each for each in (tuple, set, frozenset) if isinstance(value, each))
        items = [encode(item, f"{where}[{number}]") for number, item in enumerate(value)]
        return {TAG: kind.__name__, "items": items if kind is tuple else in_order(items)}
    if isinstance(value, complex):
        return {TAG: "complex", "parts": [encode(part, where) for part in (value.real, value.imag)]}
    if value is pd.NA:
        return {TAG: "missing"}
    if isinstance(value, pd.DataFrame):
        return _encode_table(value, where)
    if isinstance(value, np.ndarray):
        return {TAG: "array", **_encode_array(value, where)}
    if isinstance(value, ComputationGraph):
        return {TAG: "graph", "graph": value.to_dict()}
    raise TypeError(f"{where} is of type {type(value).__module__}.{type(value).__qualname__}, which cannot be saved")


def in_order(items: Iterable[Any]) -> list[Any]:
    """The items of a set, as JSON, so that equal sets are written alike."""
    return sorted(items, key=json.dumps)


def _encode_table(table: pd.DataFrame, where: str) -> dict[str, Any]:
    columns = [
        _encode_column(table.iloc[:, number], f"the column {name!r} of {where}") for number, name in enumerate(table.columns)
    ]
    names = _encode_index(table.columns, f"the columns of {where}")
    found = {TAG: "table", "names": names, "columns": columns, "n": len(table)}
    if not table.index.equals(pd.RangeIndex(len(table))) or table.index.name is not None:
        found["index"] = _encode_index(table.index, f"the index of {where}")
    return found | ({"attrs": encode(table.attrs, f"the attrs of {where}")} if table.attrs else {})


def _encode_index(index: pd.Index, where: str) -> dict[str, Any]:
    if isinstance(index, pd.MultiIndex):
        raise TypeError(f"{where} are of several levels, which cannot be saved; see DataFrame.reset_index")
    return {"name": encode(index.name, where), **_encode_column(index.to_series(), where)}


def _encode_column(column: pd.Series, where: str) -> dict[str, Any]:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _encode_column(dtype.categories.to_series(), where)
        return {"codes": column.cat.codes.tolist(), "categories": categories, "ordered": bool(dtype.ordered)}
    if isinstance(dtype, pd.StringDtype) or getattr(dtype, "na_value", None) is pd.NA:
        return {"dtype": str(dtype), "objects": [encode(item, where) for item in column.astype(object)]}
    if not isinstance(dtype, np.dtype):
        raise TypeError(f"{where} is of dtype {dtype}, which cannot be saved")
    return _encode_array(column.to_numpy(), where)


def _encode_array(array: np.ndarray, where: str) -> dict[str, Any]:
    if array.dtype.kind not in _NUMPY_KINDS or array.dtype.str[1:] in ("f16", "c32"):
        raise TypeError(f"{where} is of dtype {array.dtype}, which cannot be saved")
    if array.dtype.kind == "c":
        array, shape = np.stack([np.real(array), np.imag(array)], axis=-1), array.shape
        return {"dtype": f"complex of {array.dtype}", "shape": list(shape), "values": _numbers(array)}
    values = [encode(item, where) for item in array.reshape(-1)] if array.dtype.kind == "O" else _numbers(array)
    return {"dtype": str(array.dtype), "shape": list(array.shape), "values": values}


def _numbers(array: np.ndarray) -> list[Any]:
    """Flat; NaN and infinities by name."""
    values = array.reshape(-1).tolist()
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return values
    return [value if math.isfinite(value) else str(value) for value in values]


def decode(value: Any, where: str) -> Any:
    """The value that `encode` wrote.

    Args:
        value: JSON.
        where: its name, for messages.

    Raises:
        ValueError: for JSON that `encode` does not write.
    """
    try:
        with np.errstate(all="ignore"):
            found = _decode(value)
            same = encode(found, where) == value  # no digit, type or key that numpy or pandas took for something else
    except MemoryError as error:
        raise ValueError("it does not fit into memory") from error
    except Exception as error:  # whatever numpy and pandas make of what is damaged
        raise ValueError(f"it is not what is written for a value ({type(error).__name__}: {str(error)[:200]})") from error
    if not same:
        raise ValueError("its values, types, shapes and keys do not belong together")
    return found


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG in value:
        return _DECODERS[value[TAG]](value)
    return {key: _decode(item) for key, item in value.items()}


def _decode_table(content: Mapping[str, Any]) -> pd.DataFrame:
    columns = [_decode_column(column) for column in content["columns"]]  # dtypes are named, or pandas guesses others
    index = _decode_index(content["index"]) if "index" in content else pd.RangeIndex(content["n"])
    lengths = {len(index), content["n"], *map(len, columns)}
    if len(lengths) > 1:  # before pandas fills up what is shorter
        raise ValueError(f"a table's columns and index have {', '.join(map(str, sorted(lengths)))} rows")
    series = {number: pd.Series(values, dtype=values.dtype, index=index) for number, values in enumerate(columns)}
    table = pd.DataFrame(series, index=index)
    table.columns = _decode_index(content["names"])
    table.attrs = _decode(content.get("attrs", {}))
    return table


def _decode_index(content: Mapping[str, Any]) -> pd.Index:
    values = _decode_column(content)
    return pd.Index(values, dtype=values.dtype, name=_decode(content["name"]), tupleize_cols=False)


def _decode_column(content: Mapping[str, Any]) -> Any:
    if "codes" in content:
        categories = pd.Index(_decode_column(content["categories"]))
        return pd.Categorical.from_codes(content["codes"], categories=categories, ordered=content["ordered"])
    if "objects" in content:
        dtype = pd.api.types.pandas_dtype(content["dtype"])
        if isinstance(dtype, np.dtype):
            raise ValueError(f"the dtype {dtype} is none of pandas")
        return pd.array([_decode(item) for item in content["objects"]], dtype=dtype)  # pyright: ignore
    return _decode_array(content)


def _decode_array(content: Mapping[str, Any]) -> np.ndarray:
    name, shape, values = content["dtype"], tuple(content["shape"]), content["values"]
    if name == "object":
        array = np.empty(len(values), dtype=object)
        for place, item in enumerate(values):
            array[place] = _decode(item)
        return array.reshape(shape)
    dtype = np.dtype(name.removeprefix("complex of "))
    padded = dtype.itemsize * len(values) if dtype.kind == "U" else 0
    if dtype.kind not in _NUMPY_KINDS or padded > MOST_PADDING + (4 * sum(map(len, values)) if padded else 0):
        raise ValueError(f"no array of {len(values)} values of dtype {dtype} is saved")
    array = np.array(values, dtype=dtype)
    if name.startswith("complex of "):
        return array.reshape(*shape, 2).view(f"complex{16 * dtype.itemsize}")[..., 0]
    return array.reshape(shape)


_DECODERS: dict[str, Any] = {
    "float": lambda content: _NO_NUMBERS[content["value"]],
    "complex": lambda content: complex(*map(_decode, content["parts"])),
    "scalar": lambda content: _decode_array(content["array"])[()],
    "missing": lambda _: pd.NA,
    "tuple": lambda content: tuple(map(_decode, content["items"])),
    "set": lambda content: set(map(_decode, content["items"])),
    "frozenset": lambda content: frozenset(map(_decode, content["items"])),
    "mapping": lambda content: {_decode(key): _decode(item) for key, item in content["items"]},
    "array": _decode_array,
    "table": _decode_table,
    "graph": lambda content: ComputationGraph.from_dict(content["graph"]),
}
