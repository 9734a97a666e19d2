import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open

from grokscope.tasks import FIRST_HOP, CheckpointError, ModelConfig, Run, TrainConfig, TwoHopTask, train
from grokscope.tasks.runs.phases import phases_reached


def table(train: list[float], iid: list[float], ood: list[float]) -> pd.DataFrame:
    columns = {"select_train": train, "select_test_inferred_iid": iid, "select_test_inferred_ood": ood}
    return pd.DataFrame({"step": [100 * (i + 1) for i in range(len(train))], **columns})


def phases(metrics: pd.DataFrame) -> dict[str, int]:
    return phases_reached(metrics, id_test=TwoHopTask.id_test, ood_test=TwoHopTask.ood_test)


def test_a_phase_is_the_first_of_three_evaluations_in_a_row() -> None:
    iid = [0.2, 0.99, 0.5, 0.99, 1.0, 0.99, 1.0]
    metrics = table([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], iid, [0.0] * 7)
    assert phases(metrics) == {"id_generalised": 400, "final": 700}
    assert phases(metrics.iloc[:5]) == {"final": 500}


def test_memorised_needs_low_id_accuracy_and_ood_its_own_threshold() -> None:
    metrics = table([0.5, 0.99, 1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.2, 0.49, 0.5, 0.9], [0.95, 0.9, 0.91, 0.2, 0.1, 0.9])
    assert phases(metrics) == {"memorised": 200, "ood_generalised": 100, "final": 600}
    assert phases(metrics.iloc[:0]) == {}


def test_a_run_draws_its_accuracies(tiny_run: Run) -> None:
    figure = tiny_run.figure()
    drawn = {trace.name: list(trace.y) for trace in figure.data if trace.showlegend is False and len(trace.x) > 1}
    for split in ("test_inferred_iid", "test_inferred_ood"):
        assert drawn[split] == tiny_run.metrics[split].tolist()
    assert figure.layout.annotations[0].text == f"{tiny_run.name} (1 run, 1 graph)"


def test_presets_take_changes_and_name_settings_that_are_none() -> None:
    assert ModelConfig.tiny(n_heads=4) == dataclasses.replace(ModelConfig.tiny(), n_heads=4)
    assert ModelConfig.paper(n_loops=1).n_layers == 2
    for preset, wrong, said in (
        (
            TrainConfig.tiny,
            "max_step",
            r"TrainConfig has no setting max_step \(did you mean max_steps\b.*there are max_steps, s",
        ),
        (
            ModelConfig.small,
            "heads",
            r"ModelConfig has no setting heads \(did you mean n_heads\?\); there are d_model, n_heads",
        ),
        (ModelConfig.paper, "zzz", r"ModelConfig has no setting zzz; there are d_model"),
    ):
        with pytest.raises(TypeError, match=said):
            preset(**{wrong: 3})


def run_with(run: Run, metrics: pd.DataFrame, **task_changes: object) -> Run:
    return dataclasses.replace(run, metrics=metrics, task=dataclasses.replace(run.task, **task_changes))


def test_grokked_says_which_part_failed(tiny_run: Run) -> None:
    late = table([1.0] * 8, [1.0] * 8, [0.0] * 4 + [1.0] * 4)  # exactly five times later
    early = table([1.0] * 8, [1.0] * 8, [0.0] * 2 + [1.0] * 6)
    with pytest.raises(KeyError, match=r"OOD\+OOD accuracy did not stay at .9"):
        tiny_run.checkpoint("grokked")
    with pytest.raises(KeyError, match=r"OOD\+OOD generalised at step 300, not 5 times later than train ≥ .99 at 100"):
        run_with(tiny_run, early).checkpoint("grokked")
    with pytest.raises(KeyError, match="2 compositions of OOD facts are in training"):
        added = tiny_run.task.with_supervision(FIRST_HOP).added[:2]
        run_with(tiny_run, late, added=added, supervision=FIRST_HOP).checkpoint("grokked")
    with pytest.raises(KeyError, match="no checkpoint 'ood_generalised'"):  # grokked, but there are no weights at step 500
        run_with(tiny_run, late).checkpoint("grokked")


def test_each_distinct_tensor_is_stored_once_and_tied_again(tiny_run: Run) -> None:
    checkpoint = tiny_run.checkpoint("final")
    with safe_open(checkpoint.path, framework="pt") as file:
        names = set(file.keys())
    assert not any(name.startswith("blocks.1") for name in names) and "unembed.W_U" not in names
    model = checkpoint.model()
    assert model.blocks[1].mlp.W_in is model.blocks[0].mlp.W_in
    assert torch.equal(model.unembed.W_U, model.embed.W_E.T)
    assert not model.training and model.cfg.model_name == "tiny, step 60 (final)"


def test_unknown_phases_and_steps_say_what_there_is(tiny_run: Run) -> None:
    with pytest.raises(KeyError, match=r"no checkpoint 'memorised'; phases reached: \{'final': 60\}, steps with weights"):
        tiny_run.checkpoint("memorised")
    with pytest.raises(KeyError, match="no checkpoint 7;"):
        tiny_run.checkpoint(7)
    assert tiny_run.checkpoint(60).step == 60 and 10 in tiny_run.steps


def test_weights_that_do_not_fit_are_named(tiny_run: Run) -> None:
    checkpoint, config = tiny_run.checkpoint("final"), tiny_run.model_config
    other = dataclasses.replace(checkpoint, model_config=dataclasses.replace(config, n_heads=4))
    with pytest.raises(CheckpointError, match=r"00060\.safetensors does not fit .*blocks.0.attn.W_K is \(2, 32, 16\), not"):
        other.model()
    huge = dataclasses.replace(checkpoint, model_config=dataclasses.replace(config, d_model=2**40))
    with pytest.raises(
        CheckpointError, match=r"00060\.safetensors does not fit .*it holds 14,118 numbers, [0-9,]+ are needed"
    ):
        huge.model()


def test_an_incomplete_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no complete run, it lacks run.json, task.safetensors, metrics.csv"):
        Run.load(tmp_path)


def test_a_phase_keeps_the_weights_of_its_first_evaluation(task: TwoHopTask, tmp_path: Path) -> None:
    """Six facts and a wide enough model: training accuracy is perfect at once."""
    easy = TwoHopTask.random(n_entities=6, n_relations=4, out_degree=2, ood_fraction=0.0, test_fraction=0.3, seed=0)
    config = TrainConfig.tiny(max_steps=400, evaluate_every=20, n_checkpoints=0, stop_at="memorised")
    run = train(easy, ModelConfig.tiny(), config, tmp_path / "easy", progress=False)
    assert "memorised" in run.phases and run.is_finished
    assert run.phases["final"] == run.phases["memorised"] + 40
    assert run.steps == [run.phases["memorised"], run.phases["final"]]
    assert run.checkpoint("memorised").accuracy["train"] >= 0.99
