"""State profiles against hooked runs, and on a model whose profile is known."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, pairs_of_five, random_model, random_settings, seeds, strong_model, wide_pairs
from explained import assert_explained
from handset import handset_model

from grokscope.analyses import Profile, exact_match, profile_distance, state_profile
from grokscope.analyses.forward.literal import logits_at
from grokscope.analyses.sameness import state_profile as module
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer


def put(position: int, state: torch.Tensor, activation: torch.Tensor, hook: object) -> torch.Tensor:
    activation = activation.clone()
    activation[:, position] = state[:, position]
    return activation


def difference(pairs: PromptPairs, logits: torch.Tensor) -> np.ndarray:
    rows = torch.arange(len(pairs))
    return (logits[rows, pairs.answers] - logits[rows, pairs.foils]).numpy()


def literal(model: HookedTransformer, pairs: PromptPairs) -> np.ndarray:
    """By cut and role, one hooked run for each."""
    run = partial(logits_at, model, answer_position=pairs.answer_position)
    clean, corrupt = (difference(pairs, run(tokens, hooks=[])) for tokens in (pairs.clean, pairs.corrupt))
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(model.cfg.n_layers))]
    states = model.run_with_cache(pairs.corrupt)[1]
    found = np.empty((len(names), len(pairs.roles)))
    for cut, position in np.ndindex(found.shape):
        hook = (names[cut], partial(put, position, states[names[cut]]))
        patched = difference(pairs, run(pairs.clean, hooks=[hook]))
        found[cut, position] = (patched - clean).sum() / (corrupt - clean).sum()
    return found


def with_gap(model: HookedTransformer, pairs: PromptPairs) -> PromptPairs:
    """The same prompts with the answers and foils that change most, as one unit, so that effects are defined."""
    with torch.no_grad():
        change = (model(pairs.clean) - model(pairs.corrupt))[:, pairs.answer_position]
    return replace(pairs, answers=change.argmax(-1), foils=change.argmin(-1), unit=torch.zeros(len(pairs), dtype=torch.long))


@pytest.mark.parametrize("seed", seeds(12, fast=3))
@torch.no_grad()
def test_values_equal_those_of_hooked_runs(seed: int) -> None:
    model = random_model(seed, **random_settings(seed))
    pairs = with_gap(model, pairs_of_five(seed, answer_position=3 + seed % 2))
    result = state_profile(model, pairs)
    assert result.matrix.shape == (model.cfg.n_layers + 1, 5) and result.reason == ""
    np.testing.assert_allclose(result.matrix, literal(model, pairs), rtol=1e-8, atol=1e-10)
    assert no_hooks_left(model)


def test_intervals_hold_the_values() -> None:
    table = state_profile(strong_model(0), wide_pairs(0)).table
    assert (table["low"] < table["high"]).any()
    assert ((table["low"] <= table["value"] + 1e-12) & (table["value"] <= table["high"] + 1e-12)).all()


def test_parts_and_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    whole = state_profile(model, pairs)
    sizes: list[int] = []
    noted = module.Ends.note
    monkeypatch.setattr(module.Ends, "note", lambda self, rows, *given: sizes.append(len(rows)) or noted(self, rows, *given))
    parts = state_profile(model, pairs, max_memory=400_000)
    assert len(sizes) > 2 and max(sizes) < len(pairs)
    np.testing.assert_allclose(parts.matrix, whole.matrix, atol=1e-12)
    with pytest.raises(MemoryError, match="one pair of prompts"):
        state_profile(model, pairs, max_memory=1000)


@pytest.fixture(scope="module")
def pairs(evidence_world: TwoHopTask) -> PromptPairs:
    return make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=40, seed=0)


def test_the_hand_set_model_carries_the_answer_from_h_and_r1_to_r1_to_r2(
    evidence_world: TwoHopTask, pairs: PromptPairs
) -> None:
    result = state_profile(handset_model(evidence_world.graph), pairs)
    assert result.coordinates == [("h", "state"), ("r1", "state"), ("r2", "state")] and result.layers == [-1, 0, 1]
    embedding, *later = result.matrix
    np.testing.assert_allclose(later, [[0, 1, 0], [0, 0, 1]], atol=1e-6)
    assert embedding[2] == pytest.approx(0.0, abs=1e-6) and min(embedding[:2]) > 0.2
    assert (result.model, result.split, result.unit) == (
        "hand-set",
        "test_inferred_iid",
        "share of the logit_difference gap",
    )
    assert result.caption == (
        f"hand-set · test_inferred_iid · share of the logit_difference gap · n = 40 over {pairs.n_units} units"
    )
    assert result.figure() and Profile.from_json(result.to_json()).table.equals(result.table)
    assert_explained(result)
    assert (
        f"largest value is {result.table['value'].max():.2f} (0 is nothing, 1 all of it): state at" in result.explain().means
    )


@pytest.mark.parametrize("layers", [(0, 1), (0, 2), (1, 2), (1, 3)], ids=str)
def test_idle_layers_anywhere_are_of_no_account(
    evidence_world: TwoHopTask, pairs: PromptPairs, layers: tuple[int, int]
) -> None:
    """Of the hand-set model the hops are done in two layers of four, the others do nothing."""
    plain = state_profile(handset_model(evidence_world.graph), pairs)
    spread = state_profile(handset_model(evidence_world.graph, layers=layers, n_layers=4), pairs)
    assert profile_distance(plain, spread).value < 1e-6
    changed = replace(spread, table=spread.table.assign(value=spread.table["value"].iloc[::-1].to_numpy()))
    assert profile_distance(plain, changed).value > 0.4


def test_without_a_gap_there_is_no_number_but_a_reason() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    same = state_profile(model, pairs, metric=lambda logits, answers, foils: 0 * logits[:, 0])
    assert np.isnan(same.matrix).all() and same.table[["low", "high"]].isna().all(axis=None) and "gap" in same.reason
    assert f"undefined: {same.reason}" in same.caption
    with pytest.raises(ValueError, match=r"9 of 9 values of .* are undefined"):
        profile_distance(same, state_profile(model, pairs))
    one = state_profile(model, pairs.take(torch.arange(1)))
    assert np.isfinite(one.matrix).all() and one.table["low"].isna().all() and one.reason == ""


def test_other_metrics_are_shares_of_their_gaps(evidence_world: TwoHopTask, pairs: PromptPairs) -> None:
    result = state_profile(handset_model(evidence_world.graph), pairs, metric=exact_match)
    assert result.unit == "share of the exact_match gap" and result.matrix[1].tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="units differ: share of the exact_match gap and share of the logit_difference gap"):
        profile_distance(result, state_profile(handset_model(evidence_world.graph), pairs))
