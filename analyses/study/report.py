"""The study's findings as one page: a line for each claim, a section for each, then the paper's figures and ours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...tasks import Study
from ..claims.registry import CLAIMS
from ..claims.specimens import mixes_tokens
from ..page import Report
from ..plots.study import pretraining_comparison, transfer_comparison
from .published import (
    has_rates,
    pretraining_rates,
    published_pretraining,
    published_transfer,
    published_transfer_largest,
    transfer_curves,
)

ORIGINS = ("random", "early", "grokked", "taught", "second_hop")
DIFFERENCES = (
    "Scale and architecture differ from the paper's: 64 entities, 30 relations, 1,280 facts of which 10 % are OOD, one "
    "block of attention and MLP of width 128 applied four times, causal, answers read at the last token (arms in slots: "
    "bidirectional); the paper has 2,000 entities, 40,000 facts, a token-mixing model without attention that sees all "
    "positions and pads. What fails or holds here may be otherwise there."
)
DIFFERENCES_MIXING = (
    "The architecture is the paper's, small: one block of width 128 applied six times that mixes four slots by an MLP; 64 "
    "entities, 30 relations, 1,280 facts of which 10 % are OOD. The paper has two blocks of width 1,536, 2,000 entities, "
    "40,000 facts, losses on copied tokens and halting. What fails or holds here may be otherwise there."
)
OPENED = range(6)
"""Graphs that had been opened when the rules were made."""
WHAT_DECIDES = (
    "Graphs 0 to 5 are exploratory by these rules: they were made after these runs had been opened. What decides are "
    "graphs 6 to 13. Their measures, margins, controls, order of rows and n were registered before any of them was "
    "trained (docs/preregistration.md, second part)."
)


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the report shows.

    Attributes:
        study, transfers: the runs, and the further trainings on new facts, if there are any.
        claims: what each claim in `CLAIMS` found, by its name there.
    """

    study: Study
    transfers: Study | None
    claims: Mapping[str, Any]


def verdicts(findings: Findings) -> Iterator[str]:
    """A line for each question, with its n."""
    for name, claim in CLAIMS.items():
        yield f"{claim.label} {claim.say(findings.claims[name])}"


def write_report(findings: Findings, path: Path) -> Path:
    """Write the page atomically; returns the path."""
    report = Report("Is grokking worthwhile? Three claims and a price, on a study with seeds")
    if set(findings.study.summary["seed"]) & set(OPENED):
        report.paragraph(WHAT_DECIDES)
    report.bullets(verdicts(findings))
    report.paragraph(
        f"{findings.study.summary['run'].nunique()} runs on {findings.study.summary['seed'].nunique()} graphs. "
        + (DIFFERENCES_MIXING if mixes_tokens(findings.study) else DIFFERENCES)
    )
    for name, claim in CLAIMS.items():
        report.heading(claim.heading)
        claim.show(findings.claims[name], report)
    _paper(findings, report)
    return report.save(path)


def _paper(findings: Findings, report: Report) -> None:
    report.heading("The paper's figures and ours")
    report.paragraph(
        "Figure 1 of the paper is a scheme of the path; its counterpart is the measured circuit above. The paper's curves "
        "are lens rates of one run each (figure 2) and exact match of one run each with 16 to 36 questions (figures 3 and "
        "4)."
    )
    if has_rates(findings.study):
        report.figure(
            pretraining_comparison(
                pretraining_rates(findings.study), published_pretraining(), title="OOD+OOD questions, figure 2 and ours"
            ),
            "Above ours, a line for each run; below the paper's. A lens finds the bridge at some cell as soon as the atomic "
            "fact is known: in a causal model the state at r1 is that of the atomic question.",
        )
    else:
        report.paragraph("These runs have no lens rates by step, so that figure 2 has no counterpart here.")
    if findings.transfers:
        report.figure(
            transfer_comparison(
                transfer_curves(findings.transfers),
                published_transfer(),
                published_transfer_largest(),
                arms=ORIGINS,
                title="Questions about new facts, figures 3 and 4 and ours",
            ),
            "Above ours, a line for each run; below the paper's: new+old by step, of the other cells the largest of 40 "
            "evaluations.",
        )
