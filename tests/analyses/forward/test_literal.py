"""The literal interventions against a forward pass written out by hand, and against algebra."""

import oracles
import pytest
import torch
from conftest import no_hooks_left, random_model, random_pairs, seeds

from grokscope.analyses import graph_of
from grokscope.analyses.forward.literal import hooked, patch_edge, patch_node, run_with_edges, sender_outputs
from grokscope.analyses.forward.model import check_described

MODELS = [
    {},
    {"n_layers": 1, "n_heads": 3},
    {"n_layers": 3, "n_heads": 1, "n_blocks": 1},
    {"n_layers": 4, "n_heads": 2, "n_blocks": 2, "d_head": 6},
    {"normalization_type": None, "act_fn": "relu"},
    {"normalization_type": "RMS"},
    {"normalization_type": "LNPre"},
    {"attention_dir": "bidirectional"},
    {"attn_only": True},
]
OTHERS = [  # that the handwritten run does not know
    {"positional_embedding_type": "rotary", "rotary_dim": 4, "d_head": 4},
    {"gated_mlp": True},
    {"normalization_type": "RMSPre", "act_fn": "silu"},
    {"output_logits_soft_cap": 3.0},
    {"d_vocab_out": 17},
    {"final_rms": True},
]


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_patched_edges_equal_the_handwritten_run(settings: dict[str, object]) -> None:
    model, pairs = random_model(0, **settings), random_pairs(1, n=2)
    graph = graph_of(model, pairs.roles, -1)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    for edge in graph.edges[:: 1 + len(graph.edges) // 60]:  # all of a small graph, every so many of a large one
        patched = patch_edge(model, graph, pairs.clean, edge, corrupt[edge.sender] - clean[edge.sender])
        literal = [
            oracles.patched_edge(model, graph, base, donor, edge)
            for base, donor in zip(pairs.clean, pairs.corrupt, strict=True)
        ]
        torch.testing.assert_close(patched, torch.stack(literal), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_every_patched_node_equals_the_handwritten_run(settings: dict[str, object]) -> None:
    model, pairs = random_model(2, **settings), random_pairs(3, n=2)
    graph = graph_of(model, pairs.roles, -1)
    clean, _ = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    for node in graph.senders:
        patched = patch_node(model, graph, pairs.clean, node, corrupt[node] - clean[node])
        literal = [
            oracles.patched_node(model, graph, base, donor, node)
            for base, donor in zip(pairs.clean, pairs.corrupt, strict=True)
        ]
        torch.testing.assert_close(patched, torch.stack(literal), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", seeds(20, fast=6))
def test_random_sets_of_edges_equal_the_handwritten_run(seed: int) -> None:
    model, pairs = random_model(seed, **MODELS[seed % len(MODELS)]), random_pairs(seed, n=2)
    graph = graph_of(model, pairs.roles, -1)
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(1, generator=generator)
    edges = {edge for edge in graph.edges if torch.rand(1, generator=generator) < share}
    literal = [
        oracles.only_edges(model, graph, clean, corrupt, edges)
        for clean, corrupt in zip(pairs.clean, pairs.corrupt, strict=True)
    ]
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    found = run_with_edges(model, graph, pairs.clean, edges, corrupt)
    torch.testing.assert_close(found, torch.stack(literal), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("settings", MODELS + OTHERS, ids=str)
def test_all_edges_are_the_clean_run_and_none_the_corrupt_one(settings: dict[str, object]) -> None:
    model, pairs = random_model(4, **settings), random_pairs(5)
    graph = graph_of(model, pairs.roles, -1)
    (_, clean), (background, corrupt) = (sender_outputs(model, graph, tokens) for tokens in (pairs.clean, pairs.corrupt))
    torch.testing.assert_close(clean, model(pairs.clean)[:, -1].detach())
    assert not torch.allclose(clean, corrupt)
    for edges, expected in ((graph.edges, clean), ([], corrupt), (map(str, graph.edges), clean)):
        torch.testing.assert_close(run_with_edges(model, graph, pairs.clean, edges, background), expected)


@pytest.mark.parametrize("settings", MODELS, ids=str)
def test_edges_left_out_of_the_graph_cannot_matter(settings: dict[str, object]) -> None:
    """The handwritten run may patch any edge; those that the graph does not list change nothing."""
    from grokscope.circuits import Edge, Node

    model, pairs = random_model(6, **settings), random_pairs(7, n=1)
    graph = graph_of(model, pairs.roles, -1)
    receivers = [
        Node("head", role, layer, head, name)
        for role in graph.roles
        for layer in range(graph.n_layers)
        for head in range(graph.n_heads)
        for name in ("q", "k", "v")
    ]
    if graph.has_mlp:
        receivers += [Node("mlp", role, layer) for role in graph.roles for layer in range(graph.n_layers)]
    unlisted = [Edge(s, r) for r in receivers for s in graph.senders_into(r) if Edge(s, r) not in set(graph.edges)]
    base, _ = oracles.run(model, graph, pairs.clean[0], oracles.plain)
    if graph.causal:
        assert unlisted
    for edge in unlisted:
        torch.testing.assert_close(oracles.patched_edge(model, graph, pairs.clean[0], pairs.corrupt[0], edge), base)


def test_the_handwritten_run_is_the_models_own() -> None:
    for seed, settings in enumerate(MODELS):
        model, pairs = random_model(seed, **settings), random_pairs(seed, n=3)
        graph = graph_of(model, pairs.roles, -1)
        by_hand = torch.stack([oracles.run(model, graph, tokens, oracles.plain)[0] for tokens in pairs.clean])
        torch.testing.assert_close(by_hand, model(pairs.clean)[:, -1], rtol=1e-10, atol=1e-10)


def test_without_norms_direct_paths_to_the_logits_are_their_projections() -> None:
    model, pairs = random_model(8, normalization_type=None), random_pairs(9)
    graph = graph_of(model, pairs.roles, -1)
    clean, logits = sender_outputs(model, graph, pairs.clean)
    corrupt, corrupt_logits = sender_outputs(model, graph, pairs.corrupt)
    total = torch.zeros_like(logits)
    for edge in [edge for edge in graph.edges if edge.receiver.kind == "logits"]:
        difference = corrupt[edge.sender] - clean[edge.sender]
        change = patch_edge(model, graph, pairs.clean, edge, difference) - logits
        torch.testing.assert_close(change, difference @ model.W_U)
        total = total + change
    torch.testing.assert_close(total, corrupt_logits - logits)


def test_an_unknown_hook_point_is_an_error_not_a_no_op() -> None:
    model = random_model(0)
    hooks = [(name, lambda activation, hook: activation) for name in ("hook_y", "blocks.9.hook_x")]
    names = r"no such hook points: blocks.9.hook_x, hook_y; the model has hook_embed"
    with pytest.raises(KeyError, match=names), hooked(model, hooks):
        pass
    assert no_hooks_left(model)


def test_unknown_edges_are_named() -> None:
    model, pairs = random_model(0), random_pairs(0)
    graph = graph_of(model, pairs.roles, -1)
    with pytest.raises(KeyError, match=r"1 edges are not in the graph of 2 layers, 2 heads .*: embed@h -> L5H0.v@h"):
        run_with_edges(model, graph, pairs.clean, ["embed@h -> L5H0.v@h", "embed@h -> L0H0.v@h"], {})
    with pytest.raises(ValueError, match="is no edge"):
        run_with_edges(model, graph, pairs.clean, ["embed@h"], {})


def test_nothing_is_left_on_the_model_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = random_model(0), random_pairs(0)
    graph = graph_of(model, pairs.roles, -1)
    background, _ = sender_outputs(model, graph, pairs.corrupt)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    seen = []
    model.add_hook("hook_embed", lambda activation, hook: seen.append(1))  # the user's own
    run_with_edges(model, graph, pairs.clean, [], background)
    assert len(model.hook_dict["hook_embed"].fwd_hooks) == 1 and seen
    model.reset_hooks()
    monkeypatch.setattr(model.blocks[1], "forward", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_with_edges(model, graph, pairs.clean, [], background)
    assert no_hooks_left(model)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


def _interrupt(*args: object, **kwargs: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("settings", "option"),
    [
        ({"positional_embedding_type": "shortformer"}, "positional_embedding_type='shortformer'"),
        ({"use_logn_attn": True, "train_seq_length": 2}, "use_logn_attn=True at 3 positions"),
    ],
)
def test_options_that_are_not_done_exactly_are_refused_by_name(settings: dict[str, object], option: str) -> None:
    with pytest.raises(ValueError, match=f"not defined here for a model with .*{option}"):
        check_described(random_model(0, **settings), 3)


def test_the_graph_sees_which_layers_are_tied() -> None:
    roles = ("h", "r1", "r2")
    assert graph_of(random_model(0, n_layers=4, n_blocks=2), roles, -1).n_blocks == 2
    assert graph_of(random_model(0, n_layers=3), roles, -1).n_blocks == 3
    assert graph_of(random_model(0, n_layers=3, n_blocks=1), roles, -1).n_blocks == 1
