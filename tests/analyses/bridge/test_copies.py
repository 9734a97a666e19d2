"""Copies of the bridge on a hand-set model that has one or two of them, and against literal hooked runs."""

import dataclasses
from functools import partial

import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model
from explained import assert_explained
from handset import SURE, handset_model

from grokscope.analyses import BridgeCopiesResult, bridge_copies, graph_of
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.bridge.copies import _with_other_bridges
from grokscope.analyses.forward.cached import run_and_cache
from grokscope.analyses.forward.literal import logits_at
from grokscope.analyses.forward.state_runs import with_states
from grokscope.tasks import KnowledgeGraph, TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformer

PLACES = (("h",), ("r1",), ("h", "r1"))
SPLIT = "test_inferred_ood_id"


def model_with_two_copies(graph: KnowledgeGraph) -> HookedTransformer:
    """Layer 0 finds the bridge at r1, layer 1 copies it back to h, and layer 2 reads the mean of both."""
    model, n = handset_model(graph, layers=(0, 2), n_layers=3), graph.n_entities
    position = n + graph.n_relations
    bridge = position + 3 + n  # after the blocks token, position and first
    middle, last = model.blocks[1].attn, model.blocks[2].attn
    model.cfg.attention_dir = "bidirectional"
    with torch.no_grad():
        for query, key in ((0, 1), (1, 0), (2, 2)):
            middle.W_Q[0, position + query, query] = SURE * middle.attn_scale
            middle.W_K[0, position + key, query] = 1.0
        for i in range(n):
            middle.W_V[0, bridge + i, i] = middle.W_O[0, i, bridge + i] = 1.0
        last.W_K[0, position, 2] = 1.0
    return model


def shares(result: BridgeCopiesResult, column: str) -> dict[str, float]:
    return dict(zip(result.table["roles"], result.table[column], strict=True))


def test_one_copy_is_exchanged_where_it_is(evidence_world: TwoHopTask) -> None:
    model, queries = handset_model(evidence_world.graph), evidence_world.split(SPLIT)
    result = bridge_copies(model, evidence_world, queries, places=PLACES)
    assert shares(result, "followed") == {"h": 0.0, "r1": 1.0, "h, r1": 1.0} and no_hooks_left(model)
    assert max(shares(result, "random").values()) < 0.2
    assert (result.table["n"] <= len(queries)).all() and result.n_asked == len(queries)
    assert (result.table["n_facts"] == len(queries.hop1.unique())).all()
    again = BridgeCopiesResult.from_json(result.to_json())
    assert again.table.equals(result.table) and "exchanged after layer 0" in result.caption
    assert [bar.name for bar in result.figure().data] == ["bridge", "random"]


def test_of_two_copies_both_must_be_exchanged(evidence_world: TwoHopTask) -> None:
    """With one of them exchanged, two bridges are read half each and two answers tie, so that neither is given."""
    model, queries = model_with_two_copies(evidence_world.graph), evidence_world.split(SPLIT)
    followed = shares(bridge_copies(model, evidence_world, queries, layer=1, places=PLACES), "followed")
    assert followed["h, r1"] == 1.0 and followed["h"] == followed["r1"] == 0.0
    before = shares(bridge_copies(model, evidence_world, queries, layer=0, places=PLACES), "followed")
    assert before == {"h": 0.0, "r1": 1.0, "h, r1": 1.0}  # before the copy is made, r1 has the only one


@pytest.mark.parametrize("direction", ["causal", "bidirectional"])
@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_answers_equal_those_of_a_literal_hooked_run(direction: str, layer: int) -> None:
    model, pairs = random_model(3, n_ctx=5, attention_dir=direction), pairs_of_five(3, answer_position=3)
    run = run_and_cache(model, graph_of(model, pairs.roles, 3), pairs.clean)
    generator = torch.Generator().manual_seed(0)
    name = "blocks.0.hook_resid_pre" if layer < 0 else f"blocks.{layer}.hook_resid_post"

    def add(added: dict[int, torch.Tensor], activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation = activation.clone()
        for position, change in added.items():
            activation[:, position] += change
        return activation

    moved = []
    for positions in ((1,), (3,), (1, 3), (0, 2, 4)):
        added = {i: 20 * torch.randn(len(pairs), 12, generator=generator, dtype=torch.float64) for i in positions}
        literal = logits_at(model, pairs.clean, 3, [(name, partial(add, added))])
        states = {i: (run.state(layer)[:, i] + change)[None] for i, change in added.items()}
        torch.testing.assert_close(with_states(run, layer, states)[0], literal)
        moved.append(not torch.allclose(literal, run.logits))
    assert any(moved)


def test_the_other_bridge_has_a_fact_with_the_same_relation_and_another_answer(evidence_world: TwoHopTask) -> None:
    task, queries = evidence_world, evidence_world.split("train_inferred")
    model, graph, n = handset_model(task.graph), task.graph, task.graph.n_entities
    asked = queries.take(torch.isin(queries.unit, torch.arange(0, 190, 19)))
    means = BridgeMeans(model, graph_of(model, queries.roles, 2), task, asked, intermediate="bridge", seed=0)
    asked, bridges, tails = _with_other_bridges(asked, task, means, seed=0)
    relations = asked.tokens[:, 2].numpy() - n
    assert len(asked) > 60 and (bridges != asked.bridges).all() and (tails != asked.answers).all()
    assert (graph.tails[graph.fact_of[bridges.numpy(), relations]] == tails.numpy()).all()
    assert all(means.has(int(b), int(own)) for b, own in zip(bridges, asked.bridges, strict=True))


def test_bad_requests_are_refused_at_once(evidence_world: TwoHopTask) -> None:
    model, queries = handset_model(evidence_world.graph), evidence_world.split(SPLIT)
    with pytest.raises(
        ValueError, match=r"no roles end; there are h, r1, r2; no layer 2; there are -1, the embedding, to 1"
    ):
        bridge_copies(model, evidence_world, queries, layer=2)
    with pytest.raises(ValueError, match="places are one or more sets of one or more roles"):
        bridge_copies(model, evidence_world, queries, places=((),))
    silent = random_model(0, d_vocab=evidence_world.n_tokens, dtype=torch.float32)
    wrong = queries.take(silent(queries.tokens)[:, -1].argmax(-1) != queries.answers)
    with pytest.raises(ValueError, match="none of the questions of test_inferred_ood_id is answered right and has another"):
        bridge_copies(silent, evidence_world, wrong, places=PLACES)


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    model, queries = model_with_two_copies(evidence_world.graph), evidence_world.split(SPLIT)
    result = bridge_copies(model, evidence_world, queries, layer=1, places=PLACES)
    assert_explained(result)
    followed, said = shares(result, "followed"), result.explain()
    assert f"at h, r1, the bridge turns {followed['h, r1']:.2f} of the answers" in said.means
    assert f"at a single position at most {max(followed['h'], followed['r1']):.2f}, at h." in said.means
    assert "single position" not in dataclasses.replace(result, table=result.table[2:]).explain().means
