"""How evidence on the bridge is read as a word: where a model can make it, whether it is read there, whether it is used."""

from collections.abc import Sequence

import pandas as pd

from ...tasks.transformerlens import Model
from .evidence import EvidenceResult
from .evidence_verdicts import CEILING, NO, OF_ALL_POSITIONS, TOGETHER, UNDECIDED, YES
from .lens import LensResult

R1 = ("r1",)
ANYWHERE = ("h", "r1", "r2", "answer", "end")  # see `tasks.layout`


def bridge_roles(model: Model) -> Sequence[str]:
    """Where a model can make the bridge: a causal one at r1, where h and r1 are first seen together; else anywhere."""
    return R1 if getattr(model.cfg, "attention_dir", None) == "causal" else ANYWHERE


def bridge_cells(evidence: EvidenceResult, roles: Sequence[str] = R1) -> pd.DataFrame:
    """The verdicts on the bridge at some positions after each layer."""
    table = evidence.table
    return table[table["role"].isin(roles) & (table["layer"] >= 0)]


def bridge_is(
    evidence: EvidenceResult, verdict: str = "used", layers: Sequence[int] | None = None, roles: Sequence[str] = R1
) -> str:
    """A verdict on the bridge: `yes` at any of these cells (default: r1 after any layer), `no` at each, else `undecided`.

    What is asked of all positions of a layer together counts as a cell: where there are copies, no single position shows
    the bridge. `undecided (ceiling)` if there is that and otherwise only `no`.
    """
    together = (TOGETHER,) if verdict in (*OF_ALL_POSITIONS, "used") else ()
    rows = bridge_cells(evidence, (*roles, *together))
    says = set(rows.loc[rows["layer"].isin(rows["layer"] if layers is None else layers), verdict])
    if YES in says or says == {NO}:
        return YES if YES in says else NO
    return CEILING if CEILING in says and says <= {NO, CEILING} else UNDECIDED


def bridge_read(lens: LensResult, roles: Sequence[str] = R1) -> pd.DataFrame:
    """The shares of questions whose bridge a lens reads at some positions after each layer."""
    table = lens.table
    return table[(table["target"] == "bridge") & table["role"].isin(roles) & (table["after"] == "layer")]
