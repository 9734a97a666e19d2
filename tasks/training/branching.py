"""Going on from a checkpoint of another run with other settings: a branch, which begins with that run's training state."""

import dataclasses

from ..models.building import AnyConfig
from ..questions.task import Task
from ..runs.checkpoints import Checkpoint, Run
from ..runs.folder import CheckpointError, checkpoint_name, state_name, state_steps
from ..runs.past import Branch
from ..runs.training_config import TrainConfig
from .training_state import TrainingState, restore_state


def branch_problems(checkpoint: Checkpoint, task: Task, model_config: AnyConfig, config: TrainConfig) -> list[str]:
    """Why training cannot go on from a checkpoint with another task and config."""
    asked, there = dataclasses.asdict(model_config), dataclasses.asdict(checkpoint.model_config)
    sizes = {"n_tokens": (checkpoint.task.n_tokens, task.n_tokens)}
    sizes["n_positions"] = (checkpoint.task.n_positions, task.n_positions)
    sizes |= {name: (there[name], now) for name, now in asked.items()}
    problems = [
        f"{name} is {before!r} in from_checkpoint, {now!r} was asked for: a branch has the model, the vocabulary and the "
        "prompt length of the run that it goes on from"
        for name, (before, now) in sizes.items()
        if before != now
    ]
    if config.max_steps <= checkpoint.step:
        problems.append(
            f"max_steps is {config.max_steps}, but steps count on from from_checkpoint, which is of step {checkpoint.step}"
        )
    return problems


def branch_of(checkpoint: Checkpoint) -> Branch:
    """How a branch names what it goes on from, by whatever phase that was asked for."""
    name = f"{checkpoint.manifest.folder.name}, step {checkpoint.step:,}"
    return Branch(origin=dataclasses.replace(checkpoint, label=name).origin, step=checkpoint.step)


def check_has_state(checkpoint: Checkpoint) -> Run:
    """The run of a checkpoint, if it keeps the training state of that step.

    Raises:
        CheckpointError: if it does not.
    """
    run = Run.load(checkpoint.manifest.folder)
    kept = [step for step in state_steps(run.manifest) if (run.folder / state_name(step)).exists()]
    if checkpoint.step not in kept:
        steps = [step for step in kept if checkpoint_name(step) in run.manifest.files]
        raise CheckpointError(
            f"{run.folder} keeps no training state of step {checkpoint.step}, from which from_checkpoint= could go on: a "
            f"run keeps that of its end; steps that have one: {', '.join(map(str, steps)) or 'none'}. initial= is possible "
            "in its place: it starts from the averaged weights of any checkpoint, with a fresh optimiser"
        )
    return run


def restore_origin(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Bring a state to where a branch begins.

    Raises:
        FileError: if the state of the run that it goes on from is damaged.
        CheckpointError: if there is none.
    """
    run = check_has_state(checkpoint)
    restore_state(state, run.manifest, run.past, checkpoint.step, run.metrics["step"].tolist())
    state.begin_branch()
