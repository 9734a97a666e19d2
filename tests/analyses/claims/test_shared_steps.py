"""The late moment of token-mixing networks, on runs whose accuracies are made up."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses.claims.late_step import late_arms, late_step
from grokscope.analyses.claims.specimens import arm_checkpoints, mixes_tokens
from grokscope.tasks import SPLITS, Run, Study
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


def study(tiny_run: Run, *, half: int = 1600, again: int = 10**6, taught: int = 400) -> Study:
    runs = [
        made_up(tiny_run, "natural-g1-r0", {"ID": 300, "half": half}),
        made_up(tiny_run, "natural-g1-r1", {"ID": 200, "half": again}),
        made_up(tiny_run, "both_hops-g1-r0", {"ID": 300, "OOD": taught}),
        made_up(tiny_run, "second_hop-g1-r0", {"ID": 1900, "OOD": 1900}, saved=(100,)),
    ]
    return Study(Path("made-up"), {run.name: run for run in runs})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 1300),  # natural answers half at 1,600
        ({"half": 10**6}, 2000),
        ({"again": 1300}, 1000),  # no natural training may
        ({"half": 900}, None),  # 1,000 is the first late enough: 2.5 × 400
        ({"taught": 500}, 1300),
        ({"taught": 600}, None),  # 1,500 is early for it, and at 1,600 natural answers
        ({"taught": 10**6}, None),  # both hops never gets there
    ],
)
def test_the_last_saved_step_before_natural_answers(tiny_run: Run, changes: dict[str, int], expected: int | None) -> None:
    assert late_step(study(tiny_run, **changes), 1) == expected


def test_both_arms_are_late_at_one_step(tiny_run: Run) -> None:
    found = study(tiny_run)
    checkpoints = arm_checkpoints(found, late_arms(found))[1]
    assert {name: each.step for name, each in checkpoints.items()} == {
        "late": 1300, "late again": 1300, "late taught": 1300,
    }  # fmt: skip
    assert not mixes_tokens(found)
