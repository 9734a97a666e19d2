import dataclasses

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import no_hooks_left, other_pairs, random_pairs, strong_model, wide_pairs
from explained import assert_explained
from handset import BRIDGE_EDGES, handset_model
from scipy.stats import ttest_1samp

from grokscope.analyses import FaithfulnessResult, discover, faithfulness, graph_of, path_patch, run_with_edges, transplant
from grokscope.analyses.patching.choosing import shared_with_choosing
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.faithfulness import SHARES, faithfulness_curve, minimality
from grokscope.circuits import Circuit, ComputationGraph, Edge, connected
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs


def test_the_whole_graph_is_faithful_and_half_of_it_what_its_run_gives() -> None:
    model, pairs, others = strong_model(0), wide_pairs(0), other_pairs(0)
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


def test_copies_of_a_query_neither_change_a_test_nor_an_interval() -> None:
    """Sixteen pairs and four copies of each, which are one unit: the same numbers but for n."""
    model, pairs = strong_model(6), wide_pairs(6, n=16)
    copies = pairs.take(torch.arange(16).repeat(4))
    edges = discover(model, pairs, top_k=15).kept_edges
    plain, copied = (minimality(CircuitRuns(model, each), edges, seed=0) for each in (pairs, copies))
    assert (plain["n"] == 16).all() and (copied["n"] == 64).all() and (copied["n_units"] == 16).all()
    numbers = ["own_share", "low", "high", "p", "p_holm"]
    np.testing.assert_allclose(copied[numbers], plain[numbers], atol=1e-9)
    one = minimality(CircuitRuns(model, pairs.take(torch.zeros(9, dtype=torch.long))), edges, seed=0)
    assert not one["needed"].any() and one[["low", "high", "p"]].isna().all(axis=None)  # one query says nothing about others


def test_the_curve_and_its_areas_equal_a_loop_over_sizes() -> None:
    model, pairs, others = strong_model(7), wide_pairs(7), other_pairs(7)
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
    model, pairs, others = strong_model(1), wide_pairs(1), other_pairs(1)
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
    with pytest.raises(
        ValueError, match="no method 'acdc'; there are exact, eap, eap_shares, eap_ig_inputs, eap_ig_activations"
    ):
        discover(model, pairs, method="acdc")


def test_judging_on_the_choosing_pairs_an_empty_circuit_or_another_graph_is_refused() -> None:
    model, pairs, others = strong_model(2), wide_pairs(2), other_pairs(2)
    circuit = discover(model, pairs)
    with pytest.raises(ValueError, match="12 of these 12 pairs share something"):
        faithfulness(model, circuit, pairs)
    empty = dataclasses.replace(circuit, table=circuit.table.assign(kept=False))
    with pytest.raises(ValueError, match=r"the circuit keeps none of its \d+ edges"):
        faithfulness(model, empty, others)
    apart = Circuit.from_effects(circuit.to_frame(), threshold=99.0, graph=circuit.graph)
    for judge in (lambda: faithfulness(model, apart, others), lambda: transplant(model, model, apart, others)):
        with pytest.raises(
            ValueError, match=r"edges?: no edge was strong enough \(\|effect\| ≥ 99\); keep more, with a larger"
        ):
            judge()
    tied = ComputationGraph.transformer(pairs.roles, pairs.answer_role, n_layers=2, n_heads=2, n_blocks=1)
    with pytest.raises(ValueError, match="the circuit is of another graph than the model"):
        faithfulness(model, dataclasses.replace(circuit, graph=tied), others)


def test_a_gap_of_nothing_is_undefined_with_the_reason_and_nothing_is_needed() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    circuit = discover(model, pairs, top_k=10)
    model.unembed.W_U.data.zero_()
    result = faithfulness(model, circuit, other_pairs(3), n_random=1)
    assert np.isnan(result.faithfulness) and np.isnan(result.p_value) and "undefined, the gap" in result.caption
    numbers = [*result.curve[["faithfulness", "random"]].to_numpy().ravel(), *result.edges["own_share"], result.cpr]
    assert np.isnan(numbers).all() and not result.edges["needed"].any()


def test_it_reads_back() -> None:
    model, pairs = strong_model(4), wide_pairs(4)
    result = faithfulness(model, discover(model, pairs, top_k=10), other_pairs(4), n_random=1)
    assert FaithfulnessResult.from_json(result.to_json()).to_json() == result.to_json()


def test_a_circuit_from_a_frame_equals_one_from_the_result() -> None:
    model, pairs = strong_model(5), wide_pairs(5)
    result = path_patch(model, pairs, per_query=True)
    assert Circuit.from_effects(result).to_json() == Circuit.from_effects(result.to_frame()).to_json()
    assert Circuit.from_effects(result).graph == graph_of(model, random_pairs(0).roles, -1)


def literally_shared(pairs: PromptPairs, chosen: PromptPairs) -> dict[str, int]:
    """How many pairs have a prompt or the unit of one of the others, compared one by one."""
    used = [*chosen.clean.tolist(), *chosen.corrupt.tolist()]
    both = zip(pairs.clean.tolist(), pairs.corrupt.tolist(), strict=True)
    units = chosen.unit.tolist()
    return {"prompt": sum(a in used or b in used for a, b in both), "unit": sum(u in units for u in pairs.unit.tolist())}


def test_the_choosing_pairs_are_known_in_any_order_in_part_and_twice() -> None:
    model, pairs, others = strong_model(3), wide_pairs(3, n=24), other_pairs(3)
    circuit = Circuit.from_json(discover(model, pairs, top_k=10).to_json())
    rows = torch.arange(len(pairs))
    shuffled = rows[torch.randperm(24, generator=torch.Generator().manual_seed(0))]
    for again in (rows.flip(0), shuffled, rows[4:], rows.repeat(2)):
        with pytest.raises(
            ValueError, match=rf"{len(again)} of these {len(again)} pairs .*, 0 nothing; judge it on other pairs"
        ):
            faithfulness(model, circuit, pairs.take(again))
    turned = joined(swapped(pairs.take(rows[:3])), others)  # their corrupt prompts are explained now
    for mixed, n, what in (
        (joined(pairs.take(rows[:5]), others), 5, "5 share a prompt and 5 a unit"),
        (turned, 3, "3 share a"),
    ):
        shared = literally_shared(mixed, pairs)
        with pytest.raises(
            ValueError, match=rf"{n} of these {n + 9} pairs share .* \({what}.*\), 9 nothing; judge it on pairs"
        ):
            faithfulness(model, circuit, mixed)
        result = faithfulness(model, circuit, mixed, n_random=1, allow_shared=True)
        assert result.shared == shared and shared["prompt"] == n
        assert f"of {n + 9} pairs {what}" in result.caption
        assert FaithfulnessResult.from_json(result.to_json()).shared == shared
    apart = turned.apart_from(circuit.provenance["hashes"])  # as the message says
    result = faithfulness(model, circuit, apart, n_random=1)
    assert apart.key == others.key and result.shared == {"prompt": 0, "unit": 0}
    assert "share" not in result.caption and "unknown" not in result.caption


def test_every_judge_refuses_the_choosing_pairs_unless_asked_by_name() -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=24)
    circuit, runs = discover(model, pairs, top_k=10), CircuitRuns(model, pairs)
    judges = {
        "faithfulness": lambda **options: faithfulness(model, circuit, pairs, n_random=1, **options).caption,
        "transplant": lambda **options: transplant(model, model, circuit, pairs, **options).caption,
        "minimality": lambda **options: str(minimality(runs, circuit, seed=0, **options)),
        "curve": lambda **options: str(faithfulness_curve(runs, circuit, seed=0, **options)),
    }
    for name, judge in judges.items():
        with pytest.raises(ValueError, match="24 of these 24 pairs share something"):
            judge()
        said = judge(allow_shared=True)
        assert (
            name in ("minimality", "curve") or "of 24 pairs 24 share a prompt and 24 a unit with the choosing pairs" in said
        )


def test_a_circuit_of_an_old_or_foreign_file_is_judged_and_the_result_says_that_its_pairs_are_unknown() -> None:
    model, pairs, others = strong_model(3), wide_pairs(3, n=24), other_pairs(3)
    circuit = discover(model, pairs, top_k=10)
    old = dataclasses.replace(circuit, provenance={k: v for k, v in circuit.provenance.items() if k != "hashes"})
    with pytest.raises(ValueError, match="24 of these 24 pairs share something"):
        faithfulness(model, old, pairs)  # the key of all of them is known
    for each in (old, dataclasses.replace(circuit, provenance={})):
        result = faithfulness(model, each, others, n_random=1)
        assert result.shared == {} and "choosing pairs unknown" in result.caption
        assert "choosing pairs unknown" in transplant(model, model, each, others).caption
    units = {**circuit.provenance, "hashes": {k: v for k, v in circuit.provenance["hashes"].items() if k != "unit"}}
    result = faithfulness(model, dataclasses.replace(circuit, provenance=units), others, n_random=1)
    assert result.shared == {"prompt": 0} and "units of the choosing pairs unknown" in result.caption


def test_halves_share_nothing_and_interleaved_ones_are_counted(evidence_world: TwoHopTask) -> None:
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0)
    first, second = pairs.halves()
    assert shared_with_choosing({"hashes": first.hashes}, second, allow_shared=False) == {"prompt": 0, "unit": 0}
    rows = torch.arange(len(pairs))
    first, second = pairs.take(rows[::2]), pairs.take(rows[1::2])
    expected = literally_shared(second, first)
    assert shared_with_choosing({"hashes": first.hashes}, second, allow_shared=True) == expected and expected["unit"] > 0


def joined(one: PromptPairs, other: PromptPairs) -> PromptPairs:
    columns = [
        torch.cat([getattr(each, name) for each in (one, other)]) for name in ("clean", "corrupt", "answers", "foils")
    ]
    return PromptPairs(*columns, roles=one.roles)


def swapped(pairs: PromptPairs) -> PromptPairs:
    return PromptPairs(pairs.corrupt, pairs.clean, pairs.foils, pairs.answers, roles=pairs.roles)


def test_what_it_says_of_itself_is_what_it_holds(judged: FaithfulnessResult) -> None:
    assert_explained(judged)
    assert "1.00 of the gap" in judged.explain().means
    gone = dataclasses.replace(judged, reason="the gap is too small")
    assert gone.explain().means == "Nothing: the gap is too small."
