"""A branch goes on from the training state of another run, with other settings."""

import dataclasses
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import seeds
from dying import died, n_moments
from small_runs import interrupted, same_runs, same_weights, trained

from grokscope.tasks import CheckpointError, ModelConfig, NewFacts, ResumeWarning, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.runs.shipping import copy_run


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of six steps."""
    return trained(tmp_path_factory.mktemp("origin") / "six", 6)


def test_a_branch_with_the_same_settings_is_the_same_training(six: Run, tmp_path: Path) -> None:
    whole = trained(tmp_path / "ten")
    run = trained(tmp_path / "branch", start=six.checkpoint("final"))
    rows = [each.metrics.drop(columns="seconds") for each in (run, whole)]
    pd.testing.assert_frame_equal(rows[0], rows[1].iloc[3:].reset_index(drop=True), check_exact=True)
    assert same_weights(run, whole, 8) and same_weights(run, whole, 10)
    assert run.steps == [8, 10] and run.is_finished and run.branch and run.branch.step == 6
    assert str(run.past).startswith("went on from six, step 6, weights ") and run.initial == ""
    assert copy_run(run, tmp_path / "copy", steps=[10]).branch == run.branch


def test_other_settings_and_data_take_effect_and_it_is_resumed_and_made_longer(six: Run, tmp_path: Path) -> None:
    facts = NewFacts.random(six.task, n=5, seed=0).task
    changed = dict(task=facts, learning_rate=0.1, weight_decay=0.0, batch_size=16)
    whole = trained(tmp_path / "whole", start=six.checkpoint(6), **changed)
    for step in (7, 9):
        assert interrupted(lambda: trained(tmp_path / "run", 9, start=six.checkpoint("final"), **changed), step)
    with pytest.warns(ResumeWarning, match="leave: it was evaluated at step 9, in addition"):
        trained(tmp_path / "run", start=six.checkpoint("final"), **changed)
    rows = [Run.load(folder).metrics.drop(columns="seconds") for folder in (tmp_path / "run", tmp_path / "whole")]
    assert rows[0]["step"].tolist() == [8, 9, 10] and rows[1]["step"].tolist() == [8, 10]
    assert same_weights(Run.load(tmp_path / "run"), whole, 10) and whole.task.key == facts.key
    assert not same_weights(trained(tmp_path / "same", start=six.checkpoint(6)), whole, 10)


EVERY = 6


@pytest.mark.parametrize("first", seeds(EVERY, fast=1))
def test_dying_between_any_two_file_operations_loses_nothing(six: Run, tmp_path: Path, first: int) -> None:
    whole, start = tmp_path / "whole", six.checkpoint(6)
    n = n_moments(lambda: trained(whole, 8, start=start))
    for moment in range(first, n, EVERY):
        folder = tmp_path / str(moment)
        assert died(lambda folder=folder: trained(folder, 8, start=start), moment)
        trained(folder, 8, start=start)
        same_runs(whole, folder)


def test_it_does_not_need_its_origin_any_more(six: Run, tmp_path: Path) -> None:
    origin = Run.load(shutil.copytree(six.folder, tmp_path / "six"))
    assert interrupted(lambda: trained(tmp_path / "run", start=origin.checkpoint(6)), 7)
    whole = trained(tmp_path / "whole", start=six.checkpoint(6))
    moved = shutil.copytree(shutil.move(origin.folder, tmp_path / "moved"), tmp_path / "again")
    for number, start in enumerate(
        (None, Run.load(moved).checkpoint(6))
    ):  # its own state is enough; names of folders are not
        folder = shutil.copytree(tmp_path / "run", tmp_path / f"run{number}" / "run")
        same_runs(whole.folder, trained(folder, start=start).folder)


@pytest.mark.usefixtures("as_users_call")
def test_what_is_no_checkpoint_is_named(six: Run, tmp_path: Path) -> None:
    for wrong in (six, six.folder, 6):
        with pytest.raises(ValueError, match=r"from_checkpoint is .*, needed is a checkpoint, such as run.checkpoint"):
            trained(tmp_path / "run", 8, start=wrong)


def test_what_cannot_go_on_is_refused(six: Run, tmp_path: Path) -> None:
    last, config = six.checkpoint(6), TrainConfig.tiny(max_steps=5)
    other = TwoHopTask.random(n_entities=13, n_relations=8, out_degree=5, seed=0)
    with pytest.raises(
        ValueError, match=r"exclude each other.*n_tokens is 20 in .*d_model is 32 in .*, 16 was.*max_steps is 5"
    ):
        shape = dataclasses.replace(ModelConfig.tiny(), d_model=16)
        train(other, shape, config, tmp_path / "run", initial=last, from_checkpoint=last, progress=False)
    with pytest.raises(CheckpointError, match=r"keeps no training state of step 4, .* steps that have one: 6\. initial= is"):
        trained(tmp_path / "run", start=six.checkpoint(4))
    copy = copy_run(six, tmp_path / "copy", steps=[6])
    with pytest.raises(CheckpointError, match=r"no training state of step 6, .* steps that have one: none\."):
        trained(tmp_path / "run", start=copy.checkpoint(6))
    assert not (tmp_path / "run").exists()
    another = trained(tmp_path / "another", 6, learning_rate=0.1)
    trained(tmp_path / "run", 8, start=last)
    with pytest.raises(CheckpointError, match=r"goes on from six, step 6, weights .*, another, step 6, .* was asked for"):
        trained(tmp_path / "run", 8, start=another.checkpoint(6))
    with pytest.raises(CheckpointError, match=r"goes on from no checkpoint's training state, six, step 6, .* was asked for"):
        trained(six.folder, 10, start=last)
