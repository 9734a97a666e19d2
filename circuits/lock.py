"""One writer at a time in a folder: a second process gets an error that names the first."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .documents import check_is_file

LOCK = ".lock"


class FolderInUseError(RuntimeError):
    """Another process writes into a folder; the message names both."""


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold a folder for writing, making it if need be. The system lets go of it if the process ends, however it ends.

    The file `.lock` stays in the folder, since removing it would let two writers in.

    Raises:
        FolderInUseError: if another writer holds it, in this process or another.
        OSError: if nothing can be written there, or `.lock` is a link, through which another file would be written.
        FileError: if `.lock` is no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / LOCK).is_symlink():
        raise OSError(errno.ELOOP, "the lock of a folder is a link; remove it", str(folder / LOCK))
    check_is_file(folder / LOCK)
    path, lock = folder / LOCK, FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderInUseError(
            f"{folder} is being written by {_holder(path)}; wait for it, stop it, or choose another folder"
        ) from error
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"
