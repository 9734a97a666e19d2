"""What was found on a study: every claim of `CLAIMS`, and whether its graphs were known when the rules were made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...tasks import Study
from ..claims.deciding import CONFIRMATORY, EXPLORATORY
from ..claims.registry import CLAIMS

OPENED = range(6)
"""Graphs that had been opened when the rules were made."""


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything the report shows of one study.

    Attributes:
        study, transfers: the runs, and the further trainings on new facts, if there are any.
        claims: what each claim in `CLAIMS` found, by its name there.
    """

    study: Study
    transfers: Study | None
    claims: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of the study: that of its folder."""
        return self.study.folder.name

    @property
    def standing(self) -> str:
        """Exploratory if one of its graphs had been opened when the rules were made, else confirmatory."""
        return EXPLORATORY if set(self.study.summary["seed"]) & set(OPENED) else CONFIRMATORY

    @property
    def graphs(self) -> str:
        """Their numbers in words."""
        return spans(set(self.study.summary["seed"]))

    @property
    def label(self) -> str:
        """The study, its graphs and standing."""
        return f"the study {self.name!r}, graph{'s' * (' ' in self.graphs)} {self.graphs}, {self.standing}"


def spans(numbers: Iterable[int]) -> str:
    """Numbers in words.

    >>> spans([2, 1, 3, 6]), spans([1])
    ('1 to 3, 6', '1')
    """
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def verdicts(findings: Findings) -> Iterator[str]:
    """A line for each question, with its n."""
    for name, claim in CLAIMS.items():
        yield f"{claim.label} {claim.say(findings.claims[name])}"
