import dataclasses

import numpy as np
import pandas as pd
import pytest
from conftest import seeds, strong_model, wide_pairs
from explained import assert_explained
from planted import CHAIN, noisy_circuit
from scipy.stats import spearmanr

from grokscope.analyses import discover, path_patch
from grokscope.analyses.patching.reliability import ReliabilityResult, halves, split_half
from grokscope.circuits import Circuit, ComputationGraph

GRAPH = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=4, n_heads=6, n_blocks=4)


def circuit_of(
    deltas: np.ndarray, gaps: np.ndarray, unit: list[int] | None = None, *, n_kept: int = 20, graph: ComputationGraph = GRAPH
) -> Circuit:
    """A circuit of the first edges of a graph that keeps the strongest of them."""
    effects, edges = deltas.sum(1) / gaps.sum(), graph.edges[: len(deltas)]
    kept = np.zeros(len(edges), dtype=bool)
    kept[np.argsort(-np.abs(effects), kind="stable")[:n_kept]] = True
    names = {"sender": [str(edge.sender) for edge in edges], "receiver": [str(edge.receiver) for edge in edges]}
    numbers = {"effect": effects, "stderr": 0.01, "n": len(gaps), "gap": -gaps.mean(), "kept": kept}
    words = [f"q{query}" for query in range(len(gaps))]
    hashes = {"clean": words, "corrupt": words} | ({} if unit is None else {"unit": [f"u{each}" for each in unit]})
    return Circuit(pd.DataFrame({**names, **numbers}), graph, {"model": "m", "pairs": "p", "hashes": hashes}, deltas, gaps)


def values(result: ReliabilityResult) -> dict[str, float]:
    return dict(zip(result.table["quantity"], result.table["value"], strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_loop_over_splits_edges_and_queries(seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.integers(9, size=30).tolist()
    gaps = -rng.uniform(5, 15, size=30)
    deltas = rng.normal(size=(25, 1)) * gaps / 20 + rng.normal(size=(25, 30))
    circuit = circuit_of(deltas, gaps, unit, n_kept=6)
    result = split_half(circuit, n_splits=12, seed=seed)
    numbers = {each: number for number, each in enumerate(dict.fromkeys(unit))}
    in_first = halves(np.array([numbers[each] for each in unit]), 12, np.random.default_rng(seed))
    found: dict[str, list[float]] = {"correlation": [], "rank correlation": [], "jaccard": []}
    plain = []
    for split in range(12):
        effects = []
        for half in (1, 0):
            queries = [query for query in range(30) if in_first[query, split] == half]
            effects.append([sum(row[query] for query in queries) / sum(gaps[query] for query in queries) for row in deltas])
        one, other = effects
        r, rank = np.corrcoef(one, other)[0, 1], spearmanr(one, other).statistic
        tops = [set(sorted(range(25), key=lambda edge, half=half: -abs(half[edge]))[:6]) for half in effects]
        plain.append(r)
        found["correlation"].append(2 * r / (1 + abs(r)))
        found["rank correlation"].append(2 * rank / (1 + abs(rank)))
        found["jaccard"].append(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))
    for row in result.table.itertuples():
        numbers = found[row.quantity]
        assert row.value == pytest.approx(np.mean(numbers))
        assert [row.low, row.high] == pytest.approx(np.quantile(numbers, [0.025, 0.975]))
    assert result.table["uncorrected"].iloc[0] == pytest.approx(np.mean(plain))
    assert result.table["uncorrected"].iloc[2] == result.table["value"].iloc[2]


@pytest.mark.parametrize("seed", seeds(20, fast=5))
@pytest.mark.parametrize("n_units", [4, 7, 32])
def test_halves_are_of_whole_units_and_as_large_as_can_be(n_units: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = rng.permutation(np.concatenate([np.arange(n_units), rng.integers(n_units, size=40)]))
    weights = halves(units, 50, np.random.default_rng(seed))
    for split in weights.T:
        first, second = set(units[split == 1]), set(units[split == 0])
        assert not first & second and len(first) == n_units // 2 and len(first | second) == n_units
    assert len({tuple(split) for split in weights.T}) > 1
    assert weights.mean(1).min() > 0.2 and weights.mean(1).max() < 0.8  # every unit is in either half


def test_copies_of_a_query_in_its_unit_change_nothing_and_would_as_units_of_their_own() -> None:
    rng = np.random.default_rng(0)
    gaps, noise = np.full(12, -10.0), rng.normal(size=(60, 12))
    again = np.repeat(np.arange(12), 3)
    once = split_half(circuit_of(noise, gaps))
    copies = split_half(circuit_of(noise[:, again], gaps[again], again.tolist()))
    np.testing.assert_allclose(copies.table[["value", "low", "high"]], once.table[["value", "low", "high"]])
    assert (copies.table["n"] == 36).all() and (copies.table["n_units"] == 12).all()
    apart = split_half(circuit_of(noise[:, again], gaps[again]))
    assert apart.correlation > once.correlation + 0.3


def test_alike_queries_are_reliable_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    gaps = -rng.uniform(5, 15, size=40)
    alike = split_half(circuit_of(rng.normal(size=(200, 1)) * gaps, gaps))
    assert values(alike) == pytest.approx({"correlation": 1.0, "rank correlation": 1.0, "jaccard": 1.0})
    assert alike.table[["low", "high"]].to_numpy() == pytest.approx(1.0)
    noise = split_half(circuit_of(rng.normal(size=(200, 40)), gaps))
    found = values(noise)
    assert abs(found["correlation"]) < 0.15 and abs(found["rank correlation"]) < 0.15
    assert 0.02 < found["jaccard"] < 0.15  # 20 of 200 edges by chance: 2 of 38


@pytest.mark.parametrize("ratio", [0.5, 1.0, 4.0])
def test_signal_and_noise_of_known_variances_give_the_known_reliability(ratio: float) -> None:
    """Signal S and noise N of the mean over all queries: S / (S + N), of halves S / (S + 2N)."""
    rng, n_edges, n = np.random.default_rng(2), len(GRAPH.edges), 64
    signal = rng.normal(size=(n_edges, 1))
    signal *= ratio**0.5 / signal.std()
    result = split_half(circuit_of(signal + n**0.5 * rng.normal(size=(n_edges, n)), np.ones(n)))
    assert result.correlation == pytest.approx(ratio / (ratio + 1), abs=0.06)
    assert result.table["uncorrected"].iloc[0] == pytest.approx(ratio / (ratio + 2), abs=0.06)
    assert n_edges > 400 and (result.table["n_edges"] == n_edges).all()


def test_a_negative_correlation_stays_above_minus_one() -> None:
    """Two kinds of queries with opposite effects: halves of uneven mixture disagree."""
    rng = np.random.default_rng(3)
    effects, sign = rng.normal(size=(50, 1)), np.array([1.0, 1.0, -1.0, -1.0])
    result = split_half(circuit_of(effects * sign + 0.01 * rng.normal(size=(50, 4)), np.ones(4)))
    assert -1 <= result.table["low"].iloc[0] < -0.9 and result.table["uncorrected"].iloc[0] < 0


def test_edges_without_any_effect_are_kept_by_no_half() -> None:
    gaps, deltas = np.full(8, -10.0), np.zeros((30, 8))
    deltas[0] = -5.0
    result = split_half(circuit_of(deltas, gaps, n_kept=10))
    assert values(result)["jaccard"] == 1.0
    deltas[1, :1] = -1.0  # a single query: never in both halves
    assert values(split_half(circuit_of(deltas, gaps, n_kept=10)))["jaccard"] == pytest.approx(0.5)


def test_a_real_circuit_follows_the_seed_and_reads_back() -> None:
    circuit = discover(strong_model(1), wide_pairs(1, n=24), top_k=10)
    results = [split_half(circuit, n_splits=20, seed=seed) for seed in (0, 0, 1)]
    assert results[0].to_json() == results[1].to_json() != results[2].to_json()
    again = ReliabilityResult.from_json(results[0].to_json())
    assert again.to_json() == results[0].to_json() and again.caption == results[0].caption
    assert "split-half correlation 0." in again.caption and "20 splits of 24 queries (24 units)" in again.caption
    first = results[0].table.iloc[0]
    assert -1 <= first["low"] <= first["value"] <= first["high"] <= 1


def test_memory_is_bounded_without_changing_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = noisy_circuit(CHAIN, 0, n=40)
    whole = split_half(circuit, n_splits=3000)
    monkeypatch.setattr("grokscope.analyses.patching.reliability.AT_ONCE", 8 * 44 * 100)
    parts = split_half(circuit, n_splits=3000)
    np.testing.assert_allclose(parts.table["value"], whole.table["value"], atol=0.02)


def test_without_a_gap_there_is_no_reliability_and_the_reason_is_said() -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=24)
    model.unembed.W_U.data.zero_()
    result = split_half(discover(model, pairs, top_k=10))
    assert result.table[["value", "low", "high", "uncorrected"]].isna().all(axis=None)
    assert "gap" in result.reason and result.reason in result.caption


def test_circuits_that_cannot_be_split_are_refused(as_users_call: None) -> None:
    model, pairs = strong_model(2), wide_pairs(2)
    bare = Circuit.from_effects(path_patch(model, pairs), top_k=5)
    with pytest.raises(
        ValueError, match=r"n_splits is 0, .*; seed is -1, .*; the circuit has no changes by query; .*discover"
    ):
        split_half(bare, n_splits=0, seed=-1)
    measured = Circuit.from_effects(path_patch(model, pairs, per_query=True), top_k=5)  # as the message says
    assert split_half(measured, n_splits=2).table["n_units"].iloc[0] == 12
    with pytest.raises(ValueError, match="3 units of queries are too few, needed are 4; 2 measured edges are too few"):
        split_half(circuit_of(np.ones((2, 6)), np.ones(6), [0, 0, 1, 1, 2, 2]))
    infinite = dataclasses.replace(circuit_of(np.ones((4, 6)), np.ones(6)), deltas=np.full((4, 6), np.nan))
    with pytest.raises(ValueError, match="0 measured edges are too few, needed are 3"):
        split_half(infinite)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    result = split_half(discover(strong_model(0), wide_pairs(0), top_k=15), n_splits=10)
    assert_explained(result)
    assert f"The correlation of effects is {result.correlation:.2f}" in result.explain().means
    undefined = dataclasses.replace(result, table=result.table.assign(value=np.nan, low=np.nan), reason="no gap")
    assert undefined.explain().means == "Nothing: no gap." and "No quantiles" in undefined.explain().sure
    assert "no rows" in dataclasses.replace(result, table=result.table.head(0)).explain().means
