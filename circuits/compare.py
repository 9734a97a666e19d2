"""How alike the effects of all edges are, not which edges are kept: with an interval, chance, and halves of the same data.

All numbers are over live edges, those with an effect other than zero in at least one of the two circuits. Where circuits
carry per-query changes, intervals come from a bootstrap over units of queries, which circuits keep in their provenance (each
query is one if they do not): the same units for both circuits if they were measured on the same pairs. Chance: the second
circuit's effects shuffled among all edges of one layer and kind of input. Ceiling: the mean similarity of a circuit from a
random half of its units to one from the other half.

Edges, and so all these numbers, depend on how a function is written down: a head split in two, an idle block moved or one
MLP instead of three in a row make another circuit of the same function. They describe circuits; they do not decide whether
two models take one path.
"""

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from .alignment import nearest
from .arguments import common_problems, flag_problems, native, number_problems, refuse, whole_problems
from .circuit import Circuit, measured_rows
from .comparable import check_comparable, mapping_problems
from .comparison import CircuitComparison
from .moves import Moves
from .progress import with_bar
from .random_circuits import edge_class
from .resampling import drawn_again, influence, n_units, random_halves, reweighted, units_of_queries
from .similarity import Measure, jensen_shannon, overlap_at, rank_correlation, weighted_overlap
from .units import unit_of
from .verdicts import ALIGNED, DISTANCE

N_PERMUTATIONS = 200
ALIGNED_EDGES, MIN_ALIGNED = 200_000, 20  # shuffles are aligned while these edges last, but 20 at least: p can reach .048
DISTANCES = (DISTANCE, ALIGNED)
NUMBERS = ("low", "high", "chance", "chance_bound", "p", "ceiling", "ceiling_bound")


def compare(
    circuits: Mapping[str, Circuit],
    *,
    top_k: tuple[int, ...] = (10, 20),
    across_seeds: bool = False,
    margin: float | None = None,
    n_bootstrap: int = 1000,
    progress: bool = True,
    seed: int = 0,
) -> CircuitComparison:
    """Compare circuits that were measured alike, by the effects of all edges, not only of those that are kept.

    Which edges are kept is counted apart: `shared`, `lost` and `gained`.

    Args:
        circuits: at least two, by label. A second training of `taught` is called `taught again`: it is a replicate, next to
            which `summary` puts what is compared.
        top_k: sizes at which the overlap of the strongest edges is taken; sizes beyond the live edges are left out.
        across_seeds: whether they may have been measured on different pairs, of other facts, made by the same recipe.
        margin: the largest Jensen–Shannon distance that counts as none, named before anything is compared; without it, and
            without replicates, `summary` calls nothing the same whose effects or kept edges are not equal.
        n_bootstrap: resamples of the units for the intervals.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the resampling.

    Raises:
        ValueError: for fewer than two circuits; if graph, edges, metric, contrast, direction or pairs (the recipe of pairs,
            across seeds) differ; or if a circuit has undefined effects.
    """
    common: dict[str, Any] = {"n_bootstrap": n_bootstrap, "progress": progress, "seed": seed}
    top_k, margin = native((top_k, margin))
    problems = mapping_problems(circuits) + top_k_problems(top_k) + flag_problems(across_seeds=across_seeds)
    problems += [] if margin is None else number_problems(0, above=True, most=1, below=True, margin=margin)
    refuse(problems + common_problems(**common))
    if len(circuits) < 2:
        raise ValueError(f"comparing needs at least two circuits, got {len(circuits)}")
    check_comparable(circuits, across_seeds=across_seeds)
    if undefined := [label for label, circuit in circuits.items() if circuit.table["effect"].isna().any()]:
        reasons = ", ".join(f"{label}: {circuits[label].provenance.get('reason', 'unknown')}" for label in undefined)
        raise ValueError(f"these circuits have undefined effects ({reasons})")
    samples = Samples(circuits, n_bootstrap, across_seeds, seed, progress)
    rows, differences, best = [], [], {}
    couples = list(itertools.combinations(circuits, 2))
    one = len(couples) == 1  # whose measures are then counted instead
    for a, b in with_bar(couples, "comparing circuits", show=progress and not one):
        found, best[f"{a} / {b}"] = compared(samples, a, b, top_k, seed, progress and one)
        n_queries = min(int(circuits[label].table["n"].iloc[0]) for label in (a, b))
        found += kept_counts(circuits[a], circuits[b])
        live = int(samples.live(a, b).sum())
        sizes = {"n_edges": live, "n": n_queries, "n_units": min(n_units(samples.units[label]) for label in (a, b))}
        rows += [{"a": a, "b": b, **row, **sizes} for row in found]
        differences.append(samples.differences(a, b))
    live = np.any([samples.effects[label][:, 0] != 0 for label in circuits], axis=0)
    edges, columns = edge_table(circuits, live), ["a", "b", "measure", "value", *NUMBERS, "n_edges", "n", "n_units"]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    changed = pd.concat(differences, ignore_index=True)
    return CircuitComparison(table, edges, changed, best, tuple(circuits), margin, _measured(circuits))


def _measured(circuits: Mapping[str, Circuit]) -> dict[str, Any]:
    """How the circuits were measured, which is the same for all."""
    first = next(iter(circuits.values()))
    names = ("metric", "unit", "contrast", "direction", "split")
    estimated = {label: n for label, circuit in circuits.items() if (n := _n_estimated(circuit))}
    about = {name: first.provenance.get(name) for name in names} | {"graph": first.graph.to_dict()}
    return about | ({"estimated": estimated} if estimated else {})


def _n_estimated(circuit: Circuit) -> int:
    """How many of its effects were never measured."""
    measured = str(circuit.provenance.get("method", "exact")).startswith("exact")
    return int((~measured_rows(circuit.table)).sum()) if measured else len(circuit.table)


def kept_counts(a: Circuit, b: Circuit) -> list[dict[str, Any]]:
    """How many kept edges are shared, lost and gained."""
    kept_a, kept_b = (each.table["kept"].to_numpy(dtype=bool) for each in (a, b))
    counts = {"shared": kept_a & kept_b, "lost": kept_a & ~kept_b, "gained": ~kept_a & kept_b}
    return [{"measure": name, "value": float(mask.sum())} for name, mask in counts.items()]


def top_k_problems(top_k: Any) -> list[str]:
    """Why no overlap can be taken at these sizes."""
    is_list = isinstance(top_k, Collection) and not isinstance(top_k, str)
    wrong = [size for size in top_k if whole_problems(1, size=size)] if is_list else []
    right = is_list and len(top_k) and not wrong
    return [] if right else [f"top_k are one or more sizes of at least 1, as in (10, 20), got {top_k!r}"]


class Samples:
    """Effects of each circuit: as measured, in resamples, and in halves of the units."""

    def __init__(
        self, circuits: Mapping[str, Circuit], n_bootstrap: int, across_seeds: bool, seed: int, progress: bool
    ) -> None:
        self.circuits, self.across_seeds = circuits, across_seeds
        first = next(iter(circuits.values()))
        self.edges, self.classes = first.measured_edges, [str(edge_class(edge)) for edge in first.measured_edges]
        self.moves = Moves(first.graph, self.edges)
        self.unit = unit_of(*(str(first.provenance.get(name, "")) for name in ("metric", "unit")))
        self.effects = {label: circuit.table["effect"].to_numpy(dtype=float)[:, None] for label, circuit in circuits.items()}
        self.gap = {label: float(circuit.table["gap"].iloc[0]) for label, circuit in circuits.items()}
        self.units, self.resampled, self.halves = units_of_queries(circuits, across_seeds), {}, {}
        for number, (label, circuit) in enumerate(with_bar(circuits.items(), "resampling circuits", show=progress)):
            rng = np.random.default_rng([seed, number if across_seeds else 0])
            self.resampled[label] = reweighted(circuit, drawn_again(self.units[label], n_bootstrap, rng))
            first_half = random_halves(self.units[label], rng)
            self.halves[label] = [reweighted(circuit, weights) for weights in (first_half, 1.0 - first_half)]

    def live(self, a: str, b: str) -> Bool[np.ndarray, " edge"]:
        """Which edges have an effect other than zero in at least one of the two."""
        return (self.effects[a][:, 0] != 0) | (self.effects[b][:, 0] != 0)

    def differences(self, a: str, b: str) -> pd.DataFrame:
        """Each live edge's difference, with its test and its false-discovery rate."""
        from scipy.stats import false_discovery_control  # not at the top: drawing a circuit should not wait a second for it
        from scipy.stats import t as student

        live = self.live(a, b)
        value = (self.effects[b] - self.effects[a])[live, 0]
        stderr, freedom = self._stderr_of_difference(a, b)
        stderr = stderr[live]
        with np.errstate(invalid="ignore", divide="ignore"):
            p = np.where(stderr > 0, 2 * student.sf(np.abs(value) / stderr, freedom), np.where(value == 0, 1.0, 0.0))
        p = np.where(np.isnan(stderr), np.nan, p)
        half = student.ppf(0.975, freedom) * stderr
        in_unit = {f"difference_in_{self.unit.replace(' ', '_')}": self._in_unit(b)[live] - self._in_unit(a)[live]}
        table = pd.DataFrame(
            {"a": a, "b": b, "edge": [str(e) for e, is_live in zip(self.edges, live, strict=True) if is_live]}
        )
        table = table.assign(difference=value, low=value - half, high=value + half, **in_unit)
        q = false_discovery_control(p) if len(p) and not np.isnan(p).any() else np.full(len(p), np.nan)
        return table.assign(p=p, q=q)

    def _in_unit(self, label: str) -> Float[np.ndarray, " edge"]:
        return (self.effects[label] * self.gap[label])[:, 0]

    def _stderr_of_difference(self, a: str, b: str) -> tuple[Float[np.ndarray, " edge"], int]:
        """By the delta method: what each unit adds to an effect, paired if both were measured on the same queries."""
        added_a, added_b = (influence(self.circuits[label], self.units[label]) for label in (a, b))
        n_a, n_b = added_a.shape[1], added_b.shape[1]
        if min(n_a, n_b) < 2:
            return np.full(len(self.edges), np.nan), 1
        if not self.across_seeds:
            return (added_b - added_a).std(axis=1, ddof=1) / np.sqrt(n_a), n_a - 1
        variances = [added.var(axis=1, ddof=1) / added.shape[1] for added in (added_a, added_b)]
        return np.sqrt(sum(variances)), min(n_a, n_b) - 1


def compared(
    samples: Samples, a: str, b: str, top_k: tuple[int, ...], seed: int, progress: bool
) -> tuple[list[dict[str, Any]], str]:
    """The measures of one pair, and its best alignment."""
    live = samples.live(a, b)
    measures: dict[str, Measure] = {"rank_correlation": rank_correlation}
    measures |= {f"overlap@{k}": overlap_at(k) for k in top_k if k <= live.sum()}
    in_unit = _times(samples.gap[a], samples.gap[b])
    measures |= {"weighted_overlap": weighted_overlap, f"weighted_overlap in {samples.unit}": in_unit}
    measures[DISTANCE] = jensen_shannon
    shuffled = samples.effects[b][_shuffles(samples.classes, seed), 0]  # edge, shuffle
    rows = []
    for name, measure in with_bar(measures.items(), "comparing two circuits", show=progress):
        value = float(measure(samples.effects[a][live], samples.effects[b][live])[0])
        low, high = recentred_interval(name, value, measure(samples.resampled[a][live], samples.resampled[b][live]))
        ceiling = _ceiling(name, [measure(*(half[live] for half in samples.halves[label])) for label in (a, b)])
        chance = measure(samples.effects[a], shuffled)
        row = {"measure": name, "value": value, "low": low, "high": high, **ceiling}
        rows.append(row | _chance(name, value, chance))
    how, aligned = _aligned(samples, a, b, shuffled, progress)
    return [*rows, *aligned], how


def _aligned(
    samples: Samples, a: str, b: str, shuffled: Float[np.ndarray, "edge shuffle"], progress: bool
) -> tuple[str, list[dict[str, Any]]]:
    """The alignment of either circuit at which the two are nearest; each shuffle gets its best one, found alike."""
    one, other = samples.effects[a][:, 0], samples.effects[b][:, 0]
    best = nearest(samples.moves, one, other)
    n_aligned = min(N_PERMUTATIONS, max(MIN_ALIGNED, ALIGNED_EDGES // len(one)))
    columns = with_bar(shuffled.T[:n_aligned], "aligning shuffled circuits", show=progress)
    chance = np.array([nearest(samples.moves, one, column).distance for column in columns])
    low, high = recentred_interval(ALIGNED, best.distance, best.distances(samples.resampled[a], samples.resampled[b]))
    row = {"measure": ALIGNED, "value": best.distance, "low": low, "high": high}
    rows = [row | _chance(ALIGNED, best.distance, chance), {"measure": "dropped in alignment", "value": best.dropped}]
    return f"{(a, b)[best.moved]}: {best.name}", rows


def _chance(measure: str, value: float, chance: Float[np.ndarray, " shuffle"]) -> dict[str, float]:
    """What shuffled effects give, and how often they are at least as near."""
    sign = -1.0 if measure in DISTANCES else 1.0
    p = (1 + (sign * chance >= sign * value).sum()) / (1 + len(chance))
    bound = sign * np.quantile(sign * chance, 0.95)
    return {"chance": float(chance.mean()), "chance_bound": float(bound), "p": float(p)}


def _ceiling(measure: str, halves: list[Float[np.ndarray, " split"]]) -> dict[str, float]:
    """How alike halves of each circuit are: the mean, and the 2.5 % least alike ones of the circuit whose are less alike."""
    sign = -1.0 if measure in DISTANCES else 1.0
    bound = min(np.quantile(sign * each, 0.025) for each in halves)
    return {"ceiling": float(np.mean([each.mean() for each in halves])), "ceiling_bound": float(sign * bound)}


def _times(gap_a: float, gap_b: float) -> Measure:
    return lambda a, b: weighted_overlap(a * gap_a, b * gap_b)


def _shuffles(classes: list[str], seed: int) -> np.ndarray:
    """Permutations of the edges, a column each, that keep layer and kind of input."""
    rng, places = np.random.default_rng(seed), np.arange(len(classes))
    found = np.repeat(places[:, None], N_PERMUTATIONS, axis=1)
    for group in pd.Series(classes).groupby(classes).indices.values():
        found[group] = rng.permuted(found[group], axis=0)
    return found


def recentred_interval(measure: str, value: float, resampled: Float[np.ndarray, " resample"]) -> tuple[float, float]:
    """The 95 % percentile interval, shifted so that the resamples' mean falls on the estimate; NaN without resamples.

    It stays where the measure can be: a correlation between −1 and 1, all others between 0 and 1.

    Resampling adds noise to the many edges near zero, which lowers any similarity; the plain percentiles would be too low
    and can even miss the estimate.
    """
    if not np.isfinite(resampled).any():
        return float("nan"), float("nan")
    low, high = np.nanquantile(resampled, [0.025, 0.975]) + value - np.nanmean(resampled)
    least = -1.0 if measure == "rank_correlation" else 0.0
    return float(np.clip(low, least, value)), float(np.clip(high, value, 1.0))


def edge_table(circuits: Mapping[str, Circuit], live: np.ndarray) -> pd.DataFrame:
    """A row for each live edge: sender, receiver and, for each circuit, its effect, stderr and kept."""
    table = next(iter(circuits.values())).table[["sender", "receiver"]].copy()
    for label, circuit in circuits.items():
        for column in ("effect", "stderr", "kept"):
            table[f"{column} {label}"] = circuit.table[column].to_numpy()
    return table[live].reset_index(drop=True)
