import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch

from grokscope.tasks import SPLITS, ModelConfig, Run, TrainConfig, TwoHopTask, exact_match, train
from grokscope.tasks.questions.evaluation import evaluate, evaluation_queries
from grokscope.tasks.training.batches import training_examples

TINY = ModelConfig.tiny()


def test_the_training_set_is_all_facts_and_the_trained_compositions(task: TwoHopTask) -> None:
    examples = training_examples(task)
    assert examples.tokens.shape == (len(examples.answers), task.n_positions)
    atomic = examples.positions == 1
    assert int(atomic.sum()) == len(task.graph)
    assert int((~atomic).sum()) == len(task.trained) + len(task.added)
    facts = {(h, task.graph.n_entities + r): t for h, r, t in task.graph.triples}
    for tokens, answer in zip(examples.tokens[atomic].tolist(), examples.answers[atomic].tolist(), strict=True):
        assert facts[tokens[0], tokens[1]] == answer


def test_what_pads_an_atomic_prompt_cannot_be_seen_at_its_answer(task: TwoHopTask, tiny_run: Run) -> None:
    model = tiny_run.checkpoint("final").model()
    tokens = training_examples(task).tokens[:50].clone()
    before = model(tokens)[:, 1]
    tokens[:, 2] = torch.arange(50) % task.n_tokens
    torch.testing.assert_close(model(tokens)[:, 1], before)


def test_training_learns(task: TwoHopTask, tiny_run: Run) -> None:
    losses = tiny_run.metrics["loss"]
    assert losses.iloc[-1] < losses.iloc[0] - 0.3
    assert set(SPLITS) <= set(tiny_run.metrics.columns)
    assert {"step", "seconds", "loss", "train", "gated_test_inferred_ood", "floor_test_inferred_iid"} <= set(
        tiny_run.metrics
    )


def test_a_run_reads_back_as_it_was(task: TwoHopTask, tiny_run: Run) -> None:
    again = Run.load(tiny_run.folder)
    assert again.task.key == task.key and again.task.supervision == task.supervision
    assert (again.model_config, again.train_config) == (tiny_run.model_config, tiny_run.train_config)
    pd.testing.assert_frame_equal(again.metrics, tiny_run.metrics)
    assert again.is_finished and again.phases == {"final": 60}


def test_the_metrics_hold_what_the_checkpoint_scores(task: TwoHopTask, tiny_run: Run) -> None:
    checkpoint = tiny_run.checkpoint("final")
    model = checkpoint.model()
    row = evaluate(lambda queries: exact_match(model, queries), evaluation_queries(task), task.splits)
    for split in SPLITS:
        assert row[split] == pytest.approx(checkpoint.accuracy[split], abs=1e-9)


def test_same_seed_same_weights(task: TwoHopTask, tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=4, evaluate_every=2)
    runs = [
        train(task, TINY, dataclasses.replace(config, seed=seed), tmp_path / str(i), progress=False)
        for i, seed in enumerate((0, 0, 1))
    ]
    weights = [run.checkpoint("final").model().W_E for run in runs]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_without_ema_the_last_weights_are_saved(task: TwoHopTask, tmp_path: Path) -> None:
    settings = TrainConfig.tiny(max_steps=4, evaluate_every=4, bfloat16=False, warmup_steps=1)
    raw = train(task, TINY, dataclasses.replace(settings, ema=0.0), tmp_path / "raw", progress=False)
    averaged = train(task, TINY, settings, tmp_path / "averaged", progress=False)
    difference = raw.checkpoint("final").model().W_E - averaged.checkpoint("final").model().W_E
    assert difference.abs().max() > 1e-4


def test_gated_accuracy_counts_only_queries_whose_facts_are_known(task: TwoHopTask) -> None:
    """A forward pass that knows all facts but those with an even number, and answers every composition."""
    answers = {}
    for name in SPLITS:
        queries = task.split(name)
        for tokens, answer, hop1 in zip(queries.tokens.tolist(), queries.answers, queries.hop1.tolist(), strict=True):
            known = len(tokens) == 3 or hop1 % 2
            answers[tuple(tokens)] = int(answer) if known else int(answer + 1) % task.graph.n_entities

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        best = torch.tensor([answers[tuple(row)] for row in tokens.tolist()])
        return torch.nn.functional.one_hot(best, task.n_tokens).float()[:, None].expand(-1, 3, -1)

    splits = evaluation_queries(task)
    row = evaluate(lambda queries: exact_match(forward, queries), splits, task.splits)
    assert row["gated_test_inferred_iid"] == row["test_inferred_iid"] == 1.0
    assert 0 < row["id_atomic"] < 1
    wrong = splits["test_inferred_iid"].halves()[1]
    known = (wrong.hop1 % 2 == 1) & (wrong.hop2 % 2 == 1)
    for tokens in wrong.take(known).tokens.tolist():
        answers[tuple(tokens)] = (answers[tuple(tokens)] + 1) % task.graph.n_entities
    row = evaluate(lambda queries: exact_match(forward, queries), splits, task.splits)
    assert row["gated_test_inferred_iid"] == 0.0
    assert row["test_inferred_iid"] == pytest.approx(1 - float(known.float().mean()))


def test_exact_match_does_not_depend_on_batch_size(task: TwoHopTask, tiny_run: Run) -> None:
    model, queries = tiny_run.checkpoint("final").model(), task.split("test_inferred_iid")
    whole = exact_match(model, queries)
    in_parts = torch.cat([exact_match(model, queries.take(rows)) for rows in torch.arange(len(queries)).split(7)])
    assert torch.equal(whole, in_parts)


def test_training_into_a_run_is_refused(task: TwoHopTask, tiny_run: Run) -> None:
    with pytest.raises(
        FileExistsError, match=r"holds a run already; read it with Run.load, or continue it with resume=True"
    ):
        train(task, TINY, TrainConfig.tiny(), tiny_run.folder, progress=False)


def test_a_diverging_loss_stops_with_advice(task: TwoHopTask, tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=40, evaluate_every=20, learning_rate=1e30, warmup_steps=0, bfloat16=False)
    with pytest.raises(FloatingPointError, match=r"the loss is .* at step 20; try a smaller learning_rate"):
        train(task, TINY, config, tmp_path / "run", progress=False)


def test_bad_settings_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"max_steps is .*ema is .*stop_at must be one of 'memorised'"):
        TrainConfig(max_steps=0, stop_at="grokked", ema=1.0)


def test_checkpoint_steps_are_log_spaced_evaluation_steps() -> None:
    config = TrainConfig(max_steps=1000, evaluate_every=10, n_checkpoints=5)
    assert config.evaluation_steps[-1] == 1000
    assert sorted(config.checkpoint_steps) == [10, 30, 100, 320, 1000]


@pytest.mark.parametrize("per_prefix", [1, 3, 8])
def test_an_epoch_holds_every_example_once_and_follows_the_seed(task: TwoHopTask, per_prefix: int) -> None:
    from grokscope.tasks.training.batches import _epoch, batches

    examples = training_examples(task)
    config = TrainConfig.tiny(examples_per_prefix=per_prefix, max_steps=30)
    rows = _epoch(examples, config, 0)
    assert sorted(rows.tolist()) == list(range(len(examples.tokens)))
    assert not torch.equal(rows, _epoch(examples, config, 1)) and torch.equal(rows, _epoch(examples, config, 0))
    neighbours = (examples.tokens[rows[:-1], :2] == examples.tokens[rows[1:], :2]).all(1).float().mean()
    assert neighbours < 0.1 if per_prefix == 1 else neighbours > 0.5 * (1 - 1 / per_prefix)
    whole, resumed = list(batches(examples, config, first=0)), list(batches(examples, config, first=17))
    assert len(whole) == 30 and all(torch.equal(a, b) for a, b in zip(whole[17:], resumed, strict=True))
    assert {len(batch) for batch in whole} == {config.batch_size}
