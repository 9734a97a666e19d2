"""What defines a run, on disk: its task, in `run.json` and `task.safetensors`, and the configs of model and training.

The task writes and reads itself; `run.json` names its kind, and `TASK_KINDS` says what reads that kind.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as save_arrays

from ..models.config import ModelConfig
from ..questions.kinds import read_task
from ..questions.task import Task
from ..writing import write_atomic
from .training_config import TrainConfig
from .weights import CheckpointError

FIRST_KIND = "two-hop"  # of runs whose run.json names no kind: there was no other


def write_settings(
    folder: Path, task: Task, model_config: ModelConfig, train_config: TrainConfig, initial: str = ""
) -> None:
    """Save what defines a run, before training starts.

    Args:
        folder: of the run.
        task: what is trained.
        model_config: the model's shape.
        train_config: how it is trained.
        initial: the checkpoint whose weights it begins with, see `Checkpoint.origin`; empty for random ones.
    """
    settings = {
        "format": 1,
        "task": {"kind": task.kind, **task.settings},
        "model": dataclasses.asdict(model_config),
        "training": dataclasses.asdict(train_config),
        "initial": initial,
        "torch": torch.__version__,
    }
    write_arrays(folder, task)
    write_atomic(folder / "run.json", json.dumps(settings, indent=1))


def write_arrays(folder: Path, task: Task) -> None:
    """Save a task's arrays."""
    arrays = {name: np.ascontiguousarray(array) for name, array in task.to_arrays().items()}
    write_atomic(folder / "task.safetensors", save_arrays(arrays))


def read_settings(folder: Path) -> tuple[dict[str, Any], Task]:
    """The content of `run.json`, and the task.

    Raises:
        CheckpointError: if a file cannot be read, or the task is of an unknown kind.
    """
    try:
        settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        arrays, about = load_arrays(folder / "task.safetensors"), dict(settings["task"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is no readable run: {error!r}") from error
    return settings, _task_from(folder, arrays, about)


def _task_from(folder: Path, arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> Task:
    try:
        return read_task(about.pop("kind", FIRST_KIND), arrays, about)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'run.json'} names {error}") from error


def check_resumable(
    folder: Path, task: Task, model_config: ModelConfig, train_config: TrainConfig, initial: str, *, resume: bool
) -> None:
    """Raise unless the run in a folder is to be resumed and has the very same settings."""
    if not resume:
        raise FileExistsError(f"{folder} holds a run already; read it with Run.load, or continue it with resume=True")
    settings, there = read_settings(folder)
    configs = ((settings["model"], model_config), (settings["training"], train_config))
    changed = [
        f"{name} is {before.get(name)!r} there, {now!r} was asked for"
        for before, config in configs
        for name, now in dataclasses.asdict(config).items()
        if before.get(name) != json.loads(json.dumps(now))
    ]
    if (before := settings.get("initial", "")) != initial:
        changed.append(f"it began with {before or 'random weights'}, {initial or 'random weights'} were asked for")
    if there.key != task.key:
        changed.append(f"its task is {there.key} ({there.regime}), {task.key} ({task.regime}) was asked for")
    if changed:
        raise ValueError(f"{folder} holds a run with other settings: {'; '.join(changed)}; choose another folder")
