"""What a damage gets to work on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MANIFEST = "manifest.json"


@dataclass
class Target:
    """One file of a copied folder.

    Attributes:
        folder: the copy.
        name: of the file in it.
        rng: for all choices.
        foreign: files of other subjects.
        twin: a sound folder of the same kind with other content; None if there is none.
        elsewhere: an empty folder outside.
        decoy: a file outside to which the damage made a link.
        is_forged: whether the file was given a new checksum, so that its content is changed but not damaged.
        held: a file descriptor to be closed after the reading.
        needs_rights: whether the damage shows only to someone who is not root.
    """

    folder: Path
    name: str
    rng: np.random.Generator
    foreign: Sequence[Path]
    twin: Path | None
    elsewhere: Path
    decoy: Path | None = field(default=None, init=False)
    is_forged: bool = field(default=False, init=False)
    held: int | None = field(default=None, init=False)
    needs_rights: bool = field(default=False, init=False)

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def suffix(self) -> str:
        return self.path.suffix

    def place(self, data: bytes) -> int:
        """A random place in some bytes."""
        return int(self.rng.integers(max(1, len(data))))

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]


Damage = Callable[[Target], str]
"""Changes the file and says what was done; an empty text if there is nothing of that kind to damage."""
