"""What is read, and what reading it must give."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from same import assert_same


@dataclasses.dataclass(frozen=True)
class Subject:
    """A sound folder, and how it is read.

    Attributes:
        name: for the report; several subjects may share one.
        sound: the folder; never changed.
        read: gives all that a folder says, in values that `assert_same` compares.
        saved: what it must give.
        asked: the file that the caller names, which may be a link to any place; empty if the caller names the folder.
        twin: another sound folder with files of the same names.
        is_right: judges what a damaged folder gave though it is not what was saved: True if that is what the files say
            now, as in a folder for which another file of the right kind was put.
        share: of the cases, relative to other subjects.
    """

    name: str
    sound: Path
    read: Callable[[Path], Any]
    saved: Any
    asked: str = ""
    twin: Path | None = None
    is_right: Callable[[Path, Any], bool] = lambda folder, found: False
    share: float = 1.0

    @property
    def files(self) -> list[str]:
        """Those that may be damaged, by their path in the folder."""
        there = sorted(str(path.relative_to(self.sound)) for path in self.sound.rglob("*") if path.is_file())
        return [self.asked] if self.asked else there


def same(one: Any, other: Any) -> bool:
    """Whether two values agree to the last digit."""
    try:
        assert_same(one, other)
    except (AssertionError, ValueError):  # ValueError: of another length
        return False
    return True


def bits(value: Any) -> tuple[str, tuple[int, ...], bytes]:
    """A tensor or array as something that is compared at once."""
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    return str(array.dtype), tuple(array.shape), array.tobytes()
