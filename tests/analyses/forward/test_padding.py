"""Padded prompts: the model's own answers, the literal interventions, and the same prompts without their pads."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model
from padded import PAD, PADDED_ROLES, PADS, SETTINGS, own_logits, padded_pairs, padding_model, without_pads

from grokscope.analyses import (
    activation_patch,
    attribute_attention,
    edge_attribution,
    graph_of,
    logit_difference,
    logit_lens,
    path_patch,
    run_with_edges,
)
from grokscope.analyses.forward import literal
from grokscope.analyses.forward.cached import run_and_cache
from grokscope.analyses.forward.engine import FastEngine
from grokscope.analyses.forward.hook_points import points_of
from grokscope.analyses.forward.hooks_engine import HooksEngine
from grokscope.analyses.forward.model import Stage, residual_states
from grokscope.analyses.forward.places import Logits, open_edges_of
from grokscope.circuits import Edge, Node
from grokscope.tasks import PromptPairs, Queries, exact_match, predictions

CASES = [(side, pads, kind) for side in ("left", "right") for pads in PADS for kind in SETTINGS]
CASES = [case for case in CASES if case[0] == "left" or case[2] != "bidirectional" or case[1] == "none"]
CASES = [case if case[1] == "different" else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]


def found(logits: Logits, n: int) -> torch.Tensor:
    rows = {place: values for places, group in logits for place, values in zip(places, group, strict=True)}
    return torch.stack([rows[place] for place in range(n)])


@pytest.mark.parametrize(("side", "pads", "kind"), CASES)
def test_fast_equals_literal_and_both_start_from_the_models_own_logits(side: str, pads: str, kind: str) -> None:
    model = padding_model(1, side, strength=1.0, **SETTINGS[kind])
    pairs, graph = padded_pairs(model, side, pads), graph_of(model, PADDED_ROLES, -1)
    fast, slow = FastEngine(model, graph, 2**30), HooksEngine(model, points_of(model), graph, 2**30)
    runs, literals = fast.run(pairs.clean, pairs.corrupt), slow.run(pairs.clean, pairs.corrupt)
    for run, other, tokens in zip(runs, literals, (pairs.clean, pairs.corrupt), strict=True):
        torch.testing.assert_close(run.logits, own_logits(model, tokens, PAD))
        torch.testing.assert_close(other.logits, run.logits)
    edges, nodes = list(graph.edges[::47]), list(graph.senders[::5])
    together = [Edge(Node("head", "", 0, 1), Node("mlp", "", 1))] if graph.has_mlp else []
    ends, through = [Edge.parse("embed@h -> L1H1.q@r2")], [Node.parse("L0H0@r1"), Node.parse("L0H1@r2")]
    open_edges = open_edges_of(graph, [set(graph.edges[::2])])
    for base, donor in ((0, 1), (1, 0)):
        fast_ends, slow_ends = (runs[base], runs[donor]), (literals[base], literals[donor])
        for name, targets in (("edge_logits", edges + together), ("node_logits", nodes)):
            values = [
                found(getattr(engine, name)(*each, targets), len(targets))
                for engine, each in ((fast, fast_ends), (slow, slow_ends))
            ]
            torch.testing.assert_close(*values, rtol=1e-9, atol=1e-9, msg=name)
        values = [
            found(engine.path_logits(*each, ends, through), 1) for engine, each in ((fast, fast_ends), (slow, slow_ends))
        ]
        torch.testing.assert_close(*values, rtol=1e-9, atol=1e-9)
        for background in (lambda engine, run: run, lambda engine, run: engine.averaged([run], len(run.logits))):
            values = [
                found(engine.logits_with_edges(background(engine, each[1]), each[0], open_edges), 1)
                for engine, each in ((fast, fast_ends), (slow, slow_ends))
            ]
            torch.testing.assert_close(*values, rtol=1e-9, atol=1e-9)
    assert no_hooks_left(model)


@pytest.mark.parametrize(("side", "pads", "kind"), CASES)
def test_gradients_equal_the_literal_ones(side: str, pads: str, kind: str) -> None:
    model = padding_model(2, side, strength=1.0, **SETTINGS[kind])
    pairs, graph = padded_pairs(model, side, pads), graph_of(model, PADDED_ROLES, -1)
    answers, foils = pairs.answers, pairs.foils
    gradients = []
    for engine in (FastEngine(model, graph, 2**30), HooksEngine(model, points_of(model), graph, 2**30)):
        base, donor = engine.run(pairs.clean, pairs.corrupt)
        change = engine.differences(base, donor)[Node("mlp", "", 0) if graph.has_mlp else Node("embed", "")]
        added = {("mlp", 0) if graph.has_mlp else ("embed", -1): change / 2}
        gradients.append(engine.input_gradients(base, lambda logits: logit_difference(logits, answers, foils), added))
    fast, slow = gradients
    stop = len(PADDED_ROLES)
    for sublayer, values in slow.items():
        torch.testing.assert_close(fast[sublayer][:, :stop], values, rtol=1e-9, atol=1e-9, msg=str(sublayer))


ONE_PART = {"steps": 2, "tolerance": math.inf}
LATER = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("no norm", "attention only")]


@pytest.mark.parametrize("kind", ["rotary", pytest.param("standard", marks=pytest.mark.slow), *LATER])
@pytest.mark.parametrize("side", ["left", pytest.param("right", marks=pytest.mark.slow)])
def test_a_padded_prompt_is_the_prompt_without_pads(side: str, kind: str) -> None:
    """Roles are counted from the answer; what stands at a pad has no effect at all."""
    model = padding_model(3, side, **SETTINGS[kind])
    pairs = padded_pairs(model, side, "both", n=12)
    measures = {
        "edges": lambda pairs: path_patch(model, pairs, per_query=True, progress=False),
        "nodes": lambda pairs: activation_patch(model, pairs, per_query=True, progress=False),
        "eap": lambda pairs: edge_attribution(model, pairs, per_query=True),
        "ig": lambda pairs: edge_attribution(model, pairs, method="eap_ig_activations", **ONE_PART, per_query=True),
    }
    for name, measure in measures.items():
        whole = measure(pairs)
        columns = [column for column in ("sender", "receiver", "node") if column in whole.table]
        keys = list(whole.table[columns].itertuples(index=False, name=None))
        for n_pads in (0, 1, 2):
            rows = [row for row in range(12) if PADS["both"][0][row % 4] == n_pads]
            alone = measure(without_pads(pairs, rows, n_pads))
            keys_alone = list(alone.table[columns].itertuples(index=False, name=None))
            expected = dict(zip(keys_alone, alone.deltas, strict=True))
            assert set(expected) <= set(keys)
            for key, deltas in zip(keys, whole.deltas[:, rows], strict=True):
                zero = np.zeros(len(rows))
                np.testing.assert_allclose(deltas, expected.get(key, zero), rtol=1e-8, atol=1e-8, err_msg=f"{name} {key}")


@pytest.mark.parametrize("side", ["left", "right"])
def test_attention_of_padded_prompts_is_that_without_pads(side: str) -> None:
    model = padding_model(4, side)
    pairs = padded_pairs(model, side, "both", n=8)
    patterns = torch.from_numpy(attribute_attention(model, pairs).patterns)
    for n_pads in (0, 1, 2):
        rows = [row for row in range(8) if PADS["both"][0][row % 4] == n_pads]
        alone = attribute_attention(model, without_pads(pairs, rows, n_pads))
        expected = torch.zeros_like(patterns[:, rows])
        expected[..., n_pads:, n_pads:] = torch.from_numpy(alone.patterns)
        torch.testing.assert_close(patterns[:, rows], expected, rtol=1e-9, atol=1e-9)
    some = pairs.take(torch.tensor([1, 5]))
    padded, alone = (
        attribute_attention(model, each).table.set_index(["layer", "head", "query", "key"])
        for each in (some, without_pads(some, [0, 1], 2))
    )
    for reading in ("pattern", "integrated", "direct", "knockout"):
        np.testing.assert_allclose(padded[reading][alone.index], alone[reading], rtol=1e-7, atol=1e-8, err_msg=reading)
        elsewhere = padded[reading].drop(alone.index)
        assert len(elsewhere) and (elsewhere.abs() < 1e-9).all(), reading


@pytest.mark.parametrize("side", ["left", "right"])
def test_every_reading_of_the_answer_is_at_the_same_token(side: str) -> None:
    model = padding_model(5, side)
    pairs = padded_pairs(model, side, "different", n=12)
    tokens = pairs.clean
    said = own_logits(model, tokens, PAD).argmax(-1)
    assert torch.equal(predictions(model, tokens, -1), said)
    queries = Queries(tokens, said, roles=PADDED_ROLES, intermediates={"middle": pairs.foils})
    assert exact_match(model, queries).all()
    assert logit_lens(model, queries).queries["correct"].all()
    states = residual_states(model, tokens, -1)
    run = run_and_cache(model, graph_of(model, PADDED_ROLES, -1), tokens)
    for layer in range(2):
        torch.testing.assert_close(states[Stage(layer, "layer")], run.state(layer))
    other = own_logits(model, pairs.corrupt, PAD).argmax(-1)
    rows = said != other
    right = PromptPairs(tokens[rows], pairs.corrupt[rows], said[rows], other[rows], roles=PADDED_ROLES)
    assert len(right) > 2 and len(right.keep_correct(model)) == len(right)


@pytest.mark.parametrize("answer_position", [1, 2])
@pytest.mark.parametrize("kind", ["standard", "rotary", "bidirectional"])
def test_pads_after_the_answer_change_nothing(answer_position: int, kind: str) -> None:
    """TransformerLens derives no mask for pads at the right: a bidirectional model sees them, and so do we."""
    model = padding_model(6, "right", **SETTINGS[kind])
    pairs = padded_pairs(model, "right", "both", answer_position=answer_position)
    padded = path_patch(model, pairs, per_query=True, progress=False)
    model.tokenizer = None
    np.testing.assert_allclose(path_patch(model, pairs, per_query=True, progress=False).deltas, padded.deltas, atol=1e-12)


def test_pads_that_are_also_the_first_token() -> None:
    """With pad = bos and a prepended bos the last leading one is the bos, which the model sees; pads inside are tokens."""
    model = padding_model(7, "left", pad=8, bos=8)
    assert model.cfg.default_prepend_bos
    pairs = padded_pairs(model, "left", "different", pad=8)
    inside = pairs.clean.clone()
    inside[:, 3] = 8
    graph = graph_of(model, PADDED_ROLES, -1)
    for tokens in (pairs.clean, pairs.corrupt, inside):
        run = run_and_cache(model, graph, tokens)
        torch.testing.assert_close(run.logits, model(tokens)[:, -1])
        assert run.mask is None or run.mask[:, 3:].all()
    edges, outputs = graph.edges[::9], literal.sender_outputs(model, graph, pairs.corrupt)[0]
    expected = literal.run_with_edges(model, graph, pairs.clean, edges, outputs)
    torch.testing.assert_close(run_with_edges(model, pairs, edges), expected, rtol=1e-9, atol=1e-9)


def test_a_right_padding_tokenizer_whose_pad_ends_the_prompts() -> None:
    model = padding_model(8, "right", pad=9)
    pairs = padded_pairs(model, "right", "both", pad=9)
    run = run_and_cache(model, graph_of(model, PADDED_ROLES, -1), pairs.clean)
    torch.testing.assert_close(run.logits, own_logits(model, pairs.clean, 9))


@pytest.mark.parametrize("tokenizer", [None, SimpleNamespace(padding_side="right", pad_token_id=None)])
def test_without_a_pad_token_nothing_is_a_pad(tokenizer: object) -> None:
    model = padding_model(9, "right")
    pairs = padded_pairs(model, "right", "both")
    model.tokenizer = tokenizer
    run = run_and_cache(model, graph_of(model, PADDED_ROLES, -1), pairs.clean)
    torch.testing.assert_close(run.logits, model(pairs.clean)[:, -1])


def test_what_cannot_be_read_is_refused_by_name() -> None:
    left, right = padding_model(0, "left"), padding_model(0, "right", attention_dir="bidirectional")
    tokens = torch.tensor([[1, 2, 3, 4, 5], [PAD, PAD, PAD, 4, 5], [1, 2, 3, PAD, PAD], [PAD] * 5])
    cases = [
        (left, tokens[:2], 2, r"1 of 2 prompts \(the first is number 1, tokens \[10, 10, 10, 4, 5\]\).*at position 2"),
        (left, tokens[:3], 4, r"1 of 3 prompts \(the first is number 2, .*padding_side"),
        (left, tokens, 3, "2 of 4 prompts"),
        (padding_model(0, "right"), tokens, 4, "1 of 4 prompts .the first is number 3.*pad of the tokenizer"),
        (right, tokens[:3], 4, "1 of 3 prompts .*bidirectional model attends to pads"),
    ]
    for model, prompts, position, message in cases:
        graph = graph_of(model, PADDED_ROLES, position)
        with pytest.raises(ValueError, match=message):
            run_and_cache(model, graph, prompts)
        with pytest.raises(ValueError, match=message):
            predictions(model, prompts, position)
        with pytest.raises(ValueError, match=message):
            residual_states(model, prompts, position)


def test_each_prompt_is_compared_with_the_model() -> None:
    """What the model does to one prompt only, to donors, to a batch, or at random is refused, with the prompt's tokens."""
    model, pairs = random_model(0, n_ctx=5, d_head=4), padded_pairs(padding_model(0, "left"), "left", "none")
    plain, odd = model.forward, pairs.corrupt[6]
    graph = graph_of(model, PADDED_ROLES, -1)

    def faulty(change: object) -> object:
        def forward(tokens: torch.Tensor, **options: object) -> torch.Tensor:
            return change(tokens, plain(tokens, **options))

        return forward

    def one(tokens: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return logits * torch.where((tokens == odd).all(1), 1.0001, 1.0)[:, None, None]

    cases = {
        "one donor": (one, f"on 1 of 18 prompts, the first is 15 with the tokens {odd.tolist()}"),
        "the batch": (lambda tokens, logits: logits - logits.mean(0), "on 18 of 18 prompts"),
        "dropout": (lambda tokens, logits: torch.nn.functional.dropout(logits, 0.5), "change from one pass to the next"),
    }
    for change, message in cases.values():
        model.forward = faulty(change)
        with pytest.raises(ValueError, match=re.escape(message)):
            FastEngine(model, graph, 2**30).run(pairs.clean, pairs.corrupt)
        with pytest.raises(ValueError, match=r"differ from|change from"):
            path_patch(model, pairs, progress=False)
