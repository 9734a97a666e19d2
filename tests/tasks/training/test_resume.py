"""A run that is killed at any moment and resumed ends with the same bits."""

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import seeds
from dying import died, n_moments
from killed_training import start
from safetensors.torch import load, save
from small_runs import same_runs, small
from torch import Tensor

from grokscope.circuits.lock import LOCK, only_writer
from grokscope.circuits.manifest import Manifest
from grokscope.circuits.tensor_files import labelled, metadata_of
from grokscope.tasks import (
    CheckpointError,
    FolderInUseError,
    ModelConfig,
    ResumeWarning,
    Run,
    TrainConfig,
    TwoHopTask,
    train,
)
from grokscope.tasks.models.building import build_model
from grokscope.tasks.runs.folder import RunWriter, checkpoint_name, state_name, table_file
from grokscope.tasks.training import resuming
from grokscope.tasks.training import train as training
from grokscope.tasks.training.train import initial_state
from grokscope.tasks.training.training_state import KIND, TrainingState

CONFIG = TrainConfig.tiny(max_steps=120, evaluate_every=10, n_checkpoints=4, examples_per_prefix=2)


@pytest.mark.slow
def test_a_process_that_is_killed_or_interrupted_is_continued_to_the_same_bits(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(whole).join()
    n_killed = 0
    for rows, end in ((1, signal.SIGINT), (5, signal.SIGKILL), (9, signal.SIGTERM), (13, signal.SIGKILL)):
        process = start(killed)
        while process.is_alive() and _n_rows(killed) < rows + 1:
            time.sleep(0.002)
        assert process.pid
        os.kill(process.pid, end)
        process.join()
        n_killed += process.exitcode == (-end if end == signal.SIGKILL else 128 + end)
    assert n_killed >= 3 and not Run.load(killed).is_finished
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


SHORT = TrainConfig.tiny(max_steps=8, evaluate_every=2, n_checkpoints=3, batch_size=32)


def short_run(task: TwoHopTask, folder: Path) -> Run:
    """Four evaluations, or what is left of them."""
    return train(task, ModelConfig.tiny(), SHORT, folder, resume=True, progress=False)


def is_whole_or_says_not(folder: Path) -> int:
    """How many evaluations a run has, all of whose weights are there; 0 if there is none, and reading says so."""
    try:
        run = Run.load(folder)
    except FileNotFoundError as error:
        assert "is no complete run" in str(error)
        return 0
    assert all(run.checkpoint(step).model() for step in run.steps)
    return len(run.metrics)


@pytest.fixture(scope="module")
def short(small_task: TwoHopTask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A short run that nothing interrupts, and at how many moments it could have been."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("short") / "run"
    return folder, n_moments(lambda: short_run(small_task, folder))


@pytest.fixture(scope="module")
def small_task() -> TwoHopTask:
    return small()


EVERY = 9  # of the moments, in `make test`


@pytest.mark.parametrize("first", seeds(EVERY, fast=1))
def test_dying_between_any_two_file_operations_loses_nothing(
    short: tuple[Path, int], small_task: TwoHopTask, tmp_path: Path, first: int
) -> None:
    """All moments: before and after every contents, name, folder and removal is brought to the disk."""
    torch.set_num_threads(1)
    whole, n = short
    assert n > 50
    evaluations = []
    for moment in range(first, n, EVERY):
        folder = tmp_path / str(moment)
        assert died(lambda folder=folder: short_run(small_task, folder), moment)
        evaluations.append(is_whole_or_says_not(folder))
        short_run(small_task, folder)
        same_runs(whole, folder)
    assert evaluations == sorted(evaluations) and len(set(evaluations)) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_dying_again_and_again_loses_nothing(
    short: tuple[Path, int], small_task: TwoHopTask, tmp_path: Path, seed: int
) -> None:
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    while died(lambda: short_run(small_task, tmp_path / "run"), int(random.integers(1, 40))):
        is_whole_or_says_not(tmp_path / "run")
    same_runs(short[0], tmp_path / "run")


@pytest.fixture(scope="module")
def stopped_once(small_task: TwoHopTask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that stopped during its fourth evaluation."""
    return stop(small_task, tmp_path_factory.mktemp("stopped") / "stopped", 4)


def stop(small_task: TwoHopTask, folder: Path, evaluation: int) -> Path:
    """Stop a short run during an evaluation."""
    torch.set_num_threads(1)
    original, calls = training.evaluate, []

    def stopping(*args: object) -> object:
        calls.append(args)
        return original(*args) if len(calls) < evaluation else 1 / 0

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(training, "evaluate", stopping)
        short_run(small_task, folder)
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    return shutil.copytree(stopped_once, tmp_path / "stopped")


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("damage", [flipped, lambda data: data[:-50], lambda data: b""], ids=["flipped", "cut", "empty"])
def test_a_damaged_newest_state_falls_back_to_the_one_before_and_says_so(
    short: tuple[Path, int], stopped: Path, small_task: TwoHopTask, damage: Callable[[bytes], bytes]
) -> None:
    newest = stopped / state_name(6)
    newest.write_bytes(damage(newest.read_bytes()))
    with pytest.warns(ResumeWarning, match=r"goes on from step 4: .*state_00000006.safetensors.*damaged or changed"):
        short_run(small_task, stopped)
    same_runs(short[0], stopped)


def test_a_state_that_is_gone_falls_back_too(short: tuple[Path, int], stopped: Path, small_task: TwoHopTask) -> None:
    (stopped / state_name(6)).unlink()
    with pytest.warns(ResumeWarning, match="goes on from step 4"):
        short_run(small_task, stopped)
    same_runs(short[0], stopped)


def test_falling_back_and_dying_leaves_a_whole_run(
    short: tuple[Path, int], stopped: Path, small_task: TwoHopTask, tmp_path: Path
) -> None:
    (stopped / state_name(6)).write_bytes(b"")
    folder = stopped
    for moment in range(12):
        folder = shutil.copytree(stopped, tmp_path / str(moment))
        with pytest.warns(ResumeWarning):
            assert died(lambda folder=folder: short_run(small_task, folder), moment)
        assert is_whole_or_says_not(folder) in (2, 3)
    short_run(small_task, folder)
    same_runs(short[0], folder)


def test_without_a_sound_state_nothing_is_thrown_away(stopped: Path, small_task: TwoHopTask) -> None:
    for step in (4, 6):
        (stopped / state_name(step)).write_bytes(b"")
    before = {path: path.read_bytes() for path in stopped.rglob("*.*") if path.is_file() and path.name != LOCK}
    with pytest.raises(CheckpointError, match=r"cannot be continued from step 6: .*state_00000006.*state_00000004"):
        short_run(small_task, stopped)
    assert {path: path.read_bytes() for path in before} == before and len(Run.load(stopped).metrics) == 3


def test_a_state_of_another_run_is_not_gone_on_from(stopped: Path, small_task: TwoHopTask, tmp_path: Path) -> None:
    """Even where the manifest vouches for it."""
    writer = RunWriter(stopped, dict(Manifest.read(stopped, "run").files))
    state = _state_after_a_step(small_task)
    state.step = 6
    writer.write(state_name(6), state.to_bytes("another"))
    writer.publish()
    with pytest.warns(ResumeWarning, match="says run = 'another'"):
        short_run(small_task, stopped)


UNSOUND: dict[str, Callable[[Path], object]] = {
    "damaged": lambda path: path.write_bytes(flipped(path.read_bytes())),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", UNSOUND)
def test_weights_that_came_after_a_sound_state_are_made_again(
    short: tuple[Path, int], small_task: TwoHopTask, tmp_path: Path, damage: str
) -> None:
    stopped = stop(small_task, tmp_path / "stopped", 3)
    assert Run.load(stopped).steps == [2, 4]
    UNSOUND[damage](stopped / checkpoint_name(4))
    with pytest.warns(ResumeWarning, match=rf"goes on from step 2: .*{damage}.*"):
        short_run(small_task, stopped)
    same_runs(short[0], stopped)


@pytest.mark.parametrize("damage", UNSOUND)
def test_no_manifest_vouches_for_weights_that_cannot_be_made_again(
    stopped: Path, small_task: TwoHopTask, damage: str
) -> None:
    first = Run.load(stopped).steps[0]
    assert first < 4
    UNSOUND[damage](stopped / checkpoint_name(first))
    before = contents(stopped)
    with pytest.raises(CheckpointError, match=rf"cannot be continued from step 6: .*{damage}.*; put back a copy") as raised:
        short_run(small_task, stopped)
    assert checkpoint_name(first) in str(raised.value) and contents(stopped) == before


def test_an_older_state_that_is_damaged_is_no_longer_named(
    short: tuple[Path, int], stopped: Path, small_task: TwoHopTask
) -> None:
    (stopped / state_name(4)).write_bytes(b"")
    with pytest.warns(ResumeWarning, match=r"goes on from step 6: .*state_00000004"):
        assert died(lambda: short_run(small_task, stopped), 3)
    assert state_name(6) in Run.load(stopped).manifest.files and state_name(4) not in Run.load(stopped).manifest.files
    short_run(small_task, stopped)
    same_runs(short[0], stopped)


@pytest.mark.parametrize("damage", UNSOUND)
def test_a_finished_run_is_checked_before_it_is_returned(
    short: tuple[Path, int], small_task: TwoHopTask, tmp_path: Path, damage: str
) -> None:
    folder = shutil.copytree(short[0], tmp_path / "run")
    UNSOUND[damage](folder / checkpoint_name(8))
    with pytest.raises(CheckpointError, match=rf"holds a finished run, but .*00000008.*{damage}|{damage}.*00000008"):
        short_run(small_task, folder)


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file but the lock."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != LOCK}


def test_states_without_metrics_are_not_trained_over(stopped: Path, small_task: TwoHopTask) -> None:
    manifest = Manifest.read(stopped, "run")
    Manifest(stopped, "run", {name: entry for name, entry in manifest.files.items() if name != "metrics.csv"}).write()
    before = contents(stopped)
    with pytest.raises(CheckpointError, match=r"manifest\.json names .*, but no metrics\.csv"):
        short_run(small_task, stopped)
    assert contents(stopped) == before


def test_a_task_that_is_gone_is_named_with_what_to_do(stopped: Path, small_task: TwoHopTask) -> None:
    (stopped / "task.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"names a file that is gone; take a copy.*task\.safetensors"):
        short_run(small_task, stopped)


def test_a_second_process_is_refused_with_the_name_of_the_first(stopped: Path, small_task: TwoHopTask) -> None:
    with only_writer(stopped), pytest.raises(FolderInUseError, match=f"{stopped.name} is being written by process"):
        short_run(small_task, stopped)


def test_what_killed_writers_left_half_written_is_removed(stopped: Path, small_task: TwoHopTask) -> None:
    (stopped / "tables").mkdir()
    for name in ("metrics.csv", "manifest.json", state_name(8), checkpoint_name(8), table_file("lens")):
        path = stopped / name
        path.with_name(f".{path.name}.{'0af' * 10}12.partial").write_text("half")
    short_run(small_task, stopped)
    assert not list(stopped.rglob("*.partial"))


def test_a_run_whose_settings_are_gone_is_not_begun_anew(stopped: Path, small_task: TwoHopTask) -> None:
    (stopped / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"stopped lacks run\.json of its run; take a copy"):
        short_run(small_task, stopped)


def test_a_finished_run_is_returned_unchanged(tiny_run: Run, task: TwoHopTask) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")}
    again = train(task, tiny_run.model_config, tiny_run.train_config, tiny_run.folder, resume=True, progress=False)
    pd.testing.assert_frame_equal(again.metrics, tiny_run.metrics)
    assert {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*")} == before


def test_a_finished_run_is_returned_from_where_nothing_can_be_written(
    short: tuple[Path, int], small_task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(short[0], tmp_path / "run")
    (folder / state_name(8)).write_bytes(b"left by a killed writer")
    for module in (training, resuming):
        monkeypatch.setattr(module, "folder_problems", lambda **folders: ["nothing can be written"])
    assert short_run(small_task, folder).is_finished and (folder / state_name(8)).exists()
    with pytest.raises(ValueError, match="nothing can be written"):
        short_run(small_task, tmp_path / "new")


def test_changed_settings_are_refused_by_name(tiny_run: Run, task: TwoHopTask) -> None:
    wider = dataclasses.replace(tiny_run.model_config, d_model=64)
    slower = dataclasses.replace(tiny_run.train_config, learning_rate=1e-5, betas=(0.9, 0.99))
    with pytest.raises(ValueError, match=r"d_model is 32 there, 64 .*learning_rate is 0.001 there, 1e-05.*betas"):
        train(task, wider, slower, tiny_run.folder, resume=True, progress=False)
    other = TwoHopTask.random(n_entities=24, n_relations=14, out_degree=10, seed=1)
    with pytest.raises(ValueError, match=rf"its task is {task.key} \(natural\), {other.key} \(natural\) was asked for"):
        train(other, tiny_run.model_config, tiny_run.train_config, tiny_run.folder, resume=True, progress=False)


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
    "its metadata lacks run": without("run"),
    "its metadata says run = 'other', expected is 'this'": says("run", "other"),
    "its metadata says seconds = ''": without("seconds"),
    "its metadata says step = 'ten', expected is '10'": says("step", "ten"),
    "parameter: embed.W_E holds values that are not finite": lambda tensors, metadata: tensors["parameter/embed.W_E"].fill_(
        float("nan")
    ),
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
    "its metadata says step = '7'": says("step", "7"),
    "its metadata says step = '\u0661\u0660'": says("step", "\u0661\u0660"),
    "parameter: embed.W_E is of torch.float16, not torch.float32": of("parameter/embed.W_E", torch.float16),
    "parameter: embed.W_E is of torch.int32, not torch.float32": of("parameter/embed.W_E", torch.int32),
    "average: embed.W_E is of torch.float16, not torch.float32": of("average/embed.W_E", torch.float16),
    "recent 10: embed.W_E is of torch.float64, not torch.float32": of("recent 10/embed.W_E", torch.float64),
    "no step is called 'recent ten'": holds("recent ten/embed.W_E", 1),
    "no step is called 'recent 010'": holds("recent 010/embed.W_E", 1),
    f"no step is called 'recent {'9' * 5000}'": holds(f"recent {'9' * 5000}/embed.W_E", 1),
}


def changed(data: bytes, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> bytes:
    """A state with other tensors or metadata, whose checksum is right."""
    tensors, metadata = load(data), metadata_of(data, KIND, "state")
    change(tensors, metadata)
    return labelled(save(tensors), KIND, metadata)


THERE = {"run": "this", "step": 10, "evaluated": [10, 20]}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_state_that_lacks_something_is_named_and_changes_nothing(task: TwoHopTask, message: str) -> None:
    data = changed(_state_after_a_step(task).to_bytes("this"), DAMAGES[message])
    fresh = _state_after_a_step(task)
    before = {name: parameter.detach().clone() for name, parameter in fresh.parameters.items()}
    with pytest.raises(CheckpointError, match=f"a/state is no state that this run can continue from: .*{message}"):
        fresh.restore(data, "a/state", **THERE)
    assert all(torch.equal(parameter, before[name]) for name, parameter in fresh.parameters.items()) and fresh.step == 10


def test_a_state_that_the_metrics_do_not_have_is_refused(task: TwoHopTask) -> None:
    with pytest.raises(CheckpointError, match="the metrics have no step 10"):
        _state_after_a_step(task).restore(
            _state_after_a_step(task).to_bytes("this"), "state", **{**THERE, "evaluated": [20]}
        )


def test_a_state_is_read_back_as_it_was_written(task: TwoHopTask) -> None:
    state, other = _state_after_a_step(task), _state_after_a_step(task, seed=1)
    other.restore(state.to_bytes("this"), "state", **THERE)
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
