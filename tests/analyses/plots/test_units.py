"""Figures, captions and hovers say the unit and direction of the metric that was measured, and of no other one."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import other_pairs, strong_model, wide_pairs

from grokscope import analyses
from grokscope.analyses.patching import metrics
from grokscope.circuits import Circuit, Result, compare, draw

LENGTH = metrics.Metric(lambda logits, answers, foils: logits.norm(dim=-1), "length", "cm", higher_is_better=False)


def plain_function(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
    return metrics.logit_difference(logits, answers, foils) ** 3


METRICS = {
    metrics.logit_difference: ("nats", False),
    metrics.cross_entropy: ("nats", True),
    metrics.answer_probability: ("probability", False),
    metrics.probability_difference: ("probability", False),
    metrics.kl_to_clean: ("nats", True),
    metrics.exact_match: ("accuracy", False),
    LENGTH: ("cm", True),
    plain_function: ("units of plain_function", False),
}
"""Each with its unit, and whether less is better."""


def name_of(metric: Any) -> str:
    return getattr(metric, "name", "plain_function")


IDS = [name_of(metric) for metric in METRICS]
SHARES: dict[str, Callable[..., Result]] = {
    "edges": lambda model, pairs, metric: analyses.path_patch(model, pairs, metric=metric, progress=False),
    "nodes": lambda model, pairs, metric: analyses.activation_patch(model, pairs, metric=metric, progress=False),
}


def everything_said(figure: Any) -> str:
    """All texts of a figure but its numbers."""
    return re.sub(r'"bdata":"[^"]*"', "", figure.to_json())


@pytest.fixture(scope="module")
def model() -> Any:
    return strong_model(3)


@pytest.mark.parametrize("kind", SHARES)
@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_effects_are_shares_and_gaps_have_the_unit(metric: Any, kind: str, model: Any) -> None:
    unit, less = METRICS[metric]
    result = SHARES[kind](model, wide_pairs(3), metric)
    said, hover = everything_said(result.figure()), result.figure().data[0].text[0][0]
    assert result.figure().data[0].colorbar.title.text == "share of the gap"
    assert hover.startswith("of a gap of ") and (
        hover.endswith(f" {unit}, lower is better") if less else hover.endswith(unit)
    )
    assert ("nats" in said) == (unit == "nats") and ("lower is better" in said) == less


@pytest.mark.parametrize("metric", METRICS, ids=IDS)
def test_diagrams_comparisons_and_judgements(metric: Any, model: Any) -> None:
    unit, less = METRICS[metric]
    pairs = wide_pairs(3)
    effects = analyses.path_patch(model, pairs, metric=metric, per_query=True, progress=False)
    circuit = Circuit.from_effects(effects, top_k=6)
    frame = draw(circuit).data["panels"][0]["frames"][0]
    assert frame["gap"].endswith(f"{unit}{', lower is better' if less else ''}")
    pages = [draw(circuit).html, repr(Circuit.from_json(circuit.to_json()).caption)]
    if not effects.reason:
        both = compare({"a": circuit, "b": circuit})
        assert f"weighted_overlap in {unit}" in set(both.table["measure"])
        assert f"difference_in_{unit.replace(' ', '_')}" in both.differences
        axes = both.figure().layout
        assert axes.xaxis.title.text == "effect in a, share of the gap"
        assert axes.yaxis.title.text == "effect in b, share of the gap"
        pages.append(everything_said(both.figure()))
    if circuit.kept_edges:
        judged = analyses.faithfulness(model, circuit, other_pairs(4), n_random=1, metric=metric, progress=False)
        moved = analyses.transplant(model, model, circuit, pairs, metric=metric, allow_shared=True)
        assert judged.unit == moved.unit == (unit if metric is not plain_function else "")
        for result in (judged, moved):
            name = getattr(metric, "name", "plain_function")
            assert f"{name}, gap " in result.caption and name in everything_said(result.figure())
            assert unit in ("nats", "units of plain_function") or f" {unit}" in result.caption
            assert result.figure().layout.yaxis.title.text.startswith("share of the gap")
            pages += [result.caption, everything_said(result.figure())]
    assert unit == "nats" or not any(re.search(r"\bnats?\b", page) for page in pages)


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric is not metrics.exact_match], ids=name_of)
def test_readings_of_attention(metric: Any, model: Any) -> None:
    """What is moved straight to the logits is a logit difference, whatever the metric; weights have no unit."""
    unit, less = METRICS[metric]
    result = analyses.attribute_attention(model, wide_pairs(3).take(torch.arange(4)), metric=metric, tolerance=float("inf"))
    assert result.unit == (unit if metric is not plain_function else "")
    labels = {name: result.figure(name).data[0].colorbar.title.text for name in analyses.patching.attention.READINGS}
    assert labels["integrated"] == f"integrated in {unit}" and labels["knockout"] == f"knockout in {unit}"
    assert labels["pattern"] == "attention weight" and labels["direct"].startswith("direct, nats of logit(answer)")
    assert ("lower is better" in result.caption) == less
    assert result.figure().data[0].text[0][0] == labels["integrated"]
