"""Each criterion just below and just above its threshold, by bounds where it has some, and why it was not measured."""

import math
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from scipy.stats import hypergeom

from grokscope.analyses.statistics import Share, newcombe_interval
from grokscope.analyses.validity.audit_result import MET, MISSED, NOT_MEASURED, audited
from grokscope.analyses.validity.criteria import CRITERIA
from grokscope.analyses.validity.entries import MAKERS, entries_of

pytestmark = pytest.mark.usefixtures("as_users_call")  # results here are of the shape of results, and no others
nan = math.nan
NAMES = [f"e{number}" for number in range(20)]  # stand for edges
NUMBERS = ("kept", "low", "high", "without", "without_low", "without_high", "lost", "lost_low", "lost_high")


def prompts(*rows: dict[str, Any]) -> Any:
    """On other prompts; what a row does not say is far from all that matters."""
    plain = {"prompts": "there", "reason": "", "n": 30} | dict.fromkeys(NUMBERS, 0.5)
    return SimpleNamespace(table=pd.DataFrame([plain | row for row in rows]))


def judged(*, faithfulness: float = 0.9, low: float = 0.8, without: float = 0.1, random: float = 0.2, **about: Any) -> Any:
    """The circuit, and 19 random ones of which each keeps and leaves as much."""
    table = pd.DataFrame(
        {"edges": ["circuit", *(f"random {each}" for each in range(1, 20))], "n": 30, "gap": 3.0, "high": 0.95}
    )
    table = table.assign(faithfulness=[faithfulness] + [random] * 19, low=[low] + [random] * 19)
    table = table.assign(without=[without] + [0.8] * 19)
    settings = {"p_value": 0.01, "p_complete": 0.01, "needed": [True] * 5, "reason": ""} | about
    settings["edges"] = pd.DataFrame({"needed": settings.pop("needed")})
    plain = {"finding": "found", "metric": "logit_difference", "unit": "nats", "faithfulness": faithfulness}
    return SimpleNamespace(table=table, **plain, **settings)


def ablations(*high: float, reasons: tuple[str, ...] = ("", "", "")) -> Any:
    names = ["corrupt", "mean", "zero"][: len(high)]
    table = pd.DataFrame({"ablation": names, "without_high": high, "n": 30, "reason": reasons[: len(high)]})
    table = table.assign(without=table["without_high"] - 0.1, without_low=table["without_high"] - 0.2)
    return SimpleNamespace(table=table, caption="left", needed_by=tuple(table.loc[table["without_high"] < 0.5, "ablation"]))


def rivals(difference_high: float = -0.01, *, best: str = "backward", n: int = 3) -> Any:
    rows = {"edges": ["circuit", "strongest", "backward"], "difference": [0.0, -0.6, difference_high - 0.2], "n": 15}
    table = pd.DataFrame(rows | {"difference_low": -0.9, "difference_high": [0.0, -0.5, difference_high]})
    edges = {name: ["e9"] * (number < n) for number, name in enumerate(("strongest", "backward", "random"))}
    as_faithful = ("backward",) if difference_high >= 0 else ()
    return SimpleNamespace(table=table, best=best, as_faithful=as_faithful, finding="rivals", edges=edges)


def halves(low: float = 0.75, *, rank: float = 0.9, reason: str = "") -> Any:
    rows = {"quantity": ["correlation", "rank correlation", "jaccard"], "value": [0.95, rank, 1.0], "low": [low, 0.1, 0.1]}
    return SimpleNamespace(table=pd.DataFrame(rows | {"high": 0.99, "n_units": 24}), caption="halves", reason=reason)


def doses(*, moved: float = 0.95, random: float = 0.1, largest: float = 0.97, **about: Any) -> Any:
    rows = [("bridge", 1.0, moved), ("random", 1.0, random), ("bridge", 2.0, largest), ("random", 2.0, random)]
    table = pd.DataFrame(rows, columns=["direction", "dose", "moved"]).assign(n=60, n_facts=40)
    plain = {
        "monotone": 0.95,
        "plateau": 0.0,
        "threshold": 0.5,
        "control": "r2",
        "intermediate": "bridge",
        "caption": "doses",
    }
    shares = {"specific": Share(0.8, 0.6, 0.9, 60, 40), "reached": Share(0.9, 0.8, 0.95, 60, 40)}
    return SimpleNamespace(table=table, **plain | shares | about)


def rewrites(change: float, *, same_function: bool = True, reason: str = "") -> Any:
    caption = "the same function" if same_function else "other function"
    return SimpleNamespace(same_function=same_function, effect_change=change, caption=caption, table=[1, 2], reason=reason)


def named(eap: float = 0.8, ig: float = 0.8, denoising: float = 0.1, correlation: float = 0.8) -> pd.DataFrame:
    rows = [("eap", "instrument", eap), ("eap_ig_inputs", "instrument", ig), ("denoising", "direction", denoising)]
    return pd.DataFrame(rows, columns=["name", "kind", "overlap"]).assign(correlation=correlation)


def evidence(**changes: Any) -> Any:
    """In which every criterion is met."""
    about = {"model": "m", "contrast": "bridge", "metric": "logit_difference", "direction": "noising"}
    circuit = SimpleNamespace(kept_edges=NAMES[:5], table=pd.DataFrame({"edge": NAMES}), provenance=about)
    fields: dict[str, Any] = {
        "circuit": circuit,
        "pairs": range(30),
        "faithfulness": judged(),
        "necessity": ablations(0.2, 0.3, 0.9),
    }
    fields |= {"on_target": prompts({"low": 0.6}), "rivals": rivals(), "reliability": halves(), "named": named()}
    fields["invariance"] = SimpleNamespace(
        same_function=True, effect_change=1e-6, caption="rewrites", table=[1, 2], reason=""
    )
    fields["composition"] = SimpleNamespace(auroc=0.8, n_found=5, n_others=9, caption="weights")
    fields |= {
        "graded": doses(),
        "controls": prompts({"high": 0.1}),
        "other_tasks": prompts({"high": 0.1, "lost_high": 0.1}),
    }
    fields |= {"other_splits": prompts({"low": 0.6}), "ends": (0.0, 1.0), "gap_interval": (2.0, 4.0), "replicates": [0.9]}
    fields |= {"untrained_gap": 0.01, "planted": (1.0, 6, 94), "predicted": NAMES[:4], "reasons": {}}
    return SimpleNamespace(**fields | changes)


def row(code: str, **changes: Any) -> pd.Series:
    return audited(entries_of(evidence(**changes)), "a circuit").table.set_index("code").loc[code]


def test_in_the_best_of_worlds_all_is_met_but_what_is_about_more_than_one_circuit() -> None:
    words = audited(entries_of(evidence()), "a circuit").words
    assert {code for code, word in words.items() if word != MET} == {"E6", "V3"}


THRESHOLDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [  # code, what is just met, what is just missed
    ("C1", {"predicted": NAMES[2:5]}, {"predicted": NAMES[3:6]}),
    ("C2", {"composition": SimpleNamespace(auroc=0.7, n_found=1, n_others=1, caption="weights")},
     {"composition": SimpleNamespace(auroc=0.699, n_found=1, n_others=1, caption="weights")}),
    ("C3", {"other_tasks": prompts({"high": 0.499})}, {"other_tasks": prompts({"high": 0.5})}),
    ("C4", {"faithfulness": judged(needed=[True, True])}, {"faithfulness": judged(needed=[True] * 9 + [False])}),
    ("C5", {"named": named(0.5, 0.5)}, {"named": named(0.9, 0.499)}),
    ("I1", {"necessity": ablations(0.499, 0.9, 0.1)}, {"necessity": ablations(0.5, 0.9, 0.1)}),
    ("I2", {"faithfulness": judged(low=0.501)}, {"faithfulness": judged(low=0.5)}),
    ("I2", {"faithfulness": judged(p_value=0.049)}, {"faithfulness": judged(p_value=0.05)}),
    ("I3", {"graded": doses(specific=Share(0.6, 0.501, 0.9, 60, 40))},
     {"graded": doses(specific=Share(0.9, 0.5, 1.0, 60, 40))}),
    ("I3", {"graded": None, "controls": prompts({"high": 0.449})}, {"graded": None, "controls": prompts({"high": 0.45})}),
    ("I3", {"graded": doses(control=""), "controls": prompts({"high": 0.449})},
     {"graded": doses(control=""), "controls": prompts({"high": 0.451})}),
    ("I4", {"named": named(correlation=0.7)}, {"named": named(correlation=0.699)}),
    ("I4", {"replicates": [0.9, 0.7]}, {"replicates": [0.9, 0.699]}),
    ("I4", {"reliability": halves(rank=0.7)}, {"reliability": halves(rank=0.699)}),
    ("I4", {"reliability": None}, {"reliability": None, "replicates": [0.1]}),
    ("I5", {"faithfulness": judged(p_complete=0.049)}, {"faithfulness": judged(p_complete=0.05)}),
    ("I6", {"rivals": rivals(-1e-3)}, {"rivals": rivals(0.0)}),
    ("E1", {"graded": doses(reached=Share(0.7, 0.501, 0.8, 60, 40))},
     {"graded": doses(reached=Share(0.9, 0.5, 1.0, 60, 40))}),
    ("E2", {"graded": doses(monotone=0.9)}, {"graded": doses(monotone=0.899)}),
    ("E2", {"graded": doses(plateau=0.1)}, {"graded": doses(plateau=0.101)}),
    ("E2", {"graded": doses(plateau=-0.1)}, {"graded": doses(plateau=-0.101)}),
    ("E2", {"graded": doses(moved=0.4, largest=0.5)}, {"graded": doses(moved=0.4, largest=0.499)}),
    ("E2", {}, {"graded": doses(monotone=nan, largest=0.0, moved=0.0)}),  # an effect that never grows is measured
    ("E3", {"other_tasks": prompts({"lost_high": 0.449})}, {"other_tasks": prompts({"lost_high": 0.451})}),
    ("E4", {"gap_interval": (1e-6, 2.0)}, {"gap_interval": (0.0, 2.0)}),
    ("E4", {"gap_interval": (-2.0, -1e-6)}, {"gap_interval": (-2.0, 1e-6)}),
    ("E4", {}, {"faithfulness": judged(reason="below rounding")}),
    ("E5", {"other_splits": prompts({"low": 0.501})}, {"other_splits": prompts({"low": 0.5})}),
    ("M1", {"reliability": halves(0.7)}, {"reliability": halves(0.699)}),
    ("M2", {"invariance": rewrites(9.9e-4)},
     {"invariance": rewrites(1e-3)}),
    ("M3", {"graded": doses(moved=0.6, random=0.35)}, {"graded": doses(moved=0.6, random=0.5)}),
    ("M3", {"untrained_gap": 0.099}, {"untrained_gap": 0.1}),
    ("M4", {"planted": (0.85, 6, 94)}, {"planted": (0.849, 6, 94)}),
    ("M5", {"ends": (9e-4, 1 - 9e-4)}, {"ends": (1.1e-3, 1.0)}),
    ("M5", {}, {"ends": (0.0, 1 - 1.1e-3)}),
    ("M6", {"on_target": prompts({"low": 0.501})}, {"on_target": prompts({"low": 0.5})}),
    ("V4", {"rivals": rivals(n=1)}, {"rivals": rivals(n=0)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("code", "just", "hardly"), THRESHOLDS, ids=[f"{code}-{i}" for i, (code, *_) in enumerate(THRESHOLDS)]
)
def test_at_its_threshold_a_criterion_is_met_or_missed(code: str, just: dict[str, Any], hardly: dict[str, Any]) -> None:
    assert row(code, **just)["word"] == MET and row(code, **hardly)["word"] == MISSED
    for found in (row(code, **just), row(code, **hardly)):
        assert found["rule"] and found["finding"] and found["n"] > 0 and found["unit"] and found["measured_by"]


def test_every_threshold_has_a_world_on_either_side() -> None:
    assert {code for code, *_ in THRESHOLDS} == set(MAKERS) - {"V5"}


@pytest.mark.parametrize("lacking", ["model", "contrast", "metric", "direction"])
def test_a_scope_that_is_not_told_whole_is_missed(lacking: str) -> None:
    circuit = evidence().circuit
    circuit.provenance = {name: value for name, value in circuit.provenance.items() if name != lacking}
    found = row("V5", circuit=circuit)
    assert (found["word"], found["value"], found["n"]) == (MISSED, 0.8, 5) and lacking not in found["finding"]


MISSING: list[tuple[str, dict[str, Any], str]] = [  # code, what is not there, what is said
    ("C1", {"predicted": None}, "nothing was given to measure it with"),
    ("C2", {"composition": None, "reasons": {"composition": "no matrices"}}, "no matrices"),
    ("C2", {"composition": SimpleNamespace(auroc=nan, n_found=5, n_others=0, caption="")}, "no pair of components"),
    ("C3", {"other_tasks": None}, "nothing was given"),
    ("C3", {"other_tasks": prompts({"high": nan, "reason": "no edge there"})}, "there: no edge there"),
    ("C5", {"named": named(eap=nan)}, "no overlap of eap"),
    ("I1", {"necessity": ablations(0.1, nan, nan, reasons=("", "gap 0", "too"))}, "mean: gap 0; zero: too"),
    ("I3", {"graded": None, "controls": None}, "nothing was given"),
    ("I4", {"named": named(correlation=nan)}, "no rank correlation of eap, eap_ig_inputs, denoising"),
    ("I4", {"replicates": [0.9, nan]}, "no rank correlation of replicate 2"),
    ("I4", {"reliability": halves(rank=nan)}, "no rank correlation of halves of the pairs"),
    ("I6", {"rivals": rivals(best="")}, "rivals"),
    ("I6", {"rivals": None, "reasons": {"rivals": "too few"}}, "too few"),
    ("V4", {"rivals": None, "reasons": {"rivals": "too few"}}, "too few"),
    ("E1", {"graded": None, "reasons": {"graded": "no bridge"}}, "no bridge"),
    ("E2", {"graded": None, "reasons": {"graded": "no bridge"}}, "no bridge"),
    ("E3", {"other_tasks": None}, "nothing was given"),
    ("E5", {"other_splits": None}, "nothing was given"),
    ("M1", {"reliability": None, "reasons": {"reliability": "no changes"}}, "no changes"),
    ("M1", {"reliability": halves(nan, reason="no gap")}, "no gap"),
    ("M2", {"invariance": None, "reasons": {"invariance": "unknown class"}}, "unknown class"),
    ("M2", {"invariance": rewrites(0.0, same_function=False)}, "other function"),
    ("M2", {"invariance": rewrites(nan, reason="no gap")}, "no gap"),
    ("M3", {"graded": None, "reasons": {"graded": "no bridge"}}, "no bridge"),
    ("M3", {"untrained_gap": nan}, "no untrained model was given"),
    ("M3", {"untrained_gap": nan, "reasons": {"untrained_gap": "no gap"}}, "no gap"),
    ("M6", {"on_target": prompts({"low": nan, "reason": "no gap"})}, "there: no gap"),
    *((code, {"faithfulness": judged(reason="no gap")}, "no gap") for code in ("C4", "I2", "I5", "E3", "M5", "V4")),
    ("I3", {"graded": None, "faithfulness": judged(reason="no gap")}, "no gap"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "changes", "says"), MISSING, ids=[f"{code}-{i}" for i, (code, *_) in enumerate(MISSING)])
def test_what_has_no_number_is_not_measured_and_says_why(code: str, changes: dict[str, Any], says: str) -> None:
    found = row(code, **changes)
    assert found["word"] == NOT_MEASURED and says in found["finding"] and math.isnan(found["value"])


def test_of_two_sets_of_prompts_that_one_decides_whose_bound_is_the_worse() -> None:
    """Each time the other one has the worse value."""
    tasks = prompts({"prompts": "sure", "kept": 0.4, "high": 0.45, "lost": 0.4, "lost_high": 0.41},
                    {"prompts": "unsure", "kept": 0.3, "high": 0.6, "lost": 0.3, "lost_high": 0.6})  # fmt: skip
    for code, name in (("C3", "kept"), ("E3", "lost")):
        found = row(code, other_tasks=tasks)
        assert (found["word"], found["value"], found["high"]) == (MISSED, 0.3, 0.6), name
        assert "unsure" in found["finding"]
    found = row("I3", graded=None, controls=tasks)
    assert (found["word"], found["value"]) == (MISSED, 0.3)
    splits = prompts({"prompts": "sure", "kept": 0.6, "low": 0.55}, {"prompts": "unsure", "kept": 0.8, "low": 0.2})
    found = row("E5", other_splits=splits)
    assert (found["word"], found["value"], found["low"]) == (MISSED, 0.8, 0.2)


def test_prompts_without_a_number_are_left_out_if_others_have_one() -> None:
    two = prompts({"prompts": "few", "low": nan, "reason": "too few"}, {"prompts": "many", "low": 0.6})
    assert row("E5", other_splits=two)["word"] == MET


def test_of_ablations_the_second_best_by_its_bound_is_told() -> None:
    result = ablations(0.9, 0.3, 0.1)
    result.table["without"] = [0.0, 0.25, 0.05]  # the first looks best, and may be anything
    found = row("I1", necessity=result)
    assert (found["word"], found["value"], found["high"]) == (MET, 0.25, 0.3)
    assert row("I1", necessity=ablations(0.1))["word"] == NOT_MEASURED  # a single one


def test_a_gap_that_is_large_and_unsure_supports_nothing() -> None:
    """Values on the right side of every threshold, with bounds on the wrong one."""
    assert row("I2", faithfulness=judged(faithfulness=0.9, low=0.4))["word"] == MISSED
    assert row("M6", on_target=prompts({"kept": 0.9, "low": 0.4}))["word"] == MISSED
    assert row("E1", graded=doses(reached=Share(0.8, 0.4, 0.9, 5, 4)))["word"] == MISSED
    assert row("C3", other_tasks=prompts({"kept": 0.1, "high": 0.7}))["word"] == MISSED


def test_predicted_edges_are_tested_against_chance() -> None:
    found = row("C1", predicted=NAMES[2:5])
    p = float(hypergeom.sf(2, 20, 5, 3))
    assert p < 0.05 < float(hypergeom.sf(1, 20, 5, 3)) and f"p = {p:.3g}" in found["finding"]
    assert (found["value"], found["n"], found["unit"]) == (1.0, 3, "edges")
    assert row("C1", predicted=NAMES[3:6])["value"] == pytest.approx(2 / 3)


def test_beyond_random_vectors_is_newcombes_interval_over_units() -> None:
    found = row("M3", graded=doses(moved=0.6, random=0.35))
    assert found["value"] == pytest.approx(0.25) and found["n"] == 60
    assert (found["low"], found["high"]) == pytest.approx(newcombe_interval(0.6, 0.35, 40))


def test_agreement_over_trainings_is_not_asked_of_a_circuit_without_any() -> None:
    found = row("I4", replicates=[], reliability=None)
    assert (found["word"], found["value"], found["n"]) == (MET, 0.8, 3)
    assert row("I4", replicates=[0.75, 0.72])["value"] == 0.72 and row("I4", replicates=[0.75, 0.72])["n"] == 6


def test_makers_give_the_entry_that_they_are_named_for() -> None:
    assert all(make(evidence()).code == code and code in CRITERIA for code, make in MAKERS.items())
