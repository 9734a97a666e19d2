"""What is given and cannot be used is named before any work; for settings see tests/test_settings.py."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import other_pairs, random_pairs, strong_model, wide_pairs
from handset import handset_model
from torch import nn

from grokscope import analyses
from grokscope.analyses.patching import discovery
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.circuits import Circuit
from grokscope.tasks import (
    PromptPairs,
    TwoHopTask,
    exact_match,
    is_right,
    make_pairs,
    predictions,
)
from grokscope.tasks.transformerlens import HookedTransformer

Call = Callable[[HookedTransformer, TwoHopTask, PromptPairs, Any], Any]
MEMORY: dict[str, Call] = {
    "back_patch": lambda m, t, p, b: analyses.back_patch(m, p.queries(), max_memory=b),
    "realign": lambda m, t, p, b: analyses.realign(m, t, p.queries(), max_memory=b),
    "bridge_geometry": lambda m, t, p, b: analyses.bridge_geometry(m, t, max_memory=b),
    "bridge_copies": lambda m, t, p, b: analyses.bridge_copies(m, t, p.queries(), places=[("r1",)], max_memory=b),
}


pytestmark = pytest.mark.usefixtures("as_users_call")


@pytest.fixture(scope="module")
def world(evidence_world: TwoHopTask) -> tuple[HookedTransformer, TwoHopTask, PromptPairs]:
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=8, seed=0)
    return handset_model(evidence_world.graph), evidence_world, pairs


@pytest.mark.parametrize("name", MEMORY)
def test_memory_in_which_not_one_question_fits_is_refused(name: str, world: tuple) -> None:
    with pytest.raises(MemoryError, match="are allowed here"):
        MEMORY[name](*world, 10)


NO_TASK: dict[str, Call] = {
    "interchange": lambda m, t, p, g: analyses.interchange(m, g, p.queries()),
    "ablate_bridge": lambda m, t, p, g: analyses.ablate_bridge(m, g, p.queries()),
    "steer_bridge": lambda m, t, p, g: analyses.steer_bridge(m, g, p.queries()),
    "realign": lambda m, t, p, g: analyses.realign(m, g, p.queries()),
    "probe_bridge": lambda m, t, p, g: analyses.probe_bridge(m, g),
    "bridge_evidence": lambda m, t, p, g: analyses.bridge_evidence(m, g, "test_inferred_iid"),
    "bridge_geometry": lambda m, t, p, g: analyses.bridge_geometry(m, g),
}


@pytest.mark.parametrize("name", NO_TASK)
def test_what_is_no_task_is_refused_by_name(name: str, world: tuple) -> None:
    for given, said in (("test_inferred_iid", "'test_inferred_iid'"), (3, "a int"), (TwoHopTask, "TwoHopTask itself")):
        with pytest.raises(TypeError, match=f"needed is a task.*got {said}"):
            NO_TASK[name](*world, given)


def test_questions_to_test_a_probe_on_are_questions(world: tuple) -> None:
    with pytest.raises(ValueError, match=r"transfer\[1\] is 'id_atomic', needed are Queries"):
        analyses.probe_bridge(world[0], world[1], transfer=[world[2].queries(), "id_atomic"])


@pytest.mark.parametrize("given", [-1, 1.5, "0", None, True])
def test_circuit_runs_take_a_seed(given: Any, world: tuple) -> None:
    with pytest.raises(ValueError, match="seed is"):
        CircuitRuns(*world[::2], seed=given)


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
        with pytest.raises(ValueError, match=r"loops (is|holds)"):
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
            with pytest.raises(TypeError, match=f"{kind}.*needed is a model of TransformerLens"):
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
    said = "of 12 pairs 12 share a prompt with the choosing pairs"
    result = analyses.faithfulness(model, circuit, swapped, n_random=2, allow_shared=True, progress=False)
    assert said in result.caption and said in result.finding
    assert (
        isinstance(circuit, Circuit)
        and "share a prompt" not in analyses.faithfulness(model, circuit, other_pairs(1), n_random=2, progress=False).caption
    )
