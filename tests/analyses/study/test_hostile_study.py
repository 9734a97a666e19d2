"""The pages of a demo and of a study whose saved results bear hostile names: they open, and no name is run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chromium import launched, opened, until
from hostile import DRAWN, NAMES, ODD, circuit, harmless, result, table
from kinds import KINDS

from grokscope import tasks
from grokscope.analyses.claims.dissociation import DissociationFinding
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.claims.registry import CLAIMS
from grokscope.analyses.claims.same_path import SamePathFinding
from grokscope.analyses.claims.transfer import TransferFinding
from grokscope.analyses.page import Report
from grokscope.analyses.study.demo_report import Demo, write_report
from grokscope.circuits import Result
from grokscope.tasks.runs.study_figure import study_figure

ARMS = NAMES[0], ODD


def saved(name: str) -> Result:
    """A result with hostile names, after a file."""
    return Result.from_json(result(KINDS[name], by_step=False).to_json())


def demo(path: Path) -> Path:
    run = next(iter(tasks.load_study("pilot").runs.values()))
    checkpoints = dict.fromkeys(ARMS, run.checkpoint(run.steps[-1]))
    circuits = dict.fromkeys(ARMS, circuit())
    lenses, evidence = (dict.fromkeys(ARMS, saved(name)) for name in ("LensResult", "EvidenceResult"))
    judged = dict.fromkeys(ARMS, saved("FaithfulnessResult"))
    tokens = torch.arange(24).reshape(8, 3)
    pairs = tasks.PromptPairs(
        tokens, tokens + 1, tokens[:, 0], tokens[:, 1], roles=("h", "r1", "r2"), contrast=ODD, recipe={"n_left_out": 0}
    )
    compared, edges = saved("CircuitComparison"), circuit().table.assign(step=10, reason=ODD)
    growth = replace(saved("CircuitTrajectory"), table=edges)
    return write_report(
        Demo(dict.fromkeys(ARMS, run), checkpoints, lenses, evidence, circuits, judged, compared, growth, pairs, pairs),
        path,
    )


def study(path: Path) -> Path:
    claim = saved("ClaimResult")
    dissociated = DissociationFinding({ODD: claim}, saved("RegimeResult"), {ODD: saved("ExposureResult")})
    shown, kinds = {ODD: circuit()}, ("EvidenceResult", "LensResult", "CausalTraceResult")
    evidence, lens, trace = ({ODD: saved(name)} for name in kinds)
    ends = table("paths", by_step=False)
    measured = PathMeasurement(saved("PathDistances"), evidence, lens, {ODD: 3}, {ODD: 0.5}, shown, ends, trace)
    findings = {
        "same_path": SamePathFinding({ODD: claim, NAMES[0]: claim}, saved("ByAgeResult"), {ODD: {1: measured}}),
        "dissociation": dissociated,
        "transfer": TransferFinding(claim, table("transfers", by_step=True), saved("TransferEvidenceResult")),
        "cost": saved("CostResult"),
    }
    report = Report(ODD)
    for name, each in CLAIMS.items():
        report.heading(each.heading)
        each.show(findings[name], report)
    frame = table("study", by_step=True).assign(split=NAMES[1])
    report.figure(study_figure(frame, {run: {"memorised": 5} for run in frame["run"]}), ODD)
    return report.save(path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [demo, study])
def test_a_page_of_hostile_results_opens_and_runs_nothing_of_them(page: Callable[[Path], Path], tmp_path: Path) -> None:
    path = page(tmp_path / "page.html")
    with launched() as browser, opened(browser, path) as shown:
        until(shown, DRAWN)
        harmless(shown)
        assert NAMES[0] in shown.locator("body").inner_text()
