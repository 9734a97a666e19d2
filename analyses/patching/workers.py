"""Shards measured in other processes: those of joblib's active configuration, on this machine or on a cluster.

The number of threads decides the last bits of an effect, too. So a worker uses one thread of torch, unless joblib is told
another number, and the results are those of a single process with as many, however many workers there are.
"""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from joblib import delayed
from joblib.parallel import get_active_backend

from ...circuits import Edge
from ...circuits.workers import in_workers
from ...tasks import PromptPairs
from ...tasks.transformerlens import Model
from ..forward.engine import Engine
from .gap import base_and_donor, metric_by_query
from .metrics import AnyMetric
from .sent_model import SentModel, received, sent
from .shards import Asked, Found

MODEL = "model-of-workers.safetensors"
MAX_ROUNDS = 5  # in a row in which workers are killed and no shard is finished


@dataclass(frozen=True)
class Workers:
    """Processes that joblib was told to use.

    Attributes:
        n_jobs: calls at a time.
        threads: of torch in each.
    """

    n_jobs: int
    threads: int = 1

    @classmethod
    def asked(cls) -> "Workers | None":
        """Those of the `joblib.parallel_config` around this call; None if the work is to stay in this process."""
        found: Any = get_active_backend()  # which joblib does not type
        backend, n_jobs = found
        n = backend.effective_n_jobs(backend.default_n_jobs if n_jobs is None else n_jobs)
        if n == 1 or getattr(backend, "supports_sharedmem", False):  # a single worker joblib would not use either
            return None
        return cls(n, getattr(backend, "inner_max_num_threads", None) or 1)


def measured_there(
    asked: Asked,
    done: Bool[np.ndarray, "target batch"],
    *,
    workers: Workers,
    model: Model,
    remake: Callable[[Model], Engine[Any]],
    folder: Path | None = None,
) -> Iterator[Found]:
    """Changes of the metric, shard by shard as workers measure them; shards of killed workers are measured again.

    Args:
        asked: see `Asked`; of single edges.
        done: what need not be measured; whoever takes what is found notes it here before asking for more.
        workers: that do it.
        model: is sent to each.
        remake: gives there what runs the prompts.
        folder: in which the model is handed over; by default one of this machine.

    Raises:
        RuntimeError: if workers are killed again and again.
    """
    if not done.all():
        with folder_for(folder) as room:
            yield from _in_rounds(asked, done, workers, sent(model, room / MODEL), remake)


def _in_rounds(
    asked: Asked,
    done: Bool[np.ndarray, "target batch"],
    workers: Workers,
    there: SentModel,
    remake: Callable[[Model], Engine[Any]],
) -> Iterator[Found]:
    """Shards, and again those that were lost."""
    n_lost = 0
    parts = [asked.pairs.take(rows) for rows in asked.batches]
    about = _About(asked.direction, asked.metric, remake, workers.threads)
    while left := list(asked.left(done)):
        n_done, lost = done.sum(), None
        calls = (
            delayed(_measured)(there, about, number, parts[number], places, [asked.targets[i] for i in places])
            for number, places in left
        )
        try:
            with in_workers(calls, n_jobs=workers.n_jobs) as found:
                yield from found
        except BrokenExecutor as error:
            lost = error
        n_lost = n_lost + 1 if lost and done.sum() == n_done else 0
        if n_lost == MAX_ROUNDS:
            raise RuntimeError(
                f"workers were killed {MAX_ROUNDS} times in a row before any of {workers.n_jobs} had finished a shard; if "
                "memory ran out, a smaller max_memory, which each may use, or fewer workers may help"
            ) from lost


@contextlib.contextmanager
def folder_for(folder: Path | None) -> Iterator[Path]:
    """Where a model is handed over; nothing of it is left."""
    with contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory() as room:
        try:
            yield Path(room)
        finally:
            (Path(room) / MODEL).unlink(missing_ok=True)


@dataclass(frozen=True)
class _About:
    """What a worker must know besides the model, the pairs and the targets."""

    direction: str
    metric: AnyMetric
    remake: Callable[[Model], Engine[Any]]
    threads: int


@torch.no_grad()
def _measured(
    model: SentModel,
    about: _About,
    number: int,
    part: PromptPairs,
    places: list[int],
    targets: list[Edge],
) -> Found:
    """In a worker: the changes that a shard makes on a batch of pairs."""
    with on_threads(about.threads):
        engine = _HELD.once("engine", model.key, lambda: about.remake(received(model)))
        run, other, base, by_query = _HELD.once("runs", f"{model.key} {number}", lambda: _begun(engine, about, part))
        changes = np.empty((len(targets), len(part)))
        for some, logits in engine.edge_logits(run, other, targets):
            changes[some] = by_query(logits) - base
    return number, places, changes


def _begun(engine: Engine[Any], about: _About, part: PromptPairs) -> tuple[Any, ...]:
    """Both plain runs of a batch, the metric on the base prompts, and the metric of other runs."""
    run, other = engine.run(*base_and_donor(part, about.direction))
    clean = (run if about.direction == "noising" else other).logits
    by_query = partial(metric_by_query, about.metric, pairs=part, clean=clean)
    return run, other, by_query(run.logits), by_query


class _Held:
    """What a worker has made and needs again; one of each kind, until another is asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a worker of dask may have several threads
        self._things: dict[str, tuple[str, Any]] = {}

    def once(self, kind: str, key: str, make: Callable[[], Any]) -> Any:
        """What was made for a key."""
        with self._lock:
            held, thing = self._things.get(kind, ("", None))
            if held != key:
                self._things.pop(kind, None)
                thing = make()
                self._things[kind] = key, thing
            return thing


_HELD = _Held()


@contextlib.contextmanager
def on_threads(n: int | None) -> Iterator[None]:
    """Let torch use some threads within the block; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
