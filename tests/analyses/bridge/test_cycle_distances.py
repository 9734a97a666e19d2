"""Distances over a cycle: of a loop at rest, against a literal loop over questions, and what counts as a cycle."""

import pytest
import torch
from conftest import random_model
from explained import assert_explained

from grokscope.analyses import cycle_distances
from grokscope.analyses.forward.model import cycle_of
from grokscope.analyses.statistics import derangement
from grokscope.tasks import TRMConfig, TwoHopTask
from grokscope.tasks.models.building import build_model

TASK = TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, layout="four_slots", seed=0)
QUERIES = TASK.split("train_inferred").take(torch.arange(12))


def test_what_is_a_cycle() -> None:
    assert [cycle_of(random_model(0, n_layers=4, n_blocks=n)) for n in (0, 1, 2)] == [1, 1, 2]
    assert cycle_of(build_model(TRMConfig.tiny(n_blocks=2, l_cycles=2), TASK)) == 6


def test_distances_equal_a_literal_loop() -> None:
    model = build_model(TRMConfig.tiny(h_cycles=3), TASK, seed=1).double()
    table = cycle_distances(model, QUERIES, seed=3).table
    assert table["layer"].unique().tolist() == [2, 3, 4, 5] and (table["layer"] - table["earlier"] == 2).all()
    with torch.no_grad():
        _, cache = model.run_with_cache(QUERIES.tokens)
    order, row = derangement(len(QUERIES), seed=3), table.query("layer == 4 and role == 'r2'").iloc[0]
    later, earlier = (cache[f"blocks.{layer}.hook_out"][:, 2] for layer in (4, 2))
    moved = [float((later[i] - earlier[i]).norm()) for i in range(len(QUERIES))]
    between = [float((later[i] - later[order[i]]).norm()) for i in range(len(QUERIES))]
    assert row["distance"] == pytest.approx(sum(moved) / sum(between)) and row["low"] < row["distance"] < row["high"]
    assert row["nearer"] == pytest.approx(sum(a < b for a, b in zip(moved, between, strict=True)) / len(QUERIES))


def test_a_loop_that_does_nothing_is_at_rest_and_a_single_cycle_is_refused() -> None:
    still = random_model(0, n_layers=3, n_blocks=1, d_vocab=TASK.n_tokens, n_ctx=4)
    with torch.no_grad():
        for parameter in still.blocks[0].parameters():
            parameter.zero_()
    table = cycle_distances(still, QUERIES).table
    distance, is_slot = table["distance"], table["role"] == "answer"
    assert (distance[~is_slot] == 0).all() and distance[is_slot].isna().all()  # where all questions are alike
    with pytest.raises(ValueError, match="are one cycle"):
        cycle_distances(build_model(TRMConfig.tiny(h_cycles=1), TASK), QUERIES)
    with pytest.raises(ValueError, match="needed are 2"):
        cycle_distances(still, QUERIES.take(torch.arange(1)))


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    result = cycle_distances(build_model(TRMConfig.tiny(h_cycles=3), TASK, seed=1), QUERIES)
    assert_explained(result)
    least, most = (
        result.table.loc[place] for place in (result.table["distance"].idxmin(), result.table["distance"].idxmax())
    )
    said = result.explain()
    for row in (least, most):
        assert f"at L{row['layer']} {row['role']}, {row['distance']:.2f}" in said.means
    assert "one cycle of 2 layers earlier" in said.measured
