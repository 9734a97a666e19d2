"""Composition scores: known by algebra in a hand-set model, by plain products in random ones, the same in exact rewrites."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from conftest import random_model
from explained import assert_explained
from handset import BRIDGE_EDGES, RELATION_2_EDGES, ROLES, handset_model
from linear import planted_linear
from planted import effects
from rewrites import REWRITES, each_block
from token_mixing import mixing_model

from grokscope.analyses.forward.model import graph_of
from grokscope.analyses.patching.composition import CompositionResult, composition_scores, rotated_scores, scores
from grokscope.circuits import Circuit, ComputationGraph, Edge, Result
from grokscope.circuits.units import shown
from grokscope.tasks import ModelConfig, TwoHopTask, build_model
from grokscope.tasks.models.config import STATE_AND_TOKEN
from grokscope.tasks.models.trm import TRM
from grokscope.tasks.transformerlens import HookedTransformer

SHAPES = {
    "layer norm": {},
    "folded": {"normalization_type": "LNPre"},
    "root mean square": {"normalization_type": "RMS"},
    "no norm": {"normalization_type": None},
    "gated": {"gated_mlp": True, "act_fn": "silu"},
    "attention only": {"attn_only": True},
    "parallel": {"parallel_attn_mlp": True},
    "norms after": {"normalization_type": "RMS", "use_normalization_before_and_after": True},
    "shared keys": {"n_heads": 4, "d_head": 3, "n_key_value_heads": 2},
    "rotary": {"positional_embedding_type": "rotary", "d_head": 4, "rotary_dim": 4},
}
EXACT = ("neurons permuted", "values by a matrix", "scores by a matrix", "norms folded", "residual rotated")
IN_SINGLE = ("norms folded", "residual rotated")


def circuit_of(model: HookedTransformer | TRM, values: dict[str, float]) -> Circuit:
    """A circuit on a model's graph with the given effects."""
    frame = effects(values, graph=graph_of(model, ROLES, 2))
    return Circuit.from_effects(frame, edges=[Edge.parse(name) for name in values])


def scored(model: HookedTransformer, values: dict[str, float] | None = None) -> CompositionResult:
    return composition_scores(model, circuit_of(model, values or {"embed@r2 -> logits@r2": 1.0}))


def by_pair(result: CompositionResult, column: str = "score") -> dict[str, float]:
    rows = zip(result.table["sender"], result.table["receiver"], result.table[column], strict=True)
    return {f"{sender} -> {receiver}": value for sender, receiver, value in rows}


# Known by algebra


def test_scores_of_the_hand_set_model_are_known(small_world: TwoHopTask) -> None:
    graph = small_world.graph
    model = handset_model(graph)
    n, rows = graph.n_entities, model.cfg.d_vocab + len(ROLES)  # entities; rows of the embedding, one-hot each
    found = by_pair(scored(model))
    reads_by_gate = 1 + 4.0**2  # squares of what a neuron reads: its entity, and its relation by the gate
    known = {
        "embed -> L0H0.v": 1 / math.sqrt(rows),  # of all rows, the entities' are moved
        "L0H0 -> MLP0": 1 / math.sqrt(reads_by_gate * n),
        "embed -> MLP0": math.sqrt(16 / (reads_by_gate * rows)),
        "MLP0 -> L1H0.v": 1 / math.sqrt(n),
        "L1H0 -> MLP1": 1 / math.sqrt(reads_by_gate * n),
        "MLP1 -> logits": 1 / math.sqrt(2 * n),  # the unembedding reads two blocks
        "MLP0 -> logits": 1 / math.sqrt(2 * n),
        "L0H0 -> L1H0.v": 0.0,
        "L0H0 -> MLP1": 0.0,
        "MLP0 -> MLP1": 0.0,
        "L0H0 -> logits": 0.0,
        "L1H0 -> logits": 0.0,
        "embed -> L1H0.v": 0.0,
        "embed -> logits": 0.0,
        "MLP0 -> L1H0.q": 0.0,
        "L0H0 -> L1H0.k": 0.0,
    }
    assert {name: found[name] for name in known} == pytest.approx(known, abs=0, rel=1e-6)
    assert all(math.isnan(value) for name, value in found.items() if "L0H1" in name or "L1H1" in name)  # all zeros


def test_the_known_circuit_of_the_hand_set_model_is_where_the_weights_are(small_world: TwoHopTask) -> None:
    result = scored(handset_model(small_world.graph), dict.fromkeys((*BRIDGE_EDGES, *RELATION_2_EDGES), 1.0))
    found = result.table[result.table["n_found"] > 0]
    assert len(found) == result.n_found == 7  # two edges are into MLP1 of one pair, four pairs are into MLPs
    assert (found["score"] > 0).all()
    silent = {name for name, score in by_pair(result).items() if score == 0}
    assert len(silent) > 10 and not silent & {f"{a} -> {b}" for a, b in zip(found["sender"], found["receiver"], strict=True)}
    assert "pairs without a score: a matrix is all zeros" in result.caption


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_edges_are_told_from_others(seed: int) -> None:
    model, planted = planted_linear(seed)
    graph = graph_of(model, ROLES, 2)
    right = {str(edge): 1.0 for edge in planted}
    result = composition_scores(model, Circuit.from_effects(effects(right, graph=graph), edges=planted))
    assert result.n_found and result.n_others and result.auroc > 0.8  # some that are planted lead nowhere
    assert (result.table.loc[result.table["n_found"] > 0, "score"] > 0).all()
    shuffled = result.table.assign(n_found=result.table["n_found"].to_numpy()[::-1])
    assert replace(result, table=shuffled).auroc < 0.7


# Plain products


@pytest.mark.parametrize("name", SHAPES)
def test_scores_are_those_of_plain_products(name: str) -> None:
    model = random_model(3, **SHAPES[name])
    writes, reads = literal_matrices(model)
    found = by_pair(scored(model))
    for pair, score in found.items():
        sender, receiver = pair.split(" -> ")
        write, read = writes[sender], reads[receiver]
        assert score == pytest.approx(float((write @ read).norm() / write.norm() / read.norm()), abs=1e-12), pair
    assert len(found) > 10 and len(set(map("{:.6f}".format, found.values()))) == len(found)


@torch.no_grad()
def literal_matrices(model: HookedTransformer) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """By name, what writes [row, d_model] and what reads [d_model, column], with norms as matrices."""
    cfg, d_model = model.cfg, model.cfg.d_model
    taken_off = torch.eye(d_model, dtype=torch.float64)
    if (cfg.normalization_type or "").startswith("LN"):
        taken_off -= 1 / d_model

    def gain(module: torch.nn.Module | None) -> torch.Tensor:
        w = getattr(module, "w", None)
        return torch.eye(d_model, dtype=torch.float64) if w is None else torch.diag(w.detach())

    writes = {"embed": model.W_E @ taken_off}
    if cfg.positional_embedding_type == "standard":
        writes = {"embed": torch.cat([model.W_E, model.W_pos]) @ taken_off}
    reads = {"logits": taken_off @ gain(getattr(model, "ln_final", None)) @ model.W_U}
    n_sharing = cfg.n_heads // (cfg.n_key_value_heads or cfg.n_heads)
    for layer, block in enumerate(model.blocks):
        attn, before = block.attn, taken_off @ gain(block.ln1)
        after = taken_off @ gain(getattr(block, "ln1_post", None)) @ taken_off
        qk, ov = [], []
        for head in range(cfg.n_heads):
            qk.append(before @ attn.W_Q[head] @ attn.W_K[head].T @ before.T)  # keys and values come once for each head
            ov.append(before @ attn.W_V[head] @ attn.W_O[head] @ after)
            writes[f"L{layer}H{head}"], reads[f"L{layer}H{head}.q"] = ov[head], qk[head]
        for group in range(cfg.n_heads // n_sharing):
            heads = range(group * n_sharing, (group + 1) * n_sharing)
            reads[f"L{layer}H{group}.k"] = torch.cat([qk[head].T for head in heads], 1)
            reads[f"L{layer}H{group}.v"] = torch.cat([ov[head] for head in heads], 1)
        if not cfg.attn_only:
            after = taken_off @ gain(getattr(block, "ln2_post", None)) @ taken_off
            both = torch.cat([block.mlp.W_in, *([block.mlp.W_gate] if cfg.gated_mlp else [])], 1)
            writes[f"MLP{layer}"], reads[f"MLP{layer}"] = block.mlp.W_out @ after, taken_off @ gain(block.ln2) @ both
    return writes, reads


# The same function, the same scores


@pytest.mark.parametrize("rewrite", EXACT)
def test_exact_rewrites_change_no_score(rewrite: str) -> None:
    model = random_model(3, n_layers=4, n_blocks=2, n_heads=3)
    new = REWRITES[rewrite](model, torch.Generator().manual_seed(0))
    before, after = scored(model), scored(new)
    for column in ("score", "baseline", "spread"):
        assert by_pair(after, column) == pytest.approx(by_pair(before, column), abs=1e-6 if rewrite in IN_SINGLE else 1e-10)


def test_another_output_matrix_is_noticed() -> None:
    model = random_model(3)
    turned = each_block(model, lambda block: block | {"attn.W_O": block["attn.W_O"].flip(-1)})
    old, new = by_pair(scored(model)), by_pair(scored(turned))
    moved = {name for name in old if abs(old[name] - new[name]) > 1e-3}
    assert "L0H0 -> MLP0" in moved and not moved & {"embed -> MLP0", "MLP0 -> MLP1", "embed -> L1H0.q"}


def test_layers_that_share_weights_have_one_row() -> None:
    model = random_model(0, n_layers=4, n_blocks=1)
    graph, values = graph_of(model, ROLES, 2), {"embed@r2 -> L2H0.v@r2": 0.5, "L2H0@r2 -> logits@r2": -0.25}
    result = scored(model, values)
    assert set(result.table["sender"]) == {"embed", "L0H0", "L0H1", "MLP0"}
    assert result.table["n_edges"].sum() == len(graph.edges) and result.table["n_found"].sum() == 2
    effect = by_pair(result, "effect")
    assert (effect["embed -> L0H0.v"], effect["L0H0 -> logits"]) == (0.5, 0.25) and sum(effect.values()) == 0.75
    assert by_pair(result, "n_found")["embed -> L0H0.v"] == 1
    untied = REWRITES["untied"](model, torch.Generator())
    alike = by_pair(scored(untied))
    assert by_pair(result)["MLP0 -> L1H0.v"] == pytest.approx(alike["MLP2 -> L3H0.v"], abs=1e-12)
    assert len(alike) > 2 * len(result.table)


def test_a_circuit_of_all_positions_has_the_same_scores() -> None:
    model = random_model(0)
    graph = graph_of(model, ROLES, 2)
    together = Circuit.from_effects(effects({"embed@all -> logits@all": 1.0}, graph=graph.together), threshold=0.5)
    assert by_pair(composition_scores(model, together)) == pytest.approx(by_pair(scored(model)), abs=1e-12)


# The baseline


def test_the_baseline_is_the_mean_score_of_randomly_rotated_matrices() -> None:
    generator, n = torch.Generator().manual_seed(0), 600
    write = torch.randn(3, 8, generator=generator, dtype=torch.float64)
    read = torch.randn(20, 8, generator=generator, dtype=torch.float64) @ torch.diag(torch.logspace(0, -2, 8).double())
    rotations = [torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64)).Q for _ in range(n)]
    drawn = torch.cat([scores([write @ rotation], [read]) for rotation in rotations])
    mean, spread = rotated_scores([write], [read], n_random=n, seed=1)
    assert float(mean) == pytest.approx(float(drawn.mean()), abs=4 * float(drawn.std()) * math.sqrt(2 / n))
    assert float(spread) == pytest.approx(float(drawn.std()), rel=0.15)
    assert float(mean**2 + spread**2) == pytest.approx(1 / 8, rel=0.1)
    assert abs(float(scores([write], [read])) - float(mean)) > 0.01  # these two are not rotated


def test_a_seed_draws_the_same_rotations_and_more_of_them_settle() -> None:
    model = random_model(3)
    circuit = circuit_of(model, {"embed@r2 -> logits@r2": 1.0})
    first, again, other = (composition_scores(model, circuit, seed=seed) for seed in (5, 5, 6))
    assert first == again and by_pair(first, "baseline") != by_pair(other, "baseline")
    assert by_pair(first) == by_pair(other)
    few, many = (composition_scores(model, circuit, n_random=n).table for n in (1, 40))
    assert (few["spread"] == 0).all() and (many["spread"] > 0).all()


# Summaries


def test_summaries_are_those_of_a_table_by_hand() -> None:
    result = scored(random_model(3))
    table = result.table.head(5).assign(
        excess=[0.4, 0.1, 0.3, 0.2, math.nan], n_found=[2, 0, 0, 1, 1], effect=[0.9, 0.0, 0.5, math.nan, 1.0]
    )
    by_hand = replace(result, table=table)
    assert by_hand.auroc == 3 / 4  # .4 is above both others, .2 above one
    assert (by_hand.n_found, by_hand.n_others, by_hand.n_ranked) == (2, 2, 3)
    assert by_hand.rank_correlation == pytest.approx(1.0)
    assert math.isnan(replace(result, table=table.assign(n_found=0)).auroc)
    assert math.isnan(replace(result, table=table.assign(n_found=1)).auroc)
    assert math.isnan(replace(result, table=table.assign(effect=0.5)).rank_correlation)
    assert math.isnan(replace(result, table=table.head(2)).rank_correlation)
    assert "AUROC 0.75 (2 pairs in the circuit, 2 not)" in by_hand.caption


def test_a_result_reads_back_equal_and_the_model_is_left_alone() -> None:
    model = random_model(3).train()
    before = {name: each.clone() for name, each in model.named_parameters()}
    result = scored(model)
    assert Result.from_json(result.to_json()) == result
    assert model.training and all(torch.equal(before[name], each) for name, each in model.named_parameters())
    assert isinstance(result.table, pd.DataFrame) and (result.table["score"] <= 1).all()


# Refusals


def test_models_without_such_matrices_are_refused_by_name(small_world: TwoHopTask) -> None:
    mixing = mixing_model("short")
    graph = graph_of(mixing, ("h", "r1", "r2", "answer"), 3)
    circuit = Circuit.from_effects(effects({}, graph=graph), threshold=0.5)
    with pytest.raises(ValueError, match="a TRM mixes tokens and norms its states"):
        composition_scores(mixing, circuit)
    looped = build_model(ModelConfig.tiny(n_blocks=1, n_loops=2, carries=STATE_AND_TOKEN), small_world)
    with pytest.raises(ValueError, match="MLP1 is a TokenChannel, whose matrices are not known here"):
        scored(looped)


def test_what_is_wrong_is_said_at_once(as_users_call: None) -> None:
    model = random_model(0)
    other = ComputationGraph.transformer(ROLES, "r2", n_layers=3, n_heads=2, n_blocks=3)
    circuit = Circuit.from_effects(effects({}, graph=other), threshold=0.5)
    with pytest.raises(ValueError, match=r"n_random is 0.*seed is -1.*the circuit's graph is not the model's"):
        composition_scores(model, circuit, n_random=0, seed=-1)
    with pytest.raises(ValueError, match="circuit is a list, needed is a Circuit"):
        composition_scores(model, [])
    with pytest.raises(ValueError, match="only those of a HookedTransformer are known here, not of a Linear"):
        composition_scores(torch.nn.Linear(2, 2), circuit)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    result = scored(random_model(3))
    assert_explained(result, constants={"0.5"})
    assert f"in {shown(result.auroc)} of the comparisons" in result.explain().means
    nothing = replace(result, table=result.table.assign(n_found=0))
    assert (
        nothing.explain().means
        == f"Nothing: there are 0 pairs with edges of the circuit and {nothing.n_others} pairs without."
    )
    assert "no rows" in replace(result, table=result.table.head(0)).explain().means
