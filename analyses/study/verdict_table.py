"""The verdicts of all studies in one table, from which first screen, README and docs are made or tested."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from ..claims.claim_audit import with_elsewhere
from ..claims.deciding import Judged
from ..claims.decisive import row_in_words
from ..claims.registry import CLAIMS
from .findings import Findings

OF_ROW = ("key", "says", "quantity", "value", "low", "high", "against", "n", "unit", "rule")
NOTHING = ("", "", "", *[float("nan")] * 3, "", 0, "graphs", "")
ABOUT = ("claim", "label", "architecture", "standing", "study", "graphs", "verdict")
COLUMNS = (*ABOUT, "row", *OF_ROW[1:], "reason")


def judged(all_findings: Sequence[Findings], claim: str) -> list[Judged]:
    """A claim's verdicts on all studies, the confirmatory ones first."""
    found = [
        Judged(architecture, findings.standing, result)
        for findings in all_findings
        for architecture, result in CLAIMS[claim].results(findings.claims[claim]).items()
    ]
    return [_generalised(each, found) for each in sorted(found, key=lambda each: each.standing)]


def _generalised(one: Judged, found: Sequence[Judged]) -> Judged:
    """With what other architectures say, in the audit."""
    others = {each.label: each.result.verdict for each in found if each.architecture != one.architecture}
    return replace(one, result=with_elsewhere(one.result, others))


def verdict_table(all_findings: Sequence[Findings]) -> pd.DataFrame:
    """A row for each claim, architecture and study that was judged.

    Returns:
        claim, label: its name and number; architecture, standing, study, graphs: what it was judged on; verdict; row, says,
        quantity, value, low, high, against, n, unit, rule: what the verdict hangs on, see `decisive_row`, with one-sided
        95 % bounds (NaN: no main row has a number); reason: which rows made the verdict.
    """
    return pd.DataFrame([row for each in all_findings for row in _rows(each)], columns=pd.Index(COLUMNS))


def _rows(findings: Findings) -> Iterator[tuple[object, ...]]:
    for name, claim in CLAIMS.items():
        for architecture, result in claim.results(findings.claims[name]).items():
            about = (name, claim.label, architecture, findings.standing, findings.name, findings.graphs, result.verdict)
            row = result.decisive
            told = NOTHING if row is None else [row[name] for name in OF_ROW]
            yield (*about, *told, result.reason)


def in_words(row: Mapping[Any, Any]) -> str:
    """What the verdict of a row of `verdict_table` hangs on, in a line."""
    return row_in_words(str(row["row"]), row)
