"""The moments of token-mixing networks, on runs whose accuracies are made up."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses.claims.shared_steps import arms_at_shared_steps, early_step, late_step
from grokscope.analyses.claims.specimens import arm_checkpoints, mixes_tokens
from grokscope.tasks import SPLITS, Run, Study, TrainConfig
from grokscope.tasks.runs.folder import checkpoint_name

EVERY = range(100, 2001, 100)
SAVED = (100, 500, 1000, 1300, 1600, 2000)


def made_up(run: Run, name: str, reaches: Mapping[str, int], *, seed: int = 1, saved: tuple[int, ...] = SAVED) -> Run:
    """A run that answers nothing of a split before a step and half or more from it on; `ID` and `OOD` say when."""
    steps = np.array(EVERY)
    metrics = pd.DataFrame({"step": steps, "train": 1.0, "select_train": 1.0, **dict.fromkeys(SPLITS, 0.0)})
    for split, short in (("test_inferred_iid", "ID"), ("test_inferred_ood", "OOD")):
        metrics[split] = metrics[f"select_{split}"] = np.where(steps >= reaches.get(short, 10**6), 1.0, 0.1)
    if "half" in reaches:
        metrics.loc[metrics["step"] >= reaches["half"], "select_test_inferred_ood"] = 0.5
    entry = next(iter(run.manifest.files.values()))
    manifest = dataclasses.replace(run.manifest, files={checkpoint_name(step): entry for step in saved})
    task = dataclasses.replace(run.task, seed=seed)
    return dataclasses.replace(run, folder=Path(name), task=task, metrics=metrics, manifest=manifest)


@pytest.fixture(autouse=True)
def saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What trainings save beside phases, whatever a copy still has."""
    monkeypatch.setattr(TrainConfig, "checkpoint_steps", property(lambda _: set(SAVED)))


def study(tiny_run: Run, *, half: int = 1600, again: int = 10**6, taught: int = 400, ID: int = 300) -> Study:
    runs = [
        made_up(tiny_run, "natural-g1-r0", {"ID": ID, "half": half}),
        made_up(tiny_run, "natural-g1-r1", {"ID": min(ID, 200), "half": again}),
        made_up(tiny_run, "both_hops-g1-r0", {"ID": 300, "OOD": taught}),
        made_up(tiny_run, "second_hop-g1-r0", {"ID": 1900, "OOD": 1900}, saved=(100,)),
    ]
    return Study(Path("made-up"), {run.name: run for run in runs})


@pytest.mark.parametrize(
    ("changes", "early", "late"),
    [
        ({}, 500, 1300),  # both hops answers from 400 on; natural answers half at 1,600
        ({"half": 10**6}, 500, 2000),
        ({"again": 1300}, 500, None),  # no natural training may: 1,000 is too early for 2.5 times 500
        ({"half": 900}, 500, None),
        ({"half": 500}, None, None),  # natural answers before both hops does at a saved step
        ({"taught": 500}, 500, 1300),
        ({"taught": 600}, 1000, None),  # 2,500 is never reached
        ({"taught": 100, "ID": 100}, 100, 1300),
        ({"taught": 10**6}, None, None),  # both hops never gets there
    ],
)
def test_the_first_and_the_last_saved_step_that_all_share(
    tiny_run: Run, changes: dict[str, int], early: int | None, late: int | None
) -> None:
    found = study(tiny_run, **changes)
    assert (early_step(found, 1), late_step(found, 1)) == (early, late)


def test_all_arms_of_a_graph_are_of_one_age(tiny_run: Run) -> None:
    found = study(tiny_run)
    checkpoints = arm_checkpoints(found, arms_at_shared_steps(found))[1]
    assert {name: each.step for name, each in checkpoints.items()} == {
        "early": 500, "early again": 500, "early taught": 500,
        "late": 1300, "late again": 1300, "late taught": 1300,
    }  # fmt: skip
    assert not mixes_tokens(found)


def test_weights_that_were_not_kept_move_no_moment(tiny_run: Run) -> None:
    reaches = {"natural": {"ID": 300, "half": 1600}, "both_hops": {"ID": 300, "OOD": 400}}
    names = [f"{arm}-g1-r{replicate}" for arm in reaches for replicate in (0, 1)]
    runs = {name: made_up(tiny_run, name, reaches[name.partition("-")[0]], saved=(1300,)) for name in names}
    thinned = Study(Path("thinned"), runs)
    assert (early_step(thinned, 1), late_step(thinned, 1)) == (500, 1300)
    kept = arm_checkpoints(thinned, arms_at_shared_steps(thinned))[1]
    assert kept.keys() == {"late", "late again", "late taught", "late taught again"}
