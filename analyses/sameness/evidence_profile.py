"""How much the answer depends on an intermediate, cut by cut: bridge evidence as a profile."""

from collections.abc import Sequence

import pandas as pd

from ...circuits.arguments import names_problems, refuse
from ..bridge.evidence import MEASURES, EvidenceResult
from ..bridge.pair_donors import DONOR, HELD_OUT
from ..statistics import wilson
from .profile import Profile

UNIT = "share of questions"
CELL = ["layer", "role", "measure"]


def evidence_profile(
    evidence: EvidenceResult,
    roles: Sequence[str] = ("r1",),
    measures: Sequence[str] = (HELD_OUT, "direction", "ablation"),
) -> Profile:
    """The values of some measures of bridge evidence by layer, at some positions.

    Args:
        evidence: of one model, see `bridge_evidence`.
        roles: at which positions.
        measures: which of the evidence's; of prompt pairs `donor` in place of `held out`.

    Returns:
        The profile: values as the evidence has them, not less their controls, with Wilson's 95 % intervals over units.

    Raises:
        ValueError: if the evidence is of a run, whose steps are several models, or has no such role or measure (all problems
            at once).
    """
    refuse(names_problems(roles=roles, measures=measures) or _problems(evidence, roles, measures))
    cells = [(layer, *each) for layer in sorted(evidence.table["layer"].unique()) for each in _couples(roles, measures)]
    found, rows = {tuple(row[name] for name in CELL): row for _, row in evidence.measures.iterrows()}, []
    for cell in cells:
        value, n, n_units = (found[cell][name] for name in ("value", "n", "n_facts")) if cell in found else (NAN, 0, 0)
        low, high = wilson(value, n_units) if cell in found else (NAN, NAN)
        rows.append(
            dict(zip(CELL, cell, strict=True)) | dict(value=value, low=low, high=high, n=int(n), n_units=int(n_units))
        )
    table = pd.DataFrame(rows)
    reason = evidence.table["reason"].iloc[0] if table["value"].isna().any() else ""
    return Profile(table, evidence.model, evidence.split, UNIT, reason)


NAN = float("nan")


def _couples(roles: Sequence[str], measures: Sequence[str]) -> list[tuple[str, str]]:
    """Each role with each measure, once."""
    return list(dict.fromkeys((role, measure) for role in roles for measure in measures))


def _problems(evidence: EvidenceResult, roles: Sequence[str], measures: Sequence[str]) -> list[str]:
    """What is asked for that the evidence has not; measures are missing without a fault if nothing could be asked."""
    if "step" in evidence.table:
        return ["this evidence is of a run, each of whose steps is a model by itself: give one checkpoint's"]
    there = {"roles": list(dict.fromkeys(evidence.table["role"])), "measures": _possible(evidence)}
    problems = []
    for name, given in (("roles", roles), ("measures", measures)):
        problems += [] if len(given) else [f"{name} is empty, needed is at least one of {', '.join(there[name])}"]
        problems += [f"{name} has {each!r}, there are {', '.join(there[name])}" for each in given if each not in there[name]]
    return problems


def _possible(evidence: EvidenceResult) -> list[str]:
    """The measures there are, or there would be if anything could have been asked."""
    found = list(dict.fromkeys(evidence.measures["measure"])) if len(evidence.measures) else []
    return found if "direction" in found else [*MEASURES, DONOR]
