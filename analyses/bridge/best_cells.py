"""A measure at its best place, chosen on other facts than those it is counted on.

The best of many cells is above chance by chance. So the units are halved, the place is chosen on each half and the questions
of the other half are counted there; both halves together are all questions, each at a place it had no part in choosing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...tasks import Queries
from ..plots.style import layer_name
from .evidence_verdicts import TOGETHER
from .outcomes import Met, Outcome, counted
from .pair_donors import DONOR, HELD_OUT

ONE_CELL, EVERY_LAYER, ALL_POSITIONS = "one cell", "one position, every layer", "all positions, one layer"
ANY_CELL = "any cell"
PLACES = (ONE_CELL, EVERY_LAYER, ALL_POSITIONS, ANY_CELL)
"""What is read or changed together; the last one counts questions for which a measure is met anywhere."""
ALL, RIGHT, WRONG = "all", "right", "wrong"


def best_rows(
    outcomes: Sequence[Outcome], queries: Queries, answered: Mapping[str, Met], *, seed: int
) -> list[dict[str, Any]]:
    """A row for each measure and kind of place, as in `EvidenceResult.best`.

    Args:
        outcomes: of the questions, at all places.
        queries: the questions.
        answered: by word, which of them are so answered: rows count these; places are chosen on all.
        seed: of the halves.
    """
    rows, halves = [], _halves(queries, seed)
    for where, measure, group in _groups(outcomes):
        if where == ANY_CELL:
            met, control, chosen = _anywhere([each.met for each in group]), _anywhere([each.control for each in group]), []
        else:
            chosen = [_best(group, ~half) for half in halves]
            met, control = (
                _combined([getattr(group[place], name) for place in chosen], halves) for name in ("met", "control")
            )
        whole = _whole_state(outcomes, [group[place] for place in chosen], halves)
        place = {"where": where, "measure": measure, "cells": _names([group[each] for each in chosen])}
        further = {"whole_state": whole, "donor_right": group[0].further.get("donor_right", float("nan"))}
        for word, which in answered.items():
            if met is not None and which.any():
                part = queries.take(which)
                row = counted(met[which], None if control is None else control[which], part)
                rows.append({**place, "answered": word, **row, **further})
    return rows


def _groups(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, str, list[Outcome]]]:
    """The outcomes that one place is chosen of; embeddings, which the tokens alone decide, are left out."""
    later = [each for each in outcomes if each.layer is None or each.layer >= 0]
    for measure in dict.fromkeys(each.measure for each in later):
        of_measure = [each for each in later if each.measure == measure]
        for where in PLACES:
            group = [each for each in of_measure if _where(each) == where]
            if where == ANY_CELL and measure == "lens":
                group = of_measure
            if group:
                yield where, measure, group


def _where(outcome: Outcome) -> str:
    if outcome.layer is None:
        return EVERY_LAYER
    return ALL_POSITIONS if outcome.role == TOGETHER else ONE_CELL


def _names(outcomes: Sequence[Outcome]) -> str:
    names = [each.role if each.layer is None else f"{layer_name(each.layer)} {each.role}" for each in outcomes]
    return ", ".join(dict.fromkeys(names))


def _halves(queries: Queries, seed: int) -> list[Met]:
    units = np.unique(queries.unit.numpy())
    first = np.random.default_rng(seed).permutation(units)[: len(units) // 2]
    is_first = torch.from_numpy(np.isin(queries.unit.numpy(), first))
    return [is_first, ~is_first]


def _best(group: Sequence[Outcome], among: Met) -> int:
    """Where the measure exceeds its control most, the first of equals."""

    def excess(outcome: Outcome) -> float:
        met = outcome.met[among].double()
        return float((met if outcome.control is None else met - outcome.control[among].double()).mean())

    return int(np.argmax(np.nan_to_num([excess(each) for each in group])))


def _combined(chosen: Sequence[Met | None], halves: Sequence[Met]) -> Met | None:
    first, second = chosen
    return None if first is None or second is None else torch.where(halves[0], first, second)


def _anywhere(found: Sequence[Met | None]) -> Met | None:
    there = [each for each in found if each is not None]
    return torch.stack(there).any(0) if there else None


def _whole_state(outcomes: Sequence[Outcome], chosen: Sequence[Outcome], halves: Sequence[Met]) -> float:
    """How many answers follow a donor's whole state at the places chosen; NaN where that was not asked."""
    found = {(each.layer, each.role): each.met for each in outcomes if each.measure in (HELD_OUT, DONOR)}
    met = [found.get((each.layer, each.role)) for each in chosen]
    both = _combined(met, halves) if met else None
    return float("nan") if both is None else float(both.double().mean())
