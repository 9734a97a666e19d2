"""The audit of a claim: of each criterion what the circuits of its models say, and what only the claim as a whole can say.

A criterion of circuits is met if it is missed on none of them and met on most, as a control is passed (`rules.passes`).
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from ...circuits.units import fixed
from ..validity.audit_result import (
    BY_LEVEL,
    IS_MET,
    NOT_MEASURED,
    AuditResult,
    Entry,
    audited,
    not_measured,
    with_entry,
)
from ..validity.criteria import CRITERIA
from .audit_measurement import AuditMeasurement
from .decisive import INVALID, SUPPORTED, UNDECIDED
from .rules import DECIDING, SHARE_OF_GRAPHS, ClaimResult, passes

NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?"


def with_audit(result: ClaimResult, measured: Mapping[int, AuditMeasurement] | None = None) -> ClaimResult:
    """The result with the table of its audit.

    Args:
        result: with rows and verdict.
        measured: by graph, the audits of the circuits of its models; nothing if no circuit is part of the claim.
    """
    audits = [audit for each in (measured or {}).values() for audit in each.audits.values()]
    entries = {entry.code: entry for entry in (*_of_circuits(audits), *_of_claim(result))}
    return dataclasses.replace(result, audited=audited(entries.values(), result.claim).table)


def with_elsewhere(result: ClaimResult, elsewhere: Mapping[str, str]) -> ClaimResult:
    """The result with an audit that also says whether it holds in other architectures (E6).

    Args:
        result: with the table of its audit.
        elsewhere: by another architecture, the verdict there; nothing changes if there is none.
    """
    if not elsewhere or result.audited.empty:
        return result
    entry = _general(result.verdict, elsewhere)
    return dataclasses.replace(result, audited=with_entry(result.audited, entry, result.claim).table)


def _of_circuits(audits: Sequence[AuditResult]) -> Iterator[Entry]:
    """An entry for each criterion that is about circuits, if there are some."""
    for code in CRITERIA if audits else ():
        if code not in BY_LEVEL:
            yield _over_circuits(code, pd.DataFrame([audit.table.set_index("code").loc[code] for audit in audits]))


def _over_circuits(code: str, rows: pd.DataFrame) -> Entry:
    known, words = rows[rows["word"] != NOT_MEASURED], [IS_MET[word] for word in rows["word"]]
    if known.empty:
        return not_measured(code, str(rows["finding"].iloc[0]))
    first = known.iloc[0]
    says = (
        f"met on {words.count(True)}, missed on {words.count(False)} of {len(words)} circuits; the first: {first['finding']}"
    )
    numbers = dict(zip(("value", "low", "high"), _spread(known["value"].to_numpy(dtype=float)), strict=True))
    rule = f"{first['rule']}; missed on none of the circuits and met on most; interval: least and largest"
    by = str(first["measured_by"])
    return Entry(code, passes(words), by, says, **numbers, rule=rule, n=len(known), unit="circuits")


def _spread(values: np.ndarray) -> tuple[float, float, float]:
    """Median, least and largest."""
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, math.nan, math.nan
    return float(np.median(known)), float(known.min()), float(known.max())


def _of_claim(result: ClaimResult) -> Iterator[Entry]:
    rows = result.rows
    yield _falsifiable(rows)
    if (rows["role"] == "control").any():
        yield _finds_what_is_planted(rows)
    yield _prose(rows, result)
    yield _scope(rows)


def _falsifiable(rows: pd.DataFrame) -> Entry:
    """A row that is invalid, or has no number, can contradict nothing."""
    deciding = rows[rows["role"].isin(DECIDING)]
    n = int((deciding["value"].notna() & (deciding["says"] != INVALID)).sum())
    says = f"{n} of {len(deciding)} rows that decide could contradict it, the others are invalid or have no number"
    return Entry("C1", n > 0, "decide", says, float(n), rule="some row could", n=len(deciding), unit="rows")


def _finds_what_is_planted(rows: pd.DataFrame) -> Entry:
    controls = rows[rows["role"] == "control"]
    right, n = int((controls["says"] == SUPPORTED).sum()), len(controls)
    says = f"{right} of {n} controls, models of which the answer is known, come out right"
    return Entry("M4", right == n, "control rows", says, right / n, rule="all come out right", n=n, unit="controls")


def _general(verdict: str, elsewhere: Mapping[str, str]) -> Entry:
    same = [name for name, word in elsewhere.items() if word == verdict != UNDECIDED]
    says = f"{verdict} here; {', '.join(f'{word} in {name}' for name, word in elsewhere.items())}"
    rule = "the same verdict, other than undecided, in another architecture"
    return Entry("E6", bool(same), "decide", says, float(len(same)), rule=rule, n=len(elsewhere), unit="architectures")


def _scope(rows: pd.DataFrame) -> Entry:
    main = rows[rows["role"] == "main"]
    n = int(main["n"].max()) if len(main) else 0
    says = f"up to {n} graphs; questions {', '.join(dict.fromkeys(main['split']))}" if n else "nothing was measured"
    return Entry("V5", n > 0, "decide", says, float(n), rule="questions and n are told", n=n, unit="graphs")


def _prose(rows: pd.DataFrame, result: ClaimResult) -> Entry:
    """Whether every number of the sentence is one of a main row, at the digits that it is given with."""
    found, main = re.findall(NUMBER, result.sentence.replace("−", "-")), rows[rows["role"] == "main"]
    if not found:
        return not_measured("V3", "the sentence has no number")
    there = main[["value", "low", "high", "margin", "n"]].to_numpy(dtype=float).ravel().tolist()
    there += (main["value"] * main["n"]).tolist()  # on how many graphs
    there += [float(each) for text in main["against"] for each in re.findall(NUMBER, text)]
    unclear = result.n_unclear
    there += [unclear[key] for key in main.loc[main["kind"] == SHARE_OF_GRAPHS, "key"]]
    missing = [text for text in found if not any(_same(text, number) for number in there)]
    says = f"not in a main row: {', '.join(missing)}" if missing else "none is missing"
    rule, n = "every number of the sentence is one of a main row", len(found)
    return Entry("V3", not missing, "with_audit", says, 1 - len(missing) / n, rule=rule, n=n, unit="numbers")


def _same(text: str, number: float) -> bool:
    digits = len(text.partition(".")[2])
    return math.isfinite(number) and fixed(number, digits) == fixed(float(text), digits)
