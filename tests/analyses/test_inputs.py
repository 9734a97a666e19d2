"""Each public function refuses, in words and before any work, what its model cannot be asked."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import random_model

from grokscope import analyses
from grokscope.analyses.training.exposure import accuracy_by_exposure
from grokscope.circuits import Circuit, ComputationGraph, compare, draw
from grokscope.tasks import PromptPairs, Queries, TwoHopTask, exact_match, make_pairs, perturb, shortcut_accuracy
from grokscope.tasks.transformerlens import HookedTransformer

D_VOCAB = 38  # of the task: 24 entities and 14 relations
PAIRS: dict[str, Callable[[HookedTransformer, PromptPairs, TwoHopTask], Any]] = {
    "path_patch": lambda m, p, t: analyses.path_patch(m, p),
    "activation_patch": lambda m, p, t: analyses.activation_patch(m, p),
    "eap": lambda m, p, t: analyses.edge_attribution(m, p),
    "discover": lambda m, p, t: analyses.discover(m, p),
    "discover, estimated": lambda m, p, t: analyses.discover(m, p, method="eap"),
    "discover, pruned": lambda m, p, t: analyses.discover(m, p, greedy=0.1),
    "run_with_edges": lambda m, p, t: analyses.run_with_edges(m, p, []),
    "run_with_edge_sets": lambda m, p, t: analyses.run_with_edge_sets(m, p, [[]]),
    "faithfulness": lambda m, p, t: analyses.faithfulness(m, a_circuit(), p),
    "transplant": lambda m, p, t: analyses.transplant(m, m, a_circuit(), p),
    "attribute_attention": lambda m, p, t: analyses.attribute_attention(m, p),
    "query_details": lambda m, p, t: analyses.query_details(m, p),
    "keep_correct": lambda m, p, t: p.keep_correct(m),
    "logit_lens": lambda m, p, t: analyses.logit_lens(m, p),
    "probe_bridge": lambda m, p, t: analyses.probe_bridge(m, p),
    "interchange": lambda m, p, t: analyses.interchange(m, p),
    "ablate_bridge": lambda m, p, t: analyses.ablate_bridge(m, p),
    "steer_bridge": lambda m, p, t: analyses.steer_bridge(m, p),
    "bridge_evidence": lambda m, p, t: analyses.bridge_evidence(m, p),
}
QUERIES: dict[str, Callable[[HookedTransformer, Queries, TwoHopTask], Any]] = {
    "logit_lens": lambda m, q, t: analyses.logit_lens(m, q),
    "probe_bridge": lambda m, q, t: analyses.probe_bridge(m, q),
    "interchange": lambda m, q, t: analyses.interchange(m, t, q),
    "ablate_bridge": lambda m, q, t: analyses.ablate_bridge(m, t, q),
    "steer_bridge": lambda m, q, t: analyses.steer_bridge(m, t, q),
    "causal_trace": lambda m, q, t: analyses.causal_trace(m, q, {"h": q.tokens}),
    "trace_inputs": lambda m, q, t: analyses.trace_inputs(m, q, {"h": q.tokens}),
    "back_patch": lambda m, q, t: analyses.back_patch(m, q),
    "realign": lambda m, q, t: analyses.realign(m, t, q),
    "compare_readings": lambda m, q, t: analyses.compare_readings(m, t, q),
    "cycle_distances": lambda m, q, t: analyses.cycle_distances(m, q),
    "bridge_copies": lambda m, q, t: analyses.bridge_copies(m, t, q),
    "accuracy_by_exposure": lambda m, q, t: accuracy_by_exposure(m, t, q),
    "exact_match": lambda m, q, t: exact_match(m, q),
}
MODELS = {
    "a token it does not read": ({"d_vocab": 30, "d_vocab_out": D_VOCAB}, "the model's tokens are 0 to 29"),
    "an answer it cannot give": ({"d_vocab": D_VOCAB, "d_vocab_out": 4}, "the model's tokens are 0 to 3"),
    "a prompt beyond its context": ({"d_vocab": D_VOCAB, "n_ctx": 2}, "3 positions and the model's context 2"),
}


def a_circuit() -> Circuit:
    """Of the graph of these models, with one edge."""
    import pandas as pd

    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=2, n_heads=2, n_blocks=2)
    edge = next(edge for edge in graph.edges if str(edge) == "embed@r2 -> logits@r2")
    row = {"sender": str(edge.sender), "receiver": str(edge.receiver), "effect": 1.0, "stderr": 0.0, "n": 9, "gap": 2.0}
    return Circuit(pd.DataFrame([row | {"kept": True}]), graph)


@pytest.fixture(scope="module")
def pairs(task: TwoHopTask) -> PromptPairs:
    return make_pairs(task, split="train_inferred", contrast="bridge", n=40, seed=0)


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model may run: what is refused is refused before any work."""

    def runs(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was run")

    monkeypatch.setattr(HookedTransformer, "forward", runs)
    yield


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("what", MODELS)
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_a_model_cannot_be_asked_are_refused(task: TwoHopTask, pairs: PromptPairs, name: str, what: str) -> None:
    settings, message = MODELS[what]
    with pytest.raises(ValueError, match=message):
        PAIRS[name](random_model(0, **settings), pairs, task)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("what", MODELS)
@pytest.mark.parametrize("name", QUERIES)
def test_questions_that_a_model_cannot_be_asked_are_refused(task: TwoHopTask, name: str, what: str) -> None:
    settings, message = MODELS[what]
    with pytest.raises(ValueError, match=message):
        QUERIES[name](random_model(0, **settings), task.split("test_inferred_iid"), task)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", PAIRS)
def test_no_pair_is_refused(task: TwoHopTask, pairs: PromptPairs, name: str) -> None:
    with pytest.raises(ValueError, match=r"no pair|holds no query|no question"):
        PAIRS[name](random_model(0, d_vocab=D_VOCAB), pairs.take(torch.zeros(40, dtype=torch.bool)), task)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", [name for name in QUERIES if name != "exact_match"])
def test_no_question_is_refused(task: TwoHopTask, name: str) -> None:
    nothing = task.split("test_inferred_iid").take(torch.arange(0))
    with pytest.raises(ValueError, match=r"no question|holds no query|holds 0"):
        QUERIES[name](random_model(0, d_vocab=D_VOCAB), nothing, task)


def test_all_problems_of_a_model_are_named_at_once(pairs: PromptPairs) -> None:
    model = random_model(0, d_vocab=30, d_vocab_out=4, n_ctx=2)
    with pytest.raises(ValueError) as caught:
        analyses.path_patch(model, pairs)
    for part in ("clean is", "corrupt is", "answers is", "foils is", "tokens are 0 to 29", "0 to 3", "context 2"):
        assert part in str(caught.value)


def test_more_answers_than_tokens_that_are_read_are_fine(task: TwoHopTask, pairs: PromptPairs) -> None:
    model = random_model(0, d_vocab=D_VOCAB, d_vocab_out=60)
    further = replace(pairs, answers=pairs.answers + 20, foils=pairs.foils + 20)
    assert analyses.path_patch(model, further, progress=False).n == 40


def test_choices_and_what_questions_need_are_named(task: TwoHopTask, pairs: PromptPairs) -> None:
    model, asked = random_model(0, d_vocab=D_VOCAB), task.split("test_inferred_iid")
    with pytest.raises(ValueError, match=r"no question is left for mean states: those of id_atomic ask about every unit"):
        analyses.ablate_bridge(model, task, task.split("id_atomic"))
    with pytest.raises(ValueError, match=r"second_hop must be one of 'ID', 'OOD', got 'id'; answered must be one of"):
        inspect.unwrap(analyses.interchange)(model, task, asked, second_hop="id", answered="maybe")  # as users call it
    with pytest.raises(ValueError, match=r"no intermediates bridge; there are carry; no roles r1; there are a, b, c"):
        analyses.realign(model, task, replace(asked, roles=("a", "b", "c"), intermediates={"carry": asked.bridges}))
    with pytest.raises(ValueError, match=r"scales are one or more finite numbers, got \(nan,\)"):
        analyses.steer_bridge(model, task, asked, scales=(float("nan"),))
    with pytest.raises(ValueError, match="no perturbed prompts"):
        analyses.causal_trace(model, asked, {})
    with pytest.raises(ValueError, match="perturbed h is 99 and the model's tokens are 0 to 37"):
        analyses.causal_trace(model, asked, {"h": torch.full_like(asked.tokens, 99)})
    with pytest.raises(ValueError, match=r"window is 1.5, needed is a whole number, 1 to 2"):
        inspect.unwrap(analyses.causal_trace)(model, asked, {"h": asked.tokens}, window=1.5)
    with pytest.raises(ValueError, match="n is -1, needed is a whole number, at least 0"):
        analyses.bridge_evidence(model, task, "test_inferred_iid", n=-1)
    atomic = task.split("id_atomic")
    with pytest.raises(
        ValueError, match="the questions for mean states have the roles h, r1, r2, the questions asked h, r1"
    ):
        analyses.ablate_bridge(model, task, atomic.take(torch.arange(5)))
    with pytest.raises(ValueError, match="the questions of id_atomic have the roles h, r1, the questions asked h, r1, r2"):
        analyses.probe_bridge(model, task, transfer=[atomic])


def test_one_pair_has_effects_and_no_interval(pairs: PromptPairs) -> None:
    """Of one query the ratio of sums is its own ratio; nothing is known of its error."""
    model, one = random_model(0, d_vocab=D_VOCAB), pairs.take(torch.tensor([3]))
    with torch.no_grad():
        logits = [model(tokens)[0, -1] for tokens in (one.clean, one.corrupt)]
    gap = float((logits[0] - logits[1])[one.answers[0]] - (logits[0] - logits[1])[one.foils[0]])
    for measure in (analyses.path_patch, analyses.activation_patch, analyses.edge_attribution):
        result = measure(model, one)
        assert result.gap == pytest.approx(gap) and result.table["stderr"].isna().all()
        assert all(bound != bound for bound in result.gap_interval) and "one pair: no interval" in result.caption
        assert result.table["effect"].notna().all() == (result.reason == "")
        result.figure()
    attention = analyses.attribute_attention(model, one, steps=2)
    assert attention.table["pattern_stderr"].isna().all() and attention.table["pattern"].notna().all()


def test_one_pair_has_no_interval_in_a_transplant_and_in_a_comparison(pairs: PromptPairs) -> None:
    model, other = (random_model(seed, d_vocab=D_VOCAB) for seed in (0, 1))
    certain = _certain(model, pairs)
    moved = analyses.transplant(model, other, a_circuit(), certain)
    assert "n = 1 pair: no interval" in moved.caption and not moved.reason and moved.table["own"].notna().all()
    assert moved.table[["own_low", "own_high", "other_low", "other_high"]].isna().all(axis=None)
    moved.figure()
    found = {name: analyses.discover(each, certain, top_k=20) for name, each in {"a": model, "b": model}.items()}
    comparison = compare(found)
    measures = comparison.table[comparison.table["measure"] == "weighted_overlap"]
    assert measures["value"].iloc[0] == pytest.approx(1.0) and measures[["low", "high", "ceiling"]].isna().all(axis=None)
    assert comparison.differences[["low", "high"]].isna().all(axis=None)
    draw(found)._repr_html_()
    comparison.figure()


def _certain(model: HookedTransformer, pairs: PromptPairs) -> PromptPairs:
    """One pair with a gap large enough to take shares of."""
    one = pairs.take(torch.tensor([0]))
    with torch.no_grad():
        change = (model(one.clean) - model(one.corrupt))[:, -1]
    return replace(one, answers=change.argmax(-1), foils=change.argmin(-1))


def test_edges_positions_and_columns_that_are_not_there_are_named(pairs: PromptPairs) -> None:
    model = random_model(0, d_vocab=D_VOCAB)
    with pytest.raises(ValueError, match="no edge to patch: edges is empty"):
        analyses.path_patch(model, pairs, edges=[])
    with pytest.raises(ValueError, match="no path to patch: edges is empty"):
        analyses.path_patch(model, pairs, edges=[], through=["L0H0@h"])
    for position in (3, -4):
        with pytest.raises(ValueError, match=rf"answer_position={position} is outside the 3 positions h, r1, r2"):
            analyses.graph_of(model, pairs.roles, position)
    found = analyses.attribute_attention(model, pairs, steps=2)
    with pytest.raises(KeyError, match="nothing to show is called 'nope'; there are layer, head, pattern, pattern_stderr"):
        found.figure("nope")


def test_what_is_no_two_hop_question_is_not_perturbed_and_has_no_shortcuts(task: TwoHopTask) -> None:
    asked = task.split("test_inferred_iid")
    with pytest.raises(ValueError, match=r"h is one of the tokens 0 to 23, got \d+; r2 is one of the tokens 24 to 37, got"):
        perturb(task, replace(asked, tokens=asked.tokens.flip(1)), "h", seed=0)
    with pytest.raises(ValueError, match="two-hop questions begin with the roles h, r1, r2, got h, r1"):
        perturb(task, task.split("id_atomic"), "h", seed=0)
    with pytest.raises(
        ValueError, match="the shortcuts of this task cannot be asked id_atomic: no roles r2; there are h, r1"
    ):
        shortcut_accuracy(task, task.split("id_atomic"))
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"no pair: asked for n = {n}"):
            make_pairs(task, split="train_inferred", contrast="bridge", n=n, seed=0)
