"""JSON files that say what they are: kind, format, the version that wrote them, and a checksum of their content.

`{"kind": "Circuit", "format": 3, "version": "0.1.0", "checksum": "…", "content": …}`. A reader checks the kind, the format
and the checksum, in this order, before it looks at the content, whose schema is the reader's. The checksum is of the content
in compact JSON, not of the file's bytes, so that a file may be indented.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from .writing import write_atomic

Schema = TypeVar("Schema")
CONTENT = ', "content": '  # before the content of a file that is not indented
MOST_PROBLEMS = 5  # of one file that a message lists


class FileError(ValueError):
    """A file is not what it should be; the message names it, what was expected, what was found and what to do."""


class Document(BaseModel):
    """What a file says of itself, and its content."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: str
    format: int
    version: str
    checksum: str
    content: Any


def to_document(kind: str, content: Any, *, written_format: int, indent: int | None = None) -> str:
    """The text of a file.

    Args:
        kind: what the file is, as its reader calls it.
        content: JSON values.
        written_format: the number of the layout of `content` for this kind.
        indent: of the text; none by default.

    Raises:
        ValueError: if the content holds NaN or an infinity, which JSON does not know.
    """
    compact = _compact(content)
    fields = {"kind": kind, "format": written_format, "version": own_version(), "checksum": _sha256(compact)}
    if indent is not None:
        return json.dumps(fields | {"content": content}, indent=indent)
    return f"{json.dumps(fields)[:-1]}{CONTENT}{compact}}}"  # so that what is long is made into text once


def write_document(path: Path, kind: str, content: Any, *, written_format: int, indent: int | None = None) -> Path:
    """Write a file atomically, see `to_document`; returns the path."""
    return write_atomic(path, to_document(kind, content, written_format=written_format, indent=indent))


def read_document(path: Path, kinds: Collection[str], *, known_format: int) -> Document:
    """Read a file and check it, all but the schema of its content.

    Raises:
        FileNotFoundError: if there is none.
        FileError: see `opened`.
    """
    text = read_text(path)
    return opened(parsed(text, str(path)), str(path), kinds, known_format=known_format, text=text)


def opened(found: Any, where: str, kinds: Collection[str], *, known_format: int, text: str = "") -> Document:
    """Check kind, format and checksum of parsed JSON, in this order.

    Args:
        found: what `parsed` gave.
        where: the name of the file, for messages.
        kinds: those that the reader knows.
        known_format: the newest layout that the reader knows, which is the only one with a header.
        text: that was parsed; with it a content that stands there as it was written is not written again for its checksum.

    Raises:
        FileError: if one of them is not as expected.
    """
    with naming_problems(where):
        document = Document.model_validate(found)
    if document.kind not in kinds:
        raise FileError(f"{where}: expected a {' or '.join(sorted(kinds))}, this is a {document.kind}")
    if document.format != known_format:
        raise FileError(
            f"{where}: this {document.kind} is of format {document.format}, written by grokscope {document.version}; "
            f"version {own_version()} reads format {known_format}: install the version that wrote it"
        )
    if (written := _content_in(text)) and _sha256(written) == document.checksum:
        return document
    try:
        of_content = checksum(document.content)
    except (ValueError, RecursionError) as error:  # such as an infinity
        raise FileError(
            f"{where}: the content of this {document.kind} is no JSON ({error}); take a copy or make it again"
        ) from error
    if of_content != document.checksum:
        raise FileError(
            f"{where}: the content of this {document.kind} has the checksum {of_content[:12]}…, the file "
            f"says {document.checksum[:12]}…; "
            "it was damaged or changed by hand: take a copy or make it again"
        )
    return document


def _content_in(text: str) -> str:
    """What stands where `to_document` puts the content of a file that is not indented; it is the last key of the file."""
    start = text.find(CONTENT)
    return text[start + len(CONTENT) : -1] if start >= 0 else ""


def checksum(content: Any) -> str:
    """SHA-256 of JSON values in hexadecimal digits."""
    return _sha256(_compact(content))


def validated(schema: type[Schema], content: Any, where: str) -> Schema:
    """JSON values as a schema says: lists may be tuples and objects dataclasses, but no other type is converted.

    Args:
        schema: any type that pydantic knows; models and dataclasses should forbid what they do not name, the latter by
            `__pydantic_config__: ClassVar = ConfigDict(extra="forbid")`.
        content: read from a file.
        where: the name of the file, for messages.

    Raises:
        FileError: with all that is not as the schema says.
    """
    with naming_problems(where):
        return TypeAdapter(schema).validate_json(_compact(content), strict=True)


@contextlib.contextmanager
def naming_problems(where: str) -> Iterator[None]:
    """Turn what pydantic finds into a FileError that names the file."""
    try:
        yield
    except ValidationError as error:
        raise FileError(f"{where}: {'; '.join(problems_of(error))}; take a copy or make it again") from error


def problems_of(error: ValidationError) -> list[str]:
    """What is wrong, each with its place, and of much only the first and how many there are."""
    found = []
    for each in error.errors(include_url=False, include_context=False):
        place, value = ".".join(map(str, each["loc"])), repr(each["input"])
        got = (
            ""
            if each["type"] == "missing"
            else f", got {value if len(value) < 60 and value.isprintable() else type(each['input']).__name__}"
        )
        found.append(f"{place or 'it'}: {each['msg'][:1].lower()}{each['msg'][1:]}{got}")
    more = [f"and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
    return found[:MOST_PROBLEMS] + more


def parsed(text: str, where: str, *, finite: bool = True) -> Any:
    """JSON values of a text, in which no key is twice.

    Args:
        text: of a file.
        where: the name of the file, for messages.
        finite: whether every number must be; False for files of others, who write NaN.

    Raises:
        FileError: if it is no such JSON.
    """
    try:
        number = _finite if finite else float
        return json.loads(text, object_pairs_hook=_different, parse_float=number, parse_constant=number)
    except (ValueError, RecursionError) as error:
        raise FileError(f"{where}: expected JSON, {_why(error)}; take a copy or make it again") from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        FileNotFoundError: if there is none.
        FileError: if it is no file, or no UTF-8.
    """
    check_is_file(path)
    return decoded(path.read_bytes(), str(path))


def decoded(data: bytes, where: str) -> str:
    """The text that a file's bytes are.

    Raises:
        FileError: if they are no UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileError(
            f"{where}: expected a text in UTF-8, byte {error.start} is none; take a copy or make it again"
        ) from error


def check_is_file(path: Path) -> None:
    """Raise for what is there and is no file, since reading a pipe would wait for ever.

    Raises:
        FileError: naming what is there.
    """
    if os.path.lexists(path) and not path.is_file():
        found = "a link that leads to no file" if path.is_symlink() else "a folder or a device"
        raise FileError(f"{path}: expected a file, found {found}; take a copy or make it again")


def check_inside(path: Path, folder: Path) -> None:
    """Raise for what is there and is no file, or a link out of its folder, through which anything could be read.

    Raises:
        FileError: naming what is there.
    """
    check_is_file(path)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise FileError(f"{path} is a link to {path.resolve()}, out of its folder: put the file itself there")


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def own_version() -> str:
    """Of the installed grokscope."""
    try:
        return version("grokscope")
    except PackageNotFoundError:
        return "unknown"


def _different(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        names = [name for name, _ in items]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return f"got {error}" if isinstance(error, json.JSONDecodeError) else f"but {error}"
