"""Files that are complete or absent: written under a temporary name, then renamed. All of the library writes with this."""

import contextlib
import os
import uuid
from pathlib import Path

KEPT_OF_NAME = 60  # bytes; a folder may not take names much longer than the file's


def write_atomic(path: Path, content: str | bytes) -> Path:
    """Write a file atomically, making its folder if need be; a reader never sees half of it, nor a mix of two writers.

    Each call writes under a name that no other has, in the same folder, so that of several writers the last one wins.
    Contents and name are on the disk when it returns, so that a power cut leaves the file of before or this one. Whatever
    stops it, a full disk or an interrupt, the temporary file is removed. Text is written as UTF-8. Returns the path.

    Raises:
        OSError: if that is not possible; what was there before is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    kept = os.fsencode(path.name)[:KEPT_OF_NAME].decode(errors="ignore")
    partial = path.with_name(f".{kept}.{uuid.uuid4().hex}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        message = f"cannot write {len(data):,} bytes ({error.strerror}); what was there before is unchanged"
        raise OSError(error.errno, message, str(path)) from error
    return path


def _sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can."""
    if os.name != "posix":
        return
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
