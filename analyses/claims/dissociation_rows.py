"""The rows from which claim (ii) is decided, and those beside: each a quantity over graphs with its rule."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from ..bounds import difference_bounds, share_bounds
from ..bridge.evidence import EvidenceResult
from ..statistics import newcombe_interval
from .dissociation_criteria import (
    BEYOND_SHORTCUT,
    HAS_NO_PATH,
    HAS_NO_PATH_MIXING,
    HAS_PATH,
    HAS_PATH_MIXING,
    HIGH,
    LOW,
    PATH_READABLE,
    PROBE_READABLE,
    Criterion,
    accuracy_without_path,
    by_probe,
    control_outcomes,
    path,
    path_by_probe,
    readable,
    used,
)
from .dissociation_measurement import HOP1_OOD, OOD, PROBE, DissociationMeasurement
from .rules import (
    EXPLORATORY,
    Row,
    after_controls,
    bounds_row,
    control_row,
    occurrence_row,
    passes,
)

WITHOUT_PATH, WITHOUT_ACCURACY = "accuracy_without_path", "path_without_accuracy"
DIRECTIONS = {WITHOUT_PATH: "accuracy without path", WITHOUT_ACCURACY: "path without accuracy"}
ALIKE = 0.1  # difference of probe accuracies
N_FALSIFIERS = 2


def criteria_of(each: Sequence[DissociationMeasurement]) -> Mapping[str, tuple[Criterion, Mapping[str, bool]]]:
    """By direction, the criterion that must be right on its controls, and what it must say of each."""
    mixes = _mix_tokens(each)
    return {
        WITHOUT_PATH: (accuracy_without_path, HAS_NO_PATH_MIXING if mixes else HAS_NO_PATH),
        WITHOUT_ACCURACY: (path, HAS_PATH_MIXING if mixes else HAS_PATH),
    }


def _mix_tokens(each: Sequence[DissociationMeasurement]) -> bool:
    return any(one.reading == PROBE for one in each)


def path_before(one: DissociationMeasurement) -> bool | None:
    """The path in natural before it answers; None where it is missing or does answer."""
    return path(one, "before") if one.accuracy.get("before", 1.0) < LOW else None


Controls = Mapping[str, Mapping[str, Sequence[bool | None]]]
"""By direction and control, on each graph, whether the criterion is right; None where it says nothing."""


def on_controls(each: Sequence[DissociationMeasurement]) -> Controls:
    """What both criteria say of their controls."""
    criteria = criteria_of(each)
    return {key: control_outcomes(each, criterion, known) for key, (criterion, known) in criteria.items()}


def directions(each: Sequence[DissociationMeasurement], said: Controls, m: int) -> list[Row]:
    """Both directions of the claim, if their criteria are right on the controls."""
    taught = "second hop, as soon as it answers"
    not_used = "used after no layer, at no position and not at all together"
    read = (
        f"read by a probe, surely in {PROBE_READABLE} beyond chance"
        if _mix_tokens(each)
        else f"read after the last layer at which ID ones are used, surely in {PATH_READABLE}"
    )
    asked = f"used on {HOP1_OOD} questions answered right ({_facts(each)} facts)"
    there = f"{asked}, and bridges of {OOD} {read}; not there if not used"
    without_path = occurrence_row(
        Row(WITHOUT_PATH, "main", f"{DIRECTIONS[WITHOUT_PATH]}: {taught}", OOD),
        [accuracy_without_path(one, "exposed") for one in each],
        f"exact match more than {BEYOND_SHORTCUT} beyond shortcuts, and the bridge is {not_used}",
        m=m,
    )
    without_accuracy = occurrence_row(
        Row(WITHOUT_ACCURACY, "main", f"{DIRECTIONS[WITHOUT_ACCURACY]}: natural, before it answers", f"{HOP1_OOD}, {OOD}"),
        [path_before(one) for one in each],
        there,
        m=m,
    )
    return [
        after_controls(row, {name: passes(outcomes) for name, outcomes in said[row.key].items()})
        for row in (without_path, without_accuracy)
    ]


def controls(each: Sequence[DissociationMeasurement], said: Controls) -> list[Row]:
    """A row for each criterion and control: on how many graphs it says what is so."""
    rows = []
    for key, (_, known) in criteria_of(each).items():
        for name, outcomes in said[key].items():
            quantity = f"criterion of {DIRECTIONS[key]} says {'yes' if known[name] else 'no'}: {name}"
            rows.append(control_row(Row(f"control.{key}.{name}", "control", quantity, OOD), outcomes))
    return rows


def beside(each: Sequence[DissociationMeasurement]) -> list[Row]:
    """The halves of the second direction, other readings of it, and what mends wrong answers; none decides."""
    before = [one for one in each if "before" in one.evidence]
    n = min((one.n_questions for one in before), default=1)
    bounds = partial(share_bounds, n=n)
    probe = occurrence_row(
        Row("path.probe", "beside", f"{DIRECTIONS[WITHOUT_ACCURACY]}, read by a probe", f"{HOP1_OOD}, {OOD}"),
        [path_by_probe(one, "before") for one in before],
        f"as the main row, with a probe in place of the lens; {EXPLORATORY}",
        m=1,
    )
    is_used = occurrence_row(
        Row("used", "beside", f"of which: OOD bridges used, {_facts(each)} facts", HOP1_OOD),
        [{"yes": True, "no": False}.get(used(one, "before", HOP1_OOD)) for one in before],
        f"first half of that rule; {EXPLORATORY}",
        m=1,
    )
    reads = [
        ("readable.last", "a lens reads OOD bridges after the last layer at which ID ones are used", {}),
        ("readable.first", "the same after the first such layer", {"first": True}),
        ("readable.probe", "a probe, after the last such layer, beyond chance", {"read": by_probe}),
    ]
    rows = []
    for key, what, how in reads:
        shares = pd.Series([readable(one, "before", **how)["value"] for one in before], dtype=float).dropna()
        rows.append(bounds_row(Row(key, "beside", f"of which: {what}", OOD), shares.clip(0, 1), bounds, EXPLORATORY))
    return [probe, is_used, *rows, *(_mended(each, name) for name in ("before", "untied"))]


def _mended(each: Sequence[DissociationMeasurement], name: str) -> Row:
    """What another fact with the same bridge does to questions answered wrong."""
    shares = pd.Series([_becomes_right(one, name) for one in each if name in one.wrong], dtype=float)
    n = min((int(one.wrong[name].table["n_facts"].max()) for one in each if name in one.wrong), default=1)
    asked = Row(f"mended.{name}", "beside", f"{name}: wrong answers that become right with another fact's same bridge", OOD)
    how = f"state at r1 after the best layer; in causal models what becomes right had failed at the first hop; {EXPLORATORY}"
    return bounds_row(asked, shares, partial(share_bounds, n=n), how)


def _becomes_right(one: DissociationMeasurement, name: str) -> float:
    rows = one.wrong[name].table  # at r1 alone: elsewhere a whole state may ask the donor's question
    there = (rows["donor"] == "same bridge") & (rows["layer"] >= 0) & (rows["role"] == "r1")
    return float(rows.loc[there, "success"].max())


def falsifiers(each: Sequence[DissociationMeasurement]) -> list[Row]:
    """What would contradict the claim although both main rows support it."""
    m = N_FALSIFIERS
    final = [one for one in each if "exposed final" in one.accuracy]
    n = min((one.n_questions for one in final), default=1)
    accuracy = pd.Series([one.accuracy["exposed final"] for one in final], dtype=float)
    floors = pd.Series([one.floors["exposed final"] for one in final], dtype=float)
    return [
        bounds_row(
            Row(
                "f3",
                "falsifier",
                "F3 second hop answers OOD questions at the end",
                OOD,
                margin=HIGH,
                band_low=HIGH,
                band_high=1.0,
            ),
            accuracy,
            partial(share_bounds, n=n),
            f"contradicts if surely below {HIGH}",
            m=m,
            supports=lambda bounds: bounds.low > HIGH,
            contradicts=lambda bounds: bounds.high < HIGH,
        ),
        bounds_row(
            Row(
                "f4",
                "falsifier",
                "F4 and more of them than shortcuts do",
                OOD,
                margin=BEYOND_SHORTCUT,
                band_low=BEYOND_SHORTCUT,
                band_high=1.0,
            ),
            accuracy - floors,
            partial(difference_bounds, n=n),
            f"contradicts if surely less than {BEYOND_SHORTCUT} beyond the best shortcut",
            m=m,
            supports=lambda bounds: bounds.low > BEYOND_SHORTCUT,
            contradicts=lambda bounds: bounds.high < BEYOND_SHORTCUT,
        ),
    ]


def probe_alike(each: Sequence[DissociationMeasurement]) -> Row:
    """F1, beside: a probe may read a bridge that the answer does not rest on, so that it falsifies nothing."""
    return occurrence_row(
        Row("f1", "beside", "F1 accuracy without path, though a probe reads the bridge as well as in natural", OOD),
        [_probe_alike(one) for one in each if {"exposed", "natural"} <= set(one.evidence)],
        f"the probes differ surely by less than {ALIKE}; {EXPLORATORY}",
        m=1,
    )


def _probe_alike(one: DissociationMeasurement) -> bool | None:
    """F1, on one graph."""
    best = []
    for name in ("exposed", "natural"):
        rows = one.evidence[name][OOD].measures
        best.append(rows[rows["measure"] == "probe"].sort_values("value").iloc[-1])
    gap = newcombe_interval(float(best[0]["value"]), float(best[1]["value"]), int(min(row["n_facts"] for row in best)))
    if gap.high < -ALIKE or gap.low > ALIKE:
        return False
    alike, occurs = gap.low > -ALIKE and gap.high < ALIKE, accuracy_without_path(one, "exposed")
    return False if occurs is False else True if alike and occurs else None


def moved_alike(each: Sequence[DissociationMeasurement]) -> Row:
    """F2, beside: main row 1 asks it of second hop alone."""
    both = [one.evidence for one in each if {"exposed", "natural"} <= set(one.evidence)]
    differences = pd.Series([_moved(of["exposed"][OOD]) - _moved(of["natural"][OOD]) for of in both], dtype=float).dropna()
    n = min((int(of[name][OOD].table["n_judged"].min()) for of in both for name in ("exposed", "natural")), default=1)
    return bounds_row(
        Row("f2", "beside", "F2 second hop − natural, answers that the difference of two bridges' means moves", OOD),
        differences,
        partial(difference_bounds, n=max(1, n)),
        f"about 0 if the bridge moves answers as in natural; {EXPLORATORY}",
    )


def _moved(evidence: EvidenceResult) -> float:
    """The largest share of answers, beyond control, that follow another bridge's direction, after any layer anywhere."""
    rows = evidence.measures[(evidence.measures["measure"] == "direction") & (evidence.measures["layer"] >= 0)]
    return float(rows["excess"].max(skipna=False)) if len(rows) else float("nan")


def _facts(each: Sequence[DissociationMeasurement]) -> str:
    """On how many hop-1 facts use is judged before the model answers."""
    numbers = [int(one.evidence["before"][HOP1_OOD].table["n_judged"].iloc[0]) for one in each if "before" in one.evidence]
    return f"{min(numbers)} to {max(numbers)}" if numbers else "no"
