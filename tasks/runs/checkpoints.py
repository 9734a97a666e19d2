"""What training leaves behind: a Run is a folder, a Checkpoint one file of weights in it.

A run's folder holds `run.json` (settings), `task.safetensors` (facts and splits), `metrics.csv` (a row for each
evaluation) and `checkpoints/step_*.safetensors` (each distinct trained parameter once, EMA weights if the run has
them). Phases are read off the metrics and named in `PHASES`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save as save_arrays
from safetensors.torch import save as save_tensors
from torch import Tensor
from transformer_lens import HookedTransformer

from ..models.building import build_model, load_parameters, trained_parameters
from ..models.config import ModelConfig
from ..questions.evaluation import n_reported
from ..questions.graph import KnowledgeGraph
from ..questions.supervision import Supervision
from ..questions.twohop import SPLITS, TEST_SPLITS, TwoHopTask
from ..writing import write_whole
from .phases import SATURATED, first_lasting, phases_reached
from .training_config import TrainConfig


class CheckpointError(ValueError):
    """A checkpoint or run cannot be read; the message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One set of weights.

    Attributes:
        path: the safetensors file.
        label: run and step, for titles; the model carries it as `cfg.model_name`.
        step: training step.
        accuracy: exact match by split on the half of the queries that phases are not chosen on.
        model_config: the shape of the model.
        task: what it was trained on.
    """

    path: Path
    label: str
    step: int
    accuracy: Mapping[str, float]
    model_config: ModelConfig
    task: TwoHopTask

    def model(self, *, n_loops: int | None = None, device: str = "cpu") -> HookedTransformer:
        """The weights in a plain HookedTransformer, tied as its config says, in evaluation mode.

        Args:
            n_loops: apply the blocks so many times, instead of as often as in training. Fewer loops are an early exit:
                what leaves loop n_loops goes straight to the final norm.
            device: where the parameters live.

        Raises:
            FileNotFoundError: if the file is gone.
            CheckpointError: if it is truncated or does not fit the config.
        """
        config = self.model_config if n_loops is None else dataclasses.replace(self.model_config, n_loops=n_loops)
        model = build_model(config, self.task, device=device)
        load_weights(model, config, self.path)
        model.cfg.model_name = self.label if n_loops is None else f"{self.label}, {n_loops} loops"
        return model.eval()


@dataclass(frozen=True, eq=False)
class Run:
    """A finished or stopped training run.

    Attributes:
        folder: where it lives.
        task: what was trained.
        model_config: the model's shape.
        train_config: how it was trained.
        metrics: a row for each evaluation; columns as in `evaluation.evaluate`, and step, seconds, loss, floor_….
        initial: the checkpoint whose weights it began with, and a hash of them; empty for random ones.
    """

    folder: Path
    task: TwoHopTask
    model_config: ModelConfig
    train_config: TrainConfig
    metrics: pd.DataFrame
    initial: str = ""

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Read a run from its folder.

        Raises:
            FileNotFoundError: if files are missing.
            CheckpointError: if one of them cannot be read.
        """
        folder = Path(folder)
        if missing := [name for name in ("run.json", "task.safetensors", "metrics.csv") if not (folder / name).is_file()]:
            raise FileNotFoundError(f"{folder} is no complete run, it lacks {', '.join(missing)}")
        settings, task = _read_settings(folder)
        try:
            configs = ModelConfig(**settings["model"]), TrainConfig.from_dict(settings["training"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}/run.json names no readable settings: {error!r}") from error
        metrics = pd.read_csv(folder / "metrics.csv", engine="python")  # this engine reads floats exactly
        return cls(folder, task, *configs, metrics, settings.get("initial", ""))

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @cached_property
    def phases(self) -> dict[str, int]:
        """Phase → the step at which it begins; phases not reached are absent."""
        return phases_reached(self.metrics)

    @property
    def is_finished(self) -> bool:
        """Whether training reached its last step or the phase it was to stop at."""
        return self.phases.get("final") == self.train_config.max_steps or self.train_config.stop_at in self.phases

    @cached_property
    def n_reported(self) -> dict[str, int]:
        """How many queries stand behind each split's reported accuracy."""
        return n_reported(self.task)

    @property
    def steps(self) -> list[int]:
        """The steps at which there is a checkpoint."""
        return sorted(int(path.stem.removeprefix("step_")) for path in self.folder.glob("checkpoints/step_*.safetensors"))

    def checkpoint(self, which: str | int) -> Checkpoint:
        """The checkpoint of a phase, of a step, or `"grokked"`.

        A run has grokked if it is `ood_generalised` without compositions of OOD facts in training, at least five times
        later than train ≥ .99.

        Raises:
            KeyError: if there is no such phase or step; for `"grokked"`, the message says which part failed.
        """
        if which == "grokked":
            self._check_grokked()
            which = "ood_generalised"
        step = self.phases.get(which) if isinstance(which, str) else which
        if step is None or step not in self.steps:
            raise KeyError(
                f"{self.folder} has no checkpoint {which!r}; phases reached: {self.phases}, steps with weights: {self.steps}"
            )
        row = self.metrics[self.metrics["step"] == step].iloc[0]
        label = f"{self.name}, step {step:,}" + (f" ({which})" if isinstance(which, str) else "")
        accuracy = {split: float(row[split]) for split in (*SPLITS, "train")}
        return Checkpoint(checkpoint_path(self.folder, step), label, step, accuracy, self.model_config, self.task)

    def _check_grokked(self) -> None:
        saturated = first_lasting(self.metrics["step"], self.metrics["select_train"] >= SATURATED)
        generalised = self.phases.get("ood_generalised")
        failed = []
        if len(self.task.added):
            failed.append(f"{len(self.task.added)} compositions of OOD facts are in training (regime {self.task.regime})")
        if generalised is None:
            failed.append("OOD+OOD accuracy did not stay at .9 or more for three evaluations")
        elif saturated is None or generalised < 5 * saturated:
            failed.append(f"OOD+OOD generalised at step {generalised}, not 5 times later than train ≥ .99 at {saturated}")
        if failed:
            raise KeyError(f"{self.folder} has not grokked: {'; '.join(failed)}")


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the weights of a step are kept."""
    return folder / "checkpoints" / f"step_{step:08d}.safetensors"


def write_checkpoint(folder: Path, step: int, parameters: Mapping[str, Tensor]) -> None:
    """Save the distinct trained parameters of one step."""
    content = save_tensors({name: p.contiguous() for name, p in parameters.items()}, metadata={"step": str(step)})
    write_whole(checkpoint_path(folder, step), content)


def write_settings(
    folder: Path, task: TwoHopTask, model_config: ModelConfig, train_config: TrainConfig, initial: Checkpoint | None = None
) -> None:
    """Save what defines a run, before training starts."""
    supervision = dataclasses.asdict(task.supervision) if task.supervision else None
    graph = task.graph
    about = {
        "n_entities": graph.n_entities,
        "n_relations": graph.n_relations,
        "supervision": supervision,
        "seed": task.seed,
        "layout": task.layout,
    }
    settings = {
        "format": 1,
        "task": about,
        "model": dataclasses.asdict(model_config),
        "training": dataclasses.asdict(train_config),
        "initial": _name_of(initial),
        "torch": torch.__version__,
    }
    write_task(folder, task)
    write_whole(folder / "run.json", json.dumps(settings, indent=1))


def write_task(folder: Path, task: TwoHopTask) -> None:
    """Save facts and splits, in 16-bit integers if they fit."""
    graph = task.graph
    arrays = {"heads": graph.heads, "relations": graph.relations, "tails": graph.tails, "trained": task.trained}
    arrays |= {"added": task.added, **task.tests}
    largest = max(len(graph), graph.n_entities, graph.n_relations)
    dtype = np.int16 if largest <= np.iinfo(np.int16).max else np.int32
    compact = {name: np.ascontiguousarray(array, dtype=dtype) for name, array in arrays.items()}
    flags = {"is_ood": task.is_ood} | ({} if task.is_atomic is None else {"is_atomic": task.is_atomic})
    flags_as_numbers = {name: flag.astype(np.uint8) for name, flag in flags.items()}
    write_whole(folder / "task.safetensors", save_arrays(compact | flags_as_numbers))


def check_resumable(
    folder: Path,
    task: TwoHopTask,
    model_config: ModelConfig,
    train_config: TrainConfig,
    initial: Checkpoint | None,
    *,
    resume: bool,
) -> None:
    """Raise unless the run in a folder is to be resumed and has the very same settings."""
    if not resume:
        raise FileExistsError(f"{folder} holds a run already; read it with Run.load, or go on with resume=True")
    settings, there = _read_settings(folder)
    configs = ((settings["model"], model_config), (settings["training"], train_config))
    changed = [
        f"{name} is {before.get(name)!r} there, {now!r} was asked for"
        for before, config in configs
        for name, now in dataclasses.asdict(config).items()
        if before.get(name) != json.loads(json.dumps(now))
    ]
    if (before := settings.get("initial", "")) != (now := _name_of(initial)):
        changed.append(f"it began with {before or 'random weights'}, {now or 'random weights'} were asked for")
    if there.key != task.key:
        changed.append(f"its task is {there.key} ({there.regime}), {task.key} ({task.regime}) was asked for")
    if changed:
        raise ValueError(f"{folder} holds a run with other settings: {'; '.join(changed)}; choose another folder")


def _name_of(initial: Checkpoint | None) -> str:
    if initial is None:
        return ""
    weights = hashlib.sha256(initial.path.read_bytes()).hexdigest()[:12]
    return f"{initial.label}, weights {weights}"


def _read_settings(folder: Path) -> tuple[dict[str, Any], TwoHopTask]:
    try:
        settings = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return settings, _task_from(load_arrays(folder / "task.safetensors"), settings["task"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder} is no readable run: {error!r}") from error


def _task_from(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> TwoHopTask:
    wide = {name: array.astype(np.int64) for name, array in arrays.items()}
    graph = KnowledgeGraph(about["n_entities"], about["n_relations"], *(wide[n] for n in ("heads", "relations", "tails")))
    is_ood = wide["is_ood"].astype(bool)
    is_atomic = wide["is_atomic"].astype(bool) if "is_atomic" in wide else None
    supervision = Supervision(**about["supervision"]) if about["supervision"] else None
    tests = {name: wide[name] for name in TEST_SPLITS}
    layout = about.get("layout", "compact")  # runs of format 1 without one were compact
    return TwoHopTask(graph, is_ood, wide["trained"], wide["added"], tests, supervision, about["seed"], layout, is_atomic)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The distinct trained parameters in a checkpoint's file, as they were saved."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file: {error}") from error


def load_weights(model: HookedTransformer, config: ModelConfig, path: Path) -> None:
    """Put a checkpoint's weights into a model.

    Raises:
        FileNotFoundError: if the file is gone.
        CheckpointError: if it is truncated or does not fit the config.
    """
    expected = {name: tuple(p.shape) for name, p in trained_parameters(model, config).items()}
    parameters = read_weights(path)
    found = {name: tuple(p.shape) for name, p in parameters.items()}
    if found != expected:
        raise CheckpointError(f"{path} does not fit {config}: {_differences(found, expected)}")
    load_parameters(model, config, parameters)


def _differences(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    lines = [f"lacks {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"has an unknown {name}" for name in sorted(found.keys() - expected.keys())]
    lines += [
        f"{name} is {found[name]}, not {expected[name]}"
        for name in sorted(found.keys() & expected.keys())
        if found[name] != expected[name]
    ]
    return "; ".join(lines)
