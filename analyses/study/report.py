"""The findings of one or more studies as one page: a screen of verdicts, a section for each claim, the rest folded."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..claims.claim import show_result
from ..claims.deciding import ARCHITECTURES, Judged, deciding_lines, deciding_points, sure_rows
from ..claims.registry import CLAIMS
from ..claims.rules import ClaimResult
from ..page import Report
from ..plots.deciding import deciding_panels
from ..plots.study import pretraining_comparison, transfer_comparison
from .audit_chips import audit_chips
from .findings import Findings
from .first_screen import SOURCE, cost_in_words, first_screen, headline, prefix_of
from .published import (
    has_rates,
    pretraining_rates,
    published_pretraining,
    published_transfer,
    published_transfer_largest,
    transfer_curves,
)
from .verdict_table import judged, verdict_table

TITLE = "Is grokking worthwhile? Three claims of He et al. (2026), tested"
ORIGINS = ("random", "early", "grokked", "taught", "second_hop")
SIZES = (
    "All networks are small: 64 entities, 30 relations, 1,280 facts of which 10 % are OOD; one block of width 128, applied "
    "four times (attention) or six times (token mixing). The paper has 2,000 entities and 40,000 facts, and a token-mixing "
    "network of two blocks of width 1,536. What fails or holds here may be otherwise there."
)
AS_ABOVE = "Read as the figure of claim (i)."
READING = (
    "A panel for each quantity. Diamonds: the value over graphs with its one-sided 95 % bounds; dots: single graphs. A "
    "quantity supports the claim if its bounds lie within the band; distances also need a ratio to replicates of at most 2. "
    "Green supports, orange contradicts, grey decides nothing, open ones since a control fails. Of distances the value is "
    "the geometric mean."
)


def write_report(all_findings: Sequence[Findings], path: Path) -> Path:
    """Write the page atomically; returns the path."""
    report, table = Report(TITLE, with_contents=False), verdict_table(all_findings)
    report.paragraph(_lead(all_findings))
    found = {name: judged(all_findings, name) for name in CLAIMS}
    report.bullets(headline(table, {name: sure_rows(found[name]) for name, claim in CLAIMS.items() if claim.words}))
    costs = {f"graphs {each.graphs}": each.claims["cost"].summary for each in all_findings if "cost" in each.claims}
    report.fragment(first_screen(table, cost_in_words(costs)))
    for name in CLAIMS:
        _section(report, name, all_findings, found[name])
    _paper(all_findings, report)
    report.paragraph(SIZES)
    return report.save(path)


def _lead(all_findings: Sequence[Findings]) -> str:
    """What was asked and how, in two sentences."""
    runs = sum(len(each.study.runs) for each in all_findings)
    graphs = len(set().union(*(set(each.study.summary["seed"]) for each in all_findings)))
    return (
        "The paper trained one network in each regime and read it with a lens. "
        f"Here {runs} networks on {graphs} random graphs were trained, intervened on, and judged by rules that were written "
        "down beforehand; graphs that had been seen by then count as exploratory, the others as confirmatory. Brackets are "
        "one-sided 95 % bounds, of steps the range over graphs; underlined numbers lead to the row that they come from."
    )


def _section(report: Report, name: str, all_findings: Sequence[Findings], found: Sequence[Judged]) -> None:
    claim = CLAIMS[name]
    report.heading(claim.heading, name=f"claim-{name}")
    if claim.words:
        report.quote(claim.words, SOURCE)
    report.bullets(
        f"{ARCHITECTURES[each.architecture]}, {each.standing}: {each.result.verdict}. {each.result.sentence}"
        for each in found
    )
    lines = deciding_lines(found)
    if len(lines):
        report.figure(
            deciding_panels(lines, deciding_points(found), title=_title(lines)),
            READING if name == next(iter(CLAIMS)) else AS_ABOVE,
        )
    for findings in all_findings[:1]:
        claim.picture(findings.claims[name], report)
    if found:
        report.paragraph(f"What would change it. {found[0].result.would_change}")
    for place, each in enumerate(found):
        audit = each.result.audit()
        about = f"Audit of the evidence, {each.label}; green met, orange missed, grey not measured. {audit.caption}"
        with report.folded(about, opened=not place):
            report.fragment(audit_chips(audit))
    for place, findings in enumerate(all_findings):
        with report.folded(f"All numbers of {findings.label}"):
            if place:
                claim.picture(findings.claims[name], report)
            for architecture, result in claim.results(findings.claims[name]).items():
                _all_rows(report, findings, name, architecture, result)
            claim.show(findings.claims[name], report)


def _all_rows(report: Report, findings: Findings, name: str, architecture: str, result: ClaimResult) -> None:
    report.paragraph(f"{ARCHITECTURES[architecture]}:")
    show_result(report, result, prefix_of(findings.name, name, architecture))


def _title(lines: pd.DataFrame) -> str:
    n = lines.loc[lines["n"] > 0, "n"]
    span = f"n = {n.min()} to {n.max()} graphs" if len(n) and n.min() < n.max() else f"n = {n.max() if len(n) else 0} graphs"
    return f"what decides · {span} · bars: one-sided 95 % bounds · dots: graphs"


def _paper(all_findings: Sequence[Findings], report: Report) -> None:
    report.heading("The paper's figures and ours")
    report.paragraph(
        "Figure 1 of the paper is a scheme of the path; its counterpart is the measured circuit above. The paper's curves "
        "are lens rates of one run each (figure 2) and exact match of one run each with 16 to 36 questions (figures 3 and "
        "4)."
    )
    for findings in all_findings:
        if not has_rates(findings.study) and not findings.transfers:
            continue
        with report.folded(f"Figures 2 to 4 beside {findings.label}"):
            _beside_the_paper(findings, report)


def _beside_the_paper(findings: Findings, report: Report) -> None:
    if has_rates(findings.study):
        report.figure(
            pretraining_comparison(
                pretraining_rates(findings.study), published_pretraining(), title="OOD+OOD questions, figure 2 and ours"
            ),
            "Above ours, a line for each run; below the paper's. A lens finds the bridge at some cell as soon as the atomic "
            "fact is known: in a causal model the state at r1 is that of the atomic question.",
        )
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
