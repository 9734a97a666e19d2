"""Runs that belong together, and the shipped pilot."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from dying import died, n_moments

from grokscope.circuits.lock import LOCK, only_writer
from grokscope.tasks import (
    SPLITS,
    CheckpointError,
    FolderInUseError,
    NewFacts,
    Run,
    Study,
    TwoHopTask,
    exact_match,
    load_study,
)
from grokscope.tasks.questions.evaluation import evaluate, evaluation_queries
from grokscope.tasks.runs import shipping
from grokscope.tasks.runs.shipping import copy_run, halved, seal_study
from grokscope.tasks.runs.study import SHIPPED


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


def test_as_many_large_weights_are_halved_as_the_test_allows() -> None:
    weights = {name: torch.full((n,), 0.1) for name, n in (("small", 1), ("large", 9), ("middle", 4))}
    tried: list[set[str]] = []

    def is_good(trial: Mapping[str, torch.Tensor]) -> bool:
        tried.append({name for name, value in trial.items() if value.dtype == torch.float16})
        return "middle" not in tried[-1]

    found = {name: value.dtype for name, value in halved(weights, is_good).items()}
    assert found == {"small": torch.float16, "large": torch.float16, "middle": torch.float32}
    assert tried == [{"small", "large", "middle"}, {"large"}, {"large", "middle"}, {"large", "small"}]
    assert all(value.dtype == torch.float16 for value in halved(weights, lambda _: True).values())


def test_a_folder_of_runs_is_a_study(tiny_run: Run, tmp_path: Path) -> None:
    for name in ("b", "a"):
        copy_run(tiny_run, tmp_path / name, steps=[])
    study = load_study(tmp_path)
    assert list(study.runs) == ["a", "b"]
    frame = study.summary
    assert frame["arm"].tolist() == ["a", "b"] and frame["architecture"].iloc[0] == "1 block × 2"
    assert frame["final"].tolist() == [60, 60] and np.isnan(frame["ood_generalised"]).all()
    assert frame["test_inferred_iid"].iloc[0] == tiny_run.metrics["test_inferred_iid"].iloc[-1]
    (tmp_path / "a" / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"a/run\.json: .* damaged or changed"):
        load_study(tmp_path)


@pytest.fixture
def two_arms(tiny_run: Run, tmp_path: Path) -> Study:
    for name, steps in (("x-g0-r0", tiny_run.steps[:1]), ("x-g0-r1", []), ("y-g0-r0", [])):
        copy_run(tiny_run, tmp_path / name, steps=steps)
    return load_study(tmp_path)


def test_runs_of_an_arm_share_a_name_and_each_accuracy_has_its_row(two_arms: Study, tiny_run: Run) -> None:
    assert two_arms.summary["arm"].tolist() == ["x", "x", "y"] and two_arms.summary["replicate"].tolist() == [0, 1, 0]
    frame = two_arms.to_frame()
    assert len(frame) == 3 * len(SPLITS) * len(tiny_run.metrics)
    for row in frame.sample(30, random_state=0).itertuples():
        metrics = two_arms.runs[row.run].metrics.set_index("step")
        assert row.accuracy == metrics.loc[row.step, row.split] and row.n == tiny_run.n_reported[row.split]
        assert row.weights == (row.run == "x-g0-r0" and row.step == tiny_run.steps[0])


def test_a_panel_for_each_arm_with_the_median_of_its_runs(two_arms: Study) -> None:
    run = two_arms.runs["x-g0-r1"]
    run.metrics["test_inferred_iid"] = 1.0  # the other run of the arm stays
    figure, frame = two_arms.figure(), two_arms.to_frame()
    assert [title.text for title in figure.layout.annotations] == ["x (2 runs, 1 graph)", "y (1 run, 1 graph)"]
    thick = next(t for t in figure.data if t.line.width == 2.5 and t.legendgroup == "test_inferred_iid")
    rows = frame[(frame["arm"] == "x") & (frame["split"] == "test_inferred_iid")]
    assert list(thick.y) == rows.groupby("step")["accuracy"].median().tolist()


def test_tables_beside_the_runs_come_with_their_names(two_arms: Study) -> None:
    with pytest.raises(FileNotFoundError, match=r"no run in .* has a table 'lens'; there are: none"):
        two_arms.tables("lens")
    table = pd.DataFrame({"step": [1], "top1": [0.5]})
    copy_run(two_arms.runs["y-g0-r0"], two_arms.folder / "z-g0-r0", steps=[], tables={"lens": table})
    study = load_study(two_arms.folder)
    assert study.tables("lens").to_dict("records") == [{"run": "z-g0-r0", "step": 1, "top1": 0.5}]
    with pytest.raises(FileNotFoundError, match="there are: lens"):
        study.tables("nodes")


def test_an_unknown_study_is_refused_with_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match="shipped ones: compositions, pilot, study,"):
        load_study("no such study")


def assert_accuracies_are_what_the_weights_score(run: Run) -> None:
    splits = evaluation_queries(run.task)
    for step in run.steps:
        checkpoint = run.checkpoint(step)
        model = checkpoint.model()
        row = evaluate(lambda queries, model=model: exact_match(model, queries), splits, run.task.splits)
        for split, accuracy in checkpoint.accuracy.items():
            assert row[split] == pytest.approx(accuracy, abs=1e-3), (run.name, step, split)


@pytest.mark.parametrize("arm", ["natural", "first_hop", "second_hop", "both_hops", "untied"])
def test_the_pilots_accuracies_are_what_its_checkpoints_score(arm: str) -> None:
    run = load_study("pilot").runs[arm]
    assert run.task.graph.n_free_slots >= 256 and len(run.task.split("test_inferred_ood")) >= 200
    assert_accuracies_are_what_the_weights_score(run)


def test_the_pilot_has_the_same_tests_in_every_arm_and_is_small() -> None:
    runs = load_study("pilot").runs
    assert {run.metrics["step"].iloc[-1] for run in runs.values()} == {runs["natural"].train_config.max_steps}
    tests = [run.task.split("test_inferred_ood").tokens for run in runs.values()]
    assert all(torch.equal(tests[0], other) for other in tests)
    assert sum(path.stat().st_size for path in (SHIPPED / "pilot").rglob("*") if path.is_file()) <= 10e6


@pytest.mark.parametrize("name", ["natural-g1-r0", "both_hops-g2-r1", "second_hop-g3-r0", "transfer/grokked-g1"])
def test_a_sample_of_the_studys_accuracies_is_what_the_checkpoints_score(name: str) -> None:
    assert_accuracies_are_what_the_weights_score(Run.load(SHIPPED / "study" / name))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", sorted(str(path.parent.relative_to(SHIPPED / "study")) for path in SHIPPED.glob("study/**/run.json"))
)
def test_all_of_the_studys_accuracies_are_what_the_checkpoints_score(name: str) -> None:
    assert_accuracies_are_what_the_weights_score(Run.load(SHIPPED / "study" / name))


def test_further_trainings_differ_in_their_weights_at_the_start_alone() -> None:
    transfers = load_study("study/transfer")
    for graph, rows in transfers.summary.groupby("seed"):
        origins = ("random", "early", "grokked", "taught", "second_hop")
        runs = {name: transfers.runs[name] for name in rows["run"] if name.removesuffix(f"-g{graph}") in origins}
        new = NewFacts.random(TwoHopTask.random(seed=int(str(graph))), seed=int(str(graph)))
        assert {run.task.key for run in runs.values()} == {new.task.key}
        assert len({run.train_config for run in runs.values()}) == 1
        starts = {name: run.initial for name, run in runs.items()}
        assert starts.pop(f"random-g{graph}") == "" and len(set(starts.values())) == len(starts) == 4
        assert all(f"-g{graph}-r0, step" in start for start in starts.values())


def test_the_studys_runs_are_whole_and_of_one_graph_for_each_seed() -> None:
    study = load_study()
    assert all(run.is_finished and run.steps and run.initial == "" for run in study.runs.values())
    for _, rows in study.summary.groupby("seed"):
        tasks = [study.runs[name].task for name in rows["run"]]
        assert len({tuple(task.graph.triples) for task in tasks}) == 1
        assert len({task.tests["test_inferred_ood"].tobytes() for task in tasks}) == 1
    assert sum(path.stat().st_size for path in (SHIPPED / "study").rglob("*") if path.is_file()) <= 80e6


def test_the_study_comes_with_tables_for_twenty_steps_of_every_run() -> None:
    study = load_study()
    for name, columns in (("lens", {"top1", "role", "layer"}), ("found", {"rate", "target"}), ("nodes", {"effect", "node"})):
        table = study.tables(name)
        assert columns | {"run", "step", "split"} <= set(table.columns) and set(table["run"]) == set(study.runs)
        assert table.groupby("run")["step"].nunique().min() >= 18
        assert set(table["split"]) == {"test_inferred_iid", "test_inferred_ood"}


def test_a_study_with_a_manifest_is_the_runs_that_it_names(tiny_run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy_run(tiny_run, tmp_path / name, steps=[])
    seal_study(tmp_path)
    copy_run(tiny_run, tmp_path / "c", steps=[])
    with pytest.warns(UserWarning, match=r"manifest\.json does not name c, so they are no runs of this study"):
        assert list(load_study(tmp_path).runs) == ["a", "b"]
    (tmp_path / "c").rename(tmp_path.parent / f"{tmp_path.name}-c")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=r"a/manifest\.json"):
        load_study(tmp_path)
    shutil.copytree(tiny_run.folder, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"a/manifest\.json: its .* damaged or changed"):
        load_study(tmp_path)
    (tmp_path.parent / f"{tmp_path.name}-c").rename(tmp_path / "c")
    seal_study(tmp_path)
    assert list(load_study(tmp_path).runs) == ["a", "b", "c"]
    (tmp_path / "c" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"c lack manifest\.json; give them one with migrate"):
        seal_study(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no runs"):
        seal_study(tmp_path / "a" / "checkpoints")


def test_a_run_without_its_settings_does_not_vanish_from_a_study(tiny_run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy_run(tiny_run, tmp_path / name, steps=[])
    (tmp_path / "a" / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"a is no complete run, it lacks run\.json"):
        load_study(tmp_path)


def test_a_copy_that_dies_is_no_run_and_can_be_made_again(
    tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "_scores_the_same", lambda checkpoint: lambda weights: True)
    tables = {"lens": pd.DataFrame({"step": [10], "top1": [0.5]})}

    def copy(folder: Path) -> Run:
        return copy_run(tiny_run, folder, steps=tiny_run.steps[:1], tables=tables)

    n = n_moments(lambda: copy(tmp_path / "whole"))
    assert n == 21
    for moment in range(n):
        folder = tmp_path / str(moment)
        assert died(lambda folder=folder: copy(folder), moment)
        if moment < n - 1:  # the last brings the name of the last file to the disk
            with pytest.raises(FileNotFoundError, match="is no complete run, it lacks"):
                Run.load(folder)
            copy(folder)
        for path in (tmp_path / "whole").rglob("*.*"):
            if path.is_file() and path.name != LOCK:
                assert (folder / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
        assert not list(folder.rglob("*.partial"))


def test_two_writers_of_one_copy_are_refused(tiny_run: Run, tmp_path: Path) -> None:
    with only_writer(tmp_path / "copy"), pytest.raises(FolderInUseError, match="copy is being written by process"):
        copy_run(tiny_run, tmp_path / "copy", steps=[])
