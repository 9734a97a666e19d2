"""Necessity by several ablations: against `faithfulness`, against literal runs, and where the circuit is known."""

import dataclasses
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import no_hooks_left, other_pairs, strong_model, wide_pairs
from explained import assert_explained
from handset import BRIDGE_EDGES, RELATION_2_EDGES, handset_model

from grokscope.analyses import discover, faithfulness
from grokscope.analyses.forward.literal import run_with_edges, sender_outputs
from grokscope.analyses.patching.necessity import ALPHA, FEWEST_RANDOM, NecessityResult, necessity
from grokscope.analyses.statistics import derangement
from grokscope.circuits import Circuit, ComputationGraph, Edge
from grokscope.circuits.random_circuits import random_circuits
from grokscope.tasks import TwoHopTask, make_pairs

ABLATIONS = ("corrupt", "mean", "resampled", "zero")
SHARES = ["kept", "kept_low", "kept_high", "without", "without_low", "without_high", "random_without", "random_least", "p"]


def keeping(circuit: Circuit, edges: list[Edge]) -> Circuit:
    """The same measurement, with other edges kept."""
    return dataclasses.replace(circuit, table=circuit.table.assign(kept=[edge in edges for edge in circuit.measured_edges]))


@pytest.mark.parametrize("together", [False, True])
def test_each_row_is_what_faithfulness_says_on_that_background(together: bool) -> None:
    model, others = strong_model(0), other_pairs(0, n=60)
    circuit = discover(model, wide_pairs(0), top_k=12, positions="together" if together else "separate")
    result = necessity(model, circuit, others, n_random=7, seed=5)
    assert tuple(result.table["ablation"]) == ABLATIONS and not result.table["reason"].any()
    for row in result.table.to_dict("records"):
        judged = faithfulness(model, circuit, others, background=row["ablation"], n_random=7, seed=5)
        first, random = judged.table.iloc[0], judged.table["without"].iloc[1:]
        for ours, theirs in {"kept": "faithfulness", "kept_low": "low", "kept_high": "high"}.items():
            assert row[ours] == first[theirs]
        for name in ("without", "without_low", "without_high", "gap", "n", "n_units"):
            assert row[name] == first[name]
        assert (row["p"], row["random_without"], row["random_least"]) == (judged.p_complete, random.median(), random.min())
    assert result.table["without"].nunique() == result.table["kept"].nunique() == len(ABLATIONS)
    assert (result.model, result.pairs, result.n_edges) == (model.cfg.model_name, others.key, len(circuit.kept_edges))
    assert (result.chosen_on, result.n_random, result.unit) == (circuit.provenance["pairs"], 7, "nats")
    assert no_hooks_left(model)


def test_rows_equal_literal_runs_of_the_circuit_and_of_random_ones() -> None:
    model, others = strong_model(1), other_pairs(1, n=40)
    circuit = discover(model, wide_pairs(1), top_k=15)
    graph, measured = circuit.graph, set(circuit.measured_edges)
    result = necessity(model, circuit, others, n_random=3, seed=2)
    drawn = random_circuits(graph, circuit.kept_edges, 3, rng=np.random.default_rng(2))
    outputs, _ = sender_outputs(model, graph, others.corrupt)
    resampled, _ = sender_outputs(model, graph, others.corrupt[derangement(len(others), seed=2)])
    carried = {
        "corrupt": outputs,
        "mean": {node: value.mean(0, keepdim=True).expand_as(value) for node, value in outputs.items()},
        "resampled": resampled,
        "zero": {node: torch.zeros_like(value) for node, value in outputs.items()},
    }
    for row in result.table.to_dict("records"):

        def metric(edges: Any, closed: Any = carried[row["ablation"]]) -> float:
            logits = run_with_edges(model, graph, others.clean, edges, closed)
            return float((logits[range(40), others.answers] - logits[range(40), others.foils]).mean())

        empty, gap = metric([]), metric(graph.edges) - metric([])
        left = [(metric(measured - set(edges)) - empty) / gap for edges in (circuit.kept_edges, *drawn)]
        assert row["gap"] == pytest.approx(gap, abs=1e-9)
        if row["reason"]:
            continue
        assert row["kept"] == pytest.approx((metric(circuit.kept_edges) - empty) / gap, abs=1e-9)
        assert row["without"] == pytest.approx(left[0], abs=1e-9)
        assert row["random_without"] == pytest.approx(sorted(left[1:])[1], abs=1e-9)
        assert row["random_least"] == pytest.approx(min(left[1:]), abs=1e-9)
        assert row["p"] == (1 + sum(each <= left[0] for each in left[1:])) / 4
    assert (result.table["reason"] == "").sum() >= 3


@pytest.fixture(scope="module")
def known(evidence_world: TwoHopTask) -> tuple[Any, Circuit, Any]:
    """A hand-set model, its circuit, and pairs to judge it on."""
    model = handset_model(evidence_world.graph)
    chosen_on, judged_on = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0).halves()
    return model, discover(model, chosen_on), judged_on


def test_the_hand_set_circuit_is_needed_by_all_four(known: tuple[Any, Circuit, Any]) -> None:
    model, circuit, pairs = known
    assert set(map(str, circuit.kept_edges)) == set(BRIDGE_EDGES)
    result = necessity(model, circuit, pairs)
    np.testing.assert_allclose(result.table["without"], 0.0, atol=1e-6)
    assert result.needed_by == ABLATIONS and "needed by 4 of 4 ablations, more than 20 random" in result.caption
    assert result.table["kept"].iloc[0] == pytest.approx(1.0)  # the corrupt prompts have the same r2
    assert result.table["kept"].iloc[3] == pytest.approx(0.0, abs=1e-6)  # zeros have none, and hop 2 cannot be looked up
    alone = necessity(model, circuit, pairs, n_random=0)
    assert alone.table[SHARES[:6]].equals(result.table[SHARES[:6]])
    assert alone.table[["random_without", "random_least"]].isna().all(axis=None) and (alone.table["p"] == 1).all()
    assert alone.needed_by == ABLATIONS and "random" not in alone.caption


@pytest.mark.parametrize("seed", range(4))
def test_a_random_circuit_that_misses_it_is_needed_by_none(known: tuple[Any, Circuit, Any], seed: int) -> None:
    model, circuit, pairs = known
    used, graph = {*BRIDGE_EDGES, *RELATION_2_EDGES}, circuit.graph
    draws = random_circuits(graph, circuit.kept_edges, 100, rng=np.random.default_rng(seed))
    apart = next(edges for edges in draws if not used & set(map(str, edges)))
    result = necessity(model, keeping(circuit, apart), pairs, n_random=5)
    assert (result.table["without"] > 0.9).all() and not result.needed_by and not result.more_than_random
    both = necessity(model, keeping(circuit, [*apart, *circuit.kept_edges]), pairs, n_random=0)
    assert both.needed_by == ABLATIONS  # knocked out together with the known one it is


def test_one_edge_in_a_chain_is_as_needed_as_the_chain_and_one_beside_it_is_not(known: tuple[Any, Circuit, Any]) -> None:
    model, circuit, pairs = known
    for name in BRIDGE_EDGES:
        result = necessity(model, keeping(circuit, [Edge.parse(name)]), pairs, ablations=["zero", "mean"], n_random=0)
        assert result.needed_by == ("zero", "mean") and "its one edge" in result.caption, name
    beside = keeping(circuit, [Edge.parse("embed@h -> L0H1.v@h")])
    assert necessity(model, beside, pairs, n_random=0).needed_by == ()


def test_a_row_does_not_depend_on_the_others_and_follows_the_seed() -> None:
    model, others = strong_model(0), other_pairs(0, n=60)
    circuit = discover(model, wide_pairs(0), top_k=12)
    whole = necessity(model, circuit, others, n_random=4).table.set_index("ablation")
    some = necessity(model, circuit, others, n_random=4, ablations=("zero", "corrupt")).table.set_index("ablation")
    assert list(some.index) == ["zero", "corrupt"] and some.equals(whole.loc[["zero", "corrupt"]])
    again = necessity(model, circuit, others, n_random=4, seed=1).table.set_index("ablation")
    assert not again["random_without"].equals(whole["random_without"])
    assert again.loc["resampled", "kept"] != whole.loc["resampled", "kept"]
    assert again.loc["zero", "kept"] == whole.loc["zero", "kept"]


def test_more_than_random_counts_the_circuit_itself() -> None:
    """One of twenty-one is below .05, one of twenty is not."""
    model, others = strong_model(0), other_pairs(0, n=60)
    result = necessity(model, discover(model, wide_pairs(0), top_k=12), others, n_random=2)
    for p, expected in ((1 / 21, ABLATIONS), (0.051, ())):
        assert dataclasses.replace(result, table=result.table.assign(p=p)).more_than_random == expected
    for high, expected in ((0.49, ABLATIONS), (0.5, ()), (np.nan, ())):
        assert dataclasses.replace(result, table=result.table.assign(without_high=high)).needed_by == expected


def test_without_a_gap_a_row_says_why_and_the_circuit_is_needed_by_nothing() -> None:
    model, pairs = strong_model(3), wide_pairs(3)
    circuit = discover(model, pairs, top_k=10)
    model.unembed.W_U.data.zero_()
    result = necessity(model, circuit, other_pairs(3), n_random=2)
    assert result.table[SHARES].isna().all(axis=None) and not result.needed_by and not result.more_than_random
    assert result.table["reason"].str.contains("the gap").all()
    assert "an undefined share (zero: the gap" in result.caption and "needed by 0 of 4" in result.caption


def test_it_reads_back() -> None:
    model, others = strong_model(4), other_pairs(4)
    result = necessity(model, discover(model, wide_pairs(4), top_k=10), others, n_random=1)
    assert result.table["reason"].any() and not result.table["reason"].all()
    assert NecessityResult.from_json(result.to_json()).to_json() == result.to_json()


def test_what_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    model, pairs, others = strong_model(2), wide_pairs(2), other_pairs(2)
    circuit = discover(model, pairs, top_k=10)
    known = "'corrupt', 'resampled', 'mean', 'zero'"
    wrong = {"ablations": ("zero", "noise", "zero"), "n_random": -1, "progress": "no", "seed": 0.5}
    with pytest.raises(
        ValueError, match=f"ablations must be one of {known}, got 'noise'; ablations name 'zero' more than "
    ) as error:
        necessity(model, circuit, others, **wrong)
    assert all(name in str(error.value) for name in ("n_random is -1", "progress is 'no'", "seed is 0.5"))
    with pytest.raises(ValueError, match="there are no ablations, possible are corrupt, resampled, mean, zero"):
        necessity(model, circuit, others, ablations=())
    for given in ("zero", 3, [3]):
        with pytest.raises(ValueError, match=r"ablations (is .*, needed are names|are names, got 3)"):
            necessity(model, circuit, others, ablations=given)
    with pytest.raises(ValueError, match="12 of these 12 pairs share something"):
        necessity(model, circuit, pairs)
    assert necessity(model, circuit, pairs, n_random=0, allow_shared=True).shared == {"prompt": 12, "unit": 12}
    with pytest.raises(ValueError, match="7 pairs are too few"):
        necessity(model, circuit, others.take(torch.arange(7)))
    with pytest.raises(ValueError, match=r"the circuit keeps none of its \d+ edges"):
        necessity(model, keeping(circuit, []), others)
    tied = ComputationGraph.transformer(pairs.roles, pairs.answer_role, n_layers=2, n_heads=2, n_blocks=1)
    with pytest.raises(ValueError, match="the circuit is of another graph than the model"):
        necessity(model, dataclasses.replace(circuit, graph=tied), others)


def test_what_it_says_of_itself_is_what_it_holds(known: tuple[Any, Circuit, Any]) -> None:
    model, circuit, pairs = known
    result = necessity(model, circuit, pairs, ablations=["zero", "mean"], n_random=3)
    assert_explained(result, constants={"0.05", "0.5"})
    assert "needed by 2 of 2 ablations" in result.explain().means and "0.00 (zero), 0.00 (mean)" in result.explain().means
    gone = dataclasses.replace(result, table=result.table.assign(without=np.nan, reason="the gap is too small"))
    assert "nothing that has a number" in gone.explain().means and "(mean: the gap is too small)" in gone.explain().sure
    assert "no rows" in dataclasses.replace(result, table=result.table.head(0)).explain().means


def test_fewer_random_circuits_than_a_p_value_takes_are_said_to_be_too_few(known: tuple[Any, Circuit, Any]) -> None:
    model, circuit, pairs = known
    few, enough = (necessity(model, circuit, pairs, n_random=n) for n in (FEWEST_RANDOM - 1, FEWEST_RANDOM))
    assert not few.more_than_random and "takes 19 random circuits, not 18" in few.caption
    assert "more than 19 random circuits" in enough.caption and "takes" not in enough.caption
    assert few.table["p"].min() >= 1 / FEWEST_RANDOM > ALPHA == pytest.approx(1 / (FEWEST_RANDOM + 1))
