"""Claim (ii): decisions on planted measurements, and models set by hand whose use of the bridge is known."""

import dataclasses
import functools

import numpy as np
import pandas as pd
import pytest
import torch
from handset import handset_model, lookup_model

from grokscope.analyses import InterchangeResult, Specimen, accuracy_without_circuit
from grokscope.analyses.bridge.evidence import EvidenceResult
from grokscope.analyses.bridge.lens import LensResult
from grokscope.analyses.bridge.verdicts import ANYWHERE, R1, bridge_roles
from grokscope.analyses.claims.dissociation import decide_dissociation
from grokscope.analyses.claims.dissociation_measurement import (
    HOP1_OOD,
    IID,
    DissociationMeasurement,
    measure_dissociation,
)
from grokscope.tasks import ModelConfig, TwoHopTask, build_model


def evidence(
    used: str = "yes", held_out: float = 0.9, probe: float = 0.9, role: str = "r1", direction: float = 0.9
) -> EvidenceResult:
    cells = [{"layer": layer, "role": role, "used": "no", "n_judged": 50, "reason": ""} for layer in (-1, 0, 1)]
    cells[1]["used"] = used
    measures = [
        {"layer": layer, "role": role, "measure": name, "value": value, "excess": value, "n_facts": 400}
        for layer in (0, 1)
        for name, value in (("held out", held_out), ("probe", probe), ("direction", direction))
    ]
    return EvidenceResult(pd.DataFrame(cells), pd.DataFrame(measures), "m", "s")


def lens(readable: float, role: str = "r1") -> LensResult:
    rows = [{"layer": 0, "role": role, "after": "layer", "target": "bridge", "top1": readable}]
    return LensResult(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), "m", "s", 9)


def donors(followed: float) -> InterchangeResult:
    rows = [
        {"layer": 0, "role": "r1", "donor": donor, "success": success, "n": 9, "n_facts": 9}
        for donor, success in (("held out", followed), ("other bridge", 0.05))
    ]
    return InterchangeResult(pd.DataFrame(rows), "m", "s", "ID", "wrong", 9)


def measured(**changed: object) -> DissociationMeasurement:
    """As the paper claims: taught models answer without the bridge, untaught ones use it before they answer."""
    as_claimed = DissociationMeasurement(
        evidence(used="no", held_out=0.05, probe=0.3),
        evidence(),
        {IID: evidence(), HOP1_OOD: evidence()},
        lens(0.95),
        donors(0.9),
        {"exposed final": 0.97, "before": 0.02},
        0.1,
    )
    return dataclasses.replace(as_claimed, **changed)


def decide(one: DissociationMeasurement, n: int = 5):
    return decide_dissociation(dict(enumerate([one] * n)))


def test_what_the_paper_claims_is_supported_where_it_is_so() -> None:
    result = decide(measured())
    assert result.verdict == "supported" and result.table["says"].tolist() == ["supported"] * 2 + [""] * 4
    assert result.table["role"].tolist() == ["main"] * 2 + ["beside"] * 4
    assert result.falsifiers.set_index("key")["role"].to_dict() == {
        "f1": "falsifier", "f2": "beside", "f3": "falsifier", "f4": "falsifier"
    }  # fmt: skip
    assert result.checks["passed"].all() and result.figure() and "occurs (5 graphs)" in result.sentence
    assert result.table["value"].iloc[-1] == pytest.approx(0.85) and "wrong answers" not in result.sentence


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"exposed": evidence(used="yes")}, ["contradicted", "supported"]),
        ({"exposed": evidence(used="undecided", held_out=0.05)}, ["undecided", "supported"]),
        ({"exposed": evidence(used="no", held_out=0.4)}, ["undecided", "supported"]),
        ({"before": {IID: evidence(), HOP1_OOD: evidence(used="no")}}, ["supported", "contradicted"]),
        ({"before_lens": lens(0.4)}, ["supported", "contradicted"]),
        ({"before_lens": lens(0.7)}, ["supported", "undecided"]),
        ({"before": {IID: evidence(used="no"), HOP1_OOD: evidence()}}, ["supported", "undecided"]),
    ],
)
def test_each_direction_is_judged_by_its_own_rule(changed: dict[str, object], says: list[str]) -> None:
    result = decide(measured(**changed))
    assert result.table["says"].tolist()[:2] == says
    assert result.verdict == ("contradicted" if "contradicted" in says else "undecided")


@pytest.mark.parametrize(
    "falsifier, changed",
    [
        ("f1", {"natural": evidence(probe=0.3)}),
        ("f3", {"accuracy": {"exposed final": 0.5}}),
        ("f4", {"floor": 0.8}),
    ],
)
def test_a_falsifier_contradicts_what_is_otherwise_supported(falsifier: str, changed: dict[str, object]) -> None:
    result = decide(measured(**changed))
    against = result.falsifiers.set_index("key")["says"]
    assert against[falsifier] == "contradicted" and result.verdict == "contradicted"


@pytest.mark.parametrize("truth", ["supported", "contradicted"])
def test_mistakes_on_single_graphs_hardly_change_the_verdict(truth: str) -> None:
    """200 draws of five graphs, a twentieth of the outcomes by mistake the other's: the upper 95 % bound is below .05."""
    claimed, not_claimed = measured(), measured(exposed=evidence(used="yes"))
    right, wrong = (claimed, not_claimed) if truth == "supported" else (not_claimed, claimed)
    rng = np.random.default_rng(0)

    @functools.cache
    def verdict(*is_wrong: bool) -> str:  # few patterns come up often
        return decide_dissociation({graph: wrong if each else right for graph, each in enumerate(is_wrong)}).verdict

    draws = [verdict(*(bool(rng.random() < 0.05) for _ in range(5))) for _ in range(200)]
    assert sum(drawn not in (truth, "undecided") for drawn in draws) <= 4


def test_a_model_without_wrong_answers_has_no_row_of_them(evidence_world: TwoHopTask) -> None:
    arms = {"before": Specimen(handset_model(evidence_world.graph), evidence_world, {})}
    assert measure_dissociation(arms, n_questions=40).before_wrong is None
    result = decide(measured(before_wrong=None))
    assert result.verdict == "supported" and np.isnan(result.table["value"].iloc[-1])


@pytest.mark.parametrize(
    "taught, says",
    [
        (evidence(used="no", direction=0.1, role="r2"), "supported"),
        (evidence(used="no", direction=0.3, role="r2"), "undecided"),
        (evidence(used="yes", role="r2"), "contradicted"),
    ],
)
def test_a_bridge_at_r2_is_seen_where_it_is_looked_for(taught: EvidenceResult, says: str) -> None:
    """A state at r2 may hold the donor's answer, so that all answers follow it: the bridge's direction decides."""
    at_r2 = evidence(role="r2")
    one = measured(exposed=taught, natural=at_r2, before={IID: at_r2, HOP1_OOD: at_r2}, before_lens=lens(0.95, "r2"))
    result = decide_dissociation(dict(enumerate([one] * 5)), ANYWHERE)
    assert result.table["says"].tolist()[:2] == [says, "supported"]
    assert "95% after the last." in result.sentence
    n = result.table.set_index("key")["n"].to_dict()
    assert n["wrong_followed"] == 0 < n["used"], "no donors at r2 for wrong answers"


def test_a_causal_model_makes_the_bridge_at_r1_and_another_anywhere(evidence_world: TwoHopTask) -> None:
    assert bridge_roles(handset_model(evidence_world.graph)) == R1
    slots = dataclasses.replace(evidence_world, layout="slots")
    config = ModelConfig(d_model=8, n_heads=1, n_blocks=1, n_loops=1, bidirectional=True)
    found = bridge_roles(build_model(config, slots))
    assert found == ANYWHERE == tuple(slots.split(IID).roles)


def test_readable_is_asked_at_the_first_layer_of_use_and_shown_at_the_last() -> None:
    late = evidence()
    late.table.loc[late.table["layer"] == 1, "used"] = "yes"
    rows = pd.concat([lens(0.3).table, lens(0.9).table.assign(layer=1)], ignore_index=True)
    one = measured(before={IID: late, HOP1_OOD: evidence()}, before_lens=dataclasses.replace(lens(0.3), table=rows))
    table = decide(one).table.set_index("key")
    assert table.loc[["readable.first", "readable.last"], "value"].tolist() == pytest.approx([0.3, 0.9])
    assert table["says"]["path_without_accuracy"] == "contradicted"


def test_few_questions_leave_it_open() -> None:
    few = evidence(used="undecided", held_out=float("nan"))
    assert decide(measured(exposed=few, before={IID: few, HOP1_OOD: few})).verdict == "undecided"


def test_four_graphs_of_five_decide_and_one_does_not() -> None:
    other = measured(exposed=evidence(used="yes"))
    assert decide_dissociation(dict(enumerate([measured()] * 4 + [other]))).verdict == "supported"
    assert decide_dissociation(dict(enumerate([measured()] * 3 + [other] * 2))).verdict == "undecided"
    assert decide(measured(), n=1).verdict == "undecided"


def test_without_any_of_the_arms_nothing_is_measured() -> None:
    with pytest.raises(ValueError, match="no graph has one of the arms exposed, exposed final, natural, before"):
        accuracy_without_circuit({1: {}})


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", [0, 5])
@pytest.mark.parametrize("kind", ["path", "lookup", "decoy"])
def test_only_the_model_with_a_path_contradicts(kind: str, first_seed: int) -> None:
    """A path that is used; a model that looks up every answer; one that also writes a bridge that nothing reads.

    A lookup of everything answers for another (h, r1), too, if its state at r1 is exchanged: the direction stays open.
    """
    graphs = {}
    for seed in range(first_seed, first_seed + 5):
        task = TwoHopTask.random(n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.35, seed=seed)
        everything = torch.from_numpy(task.graph.compositions)
        about = {"noise": 0.01, "seed": seed}
        model = (
            handset_model(task.graph, **about)
            if kind == "path"
            else lookup_model(task.graph, everything, decoy=kind == "decoy", **about)
        )
        graphs[seed] = {"exposed": Specimen(model, task, {})}
    measurements = {graph: measure_dissociation(arms, n_questions=200) for graph, arms in graphs.items()}
    for roles in (R1, ANYWHERE):  # at r2 there are states that hold the answer
        result = decide_dissociation(measurements, roles)
        assert (result.table["says"].iloc[0] == "contradicted") == (kind == "path"), result.table["rule"].iloc[0]
