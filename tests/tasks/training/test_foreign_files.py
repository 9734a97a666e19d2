"""Folders that hold what is not this run's: none of it is written, removed or trained over."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from grokscope.circuits.lock import LOCK
from grokscope.circuits.manifest import MANIFEST
from grokscope.tasks import CheckpointError, ModelConfig, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.runs.folder import checkpoint_name, state_name
from grokscope.tasks.runs.shipping import copy_run

CONFIG = TrainConfig.tiny(max_steps=4, evaluate_every=2, n_checkpoints=2, batch_size=32)


def trained(task: TwoHopTask, folder: Path) -> Run:
    """Two evaluations."""
    torch.set_num_threads(1)
    return train(task, ModelConfig.tiny(), CONFIG, folder, resume=True, progress=False)


def copied(run: Run, folder: Path) -> Run:
    """A copy with a table."""
    return copy_run(run, folder, steps=[], tables={"lens": pd.DataFrame({"step": [1]})})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path, but the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with files that look like those of a run."""
    (folder := tmp_path / "elsewhere").mkdir()
    for name in (Path(checkpoint_name(2)).name, f".{Path(checkpoint_name(4)).name}.{'0' * 32}.partial", "lens.csv.xz"):
        (folder / name).write_bytes(b"of another")
    return folder


@pytest.mark.parametrize("name", ["checkpoints", "tables"])
def test_nothing_is_written_or_removed_through_a_linked_folder(
    task: TwoHopTask, tiny_run: Run, elsewhere: Path, tmp_path: Path, name: str
) -> None:
    before = contents(elsewhere)
    (folder := tmp_path / "run").mkdir()
    (folder / name).symlink_to(elsewhere)
    for write in (lambda: trained(task, folder), lambda: copied(tiny_run, folder)):
        with pytest.raises(CheckpointError, match=rf"run/{name} is a link to {elsewhere}, out of the run's folder: put a"):
            write()
    assert contents(elsewhere) == before and [path.name for path in folder.iterdir()] == [name]


@pytest.mark.parametrize("name", ["checkpoints", "tables"])
def test_what_is_no_folder_is_named(task: TwoHopTask, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a file")
    with pytest.raises(CheckpointError, match=rf"/{name} is no folder"):
        trained(task, tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(CheckpointError, match=rf"/{name} is no folder"):
        trained(task, tmp_path)


def test_a_link_within_the_folder_is_followed(task: TwoHopTask, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "checkpoints").symlink_to("weights")
    run = trained(task, tmp_path)
    assert all(run.checkpoint(step).model() for step in run.steps)


FOREIGN = [
    "state.safetensors",
    "states_of_matter.safetensors",
    "state_1.safetensors",
    "state_final.safetensors",
    "checkpoints/step_best.safetensors",
    "checkpoints/step_00000002.safetensors.bak",
    "checkpoints/step_00000002-mine.safetensors",
    ".download.partial",
    ".metrics.csv.123.partial",
    f".notes.{'0' * 32}.partial",
    f".metrics.csv.{'g' * 32}.partial",
    f"checkpoints/.metrics.csv.{'0' * 32}.partial",
    f"tables/.notes.txt.{'0' * 32}.partial",
]


def test_files_of_other_names_stay(task: TwoHopTask, tmp_path: Path) -> None:
    for name in FOREIGN:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    run = trained(task, tmp_path)
    assert run.is_finished and trained(task, tmp_path).is_finished
    assert [name for name in FOREIGN if not (tmp_path / name).exists()] == []


LEFT = {
    "metrics": ("metrics.csv",),
    "weights": (checkpoint_name(2),),
    "a state": (state_name(2),),
    "many": ("metrics.csv", *map(state_name, range(1, 9))),
}


@pytest.mark.parametrize("left", LEFT)
def test_what_is_left_of_a_run_is_not_trained_over(task: TwoHopTask, tiny_run: Run, tmp_path: Path, left: str) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for name in LEFT[left]:
        (tmp_path / "run" / name).write_bytes(b"of weeks of training")
    before = contents(tmp_path)
    message = rf"run lacks run\.json of a run, but holds {LEFT[left][0]}.*; put run\.json and manifest\.json back"
    for write in (lambda: trained(task, tmp_path / "run"), lambda: copied(tiny_run, tmp_path / "run")):
        with pytest.raises(CheckpointError, match=message):
            write()
    assert contents(tmp_path) == before


def test_a_run_that_lost_what_makes_it_one_is_not_trained_over(task: TwoHopTask, tiny_run: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_run.folder, tmp_path / "run")
    for name in ("run.json", MANIFEST):
        (folder / name).unlink()
    before = contents(folder)
    with pytest.raises(CheckpointError, match=r"but holds metrics\.csv, checkpoints/step_.* and \d+ more|but holds metrics"):
        trained(task, folder)
    assert contents(folder) == before


def test_a_copy_is_not_made_over_another_that_was_stopped(task: TwoHopTask, tiny_run: Run, tmp_path: Path) -> None:
    other = trained(task, tmp_path / "other")
    copied(other, tmp_path / "copy")
    (tmp_path / "copy" / "run.json").unlink()
    before = contents(tmp_path / "copy")
    with pytest.raises(CheckpointError, match=r"copy lacks run\.json of a run, but holds metrics\.csv"):
        copied(tiny_run, tmp_path / "copy")
    assert contents(tmp_path / "copy") == before
    assert copied(other, tmp_path / "copy").metrics.equals(other.metrics)
