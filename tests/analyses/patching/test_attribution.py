"""Attributions against finite differences of literal patches, and against what integrated gradients must add up to."""

import numpy as np
import pytest
import torch
from conftest import calm_model, no_hooks_left, pairs_of_five, random_model, random_settings, strong_model, wide_pairs

from grokscope.analyses import discover, edge_attribution, graph_of, path_patch
from grokscope.analyses.forward.engine import Engine, Run
from grokscope.analyses.forward.literal import logits_at, output_hooks, patch_edge, sender_outputs
from grokscope.analyses.forward.places import Objective, component
from grokscope.analyses.patching.attribution import METHODS, Method
from grokscope.analyses.patching.metrics import logit_difference


@pytest.mark.parametrize("seed", range(12))
def test_eap_is_the_derivative_of_a_literal_patch(seed: int) -> None:
    model, pairs = calm_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    result = edge_attribution(model, pairs, per_query=True, max_batch=2)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    step = 1e-5
    for row in range(0, len(graph.edges), 1 + len(graph.edges) // 40):
        edge = graph.edges[row]
        difference = corrupt[edge.sender] - clean[edge.sender]
        up, down = (patch_edge(model, graph, pairs.clean, edge, sign * step * difference) for sign in (1, -1))
        slope = logit_difference(up - down, pairs.answers, pairs.foils) / (2 * step)
        scale = float(slope.abs().max()) + 1e-3
        torch.testing.assert_close(torch.as_tensor(result.deltas[row]), slope, rtol=1e-4, atol=1e-4 * scale, msg=str(edge))
    assert no_hooks_left(model) and all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_edges_of_the_embedding_integrate_to_the_whole_gap(direction: str) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    result = edge_attribution(model, pairs, method="eap_ig_inputs", steps=400, direction=direction, per_query=True)
    from_embedding = result.table["sender"].str.startswith("embed")
    np.testing.assert_allclose(result.deltas[from_embedding].sum(0), result.donor_gaps, rtol=1e-2, atol=1e-2)
    assert result.gap > 0


def test_edges_of_a_stage_integrate_to_its_patch() -> None:
    """The MLPs of a layer at all positions, patched together by hooks on their output."""
    model, pairs = strong_model(1), wide_pairs(1)
    graph = graph_of(model, pairs.roles, -1)
    result = edge_attribution(model, pairs, method="eap_ig_activations", steps=200, per_query=True)
    clean, before = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    nodes = [node for node in graph.senders if (node.kind, node.layer) == ("mlp", 0)]
    hooks = [hook for node in nodes for hook in output_hooks(graph, node, corrupt[node] - clean[node])]
    change = logit_difference(logits_at(model, pairs.clean, -1, hooks) - before, pairs.answers, pairs.foils)
    from_stage = result.table["sender"].str.startswith("MLP0")
    np.testing.assert_allclose(result.deltas[from_stage].sum(0), change, rtol=1e-2, atol=1e-2)


def test_without_norms_direct_edges_to_the_logits_are_exact() -> None:
    model, pairs = random_model(2, normalization_type=None), wide_pairs(2)
    for method in ("eap", "eap_ig_inputs", "eap_ig_activations"):
        estimated = edge_attribution(model, pairs, method=method, per_query=True)
        exact = path_patch(model, pairs, per_query=True)
        direct = exact.table["receiver"].str.startswith("logits")
        np.testing.assert_allclose(estimated.deltas[direct], exact.deltas[direct], rtol=1e-9, atol=1e-9)
        assert not np.allclose(estimated.deltas[~direct], exact.deltas[~direct], rtol=1e-3)


def test_a_method_added_to_the_registry_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One function and one line: here, the size of what the sender changes, times the number of steps."""

    def size(engine: Engine, base: Run, donor: Run, objective: Objective, steps: int) -> np.ndarray:
        changes = engine.differences(base, donor)
        at = {edge: engine.graph.roles.index(edge.sender.role) for edge in engine.graph.edges}
        norms = [changes[component(edge.sender)][:, place].norm(dim=-1) for edge, place in at.items()]
        return steps * torch.stack(norms).numpy()

    monkeypatch.setitem(METHODS, "size", Method(size))
    model, pairs = strong_model(0), wide_pairs(0)
    result = edge_attribution(model, pairs, method="size", steps=3, per_query=True)
    clean, corrupt = (sender_outputs(model, result.graph, tokens)[0] for tokens in (pairs.clean, pairs.corrupt))
    for row, edge in enumerate(result.graph.edges):
        expected = 3 * (corrupt[edge.sender] - clean[edge.sender]).norm(dim=-1)
        np.testing.assert_allclose(result.deltas[row], expected)
    circuit = discover(model, pairs, method="size", top_k=5)
    assert result.method == circuit.provenance["method"].replace("5", "3") == "size, 3 steps"
    monkeypatch.setitem(METHODS, "size", Method(size, uses_steps=False))
    assert edge_attribution(model, pairs, method="size").method == "size"
    with pytest.raises(ValueError, match=f"no method 'acdc'; there are {', '.join(METHODS)}"):
        edge_attribution(model, pairs, method="acdc")
    with pytest.raises(ValueError, match=r"no method 'acdc'; there are exact, eap, .*, size"):
        discover(model, pairs, method="acdc")


def test_the_error_against_exact_effects_is_measured_and_shown() -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    result = edge_attribution(model, pairs, error_against_exact=True, n_compared=10**6)
    exact = path_patch(model, pairs).table["effect"]
    wrong = np.linalg.norm(result.table["effect"] - exact) / np.linalg.norm(exact)
    assert result.error["relative_error"] == pytest.approx(wrong) and result.error["n_edges"] == len(exact)
    assert result.error["rank_correlation"] == pytest.approx(result.table["effect"].corr(exact, method="spearman"))
    assert "estimated by eap (rank correlation" in result.caption
    assert result.provenance["method"] == "eap" and path_patch(model, pairs).provenance["method"] == "exact"


def test_a_method_that_gives_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_query(engine: Engine[Run], base: Run, donor: Run, objective: Objective, steps: int) -> np.ndarray:
        return np.ones(len(base.logits))

    monkeypatch.setitem(METHODS, "by query", Method(by_query, uses_steps=False))
    with pytest.raises(ValueError, match=r"method 'by query' must give \d+ edges × 12 queries, got the shape \(12,\)"):
        edge_attribution(strong_model(2), wide_pairs(2), method="by query")
