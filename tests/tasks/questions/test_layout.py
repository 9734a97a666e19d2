"""Questions in the layout `slots`: what a prompt holds, where its answer is read, what stays the same."""

from pathlib import Path

import pytest
import torch

from grokscope.tasks import SPLITS, ModelConfig, Run, TrainConfig, TwoHopTask, build_model, exact_match, make_pairs, train
from grokscope.tasks.training.batches import training_examples


def test_slots_hold_the_question_then_padding(task: TwoHopTask) -> None:
    slots = task.with_layout("slots")
    pad = task.n_tokens
    assert slots.n_tokens == pad + 1 and slots.n_positions == 5
    for split in SPLITS:
        compact, padded = task.split(split), slots.split(split)
        n = compact.tokens.shape[1]
        assert torch.equal(padded.tokens[:, :n], compact.tokens)
        assert (padded.tokens[:, n:] == pad).all() and padded.tokens.shape[1] == 5
        assert padded.answer_position == n == padded.roles.index("answer")
        assert padded.roles[:n] == compact.roles and len(set(padded.roles)) == 5
        for column in ("answers", "bridges", "hop1", "hop2"):
            assert torch.equal(getattr(padded, column), getattr(compact, column))


def test_the_layout_is_part_of_the_key_and_of_the_files_only_where_it_must(task: TwoHopTask, tmp_path: Path) -> None:
    slots = task.with_layout("slots")
    assert slots.key != task.key and slots.with_layout("compact").key == task.key
    assert TwoHopTask.from_files(slots.to_files(tmp_path)).key == task.key


def test_pairs_differ_in_slots_where_they_differ_compactly(task: TwoHopTask) -> None:
    asked = {"split": "test_inferred_iid", "contrast": "bridge", "n": 20, "seed": 0}
    compact, padded = make_pairs(task, **asked), make_pairs(task.with_layout("slots"), **asked)
    assert torch.equal(padded.clean[:, :3], compact.clean) and torch.equal(padded.corrupt[:, :3], compact.corrupt)
    assert padded.answer_role == "answer" and torch.equal(padded.foils, compact.foils)


def test_a_bidirectional_model_needs_slots(task: TwoHopTask, tmp_path: Path) -> None:
    config = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=2, bidirectional=True)
    with pytest.raises(ValueError, match=r"with_layout\('slots'\)"):
        train(task, config, TrainConfig.tiny(), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    model = build_model(config, task.with_layout("slots"))
    assert model.cfg.attention_dir == "bidirectional" and model.cfg.n_ctx == 5
    with pytest.raises(ValueError, match="layouts are compact, slots"):
        task.with_layout("rows")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_training_in_slots_learns_and_reads_back(task: TwoHopTask, tmp_path: Path, bidirectional: bool) -> None:
    slots = task.with_layout("slots")
    config = ModelConfig(d_model=32, n_heads=2, n_blocks=1, n_loops=2, bidirectional=bidirectional)
    run = train(slots, config, TrainConfig.tiny(max_steps=60, evaluate_every=20), tmp_path / "run", progress=False)
    assert run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0] - 0.3
    again = Run.load(run.folder)
    assert again.task.key == slots.key and again.task.layout == "slots"
    checkpoint = again.checkpoint("final")
    right = exact_match(checkpoint.model(), again.task.split("id_atomic"))
    assert float(right[1::2].double().mean()) == pytest.approx(checkpoint.accuracy["id_atomic"], abs=1e-9)


def test_examples_of_both_lengths_are_read_in_different_slots(task: TwoHopTask) -> None:
    slots = task.with_layout("slots")
    examples = training_examples(slots)
    first_free = (examples.tokens == slots.n_tokens - 1).int().argmax(1)
    assert torch.equal(examples.positions, first_free)


def test_bidirectional_answers_depend_on_what_follows_causal_ones_do_not(task: TwoHopTask) -> None:
    slots = task.with_layout("slots")
    tokens = slots.split("train_inferred").tokens[:6]
    changed = tokens.clone()
    changed[:, 4] = 0
    for bidirectional in (False, True):
        config = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=2, bidirectional=bidirectional)
        model = build_model(config, slots)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
        same = torch.allclose(model(tokens)[:, 3], model(changed)[:, 3], atol=1e-6)
        assert same != bidirectional
