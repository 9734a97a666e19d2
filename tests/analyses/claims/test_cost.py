"""What waiting costs, on runs whose accuracies are made up."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explained import assert_explained

from grokscope.analyses import cost_of_waiting
from grokscope.analyses.training.growth import summarise_run
from grokscope.tasks import BOTH_HOPS, Run, Study
from grokscope.tasks.models.building import architecture_of


def made_up(run: Run, name: str, reaches: dict[float, int], *, seed: int, last: int = 1000) -> Run:
    """A run whose OOD+OOD accuracy jumps to each level at a step."""
    steps = np.arange(100, last + 1, 100)
    accuracy = np.zeros(len(steps))
    for level, step in reaches.items():
        accuracy[steps >= step] = level
    metrics = pd.DataFrame({"step": steps, "select_test_inferred_ood": 1.0})  # the half that chooses; not read here
    for split in ("test_inferred_iid", "test_inferred_ood", "test_inferred_ood_id", "test_inferred_id_ood"):
        metrics[split] = accuracy
    for column in ("train", "select_train", "select_test_inferred_iid"):
        metrics[column] = 1.0
    metrics["seconds"] = steps / 10
    task = dataclasses.replace(run.task, seed=seed)
    if name.startswith("both"):
        task = dataclasses.replace(run.task.with_supervision(BOTH_HOPS), seed=seed)
    return dataclasses.replace(run, folder=Path(name), task=task, metrics=metrics)


@pytest.fixture
def study(tiny_run: Run) -> Study:
    runs = [
        made_up(tiny_run, f"natural-g{seed}-r0", {0.6: early, 0.95: late}, seed=seed)
        for seed, (early, late) in enumerate([(200, 600), (300, 800), (400, 700)], start=1)
    ]
    runs += [made_up(tiny_run, "natural-g1-r1", {0.6: 900}, seed=1), made_up(tiny_run, "both-g1-r0", {0.95: 100}, seed=1)]
    runs += [made_up(tiny_run, f"slow-g{seed}-r0", {0.6: 700} if seed == 1 else {}, seed=seed) for seed in (1, 2, 3)]
    return Study(Path("made-up"), {run.name: run for run in runs})


def test_steps_flops_and_added_compositions_are_those_of_the_runs(study: Study, tiny_run: Run) -> None:
    found = cost_of_waiting(study)
    row = found.table[(found.table["run"] == "natural-g2-r0") & (found.table["level"] == 0.9)].iloc[0]
    assert (row["step"], row["added"], row["trained"]) == (800, 0, 1000)
    per_step = tiny_run.train_config.batch_size * architecture_of(tiny_run.model_config).flops_per_example(
        tiny_run.model_config, tiny_run.task
    )
    assert row["flops"] == 800 * per_step
    both = found.table[found.table["arm"] == "both"].iloc[0]
    assert both["added"] == len(tiny_run.task.with_supervision(BOTH_HOPS).added) > 0


def test_steps_are_read_on_the_half_that_chose_no_checkpoint(tiny_run: Run) -> None:
    run = made_up(tiny_run, "natural-g1-r0", {0.95: 700}, seed=1)
    assert run.phases["ood_generalised"] == 100, "phases keep choosing on the other half"
    assert set(cost_of_waiting(Study(Path("made-up"), {run.name: run})).table["step"]) == {700}
    assert set(summarise_run(run).table.query("milestone.str.startswith('OOD')")["step"]) == {700}


def test_the_median_is_over_graphs_and_what_never_came_counts_as_late(study: Study) -> None:
    summary = cost_of_waiting(study).summary.set_index(["arm", "level"])
    natural = summary.loc[("natural", 0.9)]
    assert natural[["reached", "n", "median", "low", "high", "coverage"]].tolist() == [3, 3, 700, 600, 800, 0.75]
    slow = summary.loc[("slow", 0.5)]
    assert (slow["reached"], slow["n"], slow["low"]) == (1, 3, 700) and np.isinf(slow["median"]) and np.isinf(slow["high"])
    sentence = cost_of_waiting(study).sentence
    assert "natural (+0) 700 [600, 800], 3 of 3 graphs" in sentence
    assert "slow (+0) not in all, 0 of 3 graphs" in sentence


def test_what_it_says_of_itself_is_what_it_holds(study: Study) -> None:
    result = cost_of_waiting(study)
    assert_explained(result)
    row = result.summary.query("arm == 'natural' and level == 0.9").iloc[0]
    assert f"{row['median']:,.0f} steps [{row['low']:,.0f}, {row['high']:,.0f}]" in result.explain().means


def test_runs_that_never_got_there_are_drawn_as_such(study: Study) -> None:
    figure = cost_of_waiting(study).figure()
    slow = [trace for trace in figure.data if trace.name == "slow"]
    assert list(slow[0].marker.symbol) == ["circle", "triangle-up-open", "triangle-up-open"]
    assert list(slow[1].y) == [1000, 1000, 1000]
    axis = figure.layout.xaxis
    assert (axis.tickvals[0], axis.ticktext[0]) == (0, "0") and len(set(slow[1].x)) == 1 and abs(slow[1].x[0]) < 0.2
    assert [figure.layout[name].type for name in ("yaxis", "yaxis2")] == ["log", "log"]
    assert figure.layout.yaxis2.matches == "y" and figure.layout.yaxis2.showticklabels
    lines = {(trace.line.color, trace.y[0]) for trace in figure.data if trace.mode == "lines" and trace.xaxis == "x2"}
    assert {height for _, height in lines} == {100, 700}, "medians over graphs, of arms that got there"


def test_bad_levels_and_further_trainings_are_refused_together(study: Study) -> None:
    run = dataclasses.replace(study.runs["natural-g1-r0"], initial="another, step 7")
    with pytest.raises(ValueError, match=r"got 0; .* got 1\.2; odd began with another, step 7"):
        cost_of_waiting(Study(Path("x"), {"odd": run}), levels=(0, 1.2))
    with pytest.raises(ValueError, match="holds no run"):
        cost_of_waiting(Study(Path("x"), {}))
