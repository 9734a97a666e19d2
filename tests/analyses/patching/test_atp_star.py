"""AtP* against hooked runs: the softmax exact, what follows it by finite differences; and dropped layers held by hooks."""

import numpy as np
import pytest
import torch
from conftest import calm_model, no_hooks_left, pairs_of_five, random_model, random_pairs, random_settings, seeds
from padded import SETTINGS, padded_pairs, padding_model

from grokscope.analyses import edge_attribution
from grokscope.analyses.forward import literal
from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.places import component
from grokscope.analyses.patching.atp_star import drop_weights
from grokscope.analyses.patching.products import Products
from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer

STEP = 1e-5
ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": False}
SHAPES = {
    "shared keys, caps, windows, norms after": {
        "n_heads": 4,
        "d_head": 6,
        "n_key_value_heads": 2,
        "normalization_type": "RMS",
        "use_normalization_before_and_after": True,
        "attn_scores_soft_cap": 0.7,
        "use_local_attn": True,
        "attn_types": ["local", "global"],
        "window_size": 2,
        **ROTARY,
    },
    "norms over heads": {"original_architecture": "Olmo2ForCausalLM", "normalization_type": "RMS", "d_head": 6, **ROTARY},
    "sinks": {"use_attention_sinks": True},
    "ALiBi, parallel": {"positional_embedding_type": "alibi", "parallel_attn_mlp": True},
}


def gathered_in(model: HookedTransformer, pairs: PromptPairs, layer: int, hooks: list[literal.Hook]) -> torch.Tensor:
    """What a layer's heads gather in a run of the clean prompts with hooks."""
    kept: list[torch.Tensor] = []
    note = (f"blocks.{layer}.attn.hook_z", lambda z, hook: kept.append(z.clone()))
    literal.logits_at(model, pairs.clean, pairs.answer_position, [*hooks, note])
    return kept[0]


def slope(pairs: PromptPairs, model: HookedTransformer, hooks_at: object, held: list[literal.Hook]) -> np.ndarray:
    """By how much the logit difference changes with a step, by central differences of hooked runs."""
    rows, ends = torch.arange(len(pairs)), []
    for step in (STEP, -STEP):
        logits = literal.logits_at(model, pairs.clean, pairs.answer_position, [*hooks_at(step), *held])
        ends.append(logits[rows, pairs.answers] - logits[rows, pairs.foils])
    return ((ends[0] - ends[1]) / (2 * STEP)).numpy()


def by_hand(
    model: HookedTransformer,
    graph: ComputationGraph,
    pairs: PromptPairs,
    edge: Edge,
    change: torch.Tensor,
    held: list[literal.Hook],
) -> np.ndarray:
    """The edge's estimate: linear from what its head gathers on, or from what its receiver reads on."""
    layer = edge.receiver.layer
    if not edge.look.is_choice:
        reading = lambda step: [literal.input_hook(graph, edge.receiver, lambda reads: reads + step * change)]  # noqa: E731
        return slope(pairs, model, reading, held)
    patched = literal.input_hook(graph, edge.receiver, lambda reads: reads + change)
    moved = gathered_in(model, pairs, layer, [patched]) - gathered_in(model, pairs, layer, [])
    name = f"blocks.{layer}.attn.hook_z"
    return slope(pairs, model, lambda step: [(name, lambda z, hook: z + step * moved)], held)


def holding(model: HookedTransformer, pairs: PromptPairs, layer: int, has_mlp: bool) -> list[literal.Hook]:
    """Hooks that give a layer's attention and MLP the output of the clean run."""
    names = [f"blocks.{layer}.hook_{kind}_out" for kind in (("attn", "mlp") if has_mlp else ("attn",))]
    kept: dict[str, torch.Tensor] = {}
    notes = [(name, lambda value, hook: kept.__setitem__(hook.name, value.clone())) for name in names]
    literal.logits_at(model, pairs.clean, pairs.answer_position, notes)
    return [(name, lambda value, hook: kept[hook.name]) for name in names]


def differences(model: HookedTransformer, graph: ComputationGraph, pairs: PromptPairs) -> dict[Node, torch.Tensor]:
    """What every sender writes on the corrupt prompts minus what it writes on the clean ones."""
    clean, corrupt = (literal.sender_outputs(model, graph, tokens)[0] for tokens in (pairs.clean, pairs.corrupt))
    return {node: corrupt[node] - clean[node] for node in clean}


def some_rows(graph: ComputationGraph, n: int) -> list[int]:
    """Edges into every kind of input, spread over the graph."""
    kinds = dict.fromkeys(edge.kind for edge in graph.edges)
    rows = [[i for i, edge in enumerate(graph.edges) if edge.kind == kind] for kind in kinds]
    return [i for each in rows for i in each[:: max(1, len(each) // n)]]


def model_and_pairs(shape: int | str) -> tuple[HookedTransformer, PromptPairs]:
    """A model drawn over all options, or of a shape, or one that hides pads."""
    if isinstance(shape, int):
        return calm_model(shape, **random_settings(shape)), pairs_of_five(shape, answer_position=3 + shape % 2)
    if shape == "pads":
        model = padding_model(1, "left", strength=0.5, **SETTINGS["rotary"])
        return model, padded_pairs(model, "left", "different")
    return random_model(1, **SHAPES[shape]), random_pairs(1)


@pytest.mark.parametrize("shape", [*seeds(8, fast=1), "pads", *SHAPES])
def test_the_softmax_is_exact_and_what_follows_is_linear(shape: int | str) -> None:
    model, pairs = model_and_pairs(shape)
    result = edge_attribution(model, pairs, method="eap_qk", per_query=True)
    eap = edge_attribution(model, pairs, per_query=True)
    assert result.deltas is not None and eap.deltas is not None
    choice = np.array([edge.look.is_choice for edge in result.graph.edges])
    np.testing.assert_allclose(result.deltas[~choice], eap.deltas[~choice], rtol=1e-9, atol=1e-12)
    assert not choice.any() or np.abs(result.deltas - eap.deltas)[choice].max() > 1e-3 * np.abs(eap.deltas).max()
    graph = result.graph
    changes = differences(model, graph, pairs)
    for row in some_rows(graph, 3):
        edge = graph.edges[row]
        expected = by_hand(model, graph, pairs, edge, changes[edge.sender], [])
        scale = np.abs(expected).max() + 1e-3
        np.testing.assert_allclose(result.deltas[row], expected, rtol=1e-4, atol=1e-4 * scale, err_msg=str(edge))
    assert no_hooks_left(model)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_dropped_layers_are_held_by_hooks_and_sizes_are_averaged(n_layers: int) -> None:
    model, pairs = random_model(2, n_layers=n_layers), random_pairs(2)
    result = edge_attribution(model, pairs, method="atp_star", per_query=True)
    graph = result.graph
    changes, has_number = differences(model, graph, pairs), np.isfinite(result.table["effect"])
    sign = np.sign(result.donor_gaps.sum())
    for row in some_rows(graph, 2):
        edge = graph.edges[row]
        held = [holding(model, pairs, layer, True) for layer in range(n_layers) if layer != edge.receiver.layer]
        estimates = [np.abs(by_hand(model, graph, pairs, edge, changes[edge.sender], each)) for each in held or [[]]]
        expected = sign * np.mean(estimates, 0)
        np.testing.assert_allclose(
            result.deltas[row], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max(), err_msg=str(edge)
        )
    assert (result.table["effect"] >= 0)[has_number].all() and result.method == "atp_star"


def test_weights_of_dropped_layers_sum_to_one_for_every_edge() -> None:
    for n_layers in (1, 2, 5):
        graph = ComputationGraph.transformer(("a", "b"), "b", n_layers=n_layers, n_heads=2, n_blocks=n_layers)
        weights = drop_weights(graph, graph.edges)
        assert len(weights) == n_layers and np.allclose(sum(weights.values()), 1.0)


@pytest.mark.parametrize("method", ["eap_qk", "atp_star"])
def test_edges_at_all_positions_together_have_one_softmax(method: str) -> None:
    """Queries and keys of all positions change in one run; what is linear is summed over positions."""
    model, pairs = random_model(3, n_layers=2), random_pairs(3)
    graph = edge_attribution(model, pairs).graph
    edges = [edge for edge in graph.component_edges if edge.receiver.layer == 1 and edge.sender.layer < 1]
    result = edge_attribution(model, pairs, method=method, edges=edges, per_query=True)
    changes = differences(model, graph, pairs)
    for row, (sender, receiver) in enumerate(edges):
        at = [(sender._replace(role=role), receiver._replace(role=role)) for role in graph.roles]
        expected = together_by_hand(model, graph, pairs, [(changes[node], entered) for node, entered in at])
        expected = expected if method == "eap_qk" else np.abs(expected) * np.sign(result.donor_gaps.sum())
        np.testing.assert_allclose(result.deltas[row], expected, rtol=1e-4, atol=1e-6, err_msg=str(edges[row]))


def together_by_hand(
    model: HookedTransformer, graph: ComputationGraph, pairs: PromptPairs, at: list[tuple[torch.Tensor, Node]]
) -> np.ndarray:
    """The estimate of an edge into the last layer, patched at all positions."""

    def reading(step: float) -> list[literal.Hook]:
        return [literal.input_hook(graph, receiver, lambda reads, by=change: reads + step * by) for change, receiver in at]

    receiver = at[0][1]
    if receiver.input not in ("q", "k"):
        return slope(pairs, model, reading, [])
    before, after = (gathered_in(model, pairs, receiver.layer, hooks) for hooks in ([], reading(1.0)))
    name = f"blocks.{receiver.layer}.attn.hook_z"
    return slope(pairs, model, lambda step: [(name, lambda z, hook: z + step * (after - before))], [])


@pytest.mark.parametrize("method", ["eap", "eap_qk"])
def test_scores_into_an_input_add_up_to_its_first_order_change(method: str) -> None:
    """With the softmax recomputed they do where nothing is chosen; into queries and keys where there is one sender."""
    model, pairs = random_model(4), random_pairs(4)
    result = edge_attribution(model, pairs, method=method, per_query=True)
    graph, changes = result.graph, differences(model, result.graph, pairs)
    rows: dict[Node, list[int]] = {}
    for row, edge in enumerate(graph.edges):
        rows.setdefault(edge.receiver, []).append(row)
    for receiver, into in rows.items():
        adds = method == "eap" or receiver.input not in ("q", "k")
        if not adds and len(into) > 1:
            continue
        total = sum(changes[graph.edges[row].sender] for row in into)
        edge = graph.edges[into[0]]

        def reading(step: float, receiver: Node = receiver, total: torch.Tensor = total) -> list[literal.Hook]:
            return [literal.input_hook(graph, receiver, lambda reads: reads + step * total)]

        expected = slope(pairs, model, reading, []) if adds else by_hand(model, graph, pairs, edge, total, [])
        np.testing.assert_allclose(result.deltas[into].sum(0), expected, rtol=1e-4, atol=1e-5, err_msg=str(receiver))


@torch.no_grad()
def test_for_small_changes_the_softmax_is_as_good_as_linear() -> None:
    model, pairs = random_model(5), random_pairs(5)
    engine = engine_of(model, pairs.roles, -1)
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    changes, step = engine.differences(base, donor), 1e-7
    slopes = engine.slopes(base, lambda logits: logits[:, 0] - logits[:, 1])
    edges = [edge for edge in engine.graph.edges if edge.look.is_choice]
    expected = Products(engine.graph, edges, changes).of(slopes.inputs)
    small = {node: step * change for node, change in changes.items()}
    found = {
        (sender, found.receiver._replace(index=head)): values / step
        for found in engine.choice_changes(base, small, [slopes.gathered])
        for sender, by_head in zip(found.senders, found.changes[0], strict=True)
        for head, values in enumerate(by_head)
    }
    ours = np.stack([found[component(edge.sender), edge.receiver] for edge in edges])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_an_engine_that_cannot_recompute_the_softmax_is_named() -> None:
    with pytest.raises(ValueError, match=r"which the engine of hooks cannot do; leave out engine=.hooks.*eap_ig_inputs"):
        edge_attribution(random_model(1), random_pairs(1), method="atp_star", engine="hooks")
