"""A run that is killed at any moment and resumed ends with the same bits."""

import dataclasses
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from killed_training import start
from safetensors.torch import load_file

from grokscope.tasks import CheckpointError, ModelConfig, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.training.training_state import STATE_FILE

CONFIG = TrainConfig.tiny(max_steps=120, evaluate_every=10, n_checkpoints=4, examples_per_prefix=2)


def same_runs(a: Path, b: Path) -> None:
    """Equal metrics but for the seconds, and equal bits in the same checkpoints."""
    metrics = [Run.load(folder).metrics.drop(columns="seconds") for folder in (a, b)]
    pd.testing.assert_frame_equal(*metrics, check_exact=True)
    assert Run.load(a).steps == Run.load(b).steps
    for step in Run.load(a).steps:
        weights = [load_file(Run.load(folder).checkpoint(step).path) for folder in (a, b)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0].keys() | weights[1].keys())
    assert not (a / STATE_FILE).exists() and not (b / STATE_FILE).exists()


def test_a_killed_process_is_continued_to_the_same_bits(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(whole).join()
    n_killed = 0
    for rows in (1, 5, 11):
        process = start(killed)
        while process.is_alive() and _n_rows(killed) < rows + 1:
            time.sleep(0.002)
        process.kill()
        process.join()
        n_killed += process.exitcode == -signal.SIGKILL
    assert n_killed >= 2 and not Run.load(killed).is_finished
    start(killed).join()
    same_runs(whole, killed)


def _n_rows(folder: Path) -> int:
    path = folder / "metrics.csv"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture(scope="module")
def whole(task: TwoHopTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    torch.set_num_threads(1)
    return train(task, ModelConfig.tiny(), CONFIG, folder / "run", progress=False).folder


@pytest.mark.parametrize("stop_before", ["write_checkpoint", "write_atomic", "save"])
def test_stopping_between_any_two_files_loses_nothing(
    whole: Path, task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_before: str
) -> None:
    """The process dies right before the third checkpoint, metrics table or state is written."""
    from grokscope.tasks.training import train as training

    torch.set_num_threads(1)
    owner = training.TrainingState if stop_before == "save" else training
    original, calls = getattr(owner, stop_before), []

    def dying(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, stop_before, dying)
    with pytest.raises(KeyboardInterrupt):
        train(task, ModelConfig.tiny(), CONFIG, tmp_path / "stopped", progress=False)
    monkeypatch.undo()
    train(task, ModelConfig.tiny(), CONFIG, tmp_path / "stopped", resume=True, progress=False)
    same_runs(whole, tmp_path / "stopped")


def test_a_finished_run_is_returned_unchanged(tiny_run: Run, task: TwoHopTask) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")}
    again = train(task, tiny_run.model_config, tiny_run.train_config, tiny_run.folder, resume=True, progress=False)
    pd.testing.assert_frame_equal(again.metrics, tiny_run.metrics)
    assert {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")} == before


def test_changed_settings_are_refused_by_name(tiny_run: Run, task: TwoHopTask) -> None:
    wider = dataclasses.replace(tiny_run.model_config, d_model=64)
    slower = dataclasses.replace(tiny_run.train_config, learning_rate=1e-5, betas=(0.9, 0.99))
    with pytest.raises(ValueError, match=r"d_model is 32 there, 64 .*learning_rate is 0.001 there, 1e-05.*betas"):
        train(task, wider, slower, tiny_run.folder, resume=True, progress=False)
    other = TwoHopTask.random(n_entities=24, n_relations=14, out_degree=10, seed=1)
    with pytest.raises(ValueError, match=rf"its task is {task.key} \(natural\), {other.key} \(natural\) was asked for"):
        train(other, tiny_run.model_config, tiny_run.train_config, tiny_run.folder, resume=True, progress=False)


def test_a_truncated_state_is_named(task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grokscope.tasks.training import train as training

    original = training.evaluate
    monkeypatch.setattr(
        training, "evaluate", lambda *args: original(*args) if not (tmp_path / STATE_FILE).exists() else 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        train(task, ModelConfig.tiny(), CONFIG, tmp_path, progress=False)
    monkeypatch.undo()
    state = tmp_path / STATE_FILE
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"state.safetensors is no readable training state"):
        train(task, ModelConfig.tiny(), CONFIG, tmp_path, resume=True, progress=False)


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda' asked for, but torch sees no GPU here"):
        train(task, ModelConfig.tiny(), CONFIG, tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()
