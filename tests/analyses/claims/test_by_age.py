"""Effects of age and status: planted ones are found, and models set by hand show theirs."""

from typing import Any

import pandas as pd
import pytest
import torch
from explained import assert_explained
from handset import handset_model, lookup_model
from planted_paths import CLOSE, FAR, planted

from grokscope.analyses import Specimen, same_inference_path, same_path_by_age
from grokscope.analyses.claims.by_age import ByAgeResult, decide_by_age
from grokscope.analyses.claims.path_measurement import measure_paths, n_measured
from grokscope.analyses.claims.same_path import decide_same_path
from grokscope.analyses.sameness.path_distances import MARGINS
from grokscope.tasks import TwoHopTask

AGE, STATUS, MIXED = "early taught / late taught", "early / early taught", "early / final"
AGE_LESS_STATUS, LATE_LESS_EARLY = "effect of age less effect of status (early)", "effect of status, late less early"


def found(n: int = 8, **given: Any) -> tuple[pd.DataFrame, ByAgeResult]:
    """Verdicts by contrast and measure."""
    result = decide_by_age({graph: planted(graph, **given) for graph in range(n)}, "iid")
    return result.table.pivot(index="contrast", columns="measure", values="verdict"), result


def test_paths_that_differ_by_age_alone() -> None:
    ages = [("early", "late"), ("early taught", "late taught"), ("early", "final")]
    says, result = found(far=dict.fromkeys(ages, FAR))
    assert set(says.loc[[AGE, MIXED]].to_numpy().ravel()) == {"different"}
    assert set(says.loc[[STATUS, "late / late taught"]].to_numpy().ravel()) == {"same"}
    assert set(says.loc[AGE_LESS_STATUS]) == {"more"} and set(says.loc[LATE_LESS_EARLY]) == {"alike"}
    varies = result.table.drop_duplicates("contrast").set_index("contrast")["varies"]
    assert varies[MIXED] == "age and status" and varies[AGE] == "age" and varies[STATUS] == "status"


def test_paths_that_differ_by_status_early() -> None:
    says, _ = found(far={("early", "early taught"): FAR})
    assert set(says.loc[STATUS]) == {"different"} and set(says.loc[AGE]) == {"same"}
    assert set(says.loc[AGE_LESS_STATUS]) == set(says.loc[LATE_LESS_EARLY]) == {"less"}


def test_no_effect_and_an_interaction_is_paired_by_graph() -> None:
    says, result = found()
    assert set(says.loc[[AGE, STATUS, MIXED]].to_numpy().ravel()) == {"same"} and set(says.loc[AGE_LESS_STATUS]) == {"alike"}
    points = result.points[result.points["measure"] == "where"].pivot(index="graph", columns="contrast", values="distance")
    row = result.table.set_index(["measure", "contrast"]).loc[("where", AGE_LESS_STATUS)]
    assert row["value"] == pytest.approx((points[AGE] - points[STATUS]).mean()) and row["n"] == 8


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    _, result = found(far={("early", "early taught"): FAR})
    assert_explained(result)
    row = result.table[result.table["varies"] != "interaction"].nlargest(1, "value").iloc[0]
    assert f"{row['contrast']}, which differ in {row['varies']}" in result.explain().means
    assert f"{row['value']:.3f} by the measure {row['measure']}" in result.explain().means
    assert f"[{row['low']:.3f}, {row['high']:.3f}]" in result.explain().sure


def test_what_is_not_there_is_undecided_and_a_blind_measure_invalid() -> None:
    says, result = found(known={"what": CLOSE}, without=("late taught",))
    assert set(says.loc["late / late taught"]) == {"undecided"} and says.loc[STATUS, "what"] == "invalid"
    assert set(says.loc[LATE_LESS_EARLY]) == {"undecided"}
    reasons = result.table.set_index(["measure", "contrast"])["reason"]
    assert "no late taught" in reasons["where", "late / late taught"] and "controls: " in reasons["what", STATUS]
    assert not result.checks.set_index("check").loc["one age, late / late taught", "passed"], "of no graph"


def test_ages_that_are_unequal_fail_a_check_and_are_left_out() -> None:
    _, result = found(4, steps={"early taught": 2_000})
    assert not result.checks.set_index("check").loc["one age, early / early taught", "passed"]
    row = result.table.set_index(["measure", "contrast"]).loc[("where", STATUS)]
    assert (row["n"], row["verdict"]) == (0, "undecided") and "ages differ: early 1000" in row["reason"]


def test_the_figure_shows_every_graph_the_margin_and_the_replicates() -> None:
    _, result = found(3)
    figure = result.figure()
    shown = [trace for trace in figure.data if trace.name == "distance, a graph each"]
    assert len(shown) == len(MARGINS) and {len(trace.y) for trace in shown} == {3 * 6}, "early control is not there"
    assert sorted({shape.x0 for shape in figure.layout.shapes}) == sorted(set(MARGINS.values()))
    assert " n = 3 graphs" in result.caption and ByAgeResult.from_json(result.to_json()).figure()


def test_arms_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no graph has two arms to compare; .* there are \{1: \[\]\}"):
        same_path_by_age({1: {}})


def world(seed: int, status: dict[str, tuple[int, int] | None]) -> dict[str, Specimen]:
    """A graph's models, by arm the layers of their hops; None for one that has memorised every answer."""
    task = TwoHopTask.random(n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=seed)
    everything, arms = torch.from_numpy(task.graph.compositions), {}
    for number, (name, at) in enumerate(status.items()):
        about: dict[str, Any] = {"n_layers": 3, "noise": 0.01, "seed": 10 * seed + number}
        model = handset_model(task.graph, layers=at, **about) if at else lookup_model(task.graph, everything, **about)
        answers = {"test_inferred_ood": 0.0 if name.startswith("early") and "taught" not in name else 1.0}
        arms[name] = Specimen(model, task, answers, 1_000)
    return arms


def test_models_set_by_hand_have_the_distances_that_their_weights_say() -> None:
    """One path in other layers is the same path.

    A model that has memorised has its answers in the same places, too, but there is no bridge that they depend on.
    """
    arms, done = world(0, {"early": (0, 1), "early taught": (1, 2), "early taught again": None}), []
    measured = measure_paths(
        arms, "test_inferred_iid", [("early", "early taught")], 64, 96, describe=False, done=lambda: done.append(1)
    )
    assert len(done) == n_measured(arms, describe=False)
    where, what, amount = (measured.distances.of(measure) for measure in MARGINS)
    assert where["early", "early taught"] < 0.05 and where["early", "early taught again"] < 0.05
    assert amount["early", "early taught"] < 0.15 < 0.8 < amount["early", "early taught again"]
    assert list(what) == [("early", "early taught")] and what["early", "early taught"] < 0.1
    assert "needed is 0.5 (ceiling)" in measured.distances.missing("what")["early", "early taught again"]
    for measure, n in (("where", 3), ("what", 1), ("how much", 3)):
        known = measured.distances.of(measure, "known different")
        assert len(known) == n and min(known.values()) > 0.8
    assert measured.steps["early"] == 1_000 and measured.answers_ood["early"] == 0.0 and not measured.circuits


@pytest.mark.slow
@pytest.mark.parametrize("taught, says", [((0, 1), "supported"), ((1, 2), "supported"), (None, "contradicted")])
def test_models_set_by_hand_are_told_apart(taught: tuple[int, int] | None, says: str) -> None:
    """The early rows: the same path, also in other layers, and none."""
    names = ("early", "early again"), ("early taught", "early taught again")
    graphs = {seed: world(seed, dict.fromkeys(names[0], (0, 1)) | dict.fromkeys(names[1], taught)) for seed in range(5)}
    result = same_inference_path(graphs, n_pairs=64, n_questions=96)
    rows = result.table.set_index("key")
    assert result.verdict == ("contradicted" if says == "contradicted" else "undecided"), "there are no late arms"
    assert rows.loc["how_much.early", "says"] == says, rows.loc["how_much.early", "rule"]
    assert rows.loc["where.early", "says"] == "supported", "where it is does not say what it is"


@pytest.mark.slow
def test_a_difference_by_age_alone_is_found_in_95_of_100() -> None:
    far = dict.fromkeys([("early", "late"), ("early taught", "late taught")], 0.35)
    right = 0
    for draw in range(100):
        graphs = {graph: planted(100 * draw + graph, far) for graph in range(8)}
        table = decide_by_age(graphs, "iid").table.set_index(["measure", "contrast"])["verdict"]
        right += decide_same_path(graphs, "iid").verdict == "supported" and table["where", AGE] == "different"
    assert right >= 95
