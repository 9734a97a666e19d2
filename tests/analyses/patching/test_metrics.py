"""Metrics against formulas spelt out query by query, and what is said of their units."""

import json
import math
from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch
from conftest import other_pairs, random_model, random_pairs, strong_model, wide_pairs

from grokscope.analyses import (
    Metric,
    PatchingResult,
    activation_patch,
    answer_probability,
    cross_entropy,
    discover,
    exact_match,
    faithfulness,
    graph_of,
    kl_to_clean,
    logit_difference,
    path_patch,
    probability_difference,
    transplant,
)
from grokscope.analyses.forward.engine import FastEngine
from grokscope.analyses.forward.literal import logits_at, output_hooks, patch_edge, sender_outputs
from grokscope.analyses.patching.circuit_runs import CircuitRuns, run_with_edge_sets
from grokscope.analyses.patching.gap import metric_values
from grokscope.circuits import compare
from grokscope.tasks import PromptPairs


def probabilities(row: torch.Tensor) -> list[float]:
    exponentials = [math.exp(float(x) - float(row.max())) for x in row]
    return [x / sum(exponentials) for x in exponentials]


def divergence(row: torch.Tensor, clean: torch.Tensor) -> float:
    return sum(p * math.log(p / q) for p, q in zip(probabilities(clean), probabilities(row), strict=True) if p > 0)


LITERAL: dict[Metric, Callable[[torch.Tensor, int, int, torch.Tensor], float]] = {
    logit_difference: lambda row, answer, foil, clean: float(row[answer] - row[foil]),
    cross_entropy: lambda row, answer, foil, clean: -math.log(probabilities(row)[answer]),
    answer_probability: lambda row, answer, foil, clean: probabilities(row)[answer],
    probability_difference: lambda row, answer, foil, clean: probabilities(row)[answer] - probabilities(row)[foil],
    kl_to_clean: lambda row, answer, foil, clean: divergence(row, clean),
    exact_match: lambda row, answer, foil, clean: float(
        all(row[answer] > row[other] for other in range(len(row)) if other != answer)
    ),
}
EVERY = pytest.mark.parametrize("metric", list(LITERAL), ids=lambda metric: metric.name)


def literally(metric: Metric, logits: torch.Tensor, pairs: PromptPairs, clean: torch.Tensor) -> list[float]:
    rows = zip(logits, pairs.answers.tolist(), pairs.foils.tolist(), clean, strict=True)
    return [LITERAL[metric](*row) for row in rows]


@EVERY
def test_values_equal_the_formula_in_copies_too(metric: Metric) -> None:
    pairs, generator = random_pairs(0), torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, len(pairs), 11, generator=generator, dtype=torch.float64)
    logits[1, 0, pairs.answers[0]] = logits[1, 0].max()  # a tie, unless the answer was the largest
    clean = torch.randn(len(pairs), 11, generator=generator, dtype=torch.float64)
    expected = [literally(metric, copy, pairs, clean) for copy in logits]
    np.testing.assert_allclose(metric_values(metric, logits, pairs, clean), expected, atol=1e-12)


def test_a_tie_counts_against_the_answer() -> None:
    logits, one = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 1.0, 0.0]]), torch.zeros(3, dtype=torch.long)
    assert exact_match(logits, one, one).tolist() == [False, True, False]


def run_at_once(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs are run so many at a time, however much memory there is."""
    monkeypatch.setattr(FastEngine, "batches", lambda self, n, work, results=0: list(torch.arange(n).split(size)))


@EVERY
@pytest.mark.parametrize("direction", ["noising", "denoising"])
def test_effects_of_every_metric_equal_a_loop_over_literal_patches(
    metric: Metric, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean run is the reference whichever of the runs is patched, in parts and in stacked copies."""
    run_at_once(5, monkeypatch)
    model, pairs = strong_model(0), wide_pairs(0)
    result = path_patch(model, pairs, metric=metric, direction=direction, per_query=True)
    base, donor = (pairs.clean, pairs.corrupt) if direction == "noising" else (pairs.corrupt, pairs.clean)
    graph = graph_of(model, pairs.roles, -1)
    (written, before), (given, after) = (sender_outputs(model, graph, tokens) for tokens in (base, donor))
    clean = before if direction == "noising" else after
    start, end = (np.array(literally(metric, logits, pairs, clean)) for logits in (before, after))
    np.testing.assert_allclose(result.donor_gaps, end - start, atol=1e-9)
    for row, edge in enumerate(graph.edges):
        patched = patch_edge(model, graph, base, edge, given[edge.sender] - written[edge.sender])
        deltas = np.array(literally(metric, patched, pairs, clean)) - start
        np.testing.assert_allclose(result.deltas[row], deltas, atol=1e-9)
        assert bool(result.reason) or result.table["effect"][row] == pytest.approx(deltas.sum() / (end - start).sum())
    assert (result.unit, result.provenance["unit"]) == (metric.unit, metric.unit)


@EVERY
def test_nodes_circuits_and_transplants_take_every_metric(metric: Metric) -> None:
    model, pairs, others = strong_model(1), wide_pairs(1), other_pairs(1)
    with torch.no_grad():
        clean, corrupt = (model(tokens)[:, -1] for tokens in (others.clean, others.corrupt))
    full, empty = (np.array(literally(metric, logits, others, clean)) for logits in (clean, corrupt))
    circuit = discover(model, pairs, top_k=20)
    runs, sets = CircuitRuns(model, others, metric=metric), [circuit.kept_edges, circuit.measured_edges[::2]]
    alone = np.array([literally(metric, each, others, clean) for each in run_with_edge_sets(model, others, sets)])
    np.testing.assert_allclose(runs.metric(sets), alone, atol=1e-9)
    np.testing.assert_allclose([runs.full, runs.empty], [full, empty], atol=1e-9)
    found = faithfulness(model, circuit, others, metric=metric, n_random=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (alone - empty).sum(1) / (full - empty).sum()
    assert bool(found.reason) or found.faithfulness == pytest.approx(share[0])
    assert (found.metric, found.unit) == (metric.name, metric.unit)
    graph, node = circuit.graph, circuit.kept_edges[0].sender
    nodes = activation_patch(model, others, metric=metric, direction="denoising", per_query=True)
    change = sender_outputs(model, graph, others.clean)[0][node] - sender_outputs(model, graph, others.corrupt)[0][node]
    patched = logits_at(model, others.corrupt, -1, output_hooks(graph, node, change))
    deltas = np.array(literally(metric, patched, others, clean)) - empty
    np.testing.assert_allclose(nodes.deltas[graph.senders.index(node)], deltas, atol=1e-9)
    moved = transplant(model, model, circuit, others, metric=metric).table.set_index("node")
    assert np.isnan(moved["own"]).all() or moved.loc[str(node), "own"] == pytest.approx(deltas.sum() / (full - empty).sum())


def test_a_loss_calls_the_same_edges_needed_as_its_negative() -> None:
    model, pairs, others = strong_model(2), wide_pairs(2), other_pairs(2, n=40)
    circuit = discover(model, pairs, top_k=20)

    def lost(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return -logit_difference(logits, answers, foils)

    loss, won = (faithfulness(model, circuit, others, metric=metric, n_random=2) for metric in (lost, logit_difference))
    assert loss.table["gap"].iloc[0] == pytest.approx(-won.table["gap"].iloc[0]) and loss.table["gap"].iloc[0] < 0
    assert not loss.reason and loss.edges["needed"].any()
    np.testing.assert_allclose(loss.edges["p"], won.edges["p"], atol=1e-12)
    np.testing.assert_allclose(loss.table["faithfulness"], won.table["faithfulness"])


def test_truth_values_and_whole_numbers_are_numbers() -> None:
    model, pairs = strong_model(3), wide_pairs(3)

    def beats(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return logit_difference(logits, answers, foils) > 0

    def rank(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return (logits > logits.gather(1, answers[:, None])).sum(1)

    for metric in (beats, rank):
        as_double = path_patch(model, pairs, metric=lambda *args, m=metric: m(*args).double(), per_query=True)
        found = path_patch(model, pairs, metric=metric, per_query=True)
        np.testing.assert_array_equal(found.deltas, as_double.deltas)
        np.testing.assert_array_equal(found.table["effect"], as_double.table["effect"])


def test_a_metric_may_change_its_logits() -> None:
    model, pairs = strong_model(4), wide_pairs(4)

    def margin(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        answer = logits.gather(1, answers[:, None])[:, 0]
        logits[torch.arange(len(logits)), answers] = -torch.inf
        return answer - logits.amax(-1)

    kept = path_patch(model, pairs, metric=lambda logits, *rest: margin(logits.clone(), *rest), per_query=True)
    np.testing.assert_array_equal(path_patch(model, pairs, metric=margin, per_query=True).deltas, kept.deltas)


@pytest.mark.parametrize("size", [100, 5])
def test_a_metric_without_a_number_names_the_queries_before_long_work(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run_at_once(size, monkeypatch)
    model, pairs, seen = strong_model(5), wide_pairs(5), []

    def broken(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        seen.append(len(logits))
        values = logit_difference(logits, answers, foils)
        return torch.where(answers == pairs.answers[11], torch.nan, values)

    wrong = [i for i, answer in enumerate(pairs.answers) if answer == pairs.answers[11]]
    named = [i for i in wrong if i // size == wrong[0] // size]
    text = f"broken gives NaN for quer(y|ies) {', '.join(map(str, named))} of 12 on the clean prompts and NaN for"
    with pytest.raises(ValueError, match=text):
        path_patch(model, pairs, metric=broken)
    assert max(seen) <= 12 and len(seen) <= 12
    for measure in (discover, CircuitRuns):
        with pytest.raises(ValueError, match="broken gives NaN for"):
            measure(model, pairs, metric=broken)
    run_at_once(100, monkeypatch)
    with pytest.raises(ValueError, match=r"^gives_inf gives no finite number for queries 0, 1, 2, 3, 4 and 7 more of 12 on"):
        path_patch(model, pairs, metric=Metric(lambda logits, *rest: logits[:, 0] / 0.0, "gives_inf"))


def test_patches_without_a_number_have_no_effect_and_the_rest_has() -> None:
    model, pairs = strong_model(6), wide_pairs(6)
    with torch.no_grad():
        ends = torch.cat([model(tokens)[:, -1] for tokens in (pairs.clean, pairs.corrupt)])

    def only_known(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        """No number beyond what the plain runs reach."""
        values = logit_difference(logits, answers, foils)
        return torch.where(values.abs() > edge, torch.inf, values)

    both = [pairs.answers.repeat(2), pairs.foils.repeat(2)]
    edge = 1.0001 * float(logit_difference(ends, *both).abs().max())
    result, plain = (path_patch(model, pairs, metric=metric) for metric in (only_known, logit_difference))
    missing = result.table["effect"].isna()
    assert 0 < missing.sum() < len(missing) and result.reason.startswith("only_known gives no finite number for quer")
    np.testing.assert_allclose(result.table["effect"][~missing], plain.table["effect"][~missing])
    assert f"{missing.sum()} of {len(missing)} effects without a number: only_known gives" in result.caption
    circuit = discover(model, pairs, metric=only_known, threshold=0.0)
    assert not missing[circuit.table["kept"]].any() and circuit.kept_edges


def test_units_and_names_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return logit_difference(logits, answers, foils) / 100

    pairs = wide_pairs(7)
    models = {"a": strong_model(7), "b": random_model(7)}
    said = {logit_difference: "nats", Metric(mine, unit="hundreds"): "hundreds", mine: "units of mine"}
    for metric, unit in said.items():
        circuits = {name: discover(model, pairs, metric=metric) for name, model in models.items()}
        found = compare(circuits)
        assert f"weighted_overlap in {unit}" in found.table["measure"].tolist()
        assert f"difference_in_{unit.replace(' ', '_')}" in found.differences
        caption = path_patch(models["a"], pairs, metric=metric).caption
        assert (
            (" hundreds [" in caption) == (unit == "hundreds")
            and "nats" not in caption
            and "nats" not in circuits["a"].caption
        )
    assert path_patch(models["a"], pairs, metric=mine).metric == "mine"
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the caller's message, not the test suite's
    with pytest.raises(ValueError, match="a metric's reference is 'clean' or nothing, got 'corrupt'"):
        Metric(mine, reference="corrupt")


def test_a_corrupt_run_that_does_better_is_said_to() -> None:
    model, pairs = strong_model(8), wide_pairs(8)
    swapped = PromptPairs(pairs.corrupt, pairs.clean, pairs.answers, pairs.foils, roles=pairs.roles)
    for metric in (logit_difference, cross_entropy):
        there, back = (path_patch(model, each, metric=metric) for each in (pairs, swapped))
        assert back.gap == pytest.approx(-there.gap) and not there.reason + back.reason
        assert "corrupt prompts do better" in back.caption and "do better" not in there.caption


def test_results_saved_before_units_were_load() -> None:
    result = path_patch(strong_model(9), wide_pairs(9))
    content = {"type": "PatchingResult", "format": 2, "fields": json.loads(result.to_json())["content"]}
    for name in ("unit", "higher_is_better"):
        del content["fields"][name]
    again = PatchingResult.from_json(json.dumps(content))
    assert again.unit == "" and again.caption == result.caption and again.table.equals(result.table)
    del content["fields"]["reason"]
    with pytest.raises(ValueError, match="reason"):
        PatchingResult.from_json(json.dumps(content))
