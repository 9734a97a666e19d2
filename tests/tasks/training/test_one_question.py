"""Further training on a question alone, against the module's own gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import small, trained

from grokscope.tasks import ModelConfig, Queries, TrainConfig, TRMConfig, TwoHopTask, build_model
from grokscope.tasks.models.transformer import tied_forward, trained_parameters
from grokscope.tasks.training.one_question import train_until_sure


def config(max_steps: int, rate: float = 1e-3) -> TrainConfig:
    changes = dict(weight_decay=0.0, label_smoothing=0.0, warmup_steps=0, ema=0.0, bfloat16=False, clip_norm=1e9)
    return TrainConfig.tiny(max_steps=max_steps, batch_size=1, learning_rate=rate, **changes)


def probability(model: Any, queries: Queries) -> float:
    with torch.no_grad():
        logits = model(queries.tokens)[:, queries.answer_position]
    return float(logits.softmax(-1)[0, queries.answers[0]])


@pytest.mark.parametrize("loops", [1, 2])
def test_steps_are_those_of_adamw_on_all_distinct_weights(loops: int) -> None:
    task, shape = small(), ModelConfig.tiny(n_blocks=1, n_loops=loops)
    model, one = build_model(shape, task, seed=1), task.split("id_atomic").take(torch.tensor([4]))
    made, n_steps = train_until_sure(model, shape, task, one, sure=0.999999, config=config(3))
    other = build_model(shape, task, seed=1)
    parameters = list(trained_parameters(other, shape).values())
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=config(3).betas, weight_decay=0.0)
    for _ in range(3):
        optimizer.zero_grad()
        loss = -tied_forward(other, shape, one.tokens)[:, one.answer_position].log_softmax(-1)[0, one.answers[0]]
        loss.backward()
        optimizer.step()
    assert n_steps == 3
    for name, parameter in trained_parameters(made, shape).items():
        torch.testing.assert_close(parameter, trained_parameters(other, shape)[name], atol=1e-5, rtol=1e-4)
    assert torch.equal(made.unembed.W_U, made.embed.W_E.T)


def test_it_stops_when_it_is_sure_and_leaves_the_model(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    checkpoint, one = run.checkpoint("final"), run.task.split("ood_atomic").take(torch.tensor([0]))
    model, before = checkpoint.model(), checkpoint.weights()
    made, n_steps = train_until_sure(model, run.model_config, run.task, one, sure=0.9, config=config(500, 3e-3))
    assert 0 < n_steps < 500 and probability(made, one) >= 0.9
    fewer = train_until_sure(model, run.model_config, run.task, one, sure=0.9, config=config(n_steps - 1, 3e-3))
    assert probability(fewer.model, one) < 0.9 and fewer.n_steps == n_steps - 1
    for name, parameter in trained_parameters(model, run.model_config).items():
        assert torch.equal(parameter, before[name])
    already = train_until_sure(made, run.model_config, run.task, one, sure=0.9, config=config(500))
    assert already.n_steps == 0


def test_token_mixing_networks_are_trained_too() -> None:
    task = TwoHopTask.random(n_entities=12, n_relations=5, out_degree=3, layout="four_slots", seed=1)
    shape = TRMConfig.tiny(d_model=16)
    one = task.split("id_atomic").take(torch.tensor([0]))
    made, _ = train_until_sure(build_model(shape, task), shape, task, one, sure=0.9, config=config(300, 3e-3))
    assert probability(made, one) >= 0.9
