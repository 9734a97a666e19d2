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
_TO_DO = "make it writable, or write into a copy of it or another folder"


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
    with _naming_folder(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if (folder / LOCK).is_symlink():
        raise OSError(errno.ELOOP, "the lock of a folder is a link; remove it", str(folder / LOCK))
    check_is_file(folder / LOCK)
    path, lock = folder / LOCK, FileLock(folder / LOCK, timeout=0)
    try:
        with _naming_folder(folder):
            lock.acquire()
    except Timeout as error:
        raise FolderInUseError(
            f"{folder} is being written by {_holder(path)}; wait for it, stop it, or choose another folder"
        ) from error
    try:
        holder = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n"
        with _naming_folder(folder):
            path.write_text(holder)
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _naming_folder(folder: Path) -> Iterator[None]:
    """Say of what the system refuses which folder was to be written, and what to do."""
    try:
        yield
    except Timeout:  # is an OSError too
        raise
    except OSError as error:
        message = f"cannot write {LOCK} in this folder ({error.strerror}), which holds it for one writer; {_TO_DO}"
        raise OSError(error.errno, message, str(folder)) from error


def _holder(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip() or "another process"
    except OSError:
        return "another process"
