"""Processes that tests start, looked up in /proc."""

import os
from pathlib import Path

import pytest

IN_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are looked up in /proc")


def is_there(process: int) -> bool:
    """Whether a process still runs; one that has ended and whose parent has not asked for it, a zombie, does not."""
    return not _status(process).get("State", "Z").startswith("Z")


def children(of: int | None = None) -> list[int]:
    """The processes that one, by default this one, has started."""
    found = ((int(path.name), _status(int(path.name))) for path in Path("/proc").glob("[0-9]*"))
    return [process for process, status in found if status.get("PPid") == str(of or os.getpid())]


def _status(process: int) -> dict[str, str]:
    """What /proc says of a process, by name; nothing if it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
