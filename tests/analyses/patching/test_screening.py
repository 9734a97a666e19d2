"""Screened discovery against measuring everything, and the bound on what it misses, over worlds where all is known."""

import functools

import numpy as np
import pandas as pd
import pytest
from conftest import random_model, random_pairs

from grokscope.analyses import discover, edge_attribution, faithfulness, path_patch, run_with_edges
from grokscope.analyses.patching.screening import DEFAULT_SCREEN, choose, most_missed
from grokscope.circuits import Circuit, ComputationGraph
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer


@functools.cache
def world() -> tuple[HookedTransformer, PromptPairs]:
    """A model whose edges are more than are verified, and pairs that have a gap."""
    model = random_model(0, n_layers=3, n_heads=4)
    pairs = random_pairs(0, n=24)
    logits = model(pairs.clean)[:, -1] - model(pairs.corrupt)[:, -1]
    best = logits.topk(2, largest=True).indices[:, 0], logits.topk(1, largest=False).indices[:, 0]
    return model, PromptPairs(pairs.clean, pairs.corrupt, *best, roles=pairs.roles)


def test_strong_and_sampled_edges_are_measured_and_only_they_are_kept() -> None:
    model, pairs = world()
    circuit = discover(model, pairs, screen="eap", verify=150, threshold=0.02, seed=3)
    table, exact = circuit.table, path_patch(model, pairs, seed=3).table
    estimated = edge_attribution(model, pairs, seed=3).table
    assert table["verified"].value_counts().to_dict() == {"exact": 50, "sampled": 100, "estimated": len(table) - 150}
    by_estimate = estimated["effect"].abs().nlargest(50).index
    assert set(by_estimate) == set(table.index[table["verified"] == "exact"])
    measured = table["verified"] != "estimated"
    for column in ("effect", "stderr"):
        np.testing.assert_allclose(table[column][measured], exact[column][measured], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(table[column][~measured], estimated[column][~measured], rtol=1e-9, atol=1e-12)
    assert table["kept"].any() and not table["kept"][~measured].any()
    assert (~measured & (table["effect"].abs() >= 0.02)).any(), "some estimates are strong enough, if they counted"
    about = circuit.provenance["screen"]
    sampled = table["effect"][table["verified"] == "sampled"].abs()
    assert about["largest_sampled"] == sampled.max() and about["n_above"] == (sampled >= 0.02).sum()
    assert about["most_missed"] == most_missed(about["n_above"], 100, about["n_never"] + 100)
    assert about["share_missed"] == about["most_missed"] / about["n_never"] and about["method"] == "eap"
    assert f"at most {about['share_missed']:.2%} are" in circuit.caption and "50 edges strongest by eap" in circuit.caption
    again = Circuit.from_json(circuit.to_json())
    pd.testing.assert_frame_equal(again.table, table)
    assert again.provenance == circuit.provenance
    given = [edge for edge, row in zip(circuit.measured_edges, table["verified"], strict=True) if row == "estimated"]
    assert Circuit.from_effects(circuit, edges=given).table["kept"].any(), "estimated edges are kept if they are given"


def test_with_as_many_measurements_as_edges_nothing_is_left_out() -> None:
    model, pairs = world()
    circuit, exact = discover(model, pairs, screen=True, verify=10_000, top_k=30), discover(model, pairs, top_k=30)
    assert (circuit.table["verified"] == "exact").all() and circuit.provenance["screen"]["method"].startswith(DEFAULT_SCREEN)
    pd.testing.assert_frame_equal(circuit.table.drop(columns="verified"), exact.table, rtol=1e-9)
    assert circuit.provenance["screen"]["share_missed"] == 0.0 and "measured exactly" not in circuit.caption


def test_the_bound_covers_where_everything_is_measured() -> None:
    """100 seeds for each of three thresholds, with estimates that are good and with none better than chance."""
    model, pairs = world()
    strength, estimates = path_patch(model, pairs).table["effect"].abs(), edge_attribution(model, pairs).table["effect"]
    chance = np.random.default_rng(0).permutation(estimates)
    for guessed in (estimates.to_numpy(), chance):
        for threshold in strength.quantile([0.6, 0.8, 0.95]):
            assert sum(covered(strength.to_numpy() >= threshold, guessed, seed) for seed in range(100)) >= 95


def covered(above: np.ndarray, estimates: np.ndarray, seed: int) -> bool:
    """Whether the bound holds for a sample."""
    chosen = choose(estimates, 130, seed=seed)
    measured = np.concatenate([chosen.top, chosen.sampled])
    missed = int(above.sum() - above[measured].sum())
    return missed <= most_missed(int(above[chosen.sampled].sum()), len(chosen.sampled), chosen.n_others)


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_covers_however_strong_edges_are_spread_over_the_parts(seed: int) -> None:
    """The chance of a bound that is too low, computed and not drawn."""
    rng = np.random.default_rng(seed)
    n_parts, n = int(rng.integers(2, 60)), int(rng.integers(60, 500))
    sizes = np.array([len(part) for part in np.array_split(np.arange(n), n_parts)])
    weights = rng.random(n_parts) ** rng.choice([0, 1, 8]) * (rng.random(n_parts) < rng.choice([0.1, 0.5, 1.0]))
    above = np.minimum(sizes, np.round(sizes * np.clip(weights * rng.random(), 0, 1)).astype(int))
    counts = np.ones(1)  # the distribution of how many of the drawn edges are strong
    for chance in above / sizes:
        counts = np.convolve(counts, [1 - chance, chance])
    too_low = sum(p for k, p in enumerate(counts) if p > 0 and most_missed(k, n_parts, n) < above.sum() - k)
    assert too_low <= 0.05 + 1e-12


def test_the_bound_is_near_that_of_clopper_and_pearson() -> None:
    for k, percent in ((0, 0.746), (1, 1.18), (10, 4.2)):
        assert most_missed(k, 400, 30_000) / 30_000 == pytest.approx(percent / 100, abs=0.0006)
    assert most_missed(3, 50, 50) == 0 and most_missed(50, 50, 200) == 150


def test_edges_at_all_positions_together_are_a_circuit() -> None:
    model, pairs = world()
    circuit = discover(model, pairs, positions="together", threshold=0.05)
    exact = path_patch(model, pairs, positions="together")
    assert (
        circuit.graph.roles == ("all",) and circuit.graph.is_transformer and len(circuit.graph.edges) >= len(circuit.table)
    )
    np.testing.assert_allclose(circuit.table["effect"], exact.table["effect"])
    assert circuit.table["sender"].iloc[0] == exact.table["sender"].iloc[0] + "@all" and circuit.table["kept"].any()
    assert {edge.kind for edge in circuit.measured_edges} == {"q", "k", "v", "mlp", "logits"}
    assert Circuit.from_json(circuit.to_json()).graph == circuit.graph


def test_an_edge_of_all_positions_is_open_at_every_position() -> None:
    model, pairs = world()
    circuit = discover(model, pairs, positions="together", threshold=0.05)
    graph: ComputationGraph = edge_attribution(model, pairs).graph
    names = {(edge.sender.component, edge.receiver.component) for edge in circuit.kept_edges}
    apart = [edge for edge in graph.edges if (edge.sender.component, edge.receiver.component) in names]
    logits = run_with_edges(model, pairs, apart)
    assert (run_with_edges(model, pairs, circuit.kept_edges) == logits).all()
    assert (run_with_edges(model, pairs, [f"{sender} -> {receiver}" for sender, receiver in names]) == logits).all()
    result = faithfulness(model, circuit, pairs, n_random=2, allow_shared=True)
    clean, corrupt = (run_with_edges(model, pairs, edges) for edges in (graph.edges, []))
    share = [
        each.gather(1, pairs.answers[:, None]) - each.gather(1, pairs.foils[:, None]) for each in (logits, clean, corrupt)
    ]
    alone, full, empty = (float(each.sum()) for each in share)
    assert result.faithfulness == pytest.approx((alone - empty) / (full - empty))


def test_what_does_not_go_with_a_screen_is_said_at_once() -> None:
    model, pairs = world()
    with pytest.raises(ValueError, match=r"verify.*screen must be.*'acdc'") as error:
        discover(model, pairs, screen="acdc", verify=100)
    assert "eap" in str(error.value)
    with pytest.raises(ValueError, match=r"greedy prunes by exact runs.*leave out method='eap'"):
        discover(model, pairs, screen="eap", greedy=0.1, method="eap")
    with pytest.raises(ValueError, match="top_k=300 are more edges than verify=200 measures"):
        discover(model, pairs, screen="eap", verify=200, top_k=300)
