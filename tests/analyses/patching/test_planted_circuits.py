"""Circuits planted in linear models are found to the last edge, by effects and by pruning; the suite prints a table."""

from collections.abc import Iterable, Sequence
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from linear import linear_pairs, planted_linear
from planted import GRAPH
from scipy.stats import binomtest

from grokscope.analyses import discover
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.faithfulness import LEAST, minimality
from grokscope.circuits import Edge


def recovered(seeds: Sequence[int]) -> pd.DataFrame:
    rows = []
    for seed in seeds:
        model, planted = planted_linear(seed)
        pairs = linear_pairs(model, seed)
        kept = set(discover(model, pairs, top_k=len(planted)).kept_edges)
        rows.append({"seed": seed, "edges": len(planted), "found": len(kept & planted), "wrong": len(kept - planted)})
    return pd.DataFrame(rows)


def test_every_planted_edge_is_found_by_its_effect() -> None:
    table = recovered(range(8))
    assert (table["found"] == table["edges"]).all() and (table["wrong"] == 0).all() and (table["edges"] > 3).all()


@pytest.mark.parametrize("seed", range(2))
def test_pruning_keeps_planted_edges_only(seed: int) -> None:
    model, planted = planted_linear(seed)
    kept = set(discover(model, linear_pairs(model, seed), greedy=1e-9).kept_edges)
    assert kept <= planted and len(kept) > len(planted) / 2  # it may drop edges that hurt


@pytest.mark.slow
def test_fifty_planted_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    table = recovered(range(50))
    with capsys.disabled():
        print(f"\nplanted linear circuits, n = 50:\n{table[['edges', 'found', 'wrong']].sum()}")  # noqa: T201
    assert table["found"].sum() >= 0.99 * table["edges"].sum()


class NullRuns(CircuitRuns):
    """Runs of a circuit whose every edge carries, over queries, LEAST of the gap on average: at the bound, not beyond it."""

    def __init__(self, seed: int, edges: Sequence[Edge], n: int = 64) -> None:
        rng = np.random.default_rng(seed)
        self.full, self.empty = np.full(n, 10.0), np.zeros(n)
        self.pairs = SimpleNamespace(unit=np.arange(n), n_units=n)
        carried = rng.normal(LEAST * 10.0, 1.0, size=(len(edges), n))
        self.graph, self._carried = GRAPH, np.zeros((len(GRAPH.edges), n))
        self._carried[[GRAPH.edges.index(edge) for edge in edges]] = carried

    def metric(self, circuits: Sequence[Iterable[Edge | str]] | np.ndarray, *, what: str = "") -> np.ndarray:
        return (circuits if isinstance(circuits, np.ndarray) else self.open_edges(circuits)) @ self._carried


def calls_needless(seed: int) -> bool:
    return bool(minimality(NullRuns(seed, GRAPH.edges[:12]), GRAPH.edges[:12], seed=seed)["needed"].any())


def test_minimality_calls_hardly_any_needless_edges_needed() -> None:
    assert sum(map(calls_needless, range(100))) <= 11  # of 100 at .05, more has a chance of .004


@pytest.mark.slow
def test_minimality_calls_needless_edges_needed_in_at_most_five_percent_of_circuits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = sum(map(calls_needless, range(1000)))
    with capsys.disabled():
        print(f"\nfamily-wise errors of minimality: {wrong} of 1000")  # noqa: T201
    assert binomtest(wrong, 1000).proportion_ci(0.99).low <= 0.05


def test_a_planted_circuit_without_an_edge_is_missed_and_the_rest_is_not() -> None:
    model, planted = planted_linear(1)
    pairs = linear_pairs(model, 1)
    runs, edges = CircuitRuns(model, pairs), sorted(planted)
    assert runs.share([edges])[0] == pytest.approx(1.0)
    table, rest = minimality(runs, edges, seed=0), [edge for edge in runs.graph.edges if edge not in planted]
    assert (table["own_share"].abs() > 1e-9).mean() > 0.9
    assert abs(runs.share([rest])[0]) < 1.0
