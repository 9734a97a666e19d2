"""An audit from end to end: models of which it is known what holds, and every number that of its instrument."""

import math
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, other_pairs, random_model, strong_model, wide_pairs
from explained import assert_explained
from handset import BRIDGE_EDGES, handset_model, lookup_model

from grokscope.analyses import discover, edge_attribution, faithfulness, path_patch
from grokscope.analyses.bridge.graded_response import graded_response
from grokscope.analyses.bridge.questions import sample
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.composition import composition_scores
from grokscope.analyses.patching.metrics import exact_match
from grokscope.analyses.patching.necessity import necessity
from grokscope.analyses.patching.other_prompts import judge_on
from grokscope.analyses.patching.reliability import split_half
from grokscope.analyses.patching.rivals import rival_circuits
from grokscope.analyses.sameness.invariance import invariance
from grokscope.analyses.statistics import newcombe_interval
from grokscope.analyses.validity import evidence_of_circuit as module
from grokscope.analyses.validity.audit import audit
from grokscope.analyses.validity.audit_result import MET, MISSED, NOT_MEASURED, AuditResult
from grokscope.analyses.validity.planted import planted_auroc
from grokscope.circuits import Circuit, Edge
from grokscope.circuits.similarity import overlap_at, rank_correlation
from grokscope.tasks import PromptPairs, Queries, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer

SPLIT, NOISE = "test_inferred_iid", 0.03  # of weights, so that not all answers turn at the same dose
N_RANDOM = 40


def asked(task: TwoHopTask, split: str = SPLIT) -> Queries:
    return sample(task.split(split), 256, max_units=task.n_reference // 2, seed=0)


def pairs_of(task: TwoHopTask, model: HookedTransformer, *, contrast: str = "bridge", split: str = SPLIT) -> PromptPairs:
    return make_pairs(task, split=split, contrast=contrast, n=100, seed=0).keep_correct(model)


def weights(model: HookedTransformer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def world(evidence_world: TwoHopTask) -> SimpleNamespace:
    """A two-hop model set by hand, audited with everything that can be given."""
    task = evidence_world
    model = handset_model(task.graph, noise=NOISE)
    chosen_on, pairs = pairs_of(task, model).halves()
    circuit = discover(model, chosen_on, progress=False)
    before = weights(model)
    given: dict[str, Any] = {
        "task": task,
        "queries": asked(task),
        "controls": {"r2": pairs_of(task, model, contrast="relation_2")},
        "other_tasks": {"second hop": pairs_of(task, model, contrast="relation_2")},
        "other_splits": {"trained": pairs_of(task, model, split="train_inferred")},
        "replicates": [discover(model, pairs, progress=False)],
        "untrained": random_model(0, **shape(model)),
        "predicted": list(BRIDGE_EDGES),
    }
    result = audit(model, circuit, pairs, n_random=N_RANDOM, progress=False, **given)
    return SimpleNamespace(task=task, model=model, pairs=pairs, circuit=circuit, before=before, given=given, result=result)


def shape(model: HookedTransformer) -> dict[str, Any]:
    names = ("n_layers", "d_model", "n_ctx", "n_heads", "d_head", "d_mlp", "d_vocab", "d_vocab_out")
    return {name: getattr(model.cfg, name) for name in names}


def row(result: AuditResult, code: str) -> pd.Series:
    return result.table.set_index("code").loc[code]


def numbers(result: AuditResult, code: str) -> list[float]:
    return row(result, code)[["value", "low", "high"]].tolist()


def test_a_planted_bridge_is_necessary_sufficient_specific_reached_and_graded(world: SimpleNamespace) -> None:
    words = world.result.words
    assert {code: words[code] for code in ("I1", "I2", "I3", "E1", "E2")} == dict.fromkeys(
        ("I1", "I2", "I3", "E1", "E2"), MET
    )
    assert {
        code for code in ("C1", "C3", "C4", "C5", "I6", "E4", "M2", "M3", "M4", "M5", "M6") if words[code] != MET
    } == set()
    assert [code for code, word in words.items() if word == NOT_MEASURED] == ["E6", "V3"]
    assert world.result.level == "structural" or words["C2"] == MISSED
    assert set(map(str, world.circuit.kept_edges)) == set(BRIDGE_EDGES)


def test_the_model_is_left_as_it_was(world: SimpleNamespace) -> None:
    assert no_hooks_left(world.model) and not world.model.training
    now = world.model.state_dict()
    assert all(torch.equal(value, now[name]) for name, value in world.before.items()) and len(now) == len(world.before)
    assert world.model.cfg.model_name == "hand-set"


def test_what_it_says_of_itself_is_what_it_holds(world: SimpleNamespace) -> None:
    assert_explained(world.result)
    explained, level = world.result.explain(), world.result.level
    assert explained.means.startswith(f"{world.result.tier.capitalize()}, level {level}; ")
    assert f"{list(world.result.words.values()).count('met')} of 28 criteria met" in explained.means


def test_every_number_is_that_of_its_instrument_called_by_itself(world: SimpleNamespace) -> None:
    model, circuit, pairs, given, result = world.model, world.circuit, world.pairs, world.given, world.result
    how: dict[str, Any] = {"progress": False}
    judged = faithfulness(model, circuit, pairs, n_random=N_RANDOM, **how)
    first = judged.table.iloc[0]
    assert numbers(result, "I2") == first[["faithfulness", "low", "high"]].tolist()
    assert row(result, "I2")["n"] == first["n"] == len(pairs) and row(result, "I2")["finding"] == judged.finding
    assert row(result, "I5")["value"] == judged.p_complete and row(result, "C4")["value"] == judged.edges["needed"].mean()
    left = necessity(model, circuit, pairs, n_random=20, **how).table.sort_values("without_high").iloc[1]
    assert numbers(result, "I1") == left[["without", "without_low", "without_high"]].tolist()
    runs = CircuitRuns(model, pairs, **how)
    assert numbers(result, "E4") == [first["gap"], *runs.gap[1]] and first["gap"] == runs.gap[0]
    floor, ceiling = runs.share([[], runs.graph.edges])
    assert row(result, "M5")["value"] == ceiling - floor
    rivals = rival_circuits(model, circuit, pairs, **how)
    best = rivals.table.set_index("edges").loc[rivals.best]
    assert numbers(result, "I6") == best[["difference", "difference_low", "difference_high"]].tolist()
    assert row(result, "V4")["value"] == 1 + sum(map(bool, rivals.edges.values()))
    halves = split_half(circuit).table.set_index("quantity")
    assert numbers(result, "M1") == halves.loc["correlation", ["value", "low", "high"]].tolist()
    assert row(result, "M2")["value"] == invariance(model, circuit, pairs, **how).effect_change
    assert row(result, "C2")["value"] == composition_scores(model, circuit).auroc
    for code, field, columns, measured_by in (
        ("I3-control", "controls", ["kept", "low", "high"], {}),
        ("C3", "other_tasks", ["kept", "low", "high"], {}),
        ("E3", "other_tasks", ["lost", "lost_low", "lost_high"], {}),
        ("E5", "other_splits", ["kept", "low", "high"], {}),
    ):
        there = judge_on(model, circuit, given[field], n_random=0, **measured_by, **how).table.iloc[0]
        if code in result.words:
            assert numbers(result, code) == there[columns].tolist(), code
    there = judge_on(model, circuit, {"": pairs}, n_random=0, metric=exact_match, **how).table.iloc[0]
    assert numbers(result, "M6") == there[["kept", "low", "high"]].tolist()
    assert row(result, "M4")["value"] == planted_auroc()[0] and row(result, "C1")["value"] == 1.0


def test_what_is_said_of_the_bridge_is_that_of_graded_response(world: SimpleNamespace) -> None:
    graded = graded_response(world.model, world.task, world.given["queries"], progress=False)
    for code, share in (("I3", graded.specific), ("E1", graded.reached)):
        assert (
            numbers(world.result, code) == [share.value, share.low, share.high] and row(world.result, code)["n"] == share.n
        )
    assert row(world.result, "E2")["value"] == graded.monotone >= 0.9 and graded.plateau <= 0.1
    at_one = graded.table[graded.table["dose"] == 1].set_index("direction")["moved"]
    gap = at_one["bridge"] - at_one["random"]
    n_units = int(graded.table["n_facts"].iloc[0])
    assert numbers(world.result, "M3") == pytest.approx(
        [gap, *newcombe_interval(at_one["bridge"], at_one["random"], n_units)]
    )


def test_how_alike_instruments_are_is_that_of_their_tables(world: SimpleNamespace) -> None:
    model, pairs, circuit = world.model, world.pairs, world.circuit
    found = {name: edge_attribution(model, pairs, method=name, progress=False) for name in ("eap", "eap_ig_inputs")}
    found["denoising"] = path_patch(model, pairs, direction="denoising", progress=False)
    here = path_patch(model, pairs, progress=False).table["effect"].to_numpy()[:, None]
    alike = {name: each.table["effect"].to_numpy()[:, None] for name, each in found.items()}
    correlations = [float(rank_correlation(here, each)[0]) for each in alike.values()]
    replicate = world.given["replicates"][0].table["effect"].to_numpy()[:, None]
    correlations.append(float(rank_correlation(circuit.table["effect"].to_numpy()[:, None], replicate)[0]))
    correlations.append(float(split_half(circuit).table.set_index("quantity").loc["rank correlation", "value"]))
    assert row(world.result, "I4")["value"] == pytest.approx(min(correlations)) and row(world.result, "I4")["n"] == 5
    top = overlap_at(len(circuit.kept_edges))
    overlaps = [float(top(here, alike[name])[0]) for name in ("eap", "eap_ig_inputs")]
    assert row(world.result, "C5")["value"] == pytest.approx(min(overlaps))


def test_where_every_answer_turns_at_once_the_effect_is_not_called_graded(evidence_world: TwoHopTask) -> None:
    """Without noise all questions have the same threshold: a step, whose rank correlation with the dose is .77."""
    model = handset_model(evidence_world.graph, noise=1e-3)
    result = audited(evidence_world, model)
    assert row(result, "E2")["word"] == MISSED and row(result, "E2")["value"] == pytest.approx(0.775, abs=1e-3)
    assert [result.words[code] for code in ("I1", "I2", "I3", "E1")] == [MET] * 4


def audited(task: TwoHopTask, model: HookedTransformer, *, split: str = SPLIT, **given: Any) -> AuditResult:
    chosen_on, pairs = pairs_of(task, model, split=split).halves()
    circuit = discover(model, chosen_on, progress=False)
    settings = {"task": task, "queries": asked(task, split), "n_random": N_RANDOM, "progress": False} | given
    return audit(model, circuit, pairs, **settings)


def test_a_decoy_is_reached_and_neither_graded_nor_specific(evidence_world: TwoHopTask) -> None:
    model = lookup_model(evidence_world.graph, torch.from_numpy(evidence_world.trained), decoy=True, noise=1e-3)
    result = audited(evidence_world, model, split="train_inferred")
    assert {code: result.words[code] for code in ("E1", "E2", "I3")} == {"E1": MET, "E2": MISSED, "I3": MISSED}
    assert result.level not in ("representational", "causal", "structural", "transportable")
    assert row(result, "I3")["value"] < 0.1 < 0.9 < row(result, "E1")["value"]


BY_INTERMEDIATE = ("E1", "E2", "M3")


def test_without_intermediates_that_is_not_measured_and_says_why(world: SimpleNamespace) -> None:
    """And what is specific is then judged by what the circuit carries of the control variable."""
    bare = replace(world.pairs, intermediates={}, corrupt_intermediates={})
    given = {name: world.given[name] for name in ("controls", "untrained")}
    result = audit(world.model, world.circuit, bare, n_random=N_RANDOM, progress=False, **given)
    for code in BY_INTERMEDIATE:
        found = row(result, code)
        assert found["word"] == NOT_MEASURED and "these PromptPairs carry no intermediate" in found["finding"]
    there = judge_on(world.model, world.circuit, given["controls"], n_random=0, progress=False).table.iloc[0]
    assert (
        numbers(result, "I3") == there[["kept", "low", "high"]].tolist() and row(result, "I3")["measured_by"] == "judge_on"
    )
    for code in ("C1", "C3", "E3", "E5"):
        assert row(result, code)["word"] == NOT_MEASURED and "nothing was given" in row(result, code)["finding"]


@pytest.mark.slow
def test_pairs_with_intermediates_do_without_a_task(world: SimpleNamespace) -> None:
    result = audit(world.model, world.circuit, world.pairs, n_random=N_RANDOM, progress=False)
    finding = row(result, "E1")["finding"]
    try:
        graded = graded_response(world.model, world.pairs, progress=False)
    except ValueError as error:
        assert row(result, "E1")["word"] == NOT_MEASURED and finding == str(error)
    else:
        assert finding == graded.caption and numbers(result, "E1")[0] == graded.reached.value


def test_a_model_whose_weights_are_not_known_has_reasons(
    small: tuple[HookedTransformer, Circuit, PromptPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "weight_problems", lambda model, graph: ["no matrices", "none at all"])
    monkeypatch.setattr(module, "rewrite_problems", lambda model: ["unknown class"])
    result = audit(*small, n_random=1, progress=False)
    assert row(result, "C2")["finding"] == "no matrices; none at all" and row(result, "M2")["finding"] == "unknown class"
    assert [result.words[code] for code in ("C2", "M2")] == [NOT_MEASURED] * 2


def test_without_changes_by_query_nothing_is_said_of_halves(small: tuple[HookedTransformer, Circuit, PromptPairs]) -> None:
    model, circuit, pairs = small
    result = audit(model, replace(circuit, deltas=None, donor_gaps=None), pairs, n_random=1, progress=False)
    assert row(result, "M1")["word"] == NOT_MEASURED and "no changes by query" in row(result, "M1")["finding"]
    assert row(result, "I4")["n"] == 3


def test_with_too_few_pairs_for_two_halves_no_rival_is_searched(
    small: tuple[HookedTransformer, Circuit, PromptPairs],
) -> None:
    result = audit(*small, n_random=1, progress=False)
    for code in ("I6", "V4"):
        assert row(result, code)["word"] == NOT_MEASURED and "needed are 8 each" in row(result, code)["finding"]
    assert row(result, "I2")["n"] == len(small[2]) == 9


@pytest.mark.parametrize(
    "instrument",
    [
        "faithfulness",
        *(
            pytest.param(each, marks=pytest.mark.slow)
            for each in ("necessity", "invariance", "composition_scores", "path_patch")
        ),
    ],
)
def test_an_error_of_an_instrument_is_not_taken_for_a_reason(
    world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, instrument: str
) -> None:
    def broken(*args: object, **how: object) -> None:
        raise ValueError("shapes do not fit")

    monkeypatch.setattr(module, instrument, broken)
    with pytest.raises(ValueError, match="shapes do not fit"):
        audit(world.model, world.circuit, world.pairs, n_random=1, progress=False)


def test_memory_is_given_to_every_instrument_that_takes_it(world: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spied(name: str) -> Any:
        original = getattr(module, name)
        return lambda *args, **how: seen.setdefault(name, []).append(how["max_memory"]) or original(*args, **how)

    names = ("faithfulness", "necessity", "rival_circuits", "invariance", "judge_on", "graded_response", "edge_attribution")
    names = (*names, "path_patch", "runs_to_judge", "CircuitRuns")
    for name in names:
        monkeypatch.setattr(module, name, spied(name))
    given = {"untrained": world.given["untrained"], "max_memory": 2**30}
    audit(world.model, world.circuit, world.pairs, n_random=1, progress=False, **given)
    assert set(seen) == set(names) and {each for found in seen.values() for each in found} == {2**30}


def test_predicted_edges_are_held_against_chance(small: tuple[HookedTransformer, Circuit, PromptPairs]) -> None:
    model, circuit, pairs = small
    kept = circuit.kept_edges
    others = [edge for edge in circuit.measured_edges if edge not in kept]

    def found(*edges: str | Edge) -> pd.Series:
        return row(audit(model, circuit, pairs, predicted=edges, n_random=1, progress=False), "C1")

    right = found(*map(str, kept[:3]))  # as names
    assert (right["word"], right["value"], right["n"]) == (MET, 1.0, 3)
    wrong = found(*others[:2], kept[0])
    assert (wrong["word"], wrong["value"], wrong["n"]) == (MISSED, pytest.approx(1 / 3), 3)
    p = 1 - math.comb(len(others), 3) / math.comb(len(kept) + len(others), 3)
    assert p > 0.05 and f"p = {p:.3g}" in wrong["finding"]


@pytest.fixture(scope="module")
def small() -> tuple[HookedTransformer, Circuit, PromptPairs]:
    model = strong_model(0)
    return model, discover(model, wide_pairs(0), top_k=10, progress=False), other_pairs(0)


@pytest.mark.usefixtures("as_users_call")
def test_wrong_arguments_are_refused_all_at_once_before_anything_is_measured(
    small: tuple[HookedTransformer, Circuit, PromptPairs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sys.modules["grokscope.analyses.validity.audit"],
        "measure_circuit",
        lambda *args, **how: pytest.fail("it was measured"),
    )
    model, circuit, pairs = small
    edge = str(circuit.kept_edges[0])
    wrong: dict[str, Any] = {
        "controls": {"r2": 3},
        "other_tasks": pairs,
        "queries": "all",
        "predicted": [edge, "L7H0@h -> logits@r2", "nothing", edge],
        "n_random": 0,
        "seed": -1,
        "max_memory": 0,
        "progress": 2,
        "engine": "slow",
    }
    with pytest.raises(ValueError, match="n_random") as error:
        audit(model, circuit, None, **wrong)  # pyright: ignore[reportArgumentType]
    says = str(error.value)
    for part in (
        "pairs is None", "controls['r2'] is ", "other_tasks are pairs by name", "queries are of a task", "queries is ",
        "predicted edges that the circuit did not measure: L7H0@h -> logits@r2, nothing", f"named more than once: {edge}",
        "seed", "max_memory", "progress", "engine",
    ):  # fmt: skip
        assert part in says, part


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"circuit": [1]}, "a circuit is .*, needed is a Circuit"),
        ({"replicates": [3]}, "a circuit is 3, needed is a Circuit"),
        ({"predicted": []}, "predicted names no edge"),
        ({"predicted": "embed@h -> MLP0@h"}, "predicted is .*, needed are names"),
        ({"other_splits": [1]}, "other_splits are pairs by name"),
        ({"task": "a task"}, "a task has many questions: give the queries to ask, too"),
        ({"controls": {"far": replace(wide_pairs(0), answers=torch.full((12,), 99))}}, "99"),
    ],
)
def test_each_wrong_argument_is_named(
    small: tuple[HookedTransformer, Circuit, PromptPairs], wrong: dict[str, Any], says: str
) -> None:
    model, circuit, pairs = small
    given = {"circuit": circuit} | wrong
    with pytest.raises(ValueError, match=says):
        audit(model, pairs=pairs, **given)


def test_questions_of_another_vocabulary_are_refused_and_no_reason(world: SimpleNamespace) -> None:
    queries = world.given["queries"]
    foreign = replace(queries, tokens=queries.tokens + 1000)
    with pytest.raises(ValueError, match="10"):
        audit(world.model, world.circuit, world.pairs, task=world.task, queries=foreign, progress=False)


def test_pairs_of_the_choosing_half_are_refused(small: tuple[HookedTransformer, Circuit, PromptPairs]) -> None:
    model, circuit, _ = small
    with pytest.raises(ValueError, match=r"shares? "):
        audit(model, circuit, wide_pairs(0), progress=False)


def test_a_circuit_of_edges_at_all_positions_together(small: tuple[HookedTransformer, Circuit, PromptPairs]) -> None:
    model, _, pairs = small
    circuit = discover(model, wide_pairs(0), positions="together", top_k=6, progress=False)
    result = audit(model, circuit, pairs, n_random=2, other_splits={"same": pairs}, progress=False)
    judged = faithfulness(model, circuit, pairs, n_random=2, progress=False)
    assert numbers(result, "I2") == judged.table.iloc[0][["faithfulness", "low", "high"]].tolist()
    assert numbers(result, "E5")[0] == pytest.approx(judged.faithfulness)
    assert not math.isnan(row(result, "C5")["value"]) and not math.isnan(row(result, "I4")["value"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table_and_the_caption_says_what_is_audited(
    small: tuple[HookedTransformer, Circuit, PromptPairs],
) -> None:
    model, circuit, pairs = small
    tables = [audit(model, circuit, pairs, n_random=5, seed=seed, progress=False) for seed in (1, 1, 2)]
    assert tables[0].table.equals(tables[1].table) and not tables[0].table.equals(tables[2].table)
    assert tables[0].caption.startswith(f"{model.cfg.model_name}, {len(circuit.kept_edges)} edges: ")
