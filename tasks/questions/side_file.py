"""What a data folder's published files cannot say: `grokscope.json`, which the published code ignores.

It holds the mixed test splits, the supervision, the seed, and size and checksum of each published file. It is written before
them: a folder is then complete if all of them are as it says, and one whose writing was stopped can never be taken for a
complete one, nor for a hand-made one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...circuits.arguments import LARGEST_SEED
from ...circuits.documents import FileError, opened, parsed, read_text, validated, write_document
from ...circuits.manifest import Entry
from .folder_items import Item
from .saved_task import Dose

SIDE_FILE = "grokscope.json"
KIND = "two-hop data folder"
FORMAT = 2
MIXED_TESTS = ("test_inferred_ood_id", "test_inferred_id_ood")
_HEADER = {"kind", "format", "version", "checksum", "content"}


class SideOfFormat1(BaseModel):
    """The side file of grokscope's first folders, which did not say what the other files are."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    supervision: Dose | None
    test_inferred_ood_id: list[Item]
    test_inferred_id_ood: list[Item]


class Side(SideOfFormat1):
    """A side file; `files` are the published ones, None in a folder of format 1."""

    files: dict[str, Entry] | None

    def mixed(self, split: str) -> list[Item]:
        """The items of one of `MIXED_TESTS`."""
        return getattr(self, split)

    def check(self, path: Path, data: Mapping[str, bytes]) -> None:
        """Raise unless the published files are those that were written with it.

        Args:
            path: of the side file.
            data: the files' bytes.

        Raises:
            FileError: if one is another.
        """
        if self.files is not None:
            check_files(self.files, path, data)


def check_files(files: Mapping[str, Entry], path: Path, data: Mapping[str, bytes]) -> None:
    """Raise unless a folder's files are those that a side file names.

    Raises:
        FileError: if one is another.
    """
    if files.keys() != data.keys():
        raise FileError(
            f"{path}: names {', '.join(files) or 'no file'}, expected {', '.join(data)}; "
            "take a copy or write the folder again"
        )
    if changed := [str(path.parent / name) for name in data if Entry.of(data[name]) != files[name]]:
        raise FileError(
            f"{', '.join(changed)}: other bytes than {path} says; a file was changed, or the writing of the folder was "
            f"stopped or is not over: write the folder again, or, if its files are right, delete {SIDE_FILE} to read "
            "it as a hand-made folder"
        )


def write_side(
    folder: Path, content: Mapping[str, Any], files: Mapping[str, bytes], *, kind: str = KIND, written_format: int = FORMAT
) -> None:
    """Write a folder's side file; `files` are the bytes that the others will have."""
    entries = {name: Entry.of(data).model_dump() for name, data in files.items()}
    write_document(folder / SIDE_FILE, kind, {**content, "files": entries}, written_format=written_format)


def read_side(path: Path) -> Side:
    """Read a side file of any format.

    Raises:
        FileError: if it is damaged or of another kind.
    """
    found = parsed(read_text(path), str(path))
    if isinstance(found, dict) and not _HEADER & found.keys():
        return _of_format_1(validated(SideOfFormat1, found, str(path)))
    return validated(Side, opened(found, str(path), [KIND], known_format=FORMAT).content, str(path))


def _of_format_1(side: SideOfFormat1) -> Side:
    return Side(**dict(side), files=None)
