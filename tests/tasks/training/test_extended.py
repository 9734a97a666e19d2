"""A run that is made longer equals one that was as long from the start, and where it cannot, that is said."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from dying import died, n_moments
from small_runs import interrupted, same_runs, same_weights, trained

from grokscope.circuits.manifest import Entry, Manifest
from grokscope.tasks import CheckpointError, ResumeWarning, Run
from grokscope.tasks.runs import checkpoints
from grokscope.tasks.runs.folder import state_name
from grokscope.tasks.runs.shipping import copy_run
from grokscope.tasks.training import train as training


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ten steps, and one of six."""
    folder = tmp_path_factory.mktemp("places")
    trained(folder / "ten")
    trained(folder / "six", 6)
    return folder


@pytest.fixture
def six(places: Path, tmp_path: Path) -> Path:
    return shutil.copytree(places / "six", tmp_path / "six")


def test_a_longer_run_equals_one_that_was_as_long_from_the_start(places: Path, six: Path) -> None:
    run = trained(six)
    same_runs(places / "ten", six)
    assert (run.train_config.max_steps, run.is_finished, len(run.extended)) == (10, True, 1)
    assert str(run.past) == "began with random weights; extended after step 6, was to train 6 steps"
    before, after = (json.loads((folder / "run.json").read_text()) for folder in (places / "six", six))
    assert (before["format"], after["format"]) == (2, 3)
    assert run.extended[0].sha256 == Entry.of((places / "six" / "run.json").read_bytes()).sha256
    copy = copy_run(run, six.parent / "copy", steps=[6])
    assert copy.past == run.past and not list(copy.folder.glob("state*"))


def test_an_interrupted_run_is_made_longer_again_and_again(places: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert interrupted(lambda: trained(folder, 3, evaluate_every=2), 1)
    assert interrupted(lambda: trained(folder, 8), 5)
    assert [each.step for each in trained(folder).extended] == [0, 4]
    same_runs(places / "ten", folder)


def test_a_run_that_ended_early_goes_on(places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(metrics: pd.DataFrame, **names: object) -> dict[str, int]:
        return {"final": int(metrics["step"].iloc[-1])} | ({"memorised": 2} if len(metrics) > 2 else {})

    with monkeypatch.context() as patch:
        for module in (training, checkpoints):
            patch.setattr(module, "phases_reached", early)
        assert trained(tmp_path / "run", 8, stop_at="memorised").phases["final"] == 6
        with pytest.raises(CheckpointError, match="reached stop_at='memorised' at step 2: there is nothing to go on to"):
            trained(tmp_path / "run", 10, stop_at="memorised")
        trained(tmp_path / "run", 8)
    run = trained(tmp_path / "run", 10)
    assert "extended after step 6, was to train until memorised or 8 steps; extended after step 8" in str(run.past)
    same_runs(places / "ten", tmp_path / "run")


def test_weights_that_it_lacks_are_named_once(tmp_path: Path) -> None:
    trained(tmp_path / "run", 8, evaluate_every=1, n_checkpoints=3)
    with pytest.warns(ResumeWarning, match=r"from step 8, .* 16 steps .* leave: it lacks the weights of step 4$") as caught:
        assert interrupted(lambda: trained(tmp_path / "run", 16, evaluate_every=1, n_checkpoints=3), 9)
    assert trained(tmp_path / "run", 16, evaluate_every=1, n_checkpoints=3).steps == [1, 3, 8, 16] and said_once(caught)


def said_once(caught: pytest.WarningsRecorder) -> bool:
    """Whether there was one warning about an extension."""
    return [each.category for each in caught].count(ResumeWarning) == 1


def test_an_evaluation_off_the_schedule_stays_and_is_named(tmp_path: Path) -> None:
    trained(tmp_path / "run", 5)
    with pytest.warns(ResumeWarning, match="it was evaluated at step 5, in addition") as caught:
        assert interrupted(lambda: trained(tmp_path / "run", 8), 7)
    run = trained(tmp_path / "run", 8)
    assert said_once(caught) and run.metrics["step"].tolist() == [2, 4, 5, 6, 8]
    whole = trained(tmp_path / "whole", 8)
    assert all(same_weights(run, whole, step) for step in whole.steps)


@pytest.mark.parametrize("every", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_dying_between_any_two_file_operations_leaves_the_old_run_or_the_longer_one(
    places: Path, tmp_path: Path, every: int
) -> None:
    whole, seen = shutil.copytree(places / "six", tmp_path / "whole"), set()
    n = n_moments(lambda: trained(whole))
    moments = range(0, n, every) if every else (2, 5, 9)  # before, between and after run.json and the manifest
    for moment in moments:
        folder = shutil.copytree(places / "six", tmp_path / str(moment))
        assert died(lambda folder=folder: trained(folder), moment)
        run = Run.load(folder)
        is_half = Manifest.read(folder, "run").files["run.json"] != Entry.of((folder / "run.json").read_bytes())
        seen.add((run.train_config.max_steps, is_half))
        assert run.is_finished == (run.train_config.max_steps == 6) or run.phases["final"] == 10
        trained(folder)
        same_runs(whole, folder)
    assert seen == {(6, False), (10, True), (10, False)}


def test_what_is_no_extension_is_refused(six: Path) -> None:
    with pytest.raises(
        CheckpointError, match="max_steps is 6 there, 4 was asked for, and a run is made longer, not shorter"
    ):
        trained(six, 4)
    with pytest.raises(CheckpointError, match=r"learning_rate is .* choose another folder, where from_checkpoint= goes on"):
        trained(six, 10, learning_rate=1.0)
    with pytest.raises(CheckpointError, match="has trained max_steps=6, so that there is nothing to go on to"):
        trained(six, 6, stop_at="memorised")
    assert Run.load(six).is_finished and not Run.load(six).extended


def test_another_run_json_is_no_extension(places: Path, six: Path) -> None:
    shutil.copy(places / "ten" / "run.json", six)
    with pytest.raises(CheckpointError, match=r"run\.json: its .* damaged or changed"):
        trained(six)


@pytest.mark.parametrize("kept", ["gone", "copied"])
def test_without_a_state_a_finished_run_is_read_and_not_made_longer(six: Path, kept: str) -> None:
    if kept == "gone":
        (six / state_name(6)).unlink()
    else:
        six = copy_run(Run.load(six), six.parent / "copy", steps=[6]).folder
    assert trained(six, 6).is_finished
    wanted = (
        r"state_00000006.*gone" if kept == "gone" else r"keeps no state .* initial=run\.checkpoint\(6\)\), in another folder"
    )
    with pytest.raises(CheckpointError, match=wanted):
        trained(six)
    assert Run.load(six).is_finished
