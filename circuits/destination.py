"""Where something will be written: whether it can be, said before the work whose result it would hold."""

import contextlib
import os
import shutil
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .arguments import shortly

LONGEST_NAME = 200  # bytes; most file systems take 255, and temporary names and endings are longer than the name
MOST_OF_NAME = 255  # bytes
MOST_OF_PATH = 4000  # bytes; some of the 4,096 that Linux takes are for the names of files in a folder
RESERVED = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
"""Names that Windows has for devices, whatever ending follows."""
REFUSED = '<>:"/\\|?*'


PAGE_SUFFIXES = (".html", ".htm", "")


def folder_problems(**folders: Any) -> list[str]:
    """Which arguments, by name, are no folders in which files can be written; they need not be there yet.

    Nothing is left: a file without a name is opened in the nearest folder that is there, since rights alone do not tell.
    """
    found = ((name, given, _why_no_path(given) or _why_no_folder(given)) for name, given in folders.items())
    return [f"{name} is {_said(given)}, needed is a folder to write in: {why}" for name, given, why in found if why]


def file_problems(**files: Any) -> list[str]:
    """Which arguments, by name, are no files that can be written; their folder need not be there yet."""
    found = ((name, given, _why_no_path(given) or _why_no_file(given)) for name, given in files.items())
    return [f"{name} is {_said(given)}, needed is a file to write: {why}" for name, given, why in found if why]


def page_problems(**files: Any) -> list[str]:
    """Which arguments, by name, are no files that a page can be written to: they are called .html, or end in no such way."""
    if problems := file_problems(**files):
        return problems
    wrong = {name: given for name, given in files.items() if Path(given).suffix.lower() not in PAGE_SUFFIXES}
    return [f"{name} is {_said(given)}, needed is a file that ends in .html: it is a page" for name, given in wrong.items()]


def input_problems(**paths: Any) -> list[str]:
    """Which arguments, by name, are no paths at all; whether there is something is for those to say who read it."""
    found = ((name, given, _why_no_path(given)) for name, given in paths.items())
    return [f"{name} is {_said(given)}, needed is a path: {why}" for name, given, why in found if why]


def file_name_problems(what: str, names: Sequence[Any]) -> list[str]:
    """Why names cannot be those of folders next to each other, on any system that a study may be copied to."""
    problems = [f"{what} {_said(name)} {why}" for name in names if (why := _why_no_name(name))]
    folded = Counter(_folded(name) for name in set(filter(_is_text, names)))
    alike = sorted({name for name in filter(_is_text, names) if folded[_folded(name)] > 1})
    if alike:
        problems.append(f"{what}s {', '.join(map(repr, alike))} differ in case or accents only and may be one folder")
    return problems


def room_problems(folder: str | Path, n_bytes: int, what: str) -> list[str]:
    """Why a disk is too small for what is known to be written."""
    free = shutil.disk_usage(_nearest(Path(folder))).free
    if n_bytes <= free:
        return []
    return [f"{what} takes {n_bytes:,} bytes in {folder}, where {free:,} are free"]


def _why_no_path(given: Any) -> str:
    if not isinstance(given, str | os.PathLike) or not isinstance(text := os.fspath(given), str) or not text or "\0" in text:
        return "this is no path"
    if not _can_be_written(text):
        return "it holds halves of characters (surrogates), which no text has"
    if wrong := [part for part in Path(text).parts if len(os.fsencode(part)) > MOST_OF_NAME]:
        return f"a name in it has {len(os.fsencode(wrong[0]))} bytes, file systems take {MOST_OF_NAME}"
    if (n_bytes := len(os.fsencode(Path(text).absolute()))) > MOST_OF_PATH:
        return f"the whole path has {n_bytes} bytes, systems take {MOST_OF_PATH}"
    return ""


def _why_no_folder(given: Any) -> str:
    there = _nearest(Path(given))
    if not there.is_dir():
        return f"{there} is a file"
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return f"nothing can be written in {there} ({error.strerror})"
    return ""


def _why_no_file(given: Any) -> str:
    if Path(given).is_dir():
        return "this is a folder"
    return _why_no_folder(Path(given).parent)


def _why_no_name(name: Any) -> str:
    if not _is_text(name) or not name.strip():
        return "is no name of a folder"
    if wrong := sorted({sign for sign in name if sign in REFUSED or not sign.isprintable()}):
        return f"is no name of a folder: it holds {', '.join(map(repr, wrong))}"
    if name in (".", "..") or name != name.strip() or name.endswith("."):
        return "is no name of a folder: it begins or ends with a space, or ends with a dot"
    if name.partition(".")[0].strip().lower() in RESERVED:
        return "is no name of a folder: Windows keeps it for a device"
    if len(name.encode()) > LONGEST_NAME:
        return f"is no name of a folder: it is longer than {LONGEST_NAME} bytes"
    return ""


def _nearest(path: Path) -> Path:
    """The path, or the nearest of the folders above it that is there."""
    for each in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            if os.path.lexists(each):
                return each
    return Path(path.absolute().anchor)


def _can_be_written(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


def _is_text(name: Any) -> bool:
    return isinstance(name, str)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _said(given: Any) -> str:
    text = str(given)
    if not isinstance(given, os.PathLike):
        return shortly(given)
    return text if len(text) < LONGEST_NAME and _can_be_written(text) else shortly(text)
