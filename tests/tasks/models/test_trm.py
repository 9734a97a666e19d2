"""Token-mixing networks: the module and the fast forward pass against a literal one, and gradients against autograd's."""

import dataclasses

import pytest
import torch

from grokscope import tasks
from grokscope.tasks import TRMConfig
from grokscope.tasks.models import token_mixing
from grokscope.tasks.models.building import build_model, trained_parameters
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
        z_h, z_l = (state.to(x).repeat(len(x), 1) for state in initial_states(shape.d_model))
        for _ in range(shape.h_cycles):
            for _ in range(shape.l_cycles):
                z_l = refine(z_l + z_h + x)
            z_h = refine(z_h + z_l)
        found.append(z_h[shape.n_prefix :] @ weights["unembed.W_U"])
    return torch.stack(found)


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
    positions = torch.full((len(queries),), queries.answer_position)
    arguments = (parameters, shape, queries.tokens, queries.answers, positions)
    # the loss is taken in single precision, so gradients agree to that
    fast = token_mixing.training_loss(*arguments, dtype=None, label_smoothing=0.0)
    for (name_, one), other in zip(parameters.items(), torch.autograd.grad(fast, list(parameters.values())), strict=True):
        reference = wanted[list(parameters).index(name_)]
        torch.testing.assert_close(other, reference, rtol=1e-4, atol=1e-6 * float(reference.abs().max()) + 1e-9, msg=name_)
        assert one.shape == other.shape
