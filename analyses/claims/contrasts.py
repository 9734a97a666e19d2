"""Which arms claim (i) compares, on which graphs they can be, and what the three measures of a path say.

Two trainings differ in age (steps) and in status (whether out-of-distribution questions are answered). A contrast changes
one of the two, and only graphs on which that is so are used: ages are equal if they are within a quarter of each other.

Each measure runs on controls before it may decide a contrast, from the same models and by the same test: two trainings of
one arm must come out within the margin, and what is different by construction must come out different.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ...circuits.conditions import AGAIN, condition_of
from ..bounds import ALPHA
from ..sameness.equivalence import (
    UNDECIDED,
    Distances,
    EquivalenceResult,
    equivalence,
    lacking_pairs,
)
from ..sameness.path_distances import KNOWN, MARGINS, RESOLUTIONS, trainings_of
from .decisive import INVALID, SUPPORTED
from .path_measurement import PathMeasurement
from .rules import EXPLORATORY, Row, after_controls, equivalence_row
from .specimens import Arms

Measured = Mapping[int, PathMeasurement]
"""By graph."""
SAME_AGE = 1.25  # the largest ratio of steps that counts as one age
ANSWERED = 0.5  # exact match on OOD questions from which they count as answered
STATUS = {
    "early": False, "early taught": True, "late": False, "late taught": True, "grokked": True, "final": True,
    "final taught": True, "early control": False, "final control": False,
}  # fmt: skip
"""By arm, whether it answers OOD questions."""


@dataclass(frozen=True)
class Contrast:
    """Two arms and what differs between them.

    Attributes:
        key: short name.
        a, b: the arms.
        varies: what differs; what is not named, of age and status, is equal.
    """

    key: str
    a: str
    b: str
    varies: Literal["status", "age", "age and status", "supervision", "sharing and status"]

    @property
    def label(self) -> str:
        """Its arms, for tables and figures."""
        return f"{self.a} / {self.b}"


BY_STATUS = (Contrast("early", "early", "early taught", "status"), Contrast("late", "late", "late taught", "status"))
"""What decides claim (i): status at equal age, early and late."""
BY_AGE = (
    Contrast("waits", "early", "late", "age"),
    Contrast("answers", "early taught", "late taught", "age"),
    Contrast("taught", "early taught", "final taught", "age"),
    Contrast("control", "early control", "final control", "age"),
)
"""Age at equal status: of models that do not answer OOD questions yet, that do, and of controls that never do."""
MIXED = Contrast("natural", "early", "final", "age and status")
DIFFERENT = "different"  # key of the control that must come out so
SHARES = ("where", "what")  # of the effect, and of answers: what bounds them ends at 1, as no margin is near it
ROUNDING = 1e-6  # by so much a share may end above 1, from sums in single precision
N_MAIN = len(MARGINS) * len(BY_STATUS)


def couples(contrasts: Sequence[Contrast]) -> list[tuple[str, str]]:
    """The arms of contrasts."""
    return [(each.a, each.b) for each in contrasts]


def with_two_arms(graphs: Mapping[int, Arms], contrasts: Sequence[Contrast]) -> dict[int, Arms]:
    """The graphs that have both arms of some contrast.

    Raises:
        ValueError: if there is none.
    """
    compared = couples(contrasts)
    usable = {graph: arms for graph, arms in graphs.items() if any({a, b} <= set(arms) for a, b in compared)}
    if not usable:
        there = {graph: sorted(arms) for graph, arms in graphs.items()}
        raise ValueError(f"no graph has two arms to compare; needed are some of {compared}, there are {there}")
    return usable


@dataclass(frozen=True, eq=False)
class Control:
    """What a measure says where the truth is known: the test's result, and whether it is right (None: not run)."""

    key: str
    quantity: str
    passed: bool | None
    result: EquivalenceResult | None


@dataclass(frozen=True, eq=False)
class Decided:
    """What one measure says about a contrast.

    Attributes:
        measure, contrast: which.
        result: of the test; None if no graph can be compared.
        controls: of the measure on these graphs.
        left_out: by graph, why it is not used.
        undefined: by graph, why trainings of these arms have no distance: what cannot be measured may be what differs, so
            that nothing is decided.
    """

    measure: str
    contrast: Contrast
    result: EquivalenceResult | None
    controls: Sequence[Control]
    left_out: Mapping[int, str]
    undefined: Mapping[int, str]

    @property
    def verdict(self) -> str:
        """`same`, `different`, `undecided`, or `invalid` if a control fails or has not run."""
        if self.result is None or self.undefined:
            return UNDECIDED
        return self.result.verdict if all(each.passed for each in self.controls) else INVALID

    @property
    def key(self) -> str:
        """Of the row."""
        return f"{self.measure.replace(' ', '_')}.{self.contrast.key}"


def unfit(measured: PathMeasurement, contrast: Contrast) -> str:
    """Why two arms of a graph cannot be compared so; empty if they can."""
    if lacking := [name for name in (contrast.a, contrast.b) if name not in measured.steps]:
        return f"no {' and no '.join(lacking)}"
    problems = replicate_problem, age_problem, status_problem
    return "; ".join(filter(None, (problem(measured, contrast) for problem in problems)))


def replicate_problem(measured: PathMeasurement, contrast: Contrast) -> str:
    """Whether neither arm was trained twice."""
    return "" if any(name.endswith(AGAIN) for name in _trainings(measured, contrast)) else "no replicate"


def age_problem(measured: PathMeasurement, contrast: Contrast) -> str:
    """Which ages are not equal, if only status may vary."""
    ages = {name: measured.steps[name] for name in _trainings(measured, contrast)}
    known = [each for each in ages.values() if each is not None]
    if contrast.varies != "status" or (len(known) == len(ages) and max(known) <= SAME_AGE * min(known)):
        return ""
    return f"ages differ: {_listed(ages)}"


def status_problem(measured: PathMeasurement, contrast: Contrast) -> str:
    """Which trainings answer OOD questions though their arm is one that does not, or the other way round."""
    wrong = {
        name: measured.answers_ood[name]
        for name in _trainings(measured, contrast)
        if (wanted := STATUS.get(condition_of(name))) is not None
        and ((found := measured.answers_ood[name]) is None or (found >= ANSWERED) != wanted)
    }
    return f"OOD questions answered otherwise than named: {_listed(wrong)}" if wrong else ""


def decided(measured: Measured, measure: str, contrast: Contrast, m: int = N_MAIN) -> Decided:
    """Test one contrast by one measure, with its controls.

    Args:
        measured: by graph.
        measure: one of `MARGINS`.
        contrast: two arms.
        m: rows that could contradict the same claim.
    """
    left_out = {graph: reason for graph, each in measured.items() if (reason := unfit(each, contrast))}
    fit = {graph: each for graph, each in measured.items() if graph not in left_out}
    undefined = {graph: why for graph, each in fit.items() if (why := _undefined(each, measure, contrast))}
    found: dict[int, Distances] = {}
    for graph, each in fit.items():
        distances = each.distances.of(measure)
        if lacking := lacking_pairs(distances, (contrast.a, contrast.b)):
            missing = dict.fromkeys(each.distances.missing(measure).values())
            left_out[graph] = f"{'; '.join(lacking)}: {'; '.join(missing) or 'not measured'}"
        else:
            found[graph] = distances
    if not found:
        return Decided(measure, contrast, None, [], left_out, undefined)
    result = _tested(found, (contrast.a, contrast.b), measure, m)
    used = {graph: measured[graph] for graph in found}
    return Decided(measure, contrast, result, list(_controls(used, measure, contrast)), left_out, undefined)


def _undefined(measured: PathMeasurement, measure: str, contrast: Contrast) -> str:
    """Why trainings of two arms have no distance; empty if all have."""
    missing = measured.distances.missing(measure).items()
    arms = {contrast.a, contrast.b}
    return "; ".join(dict.fromkeys(why for couple, why in missing if {condition_of(name) for name in couple} <= arms))


def main_row(found: Decided, split: str, m: int) -> Row:
    """The row that decides: *same* supports, *different* contradicts, after controls."""
    contrast = found.contrast
    asked = Row(found.key, "main", f"{found.measure}, {contrast.label}: {contrast.varies} at equal age", split)
    asked = replace(asked, m=m, margin=MARGINS[found.measure])
    if found.result is None:
        return replace(asked, says="undecided", rule=f"no graph can be compared{_said_of(found.left_out)}")
    row = equivalence_row(asked, found.result, m)
    row = after_controls(row, {each.quantity: each.passed for each in found.controls})
    if found.undefined:
        row = replace(row, says=UNDECIDED, rule=f"undefined{_said_of(found.undefined)}; {row.rule}")
    return replace(row, rule=row.rule + _said_of(found.left_out))


def beside_row(found: Decided, split: str) -> Row:
    """The same numbers without a verdict."""
    contrast = found.contrast
    quantity = f"{found.measure}, {contrast.label}: {contrast.varies}"
    asked = Row(f"{found.key}.beside", "beside", quantity, split, margin=MARGINS[found.measure])
    if found.result is None:
        return replace(asked, rule=f"no graph can be compared{_said_of(found.left_out)}; {EXPLORATORY}")
    row = equivalence_row(asked, found.result, 1)
    return replace(
        row, says="", rule=f"by the same test it is {found.result.finding}{_said_of(found.left_out)}; {EXPLORATORY}"
    )


def control_rows(found: Decided, split: str) -> Iterator[Row]:
    """A row for each control: it says `supported` if the measure is right there, else `invalid`."""
    for each in found.controls:
        asked = Row(f"control.{found.key}.{each.key}", "control", f"{found.measure}, {each.quantity}", split)
        if each.result is None:
            yield replace(asked, says=INVALID, rule="not run: no graph has what it needs")
            continue
        row = equivalence_row(asked, each.result, 1)
        must = "above the margin" if each.key == DIFFERENT else "within the margin, and so on each graph"
        rule = f"right if surely {must}; the whole test says {each.result.finding}"
        yield replace(row, says=SUPPORTED if each.passed else INVALID, rule=rule)


def _controls(used: Measured, measure: str, contrast: Contrast) -> Iterator[Control]:
    for arm in (contrast.a, contrast.b):
        if any(_replicates(each, measure, arm) for each in used.values()):
            yield _positive(used, measure, arm)
    yield _negative(used, measure, contrast)


def _positive(used: Measured, measure: str, arm: str) -> Control:
    """Two trainings of one arm, as if they were two conditions, with other arms' replicates as theirs."""
    found: dict[int, Distances] = {}
    for graph, each in used.items():
        again = _replicates(each, measure, arm)
        others = [value for name in STATUS if name != arm for value in _replicates(each, measure, name)]
        if again and others:
            found[graph] = _as_if(arm, "retrained", again[0], sum(others) / len(others))
    name, passed = f"two trainings of {arm} are the same", None
    result = _tested(found, (arm, "retrained"), measure) if found else None
    if result is not None and result.value == result.value:
        passed = result.high <= result.margin and bool((result.table["distance"] <= result.margin).all())
    return Control(f"same.{arm.replace(' ', '_')}", name, passed, result)


def _negative(used: Measured, measure: str, contrast: Contrast) -> Control:
    """What is different by construction: on each graph the model in which it looks most alike."""
    arms, found = (contrast.a, contrast.b), {}
    for graph, each in used.items():
        known = [
            value
            for couple, value in each.distances.of(measure, KNOWN).items()
            if {condition_of(name) for name in couple} <= set(arms)
        ]
        again = [value for arm in arms for value in _replicates(each, measure, arm)]
        if known and again:
            found[graph] = _as_if("trainings", KNOWN, min(known), sum(again) / len(again))
    result = _tested(found, ("trainings", KNOWN), measure) if found else None
    passed = None if result is None or result.value != result.value else result.low > result.margin
    return Control(DIFFERENT, "what is different by construction is different", passed, result)


def _as_if(a: str, b: str, distance: float, replicates: float) -> Distances:
    """Two trainings of a at one distance from b, and at another from each other."""
    return {(a, b): distance, (a + AGAIN, b): distance, (a, a + AGAIN): replicates}


def _tested(found: Mapping[int, Distances], conditions: tuple[str, str], measure: str, m: int = 1) -> EquivalenceResult:
    result = equivalence(found, conditions, margin=MARGINS[measure], resolution=RESOLUTIONS[measure], alpha=ALPHA / m)
    if measure not in SHARES or result.table["distance"].max() > 1 + ROUNDING:  # more than the whole effect: no share
        return result
    return replace(result, **{name: float(np.minimum(getattr(result, name), 1)) for name in ("low", "high", "strict_low")})


def _replicates(measured: PathMeasurement, measure: str, arm: str) -> list[float]:
    """The distances of two trainings of one arm; none if there are not two."""
    found = measured.distances.of(measure)
    return [value for couple, value in found.items() if set(couple) == {arm, arm + AGAIN}]


def _trainings(measured: PathMeasurement, contrast: Contrast) -> list[str]:
    return [name for arm in (contrast.a, contrast.b) for name in trainings_of(measured.steps, arm)]


def _listed(numbers: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'unknown' if each is None else f'{round(each, 3):g}'}" for name, each in numbers.items())


def by_reason(left_out: Mapping[int, str]) -> str:
    """Why graphs are left out, each reason once.

    >>> by_reason({1: "no late", 2: "ages differ", 3: "no late"})
    'graphs 1, 3: no late; graph 2: ages differ'
    """
    reasons = {reason: [str(graph) for graph, each in left_out.items() if each == reason] for reason in left_out.values()}
    return "; ".join(f"graph{'s' * (len(of) > 1)} {', '.join(of)}: {reason}" for reason, of in reasons.items())


def _said_of(left_out: Mapping[int, str]) -> str:
    return f"; left out: {by_reason(left_out)}" if left_out else ""
