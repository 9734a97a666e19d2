"""Everything together on a model whose circuit was written by hand: what was put there is found, and nothing else."""

import pytest
import torch
from handset import BRIDGE_EDGES, RELATION_2_EDGES, handset_model, permute_heads

from grokscope.analyses import activation_patch, discover, faithfulness, logit_lens, path_patch, run_with_edges
from grokscope.circuits import compare, draw
from grokscope.tasks import SPLITS, PromptPairs, TwoHopTask, exact_match, make_pairs

ROUNDING = 1e-4  # effects in single precision are known to much less; those put there are .05 and more


@pytest.fixture(scope="module")
def model(small_world: TwoHopTask):
    return handset_model(small_world.graph)


def pairs_of(task: TwoHopTask, contrast: str, n: int = 60) -> PromptPairs:
    return make_pairs(task, split="train_inferred", contrast=contrast, n=n, seed=0)


@pytest.mark.parametrize("split", [split for split in SPLITS if "atomic" not in split])
def test_it_answers_every_two_hop_query(small_world: TwoHopTask, model: object, split: str) -> None:
    queries = small_world.split(split)
    assert len(queries) > 0 and exact_match(model, queries).all()


@pytest.mark.parametrize(
    ("contrast", "edges"),
    [
        ("bridge", BRIDGE_EDGES),
        ("head", [edge for edge in BRIDGE_EDGES if not edge.startswith("embed@r1")]),
        ("relation_1", [edge for edge in BRIDGE_EDGES if not edge.startswith(("embed@h", "L0H0@r1"))]),
        ("relation_2", RELATION_2_EDGES),
    ],
)
def test_the_edges_with_an_effect_are_exactly_those_put_there(
    small_world: TwoHopTask, model: object, contrast: str, edges: list[str]
) -> None:
    result = path_patch(model, pairs_of(small_world, contrast, n=20))
    table = result.table.assign(edge=result.table["sender"] + " -> " + result.table["receiver"])
    assert set(table.loc[table["effect"].abs() > ROUNDING, "edge"]) == set(edges)
    effects = table.set_index("edge")["effect"]
    assert effects["MLP1@r2 -> logits@r2"] == pytest.approx(1.0, abs=ROUNDING)
    if contrast != "relation_2":  # the bridge alone decides, so moving it moves everything
        assert effects["MLP0@r1 -> L1H0.v@r1"] == effects["L1H0@r2 -> MLP1@r2"] == pytest.approx(1.0, abs=ROUNDING)


def test_an_edge_that_carries_half_of_a_fact_has_the_effect_arithmetic_says(small_world: TwoHopTask, model: object) -> None:
    """With the head of another query, hop 1 looks up (h′, r1): its own answer if the chain exists, otherwise nothing."""
    graph, pairs = small_world.graph, pairs_of(small_world, "bridge")
    total = 0.0
    for clean, corrupt, answer, foil in zip(pairs.clean, pairs.corrupt, pairs.answers, pairs.foils, strict=True):
        relations = [int(token) - graph.n_entities for token in clean[1:]]
        found = int(corrupt[0])
        for relation in relations:
            fact = graph.fact_of[found, relation] if found >= 0 else -1
            found = int(graph.tails[fact]) if fact >= 0 else -1
        total += 10.0 * (found == int(answer)) - 10.0 * (found == int(foil)) - 10.0
    table = path_patch(model, pairs, edges=["embed@h -> L0H0.v@h"]).table
    assert table["effect"].iloc[0] == pytest.approx(total / (-20.0 * len(pairs)), abs=ROUNDING)


def test_nodes_off_the_path_have_no_effect(small_world: TwoHopTask, model: object) -> None:
    table = activation_patch(model, pairs_of(small_world, "bridge")).table
    on_path = {edge.split(" -> ")[0] for edge in BRIDGE_EDGES}
    assert set(table.loc[table["effect"].abs() > ROUNDING, "node"]) == on_path


def test_the_lens_reads_the_bridge_at_r1_and_the_answer_at_r2(small_world: TwoHopTask, model: object) -> None:
    lens = logit_lens(model, small_world.split("train_inferred"))
    cells = lens.table.query("after != 'attention'").set_index(["target", "layer", "role"])["top1"]
    assert cells["bridge", 0, "r1"] == cells["bridge", 1, "r1"] == cells["answer", 1, "r2"] == 1.0
    assert cells["bridge", -1, "r1"] < 0.5 and cells["answer", 0, "r2"] < 0.5
    assert cells["shuffled bridge", 0, "r1"] < 0.5
    assert lens.bridge_found_any == lens.target_found_any == 1.0


def test_the_circuit_is_found_kept_faithful_and_drawn(small_world: TwoHopTask, model: object) -> None:
    chosen_on, judged_on = pairs_of(small_world, "bridge").halves()
    circuit = discover(model, chosen_on)
    assert set(map(str, circuit.kept_edges)) == set(BRIDGE_EDGES)
    result = faithfulness(model, circuit, judged_on, n_random=30)
    assert result.faithfulness == pytest.approx(1.0, abs=ROUNDING)
    assert result.table["faithfulness"].iloc[1:].max() < 0.5 and result.p_value == pytest.approx(1 / 31)
    html = draw(circuit).html
    assert html.count("data-edge=") == len(BRIDGE_EDGES)


def test_predict_then_intervene_any_missing_edge_breaks_the_circuit(small_world: TwoHopTask, model: object) -> None:
    pairs = pairs_of(small_world, "bridge")
    whole = run_with_edges(model, pairs, BRIDGE_EDGES).argmax(-1)
    assert torch.equal(whole, pairs.answers)
    for missing in BRIDGE_EDGES:
        rest = [edge for edge in BRIDGE_EDGES if edge != missing]
        answered = run_with_edges(model, pairs, rest).argmax(-1)
        assert (answered == pairs.answers).float().mean() < 0.6


def test_comparison_sees_a_head_that_moved(small_world: TwoHopTask, model: object) -> None:
    pairs = pairs_of(small_world, "bridge")
    moved = handset_model(small_world.graph)
    permute_heads(moved, 1, [1, 0])
    circuits = {"a": discover(model, pairs), "same": discover(model, pairs), "b": discover(moved, pairs)}
    same, other = compare({k: circuits[k] for k in ("a", "same")}), compare({k: circuits[k] for k in ("a", "b")})
    assert same.rank_correlation == pytest.approx(1.0) and not same.changed("a", "same")["lost"]
    assert set(other.changed("a", "b")["lost"]) == {"MLP0@r1 -> L1H0.v@r1", "L1H0@r2 -> MLP1@r2"}
    assert set(other.changed("a", "b")["gained"]) == {"MLP0@r1 -> L1H1.v@r1", "L1H1@r2 -> MLP1@r2"}
    assert other.rank_correlation < 0.75  # of edges without effect rounding sets the ranks
