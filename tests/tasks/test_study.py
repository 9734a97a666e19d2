"""Runs that belong together, and the shipped pilot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from grokscope.tasks import CheckpointError, Run, exact_match, load_study, shipping
from grokscope.tasks.evaluation import evaluate, evaluation_queries
from grokscope.tasks.shipping import copy_run
from grokscope.tasks.study import SHIPPED


def test_a_copy_keeps_what_is_asked_for(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "TOLERANCE", 1.0)  # of a hardly trained model every digit matters
    last = tiny_run.steps[-1]
    copy = copy_run(tiny_run, tmp_path / "copy", steps=[last])
    assert copy.steps == [last] and copy.metrics.equals(tiny_run.metrics) and copy.task.key == tiny_run.task.key
    before, after = tiny_run.checkpoint(last), copy.checkpoint(last)
    assert after.path.stat().st_size < 0.6 * before.path.stat().st_size
    torch.testing.assert_close(after.model().W_E, before.model().W_E, rtol=1e-3, atol=1e-6)
    assert after.model().W_E.dtype == torch.float32
    with pytest.raises(FileExistsError, match="holds a run already"):
        copy_run(tiny_run, tmp_path / "copy", steps=[last])
    with pytest.raises(KeyError, match="no checkpoint 7"):
        copy_run(tiny_run, tmp_path / "other", steps=[7])
    assert not (tmp_path / "other").exists()


def test_weights_whose_accuracies_would_change_are_kept_whole(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "TOLERANCE", -1.0)
    copy = copy_run(tiny_run, tmp_path / "copy", steps=tiny_run.steps[-1:])
    before, after = tiny_run.checkpoint("final").model(), copy.checkpoint("final").model()
    assert torch.equal(before.W_E, after.W_E)


def test_a_folder_of_runs_is_a_study(tiny_run: Run, tmp_path: Path) -> None:
    for name in ("b", "a"):
        copy_run(tiny_run, tmp_path / name, steps=[])
    study = load_study(tmp_path)
    assert list(study.runs) == ["a", "b"]
    frame = study.to_frame()
    assert frame["final"].tolist() == [60, 60] and np.isnan(frame["ood_generalised"]).all()
    assert frame["test_inferred_iid"].iloc[0] == tiny_run.metrics["test_inferred_iid"].iloc[-1]
    (tmp_path / "a" / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="no readable run"):
        load_study(tmp_path)


def test_an_unknown_study_is_refused_with_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="shipped ones: pilot"):
        load_study("no such study")


@pytest.mark.parametrize("arm", ["natural", "first_hop", "second_hop", "both_hops", "untied"])
def test_the_pilots_accuracies_are_what_its_checkpoints_score(arm: str) -> None:
    run = load_study("pilot").runs[arm]
    assert run.task.graph.n_free_slots >= 256 and len(run.task.split("test_inferred_ood")) >= 200
    splits = evaluation_queries(run.task)
    for step in run.steps:
        checkpoint = run.checkpoint(step)
        model = checkpoint.model()
        row = evaluate(lambda queries, model=model: exact_match(model, queries), splits)
        for split, accuracy in checkpoint.accuracy.items():
            assert row[split] == pytest.approx(accuracy, abs=1e-3), (step, split)


def test_the_pilot_has_the_same_tests_in_every_arm_and_is_small() -> None:
    runs = load_study("pilot").runs
    assert {run.metrics["step"].iloc[-1] for run in runs.values()} == {runs["natural"].train_config.max_steps}
    tests = [run.task.split("test_inferred_ood").tokens for run in runs.values()]
    assert all(torch.equal(tests[0], other) for other in tests)
    assert sum(path.stat().st_size for path in (SHIPPED / "pilot").rglob("*") if path.is_file()) <= 10e6
