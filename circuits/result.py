"""What all results share: a tidy table, a view in Jupyter, and a JSON file that reads back equal."""

import dataclasses
import html
import sys
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from .arguments import refuse
from .destination import file_problems, input_problems
from .documents import FileError, opened, parsed, read_text, to_document
from .explanation import Explanation
from .fields import declared_types, fields_to_json, from_fields
from .old_formats import is_old, migrated
from .plain_text import never_raising, shortened
from .same_content import ByContent
from .units import fixed
from .writing import write_atomic

ResultType = TypeVar("ResultType", bound="Result")
FORMAT = 3  # older ones are read by `circuits.old_formats`
LONGEST_CAPTION = 300  # characters in a terminal
_KINDS: dict[str, type["Result"]] = {}
"""Every kind of result by its name in files; each adds itself when its class is made."""


@dataclasses.dataclass(frozen=True, eq=False)
class Result(ByContent):
    """A frozen record around one tidy DataFrame, `table`; the other fields say how to read it."""

    table: pd.DataFrame

    @property
    def caption(self) -> str:
        """One line above the table in Jupyter."""
        return type(self).__name__

    def to_frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.table.copy()

    def explain(self) -> Explanation:
        """What was measured, on what, what that means, how sure it is and what would change it, from the fields.

        Raises:
            NotImplementedError: for a kind of one's own that does not say.
        """
        raise NotImplementedError(f"{type(self).__name__} does not explain itself: give it a method `explain`")

    def __init_subclass__(cls) -> None:
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = Result.__repr__  # before `dataclass` gives each kind one that prints all its tables
        _KINDS[cls.__name__] = cls

    @never_raising
    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {shortened(self.caption, LONGEST_CAPTION)}>"

    def _repr_html_(self) -> str:
        table = self.table.to_html(index=False, max_rows=20, float_format=lambda value: fixed(value, 3), border=0)
        return f"<p>{html.escape(self.caption)}</p>{table}"

    def to_json(self) -> str:
        """All fields as a document, see `circuits.documents` and `circuits.encoding`; they read back equal, to the digit.

        Raises:
            TypeError: if a field holds what cannot be saved, such as a tensor, or is not of its type; it says where.
        """
        return to_document(type(self).__name__, fields_to_json(self), written_format=FORMAT)

    @classmethod
    def from_json(cls: type[ResultType], text: str) -> ResultType:
        """The result that `to_json` wrote; `Result` itself reads every kind, a user's once its class is made.

        Raises:
            FileError: see `load`.
        """
        return cls._read(text, "this text")

    def save(self, path: str | Path) -> Path:
        """Write the result as JSON, atomically; returns the path."""
        refuse(file_problems(path=path))
        return write_atomic(Path(path), self.to_json())

    @classmethod
    def load(cls: type[ResultType], path: str | Path) -> ResultType:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            FileError: a ValueError, if the file is damaged or holds something else; it names the file and says what.
        """
        refuse(input_problems(path=path))
        return cls._read(read_text(Path(path)), str(path))

    @classmethod
    def _read(cls: type[ResultType], text: str, where: str) -> ResultType:
        found = parsed(text, where, finite=False)  # format 1 wrote infinities; today's numbers are looked at when decoded
        if cls is Result:
            _import_kind(found)
        kinds: dict[str, type[Result]] = {cls.__name__: cls} if cls is not Result else {"Result": Result, **_KINDS}
        if is_old(found):
            name = found["type"]
            if not isinstance(name, str) or name not in kinds:
                raise FileError(f"{where}: expected a {' or '.join(sorted(kinds))}, this is a {name}")
            content = migrated(found, declared_types(kinds[name]), where)
        else:
            document = opened(found, where, kinds, known_format=FORMAT, text=text)
            name, content = document.kind, document.content
        return from_fields(kinds[name], content, where)  # pyright: ignore[reportReturnType]


def _import_kind(found: Any) -> None:
    """Import the kind that parsed JSON names: the package's other parts import a class when it is first used."""
    name = (found.get("kind") or found.get("type")) if isinstance(found, dict) else None
    if not isinstance(name, str) or name in _KINDS:
        return
    package = sys.modules[__name__.partition(".")[0]]
    for part in (getattr(package, each) for each in package.__all__):
        if name in part.__all__:
            getattr(part, name)
