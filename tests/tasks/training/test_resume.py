"""A run that is killed at any moment and resumed ends with the same bits."""

import dataclasses
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from killed_training import start
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from grokscope.tasks import CheckpointError, ModelConfig, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.models.building import build_model
from grokscope.tasks.training.train import initial_state
from grokscope.tasks.training.training_state import STATE_FILE, TrainingState

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


def without(name: str) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    """Removes a tensor or an entry of the metadata."""

    def remove(tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        (metadata if name in metadata else tensors).pop(name)

    return remove


def says(name: str, value: str) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    """Changes an entry of the metadata."""
    return lambda tensors, metadata: metadata.update({name: value})


def holds(name: str, *shape: int) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    """Adds or changes a tensor."""
    return lambda tensors, metadata: tensors.update({name: torch.zeros(shape)})


def of(name: str, dtype: torch.dtype) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    """Changes the dtype of a tensor."""
    return lambda tensors, metadata: tensors.update({name: tensors[name].to(dtype)})


DAMAGES = {
    "parameter: lacks embed.W_E": without("parameter/embed.W_E"),
    "average: lacks blocks.0.attn.W_K": without("average/blocks.0.attn.W_K"),
    "exp_avg: lacks embed.W_E": without("exp_avg/embed.W_E"),
    "exp_avg_sq: lacks embed.W_E": without("exp_avg_sq/embed.W_E"),
    "recent 10: lacks embed.W_E": without("recent 10/embed.W_E"),
    "its metadata lacks step": without("step"),
    "its metadata lacks seconds": without("seconds"),
    "its metadata says step = '-3'": says("step", "-3"),
    "its metadata says step = 'ten'": says("step", "ten"),
    "its metadata says seconds = 'nan'": says("seconds", "nan"),
    r"average: embed.W_E is \(2, 3\), not \(": holds("average/embed.W_E", 2, 3),
    "parameter: has an unknown extra": holds("parameter/extra", 1),
    "has an unknown moments": holds("moments/embed.W_E", 1),
    "lacks recent 10": lambda tensors, metadata: [tensors.pop(name) for name in list(tensors) if name.startswith("recent")],
    "has an unknown recent 7": lambda tensors, metadata: tensors.update(
        {
            name.replace("recent 10", "recent 7"): tensor.clone()
            for name, tensor in tensors.items()
            if name.startswith("recent")
        }
    ),
    "its metadata says step = 7, which is none of the last in the metrics: 10": says("step", "7"),
    "its metadata says step = 999": says("step", "999"),
    "its metadata says step = '\u0661\u0660'": says("step", "\u0661\u0660"),
    "parameter: embed.W_E is of torch.float16, not torch.float32": of("parameter/embed.W_E", torch.float16),
    "parameter: embed.W_E is of torch.int32, not torch.float32": of("parameter/embed.W_E", torch.int32),
    "average: embed.W_E is of torch.float16, not torch.float32": of("average/embed.W_E", torch.float16),
    "recent 10: embed.W_E is of torch.float64, not torch.float32": of("recent 10/embed.W_E", torch.float64),
    "no step is called 'recent ten'": holds("recent ten/embed.W_E", 1),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_state_that_lacks_something_is_named_and_changes_nothing(task: TwoHopTask, tmp_path: Path, message: str) -> None:
    state = _state_after_a_step(task)
    state.save(tmp_path)
    with safe_open(tmp_path / STATE_FILE, framework="pt") as file:
        metadata, tensors = dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    DAMAGES[message](tensors, metadata)
    save_file(tensors, tmp_path / STATE_FILE, metadata=metadata)
    fresh = _state_after_a_step(task)
    before = {name: parameter.detach().clone() for name, parameter in fresh.parameters.items()}
    with pytest.raises(CheckpointError, match=f"is no whole training state: .*{message}"):
        fresh.restore(tmp_path, evaluated=[10])
    assert all(torch.equal(parameter, before[name]) for name, parameter in fresh.parameters.items()) and fresh.step == 10


def test_a_state_without_any_metadata_is_named_with_all_it_lacks(task: TwoHopTask, tmp_path: Path) -> None:
    save_file({"parameter/embed.W_E": torch.zeros(1)}, tmp_path / STATE_FILE)
    with pytest.raises(CheckpointError, match=r"lacks step; its metadata lacks seconds; parameter: lacks .*average: lacks"):
        _state_after_a_step(task).restore(tmp_path, evaluated=[10])


def test_a_state_is_read_back_as_it_was_written(task: TwoHopTask, tmp_path: Path) -> None:
    state, other = _state_after_a_step(task), _state_after_a_step(task, seed=1)
    state.save(tmp_path)
    other.restore(tmp_path, evaluated=[10])
    assert all(torch.equal(state.average[name], other.average[name]) for name in state.average)
    assert all(torch.equal(state.parameters[name], other.parameters[name]) for name in state.parameters)
    assert (other.step, list(other.recent)) == (10, [10])


def _state_after_a_step(task: TwoHopTask, seed: int = 0) -> TrainingState:
    """A small state with moments, at step 10."""
    model = build_model(ModelConfig.tiny(), task, seed=seed)
    state = initial_state(model, ModelConfig.tiny(), CONFIG)
    for parameter in state.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.step = 10
    state.remember_average()
    return state


def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ValueError, match="device is 'cuda', there are here 'cpu'"):
        train(task, ModelConfig.tiny(), CONFIG, tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()
