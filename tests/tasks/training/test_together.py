"""Trainings as stacked weights against the same trainings one by one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from grokscope import tasks
from grokscope.tasks import Job, ModelConfig, TrainConfig, TRMConfig, TwoHopTask
from grokscope.tasks.models.building import build_model
from grokscope.tasks.training.stacked import Stacked, stacked_examples, take_steps
from grokscope.tasks.training.train import initial_state, take_step, training_examples

WORLD = {"n_entities": 12, "n_relations": 8, "out_degree": 5}
SETTINGS = {"max_steps": 12, "evaluate_every": 4, "batch_size": 32, "warmup_steps": 5, "bfloat16": False, "n_checkpoints": 2}
KINDS = {
    "token mixing": (TRMConfig.tiny(n_blocks=2), "four_slots", TrainConfig.small_trm),
    "published losses": (
        TRMConfig.tiny(n_prefix=2, copy_loss=True, halting=True, last_cycle_only=True, mixer_norm="channels"),
        "slots",
        TrainConfig.small_trm,
    ),
    "causal": (ModelConfig.tiny(), "compact", TrainConfig.small),
    "bidirectional": (ModelConfig.tiny(bidirectional=True, tie_embeddings=False), "slots", TrainConfig.small_bidirectional),
}


def task(layout: str, seed: int = 0, supervision: tasks.Supervision = tasks.NATURAL) -> TwoHopTask:
    return TwoHopTask.random(**WORLD, layout=layout, seed=seed, supervision=supervision)


def jobs(kind: str, **changed: object) -> list[Job]:
    """Two graphs with unequally many examples, and two seeds."""
    shape, layout, settings = KINDS[kind]
    return [
        Job("natural", task(layout), shape, settings(**SETTINGS | changed, seed=3)),
        Job("taught", task(layout, 1, tasks.BOTH_HOPS), shape, settings(**SETTINGS | changed, seed=4)),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_they_end_as_if_each_was_trained_by_itself(kind: str, tmp_path: Path) -> None:
    together = tasks.train_together(jobs(kind), tmp_path / "together", device="cpu", n_jobs=1, progress=False)
    for job, run in zip(jobs(kind), together, strict=True):
        alone = tasks.train(job.task, job.model_config, job.train_config, tmp_path / job.name, progress=False)
        assert run.steps == alone.steps and run.phases == alone.phases and run.is_finished
        apart = run.metrics.drop(columns="seconds") - alone.metrics.drop(columns="seconds")
        assert apart.abs().max().max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_their_weights_are_those_of_single_runs_in_double_precision(kind: str) -> None:
    """Adam divides by the size of gradients, so that rounding is told from a mistake in double precision alone."""
    asked = jobs(kind)
    shape, settings = asked[0].model_config, asked[0].train_config
    states = [initial_state(build_model(shape, job.task, seed=n).double(), shape, settings) for n, job in enumerate(asked)]
    own = [training_examples(job.task) for job in asked]
    stacked = Stacked.of([state.parameters for state in states], shape, settings, "cpu")
    step = take_steps(stacked, stacked_examples(own, "cpu"), shape, settings)
    rows = torch.stack([torch.arange(n, n + settings.batch_size) for n in (0, 50)])
    sums = torch.zeros(2, dtype=torch.float64)
    for _ in range(8):
        step(rows)
        sums += torch.stack(
            [take_step(s, some, mine, shape, settings) for s, some, mine in zip(states, own, rows, strict=True)]
        )
    torch.testing.assert_close(stacked.losses.double(), sums, rtol=0, atol=1e-4)
    for n, state in enumerate(states):
        for name, parameter in state.parameters.items():
            torch.testing.assert_close(stacked.parameters[name][n], parameter, rtol=0, atol=1e-5)
            torch.testing.assert_close(stacked.average[name][n], state.average[name], rtol=0, atol=1e-5)


def test_clipping_is_of_each_run_by_itself() -> None:
    """One run's large gradient must not shrink another's step."""
    shape, layout, settings = KINDS["token mixing"]
    config = settings(**SETTINGS | {"clip_norm": 0.05})
    models = [build_model(shape, task(layout), seed=n).double() for n in (0, 1)]
    with torch.no_grad():
        models[1].unembed.W_U.mul_(30)
    states = [initial_state(model, shape, config) for model in models]
    stacked = Stacked.of([state.parameters for state in states], shape, config, "cpu")
    examples = training_examples(task(layout))
    rows = torch.arange(32).repeat(2, 1)
    take_steps(stacked, stacked_examples([examples] * 2, "cpu"), shape, config)(rows)
    for n, state in enumerate(states):
        take_step(state, examples, rows[0], shape, config)
        moments = stacked.optimizer.state[stacked.parameters["unembed.W_U"]]["exp_avg"][n]
        own = state.optimizer.state[state.parameters["unembed.W_U"]]["exp_avg"]
        torch.testing.assert_close(moments, own)


def test_a_run_is_extended_by_itself_and_finished_ones_are_left_alone(tmp_path: Path) -> None:
    asked = jobs("token mixing")
    first = tasks.train_together(asked, tmp_path, device="cpu", n_jobs=1, progress=False)
    before = (first[0].folder / "manifest.json").read_bytes()
    tasks.train_together(asked, tmp_path, device="cpu", n_jobs=1, progress=False)
    assert (first[0].folder / "manifest.json").read_bytes() == before
    longer = TrainConfig.small_trm(**SETTINGS | {"max_steps": 16}, seed=3)
    run = tasks.train(asked[0].task, asked[0].model_config, longer, first[0].folder, resume=True, progress=False)
    straight = tasks.train(asked[0].task, asked[0].model_config, longer, tmp_path / "straight", progress=False)
    apart = run.metrics.drop(columns="seconds") - straight.metrics.drop(columns="seconds")
    assert run.phases["final"] == 16 and apart.abs().max().max() < 1e-4


def test_weights_to_start_from_are_taken(tmp_path: Path) -> None:
    """Trained further with a step that changes nothing, a run has the weights it began with."""
    shape, layout, settings = KINDS["token mixing"]
    before = tasks.train(task(layout), shape, settings(**SETTINGS), tmp_path / "before", progress=False).checkpoint("final")
    still = settings(**SETTINGS | {"max_steps": 4, "learning_rate": 1e-30})
    job = Job("after", task(layout), shape, still, initial=before)
    (run,) = tasks.train_together([job], tmp_path, device="cpu", n_jobs=1, progress=False)
    for name, weight in run.checkpoint("final").weights().items():
        torch.testing.assert_close(weight, before.weights()[name])


REFUSED: dict[str, tuple[Callable[[], list[Job]], str]] = {
    "none": (list, "there is no job"),
    "one name": (lambda: [jobs("causal")[0]] * 2, "different names"),
    "another shape": (lambda: [jobs("token mixing")[0], jobs("causal")[1]], "its model is ModelConfig"),
    "other settings": (lambda: [jobs("causal")[0], jobs("causal", ema=0.5)[1]], "in more than the seed"),
    "few examples": (lambda: jobs("causal", batch_size=5000), "more than its"),
    "a stop": (lambda: jobs("causal", stop_at="memorised"), "end together"),
    "another world": (
        lambda: [
            jobs("causal")[0],
            Job("b", TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5), *_how("causal")),
        ],
        "its task has",
    ),
}


def _how(kind: str) -> tuple[ModelConfig | TRMConfig, TrainConfig]:
    return KINDS[kind][0], jobs(kind)[0].train_config


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_trained_together_is_refused_before_anything_is_written(why: str, tmp_path: Path) -> None:
    made, expected = REFUSED[why]
    with pytest.raises(ValueError, match=expected):
        tasks.train_together(made(), tmp_path / "out", device="cpu", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_shorter_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    asked = jobs("causal")
    first, second = tasks.train_together(asked, tmp_path, device="cpu", n_jobs=1, progress=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"natural holds a run.*taught holds a run"):
        tasks.train_together(jobs("causal", max_steps=20), tmp_path, device="cpu", n_jobs=1, progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert first.is_finished and second.is_finished


NOT_FINITE = {
    "losses": {"learning_rate": 1e30},
    "weights": {"learning_rate": 1e39, "warmup_steps": 0, "max_steps": 1, "evaluate_every": 1},
}


@pytest.mark.parametrize("what", NOT_FINITE)
def test_what_is_not_finite_names_its_runs_and_leaves_nothing(what: str, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="natural, taught"):
        tasks.train_together(jobs("causal", **NOT_FINITE[what]), tmp_path, device="cpu", n_jobs=1, progress=False)
    assert not list(tmp_path.rglob("run.json"))
    assert len(tasks.train_together(jobs("causal"), tmp_path, device="cpu", n_jobs=1, progress=False)) == 2
