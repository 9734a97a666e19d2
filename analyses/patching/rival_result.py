"""What a search for rivals of a circuit found: how faithful it is, how faithful they are, by how much they differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ...circuits import Result
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, bounds_in_words, counted_units, gap_in_words, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import after_number, fixed, interval, shown
from .choosing import said

STRATEGIES = ("strongest", "backward", "random")
ALL_OTHERS = "all others"
SCALE = "1 is all that the model does, 0 nothing"


@dataclass(frozen=True, eq=False)
class RivalResult(Result):
    """How faithful a circuit is next to rivals, circuits of its size that share no edge with it.

    Attributes:
        table: a row for the circuit, one for the rival that each strategy found, and one for all other edges together, with
            edges: `circuit`, a name of `STRATEGIES`, or `all others`; n_edges: how many, 0 where no rival was found;
            faithfulness: [m(these edges alone) − m(empty)] / [m(clean) − m(empty)] on the judging half, a ratio of sums over
            queries; low, high: its 95 % bootstrap interval over units, see `PromptPairs.unit`;
            difference: by how much it is closer to 1 than the circuit's, |1 − circuit's| − |1 − its|, which between 0 and 1
            is the plain difference; below 0 it is less faithful; difference_low, difference_high: its 95 % interval, over
            the same resamples for both;
            overlap: share of the circuit's edges that it has;
            searched: faithfulness on the half that was searched on;
            reason: why there is no rival; empty if there is one;
            n: number of judging queries; n_units: of their units; gap: mean m(clean) − m(empty), in the metric's unit.
        edges: by strategy, the names of its rival's edges; none where no rival was found.
        model: the model's name.
        pairs: hash of the pairs it was judged on.
        searched_on: hash of the pairs on which rivals were searched.
        chosen_on: hash of the pairs that the circuit was chosen on.
        recipe: how the judging pairs were made.
        background: what closed edges carry, which is what `empty` means.
        reason: why the numbers are NaN; empty if they are not.
        metric: name of the metric.
        unit: of the metric; empty if nobody said.
        n_tried: how many sets of edges were run in the search.
        shared: how many of the judging pairs share something with the pairs that the circuit was chosen on, see
            `choosing.shared_with_choosing`.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="edges reason",
            numbers="faithfulness low high difference difference_low difference_high overlap searched gap",
            whole="n_edges n n_units",
        ),
    ]
    edges: Mapping[str, list[str]]
    model: str
    pairs: str
    searched_on: str
    chosen_on: str
    recipe: Mapping[str, Any]
    background: str
    reason: str
    metric: str = ""
    unit: str = ""
    n_tried: int = 0
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The strategy whose rival was the most faithful where it was searched; empty if there is no rival."""
        searched = closeness(self._rivals["searched"].to_numpy(dtype=float))
        return "" if np.isnan(searched).all() else str(self._rivals["edges"].iloc[int(np.nanargmax(searched))])

    @property
    def as_faithful(self) -> tuple[str, ...]:
        """The strategies whose rivals cannot be told to be less faithful: the difference's interval is not all below 0."""
        return tuple(self._rivals["edges"][self._rivals["difference_high"] >= 0])

    @property
    def caption(self) -> str:
        """The model, the circuit, its best rival and the finding in one line."""
        gap = f"gap {shown(float(self.table['gap'].iloc[0]))}{after_number(self.unit)}"
        return f"{self.model} · {self.metric}, {gap}: {self.finding}{said(self.shared, int(self.table['n'].iloc[0]))}"

    @property
    def finding(self) -> str:
        """The caption without the model."""
        if self.reason:
            return f"undefined, {self.reason}"
        rows = self.table.set_index("edges")
        others, n = rows.loc[ALL_OTHERS], rows["n"].iloc[0]
        parts = [
            f"{rows.loc['circuit', 'n_edges']} edges keep {_with_interval(rows.loc['circuit'])} of the gap",
            f"the best rival found ({self.best}) {_with_interval(rows.loc[self.best])}" if self.best else self._why_none,
            f"all {others['n_edges']} others {_with_interval(others)}",
        ]
        named = f"as faithful: {', '.join(self.as_faithful) or 'none'}" if self.best else "no rival"
        return f"{', '.join(parts)}, on {n} pairs ({self.background}); {named}"

    def explain(self) -> Explanation:
        """How faithful the circuit is next to the best rival that was found."""
        if self.table.empty:
            return without_rows(self.model)
        rows = self.table.drop_duplicates("edges").set_index("edges").to_dict("index")
        own, best, others = (rows.get(name, {}) for name in ("circuit", self.best, ALL_OTHERS))
        size, kept = self.table.iloc[0].to_dict(), {} if self.reason else own
        rival = f"the best rival found ({self.best}) {shown(best['faithfulness'])}" if best else "and no rival was found"
        means = f"Nothing: {self.reason or 'there is no row of the circuit'}."
        if kept:
            means = f"The circuit alone keeps {shown(kept['faithfulness'])} of the gap ({SCALE}), {rival}."
        return Explanation(
            measured=f"What the circuit's {counted(int(size['n_edges']), 'edge')} keep of the gap alone, and what rivals "
            f"keep, circuits of its size without its edges, the best of {counted(self.n_tried, 'set')} of edges tried.",
            on=f"{self.model}, {counted_units(size)} that rivals were not searched on{said(self.shared, size['n'])}; "
            f"closed edges carry {self.background} states. "
            + gap_in_words(size["gap"], {"metric": self.metric, "unit": self.unit}, to="empty"),
            means=means,
            sure=self._sure(kept, best),
            would_change="A search that finds a better rival: the best one found is a lower bound."
            + (
                f" All {others['n_edges']} other edges together keep {shown(others['faithfulness'])}."
                if kept and others
                else ""
            ),
        )

    @staticmethod
    def _sure(own: Mapping[Any, Any], best: Mapping[Any, Any]) -> str:
        """The interval of the circuit's share, and that of the best rival's difference."""
        if not own or not best:
            return bounds_in_words(own["low"], own["high"]) if own else "No interval was computed."
        return (
            f"{bounds_in_words(own['low'], own['high'])} Of the difference, below 0 where the rival is less faithful, it is "
            f"{interval(best['difference_low'], best['difference_high'], 2)}."
        )

    @property
    def _rivals(self) -> pd.DataFrame:
        return self.table[self.table["edges"].isin(STRATEGIES)]

    @property
    def _why_none(self) -> str:
        return str(self._rivals["reason"].iloc[0])


def _with_interval(row: Any) -> str:
    return f"{fixed(row['faithfulness'], 2)} [{fixed(row['low'], 2)}, {fixed(row['high'], 2)}]"


def closeness(share: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """How faithful a share of the gap is: 1 − |1 − share|, the share itself up to 1."""
    return 1 - np.abs(1 - share)
