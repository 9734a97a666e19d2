"""What all results share: a tidy table, a view in Jupyter, and a JSON file that reads back equal."""

import dataclasses
import html
import json
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import pandas as pd

from .arguments import refuse
from .destination import file_problems, input_problems
from .encoding import decode, encode
from .format_1 import decode_1
from .plain_text import plain
from .units import fixed
from .writing import write_atomic

ResultType = TypeVar("ResultType", bound="Result")
FORMAT = 2  # files of format 1 bear no number
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
        table = self.table.to_html(index=False, max_rows=20, float_format=lambda value: fixed(value, 3), border=0)
        return f"<p>{html.escape(self.caption)}</p>{table}"

    def to_json(self) -> str:
        """All fields as JSON, see `circuits.encoding`; everything reads back equal, to the last digit.

        Raises:
            TypeError: if a field holds what cannot be saved, such as a tensor; the message says where.
        """
        fields = {field.name: encode(getattr(self, field.name), field.name) for field in dataclasses.fields(self)}
        return json.dumps({"type": type(self).__name__, "format": FORMAT, "fields": fields}, allow_nan=False)

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
        if content.get("type") != kind.__name__:
            raise ValueError(f"expected a {kind.__name__}, got type {content.get('type')!r} with {sorted(content)}")
        return kind(**_fields_of(kind, content))  # pyright: ignore

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, atomically; returns the path."""
        refuse(file_problems(path=path))
        return write_atomic(Path(path), self.to_json())

    @classmethod
    def load(cls: type[ResultType], path: str | Path) -> ResultType:
        """Read what `save` wrote.

        Raises:
            ValueError: if the file holds something else; the message names it.
        """
        refuse(input_problems(path=path))
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _kind_of(content: Any) -> type[Result]:
    """The class that wrote a file."""
    kinds = {"Result": Result, **_KINDS}
    if (name := content.get("type")) not in kinds:
        raise ValueError(f"no kind of result that was imported is called {name!r}; there are {', '.join(sorted(kinds))}")
    return kinds[name]


def _fields_of(kind: type[Result], content: dict[str, Any]) -> dict[str, Any]:
    """The values of a file's fields; those that have a default may be missing, as in files written before they were."""
    written = content.get("format", 1)
    if written not in (1, FORMAT):
        raise ValueError(f"the file is of format {written!r}, this version reads 1 to {FORMAT}")
    values = {name: value for name, value in content.items() if name != "type"} if written == 1 else content.get("fields")
    known = {field.name: field for field in dataclasses.fields(kind)}
    none = dataclasses.MISSING
    needed = {name for name, field in known.items() if field.default is none and field.default_factory is none}
    if not isinstance(values, dict) or needed - set(values) or set(values) - set(known):
        got = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"expected a {kind.__name__} with {sorted(known)}, got {got}")
    try:
        if written == FORMAT:
            return {name: decode(value) for name, value in values.items()}
        declared = get_type_hints(kind)
        return {name: decode_1(value, declared[name]) for name, value in values.items()}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ValueError(f"the content of this {kind.__name__} is damaged: {error!r}") from error
