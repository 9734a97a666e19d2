"""Many trainings at once: processes on one machine, or the same call sent to a cluster.

Runs are independent folders that resume, so a sweep can be stopped, killed and called again at any time: finished runs are
skipped, unfinished ones continue.
"""

import os
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from joblib import delayed

from ...circuits.arguments import flag_problems, native, process_problems, refuse, shortly, whole_problems
from ...circuits.destination import file_name_problems, folder_problems, room_problems
from ...circuits.interrupts import Stop, noticing_interrupts, signal_of, stop_at_once
from ...circuits.plain_text import named, one_line, shortened
from ...circuits.progress import bar
from ...circuits.same_content import ByContent
from ...circuits.workers import end_workers, in_workers, listening, tell_workers
from ..models.building import AnyConfig
from ..questions.task import Task
from ..runs.checkpoints import Checkpoint, CheckpointError, Run
from ..runs.training_config import TrainConfig
from .feasible import bytes_to_write
from .resuming import ResumeWarning
from .train import train

MAX_ROUNDS = 5  # how often runs of killed workers are tried again


@dataclass(frozen=True, eq=False)
class Job(ByContent):
    """One training of a sweep.

    Attributes:
        name: of its folder.
        task: what is trained.
        model_config: the shape of the model.
        train_config: how it is trained.
        initial: the checkpoint whose weights it starts from; random ones by default.
    """

    name: str
    task: Task
    model_config: AnyConfig
    train_config: TrainConfig
    initial: Checkpoint | None = None

    def __post_init__(self) -> None:
        refuse(file_name_problems("the job name", [self.name]))

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield named(self.name)
        yield shortened(self.task.regime)
        yield shortened(self.model_config, 30)
        yield shortened(self.train_config, 30)
        yield f"from {named(self.initial.label)}" if self.initial else ""


def grid(tasks: Mapping[str, Task], configs: Mapping[str, tuple[AnyConfig, TrainConfig]], seeds: Iterable[int]) -> list[Job]:
    """Every task with every config and every training seed.

    Args:
        tasks: by the name that jobs are to carry.
        configs: shape of model and training, by name; the seed in a `TrainConfig` is replaced.
        seeds: of training.

    >>> from grokscope.tasks import TwoHopTask
    >>> task = TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5)
    >>> from grokscope.tasks import ModelConfig
    >>> jobs = grid({"natural": task}, {"tiny": (ModelConfig.tiny(), TrainConfig.tiny())}, [0, 1])
    >>> [job.name for job in jobs]
    ['natural-tiny-s0', 'natural-tiny-s1']
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds is {shortly(seeds)}, needed are numbers, as in [0, 1]")
    return [
        Job(f"{name}-{size}-s{seed}", task, model_config, replace(train_config, seed=seed))
        for (name, task), (size, (model_config, train_config)), seed in product(tasks.items(), configs.items(), seeds)
    ]


def sweep(
    jobs: Iterable[Job], out: str | Path, *, n_jobs: int = -1, threads: int = 1, progress: bool = True
) -> pd.DataFrame:
    """Train all jobs, several at a time, each in its folder under `out`.

    By default in processes on this machine; inside `joblib.parallel_config(backend="dask")` on that cluster, whose workers
    must see the same folder. On Ctrl-C or SIGTERM every training saves its state, and the same call goes on.

    Args:
        jobs: with different names, see `grid`.
        out: folder for the runs.
        n_jobs: at once; −1 for one on each core, or all that the cluster has.
        threads: of torch in each, so that processes do not compete for cores.
        progress: show a bar over the jobs.

    Returns:
        A row for each job, in their order, with run, outcome (`trained`, `finished before` or `failed`), seconds, error
        (empty unless it failed; a run that another process is training fails with its name), warning (what a
        `ResumeWarning` said), and the step of each phase reached.

    Raises:
        ValueError: if there is no job, one is something else, or two have the same name.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, when all is saved; it says how many trainings are finished.
    """
    jobs = listed_jobs(jobs)
    settings = process_problems(n_jobs) + whole_problems(1, threads=threads) + folder_problems(out=out)
    settings += flag_problems(progress=progress)
    names = [job.name for job in jobs]
    refuse(name_problems(names) + settings)
    n_jobs, threads = native((n_jobs, threads))
    needed = sum(bytes_to_write(Path(out) / job.name, job.task, job.model_config, job.train_config) for job in jobs)
    refuse(room_problems(out, needed, f"what these {len(jobs)} trainings write"))
    done: dict[str, dict[str, Any]] = {}
    with noticing_interrupts(then=tell_workers) as stop, bar(len(jobs), "training", show=progress, unit=" runs") as shown:
        for _ in range(MAX_ROUNDS):
            left = [job for job in jobs if job.name not in done]
            for row in _trained(left, Path(out), n_jobs, threads, stop):
                done[row["run"]] = row
                (shown.skip if row["outcome"] == "finished before" else shown.update)()
    if stop.asked:
        end_workers()
        raise stop.interrupted(
            f"stopped: {_counted(done, len(jobs))}; what others had begun is saved in {out}, the same call goes on"
        )
    for job in jobs:
        killed = f"its worker was killed {MAX_ROUNDS} times"
        row = {"run": job.name, "outcome": "failed", "seconds": float("nan"), "error": killed, "warning": ""}
        done.setdefault(job.name, row)
    return pd.DataFrame([done[name] for name in names])


def _trained(jobs: Sequence[Job], out: Path, n_jobs: int, threads: int, stop: Stop) -> Iterator[dict[str, Any]]:
    """Rows of jobs as they end, but for those that were stopped, and for all that are left when a worker is killed."""
    calls = (delayed(_train)(job, out, threads) for job in jobs if not stop.asked)
    if not jobs or stop.asked:
        return
    try:
        with in_workers(calls, n_jobs=n_jobs) as rows:
            for row in rows:
                if isinstance(row, dict):
                    yield row
                elif row.process == os.getpid():  # where trainings are in this process they notice in place of it
                    stop.signal = row.signal
    except BrokenExecutor:
        return


def _counted(done: Mapping[str, Mapping[str, Any]], n: int) -> str:
    failed = sum(row["outcome"] == "failed" for row in done.values())
    return f"{len(done) - failed} of {n} trainings are finished" + (f", {failed} failed" if failed else "")


def listed_jobs(jobs: Any) -> list[Job]:
    """Jobs as a list, however they are given, unless they are none."""
    if isinstance(jobs, str | Mapping) or not isinstance(jobs, Iterable):
        raise ValueError(f"jobs is {_kind_of(jobs)}, needed are several, as in jobs=[job]; see grid")
    found = list(jobs)
    if wrong := [each for each in found if not isinstance(each, Job)]:
        raise ValueError(f"jobs holds {_kind_of(wrong[0])}, needed are tasks.Job alone; see grid")
    return found


def _kind_of(given: Any) -> str:
    return f"one {type(given).__name__}" if isinstance(given, Job) else shortly(given)


def name_problems(names: Sequence[str]) -> list[str]:
    """Why jobs cannot be trained next to each other."""
    if not names:
        return ["there is no job"]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"jobs need different names; {', '.join(twice)} occur twice"] if twice else []
    return problems + file_name_problems("the job name", names)


@dataclass(frozen=True)
class _Stopped:
    """A training that was stopped by a signal, in a process."""

    signal: int
    process: int


def _train(job: Job, out: Path, threads: int) -> dict[str, Any] | _Stopped:
    """Train or resume one run, until it ends or this process is told to stop."""
    try:
        with noticing_interrupts(then=stop_at_once), listening():  # outside of training there is nothing to save
            return _row(job, out, threads)
    except KeyboardInterrupt as stopped:
        return _Stopped(signal_of(stopped), os.getpid())


def _row(job: Job, out: Path, threads: int) -> dict[str, Any]:
    """Train or resume one run; an error is reported, so that the other runs continue."""
    before, start = torch.get_num_threads(), time.perf_counter()
    torch.set_num_threads(threads)
    try:
        outcome = "finished before" if _is_finished(out / job.name) else "trained"
        run, warning = _warned(job, out / job.name)
        row, error = {**run.phases}, ""
    except Exception as problem:  # whatever it is, it concerns this run alone
        outcome, row, error, warning = "failed", {}, f"{type(problem).__name__}: {problem}", ""
    finally:
        torch.set_num_threads(before)
    seconds = time.perf_counter() - start
    return {"run": job.name, "outcome": outcome, "seconds": seconds, "error": error, "warning": warning, **row}


def _warned(job: Job, folder: Path) -> tuple[Run, str]:
    """Train or resume one run; with what was said on resuming, which the table repeats."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResumeWarning)
        configs = (job.model_config, job.train_config)
        run = train(job.task, *configs, folder, initial=job.initial, resume=True, progress=False)
    for each in caught:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    return run, "; ".join(str(each.message) for each in caught if issubclass(each.category, ResumeWarning))


def _is_finished(folder: Path) -> bool:
    try:
        return Run.load(folder).is_finished
    except (FileNotFoundError, CheckpointError):
        return False
