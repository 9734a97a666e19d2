"""Trainings of a moment, to be interrupted, extended and branched, and what it means that two are the same."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pandas as pd
import torch
from safetensors.torch import load_file

from grokscope.tasks import Checkpoint, ModelConfig, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.runs.folder import state_name
from grokscope.tasks.training import train as training


def small() -> TwoHopTask:
    """A task on which a step takes a few milliseconds."""
    return TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, ood_fraction=0.2, test_fraction=0.1, seed=0)


def trained(folder: Path, max_steps: int = 10, *, task: Any = None, start: Checkpoint | None = None, **changes: Any) -> Run:
    """A run of ten steps, evaluated and saved at every other one, or what is left of it."""
    torch.set_num_threads(1)
    settings: dict[str, Any] = dict(max_steps=max_steps, evaluate_every=2, n_checkpoints=20, batch_size=32, warmup_steps=3)
    config = TrainConfig.tiny(**(settings | changes))
    task = task or small()
    return train(task, ModelConfig.tiny(), config, folder, from_checkpoint=start, resume=True, progress=False)


@contextlib.contextmanager
def signalled(step: int, *numbers: int) -> Iterator[None]:
    """Send signals to this process within a step."""
    take_step = training.take_step

    def signalling(state: Any, *arguments: Any) -> Any:
        loss = take_step(state, *arguments)
        for number in numbers if state.step == step else ():
            os.kill(os.getpid(), number)
        return loss

    with mock.patch.object(training, "take_step", signalling):
        yield


def interrupted(action: Callable[[], object], step: int, *numbers: int) -> BaseException | None:
    """What an action raises that is signalled within a step; None if it never comes to it."""
    try:
        with signalled(step, *(numbers or (signal.SIGINT,))):
            action()
    except KeyboardInterrupt as error:
        return error
    return None


def same_weights(one: Run, other: Run, step: int) -> bool:
    """Whether checkpoints have equal bits."""
    weights = [load_file(run.checkpoint(step).path) for run in (one, other)]
    return all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())


def same_runs(a: Path, b: Path) -> None:
    """Equal metrics but for the seconds, equal bits in the same checkpoints, and the state of the end."""
    metrics = [Run.load(folder).metrics.drop(columns="seconds") for folder in (a, b)]
    pd.testing.assert_frame_equal(*metrics, check_exact=True)
    assert Run.load(a).steps == Run.load(b).steps
    runs = [Run.load(folder) for folder in (a, b)]
    assert all(same_weights(*runs, step) for step in runs[0].steps)
    for folder in (a, b):
        end = int(Run.load(folder).metrics["step"].iloc[-1])
        assert [path.name for path in folder.glob("state*")] == [state_name(end)] and not list(folder.rglob("*.partial"))
    states = [load_file(folder / state_name(end)) for folder in (a, b)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0].keys() | states[1].keys())
