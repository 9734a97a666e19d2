"""What a claim brings to the study: what to measure, how to decide, what to say in a line, what to show on the page.

A claim is one module that builds a `Claim`, and an import and an entry in `registry.CLAIMS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from ...tasks import Checkpoint, Run, Study
from ..page import Report
from .decisive import fewest
from .rules import DECIDING, ClaimResult, Role
from .specimens import ArmsOfStudy
from .transfer_table import transfer_table

N_PAIRS, N_QUESTIONS = 256, 512


@dataclass(frozen=True, eq=False)
class Inputs:
    """What claims are decided on.

    Attributes:
        study: runs from random weights.
        transfers: further trainings on new facts, if there are any.
        n_pairs: prompt pairs asked for on each graph.
        n_questions: for the evidence on the bridge.
        seed: of pairs, questions, donors and resampling.
    """

    study: Study
    transfers: Study | None = None
    n_pairs: int = N_PAIRS
    n_questions: int = N_QUESTIONS
    seed: int = 0

    @cached_property
    def transferred(self) -> pd.DataFrame | None:
        """The `transfer_table` of the further trainings."""
        return None if self.transfers is None else transfer_table(self.transfers)


@dataclass(frozen=True, eq=False)
class Job:
    """One measurement, which is cached in a file.

    Attributes:
        name: of the file; a fingerprint of subject and settings follows it.
        kind: what `measure` returns: a dataclass of results, mappings of results, strings and numbers.
        measure: called with the subject and the settings.
        subject: a run, or the checkpoints of one graph by arm; these are opened first and reach `measure` as specimens.
        settings: everything else that the measurement depends on.
    """

    name: str
    kind: type
    measure: Callable[..., Any]
    subject: Run | Mapping[str, Checkpoint]
    settings: tuple[Any, ...]


Jobs = Mapping[str, Mapping[Any, Job]]
"""Jobs by group, and in a group by graph or run."""


def _nothing_to_measure(inputs: Inputs) -> Jobs:
    return {}


def _no_verdict(finding: Any) -> Mapping[str, ClaimResult]:
    return {}


def _no_picture(finding: Any, report: Report) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Claim:
    """A question to the study.

    Attributes:
        label: begins its line, as `(i)`.
        heading: of its section.
        decide: from the inputs and what the jobs measured, by the same groups and names, to its finding: any object that
            `say`, `results`, `picture` and `show` understand.
        say: the finding in one line.
        show: writes all that the finding rests on into a folded part of its section.
        jobs: what to measure; nothing if the metrics of the runs are enough.
        arms: without which the study is refused before anything is measured.
        words: the claim as the paper words it; empty for a question that it does not answer.
        results: verdicts by architecture, see `deciding.ARCHITECTURES`; none if there is no verdict.
        picture: writes what a reader should see first into its section, after what decides; by default nothing.
    """

    label: str
    heading: str
    decide: Callable[[Inputs, Mapping[str, Mapping[Any, Any]]], Any]
    say: Callable[[Any], str]
    show: Callable[[Any, Report], None]
    jobs: Callable[[Inputs], Jobs] = _nothing_to_measure
    arms: ArmsOfStudy = field(default_factory=dict)
    words: str = ""
    results: Callable[[Any], Mapping[str, ClaimResult]] = _no_verdict
    picture: Callable[[Any, Report], None] = _no_picture


def verdict_line(results: Mapping[str, ClaimResult]) -> str:
    """The first result's caption, and the verdicts of the others with what they rest on."""
    if not results:
        return "undecided: no graph of this study has the arms and replicates that are compared."
    main, *others = results
    rest = "; ".join(
        f"{name}: {results[name].verdict} (m = {results[name].m}, {fewest(results[name].smallest_n)})" for name in others
    )
    return results[main].caption + (f" Also {rest}." if rest else "")


def show_result(report: Report, result: ClaimResult, prefix: str = "") -> None:
    """All rows of a verdict, its controls and checks.

    Args:
        report: the page.
        result: with its verdict.
        prefix: of the names of rows, to which links lead; without one rows have no names.
    """
    report.paragraph(f"{result.claim}: {result.verdict}. {result.sentence}")
    if result.m:
        report.paragraph(
            f"What it rests on: {result.reason}; m = {result.m} rows of that step could contradict the claim, each at "
            f".05/m; the fewest graphs under a row of that step are {result.smallest_n or 'none'}."
        )
    for role, (above, columns) in SHOWN.items():
        rows = rows_of(result, role)
        if not rows.empty:
            report.paragraph(above)
            names = [f"{prefix}{key}" for key in rows["key"]] if prefix and role in DECIDING else ()
            file = f"{prefix or 'rows'}{role}.csv".replace("/", "-")
            report.table(rows[list(columns)].dropna(axis="columns", how="all"), rows=names, file=file, saved=rows)
    report.paragraph("Checks of what was measured:")
    report.table(result.checks)
    report.figure(result.figure(), READING)


READING = (
    "Each line is a quantity of the rule with its interval; green supports the claim, orange contradicts it, grey is "
    "undecided or exploratory. Filled circles and diamonds are main rows and falsifiers, which decide; open squares are "
    "controls, open circles exploratory. A short upright line is the row's margin."
)
_NUMBERS = ("value", "low", "high")
_DECIDED = ("quantity", "split", *_NUMBERS, "strict_low", "strict_high", "margin", "n", "m", "says", "rule")
_COLUMNS = ("quantity", "split", *_NUMBERS, "margin", "n", "says", "rule")
SHOWN: Mapping[Role, tuple[str, tuple[str, ...]]] = {
    "main": (
        "Main rows, which decide together. They support by the bounds low and high, one-sided at 95 %, and contradict by "
        "the strict ones, at .05/m:",
        _DECIDED,
    ),
    "falsifier": (
        "Falsifiers, which count only once every main row supports the claim:",
        _DECIDED,
    ),
    "control": (
        "Controls, where the truth is known. They say supported if the criterion is right there; where it is not, or has "
        "not run, the main row that rests on it is invalid:",
        _COLUMNS,
    ),
    "beside": ("Exploratory rows, which decide nothing:", _COLUMNS),
}
"""By role, what stands above its table on the page and which columns there is room for."""


def rows_of(result: ClaimResult, role: Role) -> pd.DataFrame:
    """The rows of one role, from both tables of a result."""
    rows = result.rows
    return rows[rows["role"] == role]
