"""Bridge evidence on five models whose truth is planted, on resampled nulls, and against literal hooked runs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import no_hooks_left, random_model
from explained import assert_explained
from handset import copies_model, handset_model, lookup_model, pair_code_model

from grokscope.analyses import EvidenceResult, bridge_evidence
from grokscope.analyses.bridge.bridge_effects import BridgeEffects, apart_from_unit
from grokscope.analyses.bridge.bridge_means import BridgeMeans
from grokscope.analyses.bridge.evidence_verdicts import MARGIN, MIN_UNITS_TO_JUDGE, verdicts
from grokscope.analyses.bridge.questions import halves_by_unit, sample
from grokscope.analyses.bridge.verdicts import bridge_is
from grokscope.analyses.forward.model import graph_of
from grokscope.tasks import Run, TwoHopTask
from grokscope.tasks.transformerlens import HookedTransformer

VERDICTS = ["readable", "probe_readable", "necessary", "used"]


def at(result: EvidenceResult, layer: int, role: str) -> dict[str, object]:
    return result.at(layer, role).iloc[0].to_dict()


def values(result: EvidenceResult, layer: int, role: str) -> dict[str, float]:
    rows = result.measures.query("layer == @layer and role == @role")
    return dict(zip(rows["measure"], rows["value"], strict=True))


def trained(task: TwoHopTask) -> torch.Tensor:
    return torch.from_numpy(task.trained)


def test_planted_readable_used_and_aligned(evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    result = bridge_evidence(model, evidence_world, "test_inferred_iid")
    assert all(at(result, 0, "r1")[verdict] == "yes" for verdict in (*VERDICTS, "sufficient", "invariant", "aligned"))
    assert result.used_at == ["L0 r1", "L0 all positions"] and no_hooks_left(model)
    after = at(result, 1, "r1")  # still readable, no longer read
    assert after["readable"] == "yes" and after["used"] == after["necessary"] == "no"
    answer = at(result, 1, "r2")  # the whole answer can be exchanged, but holds no bridge
    assert answer["sufficient"] == answer["invariant"] == "yes" and answer["aligned"] == answer["used"] == "no"


def test_planted_rotated_basis_is_unreadable_by_the_lens_and_used(evidence_world: TwoHopTask) -> None:
    result = bridge_evidence(handset_model(evidence_world.graph, rotated=True), evidence_world, "test_inferred_iid")
    cell = at(result, 0, "r1")
    assert [cell[verdict] for verdict in VERDICTS] == ["no", "yes", "yes", "yes"]
    assert result.used_at == ["L0 r1", "L0 all positions"]


def test_planted_decoy_is_readable_and_not_used(evidence_world: TwoHopTask) -> None:
    model = lookup_model(evidence_world.graph, trained(evidence_world), decoy=True)
    result = bridge_evidence(model, evidence_world, "train_inferred")
    cell = at(result, 0, "r1")
    assert [cell[verdict] for verdict in VERDICTS] == ["yes", "yes", "no", "no"] and result.used_at == []


def test_planted_lookup_passes_with_trained_donors_only(evidence_world: TwoHopTask) -> None:
    model = lookup_model(evidence_world.graph, trained(evidence_world))
    result = bridge_evidence(model, evidence_world, "train_inferred")
    cell, numbers = at(result, 0, "r1"), values(result, 0, "r1")
    assert numbers["trained"] == 1.0 and numbers["held out"] < 0.2  # the trap, and what sees through it
    assert cell["readable"] == cell["used"] == "no" and cell["probe_readable"] != "yes" and result.used_at == []
    row = result.measures.query("layer == 0 and role == 'r1' and measure == 'held out'").iloc[0]
    assert row["donor_right"] == row["value"] and row["asks"] == "(h′, r1′, r2), never trained"  # at r1 it is that question


def test_planted_random_model_is_not_readable_and_undecided_for_want_of_answers(evidence_world: TwoHopTask) -> None:
    model = random_model(0, d_vocab=evidence_world.n_tokens, dtype=torch.float32)
    result = bridge_evidence(model, evidence_world, "test_inferred_iid")
    assert "yes" not in set(result.table[VERDICTS].to_numpy().ravel())
    lens = result.measures[result.measures["measure"] == "lens"]
    assert "no" in set(result.table["readable"]) and lens["excess"].abs().max() < 0.15
    assert (result.table["necessary"] == "undecided").all()
    reason = result.table["reason"].iloc[0]
    assert "causal verdicts need 20 hop-1 facts, there are " in reason and "questions are answered correctly" in reason
    assert result.caption.endswith(reason) and result.figure()


def pair_codes(seed: int) -> list[EvidenceResult]:
    """Evidence on a soft and a sharp pair code of one graph; on odd graphs with a decoy."""
    world = TwoHopTask.random(n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=seed)
    models = [
        pair_code_model(world.graph, sharp=sharp, decoy=seed % 2 == 1, noise=0.001, seed=seed) for sharp in (False, True)
    ]
    return [bridge_evidence(model, world, "test_inferred_iid", seed=seed) for model in models]


@pytest.mark.slow
def test_planted_pair_codes_answer_all_and_use_no_bridge() -> None:
    soft, sharp = pair_codes(1)
    for result in (soft, sharp):
        numbers = values(result, 0, "r1")
        assert numbers["held out"] == numbers["same bridge"] == 1.0  # as if the bridge were there
        assert at(result, 0, "r1")["readable"] == "yes"  # the decoy
        assert bridge_is(result) == "no" and result.used_at == []
    assert values(soft, 0, "r1")["direction"] > 0.2 and values(sharp, 0, "r1")["direction"] < 0.05


@pytest.mark.slow
def test_a_hundred_pair_codes_are_not_called_used() -> None:
    words = [[bridge_is(result) for result in pair_codes(seed)] for seed in range(100)]
    for each in zip(*words, strict=True):
        assert each.count("no") >= 95 and "yes" not in each


def test_planted_copies_are_used_together_where_neither_is_needed(evidence_world: TwoHopTask) -> None:
    result = bridge_evidence(copies_model(evidence_world.graph), evidence_world, "test_inferred_iid")
    assert [values(result, 0, role)["ablation"] for role in ("r1", "r2")] == [0.0, 0.0]
    assert values(result, 0, "all positions")["ablation"] > 0.8
    # where one of two copies is exchanged two answers tie, so rounding says whether a single position is called used, too
    assert "L0 all positions" in result.used_at and bridge_is(result) == "yes"
    together = at(result, 0, "all positions")
    assert together["readable"] == together["sufficient"] == "" and together["necessary"] == "yes"


@pytest.mark.slow
def test_a_hundred_models_that_use_the_bridge_are_called_so() -> None:
    builders = [handset_model, partial(handset_model, rotated=True), copies_model]
    for build in builders:
        found = []
        for seed in range(100):
            world = TwoHopTask.random(
                n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=seed
            )
            model = build(world.graph, noise=0.01, seed=seed)
            found.append(bridge_is(bridge_evidence(model, world, "test_inferred_iid", seed=seed)))
        assert found.count("yes") >= 95, build


def measured(ceiling: float, *, direction: float, held_out: float = 0.9, ablation: float = 0.9) -> pd.DataFrame:
    """Measures at one cell, with intervals of ± .05."""
    numbers = [("r1", "held out", held_out), ("r1", "direction", direction)]
    numbers += [("all positions", "ablation", ablation), ("all positions", "direction", direction)]
    rows = [(0, *row, row[2] - 0.05, row[2] + 0.05, 40, ceiling) for row in numbers]
    return pd.DataFrame(rows, columns=["layer", "role", "measure", "value", "low", "high", "n_facts", "donor_right"])


@pytest.mark.parametrize(
    ("measures", "at_r1", "together"),
    [
        (measured(1.0, direction=0.6), "yes", "yes"),
        (measured(1.0, direction=0.52), "yes", "undecided"),  # above half of .9, not above half of the ceiling
        (measured(1.0, direction=0.3), "no", "no"),
        (measured(1.0, direction=0.6, held_out=0.2), "yes", "yes"),
        (measured(1.0, direction=0.12, held_out=0.1), "undecided", "no"),  # at least the margin
        (measured(1.0, direction=0.6, ablation=0.01), "no", "no"),
        (measured(1.0, direction=0.6, ablation=0.1), "undecided", "undecided"),
        (measured(0.4, direction=0.6), "undecided (ceiling)", "undecided (ceiling)"),
        (measured(0.4, direction=0.0, ablation=0.01), "no", "no"),  # what answers do not need, no ceiling hides
        (measured(1.0, direction=0.6).assign(n_facts=19), "undecided", "undecided"),
        (measured(1.0, direction=0.6).iloc[:0], "undecided", "undecided"),
    ],
    ids=["yes", "half", "no", "low_cell", "margin", "unneeded", "maybe", "ceiling", "ceiling_no", "few", "none"],
)
def test_used_follows_from_need_direction_and_ceiling(measures: pd.DataFrame, at_r1: str, together: str) -> None:
    cells = pd.DataFrame([(0, "r1"), (0, "all positions")], columns=["layer", "role"])
    table = verdicts(cells, measures, "bridge")
    assert table["used"].tolist() == [at_r1, together]
    evidence = EvidenceResult(table.assign(n_judged=40, reason=""), pd.DataFrame(), "m", "s")
    assert bridge_is(evidence) == ("yes" if "yes" in (at_r1, together) else at_r1 if at_r1 == together else "undecided")


def test_effects_leave_out_what_the_token_adds(evidence_world: TwoHopTask) -> None:
    """At r2 after the embedding there is nothing of the bridge; at r1 the effect is the mean state."""
    model, queries = handset_model(evidence_world.graph), evidence_world.split("test_inferred_iid")
    assert apart_from_unit(queries).tolist() == [False, False, True]
    asked = sample(queries, 256, max_units=80, seed=0)
    means = BridgeMeans(model, graph_of(model, queries.roles, 2), evidence_world, asked, intermediate="bridge", seed=0)
    effects, some = BridgeEffects(means, asked), means.values[:5]
    difference = effects.of(-1, 2, some) - effects.overall(-1, 2)
    torch.testing.assert_close(difference, torch.zeros_like(difference), atol=1e-5, rtol=0)
    assert (means.of(-1, 2, some) - means.overall(-1, 2)).abs().max() > 0.1  # the tokens that these questions ask
    torch.testing.assert_close(effects.of(0, 1, some), means.of(0, 1, some))


def false_used(seeds: range) -> tuple[int, int]:
    """Of lookup models on other graphs: in how many a cell is called used, how many are decided or at a ceiling."""
    used = decided = 0
    for seed in seeds:
        world = TwoHopTask.random(
            n_entities=16, n_relations=14, out_degree=12, ood_fraction=0.1, test_fraction=0.4, seed=seed
        )
        model = lookup_model(world.graph, trained(world), decoy=seed % 2 == 0, noise=0.03, seed=seed)
        result = bridge_evidence(model, world, "train_inferred", seed=seed)
        used += bool(result.used_at)
        decided += at(result, 0, "r1")["used"] in ("no", "undecided (ceiling)")
    return used, decided


@pytest.mark.slow
def test_a_few_resampled_nulls_are_never_called_used() -> None:
    used, decided = false_used(range(8))
    assert used == 0 and decided >= 6


@pytest.mark.slow
def test_two_hundred_resampled_nulls_bound_the_false_used() -> None:
    from scipy.stats import binomtest

    used, decided = false_used(range(200))
    assert binomtest(used, 200).proportion_ci(method="exact").high <= 0.05
    assert decided >= 160  # "undecided" everywhere would pass the first line, too


def hooked_logits(
    model: HookedTransformer, tokens: torch.Tensor, layer: int, position: int, state: torch.Tensor
) -> torch.Tensor:
    name = "blocks.0.hook_resid_pre" if layer < 0 else f"blocks.{layer}.hook_resid_post"

    def put(activation: torch.Tensor, hook: object) -> torch.Tensor:
        activation[0, position] = state
        return activation

    with torch.no_grad():
        return model.run_with_hooks(tokens[None], fwd_hooks=[(name, put)])[0, -1]


@pytest.mark.parametrize(("layer", "role"), [(0, "r1"), (-1, "h")])
def test_measures_equal_literal_hooked_runs_question_by_question(evidence_world: TwoHopTask, layer: int, role: str) -> None:
    """Where two answers tie, either may be given: such questions bound the measure from below and above."""
    task, model = evidence_world, handset_model(evidence_world.graph)
    result = values(bridge_evidence(model, task, "test_inferred_iid", n=120, seed=3), layer, role)
    queries = sample(task.split("test_inferred_iid"), 120, max_units=task.n_reference // 2, seed=3)
    judged = halves_by_unit(queries, seed=3)[1]
    position, donors = queries.roles.index(role), task.donors(second_hop="ID", seed=3)
    means = BridgeMeans(model, graph_of(model, queries.roles, 2), task, queries, intermediate="bridge", seed=3)
    name = "blocks.0.hook_resid_pre" if layer < 0 else f"blocks.{layer}.hook_resid_post"

    def state_of(tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model.run_with_cache(tokens[None])[1][name][0, position]

    def mean_of(bridge: int) -> torch.Tensor:
        rows = means.questions.bridges == bridge
        return torch.stack([state_of(tokens) for tokens in means.questions.tokens[rows]]).mean(0)

    hits: dict[str, list[tuple[bool, bool]]] = {"held out": [], "trained": [], "same bridge": [], "direction": []}
    for row, (tokens, answer, bridge) in enumerate(zip(judged.tokens, judged.answers, judged.bridges, strict=True)):
        found = donors.of(judged, row)
        if not found or not means.has(int(bridge), found.value):
            continue
        states = {kind: state_of(found.prompts[kind]) for kind in ("held out", "trained", "same bridge")}
        states["direction"] = state_of(tokens) + mean_of(found.value) - mean_of(int(bridge))
        for kind, state in states.items():
            wanted = int(answer) if kind == "same bridge" else found.answer
            hits[kind].append(surely_and_perhaps(hooked_logits(model, tokens, layer, position, state), wanted))
    assert len(hits["direction"]) > 20
    n_tied = {measure: sum(surely != perhaps for surely, perhaps in met) for measure, met in hits.items()}
    assert max(n_tied.values()) <= (0 if layer == 0 else len(hits["direction"]) // 2), n_tied
    for measure, met in hits.items():
        low, high = np.mean(met, axis=0)
        assert low - 1e-9 <= result[measure] <= high + 1e-9, measure


def surely_and_perhaps(logits: torch.Tensor, wanted: int) -> tuple[bool, bool]:
    """Whether a token is the most likely by more than rounding, and whether it is or ties with the most likely."""
    others = torch.cat([logits[:wanted], logits[wanted + 1 :]])
    lead = float(logits[wanted] - others.max())
    return lead > 1e-4, lead > -1e-4


def test_reading_and_judging_share_no_fact_and_means_rest_on_others(evidence_world: TwoHopTask) -> None:
    queries = sample(evidence_world.split("test_inferred_iid"), 256, max_units=80, seed=0)
    read, judged = (set(half.hop1.tolist()) for half in halves_by_unit(queries, seed=0))
    assert not read & judged and abs(len(read) - len(judged)) <= 1 and len(read | judged) <= 80
    others = evidence_world.split("train_inferred").one_per_unit(seed=0, without=frozenset(read | judged))
    assert not set(others.hop1.tolist()) & (read | judged) and len(others) == len(others.hop1.unique())


def test_a_run_gives_the_same_table_by_step(task: TwoHopTask, tiny_run: Run) -> None:
    whole = bridge_evidence(tiny_run, task, "train_inferred", n=64)
    assert list(dict.fromkeys(whole.table["step"])) == tiny_run.steps
    last = tiny_run.steps[-1]
    alone = bridge_evidence(tiny_run.checkpoint(last).model(), task, "train_inferred", n=64)
    for name in ("table", "measures"):
        rows = getattr(whole, name).query("step == @last").drop(columns="step").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, getattr(alone, name))
    assert whole.model == "tiny" and whole.figure()


def test_a_bidirectional_model_with_slots_gives_a_row_for_every_position(task: TwoHopTask) -> None:
    from grokscope.analyses import bridge_geometry, logit_lens, probe_bridge, realign
    from grokscope.tasks import ModelConfig, build_model

    slots = task.with_layout("slots")
    config = ModelConfig(d_model=16, n_heads=2, n_blocks=1, n_loops=2, bidirectional=True)
    model, queries = build_model(config, slots), slots.split("test_inferred_iid")
    roles = ["h", "r1", "r2", "answer", "end"]
    for result in (bridge_evidence(model, slots, "test_inferred_iid"), logit_lens(model, queries)):
        assert [role for role in dict.fromkeys(result.table["role"]) if role != "all positions"] == roles
    assert list(dict.fromkeys(bridge_geometry(model, slots).table["role"])) == roles
    assert list(dict.fromkeys(probe_bridge(model, slots, targets=("bridge",)).table["role"])) == roles
    assert logit_lens(model, queries).n_cells == 3 * 5 and len(realign(model, slots, queries).table) == 3 * 3 * 3


def test_what_is_no_two_hop_split_is_refused(task: TwoHopTask, evidence_world: TwoHopTask) -> None:
    model = handset_model(evidence_world.graph)
    with pytest.raises(ValueError, match="id_atomic holds 86 questions, which are atomic"):
        bridge_evidence(model, evidence_world, "id_atomic")
    with pytest.raises(KeyError, match="no split 'nowhere'"):
        bridge_evidence(model, evidence_world, "nowhere")
    with pytest.raises(ValueError, match="holds 0 questions"):
        bridge_evidence(model, evidence_world, "test_inferred_iid", n=0)
    with pytest.raises(KeyError, match="no cell L2 r1: layers are -1 to 1, roles h, r1, r2"):
        bridge_evidence(model, evidence_world, "test_inferred_iid", n=64).at(2, "r1")


def test_a_bridge_that_is_no_entity_is_refused(evidence_world: TwoHopTask) -> None:
    from grokscope.analyses import interchange, logit_lens, realign

    model, queries = handset_model(evidence_world.graph), evidence_world.split("test_inferred_iid")
    strange = replace(queries, intermediates={"bridge": queries.bridges + 10})
    for refuse in (interchange, realign):
        with pytest.raises(ValueError, match="values of bridge are 0 to 15; test_inferred_iid has "):
            refuse(model, evidence_world, strange)
    with pytest.raises(ValueError, match="the bridge is 65 and the model's tokens are 0 to 29"):
        logit_lens(model, replace(queries, intermediates={"bridge": queries.bridges * 0 + 65}))


def test_it_reads_back_and_shows_itself(evidence_world: TwoHopTask) -> None:
    result = bridge_evidence(handset_model(evidence_world.graph), evidence_world, "test_inferred_iid")
    again = EvidenceResult.from_json(result.to_json())
    assert again.table.equals(result.table) and again.measures.equals(result.measures)
    figure = result.figure()
    assert figure.data[-1].text[1][1] == "yes" and (figure.data[0].zmin, figure.data[0].zmax) == (-1, 1)
    assert "hand-set · test_inferred_iid · units: 43 read, 43 judged" in result._repr_html_()


def test_what_it_says_of_itself_is_what_it_holds(evidence_world: TwoHopTask) -> None:
    result = bridge_evidence(handset_model(evidence_world.graph), evidence_world, "test_inferred_iid")
    thresholds = {str(MARGIN), str(MIN_UNITS_TO_JUDGE)}
    assert_explained(result, constants=thresholds)
    said, row = result.explain(), result.measures.query("layer == 0 and role == 'r1' and measure == 'direction'").iloc[0]
    assert "yes at 2 (L0 r1, L0 all positions)" in said.means and f"at L0 r1, {row['excess']:.2f}, the 95 %" in said.sure
    assert f"the lens surely reads it at {(result.table['readable'] == 'yes').sum()} cells" in said.means
    assert "Readable is not used, and unreadable is not absent." in said.means
    few = bridge_evidence(handset_model(evidence_world.graph), evidence_world, "test_inferred_iid", n=20)
    assert_explained(few, constants=thresholds)
    assert "Undecided for want of units: reading needs 20 hop-1 facts" in few.explain().would_change
