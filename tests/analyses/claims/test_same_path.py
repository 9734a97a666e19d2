"""Claim (i): decisions on planted measurements, and the whole way on models whose paths are known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from handset import handset_model, lookup_model
from planted import CHAIN, noisy_circuit

from grokscope.analyses import Specimen, same_inference_path, study_arms
from grokscope.analyses.bridge.evidence import EvidenceResult
from grokscope.analyses.bridge.lens import LensResult
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.claims.rules import Row, bounds_row, equivalence_row, outcomes_row, rows_to_frame, violations_row
from grokscope.analyses.claims.same_path import ARMS, PAIRS, _verdict, comparable, decide_same_path
from grokscope.analyses.claims.specimens import arm_checkpoints
from grokscope.circuits import equivalence
from grokscope.tasks import TwoHopTask, load_study

NAMES = ("early", "grokked", "taught")
MOVED = {**CHAIN, "MLP0@r1 -> L1H0.v@r1": 0.0, "MLP0@r2 -> MLP1@r2": 0.7}


def evidence(used: str = "yes", necessary: str = "yes") -> EvidenceResult:
    rows = [{"layer": layer, "role": "r1", "used": "no", "necessary": "no"} for layer in (-1, 0, 1)]
    rows[1] |= {"used": used, "necessary": necessary}
    return EvidenceResult(pd.DataFrame(rows), pd.DataFrame(), "m", "s")


def lens(readable_after: int = 0, answer_first: bool = False) -> LensResult:
    rows = [
        {"layer": layer, "after": "layer", "role": "r1", "target": "bridge", "top1": float(layer >= readable_after)}
        for layer in (-1, 0, 1)
    ]
    queries = pd.DataFrame({"first_bridge": [2.0, 2.0], "first_answer": [1.0, 1.0] if answer_first else [3.0, 3.0]})
    return LensResult(pd.DataFrame(rows), pd.DataFrame(), queries, "m", "s", 9)


def measured(
    graph: int, paths: dict[str, dict[str, float]] | None = None, *, n: int = 256, spread: float = 0.03
) -> PathMeasurement:
    """One graph: every arm takes the chain unless it is told another path; trainings differ a little."""
    arms = [name + again for name in NAMES for again in ("", " again")]
    circuits = {
        name: noisy_circuit((paths or {}).get(name.removesuffix(" again"), CHAIN), seed=100 * graph + i, n=n, spread=spread)
        for i, name in enumerate(arms)
    }
    return PathMeasurement(
        circuits, circuits, {name: evidence() for name in arms}, {name: lens() for name in arms}, {}, n, n
    )


def told(result: PathMeasurement, arm: str, **changed: object) -> PathMeasurement:
    """The same measurement, with another outcome of evidence or lens for one arm."""
    fields = {name: {**getattr(result, name), arm: value} for name, value in changed.items()}
    return dataclasses.replace(result, **fields)


def test_one_path_in_all_arms_supports_the_claim() -> None:
    result = decide_same_path({graph: measured(graph) for graph in range(5)}, "iid")
    assert result.verdict == "supported" and set(result.falsifiers["says"]) == {"supported"}
    assert result.checks["passed"].all() and result.table["n"].tolist() == [5] * 8
    assert "take the same path" in result.sentence and result.figure() and type(result).from_json(result.to_json()).verdict


@pytest.mark.parametrize("arm", ["early", "taught"])
def test_another_path_in_one_arm_contradicts_it(arm: str) -> None:
    result = decide_same_path({graph: measured(graph, {arm: MOVED}) for graph in range(5)}, "iid")
    assert result.verdict == "contradicted"
    says = result.table.set_index("key")["says"]
    moved, other = ("within_run", "paper_pair") if arm == "early" else ("paper_pair", "within_run")
    assert says[moved] == says[f"{moved}.aligned"] == "contradicted" and says[other] == "supported"
    label = {"within_run": "within a run: early / grokked", "paper_pair": "the paper's pair: grokked / taught"}
    row = result.table.set_index("key").loc[moved]
    assert f"{label[moved]} contradicted, distance beyond replicates {row['value']:.2f}, margin" in result.sentence


def test_a_difference_that_alignment_removes_leaves_it_open() -> None:
    result = decide_same_path({graph: measured(graph) for graph in range(5)}, "iid")
    table = result.table.copy()
    table.loc[table["key"] == "paper_pair", "says"] = "contradicted"
    assert _verdict(table, result.falsifiers, PAIRS) == "undecided"
    table.loc[table["key"] == "paper_pair.aligned", "says"] = "contradicted"
    assert _verdict(table, result.falsifiers, PAIRS) == "contradicted"
    assert _verdict(table.query("key == 'within_run'"), result.falsifiers, PAIRS) == "undecided", "a row is missing"


def test_circuits_on_wrong_pairs_are_shown_and_decide_nothing() -> None:
    graphs = {graph: measured(graph) for graph in range(5)}
    elsewhere = {graph: measured(graph, {"taught": MOVED}).circuits for graph in graphs}
    result = decide_same_path(
        {graph: dataclasses.replace(each, circuits_all=elsewhere[graph]) for graph, each in graphs.items()}, "iid"
    )
    exploratory = result.table[result.table["role"] == "beside"].set_index("key")
    assert result.verdict == "supported" and set(exploratory["says"]) == {""}
    keys = [pair + aligned + ".all_pairs" for pair in PAIRS for aligned in ("", ".aligned")]
    assert list(exploratory.index) == keys
    assert exploratory.loc[keys[:2], "rule"].str.contains("it says contradicted").all()
    assert exploratory.loc[keys[2:], "rule"].str.contains("it says supported").all()


def test_other_arms_are_judged_by_themselves() -> None:
    graphs = {graph: measured(graph, {"early": MOVED}) for graph in range(5)}
    result = decide_same_path(graphs, "ood", {"one of mine": ("grokked", "taught")})
    assert result.verdict == "supported" and "one of mine: grokked / taught supported" in result.sentence
    assert result.falsifiers["key"].tolist() == [f"f{number}.one of mine" for number in (1, 2, 3)], "no early arm, no F4"


@pytest.mark.parametrize(
    "falsifier, arm, outcome",
    [
        ("f1.paper_pair", "taught", {"lens": lens(readable_after=1)}),
        ("f2.within_run", "early", {"evidence": evidence(necessary="no")}),
        ("f3.paper_pair", "taught", {"evidence": evidence(used="no")}),
        ("f4", "early", {"lens": lens(answer_first=True)}),
    ],
)
def test_a_falsifier_in_four_of_five_graphs_contradicts_it_and_in_two_leaves_it_open(
    falsifier: str, arm: str, outcome: dict[str, object]
) -> None:
    everywhere = [measured(graph) for graph in range(5)]
    for n_violated, verdict in ((4, "contradicted"), (2, "supported"), (0, "supported")):
        graphs = {i: told(each, arm, **outcome) if i < n_violated else each for i, each in enumerate(everywhere)}
        result = decide_same_path(graphs, "iid")
        (row,) = result.falsifiers[result.falsifiers["key"] == falsifier].to_dict("records")
        assert result.verdict == verdict and row["value"] == n_violated / 5 and row["role"] == "falsifier"
        assert (row["says"] == "contradicted") == (row["quantity"] in result.sentence) == (n_violated == 4)


def test_the_pace_of_new_facts_is_shown_by_pair_and_decides_nothing() -> None:
    pace = {"grokked": (0.8, 2000.0), "taught": (0.3, float("nan")), "early": (0.5, float("nan"))}
    rows = [
        {"arm": arm, "exposure": exposure, "seed": graph, "cell": cell, "area": area + 0.01 * graph, "to_90": to_90}
        for arm, (area, to_90) in pace.items()
        for graph in range(3)
        for cell in ("new+old", "old+new")
        for exposure in ((0, 5) if arm == "grokked" else (0,))
    ]
    result = decide_same_path({graph: measured(graph) for graph in range(5)}, "iid", transferred=pd.DataFrame(rows))
    found = result.falsifiers.set_index("key").loc[["f5.paper_pair", "f5.within_run"]]
    assert set(found["role"]) == {"beside"}
    assert result.verdict == "supported" and found["says"].tolist() == ["", ""] and found["n"].tolist() == [3, 3]
    assert found["value"].tolist() == pytest.approx([0.5, -0.3], abs=1e-12)
    assert "6 of 6 cells from grokked, 0 of 6 from taught" in found["rule"].iloc[0]


def test_too_little_leaves_it_open() -> None:
    one = decide_same_path({0: measured(0)}, "iid")
    assert one.verdict == "undecided" and "needed are 3 seeds" in one.table["rule"].iloc[0]
    assert set(one.falsifiers["says"]) == {"undecided"}
    without = [dataclasses.replace(measured(graph), circuits={}, n_pairs=10) for graph in range(5)]
    none = decide_same_path(dict(enumerate(without)), "iid")
    assert (
        none.verdict == "undecided" and not none.checks.set_index("check")["passed"]["pairs right in all models of a graph"]
    )


ASKED = Row("k", "falsifier", "q", "s")


def test_violations_that_cannot_be_judged_do_not_count() -> None:
    assert violations_row(ASKED, [None] * 5 + [False] * 4, tolerated=0).says == "undecided"
    judged = violations_row(ASKED, [None, True, False, False, False, False], tolerated=1)
    assert judged.says == "supported" and judged.value == 0.2 and judged.p == pytest.approx(1 - 0.95**5)
    assert violations_row(ASKED, [True] * 4 + [False], tolerated=1).says == "contradicted"
    assert violations_row(ASKED, [True] * 3 + [False] * 2, tolerated=1).says == "undecided"


def test_four_of_five_outcomes_decide_and_are_counted_in_the_rule() -> None:
    words = ["supported"] * 4 + ["contradicted"]
    row = outcomes_row(ASKED, words, "a rule")
    assert (row.says, row.value, row.n, row.key, row.role) == ("supported", 0.8, 5, "k", "falsifier")
    assert row.rule == "a rule; 4 graphs support, 1 contradict, 4 of 5 decide"
    assert outcomes_row(ASKED, words[:4], "a rule").says == "undecided", "four graphs are too few"


def test_one_sided_bounds_are_students_and_reach_the_rule_as_low_and_high() -> None:
    """2.92 is the .95 quantile of Student's t with two degrees of freedom; .1 is the standard deviation."""
    values, half = pd.Series([0.1, 0.2, 0.3]), 2.91999 * 0.1 / 3**0.5
    row = bounds_row(ASKED, values, "a rule", lambda low, high: f"{low:.3f} to {high:.3f}")
    assert (row.value, row.low, row.high, row.n) == pytest.approx((0.2, 0.2 - half, 0.2 + half, 3), abs=1e-5)
    assert row.says == "0.031 to 0.369" and bounds_row(ASKED, values, "a rule").says == ""
    few = bounds_row(ASKED, values[:2], "a rule", lambda low, high: "supported")
    assert (few.says, few.rule, few.n) == ("undecided", "a rule; needed are 3 graphs", 2) and np.isnan(few.value)


def test_a_row_of_equivalence_says_what_the_test_found_without_its_arms() -> None:
    graphs = {
        graph: {"a": noisy_circuit(CHAIN, seed=graph), "b": noisy_circuit(MOVED, seed=50 + graph)} for graph in range(3)
    }
    again = {graph: {"a": noisy_circuit(CHAIN, seed=90 + graph)} for graph in range(3)}
    found = equivalence(graphs, again, ("a", "b"))
    row = equivalence_row(ASKED, found)
    assert (row.says, row.n, row.value, row.low, row.high, row.margin) == (
        "contradicted", 3, found.difference, found.low, found.high, found.margin
    )  # fmt: skip
    assert found.caption == f"a / b: {found.finding}" and row.rule.startswith(f"{found.finding}; supports if")


def test_holms_correction_is_over_the_rows_with_a_p() -> None:
    rows = [dataclasses.replace(ASKED, p=p) for p in (0.01, float("nan"), 0.04)]
    table = rows_to_frame(rows)
    assert table["p_holm"].dropna().tolist() == pytest.approx([0.02, 0.04]) and np.isnan(table["p_holm"][1])
    assert list(table.columns[:4]) == ["key", "role", "quantity", "split"] and len(rows_to_frame([])) == 0


def test_a_result_saved_before_rows_had_keys_still_loads() -> None:
    result = decide_same_path({graph: measured(graph) for graph in range(5)}, "iid")
    old = {name: getattr(result, name).drop(columns=["key", "role"]) for name in ("table", "falsifiers")}
    back = type(result).from_json(dataclasses.replace(result, **old).to_json())
    assert back.figure() and back.caption == result.caption and "key" not in back.table


def test_early_checkpoints_that_answer_ood_questions_are_left_out() -> None:
    early = arm_checkpoints(load_study("pilot"), ARMS)[0]["early"]
    assert early.accuracy["test_inferred_ood"] < 0.5
    late = dataclasses.replace(early, accuracy={"test_inferred_ood": 0.5})
    arms = {"early": early, "grokked": late, "grokked again": late, "taught": late, "other": early}
    assert set(comparable({1: arms})[1]) == {"early", "grokked", "grokked again", "taught"}
    assert set(comparable({1: {**arms, "early": late}})[1]) == {"grokked", "grokked again", "taught"}
    assert comparable({1: {"early": late, "grokked": late, "grokked again": late}}) == {}


def test_arms_that_do_not_fit_are_refused_together_before_anything_is_measured() -> None:
    with pytest.raises(ValueError, match=r"early needs runs of nothing; arms of .* are both_hops, first_hop"):
        study_arms(load_study("pilot"), {"early": ("nothing", "final")})
    found = study_arms(load_study("pilot"), ARMS)
    assert set(found) == {0} and set(found[0]) == set(NAMES)
    with pytest.raises(ValueError, match="no graph has two arms to compare and a replicate"):
        same_inference_path(found)
    late = {name: found[0]["grokked"] for name in ("early", "grokked", "grokked again")}
    late["early"] = dataclasses.replace(late["early"], accuracy={"test_inferred_ood": 0.7})
    with pytest.raises(ValueError, match=r"there are \{0: \['early', 'grokked', 'grokked again'\]\}"):
        same_inference_path({0: late})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "paths, verdict", [({}, "supported"), ({"taught": MOVED}, "contradicted"), ({"early": MOVED}, "contradicted")]
)
def test_the_right_verdict_in_every_planted_case(paths: dict[str, dict[str, float]], verdict: str, seed: int) -> None:
    graphs = {graph: measured(100 * seed + graph, paths) for graph in range(5)}
    assert decide_same_path(graphs, "iid").verdict == verdict


@pytest.mark.slow
def test_false_verdicts_are_rare_among_equal_arms() -> None:
    """200 draws of five graphs with one path in all arms: the share's upper 95 % bound is below .05 up to four of them."""
    wrong = sum(
        decide_same_path({g: measured(1000 * draw + g, spread=0.1) for g in range(5)}, "iid").verdict == "contradicted"
        for draw in range(200)
    )
    assert wrong <= 4


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", [0, 5])
@pytest.mark.parametrize("taught, verdict", [((0, 1), "supported"), ((1, 2), "contradicted"), (None, "contradicted")])
def test_models_set_by_hand_are_told_apart(taught: tuple[int, int] | None, verdict: str, first_seed: int) -> None:
    """The same path, one in other layers, and none: a model that has memorised every answer."""
    graphs = {}
    for seed in range(first_seed, first_seed + 5):
        task = TwoHopTask.random(
            n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=seed
        )
        layers = {"early": (0, 1), "grokked": (0, 1), "grokked again": (0, 1), "taught": taught, "taught again": taught}
        models = {}
        for i, (name, at) in enumerate(layers.items()):
            about = {"noise": 0.01, "seed": 10 * seed + i}
            everything = torch.from_numpy(task.graph.compositions)
            models[name] = (
                handset_model(task.graph, layers=at, n_layers=3, **about)
                if at
                else lookup_model(task.graph, everything, n_layers=3, **about)
            )
        graphs[seed] = {name: Specimen(model, task, {}) for name, model in models.items()}
    assert same_inference_path(graphs, n_pairs=64, n_questions=96).verdict == verdict
