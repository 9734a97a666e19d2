"""Probes on models whose states are known, against an independent fit, and on random labels."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, random_model
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import ProbeResult, probe_bridge
from grokscope.analyses.bridge.probing import HELD_OUT_FACTS, N_FOLDS, _Cell, _Plan, _tested
from grokscope.tasks import Run, TwoHopTask


@pytest.fixture(scope="module")
def probed(evidence_world: TwoHopTask) -> ProbeResult:
    return probe_bridge(handset_model(evidence_world.graph), evidence_world)


def cell(result: ProbeResult, layer: int, role: str, target: str, tested_on: str = HELD_OUT_FACTS) -> pd.Series:
    return result.table.set_index(["layer", "role", "target", "tested_on"]).loc[layer, role, target, tested_on]


def test_the_hand_set_states_are_read_where_they_hold_something(probed: ProbeResult) -> None:
    bridge = cell(probed, 0, "r1", "bridge")
    assert bridge["accuracy"] == 1.0 and bridge["selectivity_low"] > 0.5
    assert bridge["selectivity"] == pytest.approx(1.0 - bridge["control"]) and 0.0 < bridge["control"] < 0.5
    assert cell(probed, 0, "r1", "bridge", "test_inferred_ood")["accuracy"] == 1.0  # the same code for OOD facts
    assert cell(probed, -1, "r2", "r2")["accuracy"] == cell(probed, -1, "r1", "r1")["accuracy"] == 1.0
    assert cell(probed, 1, "r2", "answer")["accuracy"] > 0.9
    before = cell(probed, -1, "r1", "bridge")
    assert before["low"] < 0.25 and cell(probed, 0, "r1", "answer")["low"] < before["majority"] + 0.1
    assert cell(probed, 0, "r1", "r2")["low"] < 0.2  # a causal state at r1 cannot know r2


def test_it_says_how_many_distinct_states_there_are(probed: ProbeResult, evidence_world: TwoHopTask) -> None:
    asked = evidence_world.split("train_inferred").one_per_unit(seed=0)
    n_heads = len(set(evidence_world.graph.heads[asked.hop1.numpy()].tolist()))
    assert cell(probed, 1, "h", "bridge")["n_states"] == n_heads
    at_bridge = cell(probed, 0, "r1", "bridge")
    assert n_heads < at_bridge["n_states"] <= at_bridge["n_facts"]
    assert cell(probed, 1, "r2", "bridge")["n_facts"] == at_bridge["n_facts"]
    assert "left out" not in probed.caption or at_bridge["n_left_out"] > 0


def test_a_rotated_bridge_is_read_as_well(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph, rotated=True)
    result = probe_bridge(model, evidence_world, targets=("bridge",), transfer=())
    assert cell(result, 0, "r1", "bridge")["accuracy"] == 1.0 and no_hooks_left(model)
    assert set(result.table["tested_on"]) == {HELD_OUT_FACTS} and set(result.table["target"]) == {"bridge"}


def by_hand(states: np.ndarray, labels: np.ndarray, tested: np.ndarray) -> np.ndarray:
    """Linear discriminant analysis from its definition: the likeliest of Gaussians that share a covariance."""
    states, tested = states.astype(float), tested.astype(float)
    classes = np.unique(labels)
    means = np.stack([states[labels == c].mean(0) for c in classes])
    centred = states - means[np.searchsorted(classes, labels)]
    covariance = centred.T @ centred / len(states) + 0.1 * states.var(axis=0).mean() * np.eye(states.shape[1])
    distance = [[(t - m) @ np.linalg.solve(covariance, t - m) for m in means] for t in tested]
    priors = np.array([(labels == c).mean() for c in classes])
    return classes[np.argmax(np.log(priors) - np.array(distance) / 2, axis=1)]


def test_accuracy_equals_an_independent_loop_over_folds(task: TwoHopTask, tiny_run: Run) -> None:
    model = tiny_run.checkpoint("final").model()
    result = probe_bridge(model, task, targets=("bridge",), seed=2)
    asked = task.split("train_inferred").one_per_unit(seed=2)
    asked = asked.take(~torch.from_numpy(task.is_ood)[asked.hop1])
    states = model.run_with_cache(asked.tokens)[1]["blocks.1.hook_resid_post"][:, 1].detach().numpy()
    labels, plan = asked.bridges.numpy(), _Plan.of(asked.bridges.numpy(), "bridge", 2)
    states, labels, right = states[plan.used], labels[plan.used], 0
    for train, test in plan.folds:
        assert not set(train) & set(test)
        right += int((by_hand(states[train], labels[train], states[test]) == labels[test]).sum())
    row = cell(result, 1, "r1", "bridge")
    assert row["accuracy"] == pytest.approx(right / len(labels)) and row["n_facts"] == len(labels)


def test_the_affine_readout_at_the_last_layer_is_the_models_own(task: TwoHopTask, tiny_run: Run) -> None:
    model = tiny_run.checkpoint("final").model()
    row = cell(probe_bridge(model, task, targets=("answer",)), 1, "r2", "answer")
    asked = task.split("train_inferred").one_per_unit(seed=0)
    asked = asked.take(~torch.from_numpy(task.is_ood)[asked.hop1])
    plan = _Plan.of(asked.answers.numpy(), "answer", 0)
    own = (model(asked.tokens)[:, -1].argmax(-1) == asked.answers).numpy()[plan.used].mean()
    assert row["affine"] == pytest.approx(own, abs=0.02)


def test_selectivity_for_random_labels_is_zero_within_its_interval() -> None:
    model = random_model(0, d_model=12, d_vocab=30, dtype=torch.float32)
    covered, selectivities = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        states = rng.normal(size=(160, 12)).astype(np.float32)
        labels = rng.integers(8, size=160)
        (_, row), *_ = _tested(model, [_Cell(states, states)], [labels], _Plan.of(labels, "bridge", seed), [HELD_OUT_FACTS])
        covered += row["selectivity_low"] <= 0 <= row["selectivity_high"]
        selectivities.append(row["selectivity"])
    assert covered >= 36 and abs(np.mean(selectivities)) < 0.02


def test_a_state_that_only_names_its_fact_tells_nothing_about_other_facts() -> None:
    model, labels = random_model(0, d_model=160, d_vocab=30, dtype=torch.float32), np.arange(160) % 8
    states = np.eye(160, dtype=np.float32)
    (_, row), *_ = _tested(model, [_Cell(states, states)], [labels], _Plan.of(labels, "bridge", 0), [HELD_OUT_FACTS])
    assert row["accuracy"] < 0.25 and row["n_states"] == 160


def test_a_label_is_used_if_every_fold_can_have_it() -> None:
    plan = _Plan.of(np.repeat([5, 6, 7], [40, 4, 3]), "bridge", 0)
    assert plan.used.tolist() == [True] * 44 + [False] * 3 and plan.majority == 40 / 44
    assert len(plan.folds) == 4 and sorted(np.concatenate([test for _, test in plan.folds])) == list(range(44))


def test_too_few_facts_and_unknown_targets_are_refused(evidence_world: TwoHopTask) -> None:
    world = TwoHopTask.random(n_entities=8, n_relations=6, out_degree=4, seed=0)
    model = handset_model(world.graph)
    with pytest.raises(
        ValueError, match=r"too few units to probe for bridge: .* of 29 have .* needed are 40 units and 2 labels"
    ):
        probe_bridge(model, world)
    with pytest.raises(ValueError, match="no targets t; there are bridge, answer, h, r1, r2"):
        probe_bridge(model, evidence_world, targets=("t",))


def test_a_run_is_probed_by_step_and_the_result_reads_back(task: TwoHopTask, tiny_run: Run) -> None:
    whole = probe_bridge(tiny_run, task, targets=("bridge",), transfer=())
    assert list(dict.fromkeys(whole.table["step"])) == tiny_run.steps and whole.figure()
    alone = probe_bridge(tiny_run.checkpoint(60).model(), task, targets=("bridge",), transfer=())
    rows = whole.table.query("step == 60").drop(columns="step").reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, alone.table)
    assert ProbeResult.from_json(alone.to_json()).table.equals(alone.table)
    assert alone.figure().data[0].z[0][0] == alone.table["accuracy"].iloc[0]


def test_what_it_says_of_itself_is_what_it_holds(probed: ProbeResult) -> None:
    assert_explained(probed, constants={str(N_FOLDS)})
    row, said = cell(probed, 0, "r1", "bridge"), probed.explain()
    assert f"The bridge is read most often at L0 r1: {row['accuracy']:.2f} (" in said.means
    assert "on test_inferred_ood 1.00. Readable is not used, and unreadable is not absent." in said.means
    assert f"the commonest label is right in {row['majority']:.2f}: " in said.would_change
