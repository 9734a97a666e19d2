"""Arguments of a wrong kind are named before any work: tables over public functions."""

import math
from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import torch
from conftest import random_pairs, strong_model, wide_pairs
from handset import handset_model
from torch import nn
from transformer_lens import HookedTransformer

from grokscope import analyses
from grokscope.analyses.patching import discovery
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.circuits import Circuit
from grokscope.tasks import (
    KnowledgeGraph,
    PromptPairs,
    TrainConfig,
    TwoHopTask,
    exact_match,
    is_right,
    make_pairs,
    predictions,
)

Call = Callable[[HookedTransformer, TwoHopTask, PromptPairs, Any], Any]
SEEDS: dict[str, Call] = {
    "path_patch": lambda m, t, p, s: analyses.path_patch(m, p, seed=s),
    "activation_patch": lambda m, t, p, s: analyses.activation_patch(m, p, seed=s),
    "edge_attribution": lambda m, t, p, s: analyses.edge_attribution(m, p, seed=s),
    "discover": lambda m, t, p, s: analyses.discover(m, p, seed=s),
    "CircuitRuns": lambda m, t, p, s: CircuitRuns(m, p, seed=s),
    "faithfulness": lambda m, t, p, s: analyses.faithfulness(m, analyses.discover(m, p), p, seed=s),
    "transplant": lambda m, t, p, s: analyses.transplant(m, m, analyses.discover(m, p), p, seed=s),
    "logit_lens": lambda m, t, p, s: analyses.logit_lens(m, p, seed=s),
    "probe_bridge": lambda m, t, p, s: analyses.probe_bridge(m, t, seed=s),
    "interchange": lambda m, t, p, s: analyses.interchange(m, p, seed=s),
    "ablate_bridge": lambda m, t, p, s: analyses.ablate_bridge(m, p, seed=s),
    "steer_bridge": lambda m, t, p, s: analyses.steer_bridge(m, p, seed=s),
    "bridge_evidence": lambda m, t, p, s: analyses.bridge_evidence(m, p, seed=s),
    "back_patch": lambda m, t, p, s: analyses.back_patch(m, p.queries(), seed=s),
    "realign": lambda m, t, p, s: analyses.realign(m, t, p.queries(), seed=s),
    "bridge_geometry": lambda m, t, p, s: analyses.bridge_geometry(m, t, seed=s),
    "bridge_copies": lambda m, t, p, s: analyses.bridge_copies(m, t, p.queries(), seed=s),
    "make_pairs": lambda m, t, p, s: make_pairs(t, split="test_inferred_iid", contrast="bridge", n=1, seed=s),
    "KnowledgeGraph": lambda m, t, p, s: KnowledgeGraph.random(n_entities=4, n_relations=3, out_degree=2, seed=s),
    "TrainConfig": lambda m, t, p, s: TrainConfig.tiny(seed=s),
}
MEMORY: dict[str, Call] = {
    "path_patch": lambda m, t, p, b: analyses.path_patch(m, p, max_memory=b),
    "faithfulness": lambda m, t, p, b: CircuitRuns(m, p, max_memory=b),
    "back_patch": lambda m, t, p, b: analyses.back_patch(m, p.queries(), max_memory=b),
    "realign": lambda m, t, p, b: analyses.realign(m, t, p.queries(), max_memory=b),
    "bridge_geometry": lambda m, t, p, b: analyses.bridge_geometry(m, t, max_memory=b),
    "bridge_copies": lambda m, t, p, b: analyses.bridge_copies(m, t, p.queries(), places=[("r1",)], max_memory=b),
}
WRONG: dict[str, tuple[Call, tuple[Any, ...], str]] = {
    "greedy": (
        lambda m, t, p, x: analyses.discover(m, p, greedy=x),
        (math.nan, -0.1, 0, math.inf, "0.1", True),
        "greedy is",
    ),
    "threshold": (lambda m, t, p, x: analyses.discover(m, p, threshold=x), (math.nan, -1, "0.1", True), "threshold is"),
    "top_k": (lambda m, t, p, x: analyses.discover(m, p, top_k=x), (-1, 1.5, "3", True), "top_k is"),
    "n_random": (
        lambda m, t, p, x: analyses.faithfulness(m, analyses.discover(m, p), p, n_random=x),
        (1.5, -1, None, True),
        "n_random is",
    ),
    "n_compared": (lambda m, t, p, x: analyses.edge_attribution(m, p, n_compared=x), (0, -1, 1.5, True), "n_compared is"),
    "window": (
        lambda m, t, p, x: analyses.causal_trace(m, p.queries(), {"h": p.corrupt}, window=x),
        (True, 0, 1.5, "1"),
        "window is",
    ),
    "number": (lambda m, t, p, x: analyses.view_query(m, t, p, x), ("0", 1.5, True, None), "number is"),
    "position": (lambda m, t, p, x: analyses.graph_of(m, p.roles, x), (1.5, None, True, 3, -4), "answer_position="),
    "batch_size": (lambda m, t, p, x: predictions(m, p.clean, 2, batch_size=x), (0, -1, 1.5, True, None), "batch_size is"),
    "n": (
        lambda m, t, p, x: make_pairs(t, split="test_inferred_iid", contrast="bridge", n=x, seed=0),
        (1.5, "1", True),
        "n is",
    ),
}


@pytest.fixture(autouse=True)
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user calls them: tests otherwise check types at every call, and would refuse first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="module")
def world(evidence_world: TwoHopTask) -> tuple[HookedTransformer, TwoHopTask, PromptPairs]:
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=8, seed=0)
    return handset_model(evidence_world.graph), evidence_world, pairs


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed_is_a_whole_number_from_0_on(name: str, world: tuple) -> None:
    for seed in (-1, 1.5, "0", None, True):
        with pytest.raises(ValueError, match="seed is"):
            SEEDS[name](*world, seed)


@pytest.mark.parametrize("name", MEMORY)
def test_memory_is_a_number_of_bytes(name: str, world: tuple) -> None:
    for given in ("1G", math.nan, True, 0, -5, math.inf):
        with pytest.raises(ValueError, match="max_memory is a number of bytes"):
            MEMORY[name](*world, given)
    if name not in ("path_patch", "faithfulness"):
        with pytest.raises(MemoryError, match="are allowed here"):
            MEMORY[name](*world, 10)


@pytest.mark.parametrize("name", WRONG)
def test_numbers_of_a_wrong_kind_are_named(name: str, world: tuple) -> None:
    call, wrong, message = WRONG[name]
    for given in wrong:
        with pytest.raises(ValueError, match=message):
            call(*world, given)


def test_memory_changes_no_number_of_what_reads_and_changes_states(world: tuple) -> None:
    model, task, pairs = world
    whole = analyses.bridge_geometry(model, task)
    assert whole.table.equals(analyses.bridge_geometry(model, task, max_memory=2**24).table)
    realigned = analyses.realign(model, task, pairs.queries())
    assert realigned.table.equals(analyses.realign(model, task, pairs.queries(), max_memory=2**24).table)


def test_rules_are_checked_before_anything_is_patched(world: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, pairs = world
    monkeypatch.setattr(discovery, "path_patch", lambda *_, **__: pytest.fail("patched"))
    few = {1: "1 pair is too few", 7: "7 pairs are too few"}
    for n, message in few.items():
        with pytest.raises(ValueError, match=message):
            analyses.discover(model, pairs.take(torch.arange(n)), greedy=0.1)
    with pytest.raises(ValueError, match=r"no method 'x'.*; give one of top_k, threshold and greedy; top_k is"):
        analyses.discover(model, pairs, greedy=0.1, top_k=-1, method="x")


def test_one_number_of_loops_is_no_list_of_them() -> None:
    for loops in ((1.5,), (0,), (True,), 3, "12"):
        with pytest.raises(ValueError, match=r"the blocks can be applied once or more|loops is"):
            analyses.accuracy_by_loops(None, loops)


def test_no_pair_is_said_by_the_view_of_a_question(world: tuple) -> None:
    model, task, pairs = world
    with pytest.raises(ValueError, match="no pair: bridge holds none"):
        analyses.view_query(model, task, pairs.take([]), 0)


@pytest.mark.parametrize("function", [analyses.bridge_geometry, analyses.realign, analyses.bridge_copies])
def test_what_is_no_task_is_named(function: Callable[..., Any], world: tuple) -> None:
    model, _, pairs = world
    asked = [pairs.queries()][: function is not analyses.bridge_geometry]
    for task in (pairs.queries(), None, TwoHopTask):
        with pytest.raises(TypeError, match=r"Queries|NoneType|TwoHopTask"):
            function(model, task, *asked)


def test_what_cannot_be_asked_is_named(world: tuple) -> None:
    _, _, pairs = world
    for model, kind in (
        (None, "NoneType"),
        ("gpt2", "str"),
        (nn.Linear(3, 3), "Linear"),
        (HookedTransformer, "HookedTransformer"),
    ):
        for ask in (
            lambda m: predictions(m, pairs.clean, 2),
            lambda m: is_right(m, pairs.clean, pairs.answers, 2),
            lambda m: exact_match(m, pairs.queries()),
            lambda m: pairs.keep_correct(m),
        ):
            with pytest.raises(TypeError, match=f"{kind}.*needed is a transformer_lens.HookedTransformer"):
                ask(model)


def test_answers_are_tokens_that_the_model_can_give(world: tuple) -> None:
    model, _, pairs = world
    n = model.cfg.d_vocab_out
    for ask in (model, lambda tokens: model(tokens)):
        for wrong, message in (
            (-100, "losses ignore"),
            (-1, "numbers from 0 on"),
            (n, f"the model's tokens are 0 to {n - 1}"),
        ):
            with pytest.raises(ValueError, match=message):
                is_right(ask, pairs.clean, torch.full((len(pairs),), wrong), 2)


def test_pairs_are_not_kept_for_a_model_with_hooks(world: tuple) -> None:
    model, _, pairs = world
    with model.hooks(fwd_hooks=[("blocks.0.hook_mlp_out", lambda value, hook: 0 * value)]):
        with pytest.raises(ValueError, match=r"carries hooks at blocks.0.hook_mlp_out, and pairs are kept"):
            pairs.keep_correct(model)
        assert len(exact_match(model, pairs.queries())) == len(pairs)  # asked as it is


def test_roles_that_do_not_show_are_refused() -> None:
    pairs = random_pairs(0, n=2)
    for role in ("\u200b", "\x00", "a\u202eb"):
        with pytest.raises(ValueError, match="signs that do not show"):
            PromptPairs(pairs.clean, pairs.corrupt, pairs.answers, pairs.foils, roles=(role, *pairs.roles[1:]))


def test_prompts_shared_with_the_choosing_pairs_are_said() -> None:
    model, pairs = strong_model(1), wide_pairs(1, n=12)
    circuit = analyses.discover(model, pairs, top_k=30, progress=False)
    swapped = PromptPairs(pairs.corrupt, pairs.clean, pairs.foils, pairs.answers, roles=pairs.roles)
    said = "12 of 12 pairs share a prompt with the choosing pairs"
    result = analyses.faithfulness(model, circuit, swapped, n_random=2, progress=False)
    assert said in result.caption and said in result.finding
    assert (
        isinstance(circuit, Circuit)
        and "share a prompt"
        not in analyses.faithfulness(model, circuit, wide_pairs(5, n=12), n_random=2, progress=False).caption
    )
