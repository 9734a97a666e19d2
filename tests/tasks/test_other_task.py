"""A task that is not about two-hop questions is trained, judged, saved and read back, and named where it will not do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from addition import Addition
from safetensors.numpy import load_file, save

from grokscope.circuits.tensor_files import labelled
from grokscope.tasks import (
    TASK_KINDS,
    CheckpointError,
    ModelConfig,
    NewFacts,
    Run,
    Task,
    TrainConfig,
    TwoHopTask,
    exact_match,
    load_study,
    make_pairs,
    perturb,
    published_new_facts,
    train,
)
from grokscope.tasks.runs.folder import RunWriter
from grokscope.tasks.runs.shipping import copy_run

TESTED = np.random.default_rng(0).permutation([(a, b) for a in range(10) for b in range(10)])[:10]
BIDIRECTIONAL = ModelConfig(d_model=32, n_heads=2, n_blocks=1, n_loops=2, bidirectional=True)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("sums")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASK_KINDS, "addition", Addition.from_arrays)
        config = TrainConfig.tiny(max_steps=300, evaluate_every=50, batch_size=90, n_checkpoints=1, ema=0.0)
        return train(Addition(TESTED), ModelConfig.tiny(), config, folder / "sums", progress=False)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASK_KINDS, "addition", Addition.from_arrays)


def test_both_kinds_are_tasks(task: TwoHopTask) -> None:
    assert isinstance(task, Task) and isinstance(Addition(TESTED), Task)
    assert not isinstance(task.graph, Task)


def test_it_learns_its_trained_sums_and_reports_its_splits(sums: Run) -> None:
    metrics = sums.metrics
    assert metrics["loss"].iloc[-1] < metrics["loss"].iloc[0] - 0.5 and metrics["train"].iloc[-1] > 0.5
    columns = {"step", "seconds", "loss", "train", "select_train"}
    assert set(metrics.columns) == columns | {f"{half}{name}" for half in ("", "select_") for name in Addition.splits}
    assert sums.n_reported == {"sums": 45, "new_sums": 5}
    assert "ood_generalised" not in sums.phases and sums.phases["final"] == 300


def test_the_sums_that_are_tested_are_not_trained(sums: Run) -> None:
    asked = [{tuple(row) for row in sums.task.split(name).tokens[:, :2].tolist()} for name in sums.task.splits]
    assert asked[1] == set(map(tuple, TESTED.tolist())) and not asked[0] & asked[1] and len(asked[0]) == 90


@pytest.mark.usefixtures("known")
def test_its_run_reads_back_and_its_checkpoint_scores_what_the_table_says(sums: Run) -> None:
    again = Run.load(sums.folder)
    assert isinstance(again.task, Addition) and again.task.key == sums.task.key and again.metrics.equals(sums.metrics)
    checkpoint = again.checkpoint("final")
    right = exact_match(checkpoint.model(), again.task.split("sums"))
    # evaluations ask trained questions in a fixed random order, so the reported half is that order's
    order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
    assert float(right[order][1::2].double().mean()) == pytest.approx(checkpoint.accuracy["sums"], abs=1e-9)
    assert set(checkpoint.accuracy) == {"sums", "new_sums", "train"}


@pytest.mark.usefixtures("known")
def test_a_study_holds_it_next_to_two_hop_runs(sums: Run, tiny_run: Run, tmp_path: Path) -> None:
    for run in (sums, tiny_run):
        copy_run(run, tmp_path / run.name, steps=[])
    study = load_study(tmp_path)
    summary = study.summary.set_index("run")
    assert summary.loc["sums", "new_sums"] == sums.metrics["new_sums"].iloc[-1]
    assert summary.loc["tiny", "phi"] == round(tiny_run.task.phi, 2) and np.isnan(summary.loc["sums", "phi"])
    thick = {trace.legendgroup: trace.line.color for trace in study.figure().data if trace.line.width == 2.5}
    assert thick["test_inferred_ood"] == "#d55e00" and thick["new_sums"].startswith("#")


@pytest.mark.usefixtures("known")
def test_a_bidirectional_model_needs_no_slots_where_prompts_are_of_one_length(tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=2, evaluate_every=1, batch_size=90)
    run = train(Addition(TESTED), BIDIRECTIONAL, config, tmp_path / "run", progress=False)
    assert run.checkpoint("final").model().cfg.attention_dir == "bidirectional"


def test_a_run_of_a_kind_that_nothing_reads_is_refused_by_name(sums: Run) -> None:
    with pytest.raises(
        CheckpointError, match=r"sums/run.json names a task of the kind 'addition'; known kinds are 'two-hop'"
    ):
        Run.load(sums.folder)


def test_two_hop_runs_name_their_kind(tiny_run: Run) -> None:
    settings = json.loads((tiny_run.folder / "run.json").read_text())["content"]["task"]
    assert settings.pop("kind") == "two-hop"
    assert list(settings) == ["n_entities", "n_relations", "supervision", "seed", "layout"]


def test_saved_arrays_are_small_and_name_facts_and_splits(tiny_run: Run) -> None:
    arrays = load_file(tiny_run.folder / "task.safetensors")
    tests = {name for name in tiny_run.task.splits if name.startswith("test")}
    assert set(arrays) == {"heads", "relations", "tails", "trained", "added", "is_ood"} | tests
    assert {str(array.dtype) for array in arrays.values()} == {"int16", "uint8"} and arrays["is_ood"].dtype == np.uint8


@pytest.mark.usefixtures("known")
def test_a_task_whose_arrays_are_incomplete_is_named(sums: Run, tiny_run: Run, tmp_path: Path) -> None:
    arrays = {name: array for name, array in sums.task.to_arrays().items() if name != "tested"}
    shutil.copytree(sums.folder, tmp_path / "sums")
    writer = RunWriter(tmp_path / "sums", dict(sums.manifest.files))
    writer.write("task.safetensors", labelled(save(arrays), "task", {"task": "addition"}))
    writer.publish()
    with pytest.raises(CheckpointError, match=r"'addition' that its reader cannot read: KeyError\('tested'\); .*task\.safe"):
        Run.load(tmp_path / "sums")
    writer.write("task.safetensors", (tiny_run.folder / "task.safetensors").read_bytes())
    writer.publish()
    with pytest.raises(CheckpointError, match=r"holds a task of the kind 'two-hop', run\.json next to it names 'addition'"):
        Run.load(tmp_path / "sums")


def test_what_is_about_two_hop_questions_says_so(sums: Run) -> None:
    queries = sums.task.split("sums")
    with pytest.raises(TypeError, match=r"pairs are made of tasks that have contrasts.* got a task of the kind 'addition'"):
        make_pairs(sums.task, split="sums", contrast="bridge", n=1, seed=0)
    for refused in (
        lambda: perturb(sums.task, queries, "h", seed=0),
        lambda: NewFacts.random(sums.task),
        lambda: published_new_facts(sums.task),
    ):
        with pytest.raises(TypeError, match="this needs two-hop questions, got a task of the kind 'addition'"):
            refused()


@pytest.mark.parametrize("raised", [KeyError("tested"), IndexError(3), AttributeError(), RuntimeError(), ValueError("bad")])
def test_whatever_a_reader_raises_is_an_error_of_the_run(
    sums: Run, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def read(*given: object) -> Task:
        raise raised

    monkeypatch.setitem(TASK_KINDS, "addition", read)
    with pytest.raises(CheckpointError, match=r"run\.json names .* 'addition' that its reader cannot read: "):
        Run.load(sums.folder)
    monkeypatch.setitem(TASK_KINDS, "addition", lambda *given: None)
    with pytest.raises(CheckpointError, match="whose reader gave a NoneType, which is no Task"):
        Run.load(sums.folder)
