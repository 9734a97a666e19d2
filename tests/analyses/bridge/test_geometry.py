"""Geometry against scipy, definitions by loops, and clouds whose answer is known."""

import numpy as np
import pandas as pd
import pytest
import torch
from explained import assert_explained
from handset import handset_model
from scipy.linalg import orthogonal_procrustes

from grokscope.analyses import GeometryResult, bridge_geometry
from grokscope.analyses.bridge.geometry import effective_rank, linear_cka, procrustes_similarity
from grokscope.tasks import Run, TwoHopTask


def cloud(seed: int, n: int = 30, d: int = 6) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarities_equal_scipy_and_the_kernel_definition() -> None:
    x, y = cloud(0), cloud(1)
    a, b = (each.numpy() - each.numpy().mean(0) for each in (x, y))
    _, scale = orthogonal_procrustes(a, b)
    assert procrustes_similarity(x, y) == pytest.approx(scale / np.linalg.norm(a) / np.linalg.norm(b))
    k, m = a @ a.T, b @ b.T
    assert linear_cka(x, y) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_a_rotated_and_scaled_cloud_is_the_same_and_rank_counts_directions() -> None:
    x = cloud(2)
    rotated = 3.0 * x @ torch.linalg.qr(cloud(3, n=6)).Q + 5.0
    assert procrustes_similarity(x, rotated) == pytest.approx(1.0) == linear_cka(x, rotated)
    assert procrustes_similarity(x, cloud(4)) < 0.7
    for n in (2, 5):
        corners = torch.cat([torch.eye(n, 8), -torch.eye(n, 8)])
        assert effective_rank(corners) == pytest.approx(n)


def test_cohesion_alignment_and_match_equal_loops_over_facts(task: TwoHopTask, tiny_run: Run) -> None:
    model = tiny_run.checkpoint("final").model()
    result = bridge_geometry(model, task, seed=1)
    own, others = (task.split(name).one_per_unit(seed=1) for name in ("train_inferred", "test_inferred_ood"))
    own = own.take(~torch.from_numpy(task.is_ood)[own.hop1])

    def states(queries: object, name: str, position: int) -> np.ndarray:
        return model.run_with_cache(queries.tokens)[1][name][:, position].detach().double().numpy()

    at_r1, ood = (states(each, "blocks.1.hook_resid_post", 1) for each in (own, others))
    centre, bridges = at_r1.mean(0), own.bridges.numpy()

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    cohesion = []
    for i, bridge in enumerate(bridges):
        rest = [at_r1[j] for j in range(len(bridges)) if j != i and bridges[j] == bridge]
        if rest:
            cohesion.append(cosine(at_r1[i] - centre, np.mean(rest, axis=0) - centre))
    alignment = [
        cosine(state - centre, at_r1[bridges == bridge].mean(0) - centre)
        for state, bridge in zip(ood, others.bridges.numpy(), strict=True)
        if (bridges == bridge).sum() >= 2
    ]
    rows = result.table.query("layer == 1 and role == 'r1'").set_index("measure")
    assert rows.loc["ID cohesion", "value"] == pytest.approx(np.mean(cohesion), rel=1e-4)
    assert rows.loc["OOD alignment", "value"] == pytest.approx(np.mean(alignment), rel=1e-4)
    assert rows.loc["ID cohesion", "n_facts"] == len(cohesion) and rows.loc["OOD alignment", "n_facts"] == len(alignment)

    heads = own.tokens[:, 0].numpy()
    entities = [e for e in range(24) if (bridges == e).sum() >= 2 and (heads == e).any()]
    out = np.stack([at_r1[bridges == e].mean(0) for e in entities])
    inputs = np.stack([states(own, "blocks.0.hook_resid_pre", 0)[heads == e].mean(0) for e in entities])
    row = result.match.set_index(["output_layer", "input_layer"]).loc[(1, -1)]
    wanted = np.mean([cosine(a, b) for a, b in zip(out - out.mean(0), inputs - inputs.mean(0), strict=True)])
    assert row["cosine"] == pytest.approx(wanted, rel=1e-4) and row["n_entities"] == len(entities)


def test_the_hand_set_bridge_is_cohesive_and_in_another_form_than_the_input(evidence_world: TwoHopTask) -> None:
    result = bridge_geometry(handset_model(evidence_world.graph), evidence_world)
    cells = result.table.set_index(["layer", "role", "measure"])
    at_bridge, before = cells.loc[(0, "r1", "ID cohesion")], cells.loc[(-1, "r1", "ID cohesion")]
    assert at_bridge["low"] > before["high"] + 0.2 and abs(at_bridge["control"]) < 0.15
    assert cells.loc[(0, "r1", "OOD alignment"), "low"] > 0.2  # OOD facts use the same block
    match = result.match.set_index(["output_layer", "input_layer"])
    assert abs(match.loc[(0, -1), "cosine"]) < 0.15  # bridge and token are different blocks
    assert result.figure().data and "173 ID facts" in result.caption
    assert GeometryResult.from_json(result.to_json()).match.equals(result.match)


def test_a_run_by_step_and_what_is_refused(task: TwoHopTask, tiny_run: Run) -> None:
    whole = bridge_geometry(tiny_run, task)
    alone = bridge_geometry(tiny_run.checkpoint(60).model(), task)
    for name in ("table", "match"):
        rows = getattr(whole, name).query("step == 60").drop(columns="step").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, getattr(alone, name))
    assert whole.figure()
    lonely = TwoHopTask.random(n_entities=4, n_relations=3, out_degree=1, ood_fraction=0.0, seed=2)
    with pytest.raises(ValueError, match="bridges have 2 ID facts or more, needed are 2"):
        bridge_geometry(handset_model(lonely.graph), lonely)


def test_mean_states_lie_along_what_a_planted_model_reads_and_not_in_a_rotated_one(evidence_world: TwoHopTask) -> None:
    graph = evidence_world.graph
    plain, rotated = (bridge_geometry(handset_model(graph, rotated=turned), evidence_world) for turned in (False, True))
    # the unembedding reads bridge and answer with one vector, of which the bridge is half
    for result, least, most in ((plain, 0.6, 0.5**0.5), (rotated, -0.2, 0.2)):
        row = result.table.query("layer == 0 and role == 'r1' and measure == 'unembedding alignment'").iloc[0]
        assert least <= round(row["value"], 6) <= most and abs(row["control"]) < 0.2 and row["n_facts"] == 16


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    result = bridge_geometry(handset_model(evidence_world.graph), evidence_world)
    assert_explained(result)
    best = result.table[result.table["measure"] == "ID cohesion"].nlargest(1, "value").iloc[0]
    said = result.explain()
    assert f"at L{best['layer']} {best['role']}, with a mean cosine of {best['value']:.2f} (" in said.means
    assert said.on == "hand-set: 173 ID facts and 15 OOD facts of test_inferred_ood."
