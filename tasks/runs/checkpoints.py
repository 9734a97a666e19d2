"""What training leaves: a Run is a folder, a Checkpoint one file of weights in it.

A run's folder holds `run.json` and `task.safetensors` (see `settings`), `metrics.csv` (see `metrics`; a row for each
evaluation), `checkpoints/step_*.safetensors` (see `weights`; EMA weights if the run has them) and `manifest.json`, which
says what belongs to the run (see `folder`). Phases are decided from the metrics and named in `PHASES`.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from ...circuits.arguments import is_whole, refuse, whole_problems
from ...circuits.destination import input_problems
from ...circuits.manifest import MANIFEST, Manifest
from ...circuits.same_content import ByContent
from ..models.building import AnyConfig, build_model, model_problems
from ..models.config import ModelConfig
from ..questions.devices import device_problems
from ..questions.evaluation import n_reported
from ..questions.task import Task
from .cards import checkpoint_card, checkpoint_line, run_card, run_line
from .folder import (
    CHECKPOINTS,
    METRICS,
    SETTINGS,
    TASK,
    CheckpointError,
    checkpoint_name,
    checkpoint_steps,
    naming_checkpoints,
)
from .metrics import read_metrics
from .past import Branch, Extension, Past
from .phases import SATURATED, first_lasting, phases_reached
from .settings import read_manifest, read_settings
from .training_config import TrainConfig
from .weights import check_size, load_weights, read_weights

if TYPE_CHECKING:
    from ..transformerlens import Model

_TO_DO = "take a copy of it, or continue training with resume=True if it was stopped"


@dataclass(frozen=True, eq=False)
class Checkpoint(ByContent):
    """One set of weights.

    Attributes:
        path: the safetensors file.
        label: run and step, for titles; the model carries it as `cfg.model_name`.
        step: training step.
        accuracy: exact match by split on the half of the queries that phases are not chosen on.
        model_config: the shape of the model.
        task: what it was trained on.
        manifest: of the run's folder; it says which bytes the file has.
    """

    path: Path
    label: str = field(compare=False)
    step: int
    accuracy: Mapping[str, float]
    model_config: AnyConfig
    task: Task
    manifest: Manifest

    __repr__, _repr_html_ = checkpoint_line, checkpoint_card

    def model(self, *, n_loops: int | None = None, device: str = "cpu") -> "Model":
        """The weights in a plain HookedTransformer, tied as its config says, or in a TRM, in evaluation mode.

        Args:
            n_loops: apply the blocks this often, instead of as often as in training. Fewer loops are an early exit: the
                output of loop n_loops goes straight to the final norm.
            device: where the parameters live.

        Raises:
            FileNotFoundError: if the file is gone.
            CheckpointError: if it was changed since it was written, or does not fit the config.
        """
        loops = [] if n_loops is None else whole_problems(1, n_loops=n_loops)
        if n_loops is not None and not isinstance(self.model_config, ModelConfig):
            loops.append(f"n_loops is for models whose blocks are looped, not for {self.model_config.architecture}")
        refuse(loops + device_problems(device))
        config = self.model_config if n_loops is None else dataclasses.replace(self.model_config, n_loops=n_loops)  # pyright: ignore[reportCallIssue]
        weights = self.weights()
        check_size(config, self.task, weights, str(self.path))
        model = build_model(config, self.task, device=device)
        load_weights(model, config, weights, str(self.path))
        model.cfg.model_name = self.label if n_loops is None else f"{self.label}, {n_loops} loops"
        return model.eval()

    def weights(self) -> dict[str, Tensor]:
        """The distinct trained parameters as they are in the file, checked; of what shapes they are, `model` checks.

        Raises:
            FileNotFoundError: if the file is gone.
            CheckpointError: if it was changed since it was written.
        """
        with naming_checkpoints():
            return read_weights(self._bytes(), str(self.path), step=self.step)

    @property
    def origin(self) -> str:
        """The label and a hash of the file, by which a run names the weights it began with."""
        with naming_checkpoints():
            return f"{self.label}, weights {hashlib.sha256(self._bytes()).hexdigest()[:12]}"

    def _bytes(self) -> bytes:
        return self.manifest.bytes_of(self.path.relative_to(self.manifest.folder).as_posix())


@dataclass(frozen=True, eq=False)
class Run(ByContent):
    """A finished or stopped training run.

    Attributes:
        folder: on disk.
        task: what was trained.
        model_config: the model's shape.
        train_config: how it was trained.
        metrics: a row for each evaluation; columns as in `evaluation.evaluate`, and step, seconds, loss, floor_….
        manifest: what belongs to it, as the folder's manifest said when it was read.
        initial: the checkpoint whose weights it began with, see `Checkpoint.origin`; empty for none.
        branch: the run and step from whose training state it went on; None if it is no branch.
        extended: what it was to be before each time it was extended, oldest first.
    """

    folder: Path
    task: Task
    model_config: AnyConfig
    train_config: TrainConfig
    metrics: pd.DataFrame
    manifest: Manifest
    initial: str = ""
    branch: Branch | None = None
    extended: tuple[Extension, ...] = ()

    __repr__, _repr_html_ = run_line, run_card

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Read a run from its folder: what its manifest names, and nothing else.

        Raises:
            FileNotFoundError: if files are missing, or training was stopped before its first evaluation.
            CheckpointError: if one of them was changed since it was written, or is not what it should be.
        """
        refuse(input_problems(folder=folder))
        folder = Path(folder)
        if missing := [name for name in (SETTINGS, TASK, METRICS) if not (folder / name).is_file()]:
            raise FileNotFoundError(f"{folder} is no complete run{_why(folder, missing)}")
        with naming_checkpoints():
            manifest, settings, task = read_settings(folder)
            if METRICS not in manifest.files:
                raise FileNotFoundError(
                    f"{folder} is no complete run: {folder / MANIFEST} names no {METRICS}, as if training was stopped "
                    f"before its first evaluation was whole; {_TO_DO}"
                )
            data = manifest.bytes_of(METRICS, may_have_grown=True)
        metrics = read_metrics(data, str(folder / METRICS), task, settings.past.evaluation_steps(settings.training))
        _check_steps(manifest, metrics["step"].tolist())
        if problems := model_problems(settings.model, task):
            raise CheckpointError(f"{folder / SETTINGS} names a model that cannot be built: {'; '.join(problems)}")
        came_from = (settings.initial, settings.branch, settings.extended)
        return cls(folder, task, settings.model, settings.training, metrics, manifest, *came_from)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def past(self) -> Past:
        """Where it came from; as a text, in words."""
        return Past(self.initial, self.branch, self.extended)

    @cached_property
    def phases(self) -> dict[str, int]:
        """Phase → the step at which it begins; phases not reached are absent."""
        return phases_reached(self.metrics, id_test=self.task.id_test, ood_test=self.task.ood_test)

    @property
    def is_finished(self) -> bool:
        """Whether training reached its last step or the phase it was to stop at."""
        return self.phases.get("final") == self.train_config.max_steps or self.train_config.stop_at in self.phases

    @cached_property
    def n_reported(self) -> dict[str, int]:
        """The number of queries that each split's reported accuracy rests on."""
        return n_reported(self.task)

    @property
    def steps(self) -> list[int]:
        """The steps at which there is a checkpoint."""
        return checkpoint_steps(self.manifest)

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """All there are, by step; no weights are read before they are asked for."""
        return [self.checkpoint(step) for step in self.steps]

    def checkpoint(self, which: str | int) -> Checkpoint:
        """The checkpoint of a phase, of a step, or `"grokked"`.

        A run has grokked if it is `ood_generalised` without compositions of OOD facts in training, at least five times
        later than train ≥ .99.

        Raises:
            KeyError: if there is no such phase or step; for `"grokked"`, the message says which part failed.
        """
        if not isinstance(which, str) and not is_whole(which):
            raise KeyError(f"a checkpoint is that of a phase or a step, got {which!r}; steps with weights: {self.steps}")
        if which == "grokked":
            if self.why_not_grokked:
                raise KeyError(f"{self.folder} has not grokked: {'; '.join(self.why_not_grokked)}")
            which = "ood_generalised"
        step = self.phases.get(which) if isinstance(which, str) else which
        if step is None or step not in self.steps:
            raise KeyError(
                f"{self.folder} has no checkpoint {which!r}; phases reached: {self.phases}, steps with weights: {self.steps}"
            )
        row = self.metrics[self.metrics["step"] == step].iloc[0]
        label = f"{self.name}, step {step:,}" + (f" ({which})" if isinstance(which, str) else "")
        accuracy = {split: float(row[split]) for split in (*self.task.splits, "train")}
        path = self.folder / checkpoint_name(step)
        return Checkpoint(path, label, step, accuracy, self.model_config, self.task, self.manifest)

    def figure(self) -> Any:
        """Exact match of each test split by step, with phases marked: `Study.figure` of this run alone."""
        from .study import Study  # which is made of runs

        return Study(self.folder.parent, {self.name: self}).figure()

    @property
    def why_not_grokked(self) -> list[str]:
        """What lacks for it to have grokked, see `checkpoint`; empty if nothing does."""
        saturated = first_lasting(self.metrics["step"], self.metrics["select_train"] >= SATURATED)
        generalised = self.phases.get("ood_generalised")
        failed = []
        if self.task.n_added:
            failed.append(f"{self.task.n_added} compositions of OOD facts are in training (regime {self.task.regime})")
        if generalised is None:
            failed.append("OOD+OOD accuracy did not stay at .9 or more for three evaluations")
        elif saturated is None or generalised < 5 * saturated:
            failed.append(f"OOD+OOD generalised at step {generalised}, not 5 times later than train ≥ .99 at {saturated}")
        return failed


def _why(folder: Path, missing: Sequence[str]) -> str:
    """Why a folder that lacks files is no complete run, and what to do."""
    if not folder.is_dir():
        return ": there is no such folder"
    if list(missing) == [METRICS]:
        with naming_checkpoints():
            if METRICS not in read_manifest(folder).files:
                return ": its training was stopped before its first evaluation; go on with train(..., resume=True)"
    return f", it lacks {', '.join(missing)}; {_TO_DO}"


def _check_steps(manifest: Manifest, evaluated: list[int]) -> None:
    """Raise unless every file of weights is of a step that was evaluated."""
    known = set(map(checkpoint_name, evaluated))
    if strange := [name for name in manifest.files if name.startswith(f"{CHECKPOINTS}/") and name not in known]:
        raise CheckpointError(
            f"{manifest.folder}: {', '.join(strange)} are no weights of steps in {METRICS}; take a copy or train again"
        )
