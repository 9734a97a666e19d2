"""Shards measured in other processes give the bits of one process, however many there are, stopped or killed."""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from conftest import calm_model, random_model, random_pairs, strong_model, wide_pairs
from joblib._parallel_backends import ThreadingBackend
from joblib.externals.loky.process_executor import TerminatedWorkerError
from patched_in_workers import measured
from processes import IN_PROC, stopped, worker_killed
from torch import nn

from grokscope.analyses import PatchingResult, discover, path_patch
from grokscope.analyses.patching import workers
from grokscope.analyses.patching.kept import Changes
from grokscope.analyses.patching.sent_model import received, sent
from grokscope.analyses.patching.shards import MOST_RUNS, shards_of
from grokscope.analyses.patching.workers import Workers, on_threads
from grokscope.circuits import Edge

BUDGET = 2**21  # bytes: several batches, and several parts of each
QUIET: dict[str, Any] = {"progress": False, "per_query": True, "max_memory": BUDGET}


class Elsewhere(ThreadingBackend):
    """Stands for other processes, which take seconds to start: what a call is given and gives goes through pickle."""

    supports_sharedmem = False
    dies: Callable[[int], bool] = staticmethod(lambda number: False)
    n_calls = 0

    def submit(self, func: Any, callback: Any = None) -> Any:
        Elsewhere.n_calls += 1
        number, sent_call = Elsewhere.n_calls, pickle.dumps(func)

        def call() -> Any:
            if Elsewhere.dies(number):
                raise TerminatedWorkerError("a worker was killed")
            return pickle.loads(pickle.dumps(pickle.loads(sent_call)()))

        return super().submit(call, callback)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The backend, and a torch of one thread, as workers have; no worker is ended that another test may have started."""
    joblib.register_parallel_backend("elsewhere", Elsewhere)
    monkeypatch.setattr(Elsewhere, "n_calls", 0)
    with on_threads(1):
        yield


@contextmanager
def in_others(n_jobs: int = 2) -> Iterator[None]:
    with joblib.parallel_config(backend="elsewhere", n_jobs=n_jobs):
        yield


def same(one: PatchingResult, other: PatchingResult) -> bool:
    assert one.deltas is not None and other.deltas is not None
    return one.to_json() == other.to_json() and one.deltas.tobytes() == other.deltas.tobytes()


@pytest.mark.parametrize("options", [{}, {"max_memory": None, "direction": "denoising"}, {"positions": "together"}])
def test_any_number_of_workers_gives_the_bits_of_one_process(options: dict[str, Any]) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=12)
    whole = path_patch(model, pairs, **{**QUIET, **options})
    assert Elsewhere.n_calls == 0
    for n_jobs in (2, 3):
        before = Elsewhere.n_calls
        with in_others(n_jobs):
            assert same(path_patch(model, pairs, **{**QUIET, **options}), whole)
        assert Elsewhere.n_calls > before, "it is measured there"


def test_discovery_passes_its_work_on() -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=12)
    whole = discover(model, pairs, greedy=0.02, progress=False)
    with in_others():
        assert discover(model, pairs, greedy=0.02, progress=False).to_json() == whole.to_json()
    assert Elsewhere.n_calls > 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of threads, which cannot be killed
@pytest.mark.parametrize("finished_by", [in_others, lambda: joblib.parallel_config(n_jobs=1)])
def test_a_stopped_call_goes_on_here_or_there_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished_by: Callable[[], Any]
) -> None:
    model, pairs, note, noted = strong_model(3), wide_pairs(3, n=12), Changes.note, []
    whole = path_patch(model, pairs, **QUIET)
    ended: list[int] = []
    monkeypatch.setattr(
        sys.modules[path_patch.__module__.replace("exact", "effects")], "end_workers", lambda: ended.append(1)
    )

    def stopped(*args: Any) -> None:
        note(*args)
        noted.append(1)
        if len(noted) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Changes, "note", stopped)
    with in_others(), pytest.raises(KeyboardInterrupt, match=r"measured, kept in .*; the same call goes on") as raised:
        path_patch(model, pairs, keep_in=tmp_path, **QUIET)
    assert raised.value.exit_code == 143 and ended == [1] and len(noted) == 5  # pyright: ignore
    before = Elsewhere.n_calls
    with finished_by():
        assert same(path_patch(model, pairs, keep_in=tmp_path, **QUIET), whole)
    n_shards = n_there(model, pairs)
    if finished_by is in_others:
        assert Elsewhere.n_calls - before - n_shards == n_shards - 5, "nothing is measured twice"


def n_there(model: Any, pairs: Any) -> int:
    """Calls that all shards are."""
    before = Elsewhere.n_calls
    with in_others():
        path_patch(model, pairs, **QUIET)
    return Elsewhere.n_calls - before


def test_what_killed_workers_had_begun_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=12)
    whole, n_shards = path_patch(model, pairs, **QUIET), n_there(model, pairs)
    monkeypatch.setattr(Elsewhere, "dies", staticmethod(lambda number: number % 5 == 0))
    before = Elsewhere.n_calls
    with in_others():
        assert same(path_patch(model, pairs, **QUIET), whole)
    assert Elsewhere.n_calls - before > n_shards
    monkeypatch.setattr(Elsewhere, "dies", staticmethod(lambda number: True))
    with (
        in_others(),
        pytest.raises(RuntimeError, match=r"killed 5 times in a row before any of 2 had finished a shard; if mem"),
    ):
        path_patch(model, pairs, **QUIET)


def broken(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
    """A metric that fails, but not on plain runs."""
    if len(logits) > 12:
        raise ZeroDivisionError("as asked")
    return logits[:, 0] - logits[:, 1]


def test_an_error_of_the_work_itself_is_raised_and_not_tried_again() -> None:
    with in_others(), pytest.raises(ZeroDivisionError, match="as asked"):
        path_patch(strong_model(3), wide_pairs(3, n=12), progress=False, metric=broken)
    assert Elsewhere.n_calls <= 5


def test_one_bar_counts_what_all_measure(lines: Callable[[], list[str]], tmp_path: Path) -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=12)
    with in_others():
        path_patch(model, pairs, **{**QUIET, "progress": True}, keep_in=tmp_path)
    said = lines()
    assert len(said) > 3 and all(line.startswith("patching: ") for line in said)
    assert said[-1].startswith("patching: 1,128 of 1,128 runs in ")


def test_work_stays_in_this_process_unless_joblib_is_told_otherwise() -> None:
    assert Workers.asked() is None
    for here in ({"n_jobs": 1}, {"backend": "threading", "n_jobs": 2}, {"backend": "loky"}, {"backend": "sequential"}):
        with joblib.parallel_config(**here):
            assert Workers.asked() is None, here
    with joblib.parallel_config(n_jobs=3):
        assert Workers.asked() == Workers(3, 1)
    with joblib.parallel_config(backend="loky", n_jobs=2, inner_max_num_threads=4):
        assert Workers.asked() == Workers(2, 4)
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2), pytest.raises(ValueError, match="Multiprocessing"):
        path_patch(strong_model(3), wide_pairs(3), progress=False)


def test_shards_depend_on_targets_and_pairs_alone_and_hold_each_target_once() -> None:
    edges = [
        Edge.parse(f"embed@p{p} -> L{layer}H{head}.{i}@p{p}")
        for p in "012"
        for layer in (0, 1)
        for head in (0, 1)
        for i in "qkv"
    ]
    edges += [Edge.parse(f"L0H0@p{p} -> logits@p2") for p in "2"]
    shards = shards_of(edges, MOST_RUNS // 4)
    assert sorted(np.concatenate(shards)) == list(range(len(edges))) and max(map(len, shards)) == 4
    assert all(len({(edges[i].receiver.layer, edges[i].receiver.role) for i in shard}) == 1 for shard in shards)
    assert [shard.tolist() for shard in shards_of(edges, 10 * MOST_RUNS)] == [[i] for shard in shards for i in shard]


def test_a_model_arrives_as_it_was_sent(tmp_path: Path) -> None:
    model = calm_model(0, n_layers=4, n_blocks=2)
    head = model.unembed
    head.W_U = nn.Parameter(head.W_U.detach().T.contiguous().T)  # which lies in memory the other way
    model.last = (2 * head.W_U).sum(0)  # as some models keep what is no leaf
    there, size = sent(model, tmp_path / "a"), (tmp_path / "a").stat().st_size
    travelled = pickle.loads(pickle.dumps(there))
    found, tokens = received(travelled), random_pairs(0).clean
    assert torch.equal(found(tokens), model(tokens)) and torch.equal(found.last, model.last)
    assert found.unembed.W_U.stride() == head.W_U.stride() and found.blocks[0].attn.W_Q is found.blocks[2].attn.W_Q
    assert len({*map(id, found.parameters())}) == len({*map(id, model.parameters())})
    assert size < 1.1 * sum(each.numel() * each.element_size() for each in (*model.parameters(), *model.buffers()))
    assert model.unembed.W_U.device.type == "cpu" and not any(each.is_meta for each in found.parameters())
    sizes = [len(pickle.dumps(sent(random_model(0, d_mlp=d_mlp), tmp_path / "b"))) for d_mlp in (16, 1600)]
    assert abs(sizes[1] - sizes[0]) < 100, "what is sent with every call does not grow with the weights"


def test_a_worker_keeps_one_model_and_says_if_it_does_not_see_it(tmp_path: Path) -> None:
    there = sent(random_model(0), tmp_path / "a")
    engines = [workers._HELD.once("engine", key, lambda: received(there)) for key in "aab"]
    assert engines[0] is engines[1] is not engines[2]
    (tmp_path / "a").unlink()
    with pytest.raises(FileNotFoundError, match="name a folder by keep_in= that all workers see"):
        received(there)


@pytest.mark.slow
@IN_PROC
def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    whole, there = measured(tmp_path / "whole", 0.0), tmp_path / "there"
    with (
        worker_killed(once=lambda: len([*there.glob("measured-*")]) > 3),
        joblib.parallel_config(backend="loky", n_jobs=2),
    ):
        found = measured(there, 0.2)
    assert same(found, whole)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n_killed", [1, 2])  # all of them take with them what was sent
def test_killed_workers_of_a_dask_cluster_are_replaced(tmp_path: Path, n_killed: int) -> None:
    distributed = pytest.importorskip("distributed")
    whole = measured(tmp_path / "whole", 0.0)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        client.wait_for_workers(2)
        victims, done = [*client.run(os.getpid).values()][:n_killed], tmp_path / "there"

        def kill_one() -> None:
            while len([*done.glob(f"measured-{victims[0]}-*")]) < 2:
                time.sleep(0.05)
            for victim in victims:
                os.kill(victim, signal.SIGKILL)

        killer = threading.Thread(target=kill_one, daemon=True)
        killer.start()
        found = measured(done, 0.2)
        assert not killer.is_alive() and same(found, whole)
        there = {int(path.name.split("-")[1]) for path in done.glob("measured-*")}
        assert there - {*victims} and os.getpid() not in there


@pytest.mark.slow
@IN_PROC
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_all_processes_and_keeps_what_was_finished(tmp_path: Path, number: signal.Signals) -> None:
    said = stopped(
        "patched_in_workers.py", str(tmp_path), "1", number=number, once=lambda: len([*tmp_path.glob("measured-*")]) > 3
    )
    assert said.endswith(f"measured, kept in {tmp_path}; the same call goes on")
    n_before = len([*tmp_path.glob("measured-*")])
    found = measured(tmp_path, 0.0)
    n_all, whole = len([*tmp_path.glob("measured-*")]), measured(tmp_path / "whole", 0.0)
    assert same(found, whole)
    assert n_all - n_before < len([*(tmp_path / "whole").glob("measured-*")]), "some were kept"
