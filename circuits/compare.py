"""How alike circuits are: edges shared, lost and gained, rank correlation, overlap of the strongest edges.

All numbers are over live edges, those with an effect other than zero in at least one of the circuits. Where the
circuits carry per-query changes, intervals come from a paired bootstrap: both circuits are recomputed on the same
resampled queries.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from .circuit import Circuit
from .result import Result

MUST_AGREE = ("metric", "contrast", "direction", "pairs")


@dataclass(frozen=True, eq=False)
class CircuitComparison(Result):
    """Circuits compared pair by pair.

    Attributes:
        table: a row for each pair (a, b) and measure, with the columns a, b, measure, value, low, high (95 % bootstrap
            interval over queries, recentred on the estimate, NaN where it cannot be had), n_edges (live edges), n
            (queries). Measures are
            `rank_correlation` (Spearman, of signed effects), `overlap@k` (Jaccard index of the k edges of largest
            |effect|), and the numbers of kept edges that are `shared`, `lost` (in a only) and `gained` (in b only).
        edges: a row for each live edge, with sender, receiver and, for each circuit, its effect, stderr and kept.
        labels: the circuits' names.
    """

    edges: pd.DataFrame
    labels: tuple[str, ...] | list[str]

    @property
    def rank_correlation(self) -> float:
        """Spearman correlation of the first two circuits' effects."""
        return self._value("rank_correlation")

    @property
    def caption(self) -> str:
        """What is compared, and on how much."""
        row = self.table.iloc[0]
        return f"{' / '.join(self.labels)} · {row['n_edges']} live edges · n = {row['n']} queries · 95 % intervals"

    def changed(self, a: str, b: str) -> dict[str, list[str]]:
        """The kept edges that two circuits share, and those lost and gained on the way from a to b."""
        in_a, in_b = (self.edges[f"kept {label}"].to_numpy(dtype=bool) for label in (a, b))
        names = (self.edges["sender"] + " -> " + self.edges["receiver"]).to_numpy()
        return {
            "shared": names[in_a & in_b].tolist(),
            "lost": names[in_a & ~in_b].tolist(),
            "gained": names[~in_a & in_b].tolist(),
        }

    def figure(self) -> Any:
        """Scatter of the first two circuits' effects, one point an edge."""
        import plotly.graph_objects as go

        a, b = self.labels[:2]
        names = (self.edges["sender"] + " → " + self.edges["receiver"]).tolist()
        bars = [
            {"type": "data", "array": (1.96 * self.edges[f"stderr {label}"]).tolist(), "thickness": 0.7} for label in (a, b)
        ]
        figure = go.Figure(
            go.Scatter(
                x=self.edges[f"effect {a}"].tolist(),
                y=self.edges[f"effect {b}"].tolist(),
                error_x=bars[0],
                error_y=bars[1],
                mode="markers",
                text=names,
                hovertemplate="%{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
            )
        )
        n = self.table["n"].iloc[0]
        return figure.update_layout(
            xaxis_title=f"effect in {a}",
            yaxis_title=f"effect in {b}",
            title=f"{len(self.edges)} live edges, n = {n} queries, bars: 95 % intervals",
            template="simple_white",
        )

    def _value(self, measure: str) -> float:
        rows = self.table[(self.table["measure"] == measure)]
        return float(rows["value"].iloc[0])


def compare(
    circuits: Mapping[str, Circuit], *, top_k: tuple[int, ...] = (10, 20), n_bootstrap: int = 1000, seed: int = 0
) -> CircuitComparison:
    """Compare circuits that were measured alike.

    Args:
        circuits: at least two, by label.
        top_k: sizes at which the overlap of the strongest edges is taken; sizes beyond the live edges are left out.
        n_bootstrap: resamples of the queries for the intervals.
        seed: of the resampling.

    Raises:
        ValueError: for fewer than two circuits, or if graph, edges, metric, contrast, direction or pairs differ.
    """
    if len(circuits) < 2:
        raise ValueError(f"comparing needs at least two circuits, got {len(circuits)}")
    check_comparable(circuits)
    effects = {label: circuit.table["effect"].to_numpy(dtype=float) for label, circuit in circuits.items()}
    live = np.any([np.nan_to_num(values) != 0 for values in effects.values()], axis=0)
    weights = _resampling_weights(next(iter(circuits.values())), n_bootstrap, seed)
    rows = []
    for a, b in itertools.combinations(circuits, 2):
        pair = [effects[a][live], effects[b][live]]
        resampled = [_resampled_effects(circuits[label], weights)[live] for label in (a, b)]
        measures = {"rank_correlation": _rank_correlation}
        measures |= {f"overlap@{k}": _overlap_at(k) for k in top_k if k <= live.sum()}
        for name, measure in measures.items():
            value = measure(*(column[:, None] for column in pair))[0]
            low, high = _recentred_interval(value, measure(*resampled))
            rows.append({"a": a, "b": b, "measure": name, "value": value, "low": low, "high": high})
        kept_a, kept_b = (circuits[label].table["kept"].to_numpy(dtype=bool) for label in (a, b))
        counts = {"shared": kept_a & kept_b, "lost": kept_a & ~kept_b, "gained": ~kept_a & kept_b}
        rows += [
            {"a": a, "b": b, "measure": name, "value": float(mask.sum()), "low": np.nan, "high": np.nan}
            for name, mask in counts.items()
        ]
    first = next(iter(circuits.values())).table
    table = pd.DataFrame(rows).assign(n_edges=int(live.sum()), n=int(first["n"].iloc[0]))
    return CircuitComparison(table, _edge_table(circuits, live), tuple(circuits))


def _recentred_interval(value: float, resampled: Float[np.ndarray, " resample"]) -> tuple[float, float]:
    """The 95 % percentile interval, shifted so that the resamples' mean falls on the estimate; NaN without resamples.

    Resampling adds noise to the many edges near zero, which lowers any likeness; the plain percentiles would lean low and
    can even miss the estimate.
    """
    if not np.isfinite(resampled).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(resampled, [0.025, 0.975]) + value - np.nanmean(resampled)
    return float(min(low, value)), float(np.clip(high, value, 1.0))


def check_comparable(circuits: Mapping[str, Circuit]) -> None:
    """Raise unless all circuits have the same graph and edges and were measured in the same way."""
    asked = {name: {label: c.provenance.get(name) for label, c in circuits.items()} for name in MUST_AGREE}
    problems = [f"{name}: {values}" for name, values in asked.items() if len(set(values.values())) > 1]
    if len({circuit.graph for circuit in circuits.values()}) > 1:
        problems.append(f"graph: { {label: circuit.graph for label, circuit in circuits.items()} }")
    elif len({tuple(zip(c.table["sender"], c.table["receiver"], strict=True)) for c in circuits.values()}) > 1:
        problems.append(f"measured edges: { {label: len(circuit.table) for label, circuit in circuits.items()} }")
    if problems:
        raise ValueError("these circuits were not measured alike, they differ in " + "; ".join(problems))


def _edge_table(circuits: Mapping[str, Circuit], live: np.ndarray) -> pd.DataFrame:
    table = next(iter(circuits.values())).table[["sender", "receiver"]].copy()
    for label, circuit in circuits.items():
        for column in ("effect", "stderr", "kept"):
            table[f"{column} {label}"] = circuit.table[column].to_numpy()
    return table[live].reset_index(drop=True)


def _resampling_weights(circuit: Circuit, n_bootstrap: int, seed: int) -> Float[np.ndarray, "query resample"]:
    """How often each query is drawn in each resample; no resamples without per-query changes."""
    n = 0 if circuit.donor_gaps is None else len(circuit.donor_gaps)
    if n == 0:
        return np.zeros((0, 0))
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=n_bootstrap).T.astype(float)


def _resampled_effects(circuit: Circuit, weights: Float[np.ndarray, "query resample"]) -> Float[np.ndarray, "edge _"]:
    """The effects in each resample; one column of NaN without per-query changes."""
    if circuit.deltas is None or circuit.donor_gaps is None or not weights.size:
        return np.full((len(circuit.table), 1), np.nan)
    return (circuit.deltas @ weights) / (circuit.donor_gaps @ weights)


def _rank_correlation(
    a: Float[np.ndarray, "edge resample"], b: Float[np.ndarray, "edge resample"]
) -> Float[np.ndarray, " resample"]:
    """Spearman's correlation over edges, ties at their mean rank, in each column."""
    ranks = [pd.DataFrame(values).rank().to_numpy() for values in (a, b)]
    centred = [values - values.mean(axis=0) for values in ranks]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (centred[0] * centred[1]).sum(0) / np.sqrt((centred[0] ** 2).sum(0) * (centred[1] ** 2).sum(0))


def _overlap_at(k: int) -> Any:
    """Jaccard index of the k edges of largest |effect|, in each column."""

    def overlap(
        a: Float[np.ndarray, "edge resample"], b: Float[np.ndarray, "edge resample"]
    ) -> Float[np.ndarray, " resample"]:
        tops = [np.argsort(np.argsort(-np.abs(values), axis=0, kind="stable"), axis=0) < k for values in (a, b)]
        jaccard = (tops[0] & tops[1]).sum(0) / (tops[0] | tops[1]).sum(0)
        return np.where(np.isnan(a).any(0) | np.isnan(b).any(0), np.nan, jaccard)

    return overlap
