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


def small(seed: int = 0) -> TwoHopTask:
    """A task on which a step takes a few milliseconds."""
    return TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, ood_fraction=0.2, test_fraction=0.1, seed=seed)


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


def same_tensors(one: Path, other: Path) -> bool:
    """Whether files hold tensors of the same names and equal bits."""
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_weights(one: Run, other: Run, step: int) -> bool:
    """Whether checkpoints have equal bits."""
    return same_tensors(one.checkpoint(step).path, other.checkpoint(step).path)


def same_runs(a: Path, b: Path) -> None:
    """Equal metrics but for the seconds, equal bits in the same checkpoints, and the state of the end."""
    one, other = (Run.load(folder) for folder in (a, b))
    metrics = [run.metrics.drop(columns="seconds") for run in (one, other)]
    pd.testing.assert_frame_equal(*metrics, check_exact=True)
    assert one.steps == other.steps
    assert all(same_weights(one, other, step) for step in one.steps)
    end = state_name(int(one.metrics["step"].iloc[-1]))
    for folder in (a, b):
        assert [path.name for path in folder.glob("state*")] == [end] and not list(folder.rglob("*.partial"))
    assert same_tensors(a / end, b / end)
