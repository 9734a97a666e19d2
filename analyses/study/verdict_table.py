"""The verdicts of all studies in one table, from which first screen, README and docs are made or tested."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from ...circuits.units import fixed, interval
from ..claims.claim_audit import with_elsewhere
from ..claims.deciding import Judged, decisive, panel_of
from ..claims.registry import CLAIMS
from ..claims.rules import INVALID
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
        quantity, value, low, high, against, n, unit, rule: what the verdict hangs on, see `decisive`, with one-sided 95 %
        bounds (NaN: no main row has a number); reason: which rows made the verdict.
    """
    return pd.DataFrame([row for each in all_findings for row in _rows(each)], columns=pd.Index(COLUMNS))


def _rows(findings: Findings) -> Iterator[tuple[object, ...]]:
    for name, claim in CLAIMS.items():
        for architecture, result in claim.results(findings.claims[name]).items():
            about = (name, claim.label, architecture, findings.standing, findings.name, findings.graphs, result.verdict)
            row = decisive(result)
            told = NOTHING if row is None else [row[name] for name in OF_ROW]
            yield (*about, *told, result.reason)


def in_words(row: dict[str, object]) -> str:
    """What a verdict hangs on, in a line: quantity, number with bounds, what it is held against, n."""
    if not row["row"]:
        return "too few graphs to judge"
    quantity = ", ".join(filter(None, panel_of(str(row["row"]))))
    value, low, high = (float(str(row[name])) for name in ("value", "low", "high"))
    against = f"; {row['against']}" if row["against"] else ""
    why = str(row["rule"]).partition("controls: ")[2].partition(";")[0]  # the first control that it is not right on
    invalid = f"; invalid, control “{why}”" if row["says"] == INVALID else ""
    return f"{quantity}: {fixed(value, 2)} {interval(low, high, 2)}{against}; n = {row['n']} {row['unit']}{invalid}"
