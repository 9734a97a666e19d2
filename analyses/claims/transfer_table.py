"""How further trainings learned new facts: accuracy in each cell of old and new facts, next to the floor of shortcuts."""

from typing import Any

import numpy as np
import pandas as pd

from ...tasks import CELLS, Run, Study, shortcut_accuracy, two_hop
from ..training.growth import onset

REACHED = 0.9


def transfer_table(study: Study) -> pd.DataFrame:
    """One row per fine-tuning run and cell of `CELLS`.

    Args:
        study: of runs on `NewFacts(...).task`, named by origin, `grokked-g1`; with doses of exposure `grokked_m5-g1`; on
            `published_new_facts(...).task` with the reading, `grokked_items-g1`.

    Returns:
        Columns run, arm (the origin; of published recipes with the reading), recipe (`balanced` if all old facts
        are still trained, else `published`), exposure, seed, replicate (0 is the first training), cell;
        exact_match at the last step, floor (best shortcut) and floor_r2 (last relation alone), on all n questions;
        excess, exact_match − floor; area under the curve of exact match, as a mean over training;
        to_90: first of three evaluations at .9 on the reported half, which selects no step (NaN: never);
        remembered: exact match on the new facts themselves;
        forgotten: how far accuracy on old ID questions ever fell below 1 (0 for random weights, which knew none).

    Raises:
        ValueError: if the study lacks `random` or `grokked` runs.
    """
    arms = set(study.summary["arm"])
    if lacking := {"random", "grokked"} - arms:
        there = ", ".join(sorted(arms))
        raise ValueError(f"{study.folder} has no runs from {', '.join(sorted(lacking))}; its arms are {there}")
    rows = []
    for name, arm, seed, replicate in study.summary[["run", "arm", "seed", "replicate"]].itertuples(index=False):
        run = study.runs[name]
        task = two_hop(run.task)
        exposure = task.supervision.hop2_compositions if task.supervision else 0
        recipe = "balanced" if task.is_atomic is None else "published"
        about = {"run": name, "arm": arm.removesuffix(f"_m{exposure}"), "recipe": recipe}
        about |= {"exposure": exposure, "seed": seed, "replicate": replicate}
        rows += [{**about, **_cell(run, cell, split)} for cell, split in CELLS.items()]
    return pd.DataFrame(rows)


def _cell(run: Run, cell: str, split: str) -> dict[str, Any]:
    questions = run.task.split(split)
    shortcuts = shortcut_accuracy(run.task, questions)
    accuracy, old = _whole(run, split), _whole(run, "test_inferred_iid")
    floor = max(shortcuts.values())
    return {
        "cell": cell,
        "exact_match": accuracy[-1],
        "floor": floor,
        "floor_r2": shortcuts["r2"],
        "excess": accuracy[-1] - floor,
        "area": float(np.mean(accuracy)),
        "to_90": onset(run, split, REACHED),
        "remembered": _whole(run, "ood_atomic")[-1],
        "forgotten": 1.0 - float(np.min(old)) if run.initial else 0.0,
        "n": len(questions),
    }


def _whole(run: Run, split: str) -> np.ndarray:
    """Exact match on all questions of a split at every evaluation: both halves, since nothing is chosen on one of them."""
    n = len(run.task.split(split))
    reported = n // 2
    halves = run.metrics[split].to_numpy() * reported, run.metrics[f"select_{split}"].to_numpy() * (n - reported)
    return (halves[0] + halves[1]) / n
