"""The row that a verdict hangs on, and how rows and their n are said."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from ...circuits.units import fixed, interval

SUPPORTED, CONTRADICTED, UNDECIDED, INVALID = "supported", "contradicted", "undecided", "invalid"
LOWEST = {"difference": -1.0}  # by the first word of a kind of number, the least it can be; others are 0 or more
PANELS = {
    "where": "where the answer's information is",
    "what": "what is held there",
    "how_much": "how much depends on it",
    "gain": "gain over random weights in compositions",
}
"""By the beginning of a row's key, its quantity in words; of others the key's own."""


def decisive_row(verdict: str, rows: pd.DataFrame) -> pd.Series | None:
    """The row that a verdict hangs on; None if no main row has a number.

    A verdict *contradicted* hangs on the first row that contradicts, *supported* on the main row that comes nearest to an
    end of its band beyond which something lies, as nothing lies below a distance of 0, *undecided* on the first main row
    that is open and has a number.

    Args:
        verdict: of a claim.
        rows: all of its rows, as of `ClaimResult.rows`.
    """
    main = rows[(rows["role"] == "main") & rows["value"].notna()]
    if verdict == CONTRADICTED:
        against = rows[rows["role"].isin(("main", "falsifier")) & (rows["says"] == CONTRADICTED)]
        return against.iloc[0] if len(against) else None
    if verdict == SUPPORTED and len(main):
        room = [_room(row) for _, row in main.iterrows()]
        return main.iloc[min(range(len(main)), key=lambda place: math.inf if math.isnan(room[place]) else room[place])]
    open_rows = main[main["says"] != SUPPORTED]
    return next((rows.iloc[0] for rows in (open_rows, main) if len(rows)), None)


def _room(row: pd.Series) -> float:
    """How far a row's bounds are from the end of its band that they could cross, as a share of its width.

    A distance of 0 is at an end of the band from 0 to a margin, and as far as can be from not being within.
    """
    lowest = LOWEST.get(str(row["kind"]).partition(" ")[0], 0.0)
    ends = row["band_low"], row["band_high"]
    room = [row["low"] - ends[0]] if ends[0] > lowest else []
    room += [ends[1] - row["high"]] if ends[1] < 1 or row["kind"] == "distance" else []
    return min(room) / (ends[1] - ends[0]) if room else math.nan


def panel_of(key: str) -> tuple[str, str]:
    """A row's quantity, and what of it.

    >>> panel_of("how_much.early"), panel_of("accuracy_without_path")
    (('how much depends on it', 'early'), ('accuracy without path', ''))
    """
    quantity, _, moment = key.partition(".")
    return PANELS.get(quantity, quantity.replace("_", " ")), moment


def row_in_words(key: str, row: Mapping[Any, Any] | pd.Series) -> str:
    """A row in a line: quantity, number with bounds, what it is held against, n.

    Args:
        key: of the row; empty if a verdict hangs on none.
        row: its columns.
    """
    if not key:
        return "too few graphs to judge"
    quantity = ", ".join(filter(None, panel_of(key)))
    value, low, high = (float(str(row[name])) for name in ("value", "low", "high"))
    against = f"; {row['against']}" if row["against"] else ""
    why = str(row["rule"]).partition("controls: ")[2].partition(";")[0]  # the first control that it is not right on
    invalid = f"; invalid, control “{why}”" if row["says"] == INVALID else ""
    return f"{quantity}: {fixed(value, 2)} {interval(low, high, 2)}{against}; n = {row['n']} {row['unit']}{invalid}"


def fewest(n: int) -> str:
    """How many graphs a row rests on at least.

    >>> fewest(3), fewest(0)
    ('n ≥ 3', 'some on no')
    """
    return f"n ≥ {n}" if n else "some on no"


def n_shown(rows: pd.DataFrame) -> str:
    """On how many graphs, runs or questions the rows with a value rest, in words.

    >>> n_shown(pd.DataFrame({"value": [0.1, 0.2, float("nan")], "n": [3, 5, 0], "unit": "graphs"}))
    'n = 3 to 5 graphs'
    """
    n = rows.dropna(subset="value").groupby("unit", sort=False)["n"]
    spans = [(str(unit), of_unit.min(), of_unit.max()) for unit, of_unit in n]
    shown = ", ".join(f"{low} {unit}" if low == high else f"{low} to {high} {unit}" for unit, low, high in spans)
    return f"n = {shown}" if shown else "nothing measured"
