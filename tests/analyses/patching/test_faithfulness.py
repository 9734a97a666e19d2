import dataclasses

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, random_pairs, strong_model, wide_pairs
from handset import BRIDGE_EDGES, handset_model
from planted import GRAPH
from scipy.stats import ttest_1samp

from grokscope.analyses import FaithfulnessResult, discover, faithfulness, graph_of, path_patch, run_with_edges
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.faithfulness import SHARES, minimality, shared_with_choosing
from grokscope.circuits import Circuit, ComputationGraph, Edge, connected
from grokscope.circuits.circuit import COLUMNS
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs


def test_the_whole_graph_is_faithful_and_half_of_it_what_its_run_gives() -> None:
    model, pairs, others = strong_model(0), wide_pairs(0), wide_pairs(0, n=9)
    circuit = discover(model, pairs, threshold=0.0)
    assert faithfulness(model, circuit, others, n_random=1).faithfulness == pytest.approx(1.0)
    part = discover(model, pairs, top_k=20)
    result = faithfulness(model, part, others, n_random=2)
    rest = [edge for edge in part.measured_edges if edge not in part.kept_edges]
    metric = [
        (logits[range(9), others.answers] - logits[range(9), others.foils]).sum()
        for logits in (
            run_with_edges(model, others, part.kept_edges),
            run_with_edges(model, others, rest),
            model(others.clean)[:, -1].detach(),
            model(others.corrupt)[:, -1].detach(),
        )
    ]
    alone, without, clean, corrupt = map(float, metric)
    assert result.faithfulness == pytest.approx((alone - corrupt) / (clean - corrupt))
    assert result.table["without"].iloc[0] == pytest.approx((without - corrupt) / (clean - corrupt))
    assert result.table["n_edges"].nunique() == 1 and (result.table["n"] == 9).all()
    assert (result.table["low"] <= result.table["high"]).all()
    assert no_hooks_left(model)


@pytest.fixture(scope="module")
def judged(evidence_world: TwoHopTask) -> FaithfulnessResult:
    model = handset_model(evidence_world.graph)
    chosen_on, judged_on = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0).halves()
    return faithfulness(model, discover(model, chosen_on), judged_on, n_random=60)


def test_the_hand_set_circuit_is_faithful_complete_and_minimal(judged: FaithfulnessResult) -> None:
    assert judged.faithfulness == pytest.approx(1.0) and judged.table["without"].iloc[0] == pytest.approx(0.0, abs=1e-6)
    assert judged.p_value == pytest.approx(1 / 61) and judged.table["faithfulness"].iloc[1:].max() < 0.9
    assert judged.edges["needed"].all() and len(judged.edges) == len(BRIDGE_EDGES)
    assert judged.edges["own_share"].min() > 0.4  # without it the answer is lost, though not to the foil
    assert judged.cmd < 0.1 < 0.9 < judged.cpr and "6 edges needed one by one" in judged.caption


def test_a_needless_edge_is_found_out(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=40, seed=0)
    needless = ("embed@h -> L0H1.v@h", "L0H1@r1 -> MLP0@r1")
    edges = [Edge.parse(name) for name in (*BRIDGE_EDGES, *needless)]
    table = minimality(CircuitRuns(model, pairs), edges, seed=0)
    names = table["sender"] + " -> " + table["receiver"]
    assert set(names[table["needed"]]) == set(BRIDGE_EDGES) and (table["n"] == 40).all()


def test_own_shares_and_their_tests_equal_a_loop() -> None:
    model, pairs = strong_model(6), wide_pairs(6)
    edges = discover(model, pairs, top_k=15).kept_edges
    runs = CircuitRuns(model, pairs)
    table, gaps = minimality(runs, edges, seed=0), runs.full - runs.empty
    p = []
    for row, edge in enumerate(edges):
        lost = runs.metric([edges])[0] - runs.metric([[other for other in edges if other != edge]])[0]
        assert table["own_share"].iloc[row] == pytest.approx(lost.sum() / gaps.sum())
        p.append(ttest_1samp(lost - 0.01 * gaps.mean(), 0, alternative="greater").pvalue)
    np.testing.assert_allclose(table["p"], p)
    ranked = sorted(range(len(p)), key=p.__getitem__)
    adjusted, so_far = {}, 0.0
    for place, row in enumerate(ranked):
        so_far = max(so_far, min(1.0, p[row] * (len(p) - place)))
        adjusted[row] = so_far
    np.testing.assert_allclose(table["p_holm"], [adjusted[row] for row in range(len(p))])


def test_the_curve_and_its_areas_equal_a_loop_over_sizes() -> None:
    model, pairs, others = strong_model(7), wide_pairs(7), wide_pairs(7, n=9)
    circuit = discover(model, pairs, top_k=15)
    result, runs = faithfulness(model, circuit, others, n_random=0), CircuitRuns(model, others)
    edges, effects = circuit.measured_edges, circuit.table["effect"].to_numpy()
    for order, values in (("effect", effects), ("|effect|", np.abs(effects))):
        ranking = sorted(range(len(edges)), key=lambda i: -values[i])
        shares = [float(runs.share([[edges[i] for i in ranking[: int(s * len(edges))]]])[0]) for s in SHARES]
        rows = result.curve[result.curve["order"] == order]
        np.testing.assert_allclose(rows["faithfulness"], shares, atol=1e-12)
        steps = list(zip(SHARES, SHARES[1:], shares, shares[1:], strict=False))
        if order == "effect":
            assert result.cpr == pytest.approx(sum((b - a) * (f + g) / 2 for a, b, f, g in steps))
        else:
            assert result.cmd == pytest.approx(sum((b - a) * (abs(1 - f) + abs(1 - g)) / 2 for a, b, f, g in steps))
    assert result.figure().data and np.isfinite(result.p_value)


def test_random_circuits_follow_the_seed() -> None:
    model, pairs, others = strong_model(1), wide_pairs(1), wide_pairs(1, n=9)
    circuit = discover(model, pairs, top_k=20)
    tables = [faithfulness(model, circuit, others, n_random=4, seed=seed).table["faithfulness"] for seed in (0, 0, 1)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_greedy_pruning_keeps_what_a_literal_loop_keeps_and_every_edge_is_worth_it() -> None:
    model, pairs = strong_model(8), wide_pairs(8)
    circuit = discover(model, pairs, greedy=0.05)
    graph, kept, share = circuit.graph, set(circuit.graph.edges), 1.0
    runs = CircuitRuns(model, pairs)
    for edge in reversed(graph.edges):
        logits = run_with_edges(model, pairs, kept - {edge})
        metric = (logits[range(12), pairs.answers] - logits[range(12), pairs.foils]).double().numpy()
        rest = (metric - runs.empty).sum() / (runs.full - runs.empty).sum()
        if share - rest < 0.05:
            kept, share = kept - {edge}, rest
    assert set(circuit.kept_edges) == connected(graph, kept) and 0 < len(kept) < len(graph.edges)
    assert circuit.provenance["kept"] == "greedy, each edge at least 0.05 of the gap, connected"
    assert discover(model, pairs, greedy=0.05).to_json() == circuit.to_json()


def test_greedy_pruning_finds_the_hand_set_chain(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=24, seed=0)
    assert set(map(str, discover(model, pairs, greedy=0.02).kept_edges)) == set(BRIDGE_EDGES)
    for method in ("eap_ig_inputs", "eap_ig_activations"):
        estimated = discover(model, pairs, top_k=6, method=method)
        assert set(map(str, estimated.kept_edges)) == set(BRIDGE_EDGES)


def test_rules_exclude_each_other_and_methods_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    model, pairs = strong_model(2), wide_pairs(2)
    with pytest.raises(ValueError, match="give one of top_k, threshold and greedy"):
        discover(model, pairs, greedy=0.1, top_k=3)
    with pytest.raises(ValueError, match="no method 'acdc'; there are exact, eap, eap_ig_inputs, eap_ig_activations"):
        discover(model, pairs, method="acdc")


def test_judging_on_the_choosing_pairs_an_empty_circuit_or_another_graph_is_refused() -> None:
    model, pairs, others = strong_model(2), wide_pairs(2), wide_pairs(7, n=9)
    circuit = discover(model, pairs)
    with pytest.raises(ValueError, match="chosen on these very pairs; judge it on others"):
        faithfulness(model, circuit, pairs)
    empty = dataclasses.replace(circuit, table=circuit.table.assign(kept=False))
    with pytest.raises(ValueError, match=r"the circuit keeps none of its \d+ edges"):
        faithfulness(model, empty, others)
    tied = ComputationGraph.transformer(pairs.roles, pairs.answer_role, n_layers=2, n_heads=2, n_blocks=1)
    with pytest.raises(ValueError, match="the circuit is of another graph than the model"):
        faithfulness(model, dataclasses.replace(circuit, graph=tied), others)


def test_a_gap_of_nothing_is_undefined_with_the_reason_and_nothing_is_needed() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    circuit = discover(model, pairs, top_k=10)
    model.unembed.W_U.data.zero_()
    result = faithfulness(model, circuit, wide_pairs(3, n=9), n_random=1)
    assert np.isnan(result.faithfulness) and np.isnan(result.p_value) and "undefined, the gap" in result.caption
    numbers = [*result.curve[["faithfulness", "random"]].to_numpy().ravel(), *result.edges["own_share"], result.cpr]
    assert np.isnan(numbers).all() and not result.edges["needed"].any()


def test_it_reads_back() -> None:
    model, pairs = strong_model(4), wide_pairs(4)
    result = faithfulness(model, discover(model, pairs, top_k=10), wide_pairs(4, n=9), n_random=1)
    assert FaithfulnessResult.from_json(result.to_json()).to_json() == result.to_json()


def test_a_circuit_from_a_frame_equals_one_from_the_result() -> None:
    model, pairs = strong_model(5), wide_pairs(5)
    result = path_patch(model, pairs, per_query=True)
    assert Circuit.from_effects(result).to_json() == Circuit.from_effects(result.to_frame()).to_json()
    assert Circuit.from_effects(result).graph == graph_of(model, random_pairs(0).roles, -1)


def test_the_choosing_pairs_are_known_in_any_order_in_part_and_twice() -> None:
    model, pairs, others = strong_model(3), wide_pairs(3, n=24), wide_pairs(4, n=9)
    circuit = Circuit.from_json(discover(model, pairs, top_k=10).to_json())
    rows = torch.arange(len(pairs))
    for again in (
        rows.flip(0),
        rows[torch.randperm(24, generator=torch.Generator().manual_seed(0))],
        rows[4:],
        rows.repeat(2),
    ):
        with pytest.raises(ValueError, match="chosen on these very pairs"):
            faithfulness(model, circuit, pairs.take(again))
    mixed = joined(pairs.take(rows[:5]), others)
    with pytest.raises(ValueError, match="chosen on 5 of these 14 pairs"):
        faithfulness(model, circuit, mixed)
    turned = joined(swapped(pairs.take(rows[:3])), others)  # their corrupt prompts are explained now
    result = faithfulness(model, circuit, turned, n_random=1)
    literal = {tuple(row) for row in [*pairs.clean.tolist(), *pairs.corrupt.tolist()]}
    n = sum(
        tuple(a) in literal or tuple(b) in literal
        for a, b in zip(turned.clean.tolist(), turned.corrupt.tolist(), strict=True)
    )
    assert result.shared == {"prompt": n} and n >= 3
    assert FaithfulnessResult.from_json(result.to_json()).shared == result.shared


def test_a_circuit_of_an_old_file_is_known_by_the_key_of_its_pairs() -> None:
    model, pairs, others = strong_model(3), wide_pairs(3, n=24), wide_pairs(4, n=9)
    circuit = discover(model, pairs, top_k=10)
    old = dataclasses.replace(circuit, provenance={k: v for k, v in circuit.provenance.items() if k != "hashes"})
    with pytest.raises(ValueError, match="chosen on these very pairs"):
        faithfulness(model, old, pairs)
    assert faithfulness(model, old, others, n_random=1).shared == {}


def test_shared_prompts_and_units_of_halves_are_counted(evidence_world: TwoHopTask) -> None:
    first, second = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0).halves()
    circuit = Circuit(pd.DataFrame(columns=[*COLUMNS]), GRAPH, {"hashes": first.hashes})
    used = {tuple(row) for row in [*first.clean.tolist(), *first.corrupt.tolist()]}
    both = zip(second.clean.tolist(), second.corrupt.tolist(), strict=True)
    expected = {"prompt": sum(tuple(a) in used or tuple(b) in used for a, b in both)}
    expected["unit"] = sum(unit in first.unit.tolist() for unit in second.unit.tolist())
    assert shared_with_choosing(circuit, second) == expected and min(expected.values()) > 0


def joined(one: PromptPairs, other: PromptPairs) -> PromptPairs:
    columns = [
        torch.cat([getattr(each, name) for each in (one, other)]) for name in ("clean", "corrupt", "answers", "foils")
    ]
    return PromptPairs(*columns, roles=one.roles)


def swapped(pairs: PromptPairs) -> PromptPairs:
    return PromptPairs(pairs.corrupt, pairs.clean, pairs.foils, pairs.answers, roles=pairs.roles)
