"""Rank-one edits against algebra and against the one row that a model set by hand has for each fact."""

import pytest
import torch
from conftest import no_hooks_left, random_model
from handset import handset_model

from grokscope.analyses.forward.rank_one import (
    MOST_STEPS,
    RIDGE,
    WrittenFacts,
    check_editable,
    rank_one_direction,
    rank_one_edit,
)
from grokscope.tasks import KnowledgeGraph
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

GRAPH = KnowledgeGraph.random(n_entities=6, n_relations=4, out_degree=3, seed=0)


def atomic(graph: KnowledgeGraph) -> tuple[torch.Tensor, torch.Tensor]:
    heads, relations, tails = (torch.from_numpy(each.copy()) for each in (graph.heads, graph.relations, graph.tails))
    return torch.stack([heads, graph.n_entities + relations], 1), tails


@pytest.mark.parametrize("seed", range(5))
def test_the_key_alone_is_changed_and_the_others_least(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    others = torch.randn(40, 8, generator=generator, dtype=torch.float64)
    key = torch.randn(8, generator=generator, dtype=torch.float64)
    found = rank_one_direction(others.T @ others, key)
    torch.testing.assert_close(found @ key, torch.ones((), dtype=torch.float64))
    disturbed = (others @ found).square().sum()
    for _ in range(200):  # of all directions that do as much to the key
        another = found + 0.1 * torch.randn(8, generator=generator, dtype=torch.float64)
        another = another / (another @ key)
        assert disturbed <= (others @ another).square().sum() * (1 + RIDGE)


def test_orthogonal_keys_are_left_and_new_ones_map_to_the_new_value() -> None:
    others = torch.eye(6, dtype=torch.float64)[:4]
    key = torch.tensor([0.0, 0, 0, 0, 3.0, 4.0], dtype=torch.float64)
    found = rank_one_direction(others.T @ others, key)
    torch.testing.assert_close(found, key / 25)
    assert torch.equal(others @ found, torch.zeros(4, dtype=torch.float64))
    weights, wanted = torch.randn(6, 5, dtype=torch.float64), torch.arange(5.0, dtype=torch.float64)
    changed = weights + torch.outer(found, wanted - key @ weights)
    torch.testing.assert_close(key @ changed, wanted)
    assert torch.equal(others @ changed, others @ weights)


def test_a_key_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no hidden unit of the MLP is active at this prompt's answer"):
        rank_one_direction(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))


@pytest.mark.parametrize("fact", [0, 7, 17])
def test_by_hand_exactly_the_fact_s_own_row_is_changed(fact: int) -> None:
    model, (tokens, tails) = handset_model(GRAPH), atomic(GRAPH)
    written = WrittenFacts.of(model, tokens, tails, -1)
    assert (written.layer, written.sharing, written.answer_position) == (0, (0,), 1)
    old = int(tails[fact])
    value = next(each for each in tails.tolist() if each != old)
    before = {name: each.clone() for name, each in model.named_parameters()}
    made, n_steps = rank_one_edit(written, written.moment, fact, value, sure=0.9)
    assert n_steps == 0
    for name, parameter in made.named_parameters():
        expected = before[name].clone()
        if name == "blocks.0.mlp.W_out":
            bridge = model.unembed.W_U[:, 0].nonzero()[0, 0]  # where the block of bridges begins
            expected[fact, bridge + old], expected[fact, bridge + value] = 0.0, 1.0
        torch.testing.assert_close(parameter, expected, atol=1e-6, rtol=0)
    assert all(torch.equal(each, before[name]) for name, each in model.named_parameters())
    no_hooks_left(model)


def test_a_value_that_no_prompt_has_is_reached_by_gradient_steps_through_every_loop() -> None:
    model = random_model(0, n_blocks=1)
    tokens = torch.randint(11, (20, 3), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answers = model(tokens)[:, -1].argmax(-1)
    value = next(each for each in range(11) if each not in answers.tolist())
    written = WrittenFacts.of(model, tokens, answers, -1)
    assert written.sharing == (0, 1)
    made, n_steps = rank_one_edit(written, written.moment, 3, value, sure=0.2)  # random weights reach no more
    with torch.no_grad():
        assert float(made(tokens[3:4])[0, -1].softmax(-1)[value]) >= 0.2
        assert float(model(tokens[3:4])[0, -1].softmax(-1)[value]) < 0.2
    assert 0 < n_steps < MOST_STEPS
    assert made.blocks[0].mlp.W_out is made.blocks[1].mlp.W_out
    changed = (made.blocks[0].mlp.W_out - model.blocks[0].mlp.W_out).detach()
    assert int(torch.linalg.matrix_rank(changed, rtol=1e-9)) == 1
    no_hooks_left(model)


def test_the_layer_is_the_one_whose_write_the_answers_rest_on() -> None:
    model, (tokens, tails) = handset_model(GRAPH, layers=(1, 2), n_layers=3), atomic(GRAPH)
    assert WrittenFacts.of(model, tokens, tails, -1).layer == 1


def test_models_without_such_weights_are_named() -> None:
    sizes = {"n_layers": 1, "d_model": 8, "n_ctx": 3, "d_head": 8, "n_heads": 1, "d_vocab": 5, "attn_only": True}
    with pytest.raises(TypeError, match="got a model without MLPs"):
        check_editable(HookedTransformer(HookedTransformerConfig(**sizes)))
