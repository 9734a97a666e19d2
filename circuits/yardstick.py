"""How far two trainings of one arm are apart in the shipped study: what a distance can be held against without replicates.

The numbers are in `assets/replicates.json`, written by the script that it names. They hold for circuits of the same graph,
measured in the same way on the same kind of questions; for others nothing is said.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .units import fixed

FILE = Path(__file__).parent / "assets" / "replicates.json"
MEASURED = ("metric", "contrast", "direction", "split", "graph")
"""What must agree, by name in a circuit's provenance; the graph is the circuit's."""


@cache
def shipped() -> dict[str, Any]:
    """Source, preset, how it was measured, and a row for each pair of trainings."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def yardstick(measured: Mapping[str, Any]) -> str:
    """What the shipped replicates say, or why they say nothing here.

    Args:
        measured: how the compared circuits were, by the names in `MEASURED`.
    """
    if not measured:
        return "The shipped study's replicates are no yardstick here: it is not known how these circuits were measured."
    known = shipped()
    differing = [name for name in MEASURED if measured.get(name) != known[name]]
    if differing:
        how = ", ".join(name if name == "graph" else f"{name} {measured.get(name)}, not {known[name]}" for name in differing)
        return f"The shipped study's replicates are no yardstick here, they were measured otherwise: {how}."
    where = f"in the shipped study ({known['preset']})"
    return f"Yardstick from elsewhere: two trainings of one arm {where} are apart by {_ranges()}."


def _ranges() -> str:
    """Least and largest distance by arm and phase."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in shipped()["pairs"]:
        found.setdefault(row["arm"], {}).setdefault(row["phase"], []).append(row)
    by_arm = {arm: [f"{_range(rows)} at {phase}" for phase, rows in phases.items()] for arm, phases in found.items()}
    ranges = "; ".join(f"{arm} {', '.join(each)}" for arm, each in by_arm.items())
    return f"{ranges} ({_sizes(shipped()['pairs'])})"


def _range(rows: list[dict[str, Any]]) -> str:
    values = [row["jensen_shannon"] for row in rows]
    return f"{fixed(min(values), 3)} to {fixed(max(values), 3)}"


def _sizes(rows: list[dict[str, Any]]) -> str:
    queries, n_graphs = [row["n"] for row in rows], len({row["graph"] for row in rows})
    return f"{len(rows)} pairs of trainings on {n_graphs} graphs, {min(queries)} to {max(queries)} queries"
