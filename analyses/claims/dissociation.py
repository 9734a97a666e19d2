"""Claim (ii): high accuracy on unseen compositions and the inference path come apart, in both directions.

He et al. 2026 (arXiv 2601.09049, section 4) see models taught second hops answer OOD compositions while a lens finds no
bridge. Here *path* means that the bridge is used: readable or not, answers follow it when it is exchanged. Accuracy is exact
match, never a lens rate, beyond what shortcuts give. Arms: `exposed`, second hop when it first answers OOD questions, and
`exposed final`; `natural`, grokked; `before`, the same run when it knows the OOD facts and answers no OOD question. Rules:
docs/preregistration.md; they speak of r1, where causal models make the bridge, while bidirectional ones may anywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...circuits.arguments import common_problems, refuse
from ...tasks import two_hop
from ...tasks.questions.validity import missing_problems
from ..bridge.evidence import EvidenceResult
from ..bridge.interchange import InterchangeResult
from ..bridge.verdicts import ANYWHERE, R1, bridge_cells, bridge_intervention, bridge_is, bridge_read, bridge_roles
from ..page import Report
from ..statistics import newcombe_interval
from ..training.exposure import ExposureResult, accuracy_by_exposure, exposures
from .claim import Claim, Inputs, Job, Jobs, show_result, verdict_line
from .dissociation_measurement import HOP1_OOD, IID, OOD, DissociationMeasurement, measure_dissociation
from .regimes import RegimeResult, regime_jobs, regimes_of, show_regimes
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
    outcomes_row,
    rows_to_frame,
)
from .specimens import Arms, ArmsOfStudy, arm_checkpoints, has_arms, last_before_ood

ARMS: ArmsOfStudy = {
    "exposed": ("second_hop", "ood_generalised"),
    "exposed final": ("second_hop", "final"),
    "natural": ("natural", "ood_generalised"),
    "before": ("natural", last_before_ood),
}
"""Where a study has them, see `study_arms`."""
PRESETS: Mapping[str, ArmsOfStudy] = {
    "causal": ARMS,
    "bidirectional": {name: (f"{arm}_slots", moment) for name, (arm, moment) in ARMS.items()},
}
"""Where a study has the arms, by architecture. Being readable means different things in the two."""
LOOKED_AT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "causal": {"causal": R1},
    "bidirectional": {"bidirectional": ANYWHERE, "bidirectional, r1 alone": R1},
}
"""By architecture the rules by name: at which positions the bridge is looked for. The last one was written down first."""
NAME = "accuracy without circuit"
DIRECTIONS = {"accuracy_without_path": "accuracy without path", "path_without_accuracy": "path without accuracy"}
HIGH, BEYOND_SHORTCUT = 0.9, 0.3  # exact match
MOVED_LITTLE = 0.2  # excess of answers that follow another bridge
MOVED_BY = {"held out": "a held-out donor's state", "direction": "the difference of two bridges' means"}
PATH_READABLE, PATH_UNREADABLE = 0.8, 0.5  # shares of OOD bridges that a lens reads: from, and below
ALIKE = 0.1  # difference of probe accuracies


def accuracy_without_circuit(
    graphs: Mapping[int, Arms], *, roles: Sequence[str] | None = None, n_questions: int = 512, seed: int = 0
) -> ClaimResult:
    """Decide claim (ii), each direction by itself.

    Args:
        graphs: specimens by graph, as `study_arms(study, ARMS)` gives them.
        roles: the positions at which the bridge is looked for; by default r1 in causal models and any in others.
        n_questions: for the evidence on the bridge.
        seed: of questions, halves and donors.

    Raises:
        ValueError: if no graph has any of the arms.
    """
    refuse(_role_problems(graphs, roles) + common_problems(n_questions=n_questions, seed=seed))
    known = {number: arms for number, arms in graphs.items() if set(arms) & set(ARMS)}
    if not known:
        there = {number: sorted(arms) for number, arms in graphs.items()}
        raise ValueError(f"no graph has one of the arms {', '.join(ARMS)}; there are {there}")
    measured = {number: measure_dissociation(arms, n_questions, seed=seed) for number, arms in known.items()}
    if roles is None:
        roles = bridge_roles(next(iter(next(iter(known.values())).values())).model)
    return decide_dissociation(measured, roles)


def _role_problems(graphs: Mapping[int, Arms], roles: Sequence[str] | None) -> list[str]:
    if roles is None:
        return []
    there = {role for arms in graphs.values() for each in arms.values() for role in each.task.split(IID).roles}
    return missing_problems("role", roles, sorted(there))


def decide_dissociation(measured: Mapping[int, DissociationMeasurement], roles: Sequence[str] = R1) -> ClaimResult:
    """Claim (ii) from what was measured, by graph; roles as of `accuracy_without_circuit`."""
    each = list(measured.values())
    table, falsifiers = rows_to_frame(_directions(each, roles)), rows_to_frame(_falsifiers(each, roles))
    verdict = _verdict(table, falsifiers)
    return ClaimResult(table, falsifiers, _checks(measured), NAME, verdict, _sentence(table), WOULD_CHANGE)


def _directions(each: Sequence[DissociationMeasurement], roles: Sequence[str]) -> list[Row]:
    """Both directions of the claim, and the halves of the second."""
    where, moved_by = ", ".join(roles), MOVED_BY[bridge_intervention(roles)]
    before = [one for one in each if one.before]
    wrongs = [one.before_wrong for one in before if one.before_wrong] if bridge_intervention(roles) == "held out" else []
    without_path, without_accuracy = DIRECTIONS
    return [
        outcomes_row(
            Row(without_path, "main", f"{DIRECTIONS[without_path]}: second hop, as soon as it answers", OOD),
            [_without_path(one, roles) for one in each if one.exposed],
            f"supports: used nowhere, {moved_by} moves less than {MOVED_LITTLE} at {where}; contradicts: used there",
        ),
        outcomes_row(
            Row(
                without_accuracy,
                "main",
                f"{DIRECTIONS[without_accuracy]}: natural, before it answers",
                f"{HOP1_OOD}, {OOD}",
            ),
            [_without_accuracy(one, roles) for one in before],
            f"supports: used at {where}, readable in {PATH_READABLE} of OOD+OOD; contradicts: not used, or read in < "
            f"{PATH_UNREADABLE}",
        ),
        bounds_row(
            Row("used", "beside", f"of which: OOD bridges used at {where}, after any layer (1) or not (0)", HOP1_OOD),
            pd.Series([float(bridge_is(one.before[HOP1_OOD], roles=roles) == "yes") for one in before]),
            f"first half of that rule: mean over graphs, one-sided 95 % bounds; {EXPLORATORY}",
        ),
        bounds_row(
            Row(
                "readable.first",
                "beside",
                "of which: OOD bridges readable after the first layer at which ID bridges are used",
                OOD,
            ),
            pd.Series([_readable(one, roles) for one in before], dtype=float).dropna(),
            f"second half of that rule: mean over graphs, one-sided 95 % bounds; {EXPLORATORY}",
        ),
        bounds_row(
            Row("readable.last", "beside", "of which: the same after the last such layer", OOD),
            pd.Series([_readable(one, roles, first=False) for one in before], dtype=float).dropna(),
            f"the same, had the rule meant the last layer at which ID bridges are used; {EXPLORATORY}",
        ),
        bounds_row(
            Row(
                "wrong_followed",
                "beside",
                "of which: wrong answers that follow a donor at r1 whose second hop is an ID fact",
                OOD,
            ),
            pd.Series([_wrong_followed(wrong) for wrong in wrongs], dtype=float),
            "beyond a third bridge's donor; no evidence, since at r1 the whole state asks the donor's own question; "
            f"{EXPLORATORY}",
        ),
    ]


def _falsifiers(each: Sequence[DissociationMeasurement], roles: Sequence[str]) -> list[Row]:
    """What would contradict it; F2 is exploratory."""
    both = [(one, one.exposed, one.natural) for one in each if one.exposed and one.natural]
    moved_by = MOVED_BY[bridge_intervention(roles)]
    return [
        outcomes_row(
            Row("f1", "falsifier", "F1 a probe reads the bridge as well as in natural", OOD),
            [_probe_alike(one, roles) for one, *_ in both],
            f"contradicts where main row 1 is supported and the probes differ by less than {ALIKE} (95 %)",
        ),
        bounds_row(
            Row("f2", "beside", f"F2 second hop − natural, answers that {moved_by} moves at {', '.join(roles)}", OOD),
            pd.Series([_moved(exposed, roles) - _moved(natural, roles) for _, exposed, natural in both], dtype=float),
            f"{EXPLORATORY}, since main row 1 asks it of second hop alone: about 0 if the bridge moves answers as in "
            "natural",
        ),
        outcomes_row(
            Row("f3", "falsifier", "F3 second hop answers OOD questions at the end", OOD),
            [_at_least(one.accuracy.get("exposed final"), HIGH) for one in each],
            f"supports: exact match at least {HIGH}",
        ),
        outcomes_row(
            Row("f4", "falsifier", "F4 and more of them than shortcuts do", OOD),
            [_at_least(_excess(one), BEYOND_SHORTCUT) for one in each],
            f"supports: exact match at least {BEYOND_SHORTCUT} beyond the best shortcut",
        ),
    ]


def _without_path(one: DissociationMeasurement, roles: Sequence[str]) -> str:
    """Accuracy without path, on one graph."""
    assert one.exposed is not None
    if bridge_is(one.exposed, roles=roles) == "yes":
        return CONTRADICTED
    nowhere = bool((one.exposed.table["used"] == "no").all())
    return SUPPORTED if nowhere and _moved(one.exposed, roles) < MOVED_LITTLE else UNDECIDED


def _without_accuracy(one: DissociationMeasurement, roles: Sequence[str]) -> str:
    """Path without accuracy, on one graph."""
    readable, used = _readable(one, roles), bridge_is(one.before[HOP1_OOD], roles=roles)
    if readable is None:
        return UNDECIDED
    if used == "yes" and readable >= PATH_READABLE:
        return SUPPORTED
    return CONTRADICTED if readable < PATH_UNREADABLE or used == "no" else UNDECIDED


def _readable(one: DissociationMeasurement, roles: Sequence[str], *, first: bool = True) -> float | None:
    """Share of OOD bridges that a lens reads after the first or last layer at which ID ones are used, None if at none.

    At the position where they are used; of several, at the best.
    """
    assert one.before_lens is not None
    iid = bridge_cells(one.before[IID], roles)
    used = iid[iid["used"] == "yes"]
    if used.empty:
        return None
    layer = used["layer"].min() if first else used["layer"].max()
    rows = bridge_read(one.before_lens, used.loc[used["layer"] == layer, "role"].tolist())
    return float(rows.loc[rows["layer"] == layer, "top1"].max())


def _probe_alike(one: DissociationMeasurement, roles: Sequence[str]) -> str:
    """F1: it contradicts if there is accuracy without a used bridge, but a probe reads the bridge as well as in natural."""
    assert one.exposed is not None and one.natural is not None
    best = []
    for evidence in (one.exposed, one.natural):
        rows = evidence.measures[(evidence.measures["measure"] == "probe") & evidence.measures["role"].isin(roles)]
        best.append(rows.sort_values("value").iloc[-1])
    gap = newcombe_interval(float(best[0]["value"]), float(best[1]["value"]), int(min(row["n_facts"] for row in best)))
    alike = gap.low > -ALIKE and gap.high < ALIKE
    return CONTRADICTED if alike and _without_path(one, roles) == SUPPORTED else SUPPORTED


def _moved(evidence: EvidenceResult, roles: Sequence[str]) -> float:
    """The largest share of answers, beyond control, that follow another bridge, after any layer at any position."""
    rows = evidence.measures[
        (evidence.measures["measure"] == bridge_intervention(roles)) & evidence.measures["role"].isin(roles)
    ]
    return float(rows["excess"].max(skipna=False))


def _wrong_followed(result: InterchangeResult) -> float:
    """The share of wrong answers, beyond control, that follow a held-out donor at r1 after the best layer."""
    rows = result.table[(result.table["role"] == "r1") & (result.table["layer"] >= 0)]
    by_donor = rows.pivot(index="layer", columns="donor", values="success")
    return float((by_donor["held out"] - by_donor["other bridge"]).max())


def _excess(one: DissociationMeasurement) -> float | None:
    accuracy = one.accuracy.get("exposed final")
    return None if accuracy is None else accuracy - one.floor


def _at_least(value: float | None, least: float) -> str:
    return UNDECIDED if value is None else SUPPORTED if value >= least else CONTRADICTED


def _verdict(table: pd.DataFrame, falsifiers: pd.DataFrame) -> str:
    """Supported if both directions are, contradicted if one is or a falsifier contradicts."""
    says = of_role(table, "main")["says"].tolist()
    if CONTRADICTED in says + of_role(falsifiers, "falsifier")["says"].tolist():
        return CONTRADICTED
    return SUPPORTED if set(says) == {SUPPORTED} else UNDECIDED


def _checks(measured: Mapping[int, DissociationMeasurement]) -> pd.DataFrame:
    judged: dict[int, Any] = {k: int(m.exposed.table["n_judged"].iloc[0]) for k, m in measured.items() if m.exposed}
    enough = [m.exposed.table["reason"].eq("").all() for m in measured.values() if m.exposed]
    low = {k: m.accuracy["before"] for k, m in measured.items() if "before" in m.accuracy}
    return pd.DataFrame(
        [
            check("enough facts to judge the bridge", all(enough), f"hop-1 facts by graph: {judged}"),
            check("natural does not answer yet", all(x < 0.1 for x in low.values()), f"OOD+OOD by graph: {low}"),
        ]
    )


def _sentence(table: pd.DataFrame) -> str:
    words = {SUPPORTED: "occurs", CONTRADICTED: "does not occur", UNDECIDED: "is undecided"}
    rows = of_role(table, "main").to_dict("index")
    parts = [f"{DIRECTIONS[str(key)]} {words[row['says']]} ({row['n']:.0f} graphs)" for key, row in rows.items()]
    values = of_role(table, "beside")["value"]
    used, first, last = (values[key] for key in ("used", "readable.first", "readable.last"))
    if pd.isna([used, first, last]).any():
        return f"Here {' and '.join(parts)}."
    detail = (
        f"before it answers, natural uses OOD bridges in {used:.0%} of graphs and shows {first:.0%} of them after the first "
        f"layer at which ID ones are used, {last:.0%} after the last"
    )
    return f"Here {' and '.join(parts)}; {detail}."


WOULD_CHANGE = (
    "A second-hop model that answers OOD questions while no exchange of the bridge moves its answers would support the "
    "first direction; a natural one that does not use OOD bridges before it answers would contradict the second."
)


@dataclass(frozen=True, eq=False)
class DissociationFinding:
    """Claim (ii) on a study.

    Attributes:
        results: by architecture and where the bridge is looked for, the causal one first.
        regimes: every run at every phase.
        exposure: accuracy by how often facts were composed, by arm, where that differs between facts.
    """

    results: Mapping[str, ClaimResult]
    regimes: RegimeResult
    exposure: Mapping[str, ExposureResult]


def _jobs(inputs: Inputs) -> Jobs:
    settings = (inputs.n_questions, inputs.seed)
    presets = {name: arms for name, arms in PRESETS.items() if has_arms(inputs.study, arms)}
    apart = {
        name: {
            graph: Job(f"apart-{name}-g{graph}", DissociationMeasurement, measure_dissociation, checkpoints, settings)
            for graph, checkpoints in arm_checkpoints(inputs.study, arms).items()
        }
        for name, arms in presets.items()
    }
    return {**apart, "regimes": regime_jobs(inputs, OOD, HOP1_OOD)}


def _decide(inputs: Inputs, measured: Mapping[str, Mapping[Any, Any]]) -> DissociationFinding:
    results = {
        rule: decide_dissociation(measured[name], roles)
        for name in PRESETS
        if measured.get(name)
        for rule, roles in LOOKED_AT[name].items()
    }
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
    for name, result in finding.results.items():
        report.paragraph(f"Models that are {name}:")
        show_result(report, result)
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
)
