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
from .rules import ClaimResult
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


@dataclass(frozen=True, eq=False)
class Claim:
    """A question to the study.

    Attributes:
        label: begins its line, as `(i)`.
        heading: of its section.
        decide: from the inputs and what the jobs measured, by the same groups and names, to its finding: any object that
            `say` and `show` understand.
        say: the finding in one line.
        show: writes the finding into its section of the page.
        jobs: what to measure; nothing if the metrics of the runs are enough.
        arms: without which the study is refused before anything is measured.
    """

    label: str
    heading: str
    decide: Callable[[Inputs, Mapping[str, Mapping[Any, Any]]], Any]
    say: Callable[[Any], str]
    show: Callable[[Any, Report], None]
    jobs: Callable[[Inputs], Jobs] = _nothing_to_measure
    arms: ArmsOfStudy = field(default_factory=dict)


def verdict_line(results: Mapping[str, ClaimResult]) -> str:
    """The first result's caption, and the verdicts of the others."""
    if not results:
        return "undecided: no graph of this study has the arms and replicates that are compared."
    main, *others = results
    exploratory = "; ".join(f"{name} {results[name].verdict}" for name in others)
    return results[main].caption + (f" Exploratory: {exploratory}." if exploratory else "")


def show_result(report: Report, result: ClaimResult) -> None:
    """A verdict with everything that it rests on."""
    report.paragraph(result.caption)
    report.figure(
        result.figure(),
        "Each line is a quantity of the rule with its interval; green supports the claim, orange contradicts it, grey is "
        "undecided or exploratory.",
    )
    report.table(main_table(result))
    report.table(result.falsifiers.drop(columns=[*NO_ROOM, "margin"]))
    report.table(result.checks)
    report.paragraph(f"What would change it: {result.would_change}")


NO_ROOM = ("key", "unit", "strict_low", "strict_high")


def main_table(result: ClaimResult) -> pd.DataFrame:
    """The columns of a result's table that the page has room for."""
    return result.table.drop(columns=list(NO_ROOM))
