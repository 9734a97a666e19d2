"""How alike two circuits with different roles are where they can be, and how much of each lies where they cannot.

The measures are those of `compare`, over the edges that have a counterpart (see `counterparts`, also for what happens where
only one of the two answers). Beside every number stands the share of each circuit's Σ |effect| that lies outside: two
circuits at distance 0 over a tenth of their effects have little in common. Intervals come from a bootstrap over each
circuit's own units; chance, halves and alignment are as in `compare`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .arguments import common_problems, native, refuse
from .circuit import Circuit
from .columns import Columns
from .common_graph import as_names
from .compare import NUMBERS, Samples, compared, edge_table, kept_counts, recentred_interval, top_k_problems
from .comparison import scatter
from .comparison_table import OUTSIDE, table_in_words
from .counterparts import Laid, counterpart_problems, laid, outside_share
from .explanation import Explanation, bounds_in_words, without_rows
from .plain_text import counted
from .resampling import drawn_again, n_units, reweighted
from .result import Result
from .units import cell, fixed, interval, unit_of
from .verdicts import DISTANCE

COLUMNS = ("a", "b", "measure", "value", *NUMBERS, *OUTSIDE, "n_edges", "n_a", "n_b", "n_units_a", "n_units_b")


@dataclass(frozen=True, eq=False)
class CounterpartComparison(Result):
    """Two circuits with different roles, compared over the edges that have a counterpart.

    Attributes:
        table: a row for each measure of `CircuitComparison`, with its columns, over the n_edges common live edges, where the
            numbers of queries n_a, n_b and of units n_units_a, n_units_b are each circuit's own; and beside each
            outside_a, outside_b, the shares of either circuit's Σ |effect| without a counterpart. These have rows of
            their own, with intervals.
        edges: a row for each common live edge, with sender, receiver and, for each circuit, its effect, stderr and kept.
        differences: a row for each common live edge, see `CircuitComparison`.
        outside: a row for each edge without a counterpart: circuit, edge, by its own roles, effect, share of Σ |effect|,
            kept, and why.
        labels: the two circuits' names.
        roles: by role of the first one of the second.
        alignment: which circuit's loops and heads were moved for the aligned distance, and how.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="a b measure", numbers="value low high chance chance_bound p outside_a outside_b", whole="n_edges"),
    ]
    edges: Annotated[pd.DataFrame, Columns(words="sender receiver")]
    differences: Annotated[pd.DataFrame, Columns(words="a b edge", numbers="difference low high p q")]
    outside: Annotated[pd.DataFrame, Columns(words="circuit edge why", numbers="effect share", flags="kept")]
    labels: tuple[str, ...]
    roles: Mapping[str, str]
    alignment: str

    @property
    def distance(self) -> float:
        """Jensen–Shannon distance over the common edges."""
        return float(self._row(DISTANCE)["value"])

    @property
    def outside_shares(self) -> dict[str, float]:
        """By label, the share of Σ |effect| on edges without a counterpart."""
        row = self._row(DISTANCE)
        return {label: float(row[name]) for label, name in zip(self.labels, OUTSIDE, strict=True)}

    @property
    def caption(self) -> str:
        """The distance, what chance gives, and what lies outside."""
        row = self._row(DISTANCE)
        apart = " ".join(filter(None, [fixed(row["value"], 3), interval(row["low"], row["high"])]))
        roles = ", ".join(f"{own} → {other}" for own, other in self.roles.items())
        left = [f"{cell(100 * share, digits=1)} % of {label}" for label, share in self.outside_shares.items()]
        return (
            f"{' / '.join(self.labels)} at {roles}: {apart} apart over {int(row['n_edges'])} common live edges, "
            f"chance from {cell(row['chance_bound'])} · outside: {' and '.join(left)} (Σ |effect|)"
        )

    def explain(self) -> Explanation:
        """How far apart the circuits are where they can be compared, and how much lies elsewhere."""
        if DISTANCE not in set(self.table["measure"]):
            return without_rows(" / ".join(self.labels))
        row, (a, b), roles = self._row(DISTANCE), self.labels, ", ".join(f"{own} → {its}" for own, its in self.roles.items())
        outside = " and ".join(f"{cell(share, digits=2)} of {label}" for label, share in self.outside_shares.items())
        apart = (
            f"They are {fixed(row['value'], 3)} apart" if row["value"] == row["value"] else "Their distance has no number"
        )
        sizes = [f"{counted(int(row[f'n_{each}']), 'query', 'queries')} of {label}" for each, label in (("a", a), ("b", b))]
        return Explanation(
            measured="The Jensen–Shannon distance between effects of the edges that have a counterpart, and the share of "
            "either circuit's Σ |effect| on edges that have none.",
            on=f"{a} / {b} at {roles}, {counted(int(row['n_edges']), 'common live edge')}, {' and '.join(sizes)}.",
            means=f"{apart} (0 is equal, 1 nothing in common). Outside lie {outside} (0 is nothing, 1 all).",
            sure=f"{bounds_in_words(row['low'], row['high'], 3)} Of shuffled circuits 5 % are within "
            f"{cell(row['chance_bound'])}, of two halves of one circuit 97.5 % within {cell(row.get('ceiling_bound'))}.",
            would_change=f"Other roles laid on each other than {roles}: {counted(len(self.outside), 'edge')} have no "
            "counterpart here.",
        )

    @property
    def in_words(self) -> pd.DataFrame:
        """The table as it is shown."""
        shares = {f"outside in {label}": self.table[name].map(cell) for label, name in zip("ab", OUTSIDE, strict=True)}
        return table_in_words(self.table).assign(**shares)

    def figure(self) -> Any:
        """Scatter of both circuits' effects, one point a common edge; equal ones lie on the dashed diagonal."""
        return scatter(self.edges, self.labels, int(self.table[["n_a", "n_b"]].to_numpy().min()))

    def _row(self, measure: str) -> dict[Any, Any]:
        return self.table[self.table["measure"] == measure].iloc[0].to_dict()


def compare_counterparts(
    circuits: Mapping[str, Circuit],
    roles: Mapping[str, str],
    *,
    top_k: tuple[int, ...] = (10, 20),
    n_bootstrap: int = 1000,
    progress: bool = True,
    seed: int = 0,
) -> CounterpartComparison:
    """Ask whether one circuit reappears in another one that has other roles.

    No word is said on whether they are the same: contrasts, pairs and so gaps are those of different questions.

    Args:
        circuits: two by label, measured in one direction, of models with the same layers, heads and loops.
        roles: by role of the first circuit one of the second.
        top_k: sizes at which the overlap of the strongest edges is taken; sizes beyond the live edges are left out.
        n_bootstrap: resamples of the units for the intervals.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the resampling.

    Raises:
        ValueError: if a setting is none, or see `counterparts`.

    >>> from grokscope.circuits import ComputationGraph
    >>> graphs = [ComputationGraph.transformer(("h", "r1", "r2")[:n], ("r1", "r2")[n - 2], 2, 1, 1) for n in (2, 3)]
    >>> tables = [pd.DataFrame([(*map(str, edge), 0.5, 0.1, 8, 3.0, True) for edge in graph.edges],
    ...     columns=["sender", "receiver", "effect", "stderr", "n", "gap", "kept"]) for graph in graphs]
    >>> one, two = map(Circuit, tables, graphs)
    >>> found = compare_counterparts({"one hop": one, "two hops": two}, {"h": "h", "r1": "r1"}, progress=False)
    >>> round(found.distance, 2), {label: round(share, 2) for label, share in found.outside_shares.items()}
    (0.2, {'one hop': 0.52, 'two hops': 0.52})
    """
    top_k = native(top_k)
    common: dict[str, Any] = {"n_bootstrap": n_bootstrap, "progress": progress, "seed": seed}
    refuse(counterpart_problems(circuits, roles) + top_k_problems(top_k) + common_problems(**common))
    both = laid(circuits, roles)
    a, b = both.circuits
    samples = Samples(both.circuits, n_bootstrap, True, seed, progress)
    found, how = compared(samples, a, b, top_k, seed, progress)
    found += kept_counts(both.circuits[a], both.circuits[b])
    differences = samples.differences(a, b)
    if len({_unit(circuit) for circuit in circuits.values()}) > 1:  # then there is no difference, and no overlap, in one
        found = [row for row in found if not str(row["measure"]).startswith("weighted_overlap in ")]
        differences = differences.drop(columns=[name for name in differences if str(name).startswith("difference_in_")])
    left = [_outside(circuits[label], both, label, samples, n_bootstrap, seed) for label in (a, b)]
    found += [{"measure": name, **each} for name, each in zip(OUTSIDE, left, strict=True)]
    beside: dict[str, Any] = dict(zip(OUTSIDE, (each["value"] for each in left), strict=True))
    rows = [{"a": a, "b": b, **row, **beside, **_sizes(samples, a, b)} for row in found]
    table, edges = pd.DataFrame(rows, columns=pd.Index(COLUMNS)), edge_table(both.circuits, samples.live(a, b))
    outside = pd.concat([_outside_table(label, circuits[label], both) for label in (a, b)], ignore_index=True)
    return CounterpartComparison(table, edges, differences, outside, (a, b), as_names(roles), how)


def _sizes(samples: Samples, a: str, b: str) -> dict[str, int]:
    """Of how many common live edges, and of how many queries and units of either circuit."""
    n = {f"n_{name}": int(samples.circuits[label].table["n"].iloc[0]) for name, label in (("a", a), ("b", b))}
    units = {f"n_units_{name}": n_units(samples.units[label]) for name, label in (("a", a), ("b", b))}
    return {"n_edges": int(samples.live(a, b).sum()), **n, **units}


def _unit(circuit: Circuit) -> str:
    return unit_of(*(str(circuit.provenance.get(name, "")) for name in ("metric", "unit")))


def _outside(circuit: Circuit, both: Laid, label: str, samples: Samples, n_bootstrap: int, seed: int) -> dict[str, float]:
    """The share of a circuit's effects without a counterpart, with its interval over its own units."""
    places = both.places[label]
    value = float(outside_share(_effects(circuit)[:, None], places)[0])
    rng = np.random.default_rng([seed, list(both.circuits).index(label)])
    weights = drawn_again(samples.units[label], n_bootstrap, rng)  # the resamples of all other intervals
    low, high = recentred_interval("outside", value, outside_share(reweighted(circuit, weights), places))
    return {"value": value, "low": low, "high": high}


def _outside_table(label: str, circuit: Circuit, both: Laid) -> pd.DataFrame:
    """The edges of a circuit that have no counterpart."""
    effects, outside = _effects(circuit), both.places[label] < 0
    mass = np.abs(effects).sum()
    table = pd.DataFrame({"edge": [str(edge) for edge in circuit.measured_edges], "effect": effects})
    table = table.assign(share=np.abs(effects) / mass if mass else np.nan, kept=circuit.table["kept"].to_numpy(dtype=bool))
    table.insert(0, "circuit", label)
    return table.assign(why=both.reasons[label])[outside]


def _effects(circuit: Circuit) -> Float[np.ndarray, " edge"]:
    return circuit.table["effect"].to_numpy(dtype=float)
