"""What defines a run, on disk: its task, in `run.json` and `task.safetensors`, and the configs of model and training.

The task writes and reads itself; `run.json` names its kind, and `TASK_KINDS` says what reads that kind.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, JsonValue
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ...circuits.documents import decoded, opened, parsed, read_text, to_document, validated
from ...circuits.manifest import MANIFEST, Manifest, is_there
from ..models.config import ModelConfig
from ..questions.kinds import TASK_KINDS, read_task
from ..questions.task import Task
from . import format_1
from .folder import KIND, SETTINGS, TASK, CheckpointError
from .tensors import bare_metadata, labelled, metadata_of, tensors_of
from .training_config import TrainConfig

FORMAT = 2
TASK_FILE_KIND = "task"


class RunSettings(BaseModel):
    """The content of `run.json`.

    Attributes:
        task: its kind and settings; the arrays are in `task.safetensors`.
        model: the model's shape.
        training: how it is trained.
        initial: the checkpoint whose weights it begins with, see `Checkpoint.origin`; empty for random ones.
        torch: the version that trains it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: dict[str, JsonValue]
    model: ModelConfig
    training: TrainConfig
    initial: str
    torch: str


def settings_bytes(
    task: Task, model_config: ModelConfig, train_config: TrainConfig, initial: str, version: str = torch.__version__
) -> bytes:
    """The file `run.json`; the arguments are as in `RunSettings`."""
    content = {
        "task": {"kind": task.kind, **task.settings},
        "model": dataclasses.asdict(model_config),
        "training": train_config.settings,
        "initial": initial,
        "torch": version,
    }
    return to_document(KIND, content, written_format=FORMAT, indent=1).encode()


def task_bytes(task: Task) -> bytes:
    """The file `task.safetensors`: the task's arrays."""
    arrays = {name: np.ascontiguousarray(array) for name, array in task.to_arrays().items()}
    return labelled(save_arrays(arrays), TASK_FILE_KIND, {"task": task.kind})


def read_settings(folder: Path) -> tuple[Manifest, RunSettings, Task]:
    """What belongs to a run, what defines it, and its task.

    Raises:
        FileNotFoundError: if a file is missing.
        FileError: if one of them is not what it should be, or the task is of an unknown kind.
    """
    manifest = read_manifest(folder)
    settings = read_run_settings(manifest)
    return manifest, settings, _task(manifest.bytes_of(TASK), settings.task, folder)


def holds_format_1(folder: Path) -> bool:
    """Whether a run is of format 1 and has not been given a manifest.

    Raises:
        FileError: if `run.json` is no JSON.
    """
    path = folder / SETTINGS
    return not is_there(folder) and format_1.is_format_1(parsed(read_text(path), str(path)))


def read_run_settings(manifest: Manifest) -> RunSettings:
    """What defines a run, without its task's arrays.

    Raises:
        FileError: if `run.json` is not what it should be.
    """
    where = str(manifest.folder / SETTINGS)
    found = parsed(decoded(manifest.bytes_of(SETTINGS), where), where)
    if format_1.is_format_1(found):
        return validated(RunSettings, format_1.content_of(found), where)
    return validated(RunSettings, opened(found, where, [KIND], known_format=FORMAT).content, where)


def read_manifest(folder: Path) -> Manifest:
    """The manifest; of a run of format 1 that has none, what it would say now.

    Raises:
        FileNotFoundError: if there is no `run.json` either.
        FileError: if it is not what it should be, or missing from a run of a later format.
    """
    if is_there(folder):
        return Manifest.read(folder, KIND)
    if not holds_format_1(folder):
        raise CheckpointError(
            f"{folder} lacks {MANIFEST}, without which only runs whose {SETTINGS} is of format 1 are read; take a copy of "
            "it or train again in another folder"
        )
    return format_1.manifest_of(folder)


def _task(data: bytes, about: Mapping[str, Any], folder: Path) -> Task:
    where, settings = str(folder / TASK), dict(about)
    kind = settings.pop("kind", None)
    said = kind if bare_metadata(data, where) is not None else metadata_of(data, TASK_FILE_KIND, where).get("task")
    if said != kind and isinstance(kind, str) and kind in TASK_KINDS:
        raise CheckpointError(f"{where} holds a task of the kind {said!r}, {SETTINGS} next to it names {kind!r}")
    arrays = tensors_of(data, load_arrays, where)
    try:
        return read_task(kind, arrays, settings)
    except ValueError as error:
        raise CheckpointError(f"{folder / SETTINGS} names {error}; its arrays are in {where}") from error


def check_resumable(
    folder: Path, task: Task, model_config: ModelConfig, train_config: TrainConfig, initial: str, *, resume: bool
) -> None:
    """Raise unless the run in a folder is to be resumed and has the very same settings.

    Raises:
        FileExistsError: if it is not to be resumed.
        CheckpointError: if its settings are others; all of them are named.
    """
    if not resume:
        raise FileExistsError(f"{folder} holds a run already; read it with Run.load, or continue it with resume=True")
    _, settings, there = read_settings(folder)
    changed = [
        f"{name} is {before!r} there, {now!r} was asked for"
        for saved, asked in ((settings.model, model_config), (settings.training, train_config))
        for name, now in dataclasses.asdict(asked).items()
        if (before := getattr(saved, name)) != now
    ]
    if (before := settings.initial) != initial:
        changed.append(f"it began with {before or 'random weights'}, {initial or 'random weights'} were asked for")
    if there.key != task.key:
        changed.append(f"its task is {there.key} ({there.regime}), {task.key} ({task.regime}) was asked for")
    if changed:
        raise CheckpointError(
            f"{folder} holds a run with other settings, in {SETTINGS} and {TASK}: {'; '.join(changed)}; "
            "choose another folder"
        )
