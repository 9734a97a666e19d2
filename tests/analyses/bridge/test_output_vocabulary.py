"""A model that answers from another vocabulary than that of its prompts: what can be read and done stays what it was."""

import numpy as np
import pandas as pd
import pytest
from handset import handset_model

from grokscope.analyses import bridge_evidence, interchange, logit_lens, path_patch, probe_bridge, realign, steer_bridge
from grokscope.tasks import Queries, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

SPLIT = "test_inferred_iid"


def complete(task: TwoHopTask) -> HookedTransformer:
    """The hand-set model, with noise and in double precision so that no two answers tie: rounding decides nothing."""
    return handset_model(task.graph, noise=0.01).double()


def answering(task: TwoHopTask, n_out: int) -> HookedTransformer:
    """The same, which can answer the first tokens only."""
    model = complete(task)
    shorter = HookedTransformer(HookedTransformerConfig.from_dict(model.cfg.to_dict() | {"d_vocab_out": n_out}))
    state = dict(model.state_dict())
    state |= {"unembed.W_U": model.W_U[:, :n_out].detach(), "unembed.b_U": model.b_U[:n_out].detach()}
    shorter.double().load_state_dict(state)
    return shorter


@pytest.fixture
def queries(evidence_world: TwoHopTask) -> Queries:
    whole = evidence_world.split(SPLIT)
    return whole.take(whole.unit % 2 == 0)


def test_what_needs_no_token_of_the_prompt_is_the_same(evidence_world: TwoHopTask, queries: Queries) -> None:
    plain, shorter = complete(evidence_world), answering(evidence_world, evidence_world.graph.n_entities)
    pd.testing.assert_frame_equal(
        *(interchange(model, evidence_world, queries).table for model in (plain, shorter)), check_exact=False
    )
    pd.testing.assert_frame_equal(*(realign(model, evidence_world, queries).table for model in (plain, shorter)))
    for one, other in zip(*(_evidence(model, evidence_world) for model in (plain, shorter)), strict=True):
        pd.testing.assert_frame_equal(one, other)


def _evidence(model: HookedTransformer, task: TwoHopTask) -> tuple[pd.DataFrame, pd.DataFrame]:
    result = bridge_evidence(model, task, SPLIT, n=60)
    return result.table, result.measures


def test_the_lens_looks_for_no_token_of_the_prompt(evidence_world: TwoHopTask, queries: Queries) -> None:
    plain, shorter = complete(evidence_world), answering(evidence_world, evidence_world.graph.n_entities)
    whole, part = (logit_lens(model, queries) for model in (plain, shorter))
    kept = whole.table[~whole.table["target"].isin(queries.roles)].reset_index(drop=True)
    assert list(dict.fromkeys(part.table["target"])) == ["bridge", "answer", "shuffled bridge"]
    columns = ["layer", "after", "role", "target", "top1"]  # the fewer tokens there are, the likelier is each
    pd.testing.assert_frame_equal(part.table[columns], kept[columns])
    assert set(part.roles["token"]) == {"bridge", "answer", "other"} and part.figure()


def test_probes_read_labels_and_the_head_its_vocabulary(evidence_world: TwoHopTask, queries: Queries) -> None:
    shorter = answering(evidence_world, evidence_world.graph.n_entities)
    table = probe_bridge(shorter, evidence_world.split(SPLIT), targets=["bridge", "r1"]).table
    assert table.groupby("target")["affine"].apply(lambda each: each.isna().all()).to_dict() == {"bridge": False, "r1": True}
    assert np.isfinite(table["accuracy"]).all()


def test_steering_leaves_out_embeddings_and_realignment_needs_all_entities(
    evidence_world: TwoHopTask, queries: Queries
) -> None:
    plain, shorter = complete(evidence_world), answering(evidence_world, evidence_world.graph.n_entities)
    whole, part = (steer_bridge(model, evidence_world, queries, scales=(1.0,)).table for model in (plain, shorter))
    assert set(whole["direction"]) - set(part["direction"]) == {"embedding"}
    kept = whole[~whole["direction"].isin(["embedding"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, kept)
    n = evidence_world.graph.n_entities
    with pytest.raises(ValueError, match=rf"the {n} entities must be tokens .* d_vocab_out={n - 1}"):
        known = (queries.answers < n - 1) & (queries.bridges < n - 1)
        realign(answering(evidence_world, n - 1), evidence_world, queries.take(known))


def test_pairs_with_answers_from_the_output_vocabulary_are_patched(evidence_world: TwoHopTask) -> None:
    pairs = make_pairs(evidence_world, split=SPLIT, contrast="bridge", n=10, seed=0)
    plain, shorter = complete(evidence_world), answering(evidence_world, evidence_world.graph.n_entities)
    one, other = (path_patch(model, pairs, progress=False).table for model in (plain, shorter))
    pd.testing.assert_frame_equal(one, other)
