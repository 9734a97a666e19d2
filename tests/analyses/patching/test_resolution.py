"""Gaps that are known, and gradients that are more than rounding."""

import math

import numpy as np
import pytest
import torch
from conftest import no_hooks_left, random_model, random_pairs, strong_model, wide_pairs

from grokscope.analyses import (
    Metric,
    answer_probability,
    attribute_attention,
    cross_entropy,
    discover,
    edge_attribution,
    exact_match,
    kl_to_clean,
    logit_difference,
    path_patch,
    probability_difference,
)
from grokscope.analyses.patching.gap import below_rounding, gap_and_reason
from grokscope.analyses.patching.metrics import as_metric
from grokscope.analyses.patching.resolution import Resolution
from grokscope.tasks import PromptPairs
from grokscope.tasks.transformerlens import HookedTransformer

N = 20
SPREAD = np.linspace(-1, 1, N)
GAPS = {
    "known": (5 + SPREAD, ""),
    "a loss": (-7.1 + 0.03 * SPREAD, ""),
    "small": (1e-9 * (5 + SPREAD), ""),
    "all alike": (np.full(N, 0.4), ""),
    "nothing": (np.zeros(N), "reaches 0"),
    "either sign": (SPREAD, "reaches 0"),
    "wide": (0.9 + 3 * SPREAD, "is wider"),
    "wide, below 0": (-0.9 + 3 * SPREAD, "is wider"),
    "not so wide": (2.0 + 3 * SPREAD, ""),
}


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_the_rule_for_gaps_knows_neither_sign_nor_scale(name: str, scale: float) -> None:
    gaps, said = GAPS[name]
    gap, (low, high), reason = gap_and_reason(gaps * scale, np.arange(N), seed=0)
    _, (other_low, other_high), mirrored = gap_and_reason(-gaps * scale, np.arange(N), seed=0)
    assert bool(reason) == bool(mirrored) == bool(said) and said in reason
    found, expected = [gap, low, high], [gaps.mean() * scale, -other_high, -other_low]
    np.testing.assert_allclose(found, expected, atol=1e-12 * scale)


def test_a_single_query_is_exact_without_an_interval() -> None:
    gap, interval, reason = gap_and_reason(np.ones(1), np.zeros(1), seed=0)
    assert (gap, reason) == (1.0, "") and np.isnan(interval).all()
    assert gap_and_reason(np.zeros(1), np.zeros(1), seed=0)[2] == "the gap is 0"


def test_gaps_of_rounding_are_told_from_small_ones() -> None:
    single, known = Resolution(torch.float32, 1e-6), np.full(N, 1e-5)
    assert below_rounding(np.zeros(N), known, single) == "" == below_rounding(np.full(N, -1e-4), known, single)
    assert "below the resolution of 32-bit arithmetic" in below_rounding(np.full(N, 1e-5), known, single)


def test_effects_do_not_depend_on_the_scale_of_the_metric() -> None:
    model, pairs = strong_model(0), wide_pairs(0)
    plain = path_patch(model, pairs)
    for scale in (1e-6, -1.0, 1e6):
        metric = Metric(lambda logits, answers, foils, by=scale: by * logit_difference(logits, answers, foils), "scaled")
        scaled = path_patch(model, pairs, metric=metric)
        np.testing.assert_allclose(scaled.table[["effect", "stderr"]], plain.table[["effect", "stderr"]], atol=1e-9)


def single(seed: int, dtype: torch.dtype = torch.float32) -> tuple[HookedTransformer, PromptPairs]:
    """A model and pairs whose answers and foils are what it says on clean and corrupt prompts."""
    model, pairs = random_model(seed), random_pairs(seed, n=40)
    with torch.no_grad():
        answers, foils = (model(tokens)[:, -1].argmax(-1) for tokens in (pairs.clean, pairs.corrupt))
    apart = answers != foils
    columns = [column[apart] for column in (pairs.clean, pairs.corrupt, answers, foils)]
    return model.to(dtype), PromptPairs(*columns, roles=pairs.roles)


def squared(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return (logits - clean).square().sum(-1)


def length(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    return (logits - clean).abs().sum(-1)


FLAT = [kl_to_clean, Metric(squared, reference="clean"), Metric(length, reference="clean")]
SLOPED = [logit_difference, cross_entropy, answer_probability, probability_difference]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("metric", FLAT, ids=lambda metric: metric.name)
def test_metrics_that_are_flat_at_the_clean_prompts_give_no_estimates_there(metric: Metric, dtype: torch.dtype) -> None:
    model, pairs = single(1, dtype)
    result = edge_attribution(model, pairs, metric=metric, error_against_exact=True, per_query=True)
    bits = max(32, torch.finfo(dtype).bits)  # numbers of 16 bits are copied to 32
    assert result.table[["effect", "stderr"]].isna().all(axis=None) and result.error is None
    assert f"below the resolution of {bits}-bit arithmetic: {metric.name} has no gradient at the clean" in result.reason
    assert "try method='eap_ig_inputs'" in result.reason and result.reason in result.caption
    for rule in ({}, {"top_k": 30}, {"threshold": 0.0}):
        circuit = discover(model, pairs, metric=metric, method="eap", **rule)
        assert not circuit.kept_edges and result.reason in circuit.caption and circuit.provenance["reason"] == result.reason
    assert no_hooks_left(model)


@pytest.mark.parametrize("metric", FLAT[:2], ids=lambda metric: metric.name)
def test_between_the_runs_and_at_the_corrupt_prompts_they_have_a_gradient(metric: Metric) -> None:
    model, pairs = single(1, torch.float64)
    for method in ("eap_ig_inputs", "eap_ig_activations"):
        assert not edge_attribution(model, pairs, metric=metric, method=method).reason
    assert not edge_attribution(model, pairs, metric=metric, direction="denoising").reason
    result = edge_attribution(model, pairs, metric=metric, method="eap_ig_inputs", steps=100, per_query=True)
    from_embedding = result.table["sender"].str.startswith("embed")
    total = result.deltas[from_embedding].sum(0)
    np.testing.assert_allclose(total.sum(), result.donor_gaps.sum(), rtol=5e-2)  # what gradients along a line add up to


def test_a_flat_metric_with_its_own_reference_is_seen_through() -> None:
    """The reference comes from the model's forward pass, which rounds in another order."""
    model, pairs = single(2)
    clean = model(pairs.clean)[:, -1].detach().double().log_softmax(-1)

    def divergence(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        expected = clean.repeat(len(logits) // len(clean), 1)
        return (expected.exp() * (expected - logits.log_softmax(-1))).sum(-1)

    result = edge_attribution(model, pairs, metric=divergence)
    assert "divergence has no gradient at the clean prompts" in result.reason
    assert not path_patch(model, pairs, metric=divergence).reason


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("metric", SLOPED, ids=lambda metric: metric.name)
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_metrics_with_a_gradient_keep_their_estimates(metric: Metric, dtype: torch.dtype, scale: float) -> None:
    model, pairs = single(3, dtype)
    scaled = Metric(lambda *args: scale * metric(*args), metric.name)
    result, wanted = (
        edge_attribution(each, pairs, metric=m) for each, m in ((model, scaled), (single(3, torch.float64)[0], metric))
    )
    assert result.reason == wanted.reason == "" and wanted.table["effect"].abs().max() > 0
    np.testing.assert_allclose(result.table["effect"], wanted.table["effect"], atol=1e-3)


def test_a_saturated_metric_gives_no_estimates_while_exact_effects_are_large() -> None:
    """With a margin beyond all rounding p(answer) is 1 on the clean prompts, 0 on the corrupt ones."""
    model, pairs = single(4)
    with torch.no_grad():
        model.unembed.W_U.mul_(3e4)
        model.unembed.b_U.mul_(3e4)
    for metric in (answer_probability, probability_difference, cross_entropy):
        result, exact = (measure(model, pairs, metric=metric) for measure in (edge_attribution, path_patch))
        assert exact.gap == pytest.approx(1.0 if metric is answer_probability else exact.gap)
        assert not exact.reason and exact.table["effect"].abs().max() > 0.3
        assert "no gradient at the clean prompts; try method='eap_ig_inputs'" in result.reason


def rounded(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
    return (1000 * logit_difference(logits, answers, foils)).round()


def by_numpy(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(logits.numpy().max(-1))


def of_something_else(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
    """It has a gradient, but not by the logits."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    return scale * logit_difference(logits, answers, foils).detach()


@pytest.mark.parametrize("method", ["eap", "eap_ig_inputs", "eap_ig_activations"])
def test_metrics_that_cannot_be_differentiated_are_refused_or_have_no_numbers(method: str) -> None:
    model, pairs = single(5, torch.float64)
    for metric in (exact_match, by_numpy, of_something_else):
        with pytest.raises(ValueError, match=f"{as_metric(metric).name} cannot be differentiated, .*; measure exactly"):
            discover(model, pairs, metric=metric, method=method)
        with pytest.raises(ValueError, match=f"{as_metric(metric).name} cannot be differentiated, .*; measure exactly"):
            attribute_attention(model, pairs, metric=metric)
        assert len(path_patch(model, pairs, metric=metric).table)
    result = edge_attribution(model, pairs, metric=rounded, method=method, tolerance=math.inf)
    assert "rounded has no gradient" in result.reason and ("between" in result.reason) == ("ig" in method)


def test_a_gradient_that_is_not_finite_is_named() -> None:
    model, pairs = single(6, torch.float64)

    def root_of(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
        changes = logits - clean
        return (changes * (changes.abs() > 1e-9)).square().sum(-1).sqrt()  # exactly 0 where they differ by rounding alone

    root = Metric(root_of, "root", reference="clean")
    result = edge_attribution(model, pairs, metric=root)
    assert "the gradient of root by the logits is not finite" in result.reason and result.table["effect"].isna().all()


def test_greedy_pruning_without_a_gap_is_empty_and_silent() -> None:
    model, pairs = strong_model(7), wide_pairs(7)
    with torch.no_grad():
        model.unembed.W_U.zero_()
    for rule in ({"greedy": 0.01}, {"threshold": 0.0}, {"top_k": 5}, {}):
        circuit = discover(model, pairs, **rule)
        assert not circuit.kept_edges and "no effects: the gap" in circuit.caption and circuit.provenance["reason"]
