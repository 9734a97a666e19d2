"""Equivalence on planted circuits: the same, one essential edge moved, and at the margin."""

import dataclasses

import numpy as np
import pytest
from planted import CHAIN, noisy_circuit
from scipy.stats import binomtest, t

from grokscope.circuits import Circuit, EquivalenceResult, equivalence
from grokscope.circuits.equivalence import one_sided_bounds

MOVED = {**CHAIN, "MLP0@r1 -> L1H0.v@r1": 0.0, "embed@r1 -> L1H0.v@r1": 0.7}
Circuits = dict[int, dict[str, Circuit]]


def trainings(draw: int, other: dict[str, float], n_seeds: int = 5, spread: float = 0.05) -> tuple[Circuits, Circuits]:
    """For each seed two conditions and a replicate of each, all of them trainings with a spread of their own."""

    def one(values: dict[str, float], seed: int, place: int) -> Circuit:
        return noisy_circuit(values, seed=(draw * 100 + seed) * 10 + place, spread=spread)

    circuits = {s: {"a": one(CHAIN, s, 0), "b": one(other, s, 1)} for s in range(n_seeds)}
    return circuits, {s: {"a": one(CHAIN, s, 2), "b": one(other, s, 3)} for s in range(n_seeds)}


def verdicts(draws: range, other: dict[str, float]) -> list[str]:
    return [equivalence(*trainings(draw, other), ("a", "b")).verdict for draw in draws]


def test_two_draws_of_one_circuit_are_the_same_and_a_moved_edge_is_different() -> None:
    assert verdicts(range(10), CHAIN).count("same") >= 9
    assert verdicts(range(10), MOVED).count("different") >= 9


@pytest.mark.slow
def test_in_a_hundred_draws_each() -> None:
    assert verdicts(range(100), CHAIN).count("same") >= 95
    assert verdicts(range(100), MOVED).count("different") >= 95


def test_bounds_equal_scipys_one_sided_t_intervals() -> None:
    values = np.random.default_rng(0).normal(0.2, 0.1, size=6)
    mean, low, high = one_sided_bounds(values)
    interval = t.interval(0.90, 5, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(6))  # 5 % on each side
    assert (low, high) == pytest.approx(interval) and mean == values.mean()


def test_at_the_margin_each_verdict_is_wrong_in_at_most_five_percent() -> None:
    """A thousand nulls: differences that lie on the margin on average; *same* and *different* are both wrong then."""
    rng, same, different = np.random.default_rng(1), 0, 0
    for _ in range(1000):
        _, low, high = one_sided_bounds(rng.normal(0.1, 0.05, size=5))
        same, different = same + (high < 0.1), different + (low > 0.1)
    for wrong in (same, different):
        assert binomtest(wrong, 1000).proportion_ci(0.99).low <= 0.05


def test_the_numbers_are_those_of_the_circuits() -> None:
    circuits, replicates = trainings(0, MOVED)
    result = equivalence(circuits, replicates, ("a", "b"), margin=0.3)
    from scipy.spatial.distance import jensenshannon

    def distance(a: Circuit, b: Circuit) -> float:
        return float(jensenshannon(*(abs(c.table["effect"].to_numpy()) for c in (a, b)), base=2))

    for seed, row in result.table.set_index("seed").iterrows():
        assert row["distance"] == pytest.approx(distance(circuits[seed]["a"], circuits[seed]["b"]))
        own = np.mean([distance(circuits[seed][name], replicates[seed][name]) for name in "ab"])
        assert row["replicate_distance"] == pytest.approx(own)
        assert row["difference"] == pytest.approx(row["distance"] - own)
    assert result.margin == 0.3 and result.difference == pytest.approx(result.table["difference"].mean())
    assert result.low < result.difference < result.high and "n = 5 seeds" in result.caption
    assert EquivalenceResult.from_json(result.to_json()).to_json() == result.to_json()
    aligned = equivalence(circuits, replicates, ("a", "b"), aligned=True)
    assert (aligned.table["distance"] <= result.table["distance"]).all() and "after alignment" in aligned.caption


def test_too_few_seeds_are_undecided_with_the_number_and_gaps_are_named() -> None:
    circuits, replicates = trainings(0, CHAIN, n_seeds=2)
    result = equivalence(circuits, replicates, ("a", "b"))
    assert result.verdict == "undecided" and result.caption == "a / b: undecided, needed are 3 seeds, there are 2"
    with pytest.raises(ValueError, match="0 lacks c; 1 lacks c"):
        equivalence(circuits, replicates, ("a", "c"))
    with pytest.raises(ValueError, match="1 has no replicate of a or b"):
        equivalence(circuits, {0: replicates[0]}, ("a", "b"))
    with pytest.raises(ValueError, match="there is no seed"):
        equivalence({}, {}, ("a", "b"))
    odd = noisy_circuit(CHAIN, seed=5)
    odd = Circuit(odd.table, odd.graph, {**odd.provenance, "contrast": "head"})
    with pytest.raises(ValueError, match="differ in contrast"):
        equivalence({0: {"a": circuits[0]["a"], "b": odd}}, replicates, ("a", "b"))


def test_which_layers_share_weights_does_not_matter() -> None:
    found = {
        seed: {name: noisy_circuit(CHAIN, seed=10 * seed + i) for i, name in enumerate(("a", "b"))} for seed in range(3)
    }
    again = {seed: {"a": noisy_circuit(CHAIN, seed=100 + seed)} for seed in range(3)}
    own = found[0]["b"].graph.untied()
    untied = {seed: {**each, "b": dataclasses.replace(each["b"], graph=own)} for seed, each in found.items()}
    assert found[0]["b"].graph != own
    assert equivalence(untied, again, ("a", "b")).to_json() == equivalence(found, again, ("a", "b")).to_json()
