"""Long lists of numbers in a page: as base64 of their bytes, a third of their digits' length and read in a moment.

Six digits of an effect go into four bytes and come out again. They are not compressed: the digits of measured numbers are
not alike. Scripts are; browsers unpack them in a promise, until when the still picture stands.
"""

import base64
import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

FLOATS, WHOLES = ("effect", "stderr", "value", "low", "high"), ("kept", "estimated", "senders", "receivers", "shown", "node")
SHORT = 8  # numbers; fewer are written as digits


def packed(data: Any) -> Any:
    """The data with the lists under the names of `FLOATS` and `WHOLES` packed, at any depth.

    Floats become {"f32": base64}, whole numbers {"u16": base64} or {"u32": base64}, little-endian; None is not-a-number.
    """
    if isinstance(data, Mapping):
        return {name: _list(name, each) if name in FLOATS + WHOLES else packed(each) for name, each in data.items()}
    return [packed(each) for each in data] if isinstance(data, list) else data


def packed_text(text: str) -> str:
    """A text compressed, in letters."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _list(name: str, numbers: Sequence[float | None]) -> Any:
    if len(numbers) < SHORT:
        return numbers
    if name in FLOATS:
        return {"f32": _text(np.array(numbers, dtype=float).astype("<f4"))}
    whole = np.array(numbers, dtype=np.int64)
    kind = "u2" if whole.max() < 2**16 else "u4"
    return {"u16" if kind == "u2" else "u32": _text(whole.astype(f"<{kind}"))}


def _text(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.tobytes()).decode()
