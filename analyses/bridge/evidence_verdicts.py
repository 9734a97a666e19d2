"""From the numbers of `bridge_evidence` to words: when a bridge is called readable, necessary, used.

`used` asks for two things. The answer needs the bridge: it changes when what is particular to the bridge is taken out of
all positions after a layer together, since a copy at one position makes up for the loss of another. And the bridge is what
the answer follows: adding the difference of two bridges' mean states turns it to tail(b′, r2) at least half as often as the
whole state of a question with b′ does. A whole state can turn it in a model that knows no bridge, such as one that looks up
codes of the facts (h, r1), and a direction can do so by chance in some questions of such a model; neither is enough.

How often the whole state can succeed is bounded by how often the donors' questions are answered when they are asked by
themselves. If that is less than half, half of it says little, and the word is `undecided (ceiling)`.
"""

import math

import pandas as pd

from ...tasks import Queries
from .pair_donors import DONOR, HELD_OUT

MARGIN = 0.1  # by how much an effect must exceed its control
INVARIANT = 0.8  # share of answers that a donor with the same bridge must leave
HALF = 0.5  # of held-out success, which the direction must exceed; of donors' questions, which must be answered right
MIN_UNITS_TO_JUDGE = 20  # for any verdict
TOGETHER = "all positions"  # in place of a role; no role holds a blank, see `circuits.roles`
YES, NO, UNDECIDED, CEILING = "yes", "no", "undecided", "undecided (ceiling)"

VERDICTS = {
    "readable": (("lens",), MARGIN),
    "probe_readable": (("probe",), MARGIN),
    "necessary": (("ablation",), MARGIN),
    "sufficient": ((HELD_OUT, DONOR), MARGIN),
    "invariant": (("same {}",), INVARIANT),
    "aligned": (("direction",), MARGIN),
}
"""By verdict, the measures, of which a table has one, and the threshold above which its excess must lie with its whole
interval; {} is the intermediate's name."""
OF_ALL_POSITIONS = ("necessary", "aligned")
"""The verdicts that are asked of all positions together."""


def verdicts(cells: pd.DataFrame, measures: pd.DataFrame, name: str) -> pd.DataFrame:
    """The words at each cell, as in `EvidenceResult.table`.

    Args:
        cells: layer and role of each, `TOGETHER` in place of a role where all positions are changed.
        measures: as in `EvidenceResult.measures`; may have no row.
        name: of the intermediate.
    """
    table = cells
    for verdict, (kinds, threshold) in VERDICTS.items():
        where = cells.assign(role=TOGETHER) if verdict == "necessary" else cells
        rows = _rows(where, measures, [kind.format(name) for kind in kinds])
        words = _words(rows, pd.Series(threshold, index=rows.index))
        unasked = (cells["role"] == TOGETHER) & (verdict not in OF_ALL_POSITIONS)
        table = table.assign(**{verdict: words.mask(unasked, "")})
    return table.assign(used=_used(cells, measures, table["necessary"]))


def _used(cells: pd.DataFrame, measures: pd.DataFrame, necessary: pd.Series) -> pd.Series:
    """Necessary, and the direction does at least half of what a whole state does."""
    direction, donor = (_rows(cells, measures, kinds) for kinds in (["direction"], [HELD_OUT, DONOR]))
    ceiling = float(donor["donor_right"].max())
    reached = donor["value"].mask(cells["role"] == TOGETHER, 1.0 if math.isnan(ceiling) else ceiling)
    follows = _words(direction, (HALF * reached).clip(lower=MARGIN))
    if ceiling < HALF:
        follows = follows.mask(_enough(direction), CEILING)
    return follows.where(necessary == YES, follows.where(follows != YES, UNDECIDED)).mask(necessary == NO, NO)


def _rows(cells: pd.DataFrame, measures: pd.DataFrame, kinds: list[str]) -> pd.DataFrame:
    """The row of a measure at each cell; NaN where there is none."""
    columns = ["layer", "role", "value", "low", "high", "n_facts", "donor_right"]
    rows = measures[measures["measure"].isin(kinds)] if len(measures) else pd.DataFrame(columns=columns)
    return cells.merge(rows.reindex(columns=columns), how="left", on=["layer", "role"])


def _words(rows: pd.DataFrame, least: pd.Series) -> pd.Series:
    """`yes` where the whole interval lies above a threshold, `no` where it lies below."""
    words, enough = pd.Series(UNDECIDED, index=rows.index), _enough(rows)
    return words.mask(enough & (rows["low"] > least), YES).mask(enough & (rows["high"] < least), NO)


def _enough(rows: pd.DataFrame) -> pd.Series:
    return rows["n_facts"].fillna(0) >= MIN_UNITS_TO_JUDGE


def reason(read: Queries, judged: Queries, asked: Queries) -> str:
    """Why something is undecided for want of units; empty if nothing is."""
    unit = "hop-1 facts" if "hop1" in read.facts else "units"
    reasons, needed = [], MIN_UNITS_TO_JUDGE
    if read.n_units < needed:
        reasons.append(f"reading needs {needed} {unit}, there are {read.n_units}")
    if asked.n_units < needed:
        reasons.append(
            f"causal verdicts need {needed} {unit}, there are {asked.n_units}: {len(asked)} of {len(judged)} questions are "
            "answered correctly and have all donors"
        )
    return "; ".join(reasons)
