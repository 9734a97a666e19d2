"""Causal tracing against hooks on the residual stream, and on the hand-set model, where the answer is known."""

from functools import partial
from itertools import product

import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_settings, seeds
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import causal_trace, graph_of, trace_inputs
from grokscope.analyses.forward.cached import run_and_cache
from grokscope.analyses.forward.literal import input_hook, logits_at
from grokscope.analyses.forward.single import input_logits
from grokscope.analyses.forward.state_runs import with_states
from grokscope.tasks import PERTURBED_ROLES, TwoHopTask, is_right, perturb


def replaced(position: int, source: torch.Tensor, activation: torch.Tensor, hook: object) -> torch.Tensor:
    activation = activation.clone()
    activation[:, position] = source
    return activation


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("seed", seeds(12, fast=3))
def test_states_equal_those_of_a_hooked_run(seed: int, window: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, other = (run_and_cache(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    for layer, position in product(range(-1, graph.n_layers), range(len(graph.roles))):
        behind = range(layer, min(layer + window, graph.n_layers))
        sources = [other.state(each)[:, position] for each in behind]
        names = ["blocks.0.hook_resid_pre" if each < 0 else f"blocks.{each}.hook_resid_post" for each in behind]
        hooks = [(name, partial(replaced, position, source)) for name, source in zip(names, sources, strict=True)]
        literal = logits_at(model, pairs.clean, pairs.answer_position, hooks)
        fast = with_states(run, layer, *({position: source[None]} for source in sources))[0]
        torch.testing.assert_close(fast, literal, rtol=1e-9, atol=1e-11 * float(run.logits.abs().max()))
    assert no_hooks_left(model)


@pytest.mark.parametrize("seed", seeds(8, fast=4))
def test_inputs_equal_those_of_a_hooked_run(seed: int) -> None:
    model, pairs = random_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    run, other = (run_and_cache(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    found = {
        i: each
        for places, logits in input_logits(run, other, graph.receivers, n_copies=4)
        for i, each in zip(places, logits, strict=True)
    }
    for i, receiver in enumerate(graph.receivers):
        source = other.read_by(receiver)[:, graph.roles.index(receiver.role)]
        hook = input_hook(graph, receiver, lambda reads, source=source: source)
        literal = logits_at(model, pairs.clean, pairs.answer_position, [hook])
        torch.testing.assert_close(found[i], literal, rtol=1e-9, atol=1e-11 * float(run.logits.abs().max()))


def test_the_hand_set_bridge_reaches_the_second_hop_by_one_input(small_world: TwoHopTask) -> None:
    queries = small_world.split("train_inferred")
    result = trace_inputs(handset_model(small_world.graph), queries, {"h": perturb(small_world, queries, "h", seed=0)})
    strength = dict(zip(result.table["receiver"], result.table["strength"], strict=True))
    assert strength["L0H0.v@h"] == strength["MLP0@r1"] == strength["L1H0.v@r1"] == strength["logits@r2"] > 0.9
    assert strength["L1H1.v@r1"] == strength["L1H0.k@r1"] == 0.0 and result.figure()


def test_on_the_hand_set_model_the_answer_hangs_on_the_states_that_carry_it(small_world: TwoHopTask) -> None:
    model, queries = handset_model(small_world.graph), small_world.split("train_inferred")
    perturbed = {role: perturb(small_world, queries, role, seed=0) for role in ("h", "r2")}
    result = causal_trace(model, queries, perturbed)
    strength = result.table.set_index(["perturbed", "layer", "role"])["strength"]
    last = max(layer for _, layer, _ in strength.index)
    for role, tokens in perturbed.items():
        whole = float((~is_right(model, tokens, queries.answers, 2)).double().mean())  # the perturbed run itself
        assert whole > 0.9
        assert strength[role, -1, role] == strength[role, last, "r2"] == pytest.approx(whole)
        assert strength[role, last, "r1"] == strength[role, -1, "r1"] == 0.0
    assert strength["h", 0, "r1"] == pytest.approx(strength["h", -1, "h"]) and strength["h", 0, "h"] == 0.0  # the bridge
    assert strength["r2", 0, "r2"] == pytest.approx(strength["r2", -1, "r2"]) and strength["r2", 0, "r1"] == 0.0
    assert (result.table["n"] == len(queries)).all() and (result.table["n_asked"] == len(queries)).all()
    assert f"n = {len(queries)} of {len(queries)}" in result.caption and result.figure()


@pytest.mark.parametrize("role", PERTURBED_ROLES)
def test_perturbed_prompts_differ_in_one_token_and_lead_elsewhere(task: TwoHopTask, role: str) -> None:
    queries = task.split("test_inferred_iid")
    tokens = perturb(task, queries, role, seed=0)
    position = queries.roles.index(role)
    differs = tokens != queries.tokens
    assert differs[:, position].all() and differs.sum() == len(queries)
    graph = task.graph
    for (h, r1, r2), answer in zip(tokens.tolist(), queries.answers.tolist(), strict=True):
        first = graph.fact_of[h, r1 - graph.n_entities]
        second = graph.fact_of[graph.tails[first], r2 - graph.n_entities] if first >= 0 else -1
        assert second < 0 or graph.tails[second] != answer
        assert role != "r1" or (first >= 0 and not task.is_ood[first])
        assert role != "r2" or (second >= 0 and not task.is_ood[second])
    assert torch.equal(tokens, perturb(task, queries, role, seed=0))
    assert not torch.equal(tokens, perturb(task, queries, role, seed=1))


def test_bad_requests_are_refused(task: TwoHopTask) -> None:
    queries = task.split("test_inferred_iid")
    with pytest.raises(KeyError, match="no role 'b' to perturb; the roles are h, r1, r2"):
        perturb(task, queries, "b", seed=0)
    with pytest.raises(ValueError, match=r"must have the queries' shape .* got h: \(3, 2\)"):
        causal_trace(random_model(0), queries, {"h": torch.zeros(3, 2, dtype=torch.long)})


def test_what_it_says_of_itself_is_what_it_holds(small_world: TwoHopTask) -> None:
    model, queries = handset_model(small_world.graph), small_world.split("train_inferred")
    perturbed = {role: perturb(small_world, queries, role, seed=0) for role in ("h", "r2")}
    states, inputs = causal_trace(model, queries, perturbed), trace_inputs(model, queries, {"h": perturbed["h"]})
    for result, place in ((states, "L0 r1"), (inputs, "L0H0.v@h")):
        assert_explained(result)
        most = result.table.loc[result.table["perturbed"] == "h", "strength"].max()
        assert f"at {place} with another h ({most:.2f})" in result.explain().means
    assert "with another r2 (0.00), each own position left out" in states.explain().means
    assert "another h in the whole prompt changes" in states.explain().would_change
