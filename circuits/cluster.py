"""Calls on a dask cluster, whose workers may be killed.

The calls go through dask's client instead of joblib, whose backend `dask` waits for ever for a call that dask has given up.
Dask itself does the calls again that were lost with a worker, and those whose results were lost before they came here.
A cluster without workers would also be waited for without end.
"""

import time
from collections.abc import Generator, Iterable
from concurrent.futures import BrokenExecutor
from functools import partial
from itertools import islice
from typing import Any

from joblib.parallel import get_active_backend

LOOK_EVERY = 0.02  # seconds
WITHOUT_WORKERS = 60.0  # seconds that a cluster may be without any; those that are killed take some to start again


def active_cluster() -> Any | None:
    """The client of the cluster that joblib was told to use; None if it is to use something else."""
    backend: Any = get_active_backend()[0]  # pyright: ignore  # which joblib does not type
    return getattr(backend, "client", None)


def on_cluster(client: Any, calls: Iterable[Any]) -> Generator[Any, None, None]:
    """What calls give, in the order in which they come; as many at a time as the cluster has threads.

    Args:
        client: of the cluster.
        calls: made by `joblib.delayed`.

    Raises:
        BrokenExecutor: if dask gives up a call, after several workers died of it, or if no worker is left.
    """
    from distributed import CancelledError, KilledWorker, as_completed  # which need not be installed

    left, running = iter(calls), as_completed([], loop=client.loop, with_results=True)
    try:
        while True:
            n_free = max(1, sum(client.ncores().values())) - running.count()  # workers come and go
            for function, args, options in islice(left, max(0, n_free)):
                running.add(client.submit(partial(function, *args, **options), pure=False))
            if running.is_empty():
                return
            _wait(client, running)
            _, given = next(running)
            if isinstance(given, CancelledError):
                raise given
            yield given
    except (KilledWorker, CancelledError) as error:
        raise BrokenExecutor(f"the cluster gave up a call: {error}") from error
    finally:
        if client.status == "running":
            client.cancel([*running.futures])


def _wait(client: Any, running: Any) -> None:
    """Until a call has ended, as long as there are workers."""
    alive = time.monotonic()
    while not running.has_ready():
        time.sleep(LOOK_EVERY)
        if client.ncores():
            alive = time.monotonic()
        elif time.monotonic() - alive > WITHOUT_WORKERS:
            raise BrokenExecutor(f"the cluster has been without workers for {WITHOUT_WORKERS:.0f} s")
