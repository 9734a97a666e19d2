"""Making a run longer than it was to be: with the very same steps, and with what differs in its reports said once."""

from collections.abc import Collection, Mapping

from ...circuits.manifest import Entry
from ..runs.checkpoints import CheckpointError, Run
from ..runs.folder import SETTINGS, checkpoint_name, state_steps
from ..runs.past import Extension
from ..runs.settings import RunSettings
from ..runs.training_config import TrainConfig


def extends(there: TrainConfig, asked: TrainConfig) -> bool:
    """Whether a run is to be made longer; its other settings are the same."""
    return (there.max_steps, there.stop_at) != (asked.max_steps, asked.stop_at)


def check_extendable(run: Run, asked: TrainConfig) -> None:
    """Raise where a run cannot go on for longer.

    Raises:
        CheckpointError: if it has reached already where it is to stop, or is finished and keeps no state of training.
    """
    if asked.stop_at in run.phases:
        raise CheckpointError(
            f"{run.folder} reached stop_at={asked.stop_at!r} at step {run.phases[asked.stop_at]}: there is nothing to go on "
            "to; with stop_at=None it trains to max_steps"
        )
    if run.phases["final"] == asked.max_steps:
        raise CheckpointError(
            f"{run.folder} has trained max_steps={asked.max_steps}, so that there is nothing to go on to with "
            f"stop_at={asked.stop_at!r}"
        )
    if run.is_finished and not state_steps(run.manifest):
        raise CheckpointError(
            f"{run.folder} is finished and keeps no state of training, as old runs and copies of runs: it cannot go on as "
            f"if it had never stopped; train(..., initial=run.checkpoint({run.steps[-1] if run.steps else 'step'})), in "
            "another folder, starts from its averaged weights with a fresh optimiser"
        )


def extension(settings: RunSettings, evaluated: int, files: Mapping[str, Entry]) -> Extension:
    """What is recorded of a run that is extended: what it was to be until now, and the step of its last evaluation."""
    before = settings.training
    return Extension(
        max_steps=before.max_steps,
        stop_at=before.stop_at,
        step=evaluated,
        torch=settings.torch,
        sha256=files[SETTINGS].sha256,
    )


def differences(settings: RunSettings, asked: TrainConfig, step: int, evaluated: int, kept: Collection[str]) -> list[str]:
    """What an extended run has other than one that was to be as long from the start.

    Args:
        settings: those until now.
        asked: the config from now on.
        step: that it goes on from.
        evaluated: the step of its last evaluation.
        kept: the names of its files of weights, those included that its state can still write.
    """
    due = [each for each in sorted(asked.checkpoint_steps) if settings.past.first < each <= step]
    missing = [each for each in due if checkpoint_name(each) not in kept]
    found = []
    if missing:
        found.append(f"it lacks the weights of {', '.join(f'step {each:,}' for each in missing)}")
    if evaluated == settings.training.max_steps and evaluated not in asked.evaluation_steps:
        found.append(
            f"it was evaluated at step {evaluated:,}, in addition, on which the next row's loss and the phases depend"
        )
    return found
