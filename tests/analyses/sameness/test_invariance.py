"""Every number on which a "same path" rests is one of the function that a model computes, and not of how it is written.

A model is rewritten exactly (`rewrites`) and compared with itself, with another model, and the other way round; what is
found must be what the given model gives. Circuits by node and edge are the counterexample, kept here so that nobody lets
them decide again: they describe how a model is written.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import pytest
import torch
from rewrites import REWRITES, dead_heads, each_block, halved_blocks, idle_blocks, split_head
from worlds import APPLICABLE, SPLIT, WORLDS, World, renamed, world

from grokscope import analyses
from grokscope.circuits import Circuit, compare
from grokscope.tasks.transformerlens import HookedTransformer

MOST = 1e-3
N_QUESTIONS = 64
FAST = {("residual rotated", number) for number in ("state profile", "evidence profile", "content")}
FAST |= {(rewrite, "state profile") for rewrite in ("a head in seven", "idle blocks", "all together")}
Numbers = Mapping[str, float]


def state_distance(model: HookedTransformer, other: HookedTransformer, given: World) -> Numbers:
    profiles = [state_profile(each, given) for each in (model, other)]
    return {"distance": analyses.profile_distance(*profiles).value}


def evidence_distance(model: HookedTransformer, other: HookedTransformer, given: World) -> Numbers:
    profiles = [analyses.evidence_profile(evidence(each, given), roles=roles(given)) for each in (model, other)]
    return {"distance": analyses.profile_distance(*profiles).value}


def direction_transfer(model: HookedTransformer, other: HookedTransformer, given: World) -> Numbers:
    found = transferred(model, other, given)
    values = dict(zip(found.table["measure"], found.table["value"], strict=True)) if len(found.table) else {}
    return {name: float(values.get(name, math.nan)) for name in ("own", "transferred")} | {"lost": found.lost}


def content_distance(model: HookedTransformer, other: HookedTransformer, given: World) -> Numbers:
    both = transferred(model, other, given), transferred(other, model, given)
    return {"distance": analyses.content_distance(*both)}


NUMBERS: Mapping[str, Callable[[HookedTransformer, HookedTransformer, World], Numbers]] = {
    "state profile": state_distance,
    "evidence profile": evidence_distance,
    "direction transfer": direction_transfer,
    "content": content_distance,
}
"""What a "same path" rests on, by name: numbers of two models, and of what both are asked."""


@cache
def state_profile(model: HookedTransformer, given: World) -> analyses.Profile:
    return analyses.state_profile(model, given.pairs, progress=False)


@cache
def evidence(model: HookedTransformer, given: World) -> analyses.EvidenceResult:
    return analyses.bridge_evidence(model, given.task, SPLIT, n=N_QUESTIONS, progress=False)


@cache
def transferred(model: HookedTransformer, donor: HookedTransformer, given: World) -> analyses.DirectionTransferResult:
    return analyses.direction_transfer(model, donor, given.task, SPLIT, n=N_QUESTIONS, progress=False)


def roles(given: World) -> tuple[str, ...]:
    return given.pairs.roles if given.model.cfg.attention_dir == "bidirectional" else ("r1",)


def measured(model: HookedTransformer, given: World, name: str, as_given: HookedTransformer) -> dict[str, float]:
    """One of the numbers of a model with itself as it was given, with the other model, and the other way round."""
    couples = {"itself": (model, as_given), "other": (model, given.other), "from other": (given.other, model)}
    found = {couple: NUMBERS[name](*models, given) for couple, models in couples.items()}
    return {f"{couple}: {number}": value for couple, each in found.items() for number, value in each.items()}


def moves(new: Mapping[str, float], old: Mapping[str, float]) -> dict[str, float]:
    """By how much each number moves: not at all if it is undecided before and after, without limit if only once."""
    assert new.keys() == old.keys()
    return {number: _apart(new[number], old[number]) for number in old}


def _apart(new: float, old: float) -> float:
    undecided = math.isnan(new) + math.isnan(old)
    return abs(new - old) if not undecided else math.inf if undecided == 1 else 0.0


def cases() -> list[object]:
    every = [(rewrite, name, number) for rewrite, name in APPLICABLE for number in NUMBERS]
    fast = {(rewrite, "tied", number) for rewrite, number in FAST}
    return [pytest.param(*case, marks=[] if case in fast else pytest.mark.slow, id=" · ".join(case)) for case in every]


@pytest.mark.parametrize(("rewrite", "name", "number"), cases())
def test_rewriting_a_model_moves_nothing(rewrite: str, name: str, number: str) -> None:
    given = world(name)
    new = rewritten(rewrite, name)
    found = moves(measured(new, given, number, given.model), measured(given.model, given, number, given.model))
    assert max(found.values()) < MOST, found


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in WORLDS])
def test_shuffling_the_vocabulary_moves_nothing(number: str, name: str) -> None:
    given, new = world(name), shuffled(name)
    found = moves(measured(new.model, new, number, new.model), measured(given.model, given, number, given.model))
    assert max(found.values()) < MOST, found


@pytest.mark.parametrize("number", ["state profile", "evidence profile"])
def test_another_model_is_told_apart(number: str) -> None:
    given = world("tied")
    assert NUMBERS[number](given.model, given.model, given)["distance"] == 0
    assert NUMBERS[number](given.model, given.other, given)["distance"] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_rewrite_that_is_not_exact_is_caught(number: str) -> None:
    given = world("tied")
    spoilt = each_block(given.model, lambda block: block | {"attn.W_O": 0.25 * block["attn.W_O"]})
    found = moves(measured(spoilt, given, number, given.model), measured(given.model, given, number, given.model))
    assert max(found.values()) > 0.05, found


def test_a_block_as_two_layers_moves_what_is_read_after_each_layer_and_not_where() -> None:
    """The exception that docs/explanation/sameness.md names: between attention and MLP no other model is asked."""
    given = world("tied")
    halved = halved_blocks(given.model, torch.Generator())
    tokens = given.pairs.clean[:16]
    torch.testing.assert_close(halved(tokens), given.model(tokens), atol=1e-9, rtol=0)
    assert NUMBERS["state profile"](given.model, halved, given)["distance"] < MOST
    assert NUMBERS["evidence profile"](given.model, halved, given)["distance"] > 0.1


@pytest.mark.slow
def test_circuits_do_move() -> None:
    """Registered verdicts called these different: circuits of one function, on one graph, after the best alignment."""
    given = world("tied")
    right = replace(given, pairs=given.pairs.keep_correct(given.model).take(torch.arange(16)))
    dead = dead_heads(given.model, torch.Generator().manual_seed(0), n=1)
    halves = split_head(given.model, torch.Generator().manual_seed(1), n_parts=2)  # of 58 and 70 dimensions
    first, last = (idle_blocks(given.model, torch.Generator(), places=(place,)) for place in (0, given.model.cfg.n_layers))
    circuits = {id(each): circuit(each, right) for each in (dead, halves, first, last)}

    def distance(a: HookedTransformer, b: HookedTransformer) -> float:
        table = compare({"a": circuits[id(a)], "b": circuits[id(b)]}, n_bootstrap=2, progress=False).table
        return float(table.set_index("measure").loc["aligned jensen_shannon", "value"])

    assert distance(halves, dead) > 0.1
    assert distance(first, last) > 0.1
    assert distance(dead, dead) == 0


@cache
def rewritten(rewrite: str, name: str) -> HookedTransformer:
    return REWRITES[rewrite](world(name).model, torch.Generator().manual_seed(0))


@cache
def shuffled(name: str) -> World:
    return renamed(world(name))


def circuit(model: HookedTransformer, given: World) -> Circuit:
    return analyses.discover(model, given.pairs, progress=False)
