"""Copies of runs that are small enough to ship: few checkpoints, weights as 16-bit floats where nothing measured changes."""

import lzma
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor

from ...circuits.lock import only_writer
from ...circuits.manifest import MANIFEST, Entry, Manifest, is_there
from ..models.building import architecture_of
from ..questions.evaluation import evaluate, evaluation_queries, exact_match
from .checkpoints import Checkpoint, Run
from .folder import KIND as RUN
from .folder import (
    METRICS,
    SETTINGS,
    TASK,
    RunWriter,
    check_holds_no_part,
    checkpoint_name,
    naming_checkpoints,
    table_file,
    written_alone,
)
from .settings import read_run_settings, settings_bytes, task_bytes
from .study import KIND, run_folders
from .weights import checkpoint_bytes

TOLERANCE = 1e-3  # largest change of any accuracy that 16-bit weights may make


def copy_run(run: Run, folder: str | Path, *, steps: Sequence[int], tables: Mapping[str, pd.DataFrame] | None = None) -> Run:
    """Copy a run with only some of its checkpoints.

    Weights are written as 16-bit floats, half the size, unless an accuracy of that checkpoint then changes by more than
    `TOLERANCE`. In that case parameters are halved one by one, the largest first, as long as no accuracy does.

    Args:
        run: is not changed.
        folder: a new one.
        steps: which checkpoints to take.
        tables: what was measured at many of its steps, by name, see `Study.tables`; numbers are written with four digits.

    Raises:
        FileExistsError: if the folder holds a run already.
        FolderInUseError: if another process writes into it.
        KeyError: if there is no checkpoint at one of the steps.
        CheckpointError: if a file of the run was changed since it was written, or the folder holds weights, metrics or
            states of another run that has lost its `run.json`.
    """
    folder, checkpoints = Path(folder), [run.checkpoint(step) for step in steps]
    with naming_checkpoints():
        version = read_run_settings(run.manifest).torch
        metrics = run.manifest.bytes_of(METRICS, may_have_grown=True)
    settings = settings_bytes(run.task, run.model_config, run.train_config, run.past, version)
    with written_alone(folder):
        if (folder / SETTINGS).exists():
            raise FileExistsError(f"{folder} holds a run already")
        if not _was_begun(folder, settings, metrics):
            check_holds_no_part(folder)
        writer = RunWriter(folder, {SETTINGS: Entry.of(settings)})
        writer.write(TASK, task_bytes(run.task))
        writer.publish()  # says whose copy this is, should it be stopped
        for checkpoint in checkpoints:
            weights = halved(checkpoint.weights(), _scores_the_same(checkpoint))
            writer.write(checkpoint_name(checkpoint.step), checkpoint_bytes(checkpoint.step, weights))
        for name, table in (tables or {}).items():
            writer.write(table_file(name), lzma.compress(table.to_csv(index=False, float_format="%.4g").encode()))
        writer.write(METRICS, metrics)
        writer.begin(settings)
    return Run.load(folder)


def _was_begun(folder: Path, settings: bytes, metrics: bytes) -> bool:
    """Whether a folder holds a copy of this very run that was stopped."""
    if not is_there(folder):
        return False
    with naming_checkpoints():
        files, wanted = Manifest.read(folder, RUN).files, Entry.of(metrics)
    return files.get(SETTINGS) == Entry.of(settings) and files.get(METRICS, wanted) == wanted


def seal_study(folder: str | Path) -> Path:
    """Write a study's manifest, which names the manifest of each run that is in its folder now; returns its path.

    Raises:
        FileNotFoundError: if there is no run, or one without a manifest.
        FolderInUseError: if another process writes into the folder.
    """
    folder = Path(folder)
    if not (runs := run_folders(folder)):
        raise FileNotFoundError(f"{folder} holds no runs")
    if bare := [run.name for run in runs if not is_there(run)]:
        raise FileNotFoundError(f"{folder}: {', '.join(bare)} lack {MANIFEST}; give them one with migrate, or take a copy")
    with only_writer(folder):
        files = {f"{run.name}/{MANIFEST}": Entry.of((run / MANIFEST).read_bytes()) for run in runs}
        return Manifest(folder, KIND, files).write()


def halved(weights: Mapping[str, Tensor], is_good: Callable[[Mapping[str, Tensor]], bool]) -> Mapping[str, Tensor]:
    """Weights with as many of the large ones as 16-bit floats as a test allows.

    Args:
        weights: by name.
        is_good: whether a model with such weights is good enough.
    """
    if is_good(everything := {name: value.half() for name, value in weights.items()}):
        return everything
    best = dict(weights)
    for name in sorted(weights, key=lambda name: -weights[name].numel()):
        if is_good(trial := {**best, name: weights[name].half()}):
            best = trial
    return best


def _scores_the_same(checkpoint: Checkpoint) -> Callable[[Mapping[str, Tensor]], bool]:
    """Whether a checkpoint's model with other weights has its accuracies."""
    model, config, queries = checkpoint.model(), checkpoint.model_config, evaluation_queries(checkpoint.task)

    def accuracies() -> Mapping[str, float]:
        return evaluate(lambda asked: exact_match(model, asked), queries, checkpoint.task.splits)

    wanted = accuracies()

    def is_good(weights: Mapping[str, Tensor]) -> bool:
        architecture_of(config).load_parameters(model, config, weights)
        found = accuracies()
        return all(
            abs(found[name] - value) <= TOLERANCE for name, value in wanted.items() if value == value
        )  # NaN: no queries

    return is_good
