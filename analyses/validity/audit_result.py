"""What an audit returns: a row for each of the 28 criteria, and the level and tier that follow from them."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ..plots.audit import audit_chips
from .criteria import CRITERIA, LEVELS, TIERS

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"
IS_MET: Mapping[str, bool | None] = {MET: True, MISSED: False, NOT_MEASURED: None}
"""What an entry says, by its word."""


Audited = Annotated[
    pd.DataFrame,
    Columns(words="code kind criterion asks word rule unit measured_by finding", numbers="value low high", whole="n"),
]
"""The table of an audit."""


BY_LEVEL = ("V1", "V2")
"""Criteria that follow from the others."""


@dataclass(frozen=True)
class Entry:
    """What was measured for one criterion.

    Attributes:
        code: of the criterion.
        met: whether the number meets it; None if it was not measured.
        by: the function that measured it.
        finding: what was found, or why nothing was measured.
        value, low, high: the number that decides with its 95 % interval, as far as there is one.
        rule: how it decides.
        n, unit: what it rests on.
    """

    code: str
    met: bool | None
    by: str = ""
    finding: str = ""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    rule: str = ""
    n: int = 0
    unit: str = ""


def not_measured(code: str, why: str) -> Entry:
    """An entry of what nobody measured."""
    return Entry(code, None, finding=why)


@dataclass(frozen=True, eq=False)
class AuditResult(Result):
    """How a claim about a mechanism stands by the 28 criteria.

    Attributes:
        table: a row for each criterion of `CRITERIA`, with
            code, kind, criterion, asks: which, of which kind of validity, in short and in full;
            word: `met`, `missed` or `not measured`;
            value, low, high: the number that decides and its 95 % interval;
            rule: what it is held against;
            n, unit: what it rests on;
            measured_by: the function;
            finding: what was found, or why nothing was measured.
        about: what is audited.
    """

    table: Audited
    about: str

    @property
    def words(self) -> Mapping[str, str]:
        """By code, the word."""
        return dict(zip(self.table["code"], self.table["word"], strict=True))

    @property
    def level(self) -> str:
        """The strongest level all of whose criteria are met; `none` if there is not one."""
        return _highest(LEVELS, self.words) or "none"

    @property
    def tier(self) -> str:
        """The highest tier all of whose criteria are met."""
        return _highest(TIERS, self.words) or next(iter(TIERS))

    @property
    def lacking(self) -> Mapping[str, tuple[str, ...]]:
        """By each tier above, the criteria that are not met."""
        words, tiers = self.words, list(TIERS)
        above = tiers[tiers.index(self.tier) + 1 :]
        return {tier: tuple(code for code in TIERS[tier] if words.get(code) != MET) for tier in above}

    @property
    def caption(self) -> str:
        """Tier, level and counts in one line."""
        return f"{self.about}: {self._stands}{f'; {self._next}' if self._next else ''}"

    @property
    def _stands(self) -> str:
        """Tier, level, and how many criteria are met."""
        words = self.table["word"]
        met, missed = int((words == MET).sum()), int((words == MISSED).sum())
        counts = f"{met} of {len(words)} criteria met, {missed} missed, {len(words) - met - missed} not measured"
        return f"{self.tier}, level {self.level}; {counts}"

    @property
    def _next(self) -> str:
        """What the next tier asks for beyond what is met; empty at the highest."""
        nearest = next(iter(self.lacking.items()), None)
        return f"for {nearest[0]} it lacks {', '.join(nearest[1])}" if nearest else ""

    def explain(self) -> Explanation:
        """Tier and level, the interval of one number that they rest on, and what the next tier lacks."""
        least = LEVELS.get(self.level, ())
        numbers = self.table.dropna(subset=["value", "low", "high"])
        without, most = len(self.table) - len(numbers), int(self.table["n"].max()) if len(self.table) else 0
        first = [
            f"Of {row['code']} ({row['criterion']}) the number is {fixed(row['value'], 3)}, its 95 % interval "
            f"{interval(row['low'], row['high'])}, n = {row['n']} {row['unit']}."
            for row in numbers.sort_values("code", key=lambda codes: ~codes.isin(least), kind="stable").to_dict("records")
        ]
        falls = (
            f"Level {self.level} falls if one of {', '.join(least)} is missed." if least else "A level takes more criteria."
        )
        return Explanation(
            measured=f"How a claim stands by {counted(len(self.table), 'criterion', 'criteria')} of validity, each of which "
            "is met or missed by a rule that stands in its row.",
            on=f"{self.about}; n differs from row to row and is at most {most:,}.",
            means=f"{self._stands[:1].upper()}{self._stands[1:]}. Tiers go from {next(iter(TIERS))} to {[*TIERS][-1]}, "
            f"levels from {next(iter(LEVELS))} to {[*LEVELS][-1]}.",
            sure=f"{first[0] if first else 'No interval was computed.'} Criteria without an interval: {without} of "
            f"{len(self.table)}.",
            would_change=f"{f'{self._next[:1].upper()}{self._next[1:]}. ' if self._next else ''}{falls}",
        )

    def figure(self) -> Any:
        """A field for each criterion, a row for each kind of validity."""
        return audit_chips(self.table, title=f"{self.caption} · n at each name, by hovering")


def audited(entries: Iterable[Entry], about: str) -> AuditResult:
    """The result of some entries: levels are declared, and what has no entry was not measured.

    Raises:
        ValueError: if a criterion is unknown, or has two entries.
    """
    found: dict[str, Entry] = {}
    problems = []
    for entry in entries:
        if entry.code not in CRITERIA:
            problems.append(f"no criterion {entry.code}; there are {', '.join(CRITERIA)}")
        elif entry.code in found:
            problems.append(f"two entries for {entry.code}")
        found[entry.code] = entry
    if problems:
        raise ValueError("; ".join(problems))
    found |= {entry.code: entry for entry in _of_level(found)}
    return AuditResult(pd.DataFrame([_row(found.get(code), code) for code in CRITERIA]), about)


def with_entry(table: pd.DataFrame, entry: Entry, about: str) -> AuditResult:
    """An audit with another entry for one criterion; level and tier follow anew."""
    numbers = ("value", "low", "high", "rule", "n", "unit")
    kept = [
        Entry(row["code"], IS_MET[row["word"]], row["measured_by"], row["finding"], **{name: row[name] for name in numbers})
        for row in table.to_dict("records")
        if row["code"] not in (*BY_LEVEL, entry.code)
    ]
    return audited([*kept, entry], about)


def _of_level(found: Mapping[str, Entry]) -> Iterable[Entry]:
    """V1 and V2, which follow from the others: the level, and whether all that it rests on has numbers."""
    words = {code: _word(found.get(code)) for code in CRITERIA}
    level = _highest(LEVELS, words)
    by = "audit"
    if level is None:
        least = next(iter(LEVELS))
        open_ones = [code for code in LEVELS[least] if words[code] != MET]
        yield Entry(
            "V1", False, by, f"no level: {least} lacks {', '.join(open_ones)}", rule="a level follows from the criteria"
        )
        yield not_measured("V2", "there is no level")
        return
    yield Entry("V1", True, by, f"{level}, which follows from the criteria", rule="a level follows from the criteria")
    needed = [found[code] for code in LEVELS[level]]
    told = [each for each in needed if each.n and not math.isnan(each.value)]
    without = [each.code for each in needed if each not in told]
    says = f"{level} rests on {', '.join(LEVELS[level])}" + (f"; without a number: {', '.join(without)}" if without else "")
    yield Entry(
        "V2", not without, by, says, len(told) / len(needed), rule="all have a number and n", n=len(needed), unit="criteria"
    )


def _highest(asked: Mapping[str, tuple[str, ...]], words: Mapping[str, str]) -> str | None:
    reached = [name for name, codes in asked.items() if all(words.get(code) == MET for code in codes)]
    return reached[-1] if reached else None


def _word(entry: Entry | None) -> str:
    if entry is None or entry.met is None:
        return NOT_MEASURED
    return MET if entry.met else MISSED


def _row(entry: Entry | None, code: str) -> dict[str, Any]:
    criterion = CRITERIA[code]
    entry = entry or not_measured(code, "nothing was measured")
    about = {"code": code, "kind": criterion.kind, "criterion": criterion.name, "asks": criterion.asks, "word": _word(entry)}
    measured = dataclasses.asdict(entry)
    columns = ("value", "low", "high", "rule", "n", "unit")
    return about | {name: measured[name] for name in columns} | {"measured_by": entry.by, "finding": entry.finding}
