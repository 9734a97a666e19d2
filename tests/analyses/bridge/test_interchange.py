"""Interchange on a model whose bridge is known by construction, on one that only memorises, and on a random one."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import InterchangeResult, interchange
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.forward.model import Stage, residual_states
from grokscope.tasks import Queries, TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformer

WHOLE_STATE = ("held out", "trained", "same bridge", "other bridge")
DECISIVE = ("held out", "trained", "same bridge", "bridge direction")


def success(result: InterchangeResult, layer: int, role: str) -> dict[str, float]:
    rows = result.table.query("layer == @layer and role == @role")
    return dict(zip(rows["donor"], rows["success"], strict=True))


def test_the_hand_set_bridge_can_be_exchanged_where_it_is_and_nowhere_else(donor_world: TwoHopTask) -> None:
    model = handset_model(donor_world.graph)
    queries = donor_world.split("test_inferred_iid")
    result = interchange(model, donor_world, queries.take(torch.arange(0, len(queries), 8)))
    at_bridge = success(result, 0, "r1")
    assert all(at_bridge[kind] == 1.0 for kind in DECISIVE)
    assert at_bridge["random direction"] < 0.2 and at_bridge["other bridge"] == 0.0
    rows = result.table.query("layer == 0 and role == 'r1'").set_index("donor")
    assert (rows.loc[list(WHOLE_STATE), "donor_right"] == 1.0).all() and rows["donor_right"].isna().sum() == 2
    assert rows.loc["same bridge", "asks"] == "(h″, r1″, r2), same answer" and rows.loc["bridge direction", "asks"] == ""
    before, r2 = success(result, -1, "r1"), success(result, 0, "r2")
    assert before["held out"] < 0.3 and r2["held out"] == 0.0 and r2["same bridge"] == 1.0
    final = success(result, 1, "r2")  # the whole answer state of a donor with b′ and the same r2
    assert final["held out"] == final["trained"] == final["same bridge"] == 1.0
    kept = result.table.query("layer == 1 and role == 'r1'")["kept"]
    assert (kept == 1.0).all() and no_hooks_left(model)
    assert f"of {result.n_asked} questions" in result.caption and result.figure()


def test_a_random_model_answers_nothing_that_could_be_exchanged(donor_world: TwoHopTask) -> None:
    model = random_model(0, d_vocab=donor_world.n_tokens, dtype=torch.float32)
    with pytest.raises(ValueError, match=r"none of the \d+ questions of test_inferred_iid is answered right"):
        interchange(model, donor_world, wrongly_answered(model, donor_world.split("test_inferred_iid")))


def test_wrong_answers_follow_donors_where_only_the_second_fact_is_missing(donor_world: TwoHopTask) -> None:
    """A circuit whose second hop lacks the OOD facts: with another bridge it answers, with the same one it fails again."""
    model, queries = handset_model(donor_world.graph), donor_world.split("test_inferred_ood")
    with torch.no_grad():
        model.blocks[1].mlp.W_out[torch.from_numpy(donor_world.is_ood)] = 0.0
    result = interchange(model, donor_world, queries, answered="wrong")
    at_bridge = success(result, 0, "r1")
    assert at_bridge["held out"] == at_bridge["trained"] == 1.0 and at_bridge["other bridge"] == 0.0
    assert at_bridge["same bridge"] == 0.0 and "answered wrong" in result.caption
    same = result.table.query("layer == 0 and role == 'r1' and donor == 'same bridge'").iloc[0]
    assert same["donor_right"] == 0.0 and np.isnan(same["success_given"])  # the second hop fails them, too
    with pytest.raises(ValueError, match="is answered wrong and has donors"):
        interchange(handset_model(donor_world.graph), donor_world, queries, answered="wrong")


def wrongly_answered(model: HookedTransformer, queries: Queries) -> Queries:
    with torch.no_grad():
        return queries.take(model(queries.tokens)[:, -1].argmax(-1) != queries.answers)


def test_donors_are_what_they_are_called(donor_world: TwoHopTask) -> None:
    graph, queries = donor_world.graph, donor_world.split("test_inferred_iid")
    donors = donor_world.donors(second_hop="ID", seed=0)
    trained = {tuple(row) for row in np.concatenate([donor_world.trained, donor_world.added]).tolist()}
    seen = 0
    for row, (hop1, hop2) in enumerate(zip(queries.hop1.tolist(), queries.hop2.tolist(), strict=True)):
        if (found := donors.of(queries, row)) is None:
            continue
        seen += 1
        facts = {
            kind: int(graph.fact_of[found.prompts[kind][0], found.prompts[kind][1] - graph.n_entities])
            for kind in WHOLE_STATE
        }
        relation = int(graph.relations[hop2])
        second = {kind: int(graph.fact_of[graph.tails[fact], relation]) for kind, fact in facts.items()}
        assert not donor_world.is_ood[list(facts.values())].any()
        assert (facts["held out"], second["held out"]) not in trained and (facts["trained"], second["trained"]) in trained
        assert graph.tails[facts["held out"]] == graph.tails[facts["trained"]] == found.value != graph.tails[hop1]
        assert graph.tails[second["held out"]] == found.answer != graph.tails[hop2]
        assert graph.tails[facts["same bridge"]] == graph.tails[hop1] and facts["same bridge"] != hop1
        assert graph.tails[facts["other bridge"]] not in (found.value, graph.tails[hop1])
        assert graph.tails[second["other bridge"]] != found.answer
    assert seen > 20


def test_a_bridge_direction_is_a_difference_of_means_over_other_facts(donor_world: TwoHopTask) -> None:
    from grokscope.analyses import graph_of

    model, queries = handset_model(donor_world.graph), donor_world.split("train_inferred")
    without = set(range(0, len(donor_world.graph), 3))
    asked = queries.take(torch.tensor([fact in without for fact in queries.hop1.tolist()]))
    centroids = BridgeMeans(model, graph_of(model, queries.roles, 2), donor_world, asked, intermediate="bridge", seed=0)
    states = residual_states(model, queries.tokens, 2)[Stage(0, "layer")][:, 1]
    kept = torch.tensor([fact not in without and not donor_world.is_ood[fact] for fact in queries.hop1.tolist()])
    for bridge in range(3):
        facts = {int(f): i for i, f in enumerate(queries.hop1.tolist()) if kept[i] and queries.bridges[i] == bridge}
        mean = states[list(facts.values())].mean(0)  # in a causal model a fact has one state at r1
        torch.testing.assert_close(centroids.of(0, 1, torch.tensor([bridge]))[0], mean, check_dtype=False)


def test_what_it_says_of_itself_is_what_it_holds(donor_world: TwoHopTask) -> None:
    model, queries = handset_model(donor_world.graph), donor_world.split("test_inferred_iid")
    result = interchange(model, donor_world, queries.take(torch.arange(0, len(queries), 8)))
    assert_explained(result)
    found, said = success(result, 0, "r1"), result.explain()
    assert (
        f"With the bridge direction, at most {found['bridge direction']:.2f} of the answers follow, at L0 r1" in said.means
    )
    assert f"A random direction gives {found['random direction']:.2f} there." in said.means
    assert f"(held out) it is at most {found['held out']:.2f}, at L0 r1, where 1.00 of the donors'" in said.would_change
    with torch.no_grad():
        model.blocks[1].mlp.W_out[torch.from_numpy(donor_world.is_ood)] = 0.0
    wrong = interchange(model, donor_world, donor_world.split("test_inferred_ood"), answered="wrong")
    assert_explained(wrong)
    assert "With the same bridge, at most 0.00 of the answers become right" in wrong.explain().means
    old = dataclasses.replace(result, table=result.table.drop(columns=["donor_right", "success_given", "asks"]))
    assert "own questions" not in old.explain().would_change
