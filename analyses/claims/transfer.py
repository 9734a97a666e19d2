"""Claim (iii): even a mature circuit transfers poorly to new facts.

He et al. 2026 (arXiv 2601.09049, section 5) train models further on new facts and ask for compositions with old ones, in
cells of 16 to 36 questions, against a floor of about .6 that the last relation alone gives. Here old and new facts have been
composed alike (`tasks.NewFacts`), every origin has the same data, steps and learning rate, random weights included, and only
what goes beyond the best shortcut counts. The unit is the graph. Rules: docs/preregistration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ...circuits import Result
from ...tasks import CELLS, Study
from ..page import Report
from .claim import Claim, Inputs, Job, Jobs, show_result
from .rules import (
    CONTRADICTED,
    EXPLORATORY,
    SUPPORTED,
    UNDECIDED,
    ClaimResult,
    Row,
    bounds_row,
    check,
    of_role,
    rows_to_frame,
)
from .transfer_evidence import TransferEvidenceResult, measure_transfer, opened
from .transfer_table import REACHED, transfer_table

NAME = "little transfer to new facts"
MIN_QUESTIONS = 200
LITTLE, MUCH = 0.2, 0.5  # exact match beyond the best shortcut, or its gain over random weights
FORGOTTEN_LITTLE, FORGOTTEN_MUCH = 0.1, 0.5  # fall of accuracy on old ID questions
AREA_ALIKE, AREA_MORE = 0.05, 0.2


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
    balanced = table[(table["exposure"] == 0) & (table["recipe"] == "balanced")]
    shown = rows_to_frame(_gains(balanced) + _exposed(doses) + _by_published_recipe(published))
    against = rows_to_frame(_falsifiers(balanced))
    enough = bool((balanced["n"] >= MIN_QUESTIONS).all())
    verdict = _verdict(shown, against) if enough else UNDECIDED
    return ClaimResult(shown, against, _checks(balanced), NAME, verdict, _sentence(balanced, verdict), WOULD_CHANGE)


def _gains(table: pd.DataFrame) -> list[Row]:
    gain = _by_seed(table, "excess", "grokked") - _by_seed(table, "excess", "random")
    return [
        _bounded(
            Row(f"gain.{cell}", "main", f"grokked − random beyond shortcuts, {cell}", cell),
            gain[cell].dropna(),
            LITTLE,
            MUCH,
        )
        for cell in ("old+new", "new+new")
    ]


def _falsifiers(table: pd.DataFrame) -> list[Row]:
    """F1, F2 and F4; F3 says whether first hops transfer and does not enter the verdict."""
    grokked = table[table["arm"] == "grokked"]
    area = _by_seed(table, "area", "grokked") - _by_seed(table, "area", "random")
    at_end = Row("f1", "falsifier", "F1 grokked beyond shortcuts at the end", "old+new")
    pace = Row("f4", "falsifier", "F4 area under the curve, grokked − random", "old+new")
    return [
        _bounded(at_end, _of(grokked, "excess", "old+new"), LITTLE, MUCH),
        _forgetting(_of(grokked, "forgotten", "old+new")),
        _over_r2(grokked),
        _bounded(pace, area["old+new"].dropna(), AREA_ALIKE, AREA_MORE),
    ]


def _exposed(doses: pd.DataFrame) -> list[Row]:
    return [
        _exploratory(f"dose.{exposure}", f"grokked, each new fact in {exposure} trained compositions", "old+new", rows)
        for exposure, rows in doses.groupby("exposure")
    ]


def _by_published_recipe(published: pd.DataFrame) -> list[Row]:
    return [
        _exploratory(f"published.{arm}.{cell}", _published_name(str(arm), str(cell)), str(cell), rows)
        for (arm, cell), rows in published.groupby(["arm", "cell"])
    ]


def _by_seed(table: pd.DataFrame, column: str, arm: str) -> pd.DataFrame:
    """A row for each graph, a column for each cell."""
    return table[table["arm"] == arm].pivot(index="seed", columns="cell", values=column)


def _of(rows: pd.DataFrame, column: str, cell: str) -> pd.Series:
    return rows.loc[rows["cell"] == cell, column]


def _bounded(asked: Row, values: pd.Series, little: float, much: float) -> Row:
    """Supports if surely little, contradicts if surely much: one-sided 95 % bounds over graphs."""
    rule = (
        f"supports if the upper bound is below {little}, contradicts if the lower is above {much}; Student's t over graphs"
    )

    def says(low: float, high: float) -> str:
        return SUPPORTED if high < little else CONTRADICTED if low > much else UNDECIDED

    return bounds_row(asked, values, rule, says)


def _published_name(arm: str, cell: str) -> str:
    origin, _, reading = arm.rpartition("_")
    return f"{origin}, published recipe ({reading}), {cell}"


def _exploratory(key: str, quantity: str, cell: str, rows: pd.DataFrame) -> Row:
    """What other exposure brings at the end."""
    rule = f"exact match beyond shortcuts, one-sided 95 % bounds, Student's t over graphs; {EXPLORATORY}"
    return bounds_row(Row(key, "beside", quantity, cell), rows["excess"], rule)


def _forgetting(falls: pd.Series) -> Row:
    """F2: forgetting does not contradict the claim, it explains failures away; if it is large the claim stays open."""
    rule = f"below {FORGOTTEN_LITTLE} it is not the reason; from {FORGOTTEN_MUCH} on nothing is decided"
    worst = float(falls.max()) if len(falls) else float("nan")
    return Row(
        "f2",
        "falsifier",
        "F2 largest fall on old ID questions, grokked",
        "test_inferred_iid",
        value=worst,
        low=float(falls.min()) if len(falls) else worst,
        high=worst,
        n=len(falls),
        says=SUPPORTED if worst < FORGOTTEN_LITTLE else UNDECIDED,
        rule=rule,
    )


def _over_r2(grokked: pd.DataFrame) -> Row:
    """F3: what looks like transfer of new first hops may be the last relation alone."""
    rows = grokked[grokked["cell"] == "new+old"]
    excess = rows["exact_match"] - rows["floor_r2"]
    asked = Row("f3", "beside", "F3 grokked beyond the last relation's majority", "new+old")

    def says(low: float, high: float) -> str:
        return SUPPORTED if low > 0 else CONTRADICTED if high <= 0 else UNDECIDED

    return bounds_row(asked, excess, "contradicts (the transfer is a shortcut) if not above 0", says)


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame) -> str:
    """Supported if both cells are and nothing contradicts; large forgetting leaves it open."""
    against = of_role(falsifiers, "falsifier")
    says = of_role(table, "main")["says"].tolist()
    if CONTRADICTED in says + against["says"].tolist():
        return CONTRADICTED
    return SUPPORTED if set(says) == {SUPPORTED} and against["value"]["f2"] < FORGOTTEN_MUCH else UNDECIDED


def _checks(table: pd.DataFrame) -> pd.DataFrame:
    remembered = table.groupby("arm")["remembered"].min().round(2).to_dict()
    beyond = np.isclose(table["excess"], table["exact_match"] - table["floor"]) & (table["floor"] >= table["floor_r2"])
    shared = table.groupby(["seed", "cell"])[["n", "floor", "floor_r2"]].nunique()
    alike = (shared == 1).all(axis=1)
    return pd.DataFrame(
        [
            check("questions in every cell", bool((table["n"] >= MIN_QUESTIONS).all()), f"at least {table['n'].min()}"),
            check("new facts are learned", min(remembered.values()) > REACHED, f"least exact match by origin: {remembered}"),
            check("the best shortcut is subtracted", bool(beyond.all()), f"best shortcut up to {table['floor'].max():.2f}"),
            check(
                "all origins have the same questions and shortcuts",
                bool(alike.all()),
                f"{int(alike.sum())} of {len(alike)} cells of a graph, {table['run'].nunique()} runs",
            ),
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


@dataclass(frozen=True, eq=False)
class TransferFinding:
    """Claim (iii) on a study: the verdict, the table it rests on, and evidence inside models with weights."""

    result: ClaimResult
    transferred: pd.DataFrame
    inside: TransferEvidenceResult | None


def _jobs(inputs: Inputs) -> Jobs:
    runs = opened(inputs.transfers) if inputs.transfers else []
    settings = (inputs.n_questions, inputs.seed)
    return {"inside": {run.name: Job(f"inside-{run.name}", Result, measure_transfer, run, settings) for run in runs}}


def _decide(inputs: Inputs, measured: Mapping[str, Mapping[str, Result]]) -> TransferFinding | None:
    if inputs.transfers is None or inputs.transferred is None:
        return None
    tables = [each.table for each in measured["inside"].values()]
    inside = None
    if tables:
        together = inputs.transfers.describe(pd.concat(tables, ignore_index=True), ("arm", "seed"))
        inside = TransferEvidenceResult(together)
    return TransferFinding(decide_transfer(inputs.transferred), inputs.transferred, inside)


def _say(finding: TransferFinding | None) -> str:
    return finding.result.caption if finding else "undecided: no further trainings in this study"


def _show(finding: TransferFinding | None, report: Report) -> None:
    if finding is None:
        report.paragraph("This study has no further trainings on new facts.")
        return
    show_result(report, finding.result)
    columns = ["exact_match", "floor", "excess", "area", "to_90", "remembered", "forgotten"]
    groups = finding.transferred.groupby(["arm", "exposure", "cell"], sort=False)
    report.table(groups[columns].median().assign(graphs=groups["seed"].nunique(), questions=groups["n"].min()).reset_index())
    report.paragraph(
        "Medians over graphs. `_items` and `_facts` are the two readings of the published recipe: old facts exposed as "
        "second hops and new ones never, most old items no longer trained. `_late` begins at the last step of natural and "
        "both hops."
    )
    if finding.inside is not None:
        _show_inside(finding.inside, report)


def _show_inside(evidence: TransferEvidenceResult, report: Report) -> None:
    report.figure(
        evidence.figure(),
        "Accuracy of the unmodified model at the end, with the bridge that is read at r1 written in the form of its "
        "embedding after the best layer, and with a random entity's embedding there. Where writing it repairs the answer, "
        "the form failed, not the fact.",
    )
    inside = evidence.table.groupby(["arm", "cell"], sort=False)
    numbers = inside[["read_at_r1", "accuracy", "realigned", "controlled"]].median()
    report.table(numbers.assign(used=inside["used"].agg(", ".join), graphs=inside["seed"].nunique()).reset_index())


TRANSFER = Claim("(iii)", "(iii) Does a circuit transfer to new facts?", decide=_decide, say=_say, show=_show, jobs=_jobs)
