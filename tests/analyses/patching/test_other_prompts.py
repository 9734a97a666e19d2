"""A circuit on other prompts: as `faithfulness` on the same pairs, elsewhere as literal runs one pair at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, other_pairs, random_pairs, strong_model, wide_pairs
from explained import assert_explained
from handset import BRIDGE_EDGES, RELATION_2_EDGES, handset_model

from grokscope.analyses import discover, faithfulness, graph_of, run_with_edges
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.other_prompts import NUMBERS, OtherPromptsResult, edges_there, judge_on
from grokscope.circuits import Circuit, Edge, Result
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer

KEPT, LEFT = ["kept", "low", "high"], ["without", "without_low", "without_high"]


def judged(
    model: HookedTransformer, circuit: Circuit, prompts: dict[str, PromptPairs], **how: Any
) -> tuple[OtherPromptsResult, list[dict[Any, Any]]]:
    result = judge_on(model, circuit, prompts, progress=False, **how)
    return result, result.table.to_dict("records")


def read_at(model: HookedTransformer, position: int, n: int = 10, *, seed: int = 5) -> PromptPairs:
    """Pairs whose answer and foil the model prefers at a position."""
    pairs = random_pairs(seed, n)
    with torch.no_grad():
        change = (model(pairs.clean) - model(pairs.corrupt))[:, position]
    answers, foils = change.argmax(-1), change.argmin(-1)
    return PromptPairs(pairs.clean, pairs.corrupt, answers, foils, roles=pairs.roles, answer_position=position)


@pytest.mark.parametrize("background", ["corrupt", "mean"])
@pytest.mark.parametrize("seed", range(2))
def test_on_the_same_pairs_it_is_what_faithfulness_finds(seed: int, background: str) -> None:
    model, others = strong_model(seed), other_pairs(seed)
    circuit = discover(model, wide_pairs(seed), top_k=20, progress=False)
    found = faithfulness(model, circuit, others, background=background, n_random=5, seed=3, progress=False)
    result, (row,) = judged(model, circuit, {"same": others}, background=background, n_random=5, seed=3)
    first, random = found.table.iloc[0], found.table.iloc[1:]
    assert [row[name] for name in KEPT] == pytest.approx(first[["faithfulness", "low", "high"]].tolist(), abs=1e-12)
    assert [row[name] for name in LEFT] == pytest.approx(first[LEFT].tolist(), abs=1e-12)
    assert [row[name] for name in ("gap", "n", "n_units", "n_edges")] == first[["gap", "n", "n_units", "n_edges"]].tolist()
    assert row["random"] == pytest.approx(random["faithfulness"].median())
    assert row["random_lost"] == pytest.approx(1 - random["without"].median()) and row["reason"] == ""
    assert row["lost"] == 1 - row["without"]
    assert (row["lost_low"], row["lost_high"]) == (1 - row["without_high"], 1 - row["without_low"])
    assert row["lost_low"] <= row["lost"] <= row["lost_high"] and result.background == background and no_hooks_left(model)


def edges_of(circuit: Circuit, pairs: PromptPairs, model: HookedTransformer) -> set[str]:
    """By names: kept edges that are there, and from each kept sender that leads to the answer there."""
    kept, there = (
        set(map(str, circuit.kept_edges)),
        list(map(str, graph_of(model, pairs.roles, pairs.answer_position).edges)),
    )
    senders = {edge.split(" -> ")[0] for edge in kept}
    answer = f"logits@{pairs.answer_role}"
    read = {edge for edge in there if edge.split(" -> ")[0] in senders and edge.endswith(f" -> {answer}")}
    return {edge for edge in there if edge in kept} | (read if pairs.answer_position != 2 else set())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("position", [0, 1])
def test_where_the_answer_is_read_elsewhere_it_equals_runs_of_one_pair_at_a_time(position: int, seed: int) -> None:
    model = strong_model(seed)
    circuit, pairs = discover(model, wide_pairs(seed), top_k=25, progress=False), read_at(model, position, seed=seed)
    _, (row,) = judged(model, circuit, {"elsewhere": pairs}, n_random=0)
    edges = edges_of(circuit, pairs, model)
    rest = [edge for edge in graph_of(model, pairs.roles, position).edges if str(edge) not in edges]
    assert any(edge.endswith(f"logits@{pairs.answer_role}") for edge in edges) and not edges <= set(
        map(str, circuit.kept_edges)
    )
    sums = np.zeros(4)
    for number in range(len(pairs)):
        one = pairs.take(torch.tensor([number]))
        runs = [run_with_edges(model, one, each)[0] for each in (sorted(edges), rest)]
        with torch.no_grad():
            runs += [model(tokens)[0, position] for tokens in (one.clean, one.corrupt)]
        sums += [float(logits[one.answers[0]] - logits[one.foils[0]]) for logits in runs]
    alone, without, clean, corrupt = sums
    assert row["n_edges"] == len(edges) and row["gap"] == pytest.approx((clean - corrupt) / len(pairs))
    assert row["kept"] == pytest.approx((alone - corrupt) / (clean - corrupt))
    assert row["lost"] == pytest.approx(1 - (without - corrupt) / (clean - corrupt))
    assert row["low"] <= row["kept"] <= row["high"] and row["random"] != row["random"]


def test_edges_there_are_its_own_in_the_graph_and_no_others_where_the_answer_is_the_same() -> None:
    model = strong_model(1)
    circuit = discover(model, wide_pairs(1), top_k=20, progress=False)
    assert edges_there(circuit, circuit.graph) == sorted(circuit.kept_edges)
    graph = graph_of(model, circuit.graph.roles, 1)
    found = edges_there(circuit, graph)
    assert found == sorted(set(found)) and set(map(str, found)) == edges_of(circuit, read_at(model, 1), model)
    senders = {edge.sender for edge in circuit.kept_edges}
    assert all(edge in graph.edges and (edge in circuit.kept_edges or edge.sender in senders) for edge in found)


@pytest.fixture(scope="module")
def hand_set(evidence_world: TwoHopTask) -> tuple[HookedTransformer, Circuit, TwoHopTask]:
    model = handset_model(evidence_world.graph)
    pairs = make_pairs(evidence_world, split="test_inferred_iid", contrast="bridge", n=40, seed=0)
    circuit = discover(model, pairs, progress=False)
    assert set(map(str, circuit.kept_edges)) == set(BRIDGE_EDGES)
    return model, circuit, evidence_world


def test_the_circuit_of_the_bridge_does_nothing_for_a_control_variable(
    hand_set: tuple[HookedTransformer, Circuit, TwoHopTask],
) -> None:
    """A change of r2 goes from its embedding to the last MLP, which the bridge does not; from there they share an edge."""
    model, circuit, task = hand_set
    pairs = {
        name: make_pairs(task, split="train_inferred", contrast=name, n=40, seed=1) for name in ("bridge", "relation_2")
    }
    result, (bridge, control) = judged(model, circuit, pairs, n_random=5)
    assert bridge["kept"] == pytest.approx(1.0) and bridge["lost"] == pytest.approx(1.0)
    assert control["kept"] == pytest.approx(0.0, abs=1e-6) and control["gap"] > 1.0 and control["n_edges"] == 6
    assert control["lost"] == pytest.approx(1.0)  # for want of the edge that both need
    other = replace(circuit, table=circuit.table.assign(kept=_named(circuit).isin(RELATION_2_EDGES)))
    _, (bridge, control) = judged(model, other, pairs, n_random=5)
    assert control["kept"] == pytest.approx(1.0) and bridge["kept"] == pytest.approx(0.0, abs=1e-6)
    assert result.caption.startswith("hand-set · bridge: keeps 1.00, loses 1.00; relation_2: keeps 0.00, loses 1.00")


def _named(circuit: Circuit) -> pd.Series:
    return circuit.table["sender"] + " -> " + circuit.table["receiver"]


def test_what_has_no_number_says_why_and_does_not_keep_others_from_having_one() -> None:
    model, others = strong_model(2), other_pairs(2)
    circuit = discover(model, wide_pairs(2), top_k=20, progress=False)
    swapped = torch.arange(len(others)) % 2 == 0  # answers and foils, so that gaps cancel
    answers, foils = (
        torch.where(swapped, *each) for each in ((others.foils, others.answers), (others.answers, others.foils))
    )
    alike = replace(others, answers=answers, foils=foils)
    result, rows = judged(model, circuit, {"few": others.take(torch.arange(7)), "no gap": alike, "fine": others}, n_random=2)
    assert [row["prompts"] for row in rows] == ["few", "no gap", "fine"]
    assert rows[0]["reason"] == "7 pairs are too few, needed are 8" and rows[0]["n"] == 7
    assert rows[1]["reason"].startswith("the gap's 95 % interval [") and rows[1]["n_edges"] > 0
    assert abs(rows[1]["gap"]) < abs(rows[2]["gap"]) / 2
    assert rows[2]["reason"] == "" and not np.isnan(rows[2]["kept"])
    for row in rows[:2]:
        assert all(np.isnan(row[name]) for name in NUMBERS) and row["reason"] in result.caption


def test_a_circuit_that_has_no_edge_there_has_no_number() -> None:
    model = strong_model(3)
    circuit = discover(model, wide_pairs(3), top_k=20, progress=False)
    edge = Edge.parse("embed@r2 -> logits@r2")
    single = replace(circuit, table=circuit.table.assign(kept=_named(circuit) == str(edge)))
    _, (row,) = judged(model, single, {"at h": read_at(model, 0)})
    assert row["reason"] == "the circuit has no edge there" and row["n_edges"] == 0 and np.isnan(row["kept"])


def test_edges_that_do_not_reach_the_answer_keep_nothing_and_have_no_random_likes() -> None:
    model, pairs = strong_model(4), other_pairs(4)
    circuit = discover(model, wide_pairs(4), top_k=20, progress=False)
    cut = replace(circuit, table=circuit.table.assign(kept=circuit.table["receiver"] == "MLP0@h"))
    _, (row,) = judged(model, cut, {"same": pairs}, n_random=3)
    assert row["n_edges"] > 0 and row["kept"] == pytest.approx(0.0, abs=1e-12) and np.isnan(row["random"])


def test_edges_at_all_positions_together_are_found_there_too() -> None:
    model, others = strong_model(0), other_pairs(0)
    circuit = discover(model, wide_pairs(0), positions="together", top_k=6, progress=False)
    _, (row,) = judged(model, circuit, {"same": others}, n_random=0)
    found = faithfulness(model, circuit, others, n_random=0, progress=False).table.iloc[0]
    assert [row[name] for name in KEPT] == pytest.approx(found[["faithfulness", "low", "high"]].tolist())
    assert row["n_edges"] == len(circuit.kept_edges)


def test_random_circuits_follow_the_seed_and_their_number() -> None:
    model, others = strong_model(1), other_pairs(1)
    circuit = discover(model, wide_pairs(1), top_k=20, progress=False)
    found = [judged(model, circuit, {"": others}, n_random=4, seed=seed)[1][0]["random"] for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    random = judged(model, circuit, {"": others}, n_random=0)[1][0]
    assert np.isnan(random["random"]) and np.isnan(random["random_lost"]) and not np.isnan(random["kept"])


def test_the_metric_is_the_one_given() -> None:
    model, others = strong_model(1), other_pairs(1)
    circuit = discover(model, wide_pairs(1), top_k=20, progress=False)

    def answer(logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        return logits[torch.arange(len(answers)), answers]

    _, (row,) = judged(model, circuit, {"": others}, metric=answer)
    assert row["gap"] == CircuitRuns(model, others, metric=answer, progress=False).gap[0]
    assert row["gap"] != judged(model, circuit, {"": others})[1][0]["gap"]


@pytest.mark.usefixtures("as_users_call")
def test_wrong_arguments_are_refused_all_at_once() -> None:
    model, others = strong_model(1), other_pairs(1)
    circuit = discover(model, wide_pairs(1), top_k=20, progress=False)
    with pytest.raises(ValueError, match="two is ") as error:
        judge_on(model, circuit, {"one": others, "two": 2}, n_random=-1, seed=-1)  # pyright: ignore[reportArgumentType]
    assert all(part in str(error.value) for part in ("n_random", "seed"))
    for none in ({}, others, None):
        with pytest.raises(ValueError, match="prompts are pairs by name, such as"):
            judge_on(model, circuit, none)  # pyright: ignore[reportArgumentType]
    empty = replace(circuit, table=circuit.table.assign(kept=False))
    with pytest.raises(ValueError, match="the circuit keeps no edge"):
        judge_on(model, empty, {"": others})
    with pytest.raises(ValueError, match="no background 'none'; there are corrupt"):
        judge_on(model, circuit, {"": others}, background="none")  # pyright: ignore[reportArgumentType]


def test_it_is_saved_and_loaded() -> None:
    model, others = strong_model(2), other_pairs(2)
    circuit = discover(model, wide_pairs(2), top_k=20, progress=False)
    result, _ = judged(model, circuit, {"few": others.take(torch.arange(3)), "all": others}, n_random=0)
    again = Result.from_json(result.to_json())
    assert isinstance(again, OtherPromptsResult) and again.caption == result.caption and again.table.equals(result.table)


def test_what_it_says_of_itself_is_what_it_holds() -> None:
    model, others = strong_model(2), other_pairs(2)
    circuit = discover(model, wide_pairs(2), top_k=20, progress=False)
    result, (few, fine) = judged(model, circuit, {"few": others.take(torch.arange(3)), "all": others}, n_random=2)
    assert_explained(result)
    said = f"few: {few['reason']}; all: keeps {fine['kept']:.2f}, loses {fine['lost']:.2f}"
    assert said in result.explain().means and f"[{fine['low']:.2f}, {fine['high']:.2f}]" in result.explain().sure
    alone = replace(result, table=result.table.head(1))
    assert alone.explain().sure == "No interval was computed."
    assert "no rows" in replace(result, table=result.table.head(0)).explain().means
