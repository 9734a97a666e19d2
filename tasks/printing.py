"""How settings print themselves: as the shortest call that makes them again."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any


def as_call(config: Any, presets: Iterable[str] = (), *, changeable: bool = False) -> str:
    """Python code that makes a frozen dataclass again, without what is by default as it is.

    Args:
        config: whose fields are numbers, words, flags, None or tuples of them.
        presets: names of class methods that make other configs of the class without arguments.
        changeable: whether these take other values of single fields as keyword arguments; otherwise a preset is named only
            where the config is equal to it.
    """
    cls = type(config)
    starts = {cls.__name__: {each.name: each.default for each in fields(cls)}}
    starts |= {f"{cls.__name__}.{name}": vars(getattr(cls, name)()) for name in presets}
    calls = {start: _changes(config, base) for start, base in starts.items()}
    possible = [start for start in calls if changeable or start == cls.__name__ or not calls[start]]
    return min((f"{start}({', '.join(calls[start])})" for start in possible), key=len)


def _changes(config: Any, base: Mapping[str, Any]) -> list[str]:
    """The keyword arguments by which a config differs from a base; fields without a default are always given."""
    values = {each.name: getattr(config, each.name) for each in fields(config)}
    return [f"{name}={_code(value)}" for name, value in values.items() if base[name] is MISSING or base[name] != value]


def _code(value: Any) -> str:
    return "math.inf" if value == math.inf else repr(value)
