"""What all results share: a tidy table, a view in Jupyter, and a JSON file that reads back equal."""

import dataclasses
import html
import json
import math
import os
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .graph import ComputationGraph
from .plain_text import plain

ResultType = TypeVar("ResultType", bound="Result")
_KINDS: dict[str, type["Result"]] = {}
"""Every kind of result by its name in files; each adds itself when its class is made."""


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """A frozen record around one tidy DataFrame, `table`; the other fields say how to read it."""

    table: pd.DataFrame

    @property
    def caption(self) -> str:
        """One line above the table in Jupyter."""
        return type(self).__name__

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def __init_subclass__(cls) -> None:
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Result.__repr__  # before `dataclass` gives each kind one that prints all its tables
        _KINDS[cls.__name__] = cls

    def __repr__(self) -> str:
        return plain(f"<{type(self).__name__}: {self.caption}>")

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, max_rows=20, float_format="{:.3f}".format, border=0)
        return f"<p>{html.escape(self.caption)}</p>{table}"

    def to_json(self) -> str:
        """All fields as JSON; numbers keep every digit, NaN becomes null."""
        fields = {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return json.dumps({"type": type(self).__name__, **fields}, allow_nan=False)

    @classmethod
    def from_json(cls: type[ResultType], text: str) -> ResultType:
        """The result that `to_json` wrote; `Result` itself reads every kind whose class was imported.

        Raises:
            ValueError: if the text is not JSON of this type of result.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is no complete JSON: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"a saved result is a JSON object, got {type(content).__name__}")
        kind = _kind_of(content) if cls is Result else cls
        expected = {field.name for field in dataclasses.fields(kind)} | {"type"}
        needed = expected - {field.name for field in dataclasses.fields(kind) if field.default is not dataclasses.MISSING}
        if content.get("type") != kind.__name__ or not needed <= set(content) <= expected:
            what = f"type {content.get('type')!r} with {sorted(content)}"
            raise ValueError(f"expected a {kind.__name__} with {sorted(expected)}, got {what}")
        return kind(**{name: _rich(value) for name, value in content.items() if name != "type"})  # pyright: ignore

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, atomically; returns the path."""
        return write_text(Path(path), self.to_json())

    @classmethod
    def load(cls: type[ResultType], path: str | Path) -> ResultType:
        """Read what `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _kind_of(content: Any) -> type[Result]:
    """The class that wrote a file."""
    kinds = {"Result": Result, **_KINDS}
    if (name := content.get("type")) not in kinds:
        raise ValueError(f"no kind of result that was imported is called {name!r}; there are {', '.join(sorted(kinds))}")
    return kinds[name]


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically: under a temporary name, then renamed. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def save_page(path: Path, title: str, body: str) -> Path:
    """Write a fragment as an HTML page that works from a file and without a network; returns the path."""
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"></head><body>{body}</body></html>'
    )
    return write_text(path, page)


def _plain(value: Any) -> Any:
    """JSON values for tables, arrays, graphs and what they hold."""
    if isinstance(value, pd.DataFrame):
        columns = {name: {"dtype": str(value[name].dtype), "values": _plain(value[name].to_numpy())} for name in value}
        return {"table": columns}
    if isinstance(value, np.ndarray):
        items = value.tolist()
        return {"array": _no_nan(items), "dtype": str(value.dtype)} if value.dtype != object else _no_nan(items)
    if isinstance(value, ComputationGraph):
        return {"graph": value.to_dict()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return _no_nan(list(value) if isinstance(value, tuple) else value)


def _no_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_no_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _rich(value: Any) -> Any:
    """The inverse of `_plain`."""
    if not isinstance(value, dict):
        return value
    if "table" in value:
        return pd.DataFrame({name: pd.Series(_rich(c["values"]), dtype=c["dtype"]) for name, c in value["table"].items()})
    if "array" in value:
        return np.array(value["array"], dtype=value["dtype"])
    if "graph" in value:
        return ComputationGraph.from_dict(value["graph"])
    return {name: _rich(item) for name, item in value.items()}
