"""Text for a terminal that lacks characters: those of the package have a plain spelling, all others are escaped there."""

import sys
from typing import TextIO

PLAIN = str.maketrans({"→": "->", "−": "-", "≥": ">=", "≤": "<=", "′": "'", "≠": "!=", "∞": "inf", "Δ": "delta"})
"""What captions say in mathematical signs that the code pages of Western Windows do not have."""


def plain(text: str) -> str:
    """The text as any terminal can print it: signs spelled plainly, and what standard output cannot encode escaped.

    >>> plain("L0H1@h → logits@r2, effect ≥ 0.02")
    'L0H1@h -> logits@r2, effect >= 0.02'
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.translate(PLAIN).encode(encoding, "backslashreplace").decode(encoding)


def escape_what_it_lacks(stream: TextIO) -> None:
    """Let a program's stream escape characters that it cannot encode, where it would raise; for commands only."""
    if reconfigure := getattr(stream, "reconfigure", None):
        reconfigure(errors="backslashreplace")
