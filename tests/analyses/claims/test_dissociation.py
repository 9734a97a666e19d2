"""Claim (ii): decisions on planted measurements, and models set by hand whose use of the bridge is known."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
from handset import copies_model, handset_model, pair_code_model

from grokscope.analyses import InterchangeResult, Specimen, accuracy_without_circuit
from grokscope.analyses.bridge.best_cells import ALL, EVERY_LAYER, ONE_CELL, RIGHT
from grokscope.analyses.bridge.evidence import EvidenceResult
from grokscope.analyses.bridge.lens import LensResult
from grokscope.analyses.claims.dissociation import decide_dissociation
from grokscope.analyses.claims.dissociation_criteria import (
    HAS_NO_PATH,
    HAS_PATH,
    accuracy_without_path,
    path,
    path_by_probe,
    readable,
)
from grokscope.analyses.claims.dissociation_measurement import (
    ASKED,
    HOP1_OOD,
    IID,
    OOD,
    PROBE,
    RANDOM,
    DissociationMeasurement,
    measure_dissociation,
    n_measured,
)
from grokscope.analyses.claims.rules import ClaimResult
from grokscope.tasks import TRMConfig, TwoHopTask
from grokscope.tasks.models.building import build_model
from grokscope.tasks.models.by_hand import CODE, DECOY, TWO_HOPS, models_by_hand
from grokscope.tasks.transformerlens import HookedTransformer

TOGETHER = "all positions"
YES, NO, OPEN, CEILING = "yes", "no", "undecided", "undecided (ceiling)"


def evidence(used: str = YES, *, at: Sequence[int] = (0,), role: str = "r1", probe: float = 1.0) -> EvidenceResult:
    """The word is said at some layers of one position, elsewhere the bridge is not used."""
    cells, measures = [], []
    for layer in (-1, 0, 1):
        for where in ("h", "r1", "r2", TOGETHER):
            word = used if layer in at and where == role else NO
            cells.append({"layer": layer, "role": where, "used": word, "n_judged": 50, "reason": ""})
            about = {"layer": layer, "role": where, "n_facts": 50}
            if where != TOGETHER:
                read = probe if where == "r1" and layer >= 0 else 0.05
                interval = {"low": read - 0.05, "high": min(1.0, read + 0.05)}
                measures.append(about | {"measure": "probe", "value": read, "excess": read, **interval})
            moved = 0.9 if word == YES else 0.02
            measures.append(about | {"measure": "direction", "value": moved, "excess": moved, "low": moved, "high": moved})
    return EvidenceResult(pd.DataFrame(cells), pd.DataFrame(measures), "m", "s")


def lens(shares: Mapping[int, float] | float, role: str = "r1") -> LensResult:
    by_layer = shares if isinstance(shares, Mapping) else dict.fromkeys((0, 1), shares)
    rows = [
        {"layer": layer, "role": role, "after": "layer", "target": "bridge", "top1": share, "low": share - 0.05}
        | {"high": min(1.0, share + 0.05)}
        for layer, share in by_layer.items()
    ]
    return LensResult(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), "m", "s", 9)


def wrong(mended: float) -> InterchangeResult:
    rows = [{"layer": 0, "role": "r1", "donor": "same bridge", "success": mended, "n": 90, "n_facts": 50}]
    return InterchangeResult(pd.DataFrame(rows), "m", "s", "ID", "wrong", 90)


USES = {split: evidence() for split in (OOD, HOP1_OOD, IID)}
USES_NOTHING = {split: evidence(NO) for split in (OOD, HOP1_OOD, IID)}


def measured(**changed: object) -> DissociationMeasurement:
    """As the claim has it: taught models answer without the bridge, untaught ones use it before they answer.

    Changes are of evidence and lens, by model: `exposed=…`, `before=…`, `before_lens=…`; others are fields.
    """
    found = {"exposed": {OOD: evidence(NO, probe=0.3)}, "natural": USES, "before": USES}
    found |= {TWO_HOPS: USES, CODE: USES_NOTHING, DECOY: USES_NOTHING}
    lenses = {name: lens(0.95) for name in ("natural", "before", TWO_HOPS)}
    accuracy = {name: 1.0 for name in ("exposed", "exposed final", "natural", TWO_HOPS, CODE, DECOY)} | {"before": 0.02}
    floors = dict.fromkeys(accuracy, 0.1)
    for name in list(changed):
        if name.removesuffix("_lens") in found or name in HAS_PATH:
            given = changed.pop(name)
            (lenses if name.endswith("_lens") else found).update({name.removesuffix("_lens"): given})
    one = DissociationMeasurement(found, lenses, {"before": wrong(0.3), "untied": wrong(0.02)}, accuracy, floors, 250)
    return dataclasses.replace(one, **changed)


def decide(one: DissociationMeasurement, n: int = 8) -> ClaimResult:
    return decide_dissociation(dict(enumerate([one] * n)))


def says(result: ClaimResult) -> dict[str, str]:
    return pd.concat([result.table, result.falsifiers]).set_index("key")["says"].to_dict()


def test_what_the_paper_claims_is_supported_where_it_is_so() -> None:
    result = decide(measured())
    assert result.verdict == "supported" and result.m == 2 and result.smallest_n == 8
    assert result.table["role"].tolist()[:2] == ["main"] * 2 and set(result.falsifiers["role"]) == {"falsifier", "beside"}
    assert result.checks["passed"].all() and result.figure() and "are not bound" in result.sentence
    found = result.table.set_index("key")
    assert (found.loc[found["role"] == "control", "says"] == "supported").all() and "8 of 8 graphs" in found["rule"].iloc[0]
    assert found["value"]["mended.before"] == pytest.approx(0.3) and found["value"]["mended.untied"] == pytest.approx(0.02)


WORLDS: dict[str, tuple[dict[str, object], str, str]] = {
    "pair code taught": ({}, "supported", "supported"),
    "path taught": ({"exposed": {OOD: evidence()}}, "contradicted", "supported"),
    "copies taught": ({"exposed": {OOD: evidence(role=TOGETHER)}}, "contradicted", "supported"),
    "used where answers are": ({"exposed": {OOD: evidence(role="r2")}}, "contradicted", "supported"),
    "unclear": ({"exposed": {OOD: evidence(OPEN)}}, "undecided", "supported"),
    "donors not answered": ({"exposed": {OOD: evidence(CEILING)}}, "undecided", "supported"),
    "used, unreadable": ({"before_lens": lens(0.3)}, "supported", "undecided"),
    "used, half readable": ({"before_lens": lens(0.7)}, "supported", "undecided"),
    "used, surely not in .8": ({"before_lens": lens(0.82)}, "supported", "undecided"),
    "readable, unused": ({"before": USES | {HOP1_OOD: evidence(NO)}}, "supported", "contradicted"),
    "readable, unclear": ({"before": USES | {HOP1_OOD: evidence(CEILING)}}, "supported", "undecided"),
    "ID bridges unused": ({"before": USES | {IID: evidence(NO)}}, "supported", "undecided"),
    "copies before": ({"before": {split: evidence(role=TOGETHER) for split in USES}}, "supported", "supported"),
}
"""What differs from the claimed world, and what each direction then says on 8 graphs."""


@pytest.mark.parametrize("name", WORLDS)
def test_each_direction_is_judged_by_its_rule(name: str) -> None:
    changed, *expected = WORLDS[name]
    result = decide(measured(**changed))
    found = says(result)
    assert [found["accuracy_without_path"], found["path_without_accuracy"]] == expected
    assert [found["alone.accuracy_without_path"], found["alone.path_without_accuracy"]] == expected
    assert result.table["quantity"].is_unique, "rows that differ in m say so"
    verdict = "contradicted" if "contradicted" in expected else "undecided" if "undecided" in expected else "supported"
    assert result.verdict == verdict and result.m == 2


def test_what_can_occur_is_contradicted_by_none_of_eight_graphs_and_not_of_seven() -> None:
    other = measured(exposed={OOD: evidence()})
    assert decide(other, 8).verdict == "contradicted" and decide(other, 7).verdict == "undecided"
    assert says(decide(other, 6))["alone.accuracy_without_path"] == "contradicted", "one direction by itself needs six"
    one_has_it = decide_dissociation(dict(enumerate([other] * 7 + [measured()])))
    assert says(one_has_it)["accuracy_without_path"] == "undecided"
    two_have_it = decide_dissociation(dict(enumerate([other] * 6 + [measured()] * 2)))
    assert says(two_have_it)["accuracy_without_path"] == "undecided", "2 of 8 may be mistakes: the rate may be below .05"
    assert says(decide_dissociation(dict(enumerate([other] * 5 + [measured()] * 3))))["accuracy_without_path"] == "supported"


def test_unclear_graphs_count_against_either_word() -> None:
    unclear, other = measured(exposed={OOD: evidence(OPEN)}), measured(exposed={OOD: evidence()})
    assert says(decide_dissociation(dict(enumerate([other] * 8 + [unclear]))))["accuracy_without_path"] == "undecided"
    assert (
        says(decide_dissociation(dict(enumerate([measured()] * 2 + [unclear] * 6))))["accuracy_without_path"] == "undecided"
    )


BROKEN: dict[str, tuple[dict[str, object], str]] = {
    "accuracy criterion calls a path none": ({TWO_HOPS: USES | {OOD: evidence(NO)}}, "accuracy_without_path"),
    "accuracy criterion calls none a path": ({CODE: {OOD: evidence(), HOP1_OOD: evidence(NO)}}, "accuracy_without_path"),
    "it cannot say": ({DECOY: {OOD: evidence(OPEN), HOP1_OOD: evidence(NO)}}, "accuracy_without_path"),
    "path criterion misses a trained path": ({"natural_lens": lens(0.45)}, "path_without_accuracy"),
    "path criterion sees one in a decoy": ({DECOY: {OOD: evidence(NO), HOP1_OOD: evidence()}}, "path_without_accuracy"),
}


def looped(used: str = YES, probe: float = 0.95) -> EvidenceResult:
    """In a loop one layer's ablation says nothing; after every layer at once it does."""
    low, high = {YES: (0.8, 0.95), NO: (0.0, 0.05), OPEN: (0.0, 0.9)}[used]
    places = {
        (ONE_CELL, "lens", ALL): (0.0, 0.05),
        (ONE_CELL, "probe", ALL): (probe - 0.1, min(1.0, probe + 0.05)),
        (ONE_CELL, "ablation", RIGHT): (0.0, 0.05),
        (EVERY_LAYER, "ablation", RIGHT): (low, high),
        (ONE_CELL, "direction", RIGHT): (low, high),
        (ONE_CELL, "held out", RIGHT): (0.9, 1.0),
    }
    best = pd.DataFrame(
        [
            dict(zip(("where", "measure", "answered"), place, strict=True))
            | {"cells": "L1 r1", "value": high, "control": 0.0, "low": low, "high": high, "n": 90, "n_facts": 50}
            | {"whole_state": 1.0, "donor_right": 1.0}
            for place, (low, high) in places.items()
        ]
    )
    return dataclasses.replace(evidence(NO, probe=probe), best=best)


LOOPED = {split: looped() for split in (OOD, HOP1_OOD, IID)}
LOOPED_UNUSED = {split: looped(NO) for split in (OOD, HOP1_OOD, IID)}


def mixing(random: float = 0.05, **changed: object) -> DissociationMeasurement:
    """Of networks that mix tokens, where a lens sees nothing: natural never answers, random weights are a control."""
    taught = changed.pop("taught", LOOPED)
    known = {"exposed": {OOD: looped(NO, 0.3)}, TWO_HOPS: LOOPED, CODE: LOOPED_UNUSED, DECOY: LOOPED_UNUSED}
    one = measured(**{**known, "natural": LOOPED, "before": LOOPED, "before_lens": lens(0.05)} | changed)
    found = dict(one.evidence) | {RANDOM: {OOD: looped(NO, random)}, "taught": taught}
    del found["natural"]
    accuracy, floors = ({**numbers, "taught": at} for numbers, at in ((one.accuracy, 1.0), (one.floors, 0.1)))
    return dataclasses.replace(one, evidence=found, accuracy=accuracy, floors=floors, reading=PROBE)


def test_where_tokens_are_mixed_use_is_asked_of_every_place_and_a_probe_reads() -> None:
    result = decide(mixing())
    assert result.verdict == "supported", "no layer's ablation shows use here, every layer's does"
    for direction, names in {
        "accuracy_without_path": (CODE, DECOY, TWO_HOPS, "taught"),
        "path_without_accuracy": (CODE, DECOY, TWO_HOPS, "taught", RANDOM),
    }.items():
        found = [key for key in result.table["key"] if key.startswith(f"control.{direction}")]
        assert found == [f"control.{direction}.{name}" for name in names]


MIXED: dict[str, tuple[dict[str, object], str, str]] = {
    "taught second hops use it": ({"exposed": {OOD: looped()}}, "contradicted", "supported"),
    "unclear": ({"exposed": {OOD: looped(OPEN)}}, "undecided", "supported"),
    "used, and no probe reads it": ({"before": {split: looped(probe=0.5) for split in USES}}, "supported", "undecided"),
    "not used": ({"before": LOOPED | {HOP1_OOD: looped(NO)}}, "supported", "contradicted"),
    "a probe reads what was never trained": ({"random": 0.95}, "supported", "invalid"),
    "taught has no path": ({"taught": LOOPED_UNUSED}, "invalid", "invalid"),
    "the path set by hand is not seen": ({TWO_HOPS: LOOPED_UNUSED}, "invalid", "invalid"),
}


@pytest.mark.parametrize("name", MIXED)
def test_each_direction_is_judged_by_its_rule_where_tokens_are_mixed(name: str) -> None:
    changed, *expected = MIXED[name]
    found = says(decide(mixing(**changed)))
    assert [found["accuracy_without_path"], found["path_without_accuracy"]] == expected


@pytest.mark.slow
def test_networks_that_mix_tokens_are_measured_with_their_control() -> None:
    task = world(0).with_layout("four_slots")
    model = build_model(TRMConfig.tiny(), task, seed=1).eval()
    one = measure_dissociation({"exposed": Specimen(model, task, {})}, n_questions=60)
    assert one.reading == PROBE and set(one.evidence) == {"exposed", RANDOM, TWO_HOPS, CODE, DECOY}
    assert n_measured({"exposed": Specimen(model, task, {})}) == sum(map(len, one.evidence.values()))
    assert path(one, RANDOM) is False and accuracy_without_path(one, TWO_HOPS) is False


@pytest.mark.parametrize("name", BROKEN)
def test_a_criterion_that_fails_on_a_control_decides_nothing(name: str) -> None:
    changed, direction = BROKEN[name]
    result = decide(measured(**changed))
    found = says(result)
    assert result.verdict == "undecided" and found[direction] == found[f"alone.{direction}"] == "invalid"
    other = {"accuracy_without_path", "path_without_accuracy"} - {direction}
    assert found[other.pop()] == "supported" and "cannot be said" in result.sentence
    failed = result.table[(result.table["role"] == "control") & (result.table["says"] == "invalid")]
    assert len(failed) == 1 and direction in failed["key"].iloc[0]
    assert not result.checks.set_index("check")["passed"]["criteria are right on all controls"]
    assert f"{direction} invalid" in result.reason


def test_a_control_that_was_not_run_makes_the_rows_invalid() -> None:
    for name in (TWO_HOPS, CODE, DECOY, "natural"):
        one = measured()
        without = {model: found for model, found in one.evidence.items() if model != name}
        result = decide(dataclasses.replace(one, evidence=without))
        assert result.verdict == "undecided" and f"{name}: not run" in result.table["rule"].iloc[0]
    assert set(HAS_PATH) == set(HAS_NO_PATH) <= set(ASKED)


def test_a_control_may_be_unclear_on_few_graphs_and_wrong_on_none() -> None:
    unclear, bad = (measured(**{CODE: {OOD: evidence(word), HOP1_OOD: evidence(NO)}}) for word in (OPEN, YES))
    assert decide_dissociation(dict(enumerate([measured()] * 7 + [unclear]))).verdict == "supported"
    assert decide_dissociation(dict(enumerate([measured()] * 7 + [bad]))).verdict == "undecided"


@pytest.mark.parametrize(
    "falsifier, changed",
    [
        ("f3", {"accuracy": measured().accuracy | {"exposed final": 0.7}}),
        ("f4", {"floors": measured().floors | {"exposed final": 0.95}}),
    ],
)
def test_each_falsifier_can_contradict_a_claim_that_main_rows_support(falsifier: str, changed: dict[str, object]) -> None:
    one = measured(**changed)
    result = decide(one)
    assert says(result)[falsifier] == "contradicted" and result.verdict == "contradicted" and falsifier in result.reason
    assert (result.falsifiers.query("role == 'falsifier'")["m"] == 2).all()


def test_runs_that_never_get_there_count_and_so_does_a_control_that_did_not_run() -> None:
    one = measured()
    lacking = dataclasses.replace(one, evidence={name: of for name, of in one.evidence.items() if name != "exposed"})
    row = decide_dissociation(dict(enumerate([one] * 2 + [lacking] * 6))).table.set_index("key").loc["accuracy_without_path"]
    assert (row["n"], row["says"]) == (8, "undecided") and "6 unclear" in row["rule"]
    alone = dataclasses.replace(one, evidence={name: of for name, of in one.evidence.items() if name != "natural"})
    assert decide_dissociation(dict(enumerate([one] + [alone] * 7))).verdict == "undecided", "natural ran on one graph of 8"


def test_a_natural_model_that_answers_is_not_before_it_answers() -> None:
    result = decide(measured(accuracy=measured().accuracy | {"before": 0.9}))
    assert says(result)["path_without_accuracy"] == "undecided"


def test_a_bridge_that_a_probe_reads_and_no_answer_rests_on_falsifies_nothing() -> None:
    result = decide(measured(exposed={OOD: evidence(NO, probe=1.0)}))
    row = result.falsifiers.set_index("key").to_dict("index")["f1"]
    assert row["role"] == "beside" and row["value"] == 1 and result.verdict == "supported"


def test_no_falsifier_decides_where_a_main_row_is_open() -> None:
    result = decide(measured(before_lens=lens(0.7), accuracy=measured().accuracy | {"exposed final": 0.7}))
    assert says(result)["f3"] == "contradicted" and result.verdict == "undecided"


def test_what_does_not_beat_shortcuts_is_no_accuracy() -> None:
    result = decide(measured(floors=measured().floors | {"exposed": 0.8}))
    assert says(result)["accuracy_without_path"] == "undecided" and "8 unclear" in result.table["rule"].iloc[0]


def test_readable_is_asked_after_the_last_layer_of_use_and_shown_at_the_first() -> None:
    twice = measured(before=USES | {IID: evidence(at=(0, 1))}, before_lens=lens({0: 0.3, 1: 0.95}))
    table = decide(twice).table.set_index("key")
    assert table["says"]["path_without_accuracy"] == "supported"
    assert table.loc[["readable.first", "readable.last"], "value"].tolist() == pytest.approx([0.3, 0.95])
    assert readable(twice, "before", first=True)["low"] == pytest.approx(0.25)


def test_a_probe_reads_what_a_lens_does_not_and_does_not_decide() -> None:
    unseen = measured(before_lens=lens(0.1))
    assert path(unseen, "before") is None and path_by_probe(unseen, "before") is True
    found = says(decide(unseen))
    assert found["path_without_accuracy"] == "undecided" and found["path.probe"] == "supported"


def test_checks_fail_where_they_should() -> None:
    few = evidence(NO)
    few.table["reason"] = "causal verdicts need 20 hop-1 facts"
    failing = {
        "enough facts to judge the bridge": measured(exposed={OOD: few}),
        "natural does not answer yet": measured(accuracy=measured().accuracy | {"before": 0.2}),
        "criteria are right on all controls": measured(natural_lens=lens(0.4)),
    }
    assert set(failing) == set(decide(measured()).checks["check"])
    for name, one in failing.items():
        checks = decide(one).checks.set_index("check")["passed"]
        assert not checks[name] and checks.sum() == len(checks) - 1


def test_missing_arms_leave_it_open_and_none_is_an_error() -> None:
    one = measured()
    alone = dataclasses.replace(one, evidence={"natural": USES}, lenses={}, wrong={}, accuracy={"natural": 1.0})
    result = decide(alone)
    assert result.verdict == "undecided" and "cannot be said" in result.sentence and result.figure()
    with pytest.raises(ValueError, match="no graph has one of the arms exposed, exposed final, natural, before"):
        accuracy_without_circuit({1: {}})


@functools.cache
def _verdict(pattern: tuple[bool, ...], claimed: bool) -> str:
    right, mistaken = measured(), measured(exposed={OOD: evidence()})
    right, mistaken = (right, mistaken) if claimed else (mistaken, right)
    return decide_dissociation(dict(enumerate(mistaken if each else right for each in pattern))).verdict


@pytest.mark.parametrize("claimed", [True, False])
def test_rarely_mistaken_graphs_rarely_make_a_false_verdict(claimed: bool) -> None:
    """Graphs are taken for the other kind in .05 of the cases: of 200 studies at most 4 are wrong."""
    rng = np.random.default_rng(0)
    drawn = [_verdict(tuple(sorted(rng.random(8) < 0.05)), claimed) for _ in range(200)]
    truth = "supported" if claimed else "contradicted"
    assert sum(word not in (truth, "undecided") for word in drawn) <= 4 and drawn.count(truth) >= 120


def world(seed: int) -> TwoHopTask:
    return TwoHopTask.random(
        n_entities=24, n_relations=16, out_degree=12, ood_fraction=0.3, test_fraction=0.4, phi=4.0, seed=seed
    )


def arms(task: TwoHopTask, exposed: HookedTransformer, before: HookedTransformer) -> dict[str, Specimen]:
    about = {"exposed": exposed, "exposed final": exposed, "before": before, "natural": models_by_hand(task)[TWO_HOPS]}
    return {name: Specimen(model, task, {}) for name, model in about.items()}


@pytest.mark.slow
def test_models_set_by_hand_are_told_apart_from_weights_to_criteria() -> None:
    """A sharp pair code with a decoy has accuracy and no path; two hops have the path; so in every control."""
    task = world(0)
    code = pair_code_model(task.graph, sharp=True, decoy=True, noise=1e-3)
    given, done = arms(task, code, handset_model(task.graph, noise=1e-3)), []
    one = measure_dissociation(given, n_questions=200, done=lambda: done.append(1))
    assert len(done) == n_measured(given)
    assert one.accuracy["exposed"] == 1.0 and one.wrong == {} and one.floors["exposed"] < 0.5
    no_path = {TWO_HOPS: False, CODE: True, DECOY: True, "exposed": True}
    assert {name: accuracy_without_path(one, name) for name in no_path} == no_path
    found = {name: path(one, name) for name in (TWO_HOPS, "before", CODE, DECOY)}
    assert found[TWO_HOPS] is found["before"] is True
    assert True not in (found[CODE], found[DECOY]), "of so few facts `no` is not always sure; on the study's graphs it is"


KINDS: dict[str, tuple[Callable[..., HookedTransformer], dict[str, bool], bool]] = {
    "hops": (handset_model, {}, False),
    "rotated": (handset_model, {"rotated": True}, False),
    "copies": (copies_model, {}, False),
    "soft": (pair_code_model, {}, True),
    "sharp": (pair_code_model, {"sharp": True}, True),
    "soft, decoy": (pair_code_model, {"decoy": True}, True),
}
"""Models set by hand, and whether they have accuracy without path."""


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", [0, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_a_path_is_never_said_to_have_none(kind: str, first_seed: int) -> None:
    build, options, occurs = KINDS[kind]
    said = []
    for seed in range(first_seed, first_seed + 5):
        task = world(seed)
        model = build(task.graph, **options, noise=0.01, seed=seed)
        one = measure_dissociation({"exposed": Specimen(model, task, {})}, n_questions=200)
        said.append(accuracy_without_path(one, "exposed"))
    assert (not occurs) not in said and said.count(occurs) >= 4, said


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["compact", "slots"])
def test_controls_are_right_in_both_layouts(layout: str) -> None:
    for seed in range(3):
        task = world(seed).with_layout(layout)
        one = measure_dissociation(arms(task, *[models_by_hand(task)[CODE]] * 2), n_questions=200)
        assert [accuracy_without_path(one, name) for name in HAS_NO_PATH] == list(HAS_NO_PATH.values())
        assert all(path(one, name) in ((True,) if has else (False, None)) for name, has in HAS_PATH.items())
