"""Going on with a run that was stopped: from its newest state of training that is sound, and nothing unchecked."""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ...circuits.destination import folder_problems
from ...circuits.documents import FileError
from ...circuits.manifest import MANIFEST, Entry, Manifest, is_there
from ..models.building import AnyConfig
from ..questions.task import Task
from ..runs.checkpoints import Checkpoint, CheckpointError, Run
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
from ..runs.past import Past
from ..runs.settings import RunSettings, check_resumable, settings_bytes, task_bytes
from ..runs.training_config import TrainConfig
from .branching import branch_of, check_has_state, restore_origin
from .extending import check_extendable, differences, extends, extension
from .training_state import TrainingState, restore_state, write_state

_TO_DO = "put back a copy of what is damaged or gone, or train again in another folder"


class ResumeWarning(UserWarning):
    """A run goes on from an older state than its newest, or, extended, differs from one that was as long from the start."""


@dataclass(frozen=True)
class Found:
    """A run that was begun in a folder.

    Attributes:
        manifest: of the folder.
        settings: of the run.
        run: what can be read of it; None before its first evaluation.
    """

    manifest: Manifest
    settings: RunSettings
    run: Run | None

    @classmethod
    def of(cls, manifest: Manifest, settings: RunSettings) -> "Found":
        """Of what defines it, and what was read of it.

        Raises:
            CheckpointError: if the manifest names what there can only be after an evaluation, but no metrics.
        """
        folder = manifest.folder
        if METRICS in manifest.files:
            return cls(manifest, settings, Run.load(folder))
        steps, first = state_steps(manifest), settings.past.evaluation_steps(settings.training)[0]
        named = [*map(checkpoint_name, checkpoint_steps(manifest)), *(state_name(step) for step in steps if step >= first)]
        if named:
            raise CheckpointError(f"{folder / MANIFEST} names {named[0]}, but no {METRICS}; {_TO_DO}")
        return cls(manifest, settings, None)

    @property
    def evaluated(self) -> list[int]:
        """The steps of the metrics."""
        return [] if self.run is None else self.run.metrics["step"].tolist()

    @property
    def until(self) -> int:
        """The step of the last evaluation; if there was none, the step after which training began."""
        return self.evaluated[-1] if self.run else self.settings.past.first


@dataclass(frozen=True)
class Begun:
    """A run that this process writes.

    Attributes:
        writer: of its files.
        metrics: what they are so far.
        steps: the steps that are evaluated, from the first to the last of the whole training.
    """

    writer: RunWriter
    metrics: bytes
    steps: list[int]


@dataclass(frozen=True)
class Asked:
    """A training that is asked for, and the folder where a part of it may have been done.

    Attributes:
        folder: of the run.
        task: what to learn.
        model_config: the model's shape.
        train_config: how to train it.
        initial: the checkpoint whose weights it begins with; None for random ones.
        from_checkpoint: the checkpoint from whose training state it goes on, as a branch; None for none.
        resume: whether what is there may be continued.
    """

    folder: Path
    task: Task
    model_config: AnyConfig
    train_config: TrainConfig
    initial: Checkpoint | None
    from_checkpoint: Checkpoint | None
    resume: bool

    @cached_property
    def past(self) -> Past:
        """Where it comes from."""
        branch = branch_of(self.from_checkpoint) if self.from_checkpoint else None
        return Past(self.initial.origin if self.initial else "", branch)

    def finished(self) -> Run | None:
        """The run in the folder, if it is finished and not to be extended.

        Raises:
            FileExistsError: if there is a run and `resume` is not asked for.
            ValueError: if it has other settings.
            CheckpointError: if one of its files is gone or was changed since it was written, or the folder holds what is
                left of a run without what makes it one; or what is asked for needs a state of training that is not kept.
        """
        check_parts(self.folder)
        found = self._found()
        if found is None and self.from_checkpoint:
            check_has_state(self.from_checkpoint)
        return None if found is None or found.run is None or self._goes_on(found) else self._whole(found.run)

    def _goes_on(self, found: Found) -> bool:
        """Whether anything is left to train; an extension that is not possible is refused."""
        if found.run is None:
            return True
        if not extends(found.settings.training, self.train_config):
            return not found.run.is_finished
        check_extendable(found.run, self.train_config)
        return True

    def _whole(self, run: Run) -> Run:
        """A finished run, checked but for its state of training, on which nothing of it rests."""
        states = {state_name(step) for step in state_steps(run.manifest)}
        if damaged := [problem for name, problem in _damaged(run.manifest).items() if name not in states]:
            raise CheckpointError(f"{self.folder} holds a finished run, but {'; '.join(damaged)}; {_TO_DO}")
        # The last writer was killed when all was done but for removing them.
        if unnamed(run.manifest) and is_there(self.folder) and not folder_problems(out=self.folder):
            with written_alone(self.folder):
                RunWriter(self.folder, dict(run.manifest.files)).publish()
        return run

    def begun(self, state: TrainingState) -> Begun | None:
        """Begin the run, or bring the state to where it goes on; for the only writer of the folder.

        Returns:
            None if another process has finished it meanwhile.
        """
        found = self._found()
        if found is None:
            writer, metrics, past = RunWriter(self.folder), b"", self.past
            writer.write(TASK, task_bytes(self.task))
            writer.begin(self._settings(past))
        else:
            if not self._goes_on(found):
                return None
            is_extension, past = extends(found.settings.training, self.train_config), found.settings.past
            writer, metrics = resumed(found, state)
            if past.branch and not state.step and not self.from_checkpoint:
                raise CheckpointError(
                    f"{self.folder} keeps no state of its branch: name {past.branch.origin} by from_checkpoint="
                )
            past = self._extended(found, writer, state) if is_extension else past
        if self.from_checkpoint and not state.step:  # what it goes on from is taken into the folder
            restore_origin(state, self.from_checkpoint)
            write_state(state, writer, keep=1)
        return Begun(writer, metrics, past.evaluation_steps(self.train_config))

    def _settings(self, past: Past) -> bytes:
        return settings_bytes(self.task, self.model_config, self.train_config, past)

    def _extended(self, found: Found, writer: RunWriter, state: TrainingState) -> Past:
        """Write that the run is to be longer, and say what it has other than one that was as long from the start.

        `run.json` comes first: it names what it was before, so that it is read as this run's until the manifest is there.
        """
        asked, past = self.train_config, found.settings.past
        past = replace(past, extended=(*past.extended, extension(found.settings, found.until, writer.files)))
        writer.write(SETTINGS, self._settings(past))
        writer.publish()
        kept = {*writer.files, *map(checkpoint_name, state.recent)}
        if said := differences(found.settings, asked, state.step, found.until, kept):
            longer = f"{self.folder} goes on from step {state.step}, but is not all that {asked.max_steps:,} steps from the"
            warnings.warn(f"{longer} start would leave: {'; '.join(said)}", ResumeWarning, stacklevel=2)
        return past

    def _found(self) -> Found | None:
        """This run, or a part of it, if the folder holds one; any other one is refused."""
        if (self.folder / SETTINGS).exists():
            asked = (self.folder, self.task, self.model_config, self.train_config, self.past)
            return Found.of(*check_resumable(*asked, resume=self.resume))
        if is_there(self.folder) and METRICS in Manifest.read(self.folder, KIND).files:
            raise CheckpointError(f"{self.folder} lacks {SETTINGS} of its run; take a copy of it, or choose another folder")
        check_holds_no_part(self.folder)
        return None


def resumed(found: Found, state: TrainingState) -> tuple[RunWriter, bytes]:
    """Restore the newest sound state; what came after it is no longer part of the run.

    The next manifest vouches for all that is kept, so all of it is checked before. Weights that are damaged or gone are made
    again where a state before them is sound. Where none is, this is an error and they are not left out: no later training
    can make them again. A run that was never evaluated begins anew.

    Returns:
        The writer of its files, and its metrics until there; the state is at step 0 if it begins anew.

    Raises:
        CheckpointError: if no state is sound, or one is but weights before it are not; nothing is changed.
    """
    manifest, damaged = found.manifest, _damaged(found.manifest)
    step, metrics = _restored(found, state, damaged), b""
    if found.run:
        metrics = rows_until(manifest.bytes_of(METRICS, may_have_grown=True), found.run.metrics, step)
    dated = [(each, checkpoint_name(each)) for each in checkpoint_steps(manifest)]
    dated += [(each, state_name(each)) for each in state_steps(manifest)]
    dropped = {name for each, name in dated if each > step} | damaged.keys()
    files = {name: entry for name, entry in manifest.files.items() if name not in dropped}
    writer = RunWriter(manifest.folder, files | ({METRICS: Entry.of(metrics)} if metrics else {}))
    writer.publish()
    return writer, metrics


def _restored(found: Found, state: TrainingState, damaged: Mapping[str, str]) -> int:
    """The step of the newest sound state before which all else is sound; a warning names what is not."""
    manifest, past, problems = found.manifest, found.settings.past, list(damaged.values())
    states = {step: state_name(step) for step in state_steps(manifest)}
    made_at = {checkpoint_name(step): step for step in checkpoint_steps(manifest)}
    until = min((made_at.get(name, 0) for name in damaged.keys() - states.values()), default=math.inf)
    for step, name in reversed(states.items()):
        if name in damaged or step >= until:
            continue
        try:
            restore_state(state, manifest, past, step, found.evaluated)
        except (FileError, OSError) as error:
            problems.append(str(error))
            continue
        _warn(manifest.folder, step, problems)
        return step
    if found.run is None and until == math.inf:
        _warn(manifest.folder, past.first, problems)
        return 0
    raise CheckpointError(
        f"{manifest.folder} cannot be continued from step {found.until}: "
        f"{'; '.join(problems) or 'it holds no state of training'}; {_TO_DO}"
    )


def _warn(folder: Path, step: int, problems: list[str]) -> None:
    if problems:
        warnings.warn(f"{folder} goes on from step {step}: {'; '.join(problems)}", ResumeWarning, stacklevel=2)


def _damaged(manifest: Manifest) -> dict[str, str]:
    """Those of a run's files that are gone or changed, and what is wrong with each; the metrics, which grow, aside."""
    problems = {}
    for name in sorted(manifest.files.keys() - {METRICS}, reverse=True):
        try:
            manifest.bytes_of(name)
        except (FileError, OSError) as error:
            problems[name] = str(error)
    return problems
