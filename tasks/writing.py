"""Files that are complete or absent: written under a temporary name, then renamed."""

import contextlib
import os
from pathlib import Path


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file atomically, making its folder if need be; a reader never sees half of it.

    Raises:
        OSError: if that is not possible; what was there before is unchanged.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        message = f"cannot write {len(content):,} bytes ({error.strerror}); what was there before is unchanged"
        raise OSError(error.errno, message, str(path)) from error
