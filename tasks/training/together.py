"""Several trainings at once on one device: what makes a sweep of small models fast on a GPU."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from joblib import delayed
from torch import Tensor

from ...circuits.arguments import flag_problems, process_problems, refuse, shortly
from ...circuits.destination import folder_problems, room_problems
from ...circuits.progress import bar
from ...circuits.workers import in_workers
from ..models.building import model_problems
from ..questions.devices import device_problems
from ..questions.evaluation import evaluate, evaluation_queries, shortcut_floors
from ..questions.task import Task
from ..runs.checkpoints import Run
from ..runs.folder import SETTINGS, written_alone
from ..runs.metrics import row_text
from ..runs.phases import CONSECUTIVE
from .batches import batches, joined, training_examples
from .feasible import bytes_to_write, learning_problems
from .resuming import Asked, Begun
from .stacked import Stacked, stacked_correct, stacked_examples, take_steps
from .sweep import Job, listed_jobs, name_problems
from .train import state_before, write_evaluated
from .training_state import MOMENTS, TrainingState, write_state


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """What is kept of an evaluation, for all runs; on the device until training is done."""

    step: int
    seconds: float
    losses: Float[Tensor, " run"]
    average: dict[str, Tensor]
    right: Bool[Tensor, "run query"]


def train_together(
    jobs: Sequence[Job], out: str | Path, *, device: str = "cuda", n_jobs: int = -1, progress: bool = True
) -> list[Run]:
    """Train all jobs at once on one device, as stacked weights, and leave a run of each in its folder under `out`.

    Every run has its own data, batches and clipping, and ends as `train` would have it but for rounding. On a GPU many small
    models take hardly longer than one; on a CPU `sweep` is faster. Since phases are known only at the end, the averages of
    all evaluations are held on the device until then: 4 bytes × parameters × evaluations × runs. Nothing is written before,
    so that what is stopped begins anew; a finished run can be extended by `train`.

    Args:
        jobs: with different names, of one shape of model, of training settings that differ in their seed alone and have no
            `stop_at`, and of tasks with equally many tokens and positions and no fewer examples than a batch. Finished ones
            are skipped.
        out: folder for the runs.
        device: where to train.
        n_jobs: processes that compute accuracies from right and wrong answers at the end; −1 for one on each core.
        progress: whether to show a bar.

    Returns:
        The runs, in the order of the jobs; the seconds of their metrics are those of all together.

    Raises:
        ValueError: if they cannot be trained together, or folders hold runs that are not finished or shorter; all problems
            at once, and nothing is changed.
        FolderInUseError: if another process trains in one of the folders.
        FloatingPointError: if a loss or weights are no longer finite; nothing is kept then.

    >>> import tempfile
    >>> from grokscope import tasks
    >>> settings = tasks.TrainConfig.tiny(max_steps=2, evaluate_every=1, batch_size=32)
    >>> world = {"n_entities": 12, "n_relations": 8, "out_degree": 5}
    >>> jobs = [
    ...     tasks.Job(name, tasks.TwoHopTask.random(**world, supervision=each), tasks.ModelConfig.tiny(), settings)
    ...     for name, each in {"natural": tasks.NATURAL, "taught": tasks.BOTH_HOPS}.items()
    ... ]
    >>> runs = tasks.train_together(jobs, tempfile.mkdtemp(), device="cpu", n_jobs=1, progress=False)
    >>> [run.phases["final"] for run in runs]
    [2, 2]
    """
    jobs = listed_jobs(jobs)
    problems = (
        folder_problems(out=out) + device_problems(device) + process_problems(n_jobs) + flag_problems(progress=progress)
    )
    refuse(problems + _job_problems(jobs))
    asked = [Asked(Path(out) / j.name, j.task, j.model_config, j.train_config, j.initial, None, resume=True) for j in jobs]
    left = [each for each in asked if each.finished() is None]
    begun = [each.folder for each in left if (each.folder / SETTINGS).exists()]
    refuse([f"{folder} holds a run that is not finished, or a shorter one: sweep goes on with it" for folder in begun])
    needed = sum(bytes_to_write(each.folder, each.task, each.model_config, each.train_config) for each in left)
    refuse(room_problems(out, needed, f"what these {len(left)} trainings write"))
    if left:
        _train(left, device, n_jobs, progress=progress)
    return [Run.load(each.folder) for each in asked]


def _job_problems(jobs: Sequence[Job]) -> list[str]:
    """Why jobs cannot be trained together."""
    problems = name_problems([job.name for job in jobs])
    if not jobs:
        return problems
    first = jobs[0]
    for job in jobs:
        own = learning_problems(job.task, job.train_config) + model_problems(job.model_config, job.task)
        if job.model_config != first.model_config:
            own.append(f"its model is {shortly(job.model_config)}, that of {first.name} {shortly(first.model_config)}")
        if replace(job.train_config, seed=first.train_config.seed) != first.train_config:
            own.append(f"its training settings differ from those of {first.name} in more than the seed")
        if job.train_config.stop_at is not None:
            own.append(f"stop_at is {job.train_config.stop_at!r}, trainings that run together end together")
        if (n := len(training_examples(job.task).tokens)) < job.train_config.batch_size:
            own.append(f"batch_size={job.train_config.batch_size:,} asks for more than its {n:,} examples")
        sizes = (job.task.n_tokens, job.task.n_positions)
        if sizes != (wanted := (first.task.n_tokens, first.task.n_positions)):
            own.append(
                f"its task has {sizes[0]} tokens and {sizes[1]} positions, that of {first.name} {wanted[0]} and {wanted[1]}"
            )
        problems += [f"{job.name}: {problem}" for problem in own]
    return problems


@torch.inference_mode(False)
@torch.enable_grad()
def _train(asked: Sequence[Asked], device: str, n_jobs: int, *, progress: bool) -> None:
    """Train from the first step to the last and write all runs."""
    with ExitStack() as writing:
        for each in asked:
            writing.enter_context(written_alone(each.folder))
        states = [state_before(each) for each in asked]  # on the CPU, where files are made
        stacked = Stacked.of([state.parameters for state in states], asked[0].model_config, asked[0].train_config, device)
        evaluated = list(_steps(stacked, asked, progress=progress))
        calls = [delayed(_rows)(number, each.task, *_answers(evaluated, number)) for number, each in enumerate(asked)]
        with in_workers(calls, n_jobs=n_jobs) as found:
            for number, rows in found:
                begun = cast(Begun, asked[number].begun(states[number]))  # of a folder that holds no run
                _bring_back(states[number], stacked, number)
                _write(asked[number], begun, states[number], number, evaluated, rows)


def _steps(stacked: Stacked, asked: Sequence[Asked], *, progress: bool) -> Iterator[_Evaluated]:
    """Take all steps, and give what every evaluation finds."""
    config, model_config, device = asked[0].train_config, asked[0].model_config, str(stacked.losses.device)
    own = [training_examples(each.task) for each in asked]
    questions = stacked_examples(
        [joined(evaluation_queries(each.task).values(), each.task.n_positions) for each in asked], device
    )
    step = take_steps(stacked, stacked_examples(own, device), model_config, config)
    drawn = zip(*(batches(some, each.train_config, first=0) for some, each in zip(own, asked, strict=True)), strict=True)
    start, before = time.perf_counter(), 0
    with bar(config.max_steps, f"{len(asked)} runs", show=progress, unit=" steps") as shown:
        for now in config.evaluation_steps:
            for rows in _on_device(drawn, now - before, device):
                step(rows)
            losses = stacked.losses / (now - before)
            stacked.losses.zero_()
            _check_finite(losses, stacked, now, asked)
            average = {name: value.clone() for name, value in stacked.average.items()}
            right = stacked_correct(stacked, questions, model_config)
            yield _Evaluated(now, time.perf_counter() - start, losses, average, right)
            shown.update(now - before)
            before = now


def _on_device(drawn: Iterator[tuple[Int[Tensor, " row"], ...]], n: int, device: str) -> Int[Tensor, "step run row"]:
    """The batches of the next steps, in one transfer."""
    return torch.stack([torch.stack(next(drawn)) for _ in range(n)]).to(device)


def _check_finite(losses: Float[Tensor, " run"], stacked: Stacked, step: int, asked: Sequence[Asked]) -> None:
    """Raise if a loss or weights are no longer finite, which no file may hold."""
    weights = [*stacked.parameters.values(), *stacked.average.values()]
    finite = torch.stack([losses.isfinite(), *(each.flatten(1).isfinite().all(1) for each in weights)]).all(0)
    if wrong := [each.folder.name for each, fine in zip(asked, finite.tolist(), strict=True) if not fine]:
        raise FloatingPointError(
            f"loss or weights of {', '.join(wrong)} are no longer finite at step {step}; try a smaller learning_rate or "
            "clip_norm, or bfloat16=False"
        )


def _answers(evaluated: Sequence[_Evaluated], run: int) -> tuple[Bool[Tensor, "evaluation query"], list[dict[str, Any]]]:
    """Of one run: which answers were right at each evaluation, and what else its metrics say."""
    right = torch.stack([each.right[run] for each in evaluated]).cpu()
    return right, [{"step": each.step, "seconds": each.seconds, "loss": float(each.losses[run])} for each in evaluated]


def _rows(
    number: int, task: Task, right: Bool[Tensor, "evaluation query"], about: list[dict[str, Any]]
) -> tuple[int, list[dict[str, Any]]]:
    """The number of a run, and the rows of its metrics."""
    queries, floors = evaluation_queries(task), shortcut_floors(task)
    lengths, rows = [len(each) for each in queries.values()], []
    for answers, said in zip(right, about, strict=True):
        parts = iter(answers[: sum(lengths)].split(lengths))
        rows.append(said | evaluate(lambda _, parts=parts: next(parts), queries, task.splits) | floors)
    return number, rows


@torch.no_grad()
def _bring_back(state: TrainingState, stacked: Stacked, run: int) -> None:
    """Give a run's state its part of the stacked one, so that it can be extended by itself."""
    state.step = int(stacked.n_steps)
    for name, parameter in state.parameters.items():
        parameter.copy_(stacked.parameters[name][run])
        state.average[name].copy_(stacked.average[name][run])
        moments = stacked.optimizer.state[stacked.parameters[name]]
        own = {moment: moments[moment][run].cpu() for moment in MOMENTS}
        state.optimizer.state[parameter] = {"step": torch.tensor(float(state.step), device="cpu"), **own}


def _write(
    asked: Asked,
    begun: Begun,
    state: TrainingState,
    run: int,
    evaluated: Sequence[_Evaluated],
    rows: Sequence[Mapping[str, Any]],
) -> None:
    """Write what a training by itself would have left."""
    kept = {name: torch.stack([each.average[name][run] for each in evaluated]).cpu() for name in state.average}
    averages = {each.step: {name: kept[name][place] for name in kept} for place, each in enumerate(evaluated)}
    written = b"".join(row_text(dict(row), first=not number).encode() for number, row in enumerate(rows))
    state.seconds, state.recent = evaluated[-1].seconds, dict(list(averages.items())[-CONSECUTIVE:])
    write_evaluated(averages, begun, written, asked)
    write_state(state, begun.writer, keep=1)
