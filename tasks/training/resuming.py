"""Going on with a run that was stopped: from its newest state of training that is sound, and nothing unchecked."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...circuits.destination import folder_problems
from ...circuits.documents import FileError
from ...circuits.manifest import MANIFEST, Entry, Manifest, is_there
from ..models.config import ModelConfig
from ..questions.task import Task
from ..runs.checkpoints import CheckpointError, Run
from ..runs.folder import (
    KIND,
    METRICS,
    SETTINGS,
    TASK,
    RunWriter,
    check_holds_no_part,
    check_parts,
    checkpoint_name,
    checkpoint_steps,
    state_name,
    state_steps,
    unnamed,
    written_alone,
)
from ..runs.metrics import rows_until
from ..runs.settings import check_resumable, read_manifest, settings_bytes, task_bytes
from ..runs.training_config import TrainConfig
from .training_state import TrainingState

_TO_DO = "put back a copy of what is damaged or gone, or train again in another folder"


class ResumeWarning(UserWarning):
    """A run goes on from an older state than its newest, since that is damaged or weights between them are."""


@dataclass(frozen=True)
class Asked:
    """A training that is asked for, and the folder where a part of it may have been done.

    Attributes:
        folder: of the run.
        task: what to learn.
        model_config: the model's shape.
        train_config: how to train it.
        initial: the checkpoint whose weights it begins with; empty for random ones.
        resume: whether what is there may be continued.
    """

    folder: Path
    task: Task
    model_config: ModelConfig
    train_config: TrainConfig
    initial: str
    resume: bool

    def finished(self) -> Run | None:
        """The run in the folder, if it is finished.

        Raises:
            FileExistsError: if there is a run and `resume` is not asked for.
            ValueError: if it has other settings.
            CheckpointError: if one of its files is gone or was changed since it was written, or the folder holds what is
                left of a run without what makes it one.
        """
        check_parts(self.folder)
        if not self._is_there():
            return None
        run = self._evaluated()
        if run is None or not run.is_finished:
            return None
        if damaged := _damaged(run):
            raise CheckpointError(f"{self.folder} holds a finished run, but {'; '.join(damaged.values())}; {_TO_DO}")
        # The last writer was killed when all was done but for removing them.
        if unnamed(run.manifest) and is_there(self.folder) and not folder_problems(out=self.folder):
            with written_alone(self.folder):
                RunWriter(self.folder, dict(run.manifest.files)).publish()
        return run

    def begun(self, state: TrainingState) -> tuple[RunWriter, bytes] | None:
        """Begin the run, or bring the state to where it goes on; for the only writer of the folder.

        Returns:
            The writer of its files, and its metrics until there; None if another process has finished it meanwhile.
        """
        if not self._is_there():
            writer = RunWriter(self.folder)
            writer.write(TASK, task_bytes(self.task))
            writer.begin(settings_bytes(self.task, self.model_config, self.train_config, self.initial))
            return writer, b""
        if run := self._evaluated():
            return None if run.is_finished else resumed(run, state)
        return RunWriter(self.folder, dict(read_manifest(self.folder).files)), b""

    def _is_there(self) -> bool:
        """Whether the folder holds this run, or a part of it; any other one is refused."""
        if (self.folder / SETTINGS).exists():
            there = (self.folder, self.task, self.model_config, self.train_config, self.initial)
            check_resumable(*there, resume=self.resume)
            return True
        if is_there(self.folder) and METRICS in Manifest.read(self.folder, KIND).files:
            raise CheckpointError(f"{self.folder} lacks {SETTINGS} of its run; take a copy of it, or choose another folder")
        check_holds_no_part(self.folder)
        return False

    def _evaluated(self) -> Run | None:
        """The run in the folder; None if it was stopped before its first evaluation."""
        manifest = read_manifest(self.folder)
        if METRICS in manifest.files:
            return Run.load(self.folder)
        if named := [*map(checkpoint_name, checkpoint_steps(manifest)), *map(state_name, state_steps(manifest))]:
            raise CheckpointError(f"{self.folder / MANIFEST} names {named[0]}, but no {METRICS}; {_TO_DO}")
        return None


def resumed(run: Run, state: TrainingState) -> tuple[RunWriter, bytes]:
    """Restore the newest sound state; what came after it is no longer part of the run.

    The next manifest vouches for all that is kept, so all of it is checked before. Weights that are damaged or gone are made
    again where a state before them is sound. Where none is, this is an error and they are not left out: no later training
    can make them again.

    Raises:
        CheckpointError: if no state is sound, or one is but weights before it are not; nothing is changed.
    """
    damaged = _damaged(run)
    step = _restored(run, state, damaged)
    metrics = rows_until(run.manifest.bytes_of(METRICS, may_have_grown=True), run.metrics, step)
    dated = [(each, checkpoint_name(each)) for each in run.steps]
    dated += [(each, state_name(each)) for each in state_steps(run.manifest)]
    dropped = {name for each, name in dated if each > step} | damaged.keys()
    files = {name: entry for name, entry in run.manifest.files.items() if name not in dropped}
    writer = RunWriter(run.folder, files | {METRICS: Entry.of(metrics)})
    writer.publish()
    return writer, metrics


def _restored(run: Run, state: TrainingState, damaged: Mapping[str, str]) -> int:
    """The step of the newest sound state before which all else is sound; a warning names what is not."""
    owner, problems = run.manifest.files[SETTINGS].sha256, list(damaged.values())
    states = {step: state_name(step) for step in state_steps(run.manifest)}
    made_at = {checkpoint_name(step): step for step in run.steps}
    until = min((made_at.get(name, 0) for name in damaged.keys() - states.values()), default=math.inf)
    for step, name in reversed(states.items()):
        if name in damaged or step >= until:
            continue
        try:
            data = run.manifest.bytes_of(name)
            state.restore(data, str(run.folder / name), run=owner, step=step, evaluated=run.metrics["step"].tolist())
        except (FileError, OSError) as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"{run.folder} goes on from step {step}: {'; '.join(problems)}", ResumeWarning, stacklevel=2)
        return step
    raise CheckpointError(
        f"{run.folder} cannot be continued from step {run.metrics['step'].iloc[-1]}: "
        f"{'; '.join(problems) or 'it holds no state of training'}; {_TO_DO}"
    )


def _damaged(run: Run) -> dict[str, str]:
    """Those of a run's files that are gone or changed, and what is wrong with each; the metrics, which grow, aside."""
    problems = {}
    for name in sorted(run.manifest.files.keys() - {METRICS}, reverse=True):
        try:
            run.manifest.bytes_of(name)
        except (FileError, OSError) as error:
            problems[name] = str(error)
    return problems
