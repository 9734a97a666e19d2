"""Every arm at every phase, against plain counts; accuracy by exposure, against plain loops; inside further trainings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from explained import assert_explained

from grokscope.analyses import logit_lens, realign
from grokscope.analyses.claims.regimes import compare_regimes
from grokscope.analyses.claims.transfer_evidence import transfer_evidence
from grokscope.analyses.training.exposure import accuracy_by_exposure
from grokscope.tasks import (
    CELLS,
    NewFacts,
    Run,
    Study,
    Supervision,
    TrainConfig,
    exact_match,
    load_study,
    predictions,
    shortcut_accuracy,
    train,
)
from grokscope.tasks.runs.shipping import copy_run


@pytest.mark.slow
def test_a_circuit_without_accuracy_and_neither_are_told_apart(lines: Callable[[], list[str]]) -> None:
    """First hop at step 1,000 uses bridges of OOD facts and answers no OOD+OOD question; untied models do neither."""
    pilot = load_study("pilot")
    result = compare_regimes(Study(pilot.folder, {name: pilot.runs[name] for name in ("first_hop", "untied")}))
    said = lines()
    n = len(result.table.drop_duplicates(["run", "step"]))
    assert all(line.startswith("opening checkpoints: ") for line in said) and f": {n} of {n} in" in said[-1]
    table = result.table.set_index(["arm", "phase"])
    early, end = table.loc[("first_hop", "before")], table.loc[("first_hop", "final")]
    assert early["used"] == "yes" and early["exact_match"] < 0.1 and early["low"] > 0.5 and early["n_facts"] >= 20
    assert end["used"] == "yes" and end["exact_match"] > 0.9
    untied = table.loc[("untied", "final")]
    assert untied["used"] == "undecided" and np.isnan(untied["bridge_effect"]) and untied["exact_match"] < 0.1
    run = pilot.runs["first_hop"]
    questions, model = run.task.split("test_inferred_ood"), run.checkpoint(int(early["step"])).model()
    queries = logit_lens(model, questions).queries
    assert early["found_any"] == sum(queries["bridge"]) / len(queries)
    alone = [right and not found for right, found in zip(queries["correct"], queries["bridge"], strict=True)]
    assert early["correct_not_found"] == sum(alone) / len(alone)
    assert early["floor"] == max(shortcut_accuracy(run.task, questions).values())
    assert result.summary.set_index(["arm", "phase"]).loc[("first_hop", "before"), "used"] == 1 and result.figure()
    assert type(result).from_json(result.to_json()).caption == result.caption
    assert_explained(result)
    used = (result.table["used"] == "yes").sum()
    assert f"The bridge is used in {used} of {len(result.table)} rows" in result.explain().means


def test_exposure_counts_are_those_of_a_plain_loop(tiny_run: Run) -> None:
    task = tiny_run.task.with_supervision(Supervision(hop2_share=0.5, hop2_compositions=3))
    model, questions = tiny_run.checkpoint("final").model(), task.split("test_inferred_ood")
    answers = predictions(model, questions.tokens, questions.answer_position)
    trained = [*map(tuple, task.trained.tolist()), *map(tuple, task.added.tolist())]
    table = accuracy_by_exposure(model, task, questions).table.set_index(["hop", "exposure"])
    for hop, facts in ((1, questions.hop1.tolist()), (2, questions.hop2.tolist())):
        right: dict[int, list[bool]] = {}
        seen: dict[int, set[int]] = {}
        for fact, answer, wanted in zip(facts, answers.tolist(), questions.answers.tolist(), strict=True):
            times = sum(row[hop - 1] == fact for row in trained)
            right.setdefault(times, []).append(answer == wanted)
            seen.setdefault(times, set()).add(fact)
        assert set(right) == set(table.loc[hop].index)
        for times, each in right.items():
            row = table.loc[(hop, times)]
            assert row["accuracy"] == sum(each) / len(each) and row["n"] == len(each) and row["n_facts"] == len(seen[times])
    assert {0, 3} >= set(table.loc[2].index) and 0 in table.loc[1].index
    with pytest.raises(ValueError, match=r"holds .* questions, some atomic"):
        accuracy_by_exposure(model, task, task.split("id_atomic"))


def test_inside_further_trainings_are_the_models_own_answers(tiny_run: Run, tmp_path: Path) -> None:
    new = NewFacts.random(tiny_run.task, n=20, seed=0)
    config = TrainConfig.tiny(max_steps=60, evaluate_every=20)
    train(
        new.task,
        tiny_run.model_config,
        config,
        tmp_path / "grokked-g0",
        initial=tiny_run.checkpoint("final"),
        progress=False,
    )
    study = load_study(tmp_path)
    result = transfer_evidence(study, n_questions=40)
    table, model = (
        {row["cell"]: row for row in result.table.to_dict("records")},
        study.runs["grokked-g0"].checkpoint("final").model(),
    )
    for cell, split in CELLS.items():
        questions = new.task.split(split)
        row = table[cell]
        assert row["accuracy"] == pytest.approx(float(exact_match(model, questions).double().mean()))
        forms = realign(model, new.task, questions).table.query("form == 'embedding' and layer >= 0 and entity == 'read'")
        assert row["realigned"] == forms["accuracy"].max() and row["n"] == len(questions)
    assert result.figure() and result.caption == "1 further training on 1 graph"
    assert_explained(result)
    assert f"The largest gain is {result.table['gain'].max():.2f}" in result.explain().means
    copy_run(study.runs["grokked-g0"], tmp_path / "without" / "grokked-g0", steps=[])
    with pytest.raises(ValueError, match="holds no run with weights"):
        transfer_evidence(load_study(tmp_path / "without"))


def test_empty_studies_are_refused(tmp_path: Path) -> None:
    for analyse in (compare_regimes, transfer_evidence):
        with pytest.raises(ValueError, match="holds no run"):
            analyse(Study(tmp_path, {}))
