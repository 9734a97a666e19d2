"""Claim (iii): even a mature circuit transfers poorly to new facts.

He et al. 2026 (arXiv 2601.09049, section 5) train models further on new facts and ask for compositions with old ones, in
cells of 16 to 36 questions, against a floor of about .6 that the last relation alone gives. Here old and new facts have been
composed alike (`tasks.NewFacts`), every origin has the same data, steps and learning rate, random weights included, and only
what goes beyond the best shortcut counts. The unit is the graph. Rules: docs/explanation/preregistration.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ...circuits import Result
from ...tasks import Study
from ..page import Report
from .claim import Claim, Inputs, Job, Jobs
from .claim_audit import with_audit
from .gatekeeping import decide
from .rules import ClaimResult, points_of, rows_to_frame
from .transfer_evidence import TransferEvidenceResult, measure_transfer, opened
from .transfer_rows import beside, checks, controls, falsifiers, forgetting, gains, over_r2, sentence
from .transfer_table import transfer_table

NAME = "little transfer to new facts"


def transfer_of_new_facts(study: Study) -> ClaimResult:
    """Decide claim (iii) from the metrics of further trainings on new facts.

    Args:
        study: see `transfer_table`.

    Raises:
        ValueError: if it lacks `random` or `grokked` runs.
    """
    return decide_transfer(transfer_table(study))


def decide_transfer(table: pd.DataFrame) -> ClaimResult:
    """Claim (iii) from a `transfer_table`.

    Raises:
        ValueError: if a training is there twice.
    """
    if (twice := table.duplicated(["seed", "arm", "cell", "exposure", "recipe", "replicate"])).any():
        raise ValueError(f"these trainings are there twice: {', '.join(sorted(set(table.loc[twice, 'run'])))}")
    balanced = table[(table["recipe"] == "balanced") & (table["exposure"] == 0) & (table["replicate"] == 0)]
    main, against, checked = gains(table), falsifiers(balanced), checks(balanced)
    decision = decide([*main, *against])
    result = ClaimResult(
        rows_to_frame([*main, *controls(table), forgetting(balanced), *beside(table)]),
        rows_to_frame([*against, over_r2(balanced)]),
        checked,
        NAME,
        decision.verdict,
        sentence(main, decision.verdict),
        WOULD_CHANGE,
        decision.reason,
        decision.m,
        decision.smallest_n,
        points_of(main),
    )
    return with_audit(result)


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
    columns = ["exact_match", "floor", "excess", "area", "to_90", "remembered", "forgotten"]
    groups = finding.transferred.groupby(["arm", "exposure", "cell"], sort=False)
    report.table(groups[columns].median().assign(graphs=groups["seed"].nunique(), questions=groups["n"].min()).reset_index())
    report.paragraph(
        "Medians over graphs. Arms that end in _items and _facts are the two readings of the published recipe: old facts "
        "exposed as second hops and new ones never, most old items no longer trained. Those that end in _late begin at the "
        "last step of natural and both hops."
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


TRANSFER = Claim(
    "(iii)",
    "(iii) Does a circuit transfer to new facts?",
    decide=_decide,
    say=_say,
    show=_show,
    jobs=_jobs,
    words="Even a mature circuit exhibits limited transferability when integrating new knowledge.",
    results=lambda finding: {"causal": finding.result} if finding else {},
)
