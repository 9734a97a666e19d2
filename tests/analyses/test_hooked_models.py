"""No analysis takes a model with hooks for the model: a table over all public functions that are given one."""

import inspect
from collections.abc import Callable

import pytest
import torch
from conftest import no_hooks_left
from handset import handset_model
from transformer_lens import HookedTransformer

from grokscope import analyses
from grokscope.circuits import Circuit
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs

Call = Callable[[HookedTransformer, TwoHopTask, PromptPairs, Circuit], object]
SPLIT, ASKED = "train_inferred", "test_inferred_iid"
CALLS: dict[str, Call] = {
    "ablate_bridge": lambda m, t, p, c: analyses.ablate_bridge(m, t, t.split(ASKED)),
    "accuracy_by_exposure": lambda m, t, p, c: analyses.accuracy_by_exposure(m, t, t.split(SPLIT)),
    "activation_patch": lambda m, t, p, c: analyses.activation_patch(m, p),
    "attribute_attention": lambda m, t, p, c: analyses.attribute_attention(m, p, steps=2),
    "back_patch": lambda m, t, p, c: analyses.back_patch(m, t.split(SPLIT)),
    "bridge_copies": lambda m, t, p, c: analyses.bridge_copies(m, t, t.split(SPLIT), places=[["r1"]]),
    "bridge_evidence": lambda m, t, p, c: analyses.bridge_evidence(m, t, SPLIT, n=40),
    "bridge_geometry": lambda m, t, p, c: analyses.bridge_geometry(m, t),
    "causal_trace": lambda m, t, p, c: analyses.causal_trace(m, p.queries(), {"h": p.corrupt}),
    "discover": lambda m, t, p, c: analyses.discover(m, p, top_k=3, progress=False),
    "edge_attribution": lambda m, t, p, c: analyses.edge_attribution(m, p),
    "faithfulness": lambda m, t, p, c: analyses.faithfulness(m, c, p),
    "interchange": lambda m, t, p, c: analyses.interchange(m, t, t.split(ASKED)),
    "logit_lens": lambda m, t, p, c: analyses.logit_lens(m, t.split(SPLIT)),
    "path_patch": lambda m, t, p, c: analyses.path_patch(m, p, progress=False),
    "probe_bridge": lambda m, t, p, c: analyses.probe_bridge(m, t.split(SPLIT), targets=["bridge"]),
    "realign": lambda m, t, p, c: analyses.realign(m, t, t.split(SPLIT)),
    "run_with_edge_sets": lambda m, t, p, c: analyses.run_with_edge_sets(m, p, [[]]),
    "run_with_edges": lambda m, t, p, c: analyses.run_with_edges(m, p, []),
    "steer_bridge": lambda m, t, p, c: analyses.steer_bridge(m, t, t.split(ASKED)),
    "trace_inputs": lambda m, t, p, c: analyses.trace_inputs(m, p.queries(), {"h": p.corrupt}),
    "transplant": lambda m, t, p, c: analyses.transplant(m, m, c, p),
    "view_query": lambda m, t, p, c: analyses.view_query(m, t, p, 0),
}
WITHOUT_RUNNING = {"graph_of"}  # looks at a model and runs nothing


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
        return first is not None and "HookedTransformer" in str(first.annotation)

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
