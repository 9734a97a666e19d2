import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import other_pairs, random_model, random_pairs, seeds, strong_model, wide_pairs
from explained import assert_explained
from handset import BRIDGE_EDGES, copies_model, handset_model

from grokscope.analyses import discover, path_patch, run_with_edges
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.rivals import ALL_OTHERS, STRATEGIES, RivalResult, rival_circuits
from grokscope.circuits import Circuit, ComputationGraph, Edge, connected
from grokscope.circuits.units import shown
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer


def pairs_of(model: HookedTransformer, seed: int, n: int) -> PromptPairs:
    """Random pairs; answer and foil are what the model prefers in the clean and in the corrupt run."""
    pairs = random_pairs(seed, n)
    with torch.no_grad():
        change = (model(pairs.clean) - model(pairs.corrupt))[:, -1]
    return PromptPairs(pairs.clean, pairs.corrupt, change.argmax(-1), change.argmin(-1), roles=pairs.roles)


def tiny_model(seed: int, **settings: object) -> HookedTransformer:
    model = random_model(seed, n_layers=1, **settings)
    with torch.no_grad():
        model.unembed.W_U.mul_(10.0)
    return model


def closeness(share: np.ndarray) -> np.ndarray:
    return np.minimum(share, 2 - share)


def all_rivals(circuit: Circuit) -> list[tuple[Edge, ...]]:
    """Every connected circuit of that size that shares no edge with a circuit."""
    kept = set(circuit.kept_edges)
    sets = itertools.combinations([edge for edge in circuit.graph.edges if edge not in kept], len(kept))
    return [edges for edges in sets if connected(circuit.graph, edges) == set(edges)]


def rows(result: RivalResult) -> dict[str, dict[str, float]]:
    return result.table.set_index("edges").to_dict("index")


def compared_with_all(seed: int, **settings: object) -> list[float]:
    """Of a tiny model: each rival's closeness to 1 as a share of the best of all circuits, where it was searched."""
    model = tiny_model(seed, **settings)
    pairs = pairs_of(model, seed, 40)
    circuit = discover(model, pairs.halves()[0], top_k=4)
    result = rival_circuits(model, circuit, pairs, n=20)
    found, best, every = rows(result), [], all_rivals(circuit)
    if not every:
        assert result.best == ""
        return [1.0] * len(STRATEGIES)
    for half, column in zip(pairs.halves(), ("searched", "faithfulness"), strict=True):
        best.append(closeness(CircuitRuns(model, half).share(every)).max())
        assert not any(closeness(found[name][column]) > best[-1] + 1e-9 for name in STRATEGIES)
    searched = [closeness(found[name]["searched"]) for name in STRATEGIES]
    assert closeness(found[result.best]["searched"]) == np.nanmax(searched)
    return [each / best[0] for each in searched]


@pytest.mark.parametrize("settings", [{"normalization_type": None}, {}], ids=["without norm", "with norm"])
def test_no_rival_is_better_than_the_best_of_all_circuits_and_the_search_comes_close(settings: dict[str, object]) -> None:
    shares = np.array([compared_with_all(seed, **settings) for seed in range(8)])
    best, (strongest, backward, _) = np.nanmax(shares, axis=1), np.nanmean(shares, axis=0)
    assert best.min() > 0.5 and best.mean() > 0.9 and strongest > 0.6 and backward > 0.65


def doubled(model: HookedTransformer) -> HookedTransformer:
    """A model without norms and MLPs twice, side by side in one residual stream; the logits are the sum of both."""
    n = model.cfg.d_model
    both = random_model(0, n_layers=2, n_heads=2, d_model=2 * n, attn_only=True, normalization_type=None)
    with torch.no_grad():
        for parameter in both.parameters():
            parameter.zero_()
        for copy in range(2):
            part = slice(copy * n, (copy + 1) * n)
            both.embed.W_E[:, part], both.pos_embed.W_pos[:, part] = model.embed.W_E, model.pos_embed.W_pos
            both.unembed.W_U[part] = model.unembed.W_U
            for block, single in zip(both.blocks, model.blocks, strict=True):
                for name in ("W_Q", "W_K", "W_V"):
                    getattr(block.attn, name)[copy, part] = getattr(single.attn, name)[0]
                for name in ("b_Q", "b_K", "b_V"):
                    getattr(block.attn, name)[copy] = getattr(single.attn, name)[0]
                block.attn.W_O[copy, :, part] = single.attn.W_O[0]
    return both


def heads_of(edge: Edge) -> set[int]:
    return {node.index for node in edge if node.kind == "head"}


@pytest.mark.parametrize("seed", seeds(8, fast=2))
def test_of_two_copies_side_by_side_the_other_one_is_found_and_is_as_faithful(seed: int) -> None:
    model = doubled(random_model(seed, n_layers=2, n_heads=1, attn_only=True, normalization_type=None))
    pairs = pairs_of(model, seed, 160)
    effects = path_patch(model, pairs.halves()[0], per_query=True)
    one, other = ([edge for edge in effects.graph.edges if heads_of(edge) == {copy}] for copy in range(2))
    circuit = Circuit.from_effects(effects, edges=one)
    result = rival_circuits(model, circuit, pairs, n=20)
    found = rows(result)
    assert len(circuit.kept_edges) == len(one) == len(other)
    for half, column in zip(pairs.halves(), ("searched", "faithfulness"), strict=True):
        kept, same = CircuitRuns(model, half).share([one, other])
        assert 0.3 < kept == pytest.approx(same) == pytest.approx(found["circuit"][column])
        assert found["backward"][column] > kept - (0 if column == "searched" else 0.05)
    assert "backward" in result.as_faithful and "as faithful: none" not in result.caption
    assert len(set(result.edges["backward"]) & set(map(str, other))) >= len(other) - 2


def test_more_than_the_whole_gap_is_as_far_from_faithful_as_less() -> None:
    """The circuit is a copy that works against the answer, so that the other one keeps more than both do."""
    model = doubled(random_model(0, n_layers=2, n_heads=1, attn_only=True, normalization_type=None))
    with torch.no_grad():
        model.unembed.W_U[: model.cfg.d_model // 2] *= -0.5
    pairs = pairs_of(model, 0, 160)
    effects = path_patch(model, pairs.halves()[0], per_query=True)
    one = [edge for edge in effects.graph.edges if heads_of(edge) == {0} and edge.receiver.input not in ("q", "k")]
    result = rival_circuits(model, Circuit.from_effects(effects, edges=one), pairs, n=20)
    found = rows(result)
    for row in found.values():
        closer = abs(1 - found["circuit"]["faithfulness"]) - abs(1 - row["faithfulness"])
        assert row["difference"] == pytest.approx(closer)
    searched = {name: found[name]["searched"] for name in STRATEGIES}
    assert found[ALL_OTHERS]["faithfulness"] > 1.5 and found["circuit"]["faithfulness"] < 0
    assert result.best == min(searched, key=lambda name: abs(1 - searched[name]))
    assert abs(1 - searched["backward"]) < 0.2  # a search for the largest share would end far above 1


def test_next_to_the_hand_set_circuit_no_rival_keeps_anything(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0)
    circuit = discover(model, pairs.halves()[0])
    result = rival_circuits(model, circuit, pairs, n=20)
    found = rows(result)
    assert set(map(str, circuit.kept_edges)) == set(BRIDGE_EDGES)
    assert found["circuit"]["faithfulness"] == pytest.approx(1.0)
    for name in (*STRATEGIES, ALL_OTHERS):
        assert found[name]["faithfulness"] == pytest.approx(0.0, abs=1e-6)
        assert found[name]["difference"] == pytest.approx(-1.0, abs=1e-5)
    assert not result.as_faithful and "as faithful: none" in result.caption and "6 edges keep 1.00" in result.caption


def test_copies_that_need_a_common_edge_are_no_rivals(evidence_world: TwoHopTask) -> None:
    """The second copy keeps as much as the first, and both begin with the same edge from the first entity."""
    model = copies_model(evidence_world.graph)
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=80, seed=0)
    first, second = pairs.halves()
    effects = path_patch(model, first, per_query=True)
    circuit = Circuit.from_effects(effects, edges=[Edge.parse(name) for name in BRIDGE_EDGES])
    common = {"embed@h -> L0H0.v@h", "MLP1@r2 -> logits@r2"}
    apart = [edge for edge in effects.graph.edges if str(edge) in common or edge not in circuit.kept_edges]
    one, other = CircuitRuns(model, second).share([circuit.kept_edges, apart])
    assert one > 0.3 and other > 0.3
    assert not rival_circuits(model, circuit, pairs, n=20).as_faithful


def test_rivals_are_connected_of_the_size_share_no_edge_and_keep_what_a_fresh_run_keeps() -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=40)
    first, second = pairs.halves()
    circuit = discover(model, first, top_k=12)
    result = rival_circuits(model, circuit, pairs, n=10)
    kept, found = {str(edge) for edge in circuit.kept_edges}, rows(result)
    whole, none = (run_with_edges(model, second, edges) for edges in (circuit.graph.edges, []))
    place = range(len(second))

    def total(logits: torch.Tensor) -> float:
        return float((logits[place, second.answers] - logits[place, second.foils]).sum())

    assert list(found) == ["circuit", *STRATEGIES, ALL_OTHERS]
    for name, edges in result.edges.items():
        assert len(edges) == len(kept) == found[name]["n_edges"] and not kept & set(edges)
        parsed = [Edge.parse(edge) for edge in edges]
        assert connected(circuit.graph, parsed) == set(parsed)
        share = (total(run_with_edges(model, second, parsed)) - total(none)) / (total(whole) - total(none))
        assert found[name]["faithfulness"] == pytest.approx(share) and found[name]["overlap"] == 0
    assert found["circuit"]["overlap"] == 1 and found["circuit"]["difference"] == 0
    assert found[ALL_OTHERS]["n_edges"] == len(circuit.graph.edges) - len(kept)
    assert (result.pairs, result.searched_on, result.chosen_on) == (second.key, first.key, first.key)
    assert (result.table["n"] == len(second)).all() and (result.table["n_units"] == second.n_units).all()


def test_intervals_equal_a_loop_over_resamples_of_units() -> None:
    model, pairs = strong_model(6), wide_pairs(6, n=24)
    pairs = pairs.take(torch.arange(24).repeat(2))  # two queries a unit
    first, second = pairs.halves()
    circuit = discover(model, first, top_k=8)
    result = rival_circuits(model, circuit, pairs, n=5, seed=3)
    runs = CircuitRuns(model, second)
    kept = runs.metric([circuit.kept_edges, list(map(Edge.parse, result.edges["backward"]))]) - runs.empty
    unit, gaps = second.unit.tolist(), runs.full - runs.empty
    members = [[query for query, each in enumerate(unit) if each == one] for one in dict.fromkeys(unit)]
    counts = np.random.default_rng(3).multinomial(len(members), np.full(len(members), 1 / len(members)), size=1000)
    shares, closer = [], []
    for count in counts:
        queries = [query for number, one in zip(count, members, strict=True) for query in one * number]
        circuits, rival = (float(row[queries].sum() / gaps[queries].sum()) for row in kept)
        shares.append(rival)
        closer.append(abs(1 - circuits) - abs(1 - rival))
    row = rows(result)["backward"]
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(shares, [0.025, 0.975]))
    assert [row["difference_low"], row["difference_high"]] == pytest.approx(np.quantile(closer, [0.025, 0.975]))
    assert len(members) < len(second) and row["n_units"] == len(members)


def test_rivals_follow_the_seed_and_read_back() -> None:
    model = tiny_model(4, n_heads=3)
    pairs = pairs_of(model, 4, 40)
    circuit = discover(model, pairs.halves()[0], top_k=8)
    results = [rival_circuits(model, circuit, pairs, n=3, seed=seed) for seed in (0, 0, 1)]
    assert results[0].to_json() == results[1].to_json() != results[2].to_json()
    assert results[0].edges["random"] != results[2].edges["random"]
    assert RivalResult.from_json(results[0].to_json()).to_json() == results[0].to_json()
    without = rival_circuits(model, circuit, pairs, n=0)
    assert without.edges["random"] == [] and np.isnan(rows(without)["random"]["faithfulness"])
    assert "this strategy found no connected circuit of " in rows(without)["random"]["reason"] and without.best in (
        "strongest",
        "backward",
    )


def test_without_enough_other_edges_it_says_so() -> None:
    model = tiny_model(2, n_heads=1)
    pairs = pairs_of(model, 2, 40)
    effects = path_patch(model, pairs.halves()[0], per_query=True)
    left_out = Edge.parse("embed@h -> L0H0.k@h")  # a key without anything that follows it
    circuit = Circuit.from_effects(effects, edges=[edge for edge in effects.graph.edges if edge != left_out])
    result = rival_circuits(model, circuit, pairs)
    for name in STRATEGIES:
        row = rows(result)[name]
        assert row["n_edges"] == 0 and np.isnan([row["faithfulness"], row["low"], row["difference"], row["searched"]]).all()
        assert row["reason"] == "only 0 of 1 other edges can be in a connected circuit, fewer than 11"
    assert result.best == "" and not result.as_faithful and "no rival" in result.caption
    assert rows(result)["circuit"]["faithfulness"] > 0


def test_a_gap_of_nothing_is_undefined_with_the_reason() -> None:
    model, pairs = strong_model(3), wide_pairs(3, n=40)
    circuit = discover(model, pairs.halves()[0], top_k=10)
    model.unembed.W_U.data.zero_()
    result = rival_circuits(model, circuit, pairs, n=2)
    assert result.table[["faithfulness", "low", "difference", "searched"]].isna().all(axis=None) and not result.as_faithful
    assert "undefined, on the searching half the gap" in result.caption and "; on the judging half the gap" in result.reason


def test_edges_at_all_positions_together_have_rivals() -> None:
    model, pairs = strong_model(5), wide_pairs(5, n=40)
    circuit = discover(model, pairs.halves()[0], top_k=8, positions="together")
    result = rival_circuits(model, circuit, pairs, n=5)
    runs = CircuitRuns(model, pairs.halves()[1], together=True)
    rival = [Edge.parse(name) for name in result.edges["backward"]]
    assert rows(result)["backward"]["faithfulness"] == pytest.approx(runs.share([rival])[0])


def test_what_cannot_be_judged_is_refused(as_users_call: None) -> None:
    model, pairs, others = strong_model(2), wide_pairs(2, n=40), other_pairs(2)
    first, second = pairs.halves()
    circuit = discover(model, first, top_k=8)
    with pytest.raises(ValueError, match=r"n is -1, needed .*; background must be .*; seed is 0\.5"):
        rival_circuits(model, circuit, pairs, n=-1, background="zero", seed=0.5)
    with pytest.raises(ValueError, match="share something with the pairs that the circuit was chosen on"):
        rival_circuits(model, discover(model, second, top_k=8), pairs)
    shared = rival_circuits(model, discover(model, pairs, top_k=8), pairs, n=2, allow_shared=True)
    assert shared.shared["prompt"] == len(second) and "share a prompt" in shared.caption
    with pytest.raises(ValueError, match="pairs are too few to judge circuits on"):
        rival_circuits(model, circuit, others)
    empty = Circuit.from_effects(circuit.to_frame(), threshold=99.0, graph=circuit.graph)
    with pytest.raises(ValueError, match=r"keeps none of its \d+ edges: no edge was strong enough"):
        rival_circuits(model, empty, pairs)
    tied = ComputationGraph.transformer(pairs.roles, pairs.answer_role, n_layers=2, n_heads=2, n_blocks=1)
    other = Circuit(circuit.table, tied, circuit.provenance)
    with pytest.raises(ValueError, match="the circuit is of another graph than the model"):
        rival_circuits(model, other, pairs)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    model = tiny_model(0)
    pairs = pairs_of(model, 0, 40)
    result = rival_circuits(model, discover(model, pairs.halves()[0], top_k=4), pairs, n=5)
    assert_explained(result)
    found, said = rows(result), result.explain()
    kept, best = (shown(found[name]["faithfulness"]) for name in ("circuit", result.best))
    assert f"keeps {kept} of the gap" in said.means and f"({result.best}) {best}." in said.means
    gone = dataclasses.replace(result, reason="on the judging half the gap is too small").explain()
    assert gone.means == "Nothing: on the judging half the gap is too small." and gone.sure == "No interval was computed."
    alone = dataclasses.replace(result, table=result.table.assign(searched=np.nan)).explain()
    assert "no rival was found" in alone.means and alone.sure.startswith("The 95 % interval")
    assert "no rows" in dataclasses.replace(result, table=result.table.head(0)).explain().means
