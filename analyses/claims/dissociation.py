"""Claim (ii): accuracy on unseen compositions and the inference path are not bound; each can occur without the other.

He et al. 2026 (arXiv 2601.09049, section 4) see models taught second hops answer OOD compositions while a lens finds no
bridge. Here *path* means that the bridge is used (see `bridge.evidence_verdicts`): readable or not, answers need it and
follow it when it is exchanged. Accuracy is exact match, never a lens rate, beyond what shortcuts give. Arms: `exposed`,
second hop when it first answers OOD questions, and `exposed final`; `natural`, grokked; `before`, the same run when it knows
the OOD facts and answers no OOD question; beside, `untied`, which never answers one. That something *can* occur is shown by
few graphs and contradicted only by none of many, see `rules.occurrence_row`; first the criteria must be right on controls,
see `dissociation_criteria`. Rules: docs/explanation/preregistration.md.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ...circuits.arguments import common_problems, refuse
from ...circuits.progress import bar
from ...circuits.units import listed
from ...tasks import two_hop
from ..page import Report
from ..training.exposure import ExposureResult, accuracy_by_exposure, exposures
from .audit_measurement import AuditMeasurement, measure_audits
from .claim import Claim, Inputs, Job, Jobs, verdict_line
from .claim_audit import with_audit
from .decisive import CONTRADICTED, SUPPORTED, UNDECIDED
from .dissociation_criteria import LOW
from .dissociation_measurement import HOP1_OOD, OOD, DissociationMeasurement, measure_dissociation, n_measured
from .dissociation_rows import (
    DIRECTIONS,
    Controls,
    beside,
    controls,
    directions,
    falsifiers,
    moved_alike,
    on_controls,
    probe_alike,
)
from .gatekeeping import decide
from .regimes import RegimeResult, regime_jobs, regimes_of, show_regimes
from .rules import ClaimResult, Row, check, passes, points_of, rows_to_frame
from .specimens import Arms, ArmsOfStudy, arm_checkpoints, graphs_problems, has_arms, last_before_ood, mixes_tokens

ARMS: ArmsOfStudy = {
    "exposed": ("second_hop", "ood_generalised"),
    "exposed final": ("second_hop", "final"),
    "natural": ("natural", "ood_generalised"),
    "before": ("natural", last_before_ood),
}
"""Where a study has them, see `study_arms`."""
BESIDE: ArmsOfStudy = {"untied": ("untied", "final")}
"""Arms that a study may lack."""
PRESETS: Mapping[str, ArmsOfStudy] = {
    "causal": ARMS,
    "bidirectional": {name: (f"{arm}_slots", moment) for name, (arm, moment) in ARMS.items()},
    "token mixing": {**ARMS, "taught": ("both_hops", "ood_generalised")},
}
"""Where a study has the arms, by architecture. Being readable means different things in each."""
NAME = "accuracy without circuit"
AUDITED, AUDITS = ("natural", "exposed"), "audits of "
ALONE = "alone."  # before the key of a direction that is judged by itself


def accuracy_without_circuit(
    graphs: Mapping[int, Arms], *, n_questions: int = 512, progress: bool = True, seed: int = 0
) -> ClaimResult:
    """Decide claim (ii), and each direction by itself.

    Args:
        graphs: specimens by graph, as `study_arms(study, ARMS)` gives them.
        n_questions: for the evidence on the bridge.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of questions, halves and donors.

    Raises:
        ValueError: if no graph has any of the arms.
    """
    refuse(graphs_problems(graphs) + common_problems(n_questions=n_questions, progress=progress, seed=seed))
    known = {number: arms for number, arms in graphs.items() if set(arms) & set(ARMS)}
    if not known:
        there = {number: sorted(arms) for number, arms in graphs.items()}
        raise ValueError(f"no graph has one of the arms {', '.join(ARMS)}; there are {there}")
    with bar(sum(map(n_measured, known.values())), "measuring evidence", show=progress) as shown:
        return decide_dissociation(
            {number: measure_dissociation(arms, n_questions, seed, shown.update) for number, arms in known.items()}
        )


def decide_dissociation(
    measured: Mapping[int, DissociationMeasurement],
    audits: Mapping[int, AuditMeasurement] | None = None,
) -> ClaimResult:
    """Claim (ii) from what was measured, by graph; audits are of the circuits of models that answer OOD questions."""
    each = list(measured.values())
    said = on_controls(each)
    main, against = directions(each, said, m=len(DIRECTIONS)), falsifiers(each)
    alone = [
        replace(row, key=f"{ALONE}{row.key}", role="beside", quantity=f"{row.quantity}; judged by itself, m = 1")
        for row in directions(each, said, m=1)
    ]
    decision = decide([*main, *against])
    result = ClaimResult(
        rows_to_frame([*main, *controls(each, said), *alone, *beside(each)]),
        rows_to_frame([*against, probe_alike(each), moved_alike(each)]),
        _checks(measured, said),
        NAME,
        decision.verdict,
        _sentence(alone, decision.verdict),
        WOULD_CHANGE,
        decision.reason,
        decision.m,
        decision.smallest_n,
        points_of([_on_graphs(row, measured) for row in main]),
    )
    return with_audit(result, audits)


def _on_graphs(row: Row, measured: Mapping[int, DissociationMeasurement]) -> Row:
    """The row with its words by the names of the graphs, in whose order they are."""
    return replace(row, by_graph=dict(zip(measured, row.by_graph.values(), strict=True)))


def _checks(measured: Mapping[int, DissociationMeasurement], said: Controls) -> pd.DataFrame:
    found = {graph: one.evidence["exposed"][OOD].table for graph, one in measured.items() if "exposed" in one.evidence}
    judged: dict[int, Any] = {graph: int(table["n_judged"].iloc[0]) for graph, table in found.items()}
    enough = bool(found) and all(table["reason"].eq("").all() for table in found.values())
    low = {graph: round(one.accuracy["before"], 3) for graph, one in measured.items() if "before" in one.accuracy}
    failed = [
        f"{DIRECTIONS[key]}: {name}"
        for key, of_controls in said.items()
        for name, outcomes in of_controls.items()
        if not passes(outcomes)
    ]
    return pd.DataFrame(
        [
            check("enough facts to judge the bridge", enough, f"hop-1 facts by graph: {listed(judged)}"),
            check("natural does not answer yet", bool(low) and max(low.values()) < LOW, f"OOD+OOD by graph: {listed(low)}"),
            check("criteria are right on all controls", not failed, f"not on: {', '.join(failed) or 'none'}"),
        ]
    )


def _sentence(alone: Sequence[Row], verdict: str) -> str:
    """The claim in the authors' sense, with the row of each direction by itself."""
    together = {SUPPORTED: "are not bound", CONTRADICTED: "do not occur without each other in both ways"}
    words = {SUPPORTED: "it occurs", CONTRADICTED: "it does not occur", UNDECIDED: "undecided"}
    parts = []
    for name, row in zip(DIRECTIONS.values(), alone, strict=True):
        unclear = sum(map(math.isnan, row.by_graph.values()))
        seen = f"on {row.value * row.n:.0f} of {row.n} graphs ({unclear} unclear)" if row.n else "asked of no graph"
        parts.append(f"{name} {seen}, {words.get(row.says, 'cannot be said')}")
    return f"Accuracy and the path {together.get(verdict, 'may or may not be bound')}. By itself, {'; '.join(parts)}."


WOULD_CHANGE = (
    "Second-hop models that answer OOD questions while the bridge is used nowhere would support the first direction, none "
    "of 8 graphs contradict it; natural models that use OOD bridges which can be read before they answer would support the "
    "second, none of 8 graphs contradict it."
)


@dataclass(frozen=True, eq=False)
class DissociationFinding:
    """Claim (ii) on a study.

    Attributes:
        results: by architecture, the causal one first.
        regimes: every run at every phase.
        exposure: accuracy by how often facts were composed, by arm, where that differs between facts.
    """

    results: Mapping[str, ClaimResult]
    regimes: RegimeResult
    exposure: Mapping[str, ExposureResult]


def _jobs(inputs: Inputs) -> Jobs:
    settings = (inputs.n_questions, inputs.seed)
    there = ("token mixing",) if mixes_tokens(inputs.study) else ("causal", "bidirectional")
    presets = {name: PRESETS[name] for name in there if has_arms(inputs.study, PRESETS[name])}
    if "causal" in presets and has_arms(inputs.study, BESIDE):
        presets["causal"] = {**ARMS, **BESIDE}
    apart = {
        name: {
            graph: Job(f"apart-{name}-g{graph}", DissociationMeasurement, measure_dissociation, checkpoints, settings)
            for graph, checkpoints in arm_checkpoints(inputs.study, arms).items()
        }
        for name, arms in presets.items()
    }
    return {**apart, **_audit_jobs(inputs, presets), "regimes": regime_jobs(inputs, OOD, HOP1_OOD)}


def _audit_jobs(inputs: Inputs, presets: Mapping[str, ArmsOfStudy]) -> dict[str, dict[int, Job]]:
    """Of the circuits of models that answer OOD questions, one that grokked and one that was taught, on these questions."""
    settings = (OOD, inputs.n_pairs, inputs.seed)
    found = {}
    for name, arms in presets.items():
        asked = {arm: arms[arm] for arm in AUDITED}
        found[AUDITS + name] = {
            graph: Job(f"audit-{name}-g{graph}", AuditMeasurement, measure_audits, checkpoints, settings)
            for graph, checkpoints in arm_checkpoints(inputs.study, asked).items()
        }
    return found


def _decide(inputs: Inputs, measured: Mapping[str, Mapping[Any, Any]]) -> DissociationFinding:
    judged = [name for name in PRESETS if measured.get(name)]
    results = {name: decide_dissociation(measured[name], measured[AUDITS + name]) for name in judged}
    regimes = regimes_of(inputs.study, [rows.table for rows in measured["regimes"].values()], OOD, HOP1_OOD)
    return DissociationFinding(results, regimes, _exposure(inputs))


def _exposure(inputs: Inputs) -> dict[str, ExposureResult]:
    """By arm, of its first run at the end of training, where some of the OOD facts were composed and others were not."""
    found = {}
    for arm, name in inputs.study.summary.drop_duplicates("arm")[["arm", "run"]].itertuples(index=False):
        run = inputs.study.runs[name]
        task = two_hop(run.task)
        questions = task.split(OOD)
        if len(np.unique(exposures(task, 2)[questions.hop2] > 0)) > 1:
            found[arm] = accuracy_by_exposure(run.checkpoint("final").model(), task, questions)
    return found


def _show(finding: DissociationFinding, report: Report) -> None:
    show_regimes(finding.regimes, report)
    for arm, result in finding.exposure.items():
        report.figure(
            result.figure(),
            f"{arm} at the end: OOD+OOD questions by how often their facts were composed in training, in that hop; facts at "
            "0 were trained by themselves only.",
        )


DISSOCIATION = Claim(
    "(ii)",
    "(ii) Accuracy without circuit, circuit without accuracy?",
    decide=_decide,
    say=lambda finding: verdict_line(finding.results),
    show=_show,
    jobs=_jobs,
    arms=ARMS,
    words="Achieving high accuracy on unseen cases after prolonged training and the formation of a certain reasoning path "
    "are not bound; they can occur independently under specific data regimes.",
    results=lambda finding: finding.results,
)
