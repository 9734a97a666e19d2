"""A task made of questions, on models set by hand: each analysis takes it by the same call as two-hop questions."""

from types import SimpleNamespace

import pytest
import torch
from carry import carry_model, carry_task, lookup_model

from grokscope import analyses, circuits, tasks

CARRIED = {
    "embed@a -> L0H0.v@a",
    "embed@b -> MLP0@b",
    "L0H0@b -> MLP0@b",
    "MLP0@b -> L1H0.v@b",
    "L1H0@c -> MLP1@c",
    "MLP1@c -> logits@c",
}
LOOKED_UP = {
    "embed@a -> L0H0.v@a",
    "embed@b -> L1H0.v@b",
    "L0H0@b -> L1H0.v@b",
    "L1H0@c -> MLP1@c",
    "MLP1@c -> logits@c",
}
"""The edges by which each model was set, of those that a and b act on."""


@pytest.fixture(scope="module")
def world() -> SimpleNamespace:
    task = carry_task()
    return SimpleNamespace(task=task, asked=task.split("new_sums"), carried=carry_model(), looked_up=lookup_model())


def test_both_models_answer_all_and_the_carry_is_read_and_probed_where_one_writes_it(world: SimpleNamespace) -> None:
    for model in (world.carried, world.looked_up):
        assert tasks.exact_match(model, world.asked).all()
    lens = analyses.logit_lens(world.carried, world.asked, progress=False)
    read = lens.table.query("after == 'layer' and target == 'carry' and layer == 0").set_index("role")["top1"]
    assert read["b"] == 1.0 and read["c"] < 0.5 and lens.intermediates == ["carry"]
    probe = analyses.probe_bridge(world.carried, world.task, targets=["carry"], progress=False).table
    cell = probe.query("layer == 0 and role == 'b'")
    assert cell["tested_on"].tolist() == ["held-out units"] and cell["accuracy"].tolist() == [1.0]
    assert cell["n_facts"].item() == world.task.n_reference  # no value is rare, so that no unit is left out


def test_a_probe_is_tested_on_the_ood_split_too_if_there_is_one(world: SimpleNamespace) -> None:
    a = world.asked.tokens[:, 0]
    splits = world.task.questions | {
        "new_sums": ("test", world.asked.take(a < 8)),
        "others": ("test", world.asked.take(a >= 8)),
    }
    task = tasks.QuestionTask(splits, decided_by={"carry": ("a", "b")}, ood_test="others")
    probe = analyses.probe_bridge(world.carried, task, targets=["carry"], progress=False).table
    assert list(dict.fromkeys(probe["tested_on"])) == ["held-out units", "others"]


def test_an_exchanged_carry_moves_the_answer_of_the_model_that_has_one(world: SimpleNamespace) -> None:
    for model, moved in ((world.carried, 1.0), (world.looked_up, 0.0)):
        result = analyses.interchange(model, world.task, world.asked, progress=False)
        success = result.table.query("layer == 0 and role == 'b'").set_index("donor")["success"]
        assert success["held out"] == success["trained"] == success["same carry"] == 1.0  # a whole state always passes
        assert success["other carry"] == 0.0 and success["carry direction"] == moved and success["random direction"] < 0.3
        assert result.second_hop == "" and "(b′, r2)" not in result.caption


def test_evidence_says_used_of_one_and_not_of_the_other(world: SimpleNamespace) -> None:
    used = analyses.bridge_evidence(world.carried, world.task, "new_sums", progress=False)
    assert used.used_at == ["L0 b", "L0 all positions"] and used.second_hop == "" and used.figure()
    not_used = analyses.bridge_evidence(world.looked_up, world.task, "new_sums", progress=False)
    assert not_used.used_at == [] and set(not_used.table["used"]) == {"no"}
    assert set(used.measures["measure"]) == {
        *("lens", "probe", "ablation", "trained", "held out", "same carry", "direction"),
    }


@pytest.mark.parametrize(("name", "planted"), [("carried", CARRIED), ("looked_up", LOOKED_UP)])
def test_the_planted_edges_are_the_circuit_and_faithful(world: SimpleNamespace, name: str, planted: set[str]) -> None:
    model = getattr(world, name)
    pairs = tasks.make_pairs(world.task, split="new_sums", contrast="carry", n=60, seed=0).keep_correct(model)
    assert len(pairs) == 60
    chosen, judged = pairs.halves()
    effects = analyses.path_patch(model, chosen, progress=False)
    exact = circuits.Circuit.from_effects(effects, threshold=0.05)
    found = analyses.discover(model, chosen, progress=False)
    assert set(map(str, exact.kept_edges)) == set(map(str, found.kept_edges)) == planted
    faithful = analyses.faithfulness(model, found, judged, n_random=5, progress=False).table
    assert faithful.iloc[0]["faithfulness"] == pytest.approx(1.0, abs=1e-4)
    assert circuits.draw({"step 1": exact, "step 2": found})
    assert circuits.compare({"exact": exact, "found": found}, n_bootstrap=2, progress=False)


def test_pairs_that_change_c_leave_the_carry_alone(world: SimpleNamespace) -> None:
    pairs = tasks.make_pairs(world.task, split="new_sums", contrast="c", n=40, seed=0)
    effects = analyses.path_patch(world.carried, pairs, progress=False)
    circuit = circuits.Circuit.from_effects(effects, threshold=0.05)
    assert set(map(str, circuit.kept_edges)) == {"embed@c -> MLP1@c", "MLP1@c -> logits@c"}


def test_questions_that_ask_about_all_units_leave_none_for_means(world: SimpleNamespace) -> None:
    asked = world.task.split("sums")
    with pytest.raises(ValueError, match="no question is left for mean states: those of sums ask about every unit"):
        analyses.interchange(world.carried, world.task, asked, progress=False)
    few = asked.unit < asked.unit.max()
    with pytest.raises(ValueError, match=r"have donors, but they ask about all units but 1, ask fewer"):
        analyses.interchange(world.carried, world.task, asked.take(few), progress=False)


def test_further_interventions_take_it_as_it_is(world: SimpleNamespace) -> None:
    asked = world.asked.take(torch.arange(120))
    kept = analyses.ablate_bridge(world.carried, world.task, asked, progress=False).table
    at = kept.query("layer == 0 and role == 'b'").set_index("direction")["kept"]
    assert at["carry"] < 0.3 and at["random"] > 0.5
    moved = analyses.steer_bridge(world.carried, world.task, asked, scales=(1.0,), progress=False).table
    assert moved.query("layer == 0 and role == 'b' and direction == 'mean state'")["moved"].item() == 1.0
