"""What a verdict hangs on: the row that decided, and the numbers of all rows that decide, by architecture and standing.

The same claim is judged in several architectures, and on graphs that had been opened when the rules were made (exploratory)
and on others (confirmatory). Each of these is a `Judged`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from .rules import CONTRADICTED, SUPPORTED, ClaimResult

ARCHITECTURES = {
    "causal": "causal attention",
    "bidirectional": "attention over slots",
    "token mixing": "token mixing, the paper's kind",
}
"""By key, how an architecture is called."""
LOWEST = {"difference": -1.0}  # by the first word of a kind of number, the least it can be; others are 0 or more
PANELS = {
    "where": "where the answer's information is",
    "what": "what is held there",
    "how_much": "how much depends on it",
    "gain": "gain over random weights in compositions",
}
"""By the beginning of a row's key, its quantity in words; of others the key's own."""
CONFIRMATORY, EXPLORATORY = "confirmatory", "exploratory"


@dataclass(frozen=True, eq=False)
class Judged:
    """A claim as judged on one study.

    Attributes:
        architecture: one of `ARCHITECTURES`.
        standing: `confirmatory` or `exploratory`.
        result: with its verdict.
    """

    architecture: str
    standing: str
    result: ClaimResult

    @property
    def label(self) -> str:
        """Architecture and standing, for axes."""
        return f"{self.architecture}, {self.standing}"


def decisive(result: ClaimResult) -> pd.Series | None:
    """The row that a verdict hangs on; None if no main row has a number.

    A verdict *contradicted* hangs on the first row that contradicts, *supported* on the main row that comes nearest to an
    end of its band beyond which something lies, as nothing lies below a distance of 0, *undecided* on the first main row
    that is open and has a number.
    """
    rows = pd.concat([result.table, result.falsifiers], ignore_index=True)
    main = rows[(rows["role"] == "main") & rows["value"].notna()]
    if result.verdict == CONTRADICTED:
        against = rows[rows["role"].isin(("main", "falsifier")) & (rows["says"] == CONTRADICTED)]
        return against.iloc[0] if len(against) else None
    if result.verdict == SUPPORTED and len(main):
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


def sure_rows(judged: Sequence[Judged]) -> pd.DataFrame:
    """The main rows that say something: quantity and moment in words, architecture, standing and what they say."""
    columns = pd.Index(["quantity", "architecture", "standing", "says"])
    rows = [
        (", ".join(filter(None, panel_of(str(row["key"])))), each.architecture, each.standing, row["says"])
        for each in judged
        for row in each.result.table.to_dict("records")
        if row["role"] == "main" and row["says"] in (SUPPORTED, CONTRADICTED)
    ]
    return pd.DataFrame(rows, columns=columns)


def deciding_lines(judged: Sequence[Judged]) -> pd.DataFrame:
    """A row for each main row of each result: its panel and line, and of the row what `deciding_panels` needs."""
    return pd.DataFrame([line for each in judged for line in _lines(each)], columns=pd.Index(_LINES))


def deciding_points(judged: Sequence[Judged]) -> pd.DataFrame:
    """A row for each graph of a main row, with panel, line, graph and value."""
    found = []
    for each in judged:
        main = set(each.result.table.loc[each.result.table["role"] == "main", "key"])
        for key, graph, value in each.result.points.itertuples(index=False):
            if key in main and value == value:
                panel, moment = panel_of(key)
                found.append((panel, _line(each, moment), graph, value))
    return pd.DataFrame(found, columns=pd.Index(["panel", "line", "graph", "value"]))


_OF_ROW = ("kind", "value", "low", "high", "band_low", "band_high", "n", "says", "against")
_LINES = ("panel", "line", *_OF_ROW, "unclear")


def _lines(each: Judged) -> Iterator[tuple[object, ...]]:
    for row in each.result.table[each.result.table["role"] == "main"].to_dict("records"):
        panel, moment = panel_of(str(row["key"]))
        yield (panel, _line(each, moment), *(row[name] for name in _OF_ROW), each.result.n_unclear[row["key"]])


def _line(each: Judged, moment: str) -> str:
    about = ", ".join(filter(None, (moment, ARCHITECTURES[each.architecture].partition(",")[0])))
    return f"{about} ({each.standing})"
