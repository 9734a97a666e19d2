"""Claim (iii): even a mature circuit transfers poorly to new facts.

He et al. 2026 (arXiv 2601.09049, section 5) train models further on new facts and ask for compositions with old ones, in
cells of 16 to 36 questions, against a floor of about .6 that the last relation alone gives. Here old and new facts have been
composed alike (`tasks.NewFacts`), every origin has the same data, steps and learning rate, random weights included, and only
what goes beyond the best shortcut counts. The unit is the graph. Rules: docs/preregistration.md.
"""

from typing import Any

import numpy as np
import pandas as pd

from ...tasks import CELLS, Run, Study, shortcut_accuracy
from ..training.growth import onset
from .rules import CONTRADICTED, SUPPORTED, UNDECIDED, ClaimResult, bounds_row, check, in_table, row

CLAIM = "little transfer to new facts"
MIN_QUESTIONS = 200
LITTLE, MUCH = 0.2, 0.5  # exact match beyond the best shortcut, or its gain over random weights
FORGOTTEN_LITTLE, FORGOTTEN_MUCH = 0.1, 0.5  # fall of accuracy on old ID questions
AREA_ALIKE, AREA_MORE = 0.05, 0.2
REACHED = 0.9


def transfer_table(study: Study) -> pd.DataFrame:
    """What each further training came to: a row for each run and cell of `CELLS`.

    Args:
        study: of runs on `NewFacts(...).task`, named by origin, `grokked-g1`; with doses of exposure `grokked_m5-g1`; on
            `published_new_facts(...).task` with the reading, `grokked_items-g1`.

    Returns:
        Columns run, arm (the origin; where the recipe is published with its reading), recipe (`balanced` if all old facts
        are still trained, else `published`), exposure, seed, cell;
        exact_match at the last step, floor (best shortcut) and floor_r2 (last relation alone), on all n questions;
        excess, exact_match − floor; area under the curve of exact match, as a mean over training;
        to_90: first of three evaluations at .9 (NaN: never); remembered: exact match on the new facts themselves;
        forgotten: how far accuracy on old ID questions ever fell below 1 (0 for random weights, which knew none).

    Raises:
        ValueError: if the study lacks `random` or `grokked` runs.
    """
    arms = set(study.summary["arm"])
    if lacking := {"random", "grokked"} - arms:
        there = ", ".join(sorted(arms))
        raise ValueError(f"{study.folder} has no runs from {', '.join(sorted(lacking))}; its arms are {there}")
    rows = []
    for name, arm, seed in study.summary[["run", "arm", "seed"]].itertuples(index=False):
        run = study.runs[name]
        exposure = run.task.supervision.hop2_compositions if run.task.supervision else 0
        recipe = "balanced" if run.task.is_atomic is None else "published"
        about = {"run": name, "arm": arm.removesuffix(f"_m{exposure}"), "recipe": recipe}
        about |= {"exposure": exposure, "seed": seed}
        rows += [{**about, **_cell(run, cell, split)} for cell, split in CELLS.items()]
    return pd.DataFrame(rows)


def transfer_of_new_facts(study: Study) -> ClaimResult:
    """Decide claim (iii) from the metrics of further trainings on new facts.

    Args:
        study: see `transfer_table`.

    Raises:
        ValueError: if it lacks `random` or `grokked` runs.
    """
    return decide_transfer(transfer_table(study))


def decide_transfer(table: pd.DataFrame) -> ClaimResult:
    """Claim (iii) from a `transfer_table`."""
    doses = table[(table["arm"] == "grokked") & (table["exposure"] > 0) & (table["cell"] == "old+new")]
    published = table[(table["recipe"] == "published") & (table["cell"] != "new+new")]
    table = table[(table["exposure"] == 0) & (table["recipe"] == "balanced")]
    gain = _by_seed(table, "excess", "grokked") - _by_seed(table, "excess", "random")
    main = [
        _bounded(f"grokked − random beyond shortcuts, {cell}", cell, gain[cell].dropna(), LITTLE, MUCH)
        for cell in ("old+new", "new+new")
    ]
    area = _by_seed(table, "area", "grokked") - _by_seed(table, "area", "random")
    grokked = table[table["arm"] == "grokked"]
    falsifiers = [
        _bounded("F1 grokked beyond shortcuts at the end", "old+new", _of(grokked, "excess", "old+new"), LITTLE, MUCH),
        _forgetting(_of(grokked, "forgotten", "old+new")),
        _over_r2(grokked),
        _bounded("F4 area under the curve, grokked − random", "old+new", area["old+new"].dropna(), AREA_ALIKE, AREA_MORE),
    ]
    decisive, against = in_table(main), in_table(falsifiers)
    enough = bool((table["n"] >= MIN_QUESTIONS).all())
    verdict = _verdict(decisive, against) if enough else UNDECIDED
    beside = [
        _beside(f"grokked, each new fact in {exposure} trained compositions", "old+new", rows["excess"])
        for exposure, rows in doses.groupby("exposure")
    ]
    beside += [
        _beside(_published_name(str(arm), str(cell)), str(cell), rows["excess"])
        for (arm, cell), rows in published.groupby(["arm", "cell"])
    ]
    shown = in_table(main + beside)
    return ClaimResult(shown, against, _checks(table), CLAIM, verdict, _sentence(table, verdict), WOULD_CHANGE)


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
        "to_90": onset(run, f"select_{split}", REACHED),
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


def _by_seed(table: pd.DataFrame, column: str, arm: str) -> pd.DataFrame:
    """A row for each graph, a column for each cell."""
    return table[table["arm"] == arm].pivot(index="seed", columns="cell", values=column)


def _of(rows: pd.DataFrame, column: str, cell: str) -> pd.Series:
    return rows.loc[rows["cell"] == cell, column]


def _bounded(quantity: str, split: str, values: pd.Series, little: float, much: float) -> dict[str, Any]:
    """Supports if surely little, contradicts if surely much: one-sided 95 % bounds over graphs."""
    rule = (
        f"supports if the upper bound is below {little}, contradicts if the lower is above {much}; Student's t over graphs"
    )

    def says(low: float, high: float) -> str:
        return SUPPORTED if high < little else CONTRADICTED if low > much else UNDECIDED

    return bounds_row(quantity, split, values, rule, says)


def _published_name(arm: str, cell: str) -> str:
    origin, _, reading = arm.rpartition("_")
    return f"{origin}, published recipe ({reading}), {cell}"


def _beside(quantity: str, cell: str, excess: pd.Series) -> dict[str, Any]:
    """What other exposure brings at the end; decides nothing."""
    rule = "beside: exact match beyond shortcuts; one-sided 95 % bounds, Student's t over graphs"
    return bounds_row(quantity, cell, excess, rule)


def _forgetting(falls: pd.Series) -> dict[str, Any]:
    """F2: forgetting is no falsifier but an excuse; a large one leaves the claim open."""
    rule = f"below {FORGOTTEN_LITTLE} it is not the reason; from {FORGOTTEN_MUCH} on nothing is decided"
    worst = float(falls.max()) if len(falls) else float("nan")
    says = SUPPORTED if worst < FORGOTTEN_LITTLE else UNDECIDED
    about = {"value": worst, "low": float(falls.min()) if len(falls) else worst, "high": worst, "n": len(falls)}
    return row("F2 largest fall on old ID questions, grokked", "test_inferred_iid", says, rule, unit="graphs", **about)


def _over_r2(grokked: pd.DataFrame) -> dict[str, Any]:
    """F3: what looks like transfer of new first hops may be the last relation alone."""
    rows = grokked[grokked["cell"] == "new+old"]
    excess = rows["exact_match"] - rows["floor_r2"]
    quantity, rule = (
        "F3 grokked beyond the last relation's majority",
        "contradicts (the transfer is a shortcut) if not above 0",
    )

    def says(low: float, high: float) -> str:
        return SUPPORTED if low > 0 else CONTRADICTED if high <= 0 else UNDECIDED

    return bounds_row(quantity, "new+old", excess, rule, says)


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame) -> str:
    """Supported if both cells are and nothing contradicts; large forgetting leaves it open."""
    forgotten = falsifiers.loc[falsifiers["quantity"].str.startswith("F2"), "value"].max()
    says = table["says"].tolist()
    against = falsifiers.loc[~falsifiers["quantity"].str.startswith("F3"), "says"].tolist()
    if CONTRADICTED in says + against:
        return CONTRADICTED
    return SUPPORTED if set(says) == {SUPPORTED} and forgotten < FORGOTTEN_MUCH else UNDECIDED


def _checks(table: pd.DataFrame) -> pd.DataFrame:
    remembered = table.groupby("arm")["remembered"].min().round(2).to_dict()
    return pd.DataFrame(
        [
            check("questions in every cell", bool((table["n"] >= MIN_QUESTIONS).all()), f"at least {table['n'].min()}"),
            check("new facts are learned", min(remembered.values()) > REACHED, f"least exact match by origin: {remembered}"),
            check("shortcuts are taken off", True, f"best shortcut up to {table['floor'].max():.2f}"),
            check("same steps and data from random weights", True, f"{table['run'].nunique()} runs"),
        ]
    )


def _sentence(table: pd.DataFrame, verdict: str) -> str:
    word = {SUPPORTED: "transfers little", CONTRADICTED: "does transfer", UNDECIDED: "may or may not transfer"}[verdict]
    means = table[table["arm"] == "grokked"].groupby("cell")["exact_match"].mean()
    random = table[table["arm"] == "random"].groupby("cell")["exact_match"].mean()
    cells = ", ".join(f"{cell} {means[cell]:.2f} (random {random[cell]:.2f})" for cell in CELLS)
    return f"A grokked circuit {word} to new facts: exact match {cells}, n = {table['seed'].nunique()} graphs."


WOULD_CHANGE = (
    "New facts as second hops answered beyond shortcuts in less than a fifth of the questions, on at least three graphs, "
    "would support it; in more than half of them, more than from random weights, contradict it."
)
