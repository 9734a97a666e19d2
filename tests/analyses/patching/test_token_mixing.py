"""Attributions in token-mixing networks against finite differences of literal patches; and all of patching, on one."""

from pathlib import Path

import literal_replay as literal
import numpy as np
import pytest
import torch
from chromium import launched, opened
from conftest import random_model, random_pairs
from token_mixing import ROLES, mixing_model, mixing_pairs

from grokscope.analyses import (
    activation_patch,
    attribute_attention,
    discover,
    edge_attribution,
    faithfulness,
    graph_of,
    path_patch,
    run_with_edges,
    transplant,
)
from grokscope.analyses.forward.engine import engine_in, engine_of
from grokscope.analyses.forward.replay import number_of_reading
from grokscope.analyses.forward.replay_gradients import shares
from grokscope.analyses.patching.metrics import logit_difference
from grokscope.circuits import Circuit, Edge, Node, compare, draw, merge_loops
from grokscope.tasks import PromptPairs
from grokscope.tasks.models.trm import TRM

STEP = 1e-5


def measured(logits: torch.Tensor, pairs: PromptPairs) -> np.ndarray:
    """The metric by query."""
    return logit_difference(logits, pairs.answers, pairs.foils).numpy()


def outputs_of(model: TRM, pairs: PromptPairs) -> tuple[literal.Outputs, literal.Outputs]:
    """On clean and corrupt prompts."""
    return literal.outputs_of(model, pairs.clean), literal.outputs_of(model, pairs.corrupt)


@pytest.mark.parametrize("name", ["positions", "two blocks", "three cycles"])
def test_eap_is_the_derivative_of_a_literal_patch(name: str) -> None:
    model, pairs = mixing_model(name), mixing_pairs(name, 4)
    graph, result = graph_of(model, ROLES, -1), edge_attribution(model, pairs, per_query=True)
    clean, corrupt = outputs_of(model, pairs)
    scale = np.abs(result.deltas).max()
    for row in range(0, len(graph.edges), 1 + len(graph.edges) // 40):
        sides = []
        for sign in (1, -1):
            moved = {point: clean[point] + sign * STEP * (corrupt[point] - clean[point]) for point in clean}
            sides.append(literal.patch_edge(model, graph, pairs.clean, clean, moved, graph.edges[row]))
        slope = (measured(sides[0], pairs) - measured(sides[1], pairs)) / (2 * STEP)
        np.testing.assert_allclose(result.deltas[row], slope, rtol=1e-5, atol=1e-6 * scale, err_msg=str(graph.edges[row]))


@pytest.mark.parametrize("name", ["positions", "channels"])
def test_shares_add_up_to_what_is_read(name: str) -> None:
    """With the initial states; and one of them is the output times the scales of the norms after it."""
    model, pairs = mixing_model(name), mixing_pairs(name, 4)
    runner = engine_of(model, ROLES, -1)
    (run,) = runner.run(pairs.clean)
    for receiver in {node._replace(role="") for node in runner.graph.receivers}:
        number = number_of_reading(runner.graph, receiver)
        found = shares(run, number)
        assert set(found) == {node._replace(role="") for node in runner.graph.senders_into(receiver._replace(role="h"))}
        torch.testing.assert_close(sum(found.values()), run.readings[number], rtol=1e-12, atol=1e-12)
    _, cache = model.run_with_cache(pairs.clean)
    way = cache["hook_embed"] / cache["blocks.0.mixer_norm.hook_scale"] / cache["blocks.0.mlp_norm.hook_scale"]
    embedding = shares(run, 2)[Node("embed", "")]  # what the second application reads: z_L, z_H and the embedding again
    torch.testing.assert_close(embedding.transpose(0, 1), way + cache["hook_embed"])


@pytest.mark.parametrize("name", ["positions", "channels"])
def test_estimates_by_shares_sum_to_the_change_by_all_that_is_read(name: str) -> None:
    """For each receiver at each position, by finite differences of what it reads there."""
    model, pairs = mixing_model(name), mixing_pairs(name, 4)
    graph = graph_of(model, ROLES, -1)
    result = edge_attribution(model, pairs, method="eap_shares", per_query=True)
    reads = [literal.replay(model, each) for each in outputs_of(model, pairs)]
    for receiver in graph.receivers[::3]:
        at, slopes = graph.roles.index(receiver.role), []
        change = torch.zeros_like(reads[0][receiver.component])
        change[:, at] = (reads[1][receiver.component] - reads[0][receiver.component])[:, at]
        for sign in (1, -1):
            moved = reads[0][receiver.component] + sign * STEP * change
            slopes.append(measured(literal.reading_put(model, graph, pairs.clean, receiver, moved), pairs))
        into = result.table["receiver"] == str(receiver)
        expected = (slopes[0] - slopes[1]) / (2 * STEP)
        np.testing.assert_allclose(result.deltas[into].sum(0), expected, rtol=1e-5, atol=1e-8, err_msg=str(receiver))
    assert not np.allclose(result.deltas, edge_attribution(model, pairs, per_query=True).deltas)


@pytest.mark.parametrize("name", ["short", "three cycles"])
def test_integrated_gradients_add_up(name: str) -> None:
    """Of the edges that leave the embedding, a mixer or an MLP, to what the donor's output in its place changes."""
    model, pairs = mixing_model(name), mixing_pairs(name, 2)
    how = dict(tolerance=1e-3, per_query=True, progress=False)
    _, corrupt = outputs_of(model, pairs)
    before = measured(literal.logits_with(model, pairs.clean, len(ROLES) - 1, {}), pairs)
    inputs = edge_attribution(model, pairs, method="eap_ig_inputs", **how)
    nodes = Node("embed", ""), Node("mixer", "", 1), Node("mlp", "", 0), Node("init", "")
    some = [edge for edge in graph_of(model, ROLES, -1).edges if edge.sender._replace(role="") in nodes]
    by_line = edge_attribution(model, pairs, method="eap_ig_activations", edges=some, **how)
    senders = inputs.table["sender"].str.partition("@")[0]
    for node in nodes:
        found = by_line.deltas[by_line.table["sender"].str.partition("@")[0] == node.component].sum(0)
        put = {} if node.kind == "init" else {literal.hook_of(node): corrupt[literal.hook_of(node)]}
        after = measured(literal.logits_with(model, pairs.clean, len(ROLES) - 1, put), pairs)
        np.testing.assert_allclose(found, after - before, rtol=2e-3, atol=1e-9, err_msg=node.component)
        assert (node.kind == "init") == (not found.any())
    np.testing.assert_allclose(inputs.deltas[senders == "embed"].sum(0), inputs.donor_gaps, rtol=2e-3)
    assert by_line.completeness["residual"].max() <= 1e-3


def test_positions_together_are_their_sum() -> None:
    model, pairs = mixing_model("positions"), mixing_pairs("positions", 4)
    graph = graph_of(model, ROLES, -1)
    for method in ("eap", "eap_shares"):
        alone = edge_attribution(model, pairs, method=method, per_query=True).deltas
        together = edge_attribution(model, pairs, method=method, edges=graph.component_edges, per_query=True)
        for number in (0, len(together.deltas) // 2, len(together.deltas) - 1):
            rows = [i for i, e in enumerate(graph.edges) if _bare(e) == graph.component_edges[number]]
            np.testing.assert_allclose(together.deltas[number], alone[rows].sum(0), rtol=1e-10, atol=1e-12)


def _bare(edge: Edge) -> Edge:
    return Edge(*(node._replace(role="") for node in edge))


def test_where_nothing_is_normed_on_the_way_shares_are_whole() -> None:
    model, pairs = random_model(0), random_pairs(0)
    shares, plain = (edge_attribution(model, pairs, method=method, per_query=True) for method in ("eap_shares", "eap"))
    assert np.array_equal(shares.deltas, plain.deltas)


def test_everything_measures_a_token_mixing_network(tmp_path: Path) -> None:
    """From effects to circuits, their faithfulness, a comparison and a page; the weights are left alone."""
    model, pairs, quiet = mixing_model("short"), mixing_pairs("short", 12), dict(progress=False)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    effects = path_patch(model, pairs, per_query=True, keep_in=tmp_path / "kept", **quiet)
    again = path_patch(model, pairs, per_query=True, keep_in=tmp_path / "kept", **quiet)
    assert effects.method == "exact, by replay" and engine_in(effects.method) == "replay" and not effects.reason
    assert np.array_equal(effects.deltas, again.deltas)
    tight = path_patch(model, pairs, per_query=True, max_memory=2**21, **quiet)
    np.testing.assert_allclose(effects.deltas, tight.deltas, rtol=1e-9, atol=1e-12)
    with pytest.raises(MemoryError, match="are allowed here"):
        path_patch(model, pairs, max_memory=2**18, **quiet)
    assert activation_patch(model, pairs, **quiet).table["effect"].abs().max() > 0.1
    circuit = Circuit.from_effects(effects, top_k=30)
    other = discover(model, pairs, greedy=0.05, **quiet)
    screened = discover(model, pairs, screen="eap", verify=120, top_k=30, **quiet)
    assert screened.provenance["screen"]["method"] == "eap, by replay" and other.kept_edges
    judged = faithfulness(model, circuit, pairs, n_random=3, allow_shared=True, background="mean", **quiet)
    assert np.isfinite(judged.faithfulness)
    logits = run_with_edges(model, pairs, graph_of(model, ROLES, -1).edges)
    torch.testing.assert_close(logits, model(pairs.clean)[:, -1], rtol=0, atol=1e-12)
    assert len(transplant(model, mixing_model("short", 4), circuit, pairs, allow_shared=True).table)
    compared = compare({"a": circuit, "b": other, "b again": screened}, n_bootstrap=20, **quiet)
    assert len(compared.table) and merge_loops(circuit).n_loops == 4
    path = draw({"strong": circuit, "pruned": other}, faithfulness={"strong": judged}).save(tmp_path / "page.html")
    text = path.read_text()
    assert all(each in text for each in ("into a token mixer", "moved by token mixing", "moved by a norm over positions"))
    with launched() as browser, opened(browser, path) as page:
        assert page.locator("figure .gs-into-mixer:not([display])").count()
        page.locator('[data-toggle="merged"]').check()
    assert all(value.equal(weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_an_engine_of_sums_is_refused(engine: str) -> None:
    with pytest.raises(ValueError, match=f"engine='{engine}' reads sums of what components write, which a TRM norms"):
        path_patch(mixing_model("positions"), mixing_pairs("positions", 4), engine=engine)


def test_what_is_for_attention_is_refused() -> None:
    model, pairs = mixing_model("positions"), mixing_pairs("positions", 4)
    with pytest.raises(ValueError, match="engine='replay' is for token-mixing networks"):
        path_patch(random_model(0), random_pairs(0), engine="replay")
    with pytest.raises(ValueError, match="which the engine of replay cannot do"):
        edge_attribution(model, pairs, method="atp_star")
    with pytest.raises(ValueError, match="a TRM has no attention"):
        attribute_attention(model, pairs)
    with pytest.raises(KeyError, match="1 edges are not in the graph of 6 layers and roles h, r1, r2, answer: MIX9@h"):
        path_patch(model, pairs, edges=["MIX9@h -> MLP9@h"])
    with pytest.raises(ValueError, match="MIX1@h -> MLP0@h goes backwards"):
        path_patch(model, pairs, edges=["MIX1@h -> MLP0@h"], through=["MLP0@h"])
