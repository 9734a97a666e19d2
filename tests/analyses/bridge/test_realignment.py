"""Realignment on hand-set models that can and cannot take the bridge as input, and against literal hooked runs."""

import pandas as pd
import pytest
import torch
from conftest import no_hooks_left
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import RealignmentResult, realign
from grokscope.tasks import Queries, Run, TwoHopTask


def some(world: TwoHopTask) -> Queries:
    queries = world.split("test_inferred_iid")
    return queries.take(torch.arange(0, len(queries), 12))


def accuracy(result: RealignmentResult, layer: int, form: str) -> dict[str, float]:
    rows = result.table.query("layer == @layer and form == @form")
    return dict(zip(rows["entity"], rows["accuracy"], strict=True))


def test_a_bridge_that_hop_2_cannot_take_is_corrected_by_its_embedding(evidence_world: TwoHopTask) -> None:
    model, queries = handset_model(evidence_world.graph, misaligned=True), some(evidence_world)
    result = realign(model, evidence_world, queries)
    assert result.table["baseline"].max() < 0.2 and no_hooks_left(model)
    corrected = accuracy(result, 0, "embedding added")
    assert corrected["read"] == corrected["true"] == 1.0 and corrected["random"] < 0.3
    assert accuracy(result, 0, "ID mean")["true"] < 0.2  # the same form as before
    row = result.table.query("layer == 0 and form == 'embedding added' and entity == 'read'").iloc[0]
    assert row["right_reading"] == 1.0 and row["gain_low"] > 0.6 and row["gain"] == pytest.approx(1.0 - row["baseline"])
    before = result.table.query("layer == -1 and form == 'embedding added' and entity == 'read'").iloc[0]
    assert before["right_reading"] < 0.2  # nothing to be read yet


def test_where_the_form_is_right_the_mean_keeps_it_and_the_embedding_does_not(evidence_world: TwoHopTask) -> None:
    result = realign(handset_model(evidence_world.graph), evidence_world, some(evidence_world))
    assert accuracy(result, 0, "ID mean")["read"] > 0.9 > 0.4 > accuracy(result, 0, "ID mean")["random"]
    assert accuracy(result, 0, "embedding")["true"] < 0.3
    assert set(result.table.query("layer == 1")["accuracy"]) == {1.0}  # nothing reads r1 any more
    assert "1.00 right unmodified" in result.caption and len(result.figure().data) == 9
    assert RealignmentResult.from_json(result.to_json()).table.equals(result.table)


def test_the_embedding_form_equals_a_literal_hooked_run(task: TwoHopTask, tiny_run: Run) -> None:
    model, queries = tiny_run.checkpoint("final").model(), task.split("train_inferred").take(torch.arange(60))
    result = realign(model, task, queries)
    state = model.W_E[queries.bridges] + model.W_pos[0]

    def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation[:, 1] = state
        return activation

    with torch.no_grad():
        logits = model.run_with_hooks(queries.tokens, fwd_hooks=[("blocks.0.hook_resid_post", put)])
    right = (logits[:, -1].argmax(-1) == queries.answers).double().mean()
    assert accuracy(result, 0, "embedding")["true"] == pytest.approx(float(right))


def test_a_run_by_step_and_no_questions(task: TwoHopTask, tiny_run: Run) -> None:
    queries = task.split("test_inferred_iid")
    whole, alone = realign(tiny_run, task, queries), realign(tiny_run.checkpoint(60).model(), task, queries)
    rows = whole.table.query("step == 60").drop(columns="step").reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, alone.table)
    assert whole.figure() and "unmodified" not in whole.caption
    with pytest.raises(ValueError, match="test_inferred_iid holds no query"):
        realign(tiny_run, task, queries.take(torch.arange(0)))


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask, task: TwoHopTask, tiny_run: Run) -> None:
    result = realign(handset_model(evidence_world.graph, misaligned=True), evidence_world, some(evidence_world))
    assert_explained(result)
    found, said = accuracy(result, 0, "embedding added"), result.explain()
    before = result.table["baseline"].iloc[0]
    assert f"embedding added at L0, changes the share of right answers by {found['read'] - before:.2f}" in said.means
    assert f"the true bridge gives {found['true']:.2f} right answers" in said.would_change
    of_run = realign(tiny_run, task, task.split("test_inferred_iid"))
    assert of_run.explain().on.endswith("; the numbers are those of step 60, the last of 3 checkpoints.")
