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
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ..plots.heatmaps import cell_heatmaps
from ..plots.style import layer_name


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
        about = " · ".join(filter(None, (self.model, self.split, self.unit, self._n)))
        return f"{about}{f' · undefined: {self.reason}' if self.reason else ''}"

    @property
    def _n(self) -> str:
        """Queries and units of the first row."""
        rows = self.table[["n", "n_units"]].to_dict("records")
        return f"n = {rows[0]['n']} over {counted(int(rows[0]['n_units']), 'unit')}" if rows else "n = 0"

    def explain(self) -> Explanation:
        """Where the largest value is, and how large it is."""
        values, places = self.table["value"].dropna(), (self.table["layer"].nunique(), self.table["role"].nunique())
        means, sure = f"Nothing: {self.reason or 'no cell has a value'}.", f"No interval was computed; {self._n}."
        if len(values):
            row = self.table.dropna(subset="value").iloc[int(values.to_numpy(dtype=float).argmax())]
            scale = " (0 is nothing, 1 all of it)" if self.unit.startswith("share") else ""
            where = f"{row['measure']} at {row['role']}, layer {layer_name(int(row['layer']))}"
            means = f"The largest value is {fixed(row['value'], 2)}{scale}: {where}."
            sure = f"The 95 % interval of that value, over units, is {interval(row['low'], row['high'], 2) or 'not held'}."
        return Explanation(
            measured=f"For each of {counted(places[0], 'layer')}, the embedding among them, and "
            f"{counted(places[1], 'position')}: {', '.join(dict.fromkeys(self.table['measure']))}, as {self.unit}.",
            on=f"{', '.join(filter(None, (self.model, self.split, self._n)))}.",
            means=means,
            sure=sure,
            would_change="Other questions, and layers, positions and measures that are not in the table. Cells without a "
            f"value: {len(self.table) - len(values)} of {len(self.table)}.",
        )

    def figure(self) -> Any:
        """Heat maps of the values, layer × position, a panel for each measure."""
        title = f"{self.caption} · on hover: 95 % over units"
        return cell_heatmaps(self.table, "measure", "value", label=self.unit or "value", title=title, bounds=True)
