"""Calls in worker processes that can be stopped: workers answer to the process that started them, not to the terminal.

Ctrl-C in a terminal reaches every process there. Workers hold SIGINT and SIGTERM back from their first moment on, so that
none dies of it and complains; who started them kills them, or tells them to stop where a call listens.
"""

import contextlib
import multiprocessing
import os
import signal
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.backend import resource_tracker as loky_tracker
from joblib.externals.loky.backend.process import LokyProcess

from .cluster import active_cluster, on_cluster
from .interrupts import SIGNALS

CAN_HOLD_BACK = hasattr(signal, "pthread_sigmask")


@contextlib.contextmanager
def in_workers(calls: Iterable[Any], *, n_jobs: int) -> Iterator[Iterator[Any]]:
    """What calls give, in the order in which they come; the next call is taken when one ends, so that none waits in a queue.

    Args:
        calls: made by `joblib.delayed`.
        n_jobs: at a time; −1 for one on each core. 1 is in this process. A cluster decides for itself.

    Raises:
        BrokenExecutor: if workers were killed, by what is taken from the calls.
    """
    if (client := active_cluster()) is not None:
        with contextlib.closing(on_cluster(client, calls)) as found:
            yield found
        return
    # as a generator, which joblib's backend `multiprocessing` refuses: it forks, and hangs after torch has used threads
    how: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "n_jobs"}
    with warnings.catch_warnings():
        # loky replaces a worker whose memory has grown by 300 MB since its first call, as that of torch does, which keeps
        # what it has freed. It does so between calls, so that nothing is lost, and yet warns of it.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor", UserWarning)
        warnings.filterwarnings("ignore", "[0-9]+ tasks ", UserWarning)  # were cancelled: of who stops early, who knows it
        with _held_back():  # while joblib starts workers, and the thread that starts later ones; both inherit it
            found: Any = Parallel(n_jobs=n_jobs, **how)(calls)
        with contextlib.closing(found):
            yield found


def listening() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM through within the block, for a call that notices it."""
    return _masked([signal.SIGTERM], hold=False)


def tell_workers(_signal: int) -> None:
    """Send SIGTERM to the workers of this process; to be called when one was noticed here."""
    for worker in _workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)


def end_workers() -> None:
    """End the workers of this process, so that none is left, nor anything that they were told."""
    if _workers():
        get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


def _workers() -> list[int]:
    return [each.pid for each in multiprocessing.active_children() if isinstance(each, LokyProcess) and each.pid]


def _held_back() -> contextlib.AbstractContextManager[None]:
    if CAN_HOLD_BACK:
        for tracker in (resource_tracker, loky_tracker):  # to start these lets signals through again
            tracker.ensure_running()
    return _masked(SIGNALS, hold=True)


@contextlib.contextmanager
def _masked(signals: Iterable[signal.Signals], *, hold: bool) -> Iterator[None]:
    """Hold signals back within the block, or let them through, where the system can."""
    if not CAN_HOLD_BACK:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK if hold else signal.SIG_UNBLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
