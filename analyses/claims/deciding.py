"""The numbers of all rows that decide, by architecture and standing.

The same claim is judged in several architectures, and on graphs that had been opened when the rules were made (exploratory)
and on others (confirmatory). Each of these is a `Judged`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from .decisive import CONTRADICTED, SUPPORTED, panel_of
from .rules import ClaimResult

ARCHITECTURES = {
    "causal": "causal attention",
    "bidirectional": "attention over slots",
    "token mixing": "token mixing, the paper's kind",
}
"""By key, how an architecture is called."""
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
    unclear = each.result.n_unclear
    for row in each.result.table[each.result.table["role"] == "main"].to_dict("records"):
        panel, moment = panel_of(str(row["key"]))
        yield (panel, _line(each, moment), *(row[name] for name in _OF_ROW), unclear[row["key"]])


def _line(each: Judged, moment: str) -> str:
    about = ", ".join(filter(None, (moment, ARCHITECTURES[each.architecture].partition(",")[0])))
    return f"{about} ({each.standing})"
