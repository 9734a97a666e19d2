"""States of a token-mixing network replaced at several slots and applications, against literal hooks on the module."""

from functools import partial

import pytest
import torch

from grokscope import tasks
from grokscope.analyses import graph_of
from grokscope.analyses.forward.cached import States
from grokscope.analyses.forward.head import check_last_state, decode, token_embeddings, unembedding_directions
from grokscope.analyses.forward.model import Stage, ends_of_loops, residual_states
from grokscope.analyses.forward.state_runs import run_model, with_states
from grokscope.analyses.forward.states import run_states
from grokscope.tasks import TRMConfig
from grokscope.tasks.models.building import build_model

TASK = tasks.TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, layout="slots", seed=0)
SHAPES = {
    "small": TRMConfig.tiny(),
    "two blocks": TRMConfig.tiny(n_blocks=2),
    "three cycles of two": TRMConfig.tiny(h_cycles=3, l_cycles=2),
    "two blocks, norm over channels": TRMConfig.tiny(n_blocks=2, l_cycles=2, mixer_norm="channels"),
    "norm over channels": TRMConfig.tiny(mixer_norm="channels"),
}
FAST = ("small", "two blocks, norm over channels")
CASES = [pytest.param(shape, marks=[] if shape in FAST else [pytest.mark.slow]) for shape in SHAPES]
QUERIES = TASK.split("test_inferred_iid").take(torch.arange(3))


def network(shape: str, dtype: torch.dtype = torch.float64):
    return build_model(SHAPES[shape], TASK, seed=1).to(dtype)


def replaced(states: States, copy: int, activation: torch.Tensor, hook: object) -> torch.Tensor:
    activation = activation.clone()
    for position, state in states.items():
        activation[:, position] = state[copy]
    return activation


def literal(model, layer: int, per_layer: list[States], copy: int) -> torch.Tensor:
    names = ["hook_embed" if each < 0 else f"blocks.{each}.hook_out" for each in range(layer, model.cfg.n_layers)]
    hooks = [(name, partial(replaced, states, copy)) for name, states in zip(names, per_layer, strict=False)]
    with torch.no_grad():
        return model.run_with_hooks(QUERIES.tokens, fwd_hooks=hooks)[:, QUERIES.answer_position]


@pytest.mark.parametrize("shape", CASES)
def test_several_slots_and_applications_equal_a_hooked_run(shape: str) -> None:
    model, generator = network(shape), torch.Generator().manual_seed(0)
    run = run_model(model, graph_of(model, QUERIES.roles, QUERIES.answer_position), QUERIES.tokens)
    for layer in range(-1, model.cfg.n_layers):
        for window in (1, 2, 99):  # 99: in every application from there on
            places = [torch.randperm(5, generator=generator)[: 1 + layer % 3].tolist() for _ in range(window)]
            per_layer = [
                {place: torch.randn(2, 3, model.cfg.d_model, generator=generator, dtype=torch.float64) for place in each}
                for each in places
            ]
            found = with_states(run, layer, *per_layer)
            for copy in range(2):
                torch.testing.assert_close(found[copy], literal(model, layer, per_layer, copy), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("shape", CASES)
def test_nothing_replaced_gives_the_run_and_everything_gives_the_donor(shape: str) -> None:
    model = network(shape)
    graph, tokens = graph_of(model, QUERIES.roles, QUERIES.answer_position), QUERIES.tokens
    run, donor = run_model(model, graph, tokens), run_model(model, graph, tokens.roll(1, 0))
    for layer in range(-1, model.cfg.n_layers):
        same, other = ({place: each.state(layer)[None, :, place] for place in range(5)} for each in (run, donor))
        torch.testing.assert_close(with_states(run, layer, same)[0], run.logits)
        layers = range(layer, model.cfg.n_layers)
        every = [{place: donor.state(each)[None, :, place] for place in range(5)} for each in layers]
        torch.testing.assert_close(with_states(run, layer, *every)[0], donor.logits)
        alone = with_states(run, layer, other)[0]
        whole = layer < 0 or layer >= model.cfg.n_layers - model.cfg.shape.n_blocks  # within the last refinement
        assert torch.allclose(alone, donor.logits) == whole  # else x is put in again, and z_H or z_L is still the run's


def test_last_states_that_are_not_the_answers_change_no_bit() -> None:
    model = network("small", torch.float32)
    graph = graph_of(model, QUERIES.roles, QUERIES.answer_position)
    run, state = run_model(model, graph, QUERIES.tokens), torch.ones(2, 3, 32)
    last = model.cfg.n_layers - 1
    assert QUERIES.answer_position == 3 and torch.equal(with_states(run, last, {0: state}), run.logits.expand(2, -1, -1))
    assert not torch.equal(with_states(run, last, {3: state})[0], run.logits)


def test_parts_that_memory_allows_give_the_same() -> None:
    model = network("two blocks")
    graph = graph_of(model, QUERIES.roles, QUERIES.answer_position)
    run, one = run_model(model, graph, QUERIES.tokens), run_model(model, graph, QUERIES.tokens[1:2])
    state = torch.randn(2, 3, 32, dtype=torch.float64)
    together = with_states(run, 1, {2: state})
    torch.testing.assert_close(together[:, 1:2], with_states(run.part(slice(1, 2)), 1, {2: state[:, 1:2]}))
    torch.testing.assert_close(run.part(slice(1, 2)).state(2), one.state(2))


@pytest.mark.parametrize("shape", CASES)
def test_states_and_head_are_the_modules(shape: str) -> None:
    model = network(shape)
    states = residual_states(model, QUERIES.tokens, QUERIES.answer_position)
    assert next(iter(states)) == Stage(-1, "embedding") and len(states) == 1 + model.cfg.n_layers
    held = run_states(model, graph_of(model, QUERIES.roles, QUERIES.answer_position), QUERIES.tokens)
    for stage, state in states.items():
        torch.testing.assert_close(held.state(stage.layer), state)
    last = list(states.values())[-1]
    torch.testing.assert_close(decode(model, last), model(QUERIES.tokens))
    with torch.no_grad():
        check_last_state(model, QUERIES.tokens, QUERIES.answer_position, last)
    with pytest.raises(ValueError, match="differ by"), torch.no_grad():
        check_last_state(model, QUERIES.tokens, QUERIES.answer_position, list(states.values())[-2])
    assert ends_of_loops(model) == list(range(model.cfg.shape.n_blocks - 1, model.cfg.n_layers, model.cfg.shape.n_blocks))
    torch.testing.assert_close(states[Stage(-1, "embedding")], token_embeddings(model)[QUERIES.tokens])
    torch.testing.assert_close(unembedding_directions(model), model.unembed.W_U.T)
