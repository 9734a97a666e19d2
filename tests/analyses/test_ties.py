"""One rule for ties: they count against the target, so that a tie is as bad as a rival that is ahead.

Every token gets a twin: the unembedding is written twice, side by side, and a bias tilts towards the first copy, towards the
second, or nowhere. The weights set by hand have one addend in each sum, so that twins tie to the bit.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from handset import handset_model

from grokscope import analyses
from grokscope.analyses.bridge.probing import fit_probe, said_by
from grokscope.tasks import (
    NO_TOKEN,
    ModelConfig,
    PromptPairs,
    Queries,
    TwoHopTask,
    build_model,
    exact_match,
    is_right,
    make_pairs,
    predictions,
    top_token,
)
from grokscope.tasks.models.building import trained_parameters
from grokscope.tasks.training.train import _correct
from grokscope.tasks.transformerlens import HookedTransformer, HookedTransformerConfig

SPLIT = "test_inferred_iid"


def twinned(task: TwoHopTask, tilt: float) -> HookedTransformer:
    """The hand-set model with a second copy of its vocabulary; the first is ahead by `tilt` nats."""
    model = handset_model(task.graph)
    cfg = model.cfg.to_dict() | {"d_vocab_out": 2 * model.cfg.d_vocab}
    twins = HookedTransformer(HookedTransformerConfig.from_dict(cfg))
    state = dict(model.state_dict())
    state["unembed.W_U"] = torch.cat([model.W_U, model.W_U], 1).detach()
    state["unembed.b_U"] = torch.cat([model.b_U + tilt, model.b_U]).detach()
    twins.load_state_dict(state)
    return twins


def half_of(task: TwoHopTask) -> Queries:
    """Questions about every other fact; the others are left for mean states."""
    queries = task.split(SPLIT)
    return queries.take(queries.unit % 2 == 0)


def lens_rows(model: HookedTransformer, queries: Queries) -> list[float]:
    lens = analyses.logit_lens(model, queries)
    table = lens.table[lens.table["target"].isin(["answer", "bridge"])]
    return [*table["top1"], *lens.queries["correct"], *lens.roles.loc[lens.roles["token"] != "other", "share"]]


def measure(result: object, *columns: str) -> list[float]:
    return result.table[list(columns)].to_numpy(copy=True).ravel().tolist()


def evidence_rows(model: HookedTransformer, task: TwoHopTask) -> list[float]:
    result = analyses.bridge_evidence(model, task, SPLIT, n=60)
    rows = result.measures
    return [*rows.loc[rows["measure"] == "lens", "value"], float(len(rows))]  # without right answers there is only reading


Case = Callable[[HookedTransformer, TwoHopTask, PromptPairs], list[float]]
CASES: dict[str, Case] = {
    "exact match": lambda m, t, p: exact_match(m, t.split(SPLIT)).tolist(),
    "is_right": lambda m, t, p: is_right(m, p.corrupt, p.foils, 2).tolist(),
    "keep_correct": lambda m, t, p: [float(len(p.keep_correct(m)))],
    "lens": lambda m, t, p: lens_rows(m, t.split(SPLIT)),
    "exposure": lambda m, t, p: measure(analyses.accuracy_by_exposure(m, t, t.split(SPLIT)), "accuracy"),
    "tracing": lambda m, t, p: measure(analyses.causal_trace(m, p.queries(), {"h": p.corrupt}), "n", "strength"),
    "back-patching": lambda m, t, p: measure(analyses.back_patch(m, t.split(SPLIT)), "n", "corrected"),
    "copies": lambda m, t, p: measure(analyses.bridge_copies(m, t, half_of(t), places=[["r1"]]), "followed", "n"),
    "interchange": lambda m, t, p: measure(analyses.interchange(m, t, half_of(t)), "success", "kept", "n"),
    "interchange, wrong": lambda m, t, p: measure(analyses.interchange(m, t, half_of(t), answered="wrong"), "success", "n"),
    "ablation": lambda m, t, p: measure(analyses.ablate_bridge(m, t, half_of(t)), "kept", "n"),
    "realignment": lambda m, t, p: measure(analyses.realign(m, t, t.split(SPLIT)), "accuracy", "baseline"),
    "probing": lambda m, t, p: measure(analyses.probe_bridge(m, t.split(SPLIT), targets=["answer"]), "affine"),
    "evidence": lambda m, t, p: evidence_rows(m, t),
}


@pytest.mark.parametrize("name", CASES)
def test_a_tie_is_as_bad_as_a_rival_that_is_ahead(name: str, evidence_world: TwoHopTask) -> None:
    pairs = make_pairs(evidence_world, split=SPLIT, contrast="bridge", n=20, seed=0)

    def outcome(tilt: float) -> object:
        try:
            return CASES[name](twinned(evidence_world, tilt), evidence_world, pairs)
        except ValueError as problem:
            return str(problem)

    ahead, tied, behind = outcome(1.0), outcome(0.0), outcome(-1.0)
    assert tied == behind and tied != ahead


def test_the_top_token_by_a_literal_loop() -> None:
    logits = torch.randint(4, (500, 6), generator=torch.Generator().manual_seed(0)).double()
    logits[::7, 2] = float("nan")
    logits[::11] = float("-inf")
    literal = []
    for row in logits.tolist():
        tops = [i for i, value in enumerate(row) if all(value > other for j, other in enumerate(row) if j != i)]
        literal.append(tops[0] if tops else NO_TOKEN)
    assert top_token(logits).tolist() == literal and {NO_TOKEN, 0, 5} <= set(literal)
    assert top_token(logits.view(50, 10, 6)).flatten().tolist() == literal
    assert top_token(torch.zeros(3, 1)).tolist() == [0, 0, 0]


def test_a_predicted_token_is_one_of_those_that_tie(evidence_world: TwoHopTask) -> None:
    model, queries = twinned(evidence_world, 0.0), evidence_world.split(SPLIT)
    said = predictions(model, queries.tokens, 2)
    assert ((said == queries.answers) | (said == queries.answers + evidence_world.n_tokens)).all()
    assert not exact_match(model, queries).any()


def test_a_model_that_prefers_nothing_is_right_about_nothing_in_training(task: TwoHopTask) -> None:
    config = ModelConfig.tiny()
    parameters = {name: p.detach().clone() for name, p in trained_parameters(build_model(config, task), config).items()}
    for name in ("ln_final.w", "ln_final.b", "unembed.b_U"):
        parameters[name].zero_()
    first = Queries(task.split(SPLIT).tokens, torch.zeros(len(task.split(SPLIT)), dtype=torch.long), roles=("h", "r1", "r2"))
    assert not _correct(config, parameters, first, task).any()
    parameters["unembed.b_U"][0] = 1e-6
    assert _correct(config, parameters, first, task).all()


def test_logits_that_rounded_probabilities_would_tie_are_told_apart() -> None:
    """The lens and exact match agree to the last bit of the logits."""
    cfg = {"n_layers": 1, "d_model": 4, "n_heads": 1, "d_head": 4, "n_ctx": 3, "d_vocab": 400, "act_fn": "relu"}
    model = HookedTransformer(HookedTransformerConfig(**cfg, attn_only=True, normalization_type=None, device="cpu"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.unembed.b_U[0], model.unembed.b_U[1] = 1e-8, 0.9e-8
    tokens, zeros = torch.zeros(5, 3, dtype=torch.long), torch.zeros(5, dtype=torch.long)
    queries = Queries(tokens, zeros, roles=("a", "b", "c"), intermediates={"carry": zeros})
    p = model(tokens)[:, -1].log_softmax(-1)
    assert (p[:, 0] == p[:, 1]).all() and exact_match(model, queries).all()
    assert analyses.logit_lens(model, queries).queries["correct"].all()


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_probe_that_prefers_nothing_says_nothing(n_labels: int) -> None:
    labels = np.repeat(np.arange(n_labels) + 7, 8)
    nothing = fit_probe(np.zeros((len(labels), 3)), labels)
    assert said_by(nothing, np.zeros((4, 3))).tolist() == [NO_TOKEN] * 4
    told = fit_probe(np.eye(n_labels).repeat(8, 0), labels)
    states = np.eye(n_labels)
    assert said_by(told, states).tolist() == told.predict(states).tolist() == [7 + i for i in range(n_labels)]
