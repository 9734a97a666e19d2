"""Measurements cached on disk, so that a long analysis can resume: results, mappings of them and numbers as JSON."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import torch

from ...circuits import Result
from ...circuits.writing import write_atomic
from ...tasks import Run
from ..claims.specimens import Arms

MeasurementType = TypeVar("MeasurementType")


def cached(path: Path, kind: type[MeasurementType], measure: Callable[[], MeasurementType]) -> MeasurementType:
    """Return the cached measurement, or compute it and write it atomically.

    Args:
        path: of a JSON file whose name covers everything that the measurement depends on, see `fingerprint`.
        kind: a dataclass of results, mappings of results, strings and numbers.
        measure: called if there is no such file.

    Raises:
        ValueError: if the file holds something else.
    """
    if not path.is_file():
        measured = measure()
        fields = {field.name: getattr(measured, field.name) for field in dataclasses.fields(measured)}  # pyright: ignore
        write_atomic(path, json.dumps({name: _written(value) for name, value in fields.items()}))
    content = json.loads(path.read_text(encoding="utf-8"))  # a first call, too, so that it gives what later ones give
    if set(content) != (expected := {field.name for field in dataclasses.fields(kind)}):  # pyright: ignore
        raise ValueError(f"{path} holds {sorted(content)}, a {kind.__name__} has {sorted(expected)}; delete that file")
    return kind(**{name: _read(value) for name, value in content.items()})


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
            digest.update(parameter.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _written(value: Any) -> Any:
    if isinstance(value, Result):
        return {"result": type(value).__name__, "json": value.to_json()}
    if isinstance(value, pd.DataFrame):
        return {"result": "table", "json": Result(value).to_json()}
    if isinstance(value, Mapping):
        return {"mapping": {name: _written(item) for name, item in value.items()}}
    return value


def _read(value: Any) -> Any:
    if isinstance(value, dict) and "result" in value:
        if value["result"] == "table":
            return Result.from_json(value["json"]).table
        return Result.from_json(value["json"])
    if isinstance(value, dict):
        return {name: _read(item) for name, item in value["mapping"].items()}
    return value
