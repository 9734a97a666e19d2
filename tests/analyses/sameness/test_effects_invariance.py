"""Effects do not move in exact rewrites of a model; a rewrite that is not exact is noticed."""

import copy
import math
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import other_pairs, random_model, random_pairs, strong_model, wide_pairs
from explained import assert_explained
from planted import effects
from token_mixing import mixing_model, mixing_pairs

from grokscope import analyses
from grokscope.analyses.forward.model import graph_of
from grokscope.analyses.forward.rewritten import rewritten
from grokscope.analyses.sameness.invariance import InvarianceResult, invariance
from grokscope.circuits import Circuit, Result
from grokscope.circuits.units import shown
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer


def found(model: Any, pairs: PromptPairs, **options: Any) -> Circuit:
    return analyses.discover(model, pairs, top_k=12, progress=False, **options)


def measured(model: Any, pairs: PromptPairs, **options: Any) -> InvarianceResult:
    return invariance(model, found(model, pairs), pairs, progress=False, **options)


def planted(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], None]) -> None:
    """Rewrites that change what the model computes."""

    def wrong(model: Any, *, seed: int) -> Any:
        new = rewritten(model, seed=seed)
        with torch.no_grad():
            spoil(new)
        return new

    monkeypatch.setattr(sys.modules["grokscope.analyses.sameness.invariance"], "rewritten", wrong)


@pytest.mark.parametrize("engine", ["fast", "hooks"])
def test_effects_are_equal_to_rounding(engine: str) -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    before = {name: each.clone() for name, each in model.named_parameters()}
    result = measured(model, pairs, engine=engine, n_rewrites=3, seed=7)
    table = result.table
    assert table["seed"].tolist() == [7, 8, 9] and table["rewrite"].tolist() == [1, 2, 3]
    assert result.same_function and result.effect_change < 1e-9 and (table["effect_change"] > 0).all()
    assert (table["effect_size"] > 0.01).all() and (table["logit_change"] < 1e-9).all()
    assert table["correlation"].tolist() == pytest.approx([1.0] * 3, abs=1e-12)
    assert set(table["n"]) == {len(pairs)} and set(table["n_edges"]) == {len(found(model, pairs).kept_edges)}
    assert all(torch.equal(before[name], each) for name, each in model.named_parameters())


def test_looped_models_too() -> None:
    model, pairs = random_model(0, n_layers=4, n_blocks=2, n_heads=3), random_pairs(0, 12)
    with torch.no_grad():
        change = (model(pairs.clean) - model(pairs.corrupt))[:, -1]
    pairs = PromptPairs(pairs.clean, pairs.corrupt, change.argmax(-1), change.argmin(-1), roles=pairs.roles)
    result = measured(model, pairs)
    assert result.same_function and result.effect_change < 1e-9


def test_token_mixing_networks_too() -> None:
    result = measured(mixing_model("short"), mixing_pairs("short"))
    assert result.same_function and result.effect_change < 1e-9 < result.table["effect_size"].min()
    assert result.method == "exact, by replay"


def test_edges_at_all_positions_together_too() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    circuit = found(model, pairs, positions="together")
    result = invariance(model, circuit, pairs, n_rewrites=1, progress=False)
    assert result.same_function and result.effect_change < 1e-9
    assert result.table["effect_size"].tolist() == pytest.approx(
        [circuit.table.loc[circuit.table["kept"], "effect"].abs().max()]
    )


def test_a_rewrite_that_is_not_exact_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def louder(model: HookedTransformer) -> None:
        model.blocks[0].attn.W_O.mul_(1.1)

    planted(monkeypatch, louder)
    result = measured(strong_model(1), wide_pairs(1))
    assert not result.same_function and not result.table["same_function"].any()
    assert result.effect_change > 1e-3 and (result.table["logit_change"] > 1e-2).all()
    assert "2 rewrites compute something else, which says nothing of effects" in result.caption


def test_a_slight_change_is_noticed_too(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch, lambda model: model.core[0].mixer.W_out.mul_(1 + 1e-6))
    result = measured(mixing_model("short"), mixing_pairs("short"), n_rewrites=1)
    assert not result.same_function and 1e-9 < result.effect_change < 1e-3


def test_effects_that_depend_on_how_values_are_written_would_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared are effects and not logits alone: a measure of single dimensions of the values moves."""
    module = sys.modules["grokscope.analyses.sameness.invariance"]
    exact = module.path_patch

    def of_one_dimension(model: HookedTransformer, pairs: PromptPairs, **options: Any) -> Any:
        cut = copy.deepcopy(model)
        with torch.no_grad():
            cut.blocks[0].attn.W_O[:, 0] = 0.0
        return exact(cut, pairs, **options)

    monkeypatch.setattr(module, "path_patch", of_one_dimension)
    result = measured(strong_model(1), wide_pairs(1))
    assert result.same_function and result.effect_change > 1e-3


def test_single_precision_is_taken_as_such() -> None:
    model = strong_model(1).float()
    model.cfg.dtype = torch.float32
    result = measured(model, wide_pairs(1))
    assert result.same_function and 1e-9 < result.effect_change < 1e-3


def test_a_result_reads_back_equal_and_says_what_moved() -> None:
    result = measured(strong_model(1), wide_pairs(1))
    assert Result.from_json(result.to_json()) == result
    assert "2 rewrites" in result.caption and "something else" not in result.caption
    assert_explained(result)
    assert f"change of an effect is {shown(result.effect_change)} of the gap" in result.explain().means


def test_one_edge_has_no_correlation_and_no_gap_no_effect() -> None:
    model, pairs = strong_model(1), wide_pairs(1)
    graph = graph_of(model, pairs.roles, 2)
    one = Circuit.from_effects(effects({"embed@r2 -> logits@r2": 1.0}, graph=graph), threshold=0.5)
    result = invariance(model, one, pairs, n_rewrites=1, progress=False)
    assert math.isnan(result.table["correlation"][0]) and result.effect_change < 1e-9
    silent = invariance(model, one, pairs, n_rewrites=1, metric=lambda logits, *_: 0.0 * logits[:, 0], progress=False)
    assert math.isnan(silent.effect_change) and silent.reason and silent.reason in silent.caption
    assert silent.explain().means == f"Nothing of effects: {silent.reason}."


def test_what_is_wrong_is_said_at_once(as_users_call: None) -> None:
    model, pairs = strong_model(1), other_pairs(1)
    nothing = Circuit.from_effects(effects({}, graph=graph_of(model, pairs.roles, 2)), threshold=0.5)
    with pytest.raises(ValueError, match=r"n_rewrites is 0.*engine must be.*seed is -1.*the circuit has no edge"):
        invariance(model, nothing, pairs, n_rewrites=0, engine="slow", seed=-1)
    with pytest.raises(ValueError, match="circuit is a dict, needed is a Circuit"):
        invariance(model, {}, pairs)
    with pytest.raises(TypeError, match=r"a model must be a .*, got a .*Linear"):
        invariance(torch.nn.Linear(2, 2), nothing, pairs)
    upper = {"embed@r2 -> L1H0.v@r2": 1.0, "L1H0@r2 -> logits@r2": 1.0}
    circuit = Circuit.from_effects(effects(upper, graph=graph_of(model, pairs.roles, 2)), threshold=0.5)
    with pytest.raises(KeyError, match="2 edges are not in the graph of 1 layers"):
        invariance(random_model(0, n_layers=1), circuit, pairs)
