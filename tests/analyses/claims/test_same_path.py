"""Claim (i): planted distances decide as they must, and models set by hand are told apart."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted_paths import CLOSE, FAR, evidence, lens, planted

from grokscope.analyses import same_inference_path, study_arms
from grokscope.analyses.claims.claim import Inputs
from grokscope.analyses.claims.contrasts import BY_STATUS, DIFFERENT, decided
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.claims.rules import ClaimResult
from grokscope.analyses.claims.same_path import ARMS, SAME_PATH, decide_same_path
from grokscope.analyses.sameness.path_distances import KNOWN, MARGINS
from grokscope.tasks import load_study

STATUS = [("early", "early taught"), ("late", "late taught")]
KEYS = [f"{measure}.{age}" for age in ("early", "late") for measure in ("where", "what", "how_much")]


def world(n: int = 8, first: int = 0, **given: Any) -> dict[int, PathMeasurement]:
    return {graph: planted(graph, **given) for graph in range(first, first + n)}


def says(result: ClaimResult) -> pd.Series:
    both = pd.concat([result.table, result.falsifiers]).set_index("key")["says"]
    return both


def passed(result: ClaimResult) -> pd.Series:
    return result.checks.set_index("check")["passed"]


def test_one_path_at_equal_age_supports_the_claim() -> None:
    result = decide_same_path(world(), "iid")
    assert result.verdict == "supported", result.reason
    main = result.table[result.table["role"] == "main"]
    assert main["key"].tolist() == KEYS and set(main["m"]) == {6} and set(main["n"]) == {8}
    assert result.checks["passed"].all(), result.checks[~result.checks["passed"]].to_string()
    assert (result.m, result.smallest_n) == (6, 8) and set(result.falsifiers["m"]) == {3}
    assert "Supported at equal age. Where the answer's information is, early: the same" in result.caption
    assert result.figure() and ClaimResult.from_json(result.to_json()).caption == result.caption


@pytest.mark.parametrize("couple", STATUS)
@pytest.mark.parametrize("measure", MARGINS)
def test_another_path_by_status_contradicts_it_by_any_measure(couple: tuple[str, str], measure: str) -> None:
    result = decide_same_path(world(far={(measure, couple): FAR, (measure, couple[::-1]): FAR}), "iid")
    key = f"{measure.replace(' ', '_')}.{couple[0]}"
    found = says(result)
    assert result.verdict == "contradicted" and found[key] == "contradicted" and key in result.reason
    assert (result.m, result.smallest_n) == (6, 8)
    assert set(found[[each for each in KEYS if each != key]]) == {"supported"}


def test_paths_that_change_with_age_alone_leave_the_claim_supported() -> None:
    ages = [("early", "late"), ("early", "grokked"), ("early taught", "late taught"), ("early taught", "grokked")]
    result = decide_same_path(world(far=dict.fromkeys(ages, FAR)), "iid")
    assert result.verdict == "supported"
    beside = result.table[result.table["role"] == "beside"].set_index("key")
    assert beside.loc["where.paper.beside", "says"] == "" and "it is different" in beside.loc["where.paper.beside", "rule"]
    assert "age and status" in beside.loc["where.within_run.beside", "quantity"]


@pytest.mark.parametrize(
    ("distance", "measure", "ends"),
    [(1, "where", 1), (1 + 1e-7, "where", 1), (1, "what", 1), (1, "how much", None), (2, "where", None)],
)
def test_bounds_of_shares_end_at_1(distance: float, measure: str, ends: float | None) -> None:
    measured = world(5)
    for one in measured.values():
        table = one.distances.table
        table.loc[table["kind"] == KNOWN, "distance"] = distance
    (different,) = (each.result for each in decided(measured, measure, BY_STATUS[0]).controls if each.key == DIFFERENT)
    assert different is not None and different.value == pytest.approx(distance) and different.low < distance
    assert different.high == ends if ends else different.high > distance


def test_one_odd_graph_leaves_it_open() -> None:
    graphs = world() | {7: planted(7, far={("where", STATUS[0]): FAR})}
    result = decide_same_path(graphs, "iid")
    assert result.verdict == "undecided" and says(result)["where.early"] == "undecided"
    assert "1 of 8 graphs beyond 1.5 margins" in result.table.set_index("key").loc["where.early", "rule"]


def test_replicates_that_disagree_leave_it_open() -> None:
    result = decide_same_path(world(far=dict.fromkeys(["early", "early taught"], FAR)), "iid")
    assert result.verdict == "undecided" and says(result)["where.early"] == "invalid"
    assert "replicates disagree" in result.table.set_index("key").loc["where.early", "rule"]
    assert not passed(result)["controls"]


@pytest.mark.parametrize(
    "measure", ["where", *(pytest.param(each, marks=pytest.mark.slow) for each in ("what", "how much"))]
)
def test_a_measure_that_does_not_see_what_is_different_says_invalid(measure: str) -> None:
    for far in ({}, dict.fromkeys(STATUS, FAR)):
        result = decide_same_path(world(known={measure: CLOSE}, far=far), "iid")
        key = measure.replace(" ", "_")
        assert says(result)[f"{key}.early"] == says(result)[f"{key}.late"] == "invalid" and not passed(result)["controls"]
        assert says(result)[f"control.{key}.early.different"] == "invalid"
        assert result.verdict == ("contradicted" if far else "undecided"), "the other measures decide"
        assert f"{key}.early" not in result.reason or not far


def test_controls_that_cannot_run_make_the_row_invalid() -> None:
    graphs = {}
    for graph, each in world().items():
        table = each.distances.table
        kept = table[(table["kind"] == "trainings") | (table["measure"] != "what")]
        graphs[graph] = dataclasses.replace(each, distances=dataclasses.replace(each.distances, table=kept))
    result = decide_same_path(graphs, "iid")
    assert result.verdict == "undecided" and says(result)["what.early"] == "invalid"
    assert "not run" in result.table.set_index("key").loc["control.what.early.different", "rule"]


@pytest.mark.parametrize("gone", [("early", "early taught"), ("early taught", "early taught again")])
def test_a_distance_that_cannot_be_measured_leaves_it_open(gone: tuple[str, str]) -> None:
    """Where a direction moves too little there is none, and that may be the difference."""
    graphs = world()
    table = graphs[0].distances.table
    lost = (table["measure"] == "what") & (table["a"] == gone[0]) & (table["b"] == gone[1])
    assert lost.sum() == 1
    without = table.assign(distance=table["distance"].mask(lost), reason=table["reason"].mask(lost, "a ceiling"))
    graphs[0] = dataclasses.replace(graphs[0], distances=dataclasses.replace(graphs[0].distances, table=without))
    result = decide_same_path(graphs, "iid")
    assert says(result)["what.early"] == "undecided" and result.verdict == "undecided"
    assert "a ceiling" in result.table.set_index("key").loc["what.early", "rule"]


def test_graphs_that_do_not_fit_a_contrast_are_no_evidence_for_its_falsifiers() -> None:
    used = {"early": evidence("yes"), "early taught": evidence("no")}
    graphs = world(6, evidence=used) | {7: planted(7, answers_ood={"early": 0.6}), 8: planted(8, answers_ood={"early": 0.6})}
    result = decide_same_path(graphs, "iid")
    row = result.falsifiers.set_index("key").to_dict("index")["used.early"]
    assert row["n"] == 6 and row["says"] == "contradicted" and result.verdict == "contradicted"


def test_a_contrast_without_graphs_is_a_row_that_is_open() -> None:
    result = decide_same_path(world(without=("late taught",)), "iid")
    main = result.table[result.table["role"] == "main"].set_index("key")
    assert result.verdict == "undecided" and main.index.tolist() == KEYS and set(main["m"]) == {6}
    assert main["says"].tolist() == ["supported"] * 3 + ["undecided"] * 3 and main["n"].tolist() == [8] * 3 + [0] * 3
    assert "no late taught" in main.loc["where.late", "rule"] and result.smallest_n == 0


def test_few_graphs_leave_it_open_and_say_how_many_are_needed() -> None:
    result = decide_same_path(world(2), "iid")
    assert result.verdict == "undecided" and "needed are 3 graphs" in result.table["rule"].iloc[0]


@pytest.mark.parametrize(
    "check, changed",
    [
        ("one age, early / early taught", {"steps": {"early taught": 1_300}}),
        ("one age, early / early taught", {"steps": {"early again": None}}),
        ("OOD questions answered as named, early / early taught", {"answers_ood": {"early": 0.6}}),
        ("OOD questions answered as named, early / early taught", {"answers_ood": {"early taught again": 0.3}}),
        ("OOD questions answered as named, early / early taught", {"answers_ood": {"early taught": None}}),
    ],
)
def test_graphs_of_other_ages_or_status_are_left_out_and_a_check_fails(check: str, changed: dict[str, Any]) -> None:
    graphs = world(5)
    (field, values), odd = *changed.items(), graphs[2]
    graphs[2] = dataclasses.replace(odd, **{field: {**getattr(odd, field), **values}})
    result = decide_same_path(graphs, "iid")
    row = result.table.set_index("key").to_dict("index")["where.early"]
    assert row["n"] == 4 and "left out: graph 2" in row["rule"] and not passed(result)[check]
    assert passed(result).drop(check).all() and says(result)["where.early"] == "supported"
    assert of_five()[check]


@cache
def of_five() -> pd.Series:
    return passed(decide_same_path(world(5), "iid"))


def test_the_other_checks_can_fail_too() -> None:
    graphs = world(5)
    names = [name for name in graphs[0].steps if name not in ("early again", "early taught again")]
    alone = {field: {name: getattr(graphs[0], field)[name] for name in names} for field in ("steps", "answers_ood")}
    result = decide_same_path({**graphs, 0: dataclasses.replace(graphs[0], **alone)}, "iid")
    assert not passed(result)["replicate trainings, early / early taught"]
    few = dataclasses.replace(graphs[0], distances=dataclasses.replace(graphs[0].distances, n_pairs=49))
    assert not passed(decide_same_path({**graphs, 0: few}, "iid"))["pairs answered by all models of a graph"]
    table = graphs[0].distances.table
    gone = table.assign(distance=table["distance"].where(table["measure"] != "what"), reason="ceiling")
    undefined = dataclasses.replace(graphs[0], distances=dataclasses.replace(graphs[0].distances, table=gone))
    result = decide_same_path({**graphs, 0: undefined}, "iid")
    row = result.table.set_index("key").to_dict("index")["what.early"]
    assert not passed(result)["a distance for each couple"] and row["n"] == 4 and "ceiling" in row["rule"]


@pytest.mark.slow
def test_falsifiers_have_power_from_six_graphs_and_open_after_main_rows_only() -> None:
    used = {"evidence": {"early": evidence(), "early taught": evidence("no")}}
    first = {"lens": {"early": lens(answer_first=True)}}
    for changed, key in ((used, "used.early"), (first, "answer_first.early")):
        result = decide_same_path(world(6, **changed), "iid")
        assert result.verdict == "contradicted" and says(result)[key] == "contradicted" and key in result.reason
        assert (result.m, result.smallest_n) == (3, 6)
        assert decide_same_path(world(5, **changed), "iid").verdict == "supported", "5 of 5 leave a rate below one half"
        open_main = decide_same_path(world(6, **changed, without=("late taught",)), "iid")
        assert open_main.verdict == "undecided" and says(open_main)[key] == "contradicted"


@pytest.mark.parametrize("word", ["undecided", "undecided (ceiling)"])
def test_evidence_that_is_undecided_violates_nothing_for_sure(word: str) -> None:
    result = decide_same_path(world(evidence={"early": evidence("no"), "early taught": evidence(word)}), "iid")
    row = result.falsifiers.set_index("key").to_dict("index")["used.early"]
    assert row["says"] == "undecided" and row["value"] == 0 and "8 unclear" in row["rule"]


def test_distances_of_circuits_stand_beside_and_decide_nothing() -> None:
    table = pd.DataFrame(
        [("early", "early taught", 0.9, 0.8), ("early", "early again", 0.1, 0.1)], columns=["a", "b", "plain", "aligned"]
    )
    result = decide_same_path(world(circuit_distances=table), "iid")
    rows = result.table.set_index("key").loc[["circuits_plain.early.beside", "circuits_aligned.early.beside"]]
    assert result.verdict == "supported" and rows["value"].tolist() == pytest.approx([0.9, 0.8])
    assert set(rows["says"]) == {""} and "replicates 0.1" in rows["rule"].iloc[0]


def test_the_pace_of_new_facts_is_shown_and_decides_nothing() -> None:
    pace = {"grokked": (0.8, 2000.0), "taught": (0.3, float("nan")), "early": (0.5, float("nan"))}
    rows = [
        {"arm": arm, "exposure": exposure, "seed": graph, "cell": cell, "area": area + 0.01 * graph, "to_90": to_90}
        for arm, (area, to_90) in pace.items()
        for graph in range(3)
        for cell in ("new+old", "old+new")
        for exposure in ((0, 5) if arm == "grokked" else (0,))
    ]
    result = decide_same_path(world(), "iid", transferred=pd.DataFrame(rows))
    found = result.falsifiers.set_index("key").loc[["pace.paper", "pace.within_run"]]
    assert set(found["role"]) == {"beside"} and result.verdict == "supported" and found["says"].tolist() == ["", ""]
    assert found["value"].tolist() == pytest.approx([0.5, -0.3], abs=1e-12)
    assert "6 of 6 cells from grokked, 0 of 6 from taught" in found["rule"].iloc[0]


def test_distances_are_means_over_all_couples_of_trainings() -> None:
    each = planted(3)
    found = decided({3: each}, "where", BY_STATUS[0])
    (row,), distances = found.result.table.to_dict("records"), each.distances.of("where")
    across = [distances[a, b] for a in ("early", "early again") for b in ("early taught", "early taught again")]
    within = [distances[name, f"{name} again"] for name in ("early", "early taught")]
    assert (row["distance"], row["replicate_distance"], row["pairs"]) == pytest.approx((np.mean(across), np.mean(within), 4))


def test_arms_that_do_not_fit_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(ValueError, match=r"early needs runs of nothing; arms of .* are both_hops, first_hop"):
        study_arms(load_study("pilot"), {"early": ("nothing", "final")})
    found = study_arms(load_study("pilot"), {"early": ARMS["early"]})
    with pytest.raises(ValueError, match=r"no graph has two arms to compare; .* there are \{0: \['early'\]\}"):
        same_inference_path(found)
    assert found[0]["early"].step is not None


def test_a_study_is_measured_once_a_graph_with_all_arms_that_it_has() -> None:
    jobs = SAME_PATH.jobs(Inputs(load_study()))
    assert {name: sorted(each) for name, each in jobs.items()} == {
        "main": [1, 2, 3, 4, 5], "OOD questions": [1, 2, 3, 4, 5], "phi 5": [1, 2, 3], "audits": [1, 2, 3, 4, 5],
    }  # fmt: skip
    assert "final control" in jobs["main"][1].subject and "final control" not in jobs["main"][5].subject
    assert len({job.name for each in jobs.values() for job in each.values()}) == 18


@pytest.mark.slow
def test_planted_worlds_are_decided_right_in_95_of_100() -> None:
    """Eight graphs; false decisions at most 5, and undecided where it must be."""
    different = dict.fromkeys(STATUS, 0.35)
    for given, verdict in (
        ({}, "supported"),
        ({"far": different}, "contradicted"),
        ({"known": {"what": CLOSE}}, "undecided"),
    ):
        found = [decide_same_path(world(first=100 * draw, **given), "iid").verdict for draw in range(100)]
        wrong = sum(each not in (verdict, "undecided") for each in found)
        assert found.count(verdict) >= 95 and wrong <= 5, (given, pd.Series(found).value_counts().to_dict())
