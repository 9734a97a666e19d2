"""Dose, reach and specificity where they are planted, against evidence at dose 1, and against literal hooked runs."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from carry import carry_model, carry_pairs
from conftest import no_hooks_left, random_model
from explained import assert_explained
from handset import handset_model, lookup_model, pair_code_model
from token_mixing import SHAPES, mixing_model

from grokscope.analyses.bridge import graded_response as module
from grokscope.analyses.bridge.bridge_effects import BridgeEffects
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.bridge.evidence import bridge_evidence
from grokscope.analyses.bridge.graded_response import DOSES, GradedResponseResult, graded_response
from grokscope.analyses.bridge.interchange import questions_with_donors, values_and_answers
from grokscope.analyses.bridge.probing import as_array, fit_probe, said_by
from grokscope.analyses.bridge.questions import halves_by_unit, sample
from grokscope.analyses.bridge.token_parts import token_turn
from grokscope.analyses.forward.model import graph_of
from grokscope.analyses.forward.state_runs import run_model, with_states
from grokscope.circuits import Result
from grokscope.tasks import Queries, TwoHopTask, build_model

SPLIT = "test_inferred_iid"


def some(task: TwoHopTask, split: str = SPLIT, *, seed: int = 0) -> Queries:
    """The questions that `bridge_evidence` asks."""
    return sample(task.split(split), 256, max_units=task.n_reference // 2, seed=seed)


def column(result: GradedResponseResult, name: str, direction: str = "bridge") -> list[float]:
    return result.table.loc[result.table["direction"] == direction, name].tolist()


def at_one(result: GradedResponseResult, name: str, direction: str = "bridge") -> float:
    return dict(zip(column(result, "dose", direction), column(result, name, direction), strict=True))[1.0]


def test_a_planted_bridge_turns_all_answers_from_half_a_dose_on(evidence_world: TwoHopTask) -> None:
    """Below .5 the second hop sees more of the old bridge than of the new one, above it less."""
    model = handset_model(evidence_world.graph)
    result = graded_response(model, evidence_world, some(evidence_world))
    assert (result.layer, result.role, result.control) == (0, "r1", "r2") and no_hooks_left(model)
    assert column(result, "dose") == list(DOSES)
    assert column(result, "moved") == [0.0] * 3 + [1.0] * 8 and column(result, "kept") == [1.0] * 3 + [0.0] * 8
    assert (
        result.threshold == pytest.approx(0.5)
        and result.plateau == 0.0
        and result.monotone == pytest.approx(0.775, abs=1e-3)
    )
    accuracy = column(result, "decoded_old")[0]  # values of fewer than two other units are not read
    assert result.reached.value >= accuracy > 0.8 and result.reached.low > 0.75 and at_one(result, "decoded_old") == 0.0
    assert column(result, "decoded_later") == column(result, "decoded")  # nothing is written at r1 any more
    assert result.specific.value > 0.85 and result.specific.low > 0.7
    assert max(at_one(result, "moved", other) for other in ("random", "control")) < 0.15
    for other in ("random", "control"):
        assert column(result, "length", other) == pytest.approx(column(result, "length"))
        assert at_one(result, "decoded", other) < 0.2


def test_a_decoy_is_reached_and_moves_no_answer(evidence_world: TwoHopTask) -> None:
    model = lookup_model(evidence_world.graph, torch.from_numpy(evidence_world.trained), decoy=True)
    result = graded_response(model, evidence_world, some(evidence_world, "train_inferred"), cell=(0, "r1"))
    assert result.reached.low > 0.75 and at_one(result, "decoded_later") > 0.8
    assert at_one(result, "moved") < 0.02 and at_one(result, "kept") > 0.95 and result.specific.value < 0.02
    assert column(result, "moved")[-1] < 0.25  # twice the mean of several h opens a neuron of one of them here and there
    assert result.n_chosen_on == 0 and result.n_asked == len(some(evidence_world, "train_inferred"))


def test_a_state_that_knows_no_bridge_is_not_called_reached(evidence_world: TwoHopTask) -> None:
    """A probe of the units of which effects are means reads any difference of means as the new value."""
    model = lookup_model(evidence_world.graph, torch.from_numpy(evidence_world.trained), noise=0.03)
    queries = some(evidence_world, "train_inferred")
    result = graded_response(model, evidence_world, queries, cell=(0, "h"))
    graph = graph_of(model, queries.roles, 2)
    means = BridgeMeans(model, graph, evidence_world, queries, intermediate="bridge", seed=0)
    asked, found = questions_with_donors(model, graph, evidence_world, queries, means, second_hop="ID", seed=0)
    effects, new = BridgeEffects(means, queries), values_and_answers(found)[0]
    state = run_model(model, graph, asked.tokens).state(0)[:, 0]
    probe = fit_probe(as_array(means.run.state(0)[:, 0]), means.values.numpy())
    naive = said_by(probe, as_array(state + effects.of(0, 0, new) - effects.of(0, 0, asked.bridges))) == new.numpy()
    assert naive.mean() > 0.2 and result.reached.value < 0.1, (naive.mean(), result.reached)


def test_dose_1_is_the_direction_of_bridge_evidence(evidence_world: TwoHopTask) -> None:
    """In a pair code about half of the answers follow, so that equality is no matter of 0 and 1."""
    model = pair_code_model(evidence_world.graph)
    result = graded_response(model, evidence_world, some(evidence_world, seed=4), seed=4)
    measures = bridge_evidence(model, evidence_world, SPLIT, seed=4).measures
    here = (measures["layer"] == result.layer) & (measures["role"] == result.role)
    row = measures[here & (measures["measure"] == "direction")].iloc[0]
    assert 0.1 < row["value"] < 0.9 and at_one(result, "moved") == row["value"]
    assert (at_one(result, "n"), at_one(result, "n_facts")) == (row["n"], row["n_facts"])


def test_the_cell_is_chosen_on_other_units_than_are_counted(
    evidence_world: TwoHopTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, asked = some(evidence_world), []
    monkeypatch.setattr(
        module, "answers_with", lambda *args, _run=module.answers_with, **kw: asked.append(args[2]) or _run(*args, **kw)
    )
    result = graded_response(handset_model(evidence_world.graph), evidence_world, queries)
    chosen_on, counted = (set(each.unit.tolist()) for each in asked)
    assert not chosen_on & counted and len(counted) == at_one(result, "n_facts")
    assert result.n_chosen_on == halves_by_unit(queries, seed=0)[0].n_units >= len(chosen_on) > 20


def hooked(model: Any, tokens: torch.Tensor, name: str, position: int, state: torch.Tensor, last: str) -> tuple[Any, Any]:
    """The logits of one prompt with one state put in, and all states at another hook point."""
    seen = {}

    def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation = activation.clone()
        activation[0, position] = state
        return activation

    def note(activation: torch.Tensor, hook: object) -> None:
        seen[last] = activation[0].clone()

    with torch.no_grad():
        logits = model.run_with_hooks(tokens[None], fwd_hooks=[(name, put), (last, note)])[0]
    return logits, seen[last]


@pytest.mark.parametrize("cell", [(0, "r1"), (1, "r2")])
def test_answers_equal_literal_hooked_runs_question_by_question(evidence_world: TwoHopTask, cell: tuple[int, str]) -> None:
    model = handset_model(evidence_world.graph, noise=0.08, seed=1).double()
    compare_with_literal(
        model, evidence_world, sample(evidence_world.split(SPLIT), 60, max_units=40, seed=0), cell, "resid_post"
    )


@pytest.mark.parametrize("cell", [(0, "r1"), (2, "h")])
def test_token_mixing_networks_equal_literal_hooked_runs(cell: tuple[int, str]) -> None:
    """Their own answers are asked for, so that all are right."""
    sizes: dict[str, Any] = {"n_entities": 12, "n_relations": 8, "out_degree": 6, "ood_fraction": 0.1, "test_fraction": 0.1}
    task = TwoHopTask.random(**sizes, layout="four_slots", seed=0)
    model, queries = build_model(SHAPES["short"], task, seed=3).double(), task.split("train_inferred")
    with torch.no_grad():
        given = model(queries.tokens)[:, queries.answer_position].argmax(-1)
    queries = sample(replace(queries, answers=given), 60, max_units=30, seed=0)
    compare_with_literal(model, task, queries, cell, "out")


def compare_with_literal(model: Any, task: TwoHopTask, queries: Queries, cell: tuple[int, str], hook: str) -> None:
    """Answers of the intermediate's direction; effects by a least-squares fit of states, bridge and tokens."""
    doses, (layer, role) = (0.0, 0.7, 1.0, 3.0), cell
    result = graded_response(model, task, queries, cell=cell, doses=doses, seed=2)
    graph, position = graph_of(model, queries.roles, queries.answer_position), queries.roles.index(role)
    means = BridgeMeans(model, graph, task, queries, intermediate="bridge", seed=2)
    asked, found = questions_with_donors(model, graph, task, queries, means, second_hop="ID", seed=2)
    name, last = f"blocks.{layer}.hook_{hook}", f"blocks.{model.cfg.n_layers - 1}.hook_{hook}"

    def state_of(tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.run_with_cache(tokens[None])[1][name][0, position]

    states = np.stack([state_of(tokens).numpy() for tokens in means.questions.tokens])
    one_hot = [np.eye(int(each.max()) + 1)[each.numpy()] for each in (means.values, means.questions.tokens[:, position])]
    fit = np.concatenate(one_hot, 1) if role == "r2" else one_hot[0]
    effects = np.linalg.lstsq(fit, states, rcond=None)[0]
    counts: dict[str, list[int]] = {"moved": [], "kept": []}
    for dose in doses:
        given = []
        for row, donor in enumerate(found):
            turn = torch.from_numpy(effects[donor.value] - effects[int(asked.bridges[row])])
            state = state_of(asked.tokens[row]) + dose * turn
            given.append(
                int(hooked(model, asked.tokens[row], name, position, state, last)[0][asked.answer_position].argmax())
            )
        counts["moved"].append(sum(answer == donor.answer for answer, donor in zip(given, found, strict=True)))
        counts["kept"].append(sum(answer == int(right) for answer, right in zip(given, asked.answers, strict=True)))
    assert len(found) > 10 and counts["kept"][0] == len(found) > counts["kept"][-1], counts
    for share, expected in counts.items():
        assert np.array(column(result, share)) * len(found) == pytest.approx(expected), share


@pytest.mark.parametrize("kind", ["transformer", "bidirectional", "token mixing"])
def test_the_last_state_after_a_change_equals_a_literal_hooked_one(kind: str) -> None:
    """At the changed position, which in a causal model cannot reach the answer after the last layer."""
    mixing = kind == "token mixing"
    model: Any = (
        mixing_model("two blocks")
        if mixing
        else random_model(0, n_layers=3, attention_dir="bidirectional" if kind == "bidirectional" else "causal")
    )
    hook, n = ("out", 4) if mixing else ("resid_post", 3)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 11, (4, n), generator=generator)
    graph = graph_of(model, ("h", "r1", "r2", "answer")[:n], n - 1)
    run, last = run_model(model, graph, tokens), graph.n_layers - 1
    for layer in range(graph.n_layers):
        for position in range(n):
            states = torch.randn(2, 4, model.cfg.d_model, generator=generator, dtype=torch.float64)
            found = with_states(module._to_last_state(run, position), layer, {position: states})
            for copy in range(2):
                for row in range(4):
                    names = [f"blocks.{each}.hook_{hook}" for each in (layer, last)]
                    literal = hooked(model, tokens[row], names[0], position, states[copy, row], names[1])[1][position]
                    torch.testing.assert_close(found[copy, row], states[copy, row] if layer == last else literal)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("seed", range(5))
def test_the_controls_difference_is_that_of_two_tokens(seed: int) -> None:
    """States are planted as sums; the last token is known of no other unit, so that its part is the mean of all."""
    rng = np.random.default_rng(seed)
    values, tokens = (torch.from_numpy(rng.permutation(np.arange(120) % n)) for n in (6, 5))
    of_value, of_token = (torch.from_numpy(rng.normal(size=(n, 16))) for n in (6, 5))
    states = of_value[values] + of_token[tokens]
    means: Any = SimpleNamespace(
        values=values,
        questions=SimpleNamespace(tokens=torch.stack([tokens, 10 + tokens], 1)),
        run=SimpleNamespace(state=lambda layer: states[:, None]),
    )
    asked = Queries(torch.tensor([[0, 10], [1, 12], [2, 14], [3, 99]]), torch.zeros(4, dtype=torch.long), roles=("a", "b"))
    turn = token_turn(means, asked, (0, 0), 1, seed=seed)
    for row, own in enumerate((0, 2, 4, None)):
        start = of_token.mean(0) if own is None else of_token[own]
        errors = [float((turn[row] - (of_token[new] - start)).abs().max()) for new in range(5) if new != own]
        assert min(errors) < 1e-9 and sorted(errors)[1] > 1e-3


def test_pairs_with_a_carry_and_a_role_to_control() -> None:
    result = graded_response(carry_model(), carry_pairs())
    assert (result.layer, result.role, result.intermediate, result.control) == (0, "b", "carry", "c")
    assert at_one(result, "moved", "carry") == 1.0 and at_one(result, "moved", "control") < 0.3
    assert result.reached.value > 0.95 and column(result, "kept", "control")[0] == 1.0
    alone = carry_pairs(300)
    alone = replace(alone, unit=torch.arange(len(alone)))
    without = graded_response(carry_model(), alone, cell=(0, "b"))
    assert set(without.table["direction"]) == {"carry", "random"} and without.control == ""
    assert np.isnan(without.specific.value) and (without.specific.low, without.specific.high) == (-1.0, 1.0)
    assert graded_response(carry_model(), alone, cell=(0, "b"), control="a").control == "a"


def test_neither_parts_nor_order_of_drawing_change_a_number(
    evidence_world: TwoHopTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = handset_model(evidence_world.graph, noise=0.05)
    ask = partial(graded_response, model, evidence_world, some(evidence_world), progress=False)
    whole = ask()
    monkeypatch.setattr("grokscope.analyses.forward.memory.MAX_BATCH", 50)
    pd.testing.assert_frame_equal(ask().table, whole.table)
    fewer = ask(doses=(0.4, 1.0)).table
    expected = whole.table[whole.table["dose"].isin((0.4, 1.0))].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer, expected)
    assert not ask(seed=1).table.equals(whole.table)


def made(moved: list[float], doses: list[float]) -> GradedResponseResult:
    """A result whose intermediate moves these shares of answers, and whose control moves a tenth."""
    rows = pd.DataFrame({"dose": doses, "direction": "bridge", "moved": moved})
    rows = pd.concat([rows, rows.assign(direction="control", moved=0.1)], ignore_index=True)
    shares = dict.fromkeys(("decoded", "kept", "decoded_low", "decoded_high", "moved_low", "moved_high"), 0.5)
    return GradedResponseResult(rows.assign(**shares, n=40, n_facts=30), "m", "s", 0, "r1", "bridge", "r2", 50, 0)


def test_what_is_said_of_a_response_follows_from_its_numbers() -> None:
    result = made([0.0, 0.1, 0.3, 0.7, 0.8, 0.75], [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert result.threshold == pytest.approx(1.125)  # .4, a quarter of the way from .3 to .7
    assert result.plateau == pytest.approx(0.75 - 0.8) and result.monotone == pytest.approx(1.0)
    assert made([0.0, 0.4, 0.2, 0.8], [0, 1, 2, 3]).monotone == pytest.approx(0.8)  # ranks 1, 3, 2, 4
    assert made([0.8, 0.4], [0, 1]).threshold == 0.0  # from the first dose on
    assert np.isnan(made([0.0, 0.0], [0, 1]).threshold) and np.isnan(made([0.4, 0.0], [0, 1]).monotone)
    assert result.specific.value == pytest.approx(0.2) and result.specific.low < 0.2 < result.specific.high
    assert result.reached == (0.5, 0.5, 0.5, 40, 30) and "n = 40 of 50 questions over 30 units" in result.caption


def test_its_figure_shows_the_tables_numbers_and_it_reads_back(evidence_world: TwoHopTask) -> None:
    result = graded_response(handset_model(evidence_world.graph), evidence_world, some(evidence_world), doses=(0, 0.5, 1))
    figure, directions = result.figure(), ["bridge", "random", "control"]
    lines = {trace.name: trace for trace in figure.data if trace.mode == "lines+markers"}
    assert list(lines) == directions and len(figure.data) == 6 and "n = " in figure.layout.title.text
    for direction, band in zip(directions, figure.data[::2], strict=True):
        assert list(lines[direction].y) == column(result, "moved", direction) and list(lines[direction].x) == [0.0, 0.5, 1.0]
        bounds = column(result, "moved_high", direction) + column(result, "moved_low", direction)[::-1]
        assert list(band.y) == bounds
    assert Result.from_json(result.to_json()) == result


@pytest.mark.usefixtures("as_users_call")
def test_what_cannot_be_asked_is_refused_with_all_problems(evidence_world: TwoHopTask) -> None:
    ask: Any = partial(graded_response, handset_model(evidence_world.graph), evidence_world)
    queries = some(evidence_world)
    with pytest.raises(
        ValueError, match=r"doses are two or more .* got \(0, 2\); a cell is a layer.*'r1'.*control is 3.*seed is"
    ):
        ask(queries, doses=(0, 2), cell="r1", control=3, seed=-1)
    for doses in ((1,), (1, 0.5), (-1, 1), (0, 1, 1), (1, float("inf")), "01", 1):
        with pytest.raises(
            ValueError, match="doses are two or more numbers from 0 on, each larger than the one before, 1 among"
        ):
            ask(queries, doses=doses)
    with pytest.raises(
        ValueError, match="no layer 2; there are -1, the embedding, to 1; no roles r9, x; there are h, r1, r2"
    ):
        ask(queries, cell=(2, "r9"), control="x")
    with pytest.raises(TypeError, match="give the queries to ask"):
        ask()
    with pytest.raises(ValueError, match="an intermediate cannot be called control, which is the control's name"):
        ask(replace(queries, intermediates={"control": queries.bridges}))
    only = queries.take(queries.unit == queries.unit[0])
    with pytest.raises(ValueError, match="none of the 0 questions"):
        ask(only)


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    result = graded_response(handset_model(evidence_world.graph), evidence_world, some(evidence_world), doses=(0, 0.5, 1))
    assert_explained(result)
    said = result.explain()
    assert f"At dose 1, {at_one(result, 'moved'):.2f} of the answers follow" in said.means
    assert f"tokens at r2 {at_one(result, 'moved', 'control'):.2f}. Half of" in said.means
    assert f"decodes as the new value in {at_one(result, 'decoded'):.2f} of" in said.sure
    still = made([0.0, 0.0], [0.0, 1.0]).explain()
    assert "Half of" not in still.means and "which was given" in still.would_change
    assert made([0.5], [0.5]).explain().means == "Nothing: the number is missing in all rows."  # no dose 1
