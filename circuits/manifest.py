"""A folder's manifest: its files with size and checksum. It is written last, so that what it names is complete.

A reader takes of a folder what the manifest names and nothing else: a file that was written after it, or one that is
half there since its writer was killed, is not part of the folder.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .documents import FileError, check_inside, read_document, validated, write_document
from .plain_text import counted, named, one_line, shortened

MANIFEST = "manifest.json"
FORMAT = 1


class Entry(BaseModel):
    """One file: its size and the SHA-256 of its bytes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    n_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, data: bytes) -> "Entry":
        """The entry of a file with these bytes."""
        return cls(n_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Manifest:
    """What a folder holds.

    Attributes:
        folder: on disk.
        kind: of the folder, such as `run`.
        files: by their path in the folder, with `/` on every system.
    """

    folder: Path
    kind: str
    files: Mapping[str, Entry]

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield named(self.folder)
        yield f"of a {shortened(self.kind)}"
        yield counted(len(self.files), "file")

    def write(self) -> Path:
        """Write it into its folder, atomically; returns the path."""
        content = {"files": {name: self.files[name].model_dump() for name in sorted(self.files)}}
        return write_document(self.folder / MANIFEST, f"manifest of a {self.kind}", content, written_format=FORMAT, indent=1)

    @classmethod
    def read(cls, folder: Path, kind: str) -> "Manifest":
        """Read a folder's manifest.

        Raises:
            FileNotFoundError: if there is none.
            FileError: if it is no file, damaged, of a folder of another kind, or names a file outside the folder.
        """
        path = folder / MANIFEST
        check_inside(path, folder)
        document = read_document(path, [f"manifest of a {kind}"], known_format=FORMAT)
        content = validated(_Content, document.content, str(path))
        if outside := [name for name in content.files if not _is_inside(name)]:
            raise FileError(f"{path}: names of files are paths in the folder, got {', '.join(map(repr, outside))}")
        return cls(folder, kind, content.files)

    def bytes_of(self, name: str, *, may_have_grown: bool = False) -> bytes:
        """The bytes of one of the files, checked.

        Args:
            name: its path in the folder.
            may_have_grown: whether it is a file to which rows are added; what was added after the manifest is left out.

        Raises:
            OSError: if the file is gone or cannot be read, FileNotFoundError and PermissionError among them.
            FileError: if the manifest does not name it, it has other bytes, or it is no file or a link out of the folder.
        """
        path = self.folder / name
        if name not in self.files:
            raise FileError(f"{self.folder / MANIFEST} does not name {name}; it names {', '.join(self.files) or 'no file'}")
        check_inside(path, self.folder)
        data, entry = _read(path, self.kind), self.files[name]
        if may_have_grown:
            data = data[: entry.n_bytes]
        if (found := Entry.of(data)) != entry:
            raise FileError(
                f"{path}: its {found.n_bytes:,} bytes have the checksum {found.sha256[:12]}…, {MANIFEST} says "
                f"{entry.n_bytes:,} bytes with {entry.sha256[:12]}…; it was damaged or changed: take a copy or make it again"
            )
        return data


def is_there(folder: Path) -> bool:
    """Whether a folder has a manifest, or something in its place that `Manifest.read` then names."""
    return os.path.lexists(folder / MANIFEST)


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{MANIFEST} of this {kind} names a file that {_why(error)}; take a copy of it or make the {kind} again"
        raise OSError(error.errno, message, str(path)) from error


def _why(error: OSError) -> str:
    return "is gone" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    files: dict[str, Entry]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    is_plain = (
        name == path.as_posix() and name not in ("", ".") and "\\" not in name and ":" not in name and "\0" not in name
    )
    return is_plain and not path.is_absolute() and ".." not in path.parts
