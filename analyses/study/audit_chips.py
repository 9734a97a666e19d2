"""The criteria of an audit as a row of chips, each of which opens to its number."""

import html
import math
from collections.abc import Mapping
from typing import Any

from ...circuits.units import cell, interval
from ..validity.audit_result import AuditResult


def audit_chips(result: AuditResult) -> str:
    """HTML of a result."""
    rows: Any = result.table.to_dict("records")
    return f'<div class="chips">{"".join(map(_chip, rows))}</div>'


def _chip(row: Mapping[str, Any]) -> str:
    look = str(row["word"]).replace(" ", "-")
    lines = [str(row["asks"]), f"{row['word']}: {row['finding']}"]
    if not math.isnan(row["value"]):
        number = f"{cell(row['value'])} {interval(row['low'], row['high'])}".strip()
        lines.append(f"{number}; asked: {row['rule']}; n = {row['n']} {row['unit']}")
    if row["measured_by"]:
        lines.append(f"by {row['measured_by']}")
    told = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    name = f"{row['code']} {html.escape(str(row['criterion']))}"
    return f'<details class="chip {look}"><summary>{name}</summary><div>{told}</div></details>'
