"""Text for a terminal that lacks characters: those of the package have a plain spelling, all others are escaped there."""

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TextIO

PLAIN = str.maketrans({"→": "->", "−": "-", "≥": ">=", "≤": "<=", "′": "'", "≠": "!=", "∞": "inf", "Δ": "delta"})
"""What captions say in mathematical signs that the code pages of Western Windows do not have."""


def plain(text: str) -> str:
    """The text as any terminal can print it: signs spelled plainly, and what standard output cannot encode escaped.

    >>> plain("L0H1@h → logits@r2, effect ≥ 0.02")
    'L0H1@h -> logits@r2, effect >= 0.02'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)


LONGEST = 120  # characters of what a record says of itself


def shortened(text: object, longest: int = 40) -> str:
    """A text in one line without control characters, its middle left out where it is longer: names differ at their ends.

    >>> shortened("a name of far too many words", 16)
    'a name ... words'
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    if len(line) <= longest:
        return line
    n_kept = longest - len(" ... ")
    return f"{line[: -(-n_kept // 2)].rstrip()} ... {line[len(line) - n_kept // 2 :].lstrip()}"


def named(text: object) -> str:
    r"""A name that anybody may have given, in quotes.

    >>> named("natural\n-g1")
    "'natural -g1'"
    """
    return repr(shortened(text))


def counted(n: int, one: str, several: str = "") -> str:
    """A number of things.

    >>> counted(1280, "fact"), counted(1, "entity", "entities")
    ('1,280 facts', '1 entity')
    """
    return f"{n:,} {one if n == 1 else several or one + 's'}"


def never_raising(describe: Callable[[Any], str]) -> Callable[..., str]:
    """Make a `__repr__` of a method that may fail: debuggers and tracebacks print records that are half made, too."""

    @wraps(describe)
    def __repr__(self: Any) -> str:
        try:
            return plain(describe(self))
        except Exception:  # whatever it lacks
            return f"{type(self).__name__}(incomplete)"

    return __repr__


def one_line(parts: Callable[[Any], Iterable[str]]) -> Callable[..., str]:
    """Make a `__repr__` of a method that gives what is to be said of a record: `Name(part, part)`, empty parts left out."""

    @never_raising
    @wraps(parts)
    def said(record: Any) -> str:
        return shortened(f"{type(record).__name__}({', '.join(filter(None, parts(record)))})", LONGEST)

    return said


def escape_what_it_lacks(stream: TextIO) -> None:
    """Let a program's stream escape characters that it cannot encode, where it would raise; for commands only."""
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
