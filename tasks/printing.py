"""How questions print themselves; see `circuits.plain_text` for what a terminal can show."""

from dataclasses import fields
from typing import Any

from ..circuits.plain_text import plain


def printed(record: Any) -> str:
    """A dataclass as Python prints it, in characters that the terminal has."""
    columns = ", ".join(f"{each.name}={getattr(record, each.name)!r}" for each in fields(record))
    return plain(f"{type(record).__name__}({columns})")
