"""The fields of a record: as JSON and back, each of the type that its class declares."""

import dataclasses
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from .documents import FileError, naming_problems, problems_of
from .encoding import decode, encode

Record = TypeVar("Record")


def fields_to_json(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as JSON, see `encode`.

    Raises:
        TypeError: if one holds what cannot be written, or is not of its type, so that it could not be read; it says which.
    """
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    found = {name: encode(value, name) for name, value in values.items()}
    try:
        _schema(type(record)).model_validate(_plain(values))
    except ValidationError as error:
        raise TypeError(f"this {type(record).__name__} cannot be saved: {'; '.join(problems_of(error))}") from error
    return found


def from_fields(kind: type[Record], content: Any, where: str) -> Record:
    """A dataclass of the fields that `fields_to_json` gave; those that have a default may be missing, as in older files.

    Args:
        kind: the dataclass.
        content: JSON.
        where: the name of the file, for messages.

    Raises:
        FileError: if the content is of other fields, types or values; it says all of them.
    """
    if not isinstance(content, dict):
        raise FileError(f"{where}: the content of a {kind.__name__} is an object, got {type(content).__name__}")
    values, damaged = {}, []
    for name, item in content.items():
        try:
            values[name] = decode(item, name)
        except ValueError as error:
            damaged.append(f"{name}: {error}")
    if damaged:
        raise FileError(f"{where}: this {kind.__name__} is damaged: {'; '.join(damaged)}; take a copy or make it again")
    return record_of(kind, values, where)


def record_of(kind: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """A dataclass of values that were read from a file, unless one is not of its type.

    Raises:
        FileError: with all that is wrong.
    """
    with naming_problems(f"{where}: this {kind.__name__} is damaged"):
        _schema(kind).model_validate(_plain(values))
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:  # what the class itself asks of its values
        raise FileError(f"{where}: this {kind.__name__} is damaged: {error}; take a copy or make it again") from error


def declared_types(kind: type) -> dict[str, Any]:
    """The types of the fields of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@cache
def _schema(kind: type) -> type[BaseModel]:
    """What pydantic knows of the fields; it only checks, so that values stay as they are, to the last digit."""
    none = dataclasses.MISSING
    needed = {f.name for f in dataclasses.fields(kind) if f.default is none and f.default_factory is none}
    types: Any = {name: (each, ... if name in needed else None) for name, each in declared_types(kind).items()}
    settings = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    return create_model(kind.__name__, __config__=settings, **types)


def _plain(value: Any) -> Any:
    """A value as pydantic takes it: no scalars of numpy, and no characters that UTF-8 does not know."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_plain(name): _plain(item) for name, item in value.items()}
    return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
