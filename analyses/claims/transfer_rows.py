"""The rows from which claim (iii) is decided, and those beside: each a quantity over graphs with its rule."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from ...circuits.units import fixed, interval, listed
from ..bounds import difference_bounds
from .decisive import CONTRADICTED, INVALID, SUPPORTED, UNDECIDED
from .rules import (
    EXPLORATORY,
    KINDS,
    Row,
    after_controls,
    bounds_row,
    check,
    control_row,
    passes,
)
from .transfer_table import REACHED

MIN_QUESTIONS = 200
LITTLE, MUCH = 0.2, 0.5  # exact match beyond the best shortcut, or its gain over random weights
BY_CONSTRUCTION = 5  # trained compositions of each new fact, from which on it is known to be a second hop
FORGOTTEN_LITTLE, FORGOTTEN_MUCH = 0.1, 0.5  # fall of accuracy on old ID questions
AREA_ALIKE, AREA_MORE = 0.05, 0.2
DECIDING = ("old+new", "new+new")
N_FALSIFIERS = 2


def gains(table: pd.DataFrame) -> list[Row]:
    """The main rows, if controls and checks hold and forgetting does not explain what they say."""
    balanced = _plain(table)
    holds = {str(row["check"]): bool(row["passed"]) for row in checks(balanced).to_dict("records")}
    rows = []
    for cell in DECIDING:
        asked = Row(f"gain.{cell}", "main", f"grokked − random beyond shortcuts, {cell}", cell)
        row = _bounded(asked, _gain(balanced, balanced, "grokked", cell), balanced, LITTLE, MUCH, m=len(DECIDING))
        passed = {name: passes(outcomes) for name, outcomes in _control_outcomes(table, cell).items()}
        rows.append(_unless_forgotten(after_controls(row, passed | holds), balanced))
    return rows


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The trainings on new facts that were never composed, the first from each origin."""
    return table[(table["recipe"] == "balanced") & (table["exposure"] == 0) & (table["replicate"] == 0)]


def _gain(table: pd.DataFrame, balanced: pd.DataFrame, arm: str, cell: str, column: str = "excess") -> pd.Series:
    """By graph, what an arm of a table has more than random weights."""
    return (
        _of(table[table["arm"] == arm], column, cell) - _of(balanced[balanced["arm"] == "random"], column, cell)
    ).dropna()


def _of(rows: pd.DataFrame, column: str, cell: str) -> pd.Series:
    """By graph."""
    return rows[rows["cell"] == cell].set_index("seed")[column]


def _bounded(
    asked: Row, values: pd.Series, table: pd.DataFrame, little: float, much: float, *, m: int, decides: bool = True
) -> Row:
    """Supports if surely little, contradicts if surely much."""
    if decides:
        asked = replace(asked, against=f"little is below {little:g}, much above {much:g}", band_low=-1.0, band_high=little)
    rule = f"supports if surely below {little}, contradicts if surely above {much}; bounds on the atanh scale"
    return bounds_row(
        asked,
        values.clip(-1, 1),
        partial(difference_bounds, n=max(1, int(table["n"].min()) if len(table) else 1)),
        rule if decides else EXPLORATORY,
        m=m,
        supports=(lambda bounds: bounds.high < little) if decides else None,
        contradicts=(lambda bounds: bounds.low > much) if decides else None,
    )


def _control_outcomes(table: pd.DataFrame, cell: str) -> dict[str, list[bool | None]]:
    """By control, on each graph, whether the gain is as it must be; None if between little and much, or not run."""
    balanced, dosed = _plain(table), table[(table["recipe"] == "balanced") & (table["exposure"] >= BY_CONSTRUCTION)]
    again = table[(table["recipe"] == "balanced") & (table["exposure"] == 0) & (table["replicate"] == 1)]
    graphs = sorted(set(balanced["seed"]))
    much = [_gain(rows, balanced, "grokked", cell).reindex(graphs) for _, rows in dosed.groupby("exposure")]
    little = _gain(again, balanced, "random", cell).reindex(graphs)
    return {
        "composed by construction": [_right(gain, much=True) for gains in much for gain in gains],
        "random weights again": [_right(gain, much=False) for gain in little],
    }


def _right(gain: float, *, much: bool) -> bool | None:
    if math.isnan(gain) or LITTLE <= gain <= MUCH:
        return None
    return (gain > MUCH) == much


def controls(table: pd.DataFrame) -> list[Row]:
    """A row for each cell that decides and each control."""
    must = {
        "composed by construction": f"new facts trained in {BY_CONSTRUCTION} or more compositions gain more than {MUCH}",
        "random weights again": f"another training from random weights gains less than {LITTLE}",
    }
    rows = []
    for cell in DECIDING:
        for name, outcomes in _control_outcomes(table, cell).items():
            asked = Row(f"control.{cell}.{name}", "control", f"{must[name]}, {cell}", cell, unit="trainings")
            rows.append(control_row(asked, outcomes))
    return rows


def forgetting(balanced: pd.DataFrame) -> Row:
    """F2: how far grokked models forget; if much, it explains failures, and main rows that support are undecided."""
    falls = _of(balanced[balanced["arm"] == "grokked"], "forgotten", "old+new")
    worst = float(falls.max()) if len(falls) else float("nan")
    return Row(
        "f2",
        "control",
        "F2 largest fall on old ID questions, grokked",
        "test_inferred_iid",
        value=worst,
        low=float(falls.min()) if len(falls) else worst,
        high=worst,
        n=len(falls),
        says=SUPPORTED if worst < FORGOTTEN_LITTLE else UNDECIDED if worst < FORGOTTEN_MUCH else INVALID,
        rule=f"below {FORGOTTEN_LITTLE} it is not the reason of a failure; from {FORGOTTEN_MUCH} on it may be, and then "
        "no failure supports the claim",
        kind=KINDS[difference_bounds],
    )


def _unless_forgotten(row: Row, balanced: pd.DataFrame) -> Row:
    if row.says != SUPPORTED or forgetting(balanced).value < FORGOTTEN_MUCH:
        return row
    return replace(row, says=UNDECIDED, rule=f"F2: the failure may be forgetting; {row.rule}")


def falsifiers(balanced: pd.DataFrame) -> list[Row]:
    """F1 and F4: what would contradict the claim although both main rows support it."""
    grokked, m = balanced[balanced["arm"] == "grokked"], N_FALSIFIERS
    at_end = Row("f1", "falsifier", "F1 grokked beyond shortcuts at the end", "old+new")
    pace = Row("f4", "falsifier", "F4 area under the curve, grokked − random", "old+new")
    area = _gain(balanced, balanced, "grokked", "old+new", "area")
    return [
        _bounded(at_end, _of(grokked, "excess", "old+new"), balanced, LITTLE, MUCH, m=m),
        _bounded(pace, area, balanced, AREA_ALIKE, AREA_MORE, m=m),
    ]


def over_r2(balanced: pd.DataFrame) -> Row:
    """F3, beside: what looks like transfer of new first hops may be the last relation alone."""
    rows = balanced[(balanced["arm"] == "grokked") & (balanced["cell"] == "new+old")]
    return bounds_row(
        Row("f3", "beside", "F3 grokked beyond the last relation's majority", "new+old"),
        rows["exact_match"] - rows["floor_r2"],
        partial(difference_bounds, n=max(1, int(rows["n"].min()) if len(rows) else 1)),
        "contradicts (the transfer is a shortcut) if surely not above 0",
        supports=lambda bounds: bounds.low > 0,
        contradicts=lambda bounds: bounds.high <= 0,
    )


def beside(table: pd.DataFrame) -> list[Row]:
    """What random weights reach, what exposure brings, and the published recipe; none decides."""
    balanced, first = _plain(table), table[table["replicate"] == 0]
    doses = first[(first["arm"] == "grokked") & (first["exposure"] > 0) & (first["cell"] == "old+new")]
    published = first[(first["recipe"] == "published") & (first["cell"] != "new+new")]
    rows = [
        (f"random.{cell}", f"random beyond shortcuts, {cell}", cell, balanced.query("arm == 'random' and cell == @cell"))
        for cell in DECIDING
    ]
    rows += [
        (f"dose.{exposure}", f"grokked, each new fact in {exposure} trained compositions", "old+new", of)
        for exposure, of in doses.groupby("exposure")
    ]
    rows += [
        (f"published.{arm}.{cell}", _published_name(str(arm), str(cell)), str(cell), of)
        for (arm, cell), of in published.groupby(["arm", "cell"])
    ]
    return [
        _bounded(Row(key, "beside", what, cell), of["excess"], of, LITTLE, MUCH, m=1, decides=False)
        for key, what, cell, of in rows
    ]


def _published_name(arm: str, cell: str) -> str:
    origin, _, reading = arm.rpartition("_")
    return f"{origin}, published recipe ({reading}), {cell}"


def checks(table: pd.DataFrame) -> pd.DataFrame:
    """What must hold of the trainings on new facts that decide; main rows are invalid without."""
    remembered = table.groupby("arm")["remembered"].min().round(2).to_dict()
    beyond = np.isclose(table["excess"], table["exact_match"] - table["floor"]) & (table["floor"] >= table["floor_r2"])
    shared = table.groupby(["seed", "cell"])[["n", "floor", "floor_r2"]].nunique()
    alike = (shared == 1).all(axis=1)
    return pd.DataFrame(
        [
            check("questions in every cell", bool((table["n"] >= MIN_QUESTIONS).all()), f"at least {table['n'].min()}"),
            check(
                "new facts are learned",
                min(remembered.values()) > REACHED,
                f"least exact match by origin: {listed(remembered)}",
            ),
            check("the best shortcut is subtracted", bool(beyond.all()), f"best shortcut up to {table['floor'].max():.2f}"),
            check(
                "all origins have the same questions and shortcuts",
                bool(alike.all()),
                f"{int(alike.sum())} of {len(alike)} cells of a graph, {table['run'].nunique()} runs",
            ),
        ]
    )


def sentence(main: Sequence[Row], verdict: str) -> str:
    """The claim in plain words, with the gain over random weights by cell."""
    word = {SUPPORTED: "transfers little", CONTRADICTED: "does transfer", UNDECIDED: "may or may not transfer"}[verdict]
    gains = ", ".join(
        f"{row.split} {fixed(row.value, 2)} {interval(row.low, row.high, 2)} ({row.says}, n = {row.n} graphs)"
        for row in main
        if row.value == row.value
    )
    told = f"gain over random weights beyond the best shortcut, {gains}" if gains else "nothing could be measured"
    return f"A grokked circuit {word} to new facts: {told}."
