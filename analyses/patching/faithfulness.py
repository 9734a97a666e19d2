"""Whether a circuit does the work: alone, knocked out, edge by edge and by size, next to random circuits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.stats import ttest_1samp

from ...circuits import Circuit, Edge, Result
from ...circuits.arguments import MOST_REPEATS, choice_problems, common_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, bounds_in_words, counted_units, gap_in_words, without_rows
from ...circuits.plain_text import counted
from ...circuits.random_circuits import edge_class, random_circuits
from ...circuits.units import after_number, fixed, shown
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice
from ..plots.curves import faithfulness_curves
from ..statistics import Values, holm, sums_by_unit
from .choosing import said, shared_with_choosing
from .circuit_runs import Background, CircuitRuns
from .judging import edges_to_judge, runs_to_judge
from .metrics import AnyMetric, as_metric, logit_difference


@dataclass(frozen=True, eq=False)
class FaithfulnessResult(Result):
    """How much of the clean–corrupt gap a circuit keeps, and what is left without it.

    Attributes:
        table: a row for the circuit and one for each random circuit (connected, of its size, edges in similar places), with
            edges: `circuit` or `random 1`, …; n_edges: how many;
            faithfulness: [m(circuit alone) − m(empty)] / [m(clean) − m(empty)], a ratio of sums over queries;
            low, high: its 95 % bootstrap interval over units of queries, see `PromptPairs.unit`;
            without: the same of all other edges, the circuit knocked out; without_low, without_high;
            n: number of queries; n_units: of their units; gap: mean m(clean) − m(empty), in the metric's unit.
        curve: faithfulness by size, see `analyses.patching.faithfulness.faithfulness_curve`.
        edges: what each edge contributes, see `analyses.patching.faithfulness.minimality`.
        model: the model's name.
        pairs: hash of the pairs it was judged on.
        chosen_on: hash of the pairs it was chosen on.
        recipe: how the judging pairs were made.
        background: what closed edges carry, which is what `empty` means.
        reason: why the numbers are NaN; empty if they are not.
        metric: name of the metric.
        unit: of the metric; empty if nobody said.
        shared: how many of the judging pairs share something with the pairs that the circuit was chosen on, see
            `choosing.shared_with_choosing`; empty if the circuit does not say on which (old or foreign files).
    """

    table: Annotated[pd.DataFrame, Columns(words="edges", numbers="faithfulness low high gap", whole="n_edges n")]
    curve: pd.DataFrame
    edges: pd.DataFrame
    model: str
    pairs: str
    chosen_on: str
    recipe: Mapping[str, Any]
    background: str
    reason: str
    metric: str = ""
    unit: str = ""
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def faithfulness(self) -> float:
        """Of the circuit."""
        return float(self.table["faithfulness"].iloc[0])

    @property
    def p_value(self) -> float:
        """Share of random circuits at least as faithful, the circuit counted among them."""
        return self._p(self.table["faithfulness"] >= self.table["faithfulness"].iloc[0])

    @property
    def p_complete(self) -> float:
        """Share of random circuits whose knock-out leaves no more, the circuit counted among them."""
        return self._p(self.table["without"] <= self.table["without"].iloc[0])

    @property
    def cpr(self) -> float:
        """Area under the faithfulness curve, as MIB defines it; larger is better."""
        return area(self.curve)

    @property
    def cmd(self) -> float:
        """Area between the faithfulness curve and 1, as MIB defines it; smaller is better."""
        return distance(self.curve)

    @property
    def caption(self) -> str:
        """The model and the finding in one line."""
        return f"{self._about}: {self.finding}"

    @property
    def finding(self) -> str:
        """The caption without the model."""
        if self.reason:
            return f"undefined, {self.reason}{self._shared}"
        text, random = self._kept, self.table.iloc[1:]
        if len(random):
            most, least = random["faithfulness"].max(), random["without"].min()
            text += (
                f"; {len(random)} random circuits of that size at most {fixed(most, 2)} (p = {self.p_value:.3f}) and at "
                f"least {fixed(least, 2)} (p = {self.p_complete:.3f})"
            )
        return f"{text}; {int(self.edges['needed'].sum())} edges needed one by one"

    @property
    def _about(self) -> str:
        """Model, metric and gap; files written before results named their metric say the model alone."""
        gap = float(self.table["gap"].iloc[0])
        measured = f" · {self.metric}, gap {shown(gap)}{after_number(self.unit)}" if self.metric else ""
        return f"{self.model}{measured}"

    @property
    def _kept(self) -> str:
        """What the circuit keeps, and what all other edges keep."""
        row = self.table.iloc[0]
        names = ("faithfulness", "low", "high", "without", "without_low", "without_high")
        shares = {name: fixed(row[name], 2) for name in names}
        kept = "{n_edges} edges keep {faithfulness} [{low}, {high}] of the gap".format(n_edges=row["n_edges"], **shares)
        without = "all others {without} [{without_low}, {without_high}]".format(**shares)
        return f"{kept}, {without}, on {row['n']} pairs ({self.background}){self._shared}"

    @property
    def _shared(self) -> str:
        """What the judging pairs have in common with those that the circuit was chosen on, if they have."""
        return said(self.shared, int(self.table["n"].iloc[0]))

    def explain(self) -> Explanation:
        """How much of the effect the circuit carries, next to random circuits."""
        if self.table.empty:
            return without_rows(self.model)
        row, n_random = self.table.iloc[0], len(self.table) - 1
        n_needed = int(self.edges["needed"].sum()) if "needed" in self.edges else 0
        as_much = int((self.table["faithfulness"].iloc[1:] >= row["faithfulness"]).sum())
        means = (
            f"The circuit alone keeps {fixed(row['faithfulness'], 2)} of the gap (1 is all that the model does, 0 nothing); "
            f"without the circuit {fixed(row['without'], 2)} is left."
        )
        random = (
            f" Of {counted(n_random, 'random circuit')} of that size, with edges in similar places, {as_much} "
            f"{'keeps' if as_much == 1 else 'keep'} as much (p = {fixed(self.p_value, 3)})."
        )
        return Explanation(
            measured=f"A run in which only the circuit's {row['n_edges']} edges carry clean states and all others "
            f"{self.background} ones, and a run with the two exchanged.",
            on=f"{self.model}, {counted_units(row.to_dict())}{self._shared}. "
            + gap_in_words(row["gap"], {"metric": self.metric, "unit": self.unit}, to="empty"),
            means=f"Nothing: {self.reason}." if self.reason else means,
            sure=bounds_in_words(row["low"], row["high"]) + (random if n_random and not self.reason else ""),
            would_change=f"Other prompts, or closed edges that carry something else than {self.background} states. Left out "
            f"one by one, {n_needed} of {counted(len(self.edges), 'edge')} are needed.",
        )

    def figure(self) -> Any:
        """Faithfulness by size in both orders, with shuffled rankings."""
        said = f"{self.finding} · n = {self.table['n'].iloc[0]} pairs" if self.reason else self._kept
        title = f"{self._about}: {said} · bands: 95 %"
        return faithfulness_curves(self.curve, int(self.table["n_edges"].iloc[0]), self.faithfulness, title=title)

    def _p(self, at_least: pd.Series) -> float:
        return float("nan") if self.reason else float(at_least.mean())


def faithfulness(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    background: Background = "corrupt",
    n_random: int = 100,
    allow_shared: bool = False,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> FaithfulnessResult:
    """Judge a circuit by running it alone, knocked out, without single edges, and in other sizes.

    Args:
        model: the model to judge it in, of the circuit's graph: the one it was found in, or another checkpoint (functional
            transfer). Left unmodified.
        circuit: chosen on other pairs than these; `pairs.halves()` gives two sets that share nothing.
        pairs: what to judge it on.
        background: what closed edges carry, see `CircuitRuns`.
        n_random: number of random circuits; 0 for none.
        allow_shared: also judge on pairs that share prompts or units with those that the circuit was chosen on; the result
            says how many do.
        metric: see `path_patch`.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, for what takes longer than two seconds.
        seed: of the random circuits, the shuffled rankings, the resampled prompts and the bootstrap.

    Raises:
        ValueError: if pairs share a prompt or unit with those that the circuit was chosen on, or it is empty or of another
            graph; or if there are fewer than eight pairs, or `n_random` or the seed is no whole number from 0 on.
    """
    counts = whole_problems(0, most=MOST_REPEATS, n_random=n_random)
    choice = choice_problems(background=(background, get_args(Background)))
    common = common_problems(allow_shared=allow_shared, max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    refuse(pairs_problems(pairs=pairs) + counts + choice + common)
    pairs.check_against(model)
    shared = shared_with_choosing(circuit.provenance, pairs, allow_shared=allow_shared)
    kept = edges_to_judge(circuit)
    how: dict[str, Any] = {"background": background, "metric": metric, "max_memory": max_memory, "engine": engine}
    runs = runs_to_judge(model, circuit, pairs, **how, progress=progress, seed=seed)
    random = random_circuits(circuit.graph, kept, n_random, rng=np.random.default_rng(seed), progress=progress)
    (share, without), (low, high) = alone_and_without(runs, circuit, [kept, *random], seed=seed)
    gap, _, reason = runs.gap
    columns = {"edges": ["circuit", *(f"random {i}" for i in range(1, len(share)))], "n_edges": len(kept)}
    columns |= {"faithfulness": share, "low": low[0], "high": high[0]}
    columns |= {"without": without, "without_low": low[1], "without_high": high[1], "n": len(pairs), "gap": gap}
    columns |= {"n_units": pairs.n_units}
    return FaithfulnessResult(
        table=pd.DataFrame(columns),
        curve=faithfulness_curve(runs, circuit, allow_shared=True, seed=seed),
        edges=minimality(runs, kept, seed=seed),
        model=model.cfg.model_name,
        pairs=pairs.key,
        chosen_on=str(circuit.provenance.get("pairs", "unknown")),
        recipe=dict(pairs.recipe),
        background=background,
        reason=reason,
        metric=as_metric(metric).name,
        unit=as_metric(metric).unit,
        shared=shared,
    )


def alone_and_without(
    runs: CircuitRuns, circuit: Circuit, edge_sets: Sequence[Sequence[Edge]], *, seed: int
) -> tuple[Float[np.ndarray, "2 set"], Float[np.ndarray, "2 2 set"]]:
    """What sets of edges keep of the gap, and what all other measured edges of a circuit keep, the set knocked out.

    Returns:
        The shares, first alone, then without; low and high ends of their 95 % bootstrap intervals over units, likewise.
    """
    alone = runs.open_edges(edge_sets)
    others = runs.open_edges([circuit.measured_edges]) & ~alone
    found = runs.metric(np.concatenate([alone, others]), what="alone and without") - runs.empty
    share, interval = runs.ratios(found, seed=seed)
    return share.reshape(2, -1), interval.T.reshape(2, 2, -1)


SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
N_RANKINGS = 20
ORDERS = {"effect": lambda effects: -effects, "|effect|": lambda effects: -np.abs(effects)}


def faithfulness_curve(runs: CircuitRuns, circuit: Circuit, *, allow_shared: bool = False, seed: int) -> pd.DataFrame:
    """Faithfulness by size, in both orders, next to shuffled rankings.

    Returns:
        A row for each order (`effect`, `|effect|`) and share of edges with n_edges, faithfulness, its 95 % bootstrap
        interval low, high over units, and random, random_low, random_high: mean and 2.5 and 97.5 % quantiles over 20
        shuffled rankings. `attrs["shared"]` says what the pairs share with the choosing ones, see
        `FaithfulnessResult.shared`.

    Raises:
        ValueError: if the runs' pairs share a prompt or unit with those that the circuit was chosen on, unless allowed.
    """
    shared = shared_with_choosing(circuit.provenance, runs.pairs, allow_shared=allow_shared)
    edges = circuit.measured_edges
    effects = circuit.table["effect"].to_numpy(dtype=float)  # edges without a number are sorted last
    rng, shuffled = np.random.default_rng(seed), []
    for _ in range(N_RANKINGS):
        shuffled.append(effects[_within_classes(edges, rng)])
    sizes = [int(share * len(edges)) for share in SHARES]
    place = {edge: number for number, edge in enumerate(runs.graph.edges)}
    columns_of = np.array([place[edge] for edge in edges])
    parts = []
    for order, key in ORDERS.items():
        rankings = [np.argsort(key(values), kind="stable") for values in (effects, *shuffled)]
        open_edges = np.zeros((len(rankings), len(sizes), len(runs.graph.edges)), dtype=bool)
        for (number, ranking), (place, size) in product(enumerate(rankings), enumerate(sizes)):
            open_edges[number, place, columns_of[ranking[:size]]] = True
        kept = runs.metric(open_edges.reshape(-1, open_edges.shape[-1]), what=f"by size, in order of {order}") - runs.empty
        estimate, interval = runs.ratios(kept[: len(SHARES)], seed=seed)
        random, _ = runs.ratios(kept[len(SHARES) :], seed=seed)
        low, high = interval.T
        random = random.reshape(N_RANKINGS, len(SHARES))
        random_low, random_high = np.quantile(random, [0.025, 0.975], axis=0)
        columns = {"order": order, "share": SHARES, "n_edges": sizes, "faithfulness": estimate, "low": low, "high": high}
        columns |= {"random": random.mean(0), "random_low": random_low, "random_high": random_high}
        parts.append(pd.DataFrame(columns))
    table = pd.concat(parts, ignore_index=True)
    table.attrs["shared"] = shared
    return table


def area(curve: pd.DataFrame) -> float:
    """CPR: the area under the curve in order of effect, between .001 and all edges."""
    rows = curve[curve["order"] == "effect"]
    return float(np.trapezoid(rows["faithfulness"], rows["share"]))


def distance(curve: pd.DataFrame) -> float:
    """CMD: the area between the curve in order of |effect| and 1."""
    rows = curve[curve["order"] == "|effect|"]
    return float(np.trapezoid((1 - rows["faithfulness"]).abs(), rows["share"]))


def _within_classes(edges: Sequence[Edge], rng: np.random.Generator) -> Int[np.ndarray, " edge"]:
    """A permutation of the edges that keeps layer and kind of input."""
    classes = pd.Series(list(map(str, map(edge_class, edges))))
    order: Float[np.ndarray, " edge"] = np.arange(len(edges))
    for places in classes.groupby(classes).indices.values():
        order[places] = rng.permutation(places)
    return order


LEAST = 0.01  # share of the gap that an edge must carry to be called needed
ALPHA = 0.05
ROWS_AT_ONCE = 2**24  # bytes of circuits that lack one edge each: of all together there would be edges times edges


def minimality(runs: CircuitRuns, edges: Circuit | Sequence[Edge], *, allow_shared: bool = False, seed: int) -> pd.DataFrame:
    """What each edge contributes: faithfulness of the circuit minus that without the edge.

    The t-test is over sums by unit: units are independent of each other, queries of one unit are not.

    Args:
        runs: of the judging pairs.
        edges: a circuit, or edges, which do not say on which pairs they were chosen.
        allow_shared: see `faithfulness`.
        seed: of the bootstrap.

    Returns:
        A row for each edge with sender, receiver, own_share, its 95 % bootstrap interval low, high over units, p (one-sided
        t-test of a share above .01), p_holm, needed (p_holm ≤ .05), n and n_units. Where no share of the gap can be taken,
        or there is a single unit, there is no p and nothing is needed. `attrs["shared"]` says what the pairs share with the
        choosing ones, see `FaithfulnessResult.shared`; nothing is known of edges by themselves.

    Raises:
        ValueError: if the runs' pairs share a prompt or unit with those that the circuit was chosen on, unless allowed.
    """
    shared: dict[str, int] = {}
    if isinstance(edges, Circuit):
        shared = shared_with_choosing(edges.provenance, runs.pairs, allow_shared=allow_shared)
        edges = edges.kept_edges
    whole, place = runs.open_edges([edges]), {edge: number for number, edge in enumerate(runs.graph.edges)}
    found, n_at_once = [runs.metric(whole)], max(1, ROWS_AT_ONCE // whole.size)
    for start in range(0, len(edges), n_at_once):
        columns = [place[edge] for edge in edges[start : start + n_at_once]]
        without = np.repeat(whole, len(columns), 0)
        without[np.arange(len(columns)), columns] = False
        found.append(runs.metric(without, what="without single edges"))
    lost, gaps = found[0] - np.concatenate(found[1:]), runs.full - runs.empty
    share, interval = runs.ratios(lost, seed=seed)
    low, high = interval.T
    beyond = np.sign(gaps.mean()) * (lost - LEAST * gaps.mean())  # a loss has a gap below 0
    p = _p_above_zero(beyond, runs.pairs.unit)
    p = np.full_like(p, np.nan) if runs.gap[2] else p
    names = {"sender": [str(edge.sender) for edge in edges], "receiver": [str(edge.receiver) for edge in edges]}
    numbers = {"own_share": share, "low": low, "high": high, "p": p, "p_holm": holm(p)}
    table = pd.DataFrame({**names, **numbers, "needed": holm(p) <= ALPHA, "n": len(gaps), "n_units": runs.pairs.n_units})
    table.attrs["shared"] = shared
    return table


def _p_above_zero(values: Float[np.ndarray, "row query"], unit: Values) -> Float[np.ndarray, " row"]:
    """Of a one-sided t-test over sums by unit that their mean is above 0; NaN for a single unit."""
    sums = sums_by_unit(values, unit)
    if sums.shape[1] < 2:
        return np.full(len(values), np.nan)
    constant = (np.ptp(values, axis=1) == 0) | (np.ptp(sums, axis=1) == 0)
    p = np.where(sums[:, 0] > 0, 0.0, 1.0)  # where nothing varies there is nothing to test
    if not constant.all():
        _, p[~constant] = ttest_1samp(sums[~constant], 0.0, axis=1, alternative="greater")
    return p
