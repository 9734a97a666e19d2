"""Calls on a cluster of dask, here one within this process, end when dask gives them up or no worker is left."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import Any

import joblib
import pytest
from joblib import delayed

from grokscope.circuits import cluster
from grokscope.circuits.workers import in_workers

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as found:
        yield found


@pytest.fixture
def client(local: Any) -> Iterator[Any]:
    with local.get_client() as found, joblib.parallel_config(backend="dask", client=found):
        found.wait_for_workers(1)
        yield found


def after(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number


def failing(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("as asked")
    return number


def given_by(calls: Iterator[Any]) -> list[Any]:
    with in_workers(calls, n_jobs=2) as results:
        return list(results)


def test_results_come_as_they_are_ready_and_calls_are_taken_one_by_one(client: Any) -> None:
    taken, came = [], []

    def calls() -> Iterator[Any]:
        for number, seconds in enumerate((0.5, 0.0, 0.0, 0.0)):
            taken.append(number)
            yield delayed(after)(seconds, number)

    with in_workers(calls(), n_jobs=2) as results:
        for number in results:
            came.append(number)
            assert len(taken) <= len(came) + 2
    assert came == [1, 2, 3, 0]


def test_an_error_of_a_call_is_raised_as_it_is(client: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="as asked"):
        given_by(delayed(failing)(number) for number in range(9))


def test_a_call_that_the_cluster_gives_up_breaks_off(client: Any) -> None:
    from distributed import Future

    def cancel() -> None:
        client.cancel([Future(key, client) for key in client.futures])

    threading.Timer(0.3, cancel).start()
    with pytest.raises(BrokenExecutor, match="gave up a call"):
        given_by(delayed(after)(1.0, number) for number in range(2))


def test_a_cluster_without_workers_is_not_waited_for(client: Any, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "WITHOUT_WORKERS", 0.3)
    threading.Timer(0.2, lambda: local.scale(0)).start()
    with pytest.raises(BrokenExecutor, match="without workers for 0 s"):
        given_by(delayed(after)(0.1, number) for number in range(600))
    local.scale(1)
