"""Claim (iii): decisions on made-up tables, and the table itself against the models' own answers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses import transfer_of_new_facts
from grokscope.analyses.claims.transfer import decide_transfer
from grokscope.analyses.claims.transfer_table import transfer_table
from grokscope.tasks import (
    CELLS,
    NewFacts,
    Run,
    TrainConfig,
    exact_match,
    load_study,
    published_new_facts,
    shortcut_accuracy,
    train,
)


def table(
    excess: dict[str, float],
    *,
    random: float = 0.0,
    forgotten: float = 0.01,
    n_graphs: int = 3,
    n: int = 250,
    seed: int = 0,
    spread: float = 0.01,
) -> pd.DataFrame:
    """Grokked transfers so much in each cell beyond shortcuts, random weights so much in all."""
    rng = np.random.default_rng(seed)
    rows = []
    for graph in range(1, n_graphs + 1):
        for arm in ("grokked", "random"):
            for cell in CELLS:
                value = (excess.get(cell, 0.0) if arm == "grokked" else random) + rng.normal(scale=spread)
                row = {"run": f"{arm}-g{graph}", "arm": arm, "recipe": "balanced", "exposure": 0}
                row |= {"seed": graph, "cell": cell}
                row |= {"exact_match": 0.1 + value, "floor": 0.1, "floor_r2": 0.05, "excess": value, "area": value / 2}
                row |= {"to_90": float("nan"), "remembered": 1.0, "forgotten": forgotten, "n": n}
                rows.append(row)
    return pd.DataFrame(rows)


def test_little_transfer_of_second_hops_supports_the_claim_whatever_first_hops_do() -> None:
    result = decide_transfer(table({"new+old": 0.8}))
    assert result.verdict == "supported" and set(result.table["says"]) == {"supported"}
    assert result.checks["passed"].all() and "new+old 0.9" in result.sentence and result.figure()


def test_much_transfer_contradicts_it_and_some_leaves_it_open() -> None:
    assert decide_transfer(table({"old+new": 0.8, "new+new": 0.7})).verdict == "contradicted"
    assert decide_transfer(table({"old+new": 0.35, "new+new": 0.35})).verdict == "undecided"
    assert decide_transfer(table({"old+new": 0.8})).verdict == "contradicted"


def test_what_random_weights_reach_too_is_no_transfer() -> None:
    result = decide_transfer(table({"old+new": 0.8, "new+new": 0.8}, random=0.8))
    assert result.table["says"].tolist() == ["supported"] * 2
    assert result.verdict == "contradicted"  # F1: the circuit answers them, whatever else would
    says = result.falsifiers.set_index("key")["says"]
    assert says["f1"] == "contradicted" and says["f4"] == "supported"


def test_forgetting_leaves_it_open() -> None:
    assert decide_transfer(table({}, forgotten=0.6)).verdict == "undecided"
    assert decide_transfer(table({}, forgotten=0.5)).verdict == "undecided"  # from this value on
    assert decide_transfer(table({}, forgotten=0.49)).verdict == "supported"


def test_a_transfer_of_first_hops_that_is_the_last_relations_is_said_so() -> None:
    shortcut = table({"new+old": 0.0}).assign(floor_r2=0.3)
    result = decide_transfer(shortcut)
    (row,) = result.falsifiers[result.falsifiers["key"] == "f3"].to_dict("records")
    assert (row["says"], row["role"]) == ("contradicted", "beside") and result.verdict == "supported"


def test_exposure_is_exploratory() -> None:
    little = table({"new+old": 0.8})
    dose = table({"old+new": 0.9, "new+new": 0.9}).query("arm == 'grokked'").assign(exposure=5)
    result = decide_transfer(pd.concat([little, dose], ignore_index=True))
    assert result.verdict == "supported" and result.table["says"].tolist() == ["supported"] * 2 + [""]
    (row,) = result.table[result.table["key"] == "dose.5"].to_dict("records")
    assert row["value"] == pytest.approx(0.9, abs=0.02) and "in 5 trained compositions" in row["quantity"]
    assert result.table["role"].tolist() == ["main", "main", "beside"]


def test_the_published_recipe_is_exploratory_whatever_its_number_of_questions() -> None:
    little = table({"new+old": 0.8})
    theirs = table({"new+old": 0.6}, n=20).assign(recipe="published")
    theirs["arm"] += "_items"
    result = decide_transfer(pd.concat([little, theirs], ignore_index=True))
    exploratory = result.table[result.table["role"] == "beside"]
    shown = exploratory.set_index("quantity")["value"]
    assert result.verdict == "supported" and result.checks["passed"].all()
    assert exploratory["key"].tolist()[:2] == ["published.grokked_items.new+old", "published.grokked_items.old+new"]
    assert list(shown.index) == [
        f"{arm}, published recipe (items), {cell}" for arm in ("grokked", "random") for cell in ("new+old", "old+new")
    ]
    assert shown.tolist() == pytest.approx([0.6, 0.0, 0.0, 0.0], abs=0.02)


def test_two_graphs_or_few_questions_are_too_little() -> None:
    assert decide_transfer(table({}, n_graphs=2)).verdict == "undecided"
    checks = decide_transfer(table({}, n=40)).checks.set_index("check")["passed"]
    assert not checks["questions in every cell"]
    assert decide_transfer(table({"old+new": 0.9, "new+new": 0.9}, n=10)).verdict == "undecided"


def test_excess_over_no_shortcut_and_origins_with_other_questions_fail_their_checks() -> None:
    good = table({"new+old": 0.8})
    failed = {
        "the best shortcut is subtracted": (good.assign(excess=good["exact_match"]), good.assign(floor_r2=0.2)),
        "all origins have the same questions and shortcuts": (
            good.assign(n=good["n"] + (good["arm"] == "random")),
            good.assign(floor=good["floor"] + 0.01 * (good["run"] == "random-g1")),
        ),
    }
    assert decide_transfer(good).checks["passed"].all()
    for name, planted in failed.items():
        for each in planted:
            assert not decide_transfer(each).checks.set_index("check")["passed"][name]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "excess, random, verdict",
    [
        ({"new+old": 0.8}, 0.0, "supported"),  # first hops transfer, second hops do not
        ({"new+old": 0.8, "old+new": 0.8, "new+new": 0.7}, 0.0, "contradicted"),
        (
            {"new+old": 0.05, "old+new": 0.05, "new+new": 0.05},
            0.05,
            "supported",
        ),  # what looks like transfer is no more than that
        ({"old+new": 0.35, "new+new": 0.35}, 0.0, "undecided"),
    ],
)
def test_the_right_verdict_in_every_planted_case(excess: dict[str, float], random: float, verdict: str, seed: int) -> None:
    assert decide_transfer(table(excess, random=random, seed=seed, spread=0.03)).verdict == verdict


@pytest.mark.slow
def test_false_verdicts_are_rare_at_the_edge_of_little_and_between_little_and_much() -> None:
    """200 draws of three graphs: the share's upper 95 % bound is below .05 up to four of them."""
    edge, between = dict.fromkeys(CELLS, 0.2), dict.fromkeys(CELLS, 0.35)
    draws = range(200)
    assert sum(decide_transfer(table(edge, seed=s, spread=0.05)).verdict == "supported" for s in draws) <= 4
    assert sum(decide_transfer(table(between, seed=s, spread=0.05)).verdict != "undecided" for s in draws) <= 4


def test_the_table_holds_what_the_models_answer(tiny_run: Run, tmp_path: Path) -> None:
    new = NewFacts.random(tiny_run.task, n=20, seed=0)
    config = TrainConfig.tiny(max_steps=60, evaluate_every=20)
    for name, initial in (("grokked-g0", tiny_run.checkpoint("final")), ("random-g0", None)):
        train(new.task, tiny_run.model_config, config, tmp_path / name, initial=initial, progress=False)
    study = load_study(tmp_path)
    found = transfer_table(study).set_index(["arm", "cell"])
    for arm in ("grokked", "random"):
        model = study.runs[f"{arm}-g0"].checkpoint("final").model()
        for cell in CELLS:
            questions, row = new.questions(cell), found.loc[(arm, cell)]
            assert row["exact_match"] == pytest.approx(float(exact_match(model, questions).double().mean()), abs=1e-9)
            assert row["floor"] == max(shortcut_accuracy(new.task, questions).values()) and row["n"] == len(questions)
    assert found.loc[("random", "old+new"), "forgotten"] == 0 < found.loc[("grokked", "old+new"), "forgotten"]
    metrics, n = study.runs["grokked-g0"].metrics, len(new.task.split("test_inferred_iid"))
    right = metrics["test_inferred_iid"] * (n // 2) + metrics["select_test_inferred_iid"] * (n - n // 2)
    assert found.loc[("grokked", "old+new"), "forgotten"] == pytest.approx(1 - right.min() / n)
    assert transfer_of_new_facts(study).verdict == "undecided"


def test_a_study_without_the_origins_is_refused() -> None:
    with pytest.raises(ValueError, match="has no runs from grokked, random; its arms are both_hops"):
        transfer_of_new_facts(load_study("pilot"))


def test_doses_and_recipes_are_told_by_the_task_not_by_the_name_alone(tiny_run: Run, tmp_path: Path) -> None:
    config = TrainConfig.tiny(max_steps=2, evaluate_every=1)
    recipes = {f"grokked{f'_m{m}' * (m > 0)}-g0": NewFacts.random(tiny_run.task, n=20, exposure=m, seed=0) for m in (0, 2)}
    recipes |= {"random-g0": recipes["grokked-g0"], "grokked_items-g0": published_new_facts(tiny_run.task, n=20)}
    for name, new in recipes.items():
        train(new.task, tiny_run.model_config, config, tmp_path / name, progress=False)
    found = transfer_table(load_study(tmp_path)).drop_duplicates("run").set_index("run")
    arms = {"grokked-g0": "grokked", "grokked_items-g0": "grokked_items", "grokked_m2-g0": "grokked", "random-g0": "random"}
    assert found["arm"].to_dict() == arms
    assert found["exposure"].to_dict() == dict.fromkeys(arms, 0) | {"grokked_m2-g0": 2}
    assert found["recipe"].to_dict() == dict.fromkeys(arms, "balanced") | {"grokked_items-g0": "published"}
