"""How far pruning came: which edges stay, what share of the gap they keep, which are next; it may be kept in a file."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool
from pydantic import ConfigDict

from ...circuits.documents import FileError, read_document, validated, write_document
from ...circuits.interrupts import Stop
from .kept import FORMAT, SAVE_EVERY, Question, stopped

KIND = "state of pruning"
FEWEST = 4  # steps that are tried at once


@dataclass
class Pruning:
    """Edges are tried one after the other, the last first.

    Attributes:
        stays: which of the graph's edges are not removed.
        share: of the gap that they keep.
        n_tried: edges, of the last ones.
        n_at_once: steps to be tried next.
        path: where this is kept.
        key: of the question that it belongs to.
    """

    stays: Bool[np.ndarray, " edge"]
    share: float = 1.0
    n_tried: int = 0
    n_at_once: int = FEWEST
    path: Path | None = None
    key: str = ""
    saved_at: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, n: int, least: float, question: Question | None) -> "Pruning":
        """The one that the question's folder keeps for this limit, or one that begins.

        Raises:
            FileError: if it is damaged, or of another question.
        """
        new = cls(np.ones(n, dtype=bool))
        if question is None:
            return new
        new.path, new.key = question.folder / f"pruning-{least!r}.json", question.key
        if not new.path.exists():
            return new
        found = validated(_Written, read_document(new.path, [KIND], known_format=FORMAT).content, str(new.path))
        if found.key != new.key or not all(0 <= edge < n for edge in found.removed):
            raise FileError(f"{new.path}: it is of another question; delete it, and edges are pruned again")
        new.stays[found.removed] = False
        new.share, new.n_tried, new.n_at_once = found.share, found.n_tried, found.n_at_once
        return new

    @property
    def left(self) -> list[int]:
        """The edges that are to be tried."""
        return list(range(len(self.stays) - self.n_tried))[::-1]

    def save_if_due(self) -> None:
        """Write the file now and then."""
        if time.perf_counter() - self.saved_at > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the file, if there is one."""
        if self.path is None:
            return
        content: dict[str, Any] = {"key": self.key, "removed": np.flatnonzero(~self.stays).tolist(), "share": self.share}
        content |= {"n_tried": self.n_tried, "n_at_once": self.n_at_once}
        write_document(self.path, KIND, content, written_format=FORMAT)
        self.saved_at = time.perf_counter()

    def stopped(self, stop: Stop) -> KeyboardInterrupt:
        """Save, and say how far it came and how to go on."""
        self.save()
        far = f"pruning: stopped with {self.n_tried:,} of {len(self.stays):,} edges tried"
        return stopped(stop, far, self.path)


@dataclass(frozen=True)
class _Written:
    """What the file holds."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")
    key: str
    removed: list[int]
    share: float
    n_tried: int
    n_at_once: int
