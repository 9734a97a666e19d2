"""Full disks and unwritable folders."""

import errno
import os
from pathlib import Path

import pytest

from grokscope.circuits.writing import write_atomic
from grokscope.tasks import ModelConfig, TrainConfig, TwoHopTask, train


def full_disk(number: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, "before")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left.*what was there before is unchanged") as caught:
        write_atomic(path, "after")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_stops_before_training(task: TwoHopTask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"out is .*run, needed is a folder to write in: .*file is a file"):
        train(task, ModelConfig.tiny(), TrainConfig.tiny(), tmp_path / "file" / "run", progress=False)


def test_training_on_a_disk_that_fills_up_keeps_the_last_good_checkpoint(
    task: TwoHopTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig.tiny(max_steps=40, evaluate_every=10, n_checkpoints=4)
    sync = os.fsync

    def fills_up(number: int) -> None:
        if any((tmp_path / "run" / "checkpoints").glob(".step_00000030*.partial")):
            full_disk(number)
        sync(number)

    monkeypatch.setattr(os, "fsync", fills_up)
    with pytest.raises(OSError, match="No space left"):
        train(task, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    monkeypatch.undo()
    run = train(task, ModelConfig.tiny(), config, tmp_path / "run", progress=False, resume=True)
    whole = train(task, ModelConfig.tiny(), config, tmp_path / "whole", progress=False)
    assert run.steps == whole.steps == [10, 20, 30, 40]
    names = [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]
    assert sorted(names) == [f"step_{step:08d}.safetensors" for step in run.steps]
