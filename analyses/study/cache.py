"""Measurements cached on disk, so that a long analysis can resume: results, mappings of them and numbers as JSON."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from ...circuits import Result
from ...circuits.documents import FileError, read_document, write_document
from ...circuits.encoding import decode, encode
from ...circuits.fields import record_of
from ...tasks import Run
from ..claims.specimens import Arms
from ..patching.kept import tensor_bytes

FORMAT = 1
MeasurementType = TypeVar("MeasurementType")


def cached(path: Path, kind: type[MeasurementType], measure: Callable[[], MeasurementType]) -> MeasurementType:
    """Return the cached measurement, or compute it and write it atomically.

    Args:
        path: of a JSON file whose name covers everything that the measurement depends on, see `fingerprint`.
        kind: a dataclass of results, tables, mappings of results, strings and numbers.
        measure: called if there is no such file.

    Raises:
        FileError: if the file is damaged or holds something else. It is not measured again, since a file that was changed
            may be wanted; the message says that it may be deleted.
    """
    if not path.is_file():
        write_measurement(path, measure())
    try:  # a first call, too, so that it gives what later ones give
        content = read_document(path, [f"measurement: {kind.__name__}"], known_format=FORMAT).content
        return record_of(kind, _read(content, str(path)), str(path))
    except FileError as error:
        raise FileError(f"{error}; delete that file, and it is measured again") from error


def write_measurement(path: Path, measured: Any) -> Path:
    """Write a measurement atomically; returns the path."""
    fields = {field.name: getattr(measured, field.name) for field in dataclasses.fields(measured)}
    return write_document(path, f"measurement: {type(measured).__name__}", _written(fields, "it"), written_format=FORMAT)


def fingerprint(subject: Arms | Run, *settings: Any) -> str:
    """Twelve hexadecimal digits that change with any weight, any question and any of the settings."""
    digest = hashlib.sha256(repr(settings).encode())
    if isinstance(subject, Run):
        digest.update(subject.task.key.encode())
        for step in subject.steps:
            digest.update(subject.checkpoint(step).path.read_bytes())
        return digest.hexdigest()[:12]
    for name, specimen in sorted(subject.items()):
        digest.update(name.encode() + specimen.task.key.encode())
        for parameter in specimen.model.parameters():
            digest.update(tensor_bytes(parameter))
    return digest.hexdigest()[:12]


def _written(value: Any, where: str) -> dict[str, Any]:
    if isinstance(value, Result):
        return {"result": value.to_json()}
    if isinstance(value, pd.DataFrame):
        return {"table": Result(value).to_json()}
    if isinstance(value, Mapping):
        return {"mapping": {name: _written(item, f"{where}[{name!r}]") for name, item in value.items()}}
    return {"value": encode(value, where)}


def _read(written: Any, where: str) -> Any:
    """What `_written` made JSON of.

    Raises:
        FileError: if it is something else.
    """
    try:
        match written if isinstance(written, dict) and len(written) == 1 else None:
            case {"result": str(text)}:
                return Result.from_json(text)
            case {"table": str(text)}:
                return Result.from_json(text).table
            case {"mapping": dict(items)}:
                return {name: _read(item, f"{where}: {name}") for name, item in items.items()}
            case {"value": value}:
                return decode(value, where)
    except FileError as error:
        raise error if str(error).startswith(where) else FileError(f"{where}: {error}") from error
    except ValueError as error:
        raise FileError(f"{where}: {error}") from error
    raise FileError(f"{where}: expected a result, a table, a mapping or a value, got {type(written).__name__}")
