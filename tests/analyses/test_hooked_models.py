"""No analysis takes a model with hooks for the model: a table over all public functions that are given one."""

import inspect
from collections.abc import Callable

import pytest
import torch
from calls import CALLS
from conftest import no_hooks_left
from handset import handset_model

from grokscope import analyses
from grokscope.circuits import Circuit
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer

WITHOUT_RUNNING = {"graph_of", "composition_scores"}  # look at a model and run nothing


@pytest.fixture(scope="module")
def pairs(evidence_world: TwoHopTask) -> PromptPairs:
    return make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=8, seed=0)


@pytest.fixture(scope="module")
def circuit(evidence_world: TwoHopTask) -> Circuit:
    others = make_pairs(evidence_world, split="train_inferred", contrast="bridge", n=8, seed=0)
    return analyses.discover(handset_model(evidence_world.graph), others, progress=False)


HOOKS: dict[str, Callable[[HookedTransformer], object]] = {
    "blocks.0.hook_mlp_out": lambda model: model.add_hook("blocks.0.hook_mlp_out", lambda value, hook: value),
    "blocks.1.hook_resid_post": lambda model: model.add_hook(
        "blocks.1.hook_resid_post", lambda value, hook: 2 * value, is_permanent=True
    ),
    "blocks.1.mlp": lambda model: model.blocks[1].mlp.register_forward_hook(lambda module, given, value: 2 * value),
    "model": lambda model: model.register_forward_hook(lambda module, given, value: value + torch.arange(value.shape[-1])),
    "unembed": lambda model: model.unembed.register_forward_pre_hook(lambda module, given: (2 * given[0],)),
}


def test_the_table_holds_every_public_function_that_takes_a_model() -> None:
    def takes_a_model(value: object) -> bool:
        if not inspect.isfunction(value):
            return False
        first = next(iter(inspect.signature(value).parameters.values()), None)
        return first is not None and "transformerlens.Model" in str(first.annotation)

    found = {name for name in analyses.__all__ if takes_a_model(getattr(analyses, name))}
    assert found == set(CALLS) | WITHOUT_RUNNING


@pytest.mark.parametrize("name", CALLS)
def test_a_model_that_carries_hooks_is_refused(
    name: str, evidence_world: TwoHopTask, pairs: PromptPairs, circuit: Circuit
) -> None:
    places = HOOKS if name in ("logit_lens", "path_patch") else list(HOOKS)[:1]
    for place in places:
        model = handset_model(evidence_world.graph)
        HOOKS[place](model)
        with pytest.raises(ValueError, match=f"the model carries hooks at {place}, .*reset_hooks"):
            CALLS[name](model, evidence_world, pairs, circuit)


@pytest.mark.parametrize("name", ["logit_lens", "path_patch", "accuracy_by_exposure", "view_query"])
def test_without_them_it_is_not(name: str, evidence_world: TwoHopTask, pairs: PromptPairs, circuit: Circuit) -> None:
    model = handset_model(evidence_world.graph)
    HOOKS["blocks.1.hook_resid_post"](model)
    model.reset_hooks(including_permanent=True)
    CALLS[name](model, evidence_world, pairs, circuit)
    assert no_hooks_left(model)
