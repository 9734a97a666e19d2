"""How often each test calls something that is not there, in a thousand draws of its null; the suite prints the rates."""

from collections.abc import Callable

import numpy as np
import pytest
from conftest import strong_model, wide_pairs
from planted import CHAIN, GRAPH, LOOSE_ENDS, noisy_circuit
from scipy.stats import binomtest

from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.statistics import newcombe_interval
from grokscope.circuits import compare
from grokscope.circuits.random_circuits import edge_class, random_circuits

N = 1000


def rate(name: str, wrong: Callable[[int], bool], capsys: pytest.CaptureFixture[str], n: int = N) -> None:
    """Count false alarms; the 99 % interval of their share must reach down to .05 or below."""
    found = sum(bool(wrong(seed)) for seed in range(n))
    with capsys.disabled():
        print(f"\n{name}: {found} of {n}")  # noqa: T201
    assert binomtest(found, n).proportion_ci(0.99).low <= 0.05


@pytest.mark.slow
def test_random_circuits_among_random_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    """A circuit that is itself a random one, of the same draw, against nineteen others."""
    runs = CircuitRuns(strong_model(0), wide_pairs(0))
    start = random_circuits(runs.graph, list(runs.graph.edges)[:12], 1, rng=np.random.default_rng(0))[0]
    drawn = random_circuits(runs.graph, start, 20 * N, rng=np.random.default_rng(1))
    shares = np.concatenate([runs.share(drawn[i : i + 500]) for i in range(0, len(drawn), 500)]).reshape(N, 20)
    rate("faithfulness, p ≤ .05", lambda seed: (shares[seed] >= shares[seed, 0]).mean() <= 0.05, capsys)
    rate("completeness-like, p ≤ .05", lambda seed: (shares[seed] <= shares[seed, 0]).mean() <= 0.05, capsys)


@pytest.mark.slow
def test_edges_of_equal_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    """Two measurements of one circuit on the same number of queries: any edge called different at q ≤ .05."""

    def wrong(seed: int) -> bool:
        pair = {name: noisy_circuit(CHAIN, seed=2 * seed + place, n=64) for place, name in enumerate("ab")}
        return bool((compare(pair, n_bootstrap=10, seed=seed).differences["q"] <= 0.05).any())

    rate("differences, any q ≤ .05", wrong, capsys)


@pytest.mark.slow
def test_shuffled_circuits(capsys: pytest.CaptureFixture[str]) -> None:
    """A circuit and itself with effects shuffled within layer and kind: likeness called more than chance."""
    classes = np.array([str(edge_class(edge)) for edge in GRAPH.edges])
    own = np.array([(CHAIN | LOOSE_ENDS).get(str(edge), 0.0) for edge in GRAPH.edges])

    def wrong(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        background = np.abs(rng.normal(scale=0.2, size=len(own)))  # so that all edges are alive
        other = own + background
        for name in np.unique(classes):
            other[classes == name] = rng.permutation(other[classes == name])
        values = [dict(zip(map(str, GRAPH.edges), v, strict=True)) for v in (own + background, other)]
        pair = {name: noisy_circuit(v, seed=2 * seed + name.count("b"), n=16) for name, v in zip("ab", values, strict=True)}
        rows = compare(pair, n_bootstrap=10, seed=seed).table.set_index("measure")
        return bool(rows.loc["weighted_overlap", "p"] <= 0.05)

    rate("likeness beyond chance, p ≤ .05", wrong, capsys)


@pytest.mark.slow
def test_equal_shares(capsys: pytest.CaptureFixture[str]) -> None:
    """Newcombe's interval of two equal shares of 40: zero outside."""

    def wrong(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        share, control = rng.binomial(40, 0.3, size=2) / 40
        low, high = newcombe_interval(share, control, 40)
        return not low <= 0 <= high

    rate("difference of equal shares", wrong, capsys)
