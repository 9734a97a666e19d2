"""Where a model's bridge stands, in one row: can it be read, is it used, so that models can be put side by side.

Reading and use are told apart, and so are two ways to read: the model's head (the logit lens), and a probe. A bridge that is
used in a direction the head does not read is nothing odd; a lens that finds none then says something about the lens.

The words come from `EvidenceResult.best`: each measure at a place chosen on other facts. Readable: the bridge is given more
often than another question's value, the whole interval of the difference above .1. Used: answers need it (some ablation)
and follow it: the difference of two bridges' mean states turns more than half of the answers that a whole state turns at
that place, or, at all positions, of those that can be turned. `no` is said where the interval lies below, `undecided` else.
"""

from collections.abc import Sequence

import pandas as pd

from ...circuits.arguments import refuse
from ..plots.style import layer_name
from .best_cells import ALL, ALL_POSITIONS, ANY_CELL, EVERY_LAYER, ONE_CELL, RIGHT, WRONG
from .evidence import EvidenceResult
from .evidence_verdicts import CEILING, HALF, MARGIN, MIN_UNITS_TO_JUDGE, NO, UNDECIDED, YES
from .pair_donors import DONOR, HELD_OUT, OTHER_R2

STANDINGS = {
    (YES, YES): "readable and used",
    (NO, YES): "used, not readable",
    (YES, NO): "readable, not used",
    (NO, NO): "neither",
}
"""By the words for readable and used."""
READINGS = ("lens", "probe")


def bridge_standing(evidence: EvidenceResult | Sequence[EvidenceResult]) -> pd.DataFrame:
    """A row for each result of `bridge_evidence`, of whatever models, splits and donors.

    Args:
        evidence: of single models, with the table `best`, which those saved by earlier versions lack.

    Returns:
        The columns model, split, second_hop, then
        by_lens, by_probe: `readable and used`, `used, not readable`, `readable, not used`, `neither`, or `undecided`;
        readable_by_lens, readable_by_probe, used: `yes`, `no`, `undecided`, `undecided (ceiling)`;
        then the numbers: for lens, probe, probe where the answer is right and where it is wrong, the lens at any cell, the
        probe of shuffled labels, ablation of all positions after one layer and of one position after every layer,
        interchange (with a donor that asks another r2; pairs have none, but theirs) in one cell and in one position after
        every layer, and the difference of mean states in one cell: the value and its control, low and high of their
        difference, n and n_facts, and the cells; lens_where_used, probe_where_used: what these read at the cells of the
        last, since a bridge may be readable only after it was used.

    Raises:
        ValueError: if a result has no such table, or is of a run of several steps.
    """
    results = [evidence] if isinstance(evidence, EvidenceResult) else list(evidence)
    lacking = [f"{each.model} on {each.split}" for each in results if not len(each.best)]
    stepped = [each.model for each in results if "step" in each.best]
    refuse(
        [f"of no question, or made by an earlier version, which did not say where it is best: {name}" for name in lacking]
        + [f"of several steps, take the evidence of one: {name}" for name in stepped]
    )
    return pd.DataFrame([_row(each) for each in results])


def used_anywhere(evidence: EvidenceResult) -> str:
    """Whether a bridge is used at any kind of place, see `bridge_standing`."""
    return _used(evidence.best)


def _row(evidence: EvidenceResult) -> dict[str, object]:
    best = evidence.best
    readable = {reading: _readable(_one(best, ONE_CELL, reading, ALL)) for reading in READINGS}
    used = _used(best)
    row: dict[str, object] = {"model": evidence.model, "split": evidence.split, "second_hop": evidence.second_hop}
    row |= {f"by_{reading}": STANDINGS.get((word, used), UNDECIDED) for reading, word in readable.items()}
    row |= {f"readable_by_{reading}": word for reading, word in readable.items()} | {"used": used}
    donor = next((kind for kind in (OTHER_R2, DONOR, HELD_OUT) if kind in set(best["measure"])), OTHER_R2)
    shown = {
        "lens": (ONE_CELL, "lens", ALL),
        "lens_any_cell": (ANY_CELL, "lens", ALL),
        "probe": (ONE_CELL, "probe", ALL),
        "probe_right": (ONE_CELL, "probe", RIGHT),
        "probe_wrong": (ONE_CELL, "probe", WRONG),
        "probe_shuffled": (ONE_CELL, "probe, shuffled labels", ALL),
        "ablation": (ALL_POSITIONS, "ablation", RIGHT),
        "ablation_every_layer": (EVERY_LAYER, "ablation", RIGHT),
        "interchange": (ONE_CELL, donor, RIGHT),
        "interchange_every_layer": (EVERY_LAYER, donor, RIGHT),
        "direction": (ONE_CELL, "direction", RIGHT),
    }
    for name, place in shown.items():
        numbers = _one(best, *place)
        for column in ("value", "control", "low", "high", "n", "n_facts", "cells"):
            missing = 0 if column in ("n", "n_facts") else "" if column == "cells" else float("nan")
            row[name if column == "value" else f"{name}_{column}"] = missing if numbers is None else numbers[column]
    return row | {f"{each}_where_used": _at(evidence.measures, each, str(row["direction_cells"])) for each in READINGS}


def _at(measures: pd.DataFrame, measure: str, cells: str) -> float:
    """A measure's value at some cells, as `best` names them, on the mean; NaN for none."""
    names = [f"{layer_name(layer)} {role}" for layer, role in zip(measures["layer"], measures["role"], strict=True)]
    here = pd.Series(names, index=measures.index).isin(cells.split(", ")) & (measures["measure"] == measure)
    return float(measures.loc[here, "value"].mean())


def _one(best: pd.DataFrame, where: str, measure: str, answered: str) -> pd.Series | None:
    rows = best[(best["where"] == where) & (best["measure"] == measure) & (best["answered"] == answered)]
    return None if rows.empty else rows.iloc[0]


def _readable(row: pd.Series | None) -> str:
    return UNDECIDED if row is None else _word(row, MARGIN)


def _word(row: pd.Series, least: float) -> str:
    """`yes` where the whole interval lies above a threshold, `no` where it lies below; see `evidence_verdicts`."""
    if row["n_facts"] < MIN_UNITS_TO_JUDGE:
        return UNDECIDED
    return YES if row["low"] > least else NO if row["high"] < least else UNDECIDED


def _used(best: pd.DataFrame) -> str:
    """Needed and followed, at any kind of place."""
    places = (ONE_CELL, EVERY_LAYER, ALL_POSITIONS)
    ablations = [row for where in places if (row := _one(best, where, "ablation", RIGHT)) is not None]
    turns = [row for where in places if (row := _one(best, where, "direction", RIGHT)) is not None]
    donors = best[best["measure"].isin((HELD_OUT, DONOR))]
    ceiling = float(donors["donor_right"].max()) if len(donors) else float("nan")
    needed = _any([_word(row, MARGIN) for row in ablations])
    followed = _any([_follows(row, ceiling) for row in turns])
    if NO in (needed, followed):
        return NO
    if needed == followed == YES:
        return YES
    return CEILING if followed == CEILING else UNDECIDED


def _follows(row: pd.Series, ceiling: float) -> str:
    """Whether a difference of mean states turns half of what a whole state does; at all positions that is the ceiling."""
    if row["n_facts"] >= MIN_UNITS_TO_JUDGE and ceiling < HALF:
        return CEILING
    reached = row["whole_state"] if row["where"] != ALL_POSITIONS else ceiling if ceiling == ceiling else 1.0
    return _word(row, max(MARGIN, HALF * reached))


def _any(words: Sequence[str]) -> str:
    """`yes` if it is said anywhere, `no` if it is said everywhere."""
    if YES in words:
        return YES
    if words and set(words) == {NO}:
        return NO
    return CEILING if CEILING in words else UNDECIDED
