"""Whole states replaced at several positions and layers, against one hooked run."""

from functools import partial

import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_settings, seeds

from grokscope.analyses import graph_of
from grokscope.analyses.forward.cached import States, run_and_cache
from grokscope.analyses.forward.literal import Hook, logits_at
from grokscope.analyses.forward.state_runs import with_states


def replaced(states: States, activation: torch.Tensor, hook: object) -> torch.Tensor:
    activation = activation.clone()
    for position, state in states.items():
        activation[:, position] = state
    return activation


def hooks_of(layer: int, per_layer: list[States], copy: int) -> list[Hook]:
    names = ["blocks.0.hook_resid_pre" if each < 0 else f"blocks.{each}.hook_resid_post" for each in range(layer, 99)]
    return [
        (name, partial(replaced, {position: state[copy] for position, state in states.items()}))
        for name, states in zip(names, per_layer, strict=False)
    ]


@pytest.mark.parametrize("seed", seeds(16, fast=6))
def test_several_positions_and_layers_equal_a_hooked_run(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    run = run_and_cache(model, graph_of(model, pairs.roles, pairs.answer_position), pairs.clean)
    generator = torch.Generator().manual_seed(seed)
    for layer in range(-1, run.graph.n_layers):
        window = min(1 + layer % 3, run.graph.n_layers - layer)
        places = [torch.randperm(5, generator=generator)[: 2 + seed % 3].tolist() for _ in range(window)]
        per_layer = [
            {place: torch.randn(2, 3, model.cfg.d_model, generator=generator, dtype=torch.float64) for place in each}
            for each in places
        ]
        found = with_states(run, layer, *per_layer)
        for copy in range(2):
            literal = logits_at(model, pairs.clean, pairs.answer_position, hooks_of(layer, per_layer, copy))
            torch.testing.assert_close(found[copy], literal, rtol=1e-9, atol=1e-11 * float(run.logits.abs().max()))
    assert no_hooks_left(model)


def test_two_positions_together_are_not_one_after_the_other() -> None:
    model, pairs = random_model(0, n_ctx=5), pairs_of_five(0, answer_position=4)
    run = run_and_cache(model, graph_of(model, pairs.roles, 4), pairs.clean)
    states = {position: torch.ones(1, 3, 12, dtype=torch.float64) for position in (1, 3)}
    both, *single = (with_states(run, 0, each) for each in (states, {1: states[1]}, {3: states[3]}))
    assert not any(torch.allclose(both, each) for each in single)


def test_states_that_cannot_reach_the_answer_change_no_bit() -> None:
    model, pairs = random_model(0, n_ctx=5, dtype=torch.float32), pairs_of_five(0, answer_position=3)
    run = run_and_cache(model, graph_of(model, pairs.roles, 3), pairs.clean)
    state = torch.ones(2, 3, 12)
    for layer, states in ((0, {4: state}), (1, {0: state, 2: state, 4: state})):
        assert torch.equal(with_states(run, layer, states), run.logits.expand(2, -1, -1))
    assert not torch.equal(with_states(run, 1, {0: state, 3: state}), run.logits.expand(2, -1, -1))
