"""Question by question, whether a measure is met: what the numbers of `bridge_evidence` are counted from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from ...tasks import Queries
from ..statistics import newcombe_interval, wilson

Met = Bool[Tensor, " query"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One measure at one place.

    Attributes:
        layer: −1: the embedding; None: after every layer from 0 on.
        role: the position, or `all positions`.
        measure: its name.
        met: for which questions.
        control: the same for its control; None if it has none.
        further: columns that its row has besides.
    """

    layer: int | None
    role: str
    measure: str
    met: Met
    control: Met | None
    further: Mapping[str, Any] = field(default_factory=dict)

    def row(self, queries: Queries) -> dict[str, Any]:
        """What is counted of these questions."""
        layer = {} if self.layer is None else {"layer": self.layer}
        place = layer | {"role": self.role, "measure": self.measure}
        return place | counted(self.met, self.control, queries) | dict(self.further)


def counted(met: Met, control: Met | None, queries: Queries) -> dict[str, Any]:
    """Share, control and excess with its interval over units."""
    n_units, value = queries.n_units, float(met.double().mean())
    if control is None:
        low, high = wilson(value, n_units)
        row = {"value": value, "control": float("nan"), "excess": value}
    else:
        chance = float(control.double().mean())
        low, high = newcombe_interval(value, chance, n_units)
        row = {"value": value, "control": chance, "excess": value - chance}
    return row | {"low": low, "high": high, "n": len(queries), "n_facts": n_units}
