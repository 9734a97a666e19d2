"""Token-mixing networks: the module and the fast forward pass against a literal one, and gradients against autograd's."""

import dataclasses

import pytest
import torch

from grokscope import tasks
from grokscope.tasks import TRMConfig
from grokscope.tasks.models import token_mixing
from grokscope.tasks.models.building import build_model, trained_parameters
from grokscope.tasks.models.trm import TRM
from grokscope.tasks.models.trm_forward import initial_states

TASK = tasks.TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, layout="four_slots", seed=0)
SHAPES = {
    "small": TRMConfig.tiny(),
    "three cycles of two": TRMConfig.tiny(h_cycles=3, l_cycles=2),
    "two blocks": TRMConfig.tiny(n_blocks=2),
    "norm over channels": TRMConfig.tiny(mixer_norm="channels"),
    "prefix and halting": TRMConfig.tiny(n_prefix=3, halting=True),
}


def literal_logits(weights, shape, tokens):
    """The network in plain functions, one prompt at a time, as the paper's code says it."""

    def rms(values, dim):
        return values / (values.pow(2).mean(dim, keepdim=True) + 1e-5).sqrt()

    def swiglu(values, name):
        gate, value = values @ weights[f"{name}.W_gate"], values @ weights[f"{name}.W_in"]
        return (gate * torch.sigmoid(gate) * value) @ weights[f"{name}.W_out"]

    def refine(states):
        for block in range(shape.n_blocks):
            over = 0 if shape.mixer_norm == "positions" else 1
            states = rms(states + swiglu(states.T, f"core.{block}.mixer").T, over)
            states = rms(states + swiglu(states, f"core.{block}.mlp"), 1)
        return states

    found = []
    for prompt in tokens:
        embedded = [weights["embed.W_E"][token] for token in prompt]
        prefix = [weights["prefix.W"] if i == 0 else 0 * weights["prefix.W"] for i in range(shape.n_prefix)]
        x = shape.embedding_scale * shape.d_model**0.5 * torch.stack(prefix + embedded)
        z_h, z_l = (state.to(x).repeat(len(x), 1) for state in initial_states(shape.d_model, torch.device("cpu")))
        for _ in range(shape.h_cycles):
            for _ in range(shape.l_cycles):
                z_l = refine(z_l + z_h + x)
            z_h = refine(z_h + z_l)
        found.append(z_h[shape.n_prefix :] @ weights["unembed.W_U"])
    return torch.stack(found)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_counted_before_they_are_made(name):
    shape = SHAPES[name]
    made = sum(each.numel() for each in trained_parameters(build_model(shape, TASK), shape).values())
    assert made == token_mixing.n_parameters(shape, TASK)


def test_a_network_has_seven_hook_points_for_each_application_and_one_for_tokens():
    assert len(build_model(TRMConfig.small(), TASK).hook_dict) == 43


def test_the_published_network_has_its_shapes_and_takes_a_step(tmp_path):
    """Of their names: `mlp_t.gate_up_proj` is gate and in together, transposed; sequences have five tokens and 16 before."""
    task = tasks.TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, layout="slots", seed=0)
    shape = TRMConfig.published()
    with torch.device("meta"):
        shapes = {name: tuple(each.shape) for name, each in TRM(shape, task.n_tokens, task.n_positions).named_parameters()}
    hidden, width, n_pos = 4096, 1536, 21
    for block in range(2):
        assert shapes[f"core.{block}.mixer.W_gate"] == shapes[f"core.{block}.mixer.W_in"] == (n_pos, 512 // 2)
        assert shapes[f"core.{block}.mixer.W_out"] == (512 // 2, n_pos)
        assert shapes[f"core.{block}.mlp.W_gate"] == shapes[f"core.{block}.mlp.W_in"] == (width, hidden)
        assert shapes[f"core.{block}.mlp.W_out"] == (hidden, width)
    assert shapes["halt.W"] == (width, 2) and shapes["prefix.W"] == (width,)
    assert shape.n_layers == 28
    narrow = TRMConfig.published(d_model=24, d_mixer=16, d_mlp=32)
    config = tasks.TrainConfig.small_trm(max_steps=2, evaluate_every=1, batch_size=16)
    assert tasks.train(task, narrow, config, tmp_path / "run", progress=False).metrics["loss"].notna().all()


def built(shape, seed=1):
    model = build_model(shape, TASK, seed=seed).double()
    if shape.n_prefix:
        torch.nn.init.normal_(model.prefix.W, generator=torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_module_and_fast_pass_compute_what_is_written_out(name):
    shape = SHAPES[name]
    model, queries = built(shape), TASK.split("test_inferred_iid")
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    wanted = literal_logits(weights, shape, queries.tokens)
    torch.testing.assert_close(model(queries.tokens).detach(), wanted, rtol=1e-12, atol=1e-12)
    positions = torch.full((len(queries),), queries.answer_position)
    fast = token_mixing.answer_logits(weights, shape, queries.tokens, positions)
    torch.testing.assert_close(fast, wanted[:, queries.answer_position], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_are_those_of_autograd(name):
    shape = dataclasses.replace(SHAPES[name], halting=False)
    model, queries = built(shape), TASK.split("test_inferred_iid")
    loss = torch.nn.functional.cross_entropy(model(queries.tokens)[:, queries.answer_position], queries.answers)
    parameters = trained_parameters(model, shape)
    wanted = torch.autograd.grad(loss, list(parameters.values()))
    assert_gradients(shape, parameters, queries, wanted)


def test_gradients_reach_only_the_last_cycle_where_that_is_asked_for():
    shape = TRMConfig.tiny(last_cycle_only=True)
    model, queries = built(shape), TASK.split("test_inferred_iid")
    constant = [(f"blocks.{layer}.hook_out", lambda states, hook: states.detach()) for layer in (0, 1)]
    with model.hooks(fwd_hooks=constant):
        logits = model(queries.tokens)[:, queries.answer_position]
    parameters = trained_parameters(model, shape)
    loss = torch.nn.functional.cross_entropy(logits, queries.answers)
    wanted = torch.autograd.grad(loss, list(parameters.values()))
    assert_gradients(shape, parameters, queries, wanted)
    other = torch.autograd.grad(
        torch.nn.functional.cross_entropy(model(queries.tokens)[:, queries.answer_position], queries.answers),
        list(parameters.values()),
    )
    with pytest.raises(AssertionError):
        assert_gradients(shape, parameters, queries, other)


def test_asked_tokens_and_halting_are_part_of_the_loss():
    """Loops over prompts and positions, as the published code has the loss."""
    shape = TRMConfig.tiny(copy_loss=True, halting=True)
    model, queries = built(shape), TASK.split("test_inferred_iid")
    torch.nn.init.normal_(model.halt.W, generator=torch.Generator().manual_seed(0))
    logits, cache = model.run_with_cache(queries.tokens)
    losses, halting = [], []
    for number, (tokens, answer) in enumerate(zip(queries.tokens, queries.answers, strict=True)):
        labels = [*tokens[: queries.answer_position], answer]
        each = [-logits[number, place].log_softmax(-1)[label] for place, label in enumerate(labels)]
        right = all(int(logits[number, place].argmax()) == int(label) for place, label in enumerate(labels))
        halt = (cache[f"blocks.{shape.n_layers - 1}.hook_out"][number, 0] @ model.halt.W + model.halt.b)[0]
        losses.append(torch.stack(each).mean())
        halting.append(-torch.nn.functional.logsigmoid(halt if right else -halt))
    positions = torch.full((len(queries),), queries.answer_position)
    arguments = (trained_parameters(model, shape), shape, queries.tokens, queries.answers, positions)
    found = token_mixing.training_loss(*arguments, dtype=None, label_smoothing=0.0)
    wanted = torch.stack(losses).mean() + 0.5 * torch.stack(halting).mean()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-6, atol=1e-6)


def assert_gradients(shape, parameters, queries, wanted):
    """Those of the training's loss, which is taken in single precision, are these."""
    positions = torch.full((len(queries),), queries.answer_position)
    arguments = (parameters, shape, queries.tokens, queries.answers, positions)
    fast = token_mixing.training_loss(*arguments, dtype=None, label_smoothing=0.0)
    found = torch.autograd.grad(fast, list(parameters.values()))
    for name, one, other in zip(parameters, found, wanted, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6 * scale + 1e-12, msg=name)


def test_a_longer_training_ends_with_the_bits_of_one_that_was_as_long_from_the_start(tmp_path):
    shape = TRMConfig.tiny(n_prefix=1, halting=True, copy_loss=True)
    short, long = (tasks.TrainConfig.small_trm(max_steps=n, evaluate_every=3, batch_size=32) for n in (3, 6))
    tasks.train(TASK, shape, short, tmp_path / "resumed", progress=False)
    runs = [tasks.train(TASK, shape, long, tmp_path / name, resume=True, progress=False) for name in ("resumed", "whole")]
    assert runs[0].model_config == shape and runs[0].steps == runs[1].steps
    one, other = (run.checkpoint("final") for run in runs)
    assert one.weights().keys() == other.weights().keys() == dict(build_model(shape, TASK).named_parameters()).keys()
    assert all(torch.equal(one.weights()[name], other.weights()[name]) for name in one.weights())
    queries = TASK.split("test_inferred_iid")
    torch.testing.assert_close(one.model()(queries.tokens), other.model()(queries.tokens), rtol=0, atol=0)
    with pytest.raises(ValueError, match="n_loops is for models whose blocks are looped, not for 1 block × 4, token mixing"):
        one.model(n_loops=2)
