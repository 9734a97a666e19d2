"""What a reading may take and touch: a few seconds, half a GiB more than before, and files of its folder alone."""

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 5.0
N_BYTES = 2**29
NOBODY = 65534  # a user that may do nothing, on every Linux
_AT_HOME = tuple({sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/usr", "/etc", "/proc", "/sys", "/lib"})
"""Where Python, its packages and this repository are: imports and assets are read at any time."""
_DEVICES = ("/dev/null", "/dev/urandom")
_NAMED = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1, "os.link": 2, "os.symlink": 1}
"""Events that change a folder, with how many of their arguments are paths."""
_watched: list["Watch"] = []
_hooked: list[bool] = []


class TooMuchTaken(BaseException):
    """A reading took longer than it may; no `except Exception` of the library holds it back."""


class Watch:
    """Notes what is opened, made, renamed or removed outside a folder.

    Rust opens files without telling Python: see `set_decoy`.
    """

    def __init__(self, folder: Path, may_read: Path | None = None) -> None:
        self.folder = os.path.realpath(folder)
        self.readable = _AT_HOME + ((os.path.realpath(may_read), "/dev/zero") if may_read else ())
        self.outside: list[str] = []

    def note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = any(sign in (mode or "") for sign in "wax+") or bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))
            if isinstance(path, str | bytes | os.PathLike):
                self._check(os.path.realpath(os.fsdecode(path)), writes)
        elif event in _NAMED:
            for path in arguments[: _NAMED[event]]:
                above, name = os.path.split(os.path.abspath(os.fsdecode(path)))
                self._check(os.path.join(os.path.realpath(above), name), True)

    def _check(self, path: str, writes: bool) -> None:
        if path == self.folder or path.startswith(self.folder + os.sep) or "__pycache__" in path or path in _DEVICES:
            return
        if not writes and path.startswith(self.readable):
            return
        self.outside.append(f"{'writes' if writes else 'reads'} {path}")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and (event == "open" or event in _NAMED):
        _watched[-1].note(event, arguments)


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Let a watch note what happens."""
    if not _hooked:
        sys.addaudithook(_hook)  # there is no way to remove one
        _hooked.append(True)
    _watched.append(watch)
    try:
        yield
    finally:
        _watched.pop()


def set_decoy(path: Path) -> None:
    """Make it visible whether a file is read from now on, also on file systems that note only the first access."""
    os.utime(path, (0, path.stat().st_mtime))


def decoy_was_read(path: Path) -> bool:
    """Whether it was."""
    return path.stat().st_atime != 0


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Stop what takes too much time (`TooMuchTaken`) or memory (MemoryError)."""

    def stop(*_: object) -> None:
        raise TooMuchTaken(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + N_BYTES, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(12 * SECONDS, exit=True, file=sys.__stderr__)  # for what hears no signal
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def without_rights(asked: bool) -> Iterator[None]:
    """Be nobody for a while, if root asks: the super-user may read whatever its permissions say."""
    if not asked or os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
