"""Attributions against finite differences of literal patches, and against what integrated gradients must add up to."""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import calm_model, no_hooks_left, pairs_of_five, random_model, random_settings, seeds, strong_model, wide_pairs
from examples_by_path import example
from padded import SETTINGS, padded_pairs, padding_model

from grokscope.analyses import PatchingResult, discover, edge_attribution, graph_of, path_patch
from grokscope.analyses.forward.engine import Engine, Run, engine_of
from grokscope.analyses.forward.literal import logits_at, output_hooks, patch_edge, sender_outputs
from grokscope.analyses.forward.places import Objective, component
from grokscope.analyses.patching.attribution import METHODS, Method
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.analyses.patching.products import Products
from grokscope.circuits import Edge
from grokscope.tasks.questions.padding import aligned


@pytest.mark.parametrize("seed", seeds(12, fast=4))
def test_eap_is_the_derivative_of_a_literal_patch(seed: int) -> None:
    model, pairs = calm_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    result = edge_attribution(model, pairs, per_query=True, max_memory=2**23)
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
@pytest.mark.parametrize("method", ["eap_ig_inputs", "eap_ig_activations"])
def test_edges_of_the_embedding_integrate_to_the_whole_gap(direction: str, method: str) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    result = edge_attribution(model, pairs, method=method, tolerance=1e-4, direction=direction, per_query=True)
    from_embedding = result.table["sender"].str.startswith("embed")
    np.testing.assert_allclose(result.deltas[from_embedding].sum(0), result.donor_gaps, rtol=1e-4)
    line = result.completeness.set_index("line").loc[["embed"]].iloc[0]
    assert line["difference"] == pytest.approx(result.donor_gaps.mean()) and line["residual"] <= 1e-4
    assert line["sum"] == pytest.approx(result.deltas[from_embedding].sum(0).mean())
    assert f"adds up within {result.completeness['residual'].max():.1%}" in result.caption and result.gap > 0


@pytest.mark.parametrize("seed", seeds(4, fast=2))
def test_edges_of_every_sublayer_integrate_to_its_patch(seed: int) -> None:
    """All heads of a layer, or its MLP, at all positions, patched together by hooks on their output."""
    model, pairs = calm_model(seed, **random_settings(seed)), pairs_of_five(seed, answer_position=3 + seed % 2)
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    result = edge_attribution(model, pairs, method="eap_ig_activations", tolerance=1e-4, per_query=True)
    clean, before = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    senders = [(edge.sender.kind, edge.sender.layer) for edge in graph.edges]
    lines = result.completeness.set_index("line")
    for kind, layer in dict.fromkeys(senders):
        nodes = [node for node in graph.senders if (node.kind, node.layer) == (kind, layer)]
        hooks = [hook for node in nodes for hook in output_hooks(graph, node, corrupt[node] - clean[node])]
        logits = logits_at(model, pairs.clean, pairs.answer_position, hooks)
        change = logit_difference(logits - before, pairs.answers, pairs.foils).numpy()
        rows = [i for i, sender in enumerate(senders) if sender == (kind, layer)]
        np.testing.assert_allclose(result.deltas[rows].sum(0), change, rtol=1e-4, atol=1e-9)
        line = lines.loc[["embed" if kind == "embed" else f"{kind} {layer}"]].iloc[0]
        assert line["difference"] == pytest.approx(change.mean()) and line["sum"] == pytest.approx(change.mean(), rel=1e-3)


def test_estimates_equal_a_literal_loop_with_many_midpoints_and_a_few_points_are_the_published_rule() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    engine = engine_of(model, pairs.roles, -1)
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    change = donor.embedding - base.embedding

    def objective(logits: torch.Tensor) -> torch.Tensor:
        return logit_difference(logits, pairs.answers, pairs.foils)

    @torch.no_grad()
    def estimates(points: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total = 0.0
        for point, weight in zip(points, weights, strict=True):
            gradients = engine.input_gradients(base, objective, {("embed", -1): float(point) * change})
            products = Products(engine.graph, engine.graph.edges, engine.differences(base, donor))
            total = total + weight * products.of(gradients)
        return total

    def ours(**settings: float) -> np.ndarray:
        return edge_attribution(model, pairs, method="eap_ig_inputs", per_query=True, **settings).deltas

    literal = estimates((np.arange(200) + 0.5) / 200, np.full(200, 1 / 200))
    scale = np.abs(literal).max()
    np.testing.assert_allclose(ours(tolerance=1e-5), literal, atol=1e-4 * scale)
    nodes, weights = np.polynomial.legendre.leggauss(5)
    once = edge_attribution(model, pairs, method="eap_ig_inputs", tolerance=math.inf, per_query=True)
    np.testing.assert_allclose(once.deltas, estimates((nodes + 1) / 2, weights / 2), rtol=1e-9, atol=1e-12)
    assert once.completeness["steps"].tolist() == [5]
    assert (
        once.completeness["residual"].max()
        > 0.02
        >= edge_attribution(model, pairs, method="eap_ig_inputs").completeness["residual"].max()
    )
    np.testing.assert_allclose(ours(max_memory=2**19), ours(), rtol=1e-9, atol=1e-12)  # a query depends on no other one


@pytest.mark.parametrize("method", ["eap", "eap_ig_inputs", "eap_ig_activations"])
def test_edges_without_roles_are_the_sums_over_positions_and_some_edges_are_those_of_all(method: str) -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    every = edge_attribution(model, pairs, method=method, per_query=True)
    edges = every.graph.component_edges
    together = edge_attribution(model, pairs, method=method, edges=edges, per_query=True)
    sums = dict.fromkeys(edges, 0.0)
    for edge, delta in zip(every.graph.edges, every.deltas, strict=True):
        sums[Edge(*(node._replace(role="") for node in edge))] += delta
    np.testing.assert_allclose(together.deltas, np.stack(list(sums.values())), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(together.table["effect"].sum(), every.table["effect"].sum())
    assert together.table["sender"].tolist() == [str(edge.sender) for edge in edges]
    assert together.method == every.method and together.graph == every.graph
    some = every.graph.edges[5::7]
    part = edge_attribution(model, pairs, method=method, edges=[str(edge) for edge in some][::-1], per_query=True)
    np.testing.assert_allclose(part.deltas, every.deltas[5::7], rtol=1e-9, atol=1e-12)
    assert part.table["receiver"].tolist() == [str(edge.receiver) for edge in some]


def test_the_benchmark_finds_what_plain_hooks_find(capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = example("examples/benchmarks/gpt2_size.py")
    sizes = {"n_layers": 2, "n_heads": 2, "d_model": 16, "d_vocab": 20, "n_positions": 4, "n_pairs": 6}
    threads = torch.get_num_threads()
    for row in benchmark.ROWS:
        benchmark.main(row=row, repeats=1, n_edges=46, n_looped=46, threads=threads, **sizes)
        printed = capsys.readouterr().out.splitlines()
        found = dict(zip(printed[-2].split(), printed[-1].split(), strict=False))
        assert found["row"] == row and found["edges"] == "46" and "cores" in printed[0]
        assert float(found["difference"]) < 1e-5


def test_edges_are_those_of_the_model_and_all_of_one_kind() -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    result = edge_attribution(model, pairs, edges=["embed -> logits"], error_against_exact=True, n_compared=2)
    exact = path_patch(model, pairs, edges=["embed -> logits"], positions="together").table["effect"]
    assert result.error["relative_error"] == pytest.approx(abs(result.table["effect"] / exact - 1)[0])
    with pytest.raises(KeyError, match=r"1 edges are not in the graph .*: embed@h -> L7H0.q@h"):
        edge_attribution(model, pairs, edges=["embed@h -> L7H0.q@h"])
    with pytest.raises(ValueError, match="1 of 2 edges have no position: all edges have one, or none has"):
        edge_attribution(model, pairs, edges=["embed@r2 -> logits@r2", "embed -> logits"])
    with pytest.raises(ValueError, match="edges is empty"):
        edge_attribution(model, pairs, edges=[])


def test_estimates_that_do_not_add_up_are_named() -> None:
    def stairs(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        values = logit_difference(logits, answers, foils)
        return values + (20 * values).floor() / 4

    with pytest.warns(UserWarning, match=r"do not add up within 2\.0% .*\(line embed: \d+\.\d%\).*points"):
        result = edge_attribution(strong_model(0), wide_pairs(0), method="eap_ig_inputs", metric=stairs, steps=1)
    assert result.completeness["residual"].max() > 0.5
    again = PatchingResult.from_json(result.to_json())
    pd.testing.assert_frame_equal(again.completeness, result.completeness)
    assert edge_attribution(strong_model(0), wide_pairs(0)).completeness is None


def test_without_norms_direct_edges_to_the_logits_are_exact() -> None:
    model, pairs = random_model(2, normalization_type=None), wide_pairs(2)
    exact = path_patch(model, pairs, per_query=True)
    for method in ("eap", "eap_ig_inputs", "eap_ig_activations"):
        estimated = edge_attribution(model, pairs, method=method, tolerance=math.inf, per_query=True)
        direct = exact.table["receiver"].str.startswith("logits")
        np.testing.assert_allclose(estimated.deltas[direct], exact.deltas[direct], rtol=1e-9, atol=1e-9)
        assert not np.allclose(estimated.deltas[~direct], exact.deltas[~direct], rtol=1e-3)


def test_a_method_added_to_the_registry_is_known_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One function and one line: here, the size of what the sender changes, times the number of steps."""

    def size(engine: Engine, edges: Sequence[Edge], base: Run, donor: Run, objective: Objective, steps: int) -> np.ndarray:
        changes = engine.differences(base, donor)
        at = {edge: engine.graph.roles.index(edge.sender.role) for edge in edges}
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
    def by_query(
        engine: Engine[Run], edges: Sequence[Edge], base: Run, donor: Run, objective: Objective, steps: int
    ) -> np.ndarray:
        return np.ones(len(base.logits))

    monkeypatch.setitem(METHODS, "by query", Method(by_query, uses_steps=False))
    with pytest.raises(ValueError, match=r"method 'by query' must give \d+ edges × 12 queries, got the shape \(12,\)"):
        edge_attribution(strong_model(2), wide_pairs(2), method="by query")


QUICK = {  # every side in every direction, and each of the pads and kinds
    ("clean", "standard", "left", "noising"),
    ("different", "rotary", "right", "noising"),
    ("corrupt", "rotary", "left", "denoising"),
    ("different", "standard", "right", "denoising"),
}
MASKS = product(("clean", "corrupt", "different"), ("standard", "rotary"), ("left", "right"), ("noising", "denoising"))


@pytest.mark.parametrize(
    ("pads", "kind", "side", "direction"),
    [each if each in QUICK else pytest.param(*each, marks=pytest.mark.slow) for each in MASKS],
)
def test_the_line_ends_under_the_base_prompts_mask(pads: str, kind: str, side: str, direction: str) -> None:
    """The donor's embedding, run by the model itself with the pads of the base prompts hidden."""
    model = padding_model(1, side, strength=1.0, **SETTINGS[kind])
    pairs = padded_pairs(model, side, pads)
    asked = [aligned(model, tokens, -1) for tokens in (pairs.clean, pairs.corrupt)]
    base, donor = asked if direction == "noising" else asked[::-1]
    adds_positions = kind == "standard"

    def embedded(prompts: object) -> torch.Tensor:
        tokens = model.embed(prompts.tokens)
        return tokens + model.pos_embed(prompts.tokens, 0, prompts.mask) if adds_positions else tokens

    def value(embedding: torch.Tensor) -> torch.Tensor:
        logits = model(embedding, tokens=base.tokens, start_at_layer=0, attention_mask=base.mask)[:, -1]
        return logit_difference(logits, pairs.answers, pairs.foils)

    with torch.no_grad():
        expected = (value(embedded(donor)) - value(embedded(base))).numpy()
    for method in ("eap_ig_inputs", "eap_ig_activations"):
        result = edge_attribution(model, pairs, method=method, tolerance=1e-3, direction=direction, per_query=True)
        from_embedding = result.table["sender"].str.startswith("embed")
        np.testing.assert_allclose(result.deltas[from_embedding].sum(0), expected, rtol=2e-3, atol=1e-6)
        line = result.completeness.set_index("line").loc["embed"]
        assert float(line["difference"]) == pytest.approx(expected.mean(), rel=1e-9)
