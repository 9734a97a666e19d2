"""Processes that tests start, looked up in /proc."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from joblib.externals.loky import get_reusable_executor

IN_PROC = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are looked up in /proc")


def is_there(process: int) -> bool:
    """Whether a process still runs; one that has ended and whose parent has not asked for it, a zombie, does not."""
    return not _status(process).get("State", "Z").startswith("Z")


def children(of: int | None = None) -> list[int]:
    """The processes that one, by default this one, has started."""
    found = ((int(path.name), _status(int(path.name))) for path in Path("/proc").glob("[0-9]*"))
    return [process for process, status in found if status.get("PPid") == str(of or os.getpid())]


def stopped(script: str, *arguments: str, number: signal.Signals, once: Callable[[], bool]) -> str:
    """The last line that a script of this folder says, stopped when something is so while it works in two processes.

    Ctrl-C reaches all processes of a terminal, SIGTERM the first one alone; either way none is left.
    """
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not once():
            time.sleep(0.05)
            assert process.poll() is None
        workers = [pid for pid in children(process.pid) if b"Loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        assert process.stderr
        said = process.stderr.read().strip().splitlines()
        assert process.wait(60) == 128 + number
    assert len(workers) == 2 and not any(is_there(pid) for pid in workers)
    return said[-1]


@contextmanager
def worker_killed(once: Callable[[], bool]) -> Iterator[None]:
    """One of two workers that are started meanwhile is killed when something is so."""
    get_reusable_executor().shutdown(wait=True)  # workers of another test
    before, killed = set(children()), []

    def kill_one() -> None:
        for _ in range(1200):
            time.sleep(0.05)
            new = [pid for pid in children() if pid not in before and b"loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            if len(new) > 1 and once():
                os.kill(new[-1], signal.SIGKILL)
                return killed.append(new[-1])

    killer = threading.Thread(target=kill_one)
    killer.start()
    yield
    killer.join()
    assert killed


def _status(process: int) -> dict[str, str]:
    """What /proc says of a process, by name; nothing if it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
