"""Bridge evidence as a profile: the same numbers, with intervals of the values."""

from dataclasses import replace

import numpy as np
import pytest
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import EvidenceResult, bridge_evidence, evidence_profile, profile_distance
from grokscope.analyses.statistics import wilson
from grokscope.tasks import TwoHopTask


@pytest.fixture(scope="module")
def evidence(evidence_world: TwoHopTask) -> EvidenceResult:
    return bridge_evidence(handset_model(evidence_world.graph), evidence_world, "test_inferred_iid", n=200, progress=False)


def test_it_holds_the_values_of_the_evidence(evidence: EvidenceResult) -> None:
    result = evidence_profile(evidence)
    assert result.layers == [-1, 0, 1]
    assert result.coordinates == [("r1", "held out"), ("r1", "direction"), ("r1", "ablation")]
    assert_explained(result)
    assert (result.matrix[1] > 0.8).all()  # the bridge is written by layer 0 and read by layer 1
    np.testing.assert_allclose(result.matrix[2], [0.0, 0.0, 0.0], atol=0.05)
    for _, row in result.table.iterrows():
        cell = evidence.measures[
            (evidence.measures[["layer", "role", "measure"]] == row[["layer", "role", "measure"]]).all(axis=1)
        ]
        assert row["value"] == cell["value"].item() and (row["n"], row["n_units"]) == (
            cell["n"].item(),
            cell["n_facts"].item(),
        )
        assert (row["low"], row["high"]) == wilson(row["value"], row["n_units"])
    assert "share of questions" in result.caption and result.figure()
    more = evidence_profile(evidence, ("r2", "r1"), ("probe",))
    assert more.coordinates == [("r2", "probe"), ("r1", "probe")]
    assert profile_distance(result, evidence_profile(evidence)).value == 0.0


def test_what_is_not_there_is_refused_all_at_once(evidence: EvidenceResult) -> None:
    with pytest.raises(
        ValueError, match=r"roles has 'x', there are h, r1, r2, all positions; measures has 'donor', there are lens, "
    ):
        evidence_profile(evidence, ("x", "r1"), ("donor",))
    with pytest.raises(ValueError, match="roles is empty, needed is at least one of h, r1, r2"):
        evidence_profile(evidence, ())
    with pytest.raises(ValueError, match="this evidence is of a run"):
        evidence_profile(replace(evidence, table=evidence.table.assign(step=1), measures=evidence.measures.assign(step=1)))


def test_where_nothing_could_be_asked_there_is_no_number_but_the_reason(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph, misaligned=True)  # which answers nothing
    evidence = bridge_evidence(model, evidence_world, "test_inferred_iid", n=40, progress=False)
    result = evidence_profile(evidence)
    assert np.isnan(result.matrix).all() and "causal verdicts need 20 hop-1 facts" in result.reason
    assert (result.table["n"] == 0).all()
