"""Training that is interrupted by a signal: saved at that very step, said in one line, continued to the same bits."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from small_runs import interrupted, same_runs, small, trained

from grokscope.circuits import progress
from grokscope.circuits.interrupts import SIGNALS
from grokscope.circuits.manifest import Manifest
from grokscope.tasks import ModelConfig, ResumeWarning, Run, TrainConfig, train
from grokscope.tasks.runs.folder import state_name, state_steps
from grokscope.tasks.training import train as training


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts."""
    return trained(tmp_path_factory.mktemp("whole") / "run", evaluate_every=4).folder


@pytest.mark.parametrize("steps", [(1, 4, 7), pytest.param(range(1, 10), marks=pytest.mark.slow)])
def test_interrupted_again_and_again_it_ends_with_the_same_bits(whole: Path, tmp_path: Path, steps: Sequence[int]) -> None:
    folder, before = tmp_path / "run", [signal.getsignal(number) for number in SIGNALS]
    for step in steps:
        number = SIGNALS[step % 2]
        error = interrupted(lambda: trained(folder, evaluate_every=4), step, number)
        assert type(error) is KeyboardInterrupt and error.exit_code == 128 + number
        assert str(error) == f"run: stopped at step {step}, saved in {folder}; go on with resume=True"
        assert state_steps(Manifest.read(folder, "run"))[-1] == step
        assert [signal.getsignal(number) for number in SIGNALS] == before
    trained(folder, evaluate_every=4)
    same_runs(whole, folder)


def test_the_traceback_is_as_short_as_can_be(tmp_path: Path) -> None:
    error = interrupted(lambda: trained(tmp_path / "run"), 3)
    assert error and error.__suppress_context__
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert names[-1] == "train" and "_trained" not in names


def test_interrupted_in_its_last_step_it_is_finished(tmp_path: Path) -> None:
    error = interrupted(lambda: trained(tmp_path / "run"), 10)
    assert str(error) == f"run: finished at step 10, saved in {tmp_path / 'run'}; read it with Run.load"
    assert Run.load(tmp_path / "run").is_finished


def test_a_second_signal_interrupts_at_once(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    error = interrupted(lambda: trained(folder, evaluate_every=4), 2, signal.SIGINT, signal.SIGTERM)
    assert "stopped at once at step 2, before anything was saved" in str(error)
    error = interrupted(lambda: trained(folder, evaluate_every=4), 6, signal.SIGINT, signal.SIGTERM)
    assert type(error) is KeyboardInterrupt and error.exit_code == 143
    assert str(error) == f"run: stopped at once at step 6, saved at step 4 in {folder}; go on with resume=True"
    trained(folder, evaluate_every=4)
    same_runs(whole, folder)


@pytest.fixture(scope="module")
def early_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted before its first evaluation."""
    folder = tmp_path_factory.mktemp("early") / "run"
    assert interrupted(lambda: trained(folder, evaluate_every=4), 3)
    return folder


@pytest.fixture
def early(early_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(early_once, tmp_path / "run")


def test_before_the_first_evaluation_it_is_said_what_to_do(early: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"stopped before its first evaluation; go on with train\(\.\.\., resume=True"
    ):
        Run.load(early)
    with pytest.raises(FileExistsError, match="was stopped before its first evaluation; continue it with resume=True"):
        train(small(), ModelConfig.tiny(), TrainConfig.tiny(), early, progress=False)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-9]), Path.unlink])
def test_a_damaged_state_before_the_first_evaluation_is_passed_over(
    whole: Path, early: Path, damage: Callable[[Path], object]
) -> None:
    damage(early / state_name(3))
    with pytest.warns(ResumeWarning, match=r"goes on from step 0: .*state_00000003"):
        trained(early, evaluate_every=4)
    same_runs(whole, early)


def test_a_damaged_state_between_evaluations_is_passed_over(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert interrupted(lambda: trained(folder, evaluate_every=4), 6)
    (folder / state_name(6)).write_bytes(b"")
    with pytest.warns(ResumeWarning, match=r"goes on from step 4: .*state_00000006"):
        trained(folder, evaluate_every=4)
    same_runs(whole, folder)


def test_outside_the_main_thread_it_trains_too(whole: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: trained(tmp_path / "run", evaluate_every=4))
    thread.start()
    thread.join()
    same_runs(whole, tmp_path / "run")


def test_a_bar_that_ends_early_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "phases_reached", lambda metrics, **names: {"memorised": 2} if len(metrics) == 3 else {})
    monkeypatch.setattr(progress, "is_watched", lambda: True)
    config = TrainConfig.tiny(max_steps=20, evaluate_every=2, stop_at="memorised", batch_size=32)
    train(small(), ModelConfig.tiny(), config, tmp_path / "natural")
    assert "natural: stopped at step 6: memorised at step 2" in capsys.readouterr().err


SCRIPT = """
import sys
from pathlib import Path
import torch
from small_runs import signalled, small
from grokscope.circuits import progress
from grokscope.tasks import ModelConfig, TrainConfig, train

torch.set_num_threads(1)
numbers = [int(number) for number in sys.argv[3].split(",")]
with signalled(int(sys.argv[2]), *numbers):
    train(small(), ModelConfig.tiny(), TrainConfig.tiny(evaluate_every=100), sys.argv[1], resume=True, progress=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("steps", [(30,), (153,), (30, 153, 299)])
def test_a_process_of_300_steps_is_continued_to_the_same_bits(tmp_path: Path, number: int, steps: tuple[int, ...]) -> None:
    for step in steps:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / "dose"), str(step), str(number)]
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False)
        line = f"dose: stopped at step {step}, saved in {tmp_path / 'dose'}; go on with resume=True"
        assert done.returncode == -signal.SIGINT  # of which shells make 130
        assert done.stderr.splitlines()[-1] == f"KeyboardInterrupt: {line}" and done.stderr.count("  File ") == 2
    settings = dict(max_steps=300, batch_size=256, warmup_steps=20, evaluate_every=100, n_checkpoints=10)
    trained(tmp_path / "dose", **settings)
    same_runs(trained(tmp_path / "whole", **settings).folder, tmp_path / "dose")
