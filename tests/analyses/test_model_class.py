"""Every public function that takes a model says by name which classes it cannot take."""

import inspect
from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest
import torch
import transformer_lens
from conftest import other_pairs, strong_model, wide_pairs
from transformers import GPT2Config, GPT2LMHeadModel

from grokscope import analyses, tasks
from grokscope.circuits import Circuit
from grokscope.tasks import PromptPairs, TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformerConfig


def _with_numbers(model: torch.nn.Module) -> torch.nn.Module:
    """With weights of its own: an encoder's are whatever the memory held."""
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    return model


SMALL = dict(n_layers=1, d_model=8, n_ctx=3, n_heads=2, d_head=4, d_mlp=8, d_vocab=64, act_fn="gelu", device="cpu")
BUILDERS = {
    "HookedEncoder": lambda: _with_numbers(
        transformer_lens.HookedEncoder(HookedTransformerConfig(**SMALL, attention_dir="bidirectional"))
    ),
    "HookedEncoderDecoder": lambda: transformer_lens.HookedEncoderDecoder(
        HookedTransformerConfig(
            **SMALL,
            positional_embedding_type="relative_positional_bias",
            relative_attention_max_distance=8,
            relative_attention_num_buckets=4,
        )
    ),
    "HookedRootModule": transformer_lens.HookedRootModule,
    "Linear": lambda: torch.nn.Linear(3, 3),
    "GPT2LMHeadModel": lambda: GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11, n_positions=3)),
}

IN_TRANSFORMERLENS_3 = ("HookedEncoder", "HookedEncoderDecoder")
KINDS = [
    pytest.param(kind, marks=[pytest.mark.transformerlens(3)] if kind in IN_TRANSFORMERLENS_3 else []) for kind in BUILDERS
]


@pytest.fixture
def unchecked() -> Iterator[None]:
    """As for users: the type hints, which tests check, are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def calls(world: TwoHopTask) -> dict[str, object]:
    plain, split = wide_pairs(0), world.split("test_inferred_iid")
    tokens = dict(intermediates={"middle": plain.answers}, corrupt_intermediates={"middle": plain.foils})
    pairs = PromptPairs(plain.clean, plain.corrupt, plain.answers, plain.foils, roles=("h", "r1", "r2"), **tokens)
    queries, asked = pairs.queries(), split
    measured = analyses.path_patch(strong_model(1), wide_pairs(1), progress=False)
    circuit = Circuit.from_effects(measured, top_k=5)
    chosen = tasks.make_pairs(world, split="test_inferred_iid", contrast="bridge", n=2, seed=0)
    a, many = analyses, other_pairs(1, 30)
    return {
        "path_patch": lambda model: a.path_patch(model, pairs),
        "activation_patch": lambda model: a.activation_patch(model, pairs),
        "edit_facts": lambda model: a.edit_facts(model, world, methods=["rank one"], n_edits=1),
        "edge_attribution": lambda model: a.edge_attribution(model, pairs),
        "attribute_attention": lambda model: a.attribute_attention(model, pairs),
        "query_details": lambda model: a.query_details(model, pairs),
        "discover": lambda model: a.discover(model, pairs, top_k=3),
        "run_with_edges": lambda model: a.run_with_edges(model, pairs, []),
        "run_with_edge_sets": lambda model: a.run_with_edge_sets(model, pairs, [[]]),
        "faithfulness": lambda model: a.faithfulness(model, circuit, pairs, allow_shared=True),
        "transplant": lambda model: a.transplant(model, model, circuit, pairs, allow_shared=True),
        "necessity": lambda model: a.necessity(model, circuit, many),
        "rival_circuits": lambda model: a.rival_circuits(model, circuit, many),
        "judge_on": lambda model: a.judge_on(model, circuit, {"others": many}),
        "audit": lambda model: a.audit(model, circuit, many),
        "composition_scores": lambda model: a.composition_scores(model, circuit),
        "invariance": lambda model: a.invariance(model, circuit, pairs),
        "graded_response": lambda model: a.graded_response(model, pairs),
        "graph_of": lambda model: a.graph_of(model, ("a", "b"), 1),
        "logit_lens": lambda model: a.logit_lens(model, queries),
        "probe_bridge": lambda model: a.probe_bridge(model, world),
        "back_patch": lambda model: a.back_patch(model, asked),
        "bridge_copies": lambda model: a.bridge_copies(model, world, asked),
        "bridge_geometry": lambda model: a.bridge_geometry(model, world, split="test_inferred_iid"),
        "bridge_evidence": lambda model: a.bridge_evidence(model, pairs),
        "direction_transfer": lambda model: a.direction_transfer(model, model, world, "test_inferred_iid"),
        "interchange": lambda model: a.interchange(model, pairs),
        "state_profile": lambda model: a.state_profile(model, pairs),
        "ablate_bridge": lambda model: a.ablate_bridge(model, pairs),
        "steer_bridge": lambda model: a.steer_bridge(model, pairs),
        "realign": lambda model: a.realign(model, world, asked),
        "compare_readings": lambda model: a.compare_readings(model, world, asked),
        "cycle_distances": lambda model: a.cycle_distances(model, asked),
        "causal_trace": lambda model: a.causal_trace(model, asked, {"h": asked.tokens}),
        "trace_inputs": lambda model: a.trace_inputs(model, asked, {"h": asked.tokens}),
        "view_query": lambda model: a.view_query(model, world, chosen, 0),
    }


OWN_WORDS = {  # these look at weights, of no TransformerBridge and no TRM
    "composition_scores": "only those of a HookedTransformer are known here, not",
}
NEEDS_ONLY_LOGITS = {"accuracy_by_exposure"}  # asks for predictions, which any callable can give


def test_all_public_functions_that_take_a_model_are_here(donor_world: TwoHopTask) -> None:
    functions = {name: getattr(analyses, name) for name in analyses.__all__ if inspect.isfunction(getattr(analyses, name))}
    taking = {name for name, function in functions.items() if "model" in inspect.signature(function).parameters}
    assert taking == set(calls(donor_world)) | NEEDS_ONLY_LOGITS


@pytest.mark.filterwarnings("ignore:Hooked.* is deprecated")
@pytest.mark.parametrize("kind", KINDS)
def test_another_class_is_refused_by_name(donor_world: TwoHopTask, unchecked: None, kind: str) -> None:
    model = BUILDERS[kind]()
    for name, call in calls(donor_world).items():
        known = "a transformer_lens.HookedTransformer or TransformerBridge, or a TRM of this project"
        unknown = rf"must be {known}, got a .*\.{kind};"
        if name in OWN_WORDS:
            with pytest.raises(ValueError, match=rf"{OWN_WORDS[name]} of a {kind}"):
                call(model)
            continue
        by_hooks = "what attention and MLP of layer 0 add .* is not what"  # the norms of an encoder come after that
        by_hooks += "|the weights of a HookedEncoder are not known here"  # which has hook points
        said = rf"{unknown}|{by_hooks}" if kind == "HookedEncoder" else unknown
        with pytest.raises((TypeError, ValueError) if kind == "HookedEncoder" else TypeError, match=said):
            call(model)
            pytest.fail(name)


def test_predictions_need_logits(donor_world: TwoHopTask) -> None:
    """Any callable from tokens to logits may answer; a model of transformers gives something else."""
    queries = donor_world.split("test_inferred_iid")
    logits = torch.nn.functional.one_hot(queries.answers, 30)[:, None].expand(-1, 3, -1).float()
    assert tasks.exact_match(lambda tokens: logits[: len(tokens)], queries).all()
    with pytest.raises(TypeError, match=r"a GPT2LMHeadModel gives CausalLMOutput.* not logits"):
        tasks.predictions(BUILDERS["GPT2LMHeadModel"](), torch.zeros(2, 3, dtype=torch.long), -1)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["discover", "path_patch", "edge_attribution", "run_with_edges", "attribute_attention"])
def test_of_a_checkpoint_it_is_said_how_to_open_it(name: str, evidence_world: TwoHopTask) -> None:
    checkpoint = tasks.load_study("pilot").runs["natural"].checkpoint("final")
    call: Any = calls(evidence_world)[name]
    with pytest.raises(TypeError, match=r"got a .*Checkpoint; pass what its model\(\) gives"):
        call(checkpoint)
