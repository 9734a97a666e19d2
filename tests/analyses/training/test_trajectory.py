"""Trajectories against circuits made one by one, and on a run whose growth is planted."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from explained import assert_explained
from planted import CHAIN, noisy_circuit

from grokscope.analyses import CircuitTrajectory, discover, run_with_edges, trajectory
from grokscope.analyses.patching.metrics import cross_entropy
from grokscope.analyses.training.trajectory import TWO_HOP_PARTS, Part, _changes, _half_grown
from grokscope.circuits import Circuit
from grokscope.tasks import PromptPairs, Run, TwoHopTask, make_pairs


@pytest.fixture(scope="module")
def pairs(task: TwoHopTask) -> PromptPairs:
    return make_pairs(task, split="test_inferred_iid", contrast="bridge", n=24, seed=0)


@pytest.fixture(scope="module")
def grown(tiny_run: Run, pairs: PromptPairs) -> CircuitTrajectory:
    return trajectory(tiny_run, pairs, allow_shared=True)


def test_each_step_is_the_circuit_discovered_there(grown: CircuitTrajectory, tiny_run: Run, pairs: PromptPairs) -> None:
    assert list(dict.fromkeys(grown.table["step"])) == tiny_run.steps
    for step in tiny_run.steps:
        alone = discover(tiny_run.checkpoint(step).model(), pairs).table
        pd.testing.assert_frame_equal(grown.circuits[step].table, alone[grown.circuits[step].table.columns])
        rows = grown.table.query("step == @step").drop(columns="step").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[list(alone.columns)], alone)
    assert "losses on 24, of 24 pairs 24 share a prompt and 24 a unit with the choosing pairs" in grown.caption
    assert grown.provenance["pairs"] == pairs.key and "circuits at" in grown.caption and grown.figure()
    assert CircuitTrajectory.from_json(grown.to_json()).to_json() == grown.to_json()


def test_losses_are_literal_runs_of_the_final_circuit_and_of_all_but_it(
    tiny_run: Run, pairs: PromptPairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_reason = (1.0, (1.0, 1.0), "")  # this run is too short for a gap
    monkeypatch.setattr("grokscope.analyses.patching.effects.gap_and_reason", lambda gaps, unit, seed: no_reason)
    found = trajectory(tiny_run, pairs, steps=tiny_run.steps[-2:])
    chosen_on, pairs = pairs.halves()
    final = discover(tiny_run.checkpoint(tiny_run.steps[-1]).model(), chosen_on).kept_edges
    assert final
    for step, row in found.stability.set_index("step").iterrows():
        model = tiny_run.checkpoint(step).model()
        rest = [edge for edge in discover(model, chosen_on).measured_edges if edge not in final]
        for name, logits in (
            ("loss", model(pairs.clean)[:, -1].detach()),
            ("restricted", run_with_edges(model, pairs, final)),
            ("excluded", run_with_edges(model, pairs, rest)),
        ):
            wanted = -logits.double().log_softmax(-1)[range(len(pairs)), pairs.answers].mean()
            assert row[name] == pytest.approx(float(wanted), abs=1e-5)
    assert f"n = {len(chosen_on)} pairs, losses on {len(pairs)}" in found.caption and "share" not in found.caption
    assert found.stability["weighted_overlap_final"].iloc[-1] == pytest.approx(1.0)
    assert found.stability["weighted_overlap"].iloc[1] == found.stability["weighted_overlap_final"].iloc[0]


def test_steps_are_taken_in_order_and_once(tiny_run: Run, pairs: PromptPairs, grown: CircuitTrajectory) -> None:
    twice = trajectory(tiny_run, pairs, steps=[*tiny_run.steps[::-1], tiny_run.steps[0]], allow_shared=True)
    assert twice.to_json() == grown.to_json()


def test_what_cannot_be_told_apart_or_is_not_there_is_refused_before_work(tiny_run: Run, pairs: PromptPairs) -> None:
    part = Part("embed", "v", "h")
    with pytest.raises(ValueError, match=r"a part cannot be called ID ≥ \.5, which is a milestone of accuracy"):
        trajectory(tiny_run, pairs, parts={"ID ≥ .5": part})
    with pytest.raises(KeyError, match="no checkpoint at the steps"):
        trajectory(tiny_run, pairs, steps=[tiny_run.steps[0], 7, 8])
    with pytest.raises(ValueError, match="24 of these 24 pairs share something"):
        trajectory(tiny_run, pairs, judged_on=pairs)


def growing(factors: list[float]) -> tuple[pd.DataFrame, Circuit]:
    """A chain whose links all grow by the same factors, step by step."""
    circuits = [noisy_circuit({name: value * factor for name, value in CHAIN.items()}, seed=0) for factor in factors]
    parts = [c.table.assign(step=100 * (number + 1)) for number, c in enumerate(circuits)]
    return pd.concat(parts, ignore_index=True), circuits[-1]


def test_births_deaths_and_half_grown_edges_are_found_where_they_were_planted() -> None:
    table, final = growing([0.0, 0.3, 0.7, 0.2, 0.6, 1.0])
    milestones = {row["milestone"]: row for row in _half_grown(table, final, TWO_HOP_PARTS)}
    assert milestones["hop 1"]["edge"] == "L0H0@r1 -> MLP0@r1" and milestones["hop 1"]["step"] == 500.0
    assert milestones["bridge moved"]["edge"] == "MLP0@r1 -> L1H0.v@r1" and milestones["bridge moved"]["step"] == 500.0
    (row,) = _half_grown(table, final, {"into a value": Part("embed", "v", "h"), "nowhere": Part("mlp", "q", "h")})
    assert row["milestone"] == "into a value" and row["edge"] == "embed@h -> L0H0.v@h"
    changes = _changes(table).set_index(["sender", "receiver"])
    link = changes.loc[("embed@h", "L0H0.v@h")]
    assert link["birth"] == 200 and np.isnan(link["death"]) and link["n_kept"] == 5 and link["n_steps"] == 6


def test_an_edge_that_goes_has_a_death() -> None:
    table, _ = growing([1.0, 1.0, 0.0])
    changes = _changes(table)
    assert (changes["birth"] == 100).all() and (changes["death"] == 300).all() and (changes["n_kept"] == 2).all()


def test_cross_entropy_is_torchs() -> None:
    logits, answers = torch.randn(5, 7), torch.arange(5)
    loss = torch.nn.CrossEntropyLoss()(logits, answers)
    assert float(cross_entropy(logits, answers, answers).mean()) == pytest.approx(float(loss))


def test_a_run_without_checkpoints_is_refused(tiny_run: Run, pairs: PromptPairs) -> None:
    with pytest.raises(ValueError, match="steps are one or more of"):
        trajectory(tiny_run, pairs, steps=[])
    with pytest.raises(KeyError):
        trajectory(dataclasses.replace(tiny_run), pairs, steps=[7])


def test_what_it_says_of_itself_is_what_it_holds(grown: CircuitTrajectory) -> None:
    assert_explained(grown)
    n_kept = grown.stability["n_kept"].iloc[-1]
    assert f"At step 60 the circuit keeps {n_kept} edges" in grown.explain().means
    milestones = pd.DataFrame([{"milestone": "hop 1", "edge": "a", "final_effect": 0.5, "step": 1_000.0}])
    assert "are hop 1 from 1,000 on" in dataclasses.replace(grown, milestones=milestones).explain().would_change
    nothing = dataclasses.replace(grown, table=grown.table.head(0), stability=grown.stability.head(0))
    assert "no rows" in nothing.explain().means
