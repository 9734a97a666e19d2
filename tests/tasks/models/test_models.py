import copy

import pytest
import torch

from grokscope.tasks import ModelConfig, TwoHopTask, build_model
from grokscope.tasks.models.transformer import load_parameters, tied_forward, trained_parameters

SHARED = ModelConfig(d_model=16, n_heads=2, n_blocks=2, n_loops=3)


def test_loops_share_parameters_but_not_hooks(task: TwoHopTask) -> None:
    model = build_model(SHARED, task)
    untied = build_model(ModelConfig(d_model=16, n_heads=2, n_blocks=6, n_loops=1), task)
    for layer in range(6):
        for here, there in zip(model.blocks[layer].parameters(), model.blocks[layer % 2].parameters(), strict=True):
            assert here is there
    per_block = sum(p.numel() for p in untied.blocks[0].parameters())
    assert sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in model.parameters()) == 4 * per_block
    _, cache = model.run_with_cache(task.split("train_inferred").tokens[:4])
    states = [cache[f"blocks.{layer}.hook_resid_post"] for layer in range(6)]
    assert len({id(model.blocks[layer].hook_resid_post) for layer in range(6)}) == 6
    assert all(state.shape == (4, 3, 16) for state in states)


def test_a_loop_is_the_same_function_as_a_copy_of_the_block(task: TwoHopTask) -> None:
    config = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=3)
    model = build_model(config, task, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    unrolled = build_model(ModelConfig(d_model=16, n_heads=2, n_blocks=3, n_loops=1), task)
    unrolled.load_state_dict(model.state_dict())
    tokens = task.split("train_inferred").tokens[:8]
    torch.testing.assert_close(unrolled(tokens), model(tokens))


def test_the_optimiser_sees_each_parameter_once_and_gradients_add_over_loops(task: TwoHopTask) -> None:
    model = build_model(SHARED, task)
    parameters = trained_parameters(model, SHARED)
    assert len({id(p) for p in parameters.values()}) == len(parameters)
    assert not any(name.startswith(("blocks.2", "blocks.5")) for name in parameters)
    model(task.split("train_inferred").tokens[:8]).square().sum().backward()
    assert all(p.grad is not None for p in parameters.values())


def test_tied_embeddings_are_one_parameter_in_training_and_plain_afterwards(task: TwoHopTask) -> None:
    model = build_model(SHARED, task)
    tokens = task.split("train_inferred").tokens[:8]
    torch.testing.assert_close(tied_forward(model, SHARED, tokens), model(tokens))
    with torch.no_grad():
        model.embed.W_E.mul_(2.0)  # as a step of the optimiser would
    assert not torch.equal(model.unembed.W_U, model.embed.W_E.T)
    tied = tied_forward(model, SHARED, tokens)
    tied.sum().backward()
    assert model.embed.W_E.grad is not None and model.unembed.W_U.grad is None
    # the unembedding's share of the gradient: rows of tokens that no prompt holds
    unused = torch.ones(task.n_tokens, dtype=torch.bool)
    unused[tokens.unique()] = False
    assert model.embed.W_E.grad[unused].abs().sum() > 0
    load_parameters(model, SHARED, trained_parameters(model, SHARED))
    torch.testing.assert_close(model(tokens), tied)


def test_the_tied_gradient_equals_the_sum_of_both_untied_ones(task: TwoHopTask) -> None:
    model = build_model(SHARED, task)
    untied = copy.deepcopy(model)
    tokens = task.split("train_inferred").tokens[:8]
    tied_forward(model, SHARED, tokens).logsumexp(-1).sum().backward()
    untied(tokens).logsumexp(-1).sum().backward()
    assert untied.unembed.W_U.grad is not None and untied.embed.W_E.grad is not None
    torch.testing.assert_close(model.embed.W_E.grad, untied.embed.W_E.grad + untied.unembed.W_U.grad.T)


def test_untied_embeddings_train_apart(task: TwoHopTask) -> None:
    config = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=1, tie_embeddings=False)
    model = build_model(config, task)
    assert "unembed.W_U" in trained_parameters(model, config)
    assert not torch.equal(model.unembed.W_U, model.embed.W_E.T)


def test_seeds_decide_weights_and_leave_the_global_state_alone(task: TwoHopTask) -> None:
    before = torch.get_rng_state()
    first, again, other = (build_model(SHARED, task, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.W_E, again.W_E) and not torch.equal(first.W_E, other.W_E)


def test_the_small_preset_has_the_recipes_shape(task: TwoHopTask) -> None:
    model = build_model(ModelConfig.small(), TwoHopTask.random(seed=0))
    n_trained = sum(p.numel() for p in trained_parameters(model, ModelConfig.small()).values())
    assert 205_000 < n_trained < 215_000
    assert model.cfg.n_layers == 4


def test_impossible_shapes_are_named_at_once() -> None:
    with pytest.raises(ValueError, match="n_blocks is 0, needed is a whole number, at least 1; n_loops is -2"):
        ModelConfig(d_model=16, n_heads=2, n_blocks=0, n_loops=-2)
    with pytest.raises(ValueError, match="d_model=16 cannot be shared evenly by n_heads=3"):
        ModelConfig(d_model=16, n_heads=3, n_blocks=1, n_loops=1)
