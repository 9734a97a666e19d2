"""The engine of hooks: the effects of the fast engine and of literal runs, on models that no description covers, too."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, random_pairs, strong_model, wide_pairs
from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module
from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, GPTNeoXConfig, LlamaConfig

from grokscope import analyses
from grokscope.analyses import activation_patch, discover, edge_attribution, faithfulness, graph_of, path_patch
from grokscope.analyses.forward.engine import AttendingEngine, Engine, engine_of
from grokscope.analyses.forward.head_writes import MeasuredNorm
from grokscope.analyses.forward.hooks_engine import HooksEngine
from grokscope.analyses.forward.literal import patch_edge, patch_node, run_with_edges, sender_outputs
from grokscope.analyses.forward.places import Logits, open_edges_of
from grokscope.circuits import ComputationGraph, Edge, Node
from grokscope.tasks import PromptPairs

ROTARY = {"positional_embedding_type": "rotary", "rotary_dim": 4, "rotary_adjacent_pairs": False}
BOTH = {  # that both engines do
    "plain": {},
    "shared keys": {"n_heads": 4, "d_head": 6, "n_key_value_heads": 2, **ROTARY},
    "norms over heads, and after": {"original_architecture": "Olmo2ForCausalLM", "normalization_type": "RMS", **ROTARY},
    "norms before and after": {"use_normalization_before_and_after": True, "normalization_type": "RMS"},
    "parallel, bidirectional": {"parallel_attn_mlp": True, "attention_dir": "bidirectional"},
    "sinks": {"use_attention_sinks": True},
    "attention only": {"attn_only": True},
    "shared blocks": {"n_layers": 4, "n_blocks": 2},
}
BOTH["norms over heads, and after"]["d_head"] = 6
FAST = ("shared keys", "norms before and after", "parallel, bidirectional", "sinks")
HOOKS_ONLY = {
    "shortformer": {"positional_embedding_type": "shortformer"},
    "longer than trained for": {"use_logn_attn": True, "train_seq_length": 2},
    "dynamic rotation": {"use_dynamic_ntk_rope": True, "train_seq_length": 2, **ROTARY, "d_head": 4},
}
SMALL = {"vocab_size": 50, "max_position_embeddings": 8, "num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 24}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
QUICK = ("GPT2LMHeadModel", "LlamaForCausalLM", "Gemma2ForCausalLM")
FAMILIES = {
    "GPT2LMHeadModel": GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=8),
    "LlamaForCausalLM": LlamaConfig(**SMALL, **HEADS),
    "Gemma2ForCausalLM": Gemma2Config(**SMALL, **HEADS, head_dim=4),
    "GPTNeoXForCausalLM": GPTNeoXConfig(**SMALL, num_attention_heads=4),
}


@pytest.mark.parametrize("name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in BOTH])
def test_all_is_as_with_the_fast_engine(name: str) -> None:
    """Where a norm follows attention, longer paths through several heads of a layer are for hooks alone."""
    model, pairs = random_model(3, **BOTH[name]), random_pairs(4, n=2)
    fast, hooks = (engine_of(model, pairs.roles, -1, engine=each) for each in ("fast", "hooks"))
    assert fast.graph == hooks.graph
    ours, theirs = (answers(each, pairs, one_head="after" in name or name == "all at once") for each in (fast, hooks))
    for what, expected in ours.items():
        torch.testing.assert_close(theirs[what], expected, rtol=1e-9, atol=1e-9, msg=what)
    assert no_hooks_left(model)


def answers(engine: AttendingEngine[Any], pairs: PromptPairs, *, one_head: bool) -> dict[str, torch.Tensor]:
    """Of every question that an engine can be asked; longer paths through a single head of each layer, if wanted."""
    graph, (base, donor) = engine.graph, engine.run(pairs.clean, pairs.corrupt)
    ends = [edge for edge in graph.edges if edge.receiver.kind == "logits" or edge.receiver.layer][::15]
    through = [node for node in graph.senders if node.kind != "embed"][::3]
    through = [node for node in through if not one_head or node.kind != "head" or node.head == 0]
    sets = open_edges_of(graph, [graph.edges[::2], graph.edges[1::3], [], graph.edges])
    change = engine.differences(base, donor)[graph.senders[-1]._replace(role="")]
    added = {("embed", -1): change / 2, ("head", 0): change / 3}
    gradients = engine.input_gradients(base, lambda logits: logits[:, 0] - logits[:, 1], added)
    shape = base.logits.shape[0], len(graph.roles)
    flat = [gradients[at].detach().broadcast_to(*shape, *gradients[at].shape[2:]).flatten(2) for at in sorted(gradients)]
    return {
        "edges": found(engine.edge_logits(base, donor, graph.edges[::2])),
        "edges at all positions": found(engine.edge_logits(base, donor, graph.component_edges)),
        "nodes": found(engine.node_logits(base, donor, graph.senders)),
        "paths": found(engine.path_logits(base, donor, ends, through)),
        "sets": found(engine.logits_with_edges(donor, base, sets)),
        "mean background": found(engine.logits_with_edges(engine.averaged([donor], len(pairs)), base, sets)),
        "gradients": torch.cat(flat, 2),
        "patterns": torch.stack(list(engine.patterns(base))),
    }


def found(logits: Logits) -> torch.Tensor:
    rows = {place: values for places, group in logits for place, values in zip(places, group, strict=True)}
    return torch.stack([rows[place] for place in range(len(rows))])


@pytest.mark.parametrize("name", HOOKS_ONLY)
def test_what_no_description_covers_is_exact_against_split_inputs(name: str) -> None:
    model, pairs = random_model(1, **HOOKS_ONLY[name]), random_pairs(2, n=2)
    engine = engine_of(model, pairs.roles, -1)
    assert engine.name == "hooks"
    graph, (base, donor) = engine.graph, engine.run(pairs.clean, pairs.corrupt)
    clean, logits = sender_outputs(model, graph, pairs.clean)
    corrupt, _ = sender_outputs(model, graph, pairs.corrupt)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(base.logits, logits, **close)
    edges, nodes = graph.edges[::3], graph.senders
    for edge, values in zip(edges, found(engine.edge_logits(base, donor, edges)), strict=True):
        expected = patch_edge(model, graph, pairs.clean, edge, corrupt[edge.sender] - clean[edge.sender])
        torch.testing.assert_close(values, expected, **close)
    for node, values in zip(nodes, found(engine.node_logits(base, donor, nodes)), strict=True):
        expected = patch_node(model, graph, pairs.clean, node, corrupt[node] - clean[node])
        torch.testing.assert_close(values, expected, **close)
    sets = [graph.edges[::2], graph.edges[1::3]]
    for each, values in zip(sets, found(engine.logits_with_edges(donor, base, open_edges_of(graph, sets))), strict=True):
        torch.testing.assert_close(values, run_with_edges(model, graph, pairs.clean, each, corrupt), **close)


@cache
def bridge(name: str, compatible: bool, double: bool = True) -> Any:
    torch.manual_seed(0)
    dtype = torch.float64 if double else torch.float32
    made = AutoModelForCausalLM.from_config(FAMILIES[name], attn_implementation="eager").to(dtype).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, dtype=dtype))
    options = {"hf_config": made.config, "tokenizer": None, "dtype": dtype, "device": "cpu"}
    model = build_bridge_from_module(made, name, **options)
    if compatible:
        model.enable_compatibility_mode(no_processing=name == "Gemma2ForCausalLM")
    return model


def bridge_pairs(n: int = 2) -> PromptPairs:
    pairs = random_pairs(5, n=n, d_vocab=50)
    return PromptPairs(pairs.clean, pairs.corrupt, pairs.answers, pairs.foils, roles=pairs.roles)


def changed_inside(model: Any, layer: int, name: str, part: slice, tokens: torch.Tensor, change: torch.Tensor) -> Any:
    """By torch's hooks on the modules that a bridge wraps: a linear map's input changes at one position, for some outputs.

    What the layer's attention reads comes from its norm, which is run again.
    """
    block = model.blocks[layer]
    reads: list[torch.Tensor] = []

    def note(module: Any, args: Any, kwargs: Any) -> None:
        reads.append((args[0] if args else kwargs["hidden_states"]).clone())

    def swap(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        state = reads[0][:, 0] + change
        new = torch.nn.functional.linear(norm(state), module.weight, module.bias)
        output = output.clone()
        output[:, 0, part] = new[:, part]
        return output

    inside = block.original_component
    norm, linear = inside.input_layernorm, getattr(inside.self_attn, f"{name}_proj")
    linear = getattr(linear, "original_component", linear)
    norm = getattr(norm, "original_component", norm)
    handles = [inside.register_forward_pre_hook(note, with_kwargs=True), linear.register_forward_hook(swap)]
    try:
        with torch.no_grad():
            return model(tokens)[:, -1]
    finally:
        for handle in handles:
            handle.remove()


def test_a_bridge_is_changed_as_by_hooks_on_what_it_wraps() -> None:
    """An edge into a key that two heads share; its sender is the embedding, whose output is known."""
    model, pairs = bridge("LlamaForCausalLM", False), bridge_pairs()
    engine = engine_of(model, pairs.roles, -1, engine="hooks")
    base, donor = engine.run(pairs.clean, pairs.corrupt)
    change = (
        model.embed.original_component.weight[pairs.corrupt[:, 0]] - model.embed.original_component.weight[pairs.clean[:, 0]]
    ).detach()
    for name, index in (("k", 1), ("v", 0), ("q", 3)):
        role = pairs.roles[0]
        edge = Edge(Node("embed", role), Node("head", role, 1, index, name))
        expected = changed_inside(model, 1, name, slice(4 * index, 4 * index + 4), pairs.clean, change)
        values = found(engine.edge_logits(base, donor, [edge]))[0]
        torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-9)
        if name != "q":  # the first position sees itself only
            assert not torch.allclose(values, base.logits)


@pytest.mark.parametrize(
    ("name", "compatible"),
    [
        pytest.param(name, compatible, marks=[] if name in QUICK and not compatible else pytest.mark.slow)
        for name in FAMILIES
        for compatible in (False, True)
    ],
)
def test_a_bridge_holds_what_must_hold(name: str, compatible: bool) -> None:
    """All edges open is the run itself, none the background; a sender's edges together are the sender."""
    model, pairs = bridge(name, compatible), bridge_pairs()
    engine = engine_of(model, pairs.roles, -1, engine="hooks")
    graph, (base, donor) = engine.graph, engine.run(pairs.clean, pairs.corrupt)
    config = FAMILIES[name]
    assert (graph.n_layers, graph.n_heads) == (2, config.num_attention_heads)
    assert graph.n_key_value_heads == getattr(config, "num_key_value_heads", graph.n_heads)
    assert graph.parallel == (name == "GPTNeoXForCausalLM") and graph.causal
    torch.testing.assert_close(base.logits, model(pairs.clean)[:, -1].detach())
    single = "RMS" in type(model.blocks[0].ln1.original_component).__name__  # which computes in 32 bits, whatever is asked
    close = {"rtol": 1e-3, "atol": 1e-4} if single else {"rtol": 1e-8, "atol": 1e-8}
    for background in (donor, engine.averaged([donor], len(pairs))):
        closed, opened = found(engine.logits_with_edges(background, base, open_edges_of(graph, [[], graph.edges])))
        torch.testing.assert_close(opened, base.logits, **close)
        if background is donor:
            torch.testing.assert_close(closed, donor.logits, **close)
    slope_against_differences(engine, base, donor, 1e-2 if single else 1e-6)
    last = [edge for edge in graph.edges if edge.receiver.kind == "logits" and edge.sender.kind != "embed"]
    nodes = [edge.sender for edge in last if edge.sender.layer == 1 and (edge.sender.kind == "mlp" or graph.parallel)]
    edges = [Edge(node, graph.answer) for node in nodes]
    both = found(engine.edge_logits(base, donor, edges)), found(engine.node_logits(base, donor, nodes))
    torch.testing.assert_close(*both, **close)


def slope_against_differences(engine: Engine[Any], base: Any, donor: Any, step: float) -> None:
    """Gradients by every kind of input are those of small changes."""
    from dataclasses import replace

    graph: ComputationGraph = engine.graph
    gradients = engine.input_gradients(base, lambda logits: logits[:, 0] - logits[:, 1], {})
    inputs = [("head", "q"), ("head", "k"), ("head", "v"), ("mlp", ""), ("logits", "")]
    receivers = [[r for r in graph.receivers if (r.kind, r.input) == kind][-1] for kind in inputs]
    embed, close = Node("embed", ""), {"rtol": 1e-4, "atol": 1e-7} if step < 1e-4 else {"rtol": 0.02, "atol": 1e-3}
    sides = []
    for sign in (1, -1):
        states = [base.before[0] + sign * step * (donor.before[0] - base.before[0]), *base.before[1:]]
        edges = [Edge(embed._replace(role=r.role or graph.answer_role), r) for r in receivers]
        sides.append(found(engine.edge_logits(base, replace(base, before=states), edges)))
    slopes = (sides[0] - sides[1])[..., 0] - (sides[0] - sides[1])[..., 1]
    for receiver, slope in zip(receivers, slopes / (2 * step), strict=True):
        position = graph.roles.index(receiver.role or graph.answer_role)
        at = receiver.kind, graph.n_layers if receiver.kind == "logits" else receiver.layer
        starts = {"q": 0, "k": graph.n_heads, "v": graph.n_heads + graph.n_key_value_heads}
        gradient = gradients[at][:, position, receiver.head + starts[receiver.input] if receiver.kind == "head" else 0]
        expected = (gradient * (donor.before[0] - base.before[0])[:, position]).sum(-1)
        torch.testing.assert_close(slope, expected.detach(), **close)


def test_results_say_which_engine_measured() -> None:
    model, pairs = strong_model(0), wide_pairs(0, n=8)
    for engine, method in (("auto", "exact"), ("fast", "exact"), ("hooks", "exact, by hooks")):
        results = [measure(model, pairs, engine=engine, progress=False) for measure in (path_patch, activation_patch)]
        assert {result.method for result in results} == {method}
        assert ("exact, by hooks" in results[0].caption) == (engine == "hooks")
    by_hooks = edge_attribution(model, pairs, engine="hooks", error_against_exact=True, n_compared=9)
    assert by_hooks.method == "eap, by hooks"
    circuits = [discover(model, pairs, greedy=0.3, engine=engine, progress=False) for engine in ("fast", "hooks")]
    assert circuits[1].provenance["method"] == "exact, by hooks"
    assert set(circuits[0].kept_edges) == set(circuits[1].kept_edges)


def test_circuits_are_judged_by_either_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs, made = strong_model(0), wide_pairs(0, n=9), []
    monkeypatch.setattr(HooksEngine, "run", lambda *args, run=HooksEngine.run: made.append(1) or run(*args))
    circuit = discover(model, pairs, top_k=12, progress=False)
    how: dict[str, Any] = {"n_random": 3, "allow_shared": True, "progress": False}
    fast, hooks = (faithfulness(model, circuit, pairs, engine=name, **how).table for name in ("fast", "hooks"))
    assert made and fast.drop(columns="edges").columns.equals(hooks.drop(columns="edges").columns)
    np.testing.assert_allclose(fast["faithfulness"], hooks["faithfulness"], atol=1e-8)
    n_made = len(made)
    alone = [analyses.run_with_edges(model, pairs, circuit.kept_edges, engine=name) for name in ("fast", "hooks")]
    torch.testing.assert_close(*alone, rtol=1e-9, atol=1e-9)
    assert len(made) > n_made


def test_the_fast_engine_is_not_forced_on_what_it_does_not_know() -> None:
    pairs = random_pairs(0)
    model = random_model(0, **HOOKS_ONLY["shortformer"])
    with pytest.raises(
        ValueError, match="not defined here for a model with positional_embedding_type='shortformer', but by"
    ):
        path_patch(model, pairs, engine="fast")
    with pytest.raises(ValueError, match="shortformer', but by hooks: path_patch"):
        analyses.state_profile(model, pairs, progress=False)
    assert path_patch(model, pairs, progress=False).method == "exact, by hooks"


def test_little_memory_gives_the_same() -> None:
    model, pairs = strong_model(0), wide_pairs(0, n=4)
    whole, parts = (
        path_patch(model, pairs, engine="hooks", max_memory=memory, per_query=True, progress=False).deltas
        for memory in (2**30, 600_000)
    )
    np.testing.assert_allclose(parts, whole, rtol=1e-9, atol=1e-12)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A model, some of whose hook points exist and are never called."""
    model = random_model(0)

    def silence(*names: str) -> Any:
        for name in names:
            monkeypatch.setattr(model.hook_dict[name], "forward", lambda x: x)
            monkeypatch.setattr(model.hook_dict[name], "_forward_hooks", Deaf())
        return model

    yield silence


class Deaf(dict[Any, Any]):
    """Takes hooks, and calls none."""

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def values(self) -> Any:
        return ()

    def items(self) -> Any:
        return ()


def test_hook_points_that_are_never_called_are_named(silent: Any) -> None:
    model = silent("blocks.1.attn.hook_k", "blocks.0.hook_mlp_out")
    with pytest.raises(
        ValueError,
        match=r"what the MLP adds of layer 0 .*blocks.0.hook_mlp_out exists but is never called.*"
        r"keys of layer 1 .*blocks.1.attn.hook_k exists but is never called",
    ):
        path_patch(model, random_pairs(0), engine="hooks")


def scaled(model: Any) -> None:
    """What attention adds is scaled after its hook point."""
    block = model.blocks[0]
    plain = block.hook_resid_mid.forward
    block.hook_resid_mid.forward = lambda x: 1.5 * plain(x)


def gated(model: Any) -> None:
    """What heads gather is scaled by what enters the layer."""
    attention = model.blocks[0].attn
    scores = attention.calculate_attention_scores
    attention.calculate_attention_scores = lambda q, k: scores(q, k) * state[0].mean(-1)[:, None, :, None]
    state: list[torch.Tensor] = []
    plain = model.blocks[0].ln1.forward
    model.blocks[0].ln1.forward = lambda x: (state.clear() or state.append(x)) or plain(x)


def across(model: Any) -> None:
    """Queries depend on other positions."""
    norm = model.blocks[1].ln1
    plain = norm.forward
    norm.forward = lambda x: plain(x + x.flip(1))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (scaled, r"what attention and MLP of layer 0 add .* is not what blocks.0.hook_resid_post has more than"),
        pytest.param(  # a function that our own class does not have
            gated,
            "attention of layer 0 reads the residual stream not by queries, keys and values alone",
            marks=pytest.mark.transformerlens(3),
        ),
        (across, "in layer 1 what is read at one position changes q, k, v at others"),
    ],
)
def test_models_for_which_it_would_not_be_exact_are_refused_by_name(break_it: Any, message: str) -> None:
    model = random_model(0)
    break_it(model)
    with pytest.raises(ValueError, match=message):
        path_patch(model, random_pairs(0), engine="hooks")


@pytest.mark.parametrize("engine", ["auto", "hooks"])
def test_dropout_of_a_model_in_training_is_off(engine: str) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    model.blocks[0].mlp = torch.nn.Sequential(model.blocks[0].mlp, torch.nn.Dropout(0.5))
    expected = path_patch(model.eval(), pairs, per_query=True, engine=engine, progress=False).deltas
    model.train()
    np.testing.assert_array_equal(path_patch(model, pairs, per_query=True, engine=engine, progress=False).deltas, expected)
    assert all(module.training for module in model.modules())
    measured = engine_of(model, pairs.roles, -1, engine=engine)
    base, donor = measured.run(pairs.clean, pairs.clean)
    assert (found(measured.edge_logits(base, donor, measured.graph.edges)) == base.logits).all()


def test_a_bridge_in_training_mode_is_run_without_dropout() -> None:
    model, pairs = bridge("GPT2LMHeadModel", False, double=False), bridge_pairs()
    try:
        model.train()
        graph = graph_of(model, pairs.roles, -1)
        engine = engine_of(model, pairs.roles, -1, engine="hooks")
        (base,) = engine.run(pairs.clean)
        same = found(engine.node_logits(base, base, graph.senders))
        assert (same == base.logits).all() and model.training
    finally:
        model.eval()
    torch.testing.assert_close(base.logits, model(pairs.clean)[:, -1].detach())


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("size", [6, 7])
def test_a_norm_is_measured(centred: bool, size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    gain, bias, state = torch.randn(3, 1, 2, size, generator=generator, dtype=torch.float64)
    gain, bias = 1 + gain[0, 0], bias[0, 0] * centred

    def norm(x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True) if centred else x
        return x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt() * gain + bias

    measured = MeasuredNorm.of(norm, state)
    assert measured.centred == centred
    torch.testing.assert_close((measured.gain, measured.bias), (gain, bias))
    parts = torch.stack([0.3 * state, 0.7 * state], 2)
    torch.testing.assert_close(measured.shares(parts, state).sum(2) + bias, norm(state))
