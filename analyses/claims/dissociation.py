"""Claim (ii): high accuracy on unseen compositions and the inference path come apart, in both directions.

He et al. 2026 (arXiv 2601.09049, section 4) see models taught second hops answer OOD compositions while a lens finds no
bridge. Here *path* means that the bridge is used: readable or not, answers follow it when it is exchanged. Accuracy is exact
match, never a lens rate, beyond what shortcuts give. Arms: `exposed`, second hop when it first answers OOD questions, and
`exposed final`; `natural`, grokked; `before`, the same run when it knows the OOD facts and answers no OOD question. Rules:
docs/preregistration.md; they speak of r1, where causal models make the bridge, while bidirectional ones may anywhere.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...tasks import shortcut_accuracy
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.interchange import InterchangeResult, interchange
from ..bridge.lens import LensResult, logit_lens
from ..bridge.verdicts import R1, bridge_cells, bridge_is, bridge_read, bridge_roles, mover
from ..statistics import newcombe_interval
from .rules import CONTRADICTED, SUPPORTED, UNDECIDED, ClaimResult, bounds_row, check, in_table, outcomes_row
from .specimens import Arms, last_before_ood

OOD, HOP1_OOD, IID = "test_inferred_ood", "test_inferred_ood_id", "test_inferred_iid"
ARMS = {
    "exposed": ("second_hop", "ood_generalised"),
    "exposed final": ("second_hop", "final"),
    "natural": ("natural", "ood_generalised"),
    "before": ("natural", last_before_ood),
}
"""Where a study has them, see `study_arms`."""
CLAIM = "accuracy without circuit"
HIGH, BEYOND_SHORTCUT = 0.9, 0.3  # exact match
LITTLE = 0.2  # excess of answers that follow another bridge
MOVED_BY = {"held out": "a held-out donor's state", "direction": "the difference of two bridges' means"}
READABLE, HARDLY = 0.8, 0.5  # shares of questions in which a lens reads the bridge
ALIKE = 0.1  # difference of probe accuracies


@dataclass(frozen=True, eq=False)
class DissociationMeasurement:
    """What is known of one graph's models; None where the arm is missing.

    Attributes:
        exposed, natural: evidence on OOD+OOD questions.
        before: evidence of that arm on ID questions and on questions of which hop 1 is OOD.
        before_lens: what can be read from it on OOD+OOD questions.
        before_wrong: whether those it answers wrong follow donors whose second hop is an ID fact; None if there are none.
        accuracy: exact match on OOD+OOD questions by arm.
        floor: the best shortcut's there, learned from the exposed arm's training compositions.
    """

    exposed: EvidenceResult | None
    natural: EvidenceResult | None
    before: Mapping[str, EvidenceResult]
    before_lens: LensResult | None
    before_wrong: InterchangeResult | None
    accuracy: Mapping[str, float]
    floor: float


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
    known = {number: arms for number, arms in graphs.items() if set(arms) & set(ARMS)}
    if not known:
        there = {number: sorted(arms) for number, arms in graphs.items()}
        raise ValueError(f"no graph has one of the arms {', '.join(ARMS)}; there are {there}")
    measured = {number: measure_dissociation(arms, n_questions, seed=seed) for number, arms in known.items()}
    if roles is None:
        roles = bridge_roles(next(iter(next(iter(known.values())).values())).model)
    return decide_dissociation(measured, roles)


def measure_dissociation(arms: Arms, n_questions: int, *, seed: int = 0) -> DissociationMeasurement:
    """Evidence, lens, accuracies and floors of one graph; arguments as of `accuracy_without_circuit`."""

    def evidence(name: str, split: str) -> EvidenceResult | None:
        if name not in arms:
            return None
        return bridge_evidence(arms[name].model, arms[name].task, split, n=n_questions, seed=seed)

    before = {split: found for split in (IID, HOP1_OOD) if (found := evidence("before", split)) is not None}
    lens = wrong = None
    if "before" in arms:
        model, task = arms["before"].model, arms["before"].task
        lens = logit_lens(model, task.split(OOD), seed=seed)
        with suppress(ValueError):  # no question is answered wrong and has donors
            wrong = interchange(model, task, task.split(OOD), answered="wrong", seed=seed)
    accuracy = {name: each.accuracy[OOD] for name, each in arms.items() if OOD in each.accuracy}
    floor = float("nan")
    if "exposed final" in arms:
        task = arms["exposed final"].task
        floor = max(shortcut_accuracy(task, task.split(OOD)).values())
    exposed, natural = evidence("exposed", OOD), evidence("natural", OOD)
    return DissociationMeasurement(exposed, natural, before, lens, wrong, accuracy, floor)


def decide_dissociation(measured: Mapping[int, DissociationMeasurement], roles: Sequence[str] = R1) -> ClaimResult:
    """Claim (ii) from what was measured, by graph; roles as of `accuracy_without_circuit`."""
    each = list(measured.values())
    table, falsifiers = in_table(_directions(each, roles)), in_table(_falsifiers(each, roles))
    decisive = table[table["says"] != ""]
    verdict = _verdict(decisive, falsifiers)
    return ClaimResult(
        table, falsifiers, _checks(measured), CLAIM, verdict, _sentence(decisive, table[table["says"] == ""]), WOULD_CHANGE
    )


def _directions(each: Sequence[DissociationMeasurement], roles: Sequence[str]) -> list[dict[str, Any]]:
    """Both directions of the claim, and the halves of the second."""
    where = ", ".join(roles)
    before = [one for one in each if one.before]
    wrongs = [one.before_wrong for one in before if one.before_wrong] if mover(roles) == "held out" else []
    return [
        outcomes_row(
            "accuracy without path: second hop, as soon as it answers",
            OOD,
            [_without_path(one, roles) for one in each if one.exposed],
            f"supports: used nowhere, {MOVED_BY[mover(roles)]} moves less than {LITTLE} at {where}; contradicts: used there",
        ),
        outcomes_row(
            "path without accuracy: natural, before it answers",
            f"{HOP1_OOD}, {OOD}",
            [_without_accuracy(one, roles) for one in before],
            f"supports: used at {where}, readable in {READABLE} of OOD+OOD; contradicts: not used, or read in < {HARDLY}",
        ),
        bounds_row(
            f"of which: OOD bridges used at {where}, after any layer (1) or not (0)",
            HOP1_OOD,
            pd.Series([float(bridge_is(one.before[HOP1_OOD], roles=roles) == "yes") for one in before]),
            "beside: the first half of that rule by itself; mean over graphs, one-sided 95 % bounds",
        ),
        bounds_row(
            "of which: OOD bridges readable after the first layer at which ID bridges are used",
            OOD,
            pd.Series([_readable(one, roles) for one in before], dtype=float).dropna(),
            "beside: the second half of that rule by itself; mean over graphs, one-sided 95 % bounds",
        ),
        bounds_row(
            "of which: the same after the last such layer",
            OOD,
            pd.Series([_readable(one, roles, first=False) for one in before], dtype=float).dropna(),
            "beside: the same, had the rule meant the last layer at which ID bridges are used",
        ),
        bounds_row(
            "of which: wrong answers that follow a donor at r1 whose second hop is an ID fact",
            OOD,
            pd.Series([_wrong_followed(wrong) for wrong in wrongs], dtype=float),
            "beside, beyond a third bridge's donor; no evidence: at r1 the whole state asks the donor's own question",
        ),
    ]


def _falsifiers(each: Sequence[DissociationMeasurement], roles: Sequence[str]) -> list[dict[str, Any]]:
    """What would contradict it, F2 beside."""
    both = [(one, one.exposed, one.natural) for one in each if one.exposed and one.natural]
    return [
        outcomes_row(
            "F1 a probe reads the bridge as well as in natural",
            OOD,
            [_probe_alike(one, roles) for one, *_ in both],
            f"contradicts where main row 1 is supported and the probes differ by less than {ALIKE} (95 %)",
        ),
        bounds_row(
            f"F2 second hop − natural, answers that {MOVED_BY[mover(roles)]} moves at {', '.join(roles)}",
            OOD,
            pd.Series([_moved(exposed, roles) - _moved(natural, roles) for _, exposed, natural in both], dtype=float),
            "beside, since main row 1 asks it of second hop alone: about 0 if the bridge moves answers as in natural",
        ),
        outcomes_row(
            "F3 second hop answers OOD questions at the end",
            OOD,
            [_at_least(one.accuracy.get("exposed final"), HIGH) for one in each],
            f"supports: exact match at least {HIGH}",
        ),
        outcomes_row(
            "F4 and more of them than shortcuts do",
            OOD,
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
    return SUPPORTED if nowhere and _moved(one.exposed, roles) < LITTLE else UNDECIDED


def _without_accuracy(one: DissociationMeasurement, roles: Sequence[str]) -> str:
    """Path without accuracy, on one graph."""
    readable, used = _readable(one, roles), bridge_is(one.before[HOP1_OOD], roles=roles)
    if readable is None:
        return UNDECIDED
    if used == "yes" and readable >= READABLE:
        return SUPPORTED
    return CONTRADICTED if readable < HARDLY or used == "no" else UNDECIDED


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
    """The largest share of answers, beyond control, that follow another bridge at any cell."""
    rows = evidence.measures[(evidence.measures["measure"] == mover(roles)) & evidence.measures["role"].isin(roles)]
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
    says = table["says"].tolist()
    if CONTRADICTED in says or CONTRADICTED in falsifiers["says"].tolist():
        return CONTRADICTED
    return SUPPORTED if set(says) == {SUPPORTED} else UNDECIDED


def _checks(measured: Mapping[int, DissociationMeasurement]) -> pd.DataFrame:
    judged: dict[int, Any] = {k: int(m.exposed.table["n_judged"].iloc[0]) for k, m in measured.items() if m.exposed}
    enough = [m.exposed.table["reason"].eq("").all() for m in measured.values() if m.exposed]
    low = {k: m.accuracy["before"] for k, m in measured.items() if "before" in m.accuracy}
    return pd.DataFrame(
        [
            check("exact match, not a lens rate", True, "of the checkpoints' reported halves"),
            check("enough facts to judge the bridge", all(enough), f"hop-1 facts by graph: {judged}"),
            check("natural does not answer yet", all(x < 0.1 for x in low.values()), f"OOD+OOD by graph: {low}"),
        ]
    )


def _sentence(table: pd.DataFrame, beside: pd.DataFrame) -> str:
    words = {SUPPORTED: "occurs", CONTRADICTED: "does not occur", UNDECIDED: "is undecided"}
    rows = zip(table["quantity"], table["says"], table["n"], strict=True)
    parts = [f"{quantity.partition(':')[0]} {words[says]} ({n:.0f} graphs)" for quantity, says, n in rows]
    used, first, last, _ = beside["value"]
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
