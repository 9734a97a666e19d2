"""What defines a run, on disk: its task, in `run.json` and `task.safetensors`, and the configs of model and training.

The task writes and reads itself; `run.json` names its kind, and `TASK_KINDS` says what reads that kind.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, JsonValue
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ...circuits.documents import FileError, check_inside, decoded, opened, parsed, read_text, to_document, validated
from ...circuits.manifest import MANIFEST, Entry, Manifest, is_there
from ...circuits.tensor_files import bare_metadata, labelled, metadata_of, tensors_of
from ..models.building import AnyConfig
from ..models.config import LEARNED, STATE, ModelConfig
from ..models.trm_config import TRMConfig
from ..questions.kinds import TASK_KINDS, read_task
from ..questions.task import Task
from . import format_1
from .folder import KIND, METRICS, SETTINGS, TASK, CheckpointError
from .past import Branch, Extension, Past
from .training_config import TrainConfig

Shape = TypeVar("Shape", bound=AnyConfig)
"""The class of the model's config."""
FORMAT = 2
FORMAT_WITH_PAST = 3  # of branches and of runs that were extended, which readers of format 2 must not take for others
EXTENDABLE = ("max_steps", "stop_at")  # what an extension may change; neither has a part in any step
TASK_FILE_KIND = "task"


class RunSettings(BaseModel, Generic[Shape]):
    """The content of `run.json`.

    Attributes:
        task: its kind and settings; the arrays are in `task.safetensors`.
        model: the model's shape.
        training: how it is trained.
        initial: see `Past`; so are branch and extended.
        torch: the version that trains it.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    task: dict[str, JsonValue]
    model: Shape
    training: TrainConfig
    initial: str
    torch: str
    branch: Branch | None = None
    extended: tuple[Extension, ...] = ()

    @property
    def past(self) -> Past:
        """Where the run came from."""
        return Past(self.initial, self.branch, self.extended)


def settings_bytes(
    task: Task, model_config: AnyConfig, train_config: TrainConfig, past: Past, version: str = torch.__version__
) -> bytes:
    """The file `run.json`; the arguments are as in `RunSettings`."""
    content = {
        "task": {"kind": task.kind, **task.settings},
        "model": _model_settings(model_config),
        "training": train_config.settings,
        "initial": past.initial,
        "torch": version,
    }
    if past == Past(past.initial):
        return to_document(KIND, content, written_format=FORMAT, indent=1).encode()
    content["branch"] = past.branch and past.branch.model_dump()
    content["extended"] = [each.model_dump() for each in past.extended]
    return to_document(KIND, content, written_format=FORMAT_WITH_PAST, indent=1).encode()


def _model_settings(config: AnyConfig) -> dict[str, Any]:
    """A model's config, without choices that were once none, where they are as everything then was."""
    usual = {"carries": STATE, "positions": LEARNED}.items()
    return {name: value for name, value in dataclasses.asdict(config).items() if (name, value) not in usual}


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
    manifest = _with_extension(read_manifest(folder))
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
    return _run_settings(manifest.bytes_of(SETTINGS), str(manifest.folder / SETTINGS))


def _run_settings(data: bytes, where: str) -> RunSettings:
    found = parsed(decoded(data, where), where)
    if format_1.is_format_1(found):
        return validated(RunSettings[ModelConfig], format_1.content_of(found), where)
    known = FORMAT if isinstance(found, dict) and found.get("format") == FORMAT else FORMAT_WITH_PAST
    content = opened(found, where, [KIND], known_format=known).content
    mixes = isinstance(content, dict) and "d_mixer" in (content.get("model") or ())
    return validated(RunSettings[TRMConfig] if mixes else RunSettings[ModelConfig], content, where)


def _with_extension(manifest: Manifest) -> Manifest:
    """A manifest that vouches for `run.json`: where a writer that extended the run was killed before it wrote it, for that.

    Raises:
        FileError: if `run.json` is neither what the manifest says nor an extension of it.
    """
    path = manifest.folder / SETTINGS
    try:
        manifest.bytes_of(SETTINGS)
    except FileError:
        if SETTINGS not in manifest.files:
            raise
        check_inside(path, manifest.folder)
        data, before = path.read_bytes(), manifest.files[SETTINGS].sha256
        if before not in _earlier(data, str(path)):
            raise
        return dataclasses.replace(manifest, files={**manifest.files, SETTINGS: Entry.of(data)})
    return manifest


def _earlier(data: bytes, where: str) -> list[str]:
    """The checksums of what a `run.json` was before it was extended; none if it can't be read."""
    try:
        return [each.sha256 for each in _run_settings(data, where).extended]
    except FileError:
        return []


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
    folder: Path, task: Task, model_config: AnyConfig, train_config: TrainConfig, past: Past, *, resume: bool
) -> tuple[Manifest, RunSettings]:
    """Raise unless the run in a folder is to be resumed and has the very same settings, but for those of an extension.

    Returns:
        The manifest and the settings that are there.

    Raises:
        FileExistsError: if it is not to be resumed.
        CheckpointError: if its settings are others; all of them are named.
    """
    if not resume:
        raise FileExistsError(
            f"{folder} holds a run already; read it with Run.load, or continue it with resume=True"
            if (folder / METRICS).exists()
            else f"{folder} holds a training that was stopped before its first evaluation; continue it with resume=True"
        )
    manifest, settings, there = read_settings(folder)
    changed = [
        f"{name} is {before!r} there, {now!r} was asked for"
        for saved, asked in ((settings.model, model_config), (settings.training, train_config))
        for name, now in dataclasses.asdict(asked).items()
        if (before := getattr(saved, name)) != now and name not in EXTENDABLE
    ]
    if (before := settings.training.max_steps) > (now := train_config.max_steps):
        changed.append(f"max_steps is {before} there, {now} was asked for, and a run is made longer, not shorter")
    if (before := settings.initial) != past.initial:
        changed.append(f"it began with {before or 'random weights'}, {past.initial or 'random weights'} were asked for")
    if past.branch and (not settings.branch or settings.branch.weights != past.branch.weights):
        there_from = settings.branch.origin if settings.branch else "no checkpoint's training state"
        changed.append(f"it goes on from {there_from}, {past.branch.origin} was asked for")
    if there.key != task.key:
        changed.append(f"its task is {there.key} ({there.regime}), {task.key} ({task.regime}) was asked for")
    if changed:
        raise CheckpointError(
            f"{folder} holds a run with other settings, in {SETTINGS} and {TASK}: {'; '.join(changed)}; "
            "choose another folder, where from_checkpoint= goes on from a checkpoint of this run with other settings"
        )
    return manifest, settings
