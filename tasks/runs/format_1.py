"""Runs of format 1, which say less of themselves: how they are read as those of today.

Their `run.json` is plain settings with `"format": 1`, and names neither kind nor checksum; the first ones name no kind of
task, no layout and no initial weights. Their files of tensors say nothing of what they are, and there is no manifest
unless `migrate` has given them one.
"""

from pathlib import Path
from typing import Any

from ...circuits.documents import check_inside
from ...circuits.manifest import Entry, Manifest
from .folder import CHECKPOINTS, KIND, METRICS, SETTINGS, TABLE, TABLES, TASK

FIRST_KIND = "two-hop"  # of runs whose run.json names no kind of task: there was no other


def is_format_1(found: Any) -> bool:
    """Whether the parsed `run.json` is of this format."""
    return isinstance(found, dict) and found.get("format") == 1 and "kind" not in found


def content_of(found: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` of format 2 has as its content."""
    content = {"initial": "", **{name: value for name, value in found.items() if name != "format"}}
    if isinstance(task := content.get("task"), dict):
        content["task"] = {"kind": FIRST_KIND, **task}
    return content


def manifest_of(folder: Path) -> Manifest:
    """What a manifest would say of the files that are there now.

    Raises:
        FileError: if one of them is a folder, a pipe, or a link that leads nowhere or out of the folder.
    """
    patterns = (SETTINGS, TASK, METRICS, f"{CHECKPOINTS}/step_*.safetensors", f"{TABLES}/*{TABLE}")
    paths = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in paths:
        check_inside(path, folder)
    return Manifest(folder, KIND, {path.relative_to(folder).as_posix(): Entry.of(path.read_bytes()) for path in paths})
