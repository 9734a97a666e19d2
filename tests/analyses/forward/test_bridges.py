"""Bridges to published families, each exact against hooks on the modules that it wraps."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import D_VOCAB, FAMILIES, Family, bridge_of, computing_in
from literal_bridge import LiteralBridge
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from worded import word_tokenizer

from grokscope.analyses import path_patch
from grokscope.analyses.forward import bridge_attention, bridged, model
from grokscope.analyses.forward.engine import engine_of
from grokscope.analyses.forward.head import check_last_state, token_embeddings
from grokscope.analyses.forward.model import Stage, graph_of, residual_states
from grokscope.analyses.forward.places import open_edges_of
from grokscope.circuits import Edge
from grokscope.tasks import PromptPairs, predictions

ROLES = ("a", "b", "c", "d", "e")
CLOSE = {torch.float64: 1e-11, torch.float32: 1e-5}
FAST = ("GPT2LMHeadModel", "Gemma2ForCausalLM", "GPTNeoXForCausalLM")


def is_fast(name: str, dtype: torch.dtype, compatible: bool) -> bool:
    return name in FAST and dtype == torch.float32 and not compatible


def case(name: str, dtype: torch.dtype, compatible: bool) -> Any:
    fast = is_fast(name, dtype, compatible)
    label = f"{name}-{str(dtype)[6:]}-{'compatible' if compatible else 'raw'}"
    return pytest.param(name, dtype, compatible, id=label, marks=() if fast else pytest.mark.slow)


CASES = [case(name, dtype, compatible) for name in FAMILIES for dtype in CLOSE for compatible in (False, True)]


def sample(edges: tuple[Edge, ...], n: int) -> list[Edge]:
    """Some edges into every kind of input."""
    generator, found = torch.Generator().manual_seed(0), []
    for kind in {(edge.receiver.kind, edge.receiver.input) for edge in edges}:
        some = [edge for edge in edges if (edge.receiver.kind, edge.receiver.input) == kind]
        found += [some[int(i)] for i in torch.randperm(len(some), generator=generator)[:n]]
    return found


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    error, size = float((found.detach() - expected).abs().max()), float(expected.abs().max())
    assert error <= CLOSE[found.dtype] * max(1.0, size), (error, size)


@pytest.mark.filterwarnings("ignore:.*does not support fold_ln")
@pytest.mark.parametrize(("name", "dtype", "compatible"), CASES)
def test_edges_and_sets_of_edges_are_exact(name: str, dtype: torch.dtype, compatible: bool) -> None:
    with computing_in(dtype):
        check(bridge_of(name, dtype, compatible=compatible), FAMILIES[name], 3 if is_fast(name, dtype, compatible) else 12)


def check(bridge: Any, family: Family, n_edges: int) -> None:
    generator = torch.Generator().manual_seed(1)
    clean, corrupt = torch.randint(D_VOCAB, (2, 3, len(ROLES)), generator=generator)
    engine = engine_of(bridge, ROLES, -1)
    graph = engine.graph
    literal = LiteralBridge(bridge, family, graph)
    base, donor = engine.run(clean, corrupt)
    written: dict[Any, torch.Tensor] = {}
    other: dict[Any, torch.Tensor] = {}
    close(base.logits, literal.run(clean, outputs=written))
    close(donor.logits, literal.run(corrupt, outputs=other))

    chosen = sample(graph.edges, n_edges)
    moved = 0
    for places, logits in engine.edge_logits(base, donor, chosen):
        for place, found in zip(places, logits, strict=True):
            sender, receiver = chosen[place]
            change = other[sender] - written[sender]
            expected = literal.run(clean, {receiver: lambda reads, change=change: reads + change})
            close(found, expected)
            moved += not torch.allclose(expected, base.logits, rtol=1e-3, atol=1e-3)
    assert moved > len(chosen) // 2

    sets = [list(graph.edges), [], [edge for edge in graph.edges if torch.rand((), generator=generator) < 0.6]]
    for places, logits in engine.logits_with_edges(donor, base, open_edges_of(graph, sets)):
        for place, found in zip(places, logits, strict=True):
            close(found, with_edges(literal, clean, set(sets[place]), other))
    close(with_edges(literal, clean, set(sets[0]), other), base.logits)


def with_edges(
    literal: LiteralBridge, tokens: torch.Tensor, edges: set[Edge], background: dict[Any, torch.Tensor]
) -> torch.Tensor:
    """One run in which every input reads the background's output of the senders that are cut."""
    live: dict[Any, torch.Tensor] = {}

    def swapping(receiver: Any) -> Any:
        cut = [each for each in literal.graph.senders_into(receiver) if Edge(each, receiver) not in edges]
        return lambda reads: reads + sum((background[each] - live[each] for each in cut), torch.zeros_like(reads))

    changes = {receiver: swapping(receiver) for receiver in literal.graph.receivers}
    return literal.run(tokens, changes, live)


NATIVE = {
    "n_layers": 2,
    "d_model": 24,
    "n_heads": 4,
    "d_head": 6,
    "n_ctx": 16,
    "d_vocab": D_VOCAB,
    "act_fn": "gelu",
    "init_weights": False,
}
NATIVES = {
    "plain": {},
    "rotary, shared keys": {"positional_embedding_type": "rotary", "n_key_value_heads": 2, "normalization_type": "RMS"},
    "soft caps": {"attn_scores_soft_cap": 0.7, "output_logits_soft_cap": 2.0, "gated_mlp": True, "act_fn": "silu"},
}


@pytest.mark.parametrize("name", NATIVES)
def test_native_models_are_exact(name: str) -> None:
    torch.manual_seed(0)
    bridge: Any = TransformerBridge.boot_native(TransformerBridgeConfig(**{**NATIVE, **NATIVES[name]})).eval()
    for values in bridge.parameters():
        torch.nn.init.normal_(values, 1.0 if values.ndim == 1 else 0.0, 0.3)
    check(bridge, Family("native"), 3)


def test_a_wrong_description_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge: Any = bridge_of("MistralForCausalLM")
    for reading, wrong in (("_window", None), ("_scale", 1.0), ("_angles", None)):
        with monkeypatch.context() as patched:
            patched.setattr(bridge_attention, reading, lambda *args, wrong=wrong: wrong)
            with pytest.raises(ValueError, match=r"MistralForCausalLM's blocks, .* not described: logits differ by"):
                engine_of(bridge, ROLES, -1, engine="fast")
            assert engine_of(bridge, ROLES, -1).name == "hooks"
            patched.setattr(model, "problems_of_bridge", lambda *args: [])
            if reading != "_window":
                continue
            with pytest.raises(ValueError, match="differ from those of its blocks run one by one"):
                engine_of(bridge, ROLES, -1).run(torch.arange(10).view(2, 5))


def test_another_order_of_a_block_is_refused_by_name() -> None:
    bridge: Any = bridge_of("LlamaForCausalLM")
    inner = bridge.blocks[1].original_component
    plain = inner.forward
    inner.forward = lambda *args, **options: 2 * plain(*args, **options)
    with pytest.raises(ValueError, match="LlamaForCausalLM's block 1 which adds more than attention and MLP"):
        engine_of(bridge, ROLES, -1, engine="fast")
    with pytest.raises(ValueError, match=r"what attention and MLP of layer 1 add .* is not what"):
        graph_of(bridge, ROLES, -1)


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "Gemma2ForCausalLM", "GPTNeoXForCausalLM"])
def test_states_lead_to_the_logits(name: str) -> None:
    bridge: Any = bridge_of(name)
    tokens = torch.randint(D_VOCAB, (3, 4), generator=torch.Generator().manual_seed(0))
    states = residual_states(bridge, tokens, -1)
    with torch.no_grad():
        check_last_state(bridge, tokens, -1, list(states.values())[-1])
    assert (Stage(0, "attention") in states) == (name != "GPTNeoXForCausalLM")
    assert token_embeddings(bridge).shape == (D_VOCAB, bridge.cfg.d_model)


@pytest.mark.filterwarnings("ignore:.*does not support fold_ln")
@pytest.mark.parametrize("compatible", [False, True])
@pytest.mark.parametrize("name", FAST)
def test_a_bridge_of_half_precision_is_computed_in_single(name: str, compatible: bool) -> None:
    bridge = bridge_of(name, torch.bfloat16, compatible=compatible)
    prompts = torch.randint(D_VOCAB, (2, 3, len(ROLES)), generator=torch.Generator().manual_seed(1))
    (found,) = engine_of(bridge, ROLES, -1).run(prompts[0])
    assert {each.dtype for each in bridge.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        own = bridge(prompts[0])[:, -1]
    if not compatible:  # whose weights outside of parameters `to` does not convert
        (expected,) = engine_of(bridge.to(torch.float32, print_details=False), ROLES, -1).run(prompts[0])
        assert torch.equal(found.logits, expected.logits)
    assert found.logits.dtype == torch.float32
    error = float((own.float() - found.logits).abs().max() / found.logits.abs().max())
    assert 0 < error < 32 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *itertools.product(["GPT2LMHeadModel", "Gemma2ForCausalLM"], ["left", "right"]),
        *(pytest.param(name, "left", marks=pytest.mark.slow) for name in FAMILIES if name not in FAST),
    ],
)
def test_pads_of_a_bridges_prompts_change_nothing(name: str, side: str) -> None:
    bridge = bridge_of(name, torch.float32)
    bridge.tokenizer = word_tokenizer([" ".join(f"w{i}" for i in range(D_VOCAB - 3))], side=side)
    bridge.cfg.default_prepend_bos, pad = False, bridge.tokenizer.pad_token_id
    clean, corrupt = torch.randint(3, D_VOCAB, (2, 4, 3), generator=torch.Generator().manual_seed(0))
    answers, foils = torch.arange(4, 8), torch.arange(9, 13)
    short = PromptPairs(clean, corrupt, answers, foils, roles=("a", "b", "c"))
    before, after = (2, 0) if side == "left" else (0, 2)
    clean, corrupt = (F.pad(tokens, (before, after), value=pad) for tokens in (short.clean, short.corrupt))
    padded = PromptPairs(clean, corrupt, answers, foils, roles=ROLES)
    assert predictions(bridge, padded.clean, -1).equal(predictions(bridge, short.clean, -1))
    names = dict(zip(("a", "b", "c"), ROLES[2:], strict=True))
    some = graph_of(bridge, short.roles, -1).edges[::9]
    expected = path_patch(bridge, short, edges=some, per_query=True)
    edges = [Edge(*(node._replace(role=names[node.role]) for node in edge)) for edge in some]
    for engine in ("fast", "hooks"):
        found = path_patch(bridge, padded, edges=edges, per_query=True, engine=engine)
        np.testing.assert_allclose(found.deltas, expected.deltas, atol=1e-4 * np.abs(expected.deltas).max())


@pytest.mark.parametrize("name", ["GPTNeoXForCausalLM", "OPTForCausalLM"])
def test_a_bridge_with_dropout_in_training_mode_is_measured_at_rest(name: str) -> None:
    dropout = {"GPTNeoXForCausalLM": {"hidden_dropout": 0.3}, "OPTForCausalLM": {"dropout": 0.3}}[name]
    bridge = bridge_of(name, torch.float32, **dropout)
    clean, corrupt = torch.randint(3, D_VOCAB, (2, 3, len(ROLES)), generator=torch.Generator().manual_seed(0))
    pairs = PromptPairs(clean, corrupt, torch.arange(4, 7), torch.arange(9, 12), roles=ROLES)
    edges = graph_of(bridge, ROLES, -1).edges[::29]
    expected = path_patch(bridge, pairs, edges=edges, per_query=True)
    bridge.train()
    found = path_patch(bridge, pairs, edges=edges, per_query=True)
    assert bridge.training and found.method == expected.method == "exact"
    assert np.array_equal(found.deltas, expected.deltas)
    assert graph_of(bridge, ROLES, -1) == expected.graph
    engine = engine_of(bridge, ROLES, -1)
    (base,), (again,) = engine.run(clean), engine.run(clean)
    assert all(torch.equal(each, base.logits) for _, logits in engine.edge_logits(base, again, edges) for each in logits)


def test_what_no_description_covers_is_read_and_patched_by_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in training mode, and where reading the model fails in any way."""
    bridge = bridge_of("GPT2LMHeadModel", torch.float32)
    tokens = torch.randint(3, D_VOCAB, (2, len(ROLES)), generator=torch.Generator().manual_seed(0))
    expected = residual_states(bridge, tokens, -1)

    def fails(*args: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(bridged, "attention_of", fails)
    (problem,) = model.problems_of(bridge, len(ROLES))
    assert "could not be described (RuntimeError: mat1 and mat2" in problem
    for each in (bridge, bridge.train()):
        assert engine_of(each, ROLES, -1).name == "hooks"
    found = residual_states(bridge, tokens, -1)
    assert list(found) == list(expected)
    for stage, state in expected.items():
        close(found[stage], state)


def test_what_joins_the_residual_stream_may_be_multiplied_for_hooks_too() -> None:
    bridge = bridge_of("GraniteForCausalLM", torch.float32)
    clean, corrupt = torch.randint(3, D_VOCAB, (2, 3, len(ROLES)), generator=torch.Generator().manual_seed(0))
    pairs = PromptPairs(clean, corrupt, torch.arange(4, 7), torch.arange(9, 12), roles=ROLES)
    edges = graph_of(bridge, ROLES, -1).edges[::17]
    expected, found = (
        path_patch(bridge, pairs, edges=edges, per_query=True, engine=name).deltas for name in ("fast", "hooks")
    )
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_a_bridge_without_numbers_is_refused() -> None:
    bridge = bridge_of("GPT2LMHeadModel").to("meta", print_details=False)
    for call in (graph_of, engine_of):
        with pytest.raises(ValueError, match=r"the model holds no numbers: .* on the meta device"):
            call(bridge, ROLES, -1)
