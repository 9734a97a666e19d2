"""On one graph: is there accuracy without the path, the path without accuracy? And do these criteria see what is there?

Each criterion is a function of what was measured on one model, and says yes, no, or None where it cannot be said. It runs
on models of which the answer is known, on the same graph and questions: set by hand, and natural after grokking, which has
accuracy and path. In token mixing natural may never grok, and both hops, which answers, stands in its place; there a loop
makes anew what is taken out of one layer, so that use is asked of every kind of place, see `bridge_standing`.
"""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from ...tasks.models.by_hand import CODE, DECOY, TWO_HOPS
from ..bridge.evidence_verdicts import TOGETHER
from ..bridge.standing import bridge_standing, used_anywhere
from ..bridge.verdicts import ANYWHERE, bridge_cells, bridge_is, bridge_read
from .dissociation_measurement import HOP1_OOD, IID, OOD, PROBE, RANDOM, DissociationMeasurement

HIGH, LOW, BEYOND_SHORTCUT = 0.9, 0.1, 0.3  # exact match
PATH_READABLE = 0.8  # share of OOD bridges that must surely be read by a lens
PROBE_READABLE = 0.5  # by a probe, beyond chance; of a perfect one on so few facts .8 is not sure
NONE = pd.Series({"value": float("nan"), "low": float("nan"), "high": float("nan")})

Criterion = Callable[[DissociationMeasurement, str], bool | None]
"""Whether one of a graph's models has what a direction of the claim asks for."""


def accuracy_without_path(one: DissociationMeasurement, name: str) -> bool | None:
    """It answers beyond shortcuts, and the bridge is used after no layer, at no position and not at all together."""
    if name not in one.evidence or one.accuracy[name] <= one.floors[name] + BEYOND_SHORTCUT:
        return None
    return {"no": True, "yes": False}.get(used(one, name, OOD))


def path(one: DissociationMeasurement, name: str) -> bool | None:
    """OOD bridges are used where the second hop is ID, and in OOD+OOD questions they are read.

    By a lens where ID ones are used; in token mixing by a probe, at a place chosen on other facts. Of random weights, which
    answer nothing, it is asked only whether a probe reads anything.
    """
    if one.reading != PROBE:
        return _path(one, name, lambda: bool(readable(one, name)["low"] >= PATH_READABLE))
    return _probed(one, name) if name == RANDOM else _path(one, name, lambda: _probed(one, name))


def _probed(one: DissociationMeasurement, name: str) -> bool:
    """Whether a probe surely reads most bridges of OOD+OOD questions at the place where it should read best."""
    return bool(bridge_standing(one.evidence[name][OOD])["probe_low"].iloc[0] >= PROBE_READABLE)


def path_by_probe(one: DissociationMeasurement, name: str) -> bool | None:
    """The same, read by a linear probe: a path may not write bridges in the form that a lens reads."""
    return _path(one, name, lambda: bool(readable(one, name, by_probe)["low"] >= PATH_READABLE))


def used(one: DissociationMeasurement, name: str, split: str) -> str:
    """Whether the bridge is used, after any layer, at any position or at all; in token mixing also after all layers."""
    evidence = one.evidence[name][split]
    if one.reading == PROBE:
        return used_anywhere(evidence)
    return bridge_is(evidence, roles=ANYWHERE)


def by_lens(one: DissociationMeasurement, name: str) -> pd.DataFrame:
    """The shares of OOD+OOD questions whose bridge a lens reads, with layer, role, value, low, high."""
    return bridge_read(one.lenses[name], ANYWHERE).rename(columns={"top1": "value"})


def by_probe(one: DissociationMeasurement, name: str) -> pd.DataFrame:
    """The same of a probe, on half the questions: less the share of another question's bridge."""
    measures = one.evidence[name][OOD].measures
    rows = measures[measures["measure"] == "probe"]
    return rows.drop(columns="value").rename(columns={"excess": "value"})


def readable(
    one: DissociationMeasurement,
    name: str,
    read: Callable[[DissociationMeasurement, str], pd.DataFrame] = by_lens,
    *,
    first: bool = False,
) -> pd.Series:
    """Value, low and high of what is read after the last (or first) layer at which ID bridges are used; NaN if at none.

    At the positions at which they are used there, and of several at the best; if they are used at all positions together
    only, at the best of all.
    """
    if name not in one.lenses:
        return NONE
    iid = bridge_cells(one.evidence[name][IID], (*ANYWHERE, TOGETHER))
    cells = iid[iid["used"] == "yes"]
    if cells.empty:
        return NONE
    layer = cells["layer"].min() if first else cells["layer"].max()
    roles = set(cells.loc[cells["layer"] == layer, "role"]) & set(ANYWHERE) or set(ANYWHERE)
    rows = read(one, name)
    rows = rows[(rows["layer"] == layer) & rows["role"].isin(roles)]
    return rows.sort_values("value").iloc[-1][["value", "low", "high"]].astype(float) if len(rows) else NONE


def _path(one: DissociationMeasurement, name: str, is_read: Callable[[], bool]) -> bool | None:
    if HOP1_OOD not in one.evidence.get(name, {}):
        return None
    is_used = used(one, name, HOP1_OOD)
    if is_used == "no":
        return False
    return True if is_used == "yes" and is_read() else None  # what is used and cannot be read may be a path, too


HAS_NO_PATH: Mapping[str, bool] = {CODE: True, DECOY: True, TWO_HOPS: False, "natural": False}
"""Controls of `accuracy_without_path`, and what it must say."""
HAS_PATH: Mapping[str, bool] = {name: not has_none for name, has_none in HAS_NO_PATH.items()}
"""Controls of `path`."""
HAS_NO_PATH_MIXING: Mapping[str, bool] = {CODE: True, DECOY: True, TWO_HOPS: False, "taught": False}
HAS_PATH_MIXING: Mapping[str, bool] = {name: not has_none for name, has_none in HAS_NO_PATH_MIXING.items()} | {RANDOM: False}
"""The same for token mixing."""


def control_outcomes(
    each: Sequence[DissociationMeasurement], criterion: Criterion, known: Mapping[str, bool]
) -> dict[str, list[bool | None]]:
    """By control, on each graph, whether the criterion is right; None where it says nothing or has not run."""
    said = {name: [criterion(one, name) if name in one.evidence else None for one in each] for name in known}
    return {name: [None if word is None else word == known[name] for word in words] for name, words in said.items()}
