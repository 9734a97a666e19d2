"""Circuits laid side by side: the numbers, the edges that differ, and what is said of them."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import pandas as pd

from .arguments import refuse
from .columns import Columns
from .comparison_summary import ComparisonSummary, estimates, headline, intervals, summary_of
from .comparison_table import table_in_words
from .explanation import Explanation, counted_units, without_rows
from .figure_look import template
from .figure_text import escaped
from .palette import PAGE
from .plain_text import counted
from .result import Result
from .verdicts import verdicts


@dataclass(frozen=True, eq=False)
class CircuitComparison(Result):
    """Circuits compared pair by pair: distances are between the effects of all edges, not between the edges that are kept.

    Attributes:
        table: a row for each pair (a, b) and measure, with the columns a, b, measure, value, low, high (95 % bootstrap
            interval over units, recentred on the estimate, NaN where it cannot be had), chance and chance_bound (mean
            and the 5 % most alike of 200 shuffles), p (share of shuffles at least as alike), ceiling (two halves of the
            units), ceiling_bound (the 2.5 % least alike of these), n_edges (live edges), n (queries; the fewer of the two),
            n_units (theirs). Measures are
            `rank_correlation` (Spearman, of signed effects), `overlap@k` (Jaccard index of the k edges of largest
            |effect|), `weighted_overlap` of effects as shares of the gap, `weighted_overlap in nats` (or the metric's unit),
            `jensen_shannon` (a distance, of signed effects), `aligned jensen_shannon` (after the best alignment of loops and
            heads that is found; shuffles get theirs, looked for alike: all 200 up to 1,000 edges, fewer of more, 20 from
            10,000 on), `dropped in alignment` (share of the moved circuit's |effects| on edges that go nowhere in it); and
            the numbers of kept edges that are `shared`, `lost` (in a only) and `gained` (in b only).
        edges: a row for each live edge, with sender, receiver and, for each circuit, its effect, stderr and kept.
        differences: for each pair, a row for each edge live in it: difference (b − a, shares of the gap), its 95 %
            interval low, high, difference_in_nats (or the metric's unit), p (t-test over units, delta method) and q
            (Benjamini & Hochberg: the expected share of false ones among edges with q up to a bound is at most that bound).
        alignment: by pair, which circuit's loops and heads were moved for it, and how.
        labels: the circuits' names; `taught again` is a second training of `taught`.
        margin: the largest distance that counts as none, named before anything was compared; None if none was.
        measured: how the circuits were measured: metric, unit, contrast, direction, split and graph; of those with effects
            that are only estimated, how many.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="a b measure", numbers="value low high chance chance_bound p ceiling", whole="n_edges n")
    ]
    edges: Annotated[pd.DataFrame, Columns(words="sender receiver")]
    differences: Annotated[pd.DataFrame, Columns(words="a b edge", numbers="difference low high p q")]
    alignment: Mapping[str, str]
    labels: tuple[str, ...]
    margin: float | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> ComparisonSummary:
        """*Different*, *same* or *undecided* for each two conditions, by how much, against which yardsticks."""
        return summary_of(self.table, self.differences, self.labels, self.margin, self.measured)

    @property
    def rank_correlation(self) -> float:
        """Spearman correlation of the first two circuits' effects."""
        return self._value("rank_correlation")

    @property
    def distance(self) -> float:
        """Jensen–Shannon distance of the first two circuits."""
        return self._value("jensen_shannon")

    @property
    def caption(self) -> str:
        """The word and the distance of each two conditions, as far as a line holds them; and on how much that rests."""
        found = verdicts(self.table, self.differences, self.labels, self.margin)
        sizes = f"{len(self.edges)} live edges · n = {int(self.table['n'].min())} queries · {intervals(found)}"
        estimated = estimates(self.measured)
        return f"{headline(found, self.labels)} · {sizes}{' · ' if estimated else ''}{estimated}"

    def explain(self) -> Explanation:
        """As its summary, which says the word and the distance of each two conditions."""
        found, names, rows = self.summary(), " / ".join(self.labels), self.table.to_dict("records")
        if not rows:
            return without_rows(names)
        size = min(rows, key=lambda row: row["n"])
        said = replace(
            without_rows(names) if found.table.empty else found.explain(),
            on=f"{names}, {counted(len(self.edges), 'live edge')}, {counted_units(size, 'query', 'queries')}.",
        )
        estimated = estimates(self.measured)
        return replace(said, sure=f"{said.sure} {f'Of the effects {estimated}.' if estimated else ''}")

    @property
    def in_words(self) -> pd.DataFrame:
        """The table as it is shown: measures, units and directions in words, counts as counts."""
        return table_in_words(self.table)

    def _repr_html_(self) -> str:
        sentences = "".join(f"<p>{html.escape(each)}</p>" for each in self.summary().sentences)
        table = self.in_words.to_html(index=False, max_rows=20, border=0)
        return f"<p>{html.escape(self.caption)}</p>{sentences}{table}"

    def changed(self, a: str, b: str) -> dict[str, list[str]]:
        """The kept edges that two circuits share, and those lost and gained on the way from a to b."""
        unknown = {name: given for name, given in (("a", a), ("b", b)) if given not in self.labels}
        names = ", ".join(self.labels)
        refuse((), unknown=[f"{name}: no circuit {given!r}; there are {names}" for name, given in unknown.items()])
        in_a, in_b = (self.edges[f"kept {label}"].to_numpy(dtype=bool) for label in (a, b))
        names = (self.edges["sender"] + " -> " + self.edges["receiver"]).to_numpy()
        return {
            "shared": names[in_a & in_b].tolist(),
            "lost": names[in_a & ~in_b].tolist(),
            "gained": names[~in_a & in_b].tolist(),
        }

    def figure(self) -> Any:
        """Scatter of the first two circuits' effects, one point an edge; equal ones lie on the dashed diagonal."""
        return scatter(self.edges, self.labels, int(self.table["n"].iloc[0]))

    def _value(self, measure: str) -> float:
        rows = self.table[(self.table["measure"] == measure)]
        return float(rows["value"].iloc[0])


def scatter(edges: pd.DataFrame, labels: Sequence[str], n: int) -> Any:
    """Effects of the first two circuits, one point an edge; equal ones lie on the dashed diagonal.

    Args:
        edges: of a comparison.
        labels: of a comparison.
        n: number of queries.
    """
    import plotly.graph_objects as go

    a, b = labels[:2]
    names = [escaped(f"{a} → {b}") for a, b in zip(edges["sender"], edges["receiver"], strict=True)]
    bars = [{"type": "data", "array": (1.96 * edges[f"stderr {label}"]).tolist(), "thickness": 0.7} for label in (a, b)]
    figure = go.Figure(
        go.Scatter(
            x=edges[f"effect {a}"].tolist(),
            y=edges[f"effect {b}"].tolist(),
            error_x=bars[0],
            error_y=bars[1],
            mode="markers",
            text=names,
            hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
        )
    )
    shown = edges[[f"effect {a}", f"effect {b}"]].to_numpy(dtype=float)
    ends = [min(0.0, float(shown.min(initial=0))), max(0.0, float(shown.max(initial=0)))]
    dashed = {"color": PAGE["faint"], "dash": "dash", "width": 1}
    figure.add_shape(type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line=dashed, opacity=1, layer="below")
    has_bars = edges[[f"stderr {label}" for label in (a, b)]].notna().to_numpy().any()
    lines = f"{'bars: 95 % intervals, ' if has_bars else ''}dashed: equal"
    return figure.update_layout(
        xaxis_title=escaped(f"effect in {a}, share of the gap"),
        yaxis_title=escaped(f"effect in {b}, share of the gap"),
        title=f"{len(edges)} live edges, n = {n} queries, {lines}",
        template=template(),
        hoverlabel={"namelength": -1},
    )
