"""A profile: numbers of one model by cut and coordinate, in which two models can be compared whatever blocks they have.

A cut is the end of a layer, −1 the embedding. A coordinate is a role, that is a position of the prompt, and a measure.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ...circuits import Result
from ...circuits.columns import Columns
from ..plots.heatmaps import cell_heatmaps


@dataclass(frozen=True, eq=False)
class Profile(Result):
    """A model's numbers by cut and coordinate.

    Attributes:
        table: a row for each layer (−1: the embedding), role and measure, with
            value: in `unit`, NaN where there is no number (see `reason`);
            low, high: its 95 % interval over units;
            n, n_units: queries, and how many independent units they are.
        model: the model's name.
        split: what the questions are; empty if nobody said.
        unit: of the values, such as `share of the gap`.
        reason: why values are NaN, all or some of them; empty if none is.
    """

    table: Annotated[pd.DataFrame, Columns(words="role measure", numbers="value low high", whole="layer n n_units")]
    model: str
    split: str
    unit: str
    reason: str

    @property
    def layers(self) -> list[int]:
        """The cuts, from below."""
        return sorted(map(int, self.table["layer"].unique()))

    @property
    def coordinates(self) -> list[tuple[str, str]]:
        """Role and measure of each coordinate, in the order of their first appearance."""
        return list(dict.fromkeys(zip(self.table["role"], self.table["measure"], strict=True)))

    @property
    def matrix(self) -> Float[np.ndarray, "cut coordinate"]:
        """The values, in the order of `layers` and `coordinates`; a cell without a row is NaN.

        Raises:
            ValueError: if the table has two rows of one cell.
        """
        cells = self.table.set_index(["layer", "role", "measure"])["value"]
        if twice := [f"L{layer} {role} {measure}" for layer, role, measure in cells.index[cells.index.duplicated()]]:
            raise ValueError(f"the profile of {self.model} has several rows for {', '.join(twice)}")
        order = [(layer, *each) for layer in self.layers for each in self.coordinates]
        return cells.reindex(order).to_numpy(dtype=float).reshape(len(self.layers), len(self.coordinates))

    @property
    def caption(self) -> str:
        """Model, split, unit and n in one line."""
        row = self.table.iloc[0]
        about = " · ".join(filter(None, (self.model, self.split, self.unit)))
        n = f"n = {row['n']} over {row['n_units']} units"
        return f"{about} · {n}{f' · undefined: {self.reason}' if self.reason else ''}"

    def figure(self) -> Any:
        """Heat maps of the values, layer × position, a panel for each measure."""
        title = f"{self.caption} · on hover: 95 % over units"
        return cell_heatmaps(self.table, "measure", "value", label=self.unit or "value", title=title, bounds=True)
