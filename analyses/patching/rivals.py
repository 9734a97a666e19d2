"""Whether other edges do as well: the most faithful connected circuit of a found one's size that shares no edge with it.

A circuit can be faithful, and better than random ones, while a second one next to it does the same; then it is not the
circuit but one of them (Méloux et al. 2025, arXiv 2502.20914, count such circuits in small networks by trying all). All can
be tried in tiny graphs alone, so what is found here is a lower bound on the best rival.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from ...circuits import Circuit, ComputationGraph, Node, connected
from ...circuits.arguments import MOST_REPEATS, choice_problems, common_problems, refuse, whole_problems
from ...circuits.progress import bar
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice
from ..statistics import resampled_ratios
from .choosing import shared_with_choosing
from .circuit_runs import Background, CircuitRuns, check_enough
from .judging import circuit_problems, edges_to_judge, runs_to_judge
from .metrics import AnyMetric, as_metric, logit_difference
from .rival_result import ALL_OTHERS, STRATEGIES, RivalResult, closeness

DROPPED = 0.1  # of the edges that are left, in each step of backward elimination
PATHS_PER_EDGE = 2  # that a random circuit is made of at most, before other edges complete it

Row = Bool[np.ndarray, " edge"]
"""Which of the graph's edges, in their order, are in a circuit."""


def rival_circuits(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    n: int = 200,
    background: Background = "corrupt",
    allow_shared: bool = False,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> RivalResult:
    """Search the most faithful connected circuit of a circuit's size among all edges but its own.

    Faithful is a share of the gap near 1, from either side. Trying all circuits takes a time exponential in the number of
    edges, so three strategies compete, and the best of them is a lower bound on the best rival: that none is found does not
    prove that there is none, even where all other edges together keep nothing, since some may cancel what others keep.

    - `strongest`: the other edges by the change of faithfulness when one of them is closed as well, strongest first, in
      order of effect or of |effect|; made connected and filled up.
    - `backward`: from all other edges, close again and again the tenth of them whose single removal costs least, with what
      is then on no path from a source to the answer.
    - `random`: the best of random unions of paths.

    They run up to about ten sets of edges for each other edge. In random models of 21 edges, where all rivals were tried,
    the best of the three was on average more than nine tenths as close to 1 as the best of all, and 59 % at the least.

    A rival shares no edge at all: of two mechanisms that both need some edge, as the one from the last MLP into the logits,
    neither is a rival of the other.

    Args:
        model: of the circuit's graph; left unmodified.
        circuit: chosen on other pairs than the second of `pairs.halves()`, such as the first.
        pairs: rivals are searched on the first of `pairs.halves()`, circuit and rivals are judged on the second.
        n: number of random circuits; 0 for none.
        background: what closed edges carry, see `CircuitRuns`.
        allow_shared: also judge on pairs that share prompts or units with those that the circuit was chosen on, which
            favours the circuit; the result says how many do.
        metric: see `path_patch`.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, for what takes longer than two seconds.
        seed: of the random circuits, the resampled prompts and the bootstrap.

    Raises:
        ValueError: if a judging pair shares a prompt or unit with those that the circuit was chosen on, or it is empty or of
            another graph; if there are no two halves of at least eight pairs each; or if `n` or the seed is no whole number
            from 0 on.
    """
    counts = whole_problems(0, most=MOST_REPEATS, n=n)
    choice = choice_problems(background=(background, ("corrupt", "resampled", "mean")))
    common = common_problems(allow_shared=allow_shared, max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    refuse(circuit_problems(circuit=circuit) + pairs_problems(pairs=pairs) + counts + choice + common)
    pairs.check_against(model)
    kept = edges_to_judge(circuit)
    halves = pairs.halves()
    for half in halves:
        check_enough(half)
    shared = shared_with_choosing(circuit.provenance, halves[1], allow_shared=allow_shared)
    how: dict[str, Any] = {"background": background, "metric": metric, "max_memory": max_memory, "engine": engine}
    how |= {"progress": progress, "seed": seed}
    searching, judging = (runs_to_judge(model, circuit, half, **how) for half in halves)
    found = _Search(searching, searching.open_edges([kept])[0])
    rivals = found.rivals(n, seed, progress)
    sides = {"searching": searching.gap[2], "judging": judging.gap[2]}
    return RivalResult(
        table=_table(judging, found, rivals, seed),
        edges={name: [] if row is None else found.names(row) for name, row in rivals.items()},
        model=model.cfg.model_name,
        pairs=halves[1].key,
        searched_on=halves[0].key,
        chosen_on=str(circuit.provenance.get("pairs", "unknown")),
        recipe=dict(halves[1].recipe),
        background=background,
        reason="; ".join(f"on the {side} half {reason}" for side, reason in sides.items() if reason),
        metric=as_metric(metric).name,
        unit=as_metric(metric).unit,
        n_tried=found.n_tried,
        shared=shared,
    )


def _table(judging: CircuitRuns, found: "_Search", rivals: Mapping[str, Row | None], seed: int) -> pd.DataFrame:
    """All circuits judged on the same queries and resamples; without a rival a row is NaN and says why."""
    given = {"circuit": found.circuit, **rivals, ALL_OTHERS: ~found.circuit}
    rows = np.array([np.zeros_like(found.circuit) if row is None else row for row in given.values()])
    missing = np.array([row is None for row in given.values()])
    kept, gaps = judging.metric(rows, what="judging rivals") - judging.empty, judging.full - judging.empty
    share, resampled = np.full(len(rows), np.nan), np.full((len(rows), 1), np.nan)
    if not (judging.gap[2] or found.runs.gap[2]):
        share, resampled = kept.sum(1) / gaps.sum(), resampled_ratios(kept, gaps, unit=judging.pairs.unit, seed=seed)
    closer = closeness(resampled) - closeness(resampled[:1])
    low, high = np.quantile(resampled, [0.025, 0.975], axis=1)
    closer_low, closer_high = np.quantile(closer, [0.025, 0.975], axis=1)
    numbers = {"faithfulness": share, "low": low, "high": high, "difference": closeness(share) - closeness(share[:1])}
    numbers |= {"difference_low": closer_low, "difference_high": closer_high}
    numbers |= {"overlap": (rows & found.circuit).sum(1) / found.size, "searched": found.runs.share(rows)}
    columns = {"edges": list(given), "n_edges": rows.sum(1)}
    columns |= {name: np.where(missing, np.nan, values) for name, values in numbers.items()}
    columns |= {"reason": [found.why_none if row is None else "" for row in given.values()]}
    columns |= {"n": len(gaps), "n_units": judging.pairs.n_units, "gap": judging.gap[0]}
    return pd.DataFrame(columns)


class _Search:
    """Circuits of one size among the edges that a circuit leaves, run on the searching half.

    Attributes:
        runs: of the searching half.
        circuit: the found one; size: the number of its edges.
        others: the edges that are on a path from a source to the answer made of none of the circuit's.
        n_tried: how many sets of edges were run so far.
    """

    def __init__(self, runs: CircuitRuns, circuit: Row) -> None:
        self.runs, self.circuit, self.size, self.n_tried = runs, circuit, int(circuit.sum()), 0
        self.others = self._connected(~circuit)

    def rivals(self, n: int, seed: int, progress: bool) -> dict[str, Row | None]:
        """The most faithful circuit that each strategy finds; None if it finds none."""
        if self.runs.gap[2] or self.others.sum() < self.size:
            return dict.fromkeys(STRATEGIES)
        found = (self._strongest(), self._backward(progress), self._random(n, seed))
        return {name: self._most_faithful(rows) for name, rows in zip(STRATEGIES, found, strict=True)}

    def _most_faithful(self, rows: list[Row]) -> Row | None:
        return rows[int(closeness(self._shares(rows)).argmax())] if rows else None

    def names(self, row: Row) -> list[str]:
        """The edges of a circuit, by name."""
        return [str(edge) for edge, is_open in zip(self.runs.graph.edges, row, strict=True) if is_open]

    @property
    def why_none(self) -> str:
        """Why there is no rival, where there is none."""
        if self.runs.gap[2]:
            return f"on the searching half {self.runs.gap[2]}"
        n_others, n = int(self.others.sum()), int((~self.circuit).sum())
        if n_others < self.size:
            return f"only {n_others} of {n} other edges can be in a connected circuit, fewer than {self.size}"
        return f"this strategy found no connected circuit of {self.size} edges among the {n_others} others"

    # Strategies

    def _strongest(self) -> list[Row]:
        """Circuits of the edges with the strongest effects while the found circuit is closed, signed or not."""
        places = np.flatnonzero(self.others)
        without = np.repeat(self.others[None], len(places), 0)
        without[np.arange(len(places)), places] = False
        shares, effects = self._shares([self.others, *without]), np.zeros(len(self.others))
        effects[places] = shares[0] - shares[1:]
        return [*self._of_size(self.others, effects), *self._of_size(self.others, np.abs(effects))]

    def _backward(self, progress: bool) -> list[Row]:
        """What is left after the edges whose removal costs least are removed, some at a time."""
        row, n = self.others, int(self.others.sum())
        with bar(n - self.size, "removing edges", show=progress) as shown_bar:
            while n > self.size:
                removed = [self._switched(row, place) for place in np.flatnonzero(row)]
                if not (fitting := [each for each in removed if each.sum() >= self.size]):
                    break
                order = np.argsort(-closeness(self._shares(fitting)), kind="stable")
                row = self._dropped(row, [row & ~fitting[place] for place in order], math.ceil(DROPPED * n))
                shown_bar.update(n - int(row.sum()))
                n = int(row.sum())
        return self._of_size(row, np.zeros(len(row)))

    def _dropped(self, row: Row, bundles: Sequence[Row], n_most: int) -> Row:
        """Without the first of some bundles of edges, up to about that many edges in all, and not below the size."""
        least = max(self.size, int(row.sum()) - n_most)
        for bundle in bundles:
            rest = self._connected(row & ~bundle)
            row = rest if rest.sum() >= self.size else row
            if row.sum() <= least:
                break
        return row

    def _random(self, n: int, seed: int) -> list[Row]:
        """Unions of random paths, edges beyond the size removed in random order."""
        paths, rng, found = _Paths(self.runs.graph, self.others), np.random.default_rng(seed), []
        for _ in range(n):
            row = np.zeros_like(self.others)
            for _ in range(PATHS_PER_EDGE * self.size):  # there may be edges on hardly any of them
                if row.sum() < self.size:
                    row[paths.draw(rng)] = True
            found += self._of_size(row, rng.random(len(row)))
        return list(np.unique(found, axis=0)) if found else []

    # Circuits of the size, by scores of edges

    def _of_size(self, row: Row, scores: Float[np.ndarray, " edge"]) -> list[Row]:
        """A circuit without the edges of the lowest scores and what they alone connect; none if it has no such size.

        Where each removal would take too many, one of them does, and edges of the highest scores are added.
        """
        order, n_before = np.argsort(scores, kind="stable"), -1
        while self.size < row.sum() != n_before:
            n_before = row.sum()
            for place in order[row[order]]:
                if row.sum() > self.size and row[place] and (rest := self._switched(row, place)).sum() >= self.size:
                    row = rest
        if row.sum() <= self.size:
            return self._completed(row, scores)
        fewer = (self._switched(row, place) for place in order[row[order]])
        return next((found for each in fewer if (found := self._completed(each, scores))), [])

    def _completed(self, row: Row, scores: Float[np.ndarray, " edge"]) -> list[Row]:
        """With the highest of the edges that can be added one by one; none if these do not do."""
        while (n_lacking := self.size - int(row.sum())) > 0:
            fitting = [place for place in np.flatnonzero(self.others & ~row) if self._switched(row, place)[place]]
            if not fitting:
                return []
            row = row.copy()
            row[sorted(fitting, key=lambda place: -scores[place])[:n_lacking]] = True
        return [row]

    def _switched(self, row: Row, place: Any) -> Row:
        """What is connected after an edge is opened, or closed if it was open."""
        changed = row.copy()
        changed[place] = not row[place]
        return self._connected(changed)

    def _connected(self, row: Row) -> Row:
        """The edges on a path from a source to the answer."""
        edges = self.runs.graph.edges
        found = connected(self.runs.graph, [edges[place] for place in np.flatnonzero(row)])
        return np.array([edge in found for edge in edges], dtype=bool)

    def _shares(self, rows: Sequence[Row]) -> Float[np.ndarray, " set"]:
        self.n_tried += len(rows)
        return self.runs.share(np.array(rows), what="searching rivals")


class _Paths:
    """Random paths of some edges, drawn downwards from the answer; all of the edges lie on such a path."""

    def __init__(self, graph: ComputationGraph, row: Row) -> None:
        self.edges, self.sources = graph.edges, graph.sources
        self.into_answer = [int(place) for place in np.flatnonzero(row) if graph.edges[place].receiver == graph.answer]
        self.into: dict[Node, list[int]] = {}  # by component, the edges into what it reads
        for place in np.flatnonzero(row):
            for node in graph.outputs_of(graph.edges[place].receiver):
                self.into.setdefault(node, []).append(int(place))

    def draw(self, rng: np.random.Generator) -> list[int]:
        """The edges of one path, by number; each is chosen evenly."""
        path = [int(rng.choice(self.into_answer))]
        while (sender := self.edges[path[-1]].sender) not in self.sources:
            path.append(int(rng.choice(self.into[sender])))
        return path
