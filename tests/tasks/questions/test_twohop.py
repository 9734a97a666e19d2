import numpy as np
import pytest
import torch

from grokscope.tasks import BOTH_HALF, BOTH_HOPS, FIRST_HOP, NATURAL, SECOND_HOP, SPLITS, Supervision, TwoHopTask
from grokscope.tasks.questions.splits import TEST_SPLITS

REGIMES = (NATURAL, FIRST_HOP, SECOND_HOP, BOTH_HOPS, BOTH_HALF, Supervision(hop1_share=0.3, hop1_compositions=2))


def small_task(seed: int, **changes: object) -> TwoHopTask:
    settings = dict(n_entities=20, n_relations=10, out_degree=7, ood_fraction=0.2, test_fraction=0.1, seed=seed)
    return TwoHopTask.random(**{**settings, **changes})


def rows(task: TwoHopTask, split: str) -> set[tuple[int, ...]]:
    return set(map(tuple, task.split(split).tokens.tolist()))


@pytest.mark.parametrize("seed", range(20))
def test_splits_are_disjoint_and_no_regime_trains_a_test_query(seed: int) -> None:
    natural = small_task(seed)
    assert len(natural.split("test_inferred_ood")) > 0
    for supervision in REGIMES:
        task = natural.with_supervision(supervision)
        assert rows(task, "id_atomic").isdisjoint(rows(task, "ood_atomic"))
        by_split = [rows(task, name) for name in ("train_inferred", *TEST_SPLITS)]
        assert sum(map(len, by_split)) == len(set.union(*by_split))
        for name in TEST_SPLITS:
            assert rows(task, name) == rows(natural, name)
        assert (task.is_ood == natural.is_ood).all() and (task.trained == natural.trained).all()


@pytest.mark.parametrize("seed", range(20))
def test_every_answer_follows_from_the_graph(seed: int) -> None:
    task = small_task(seed).with_supervision(BOTH_HOPS)
    facts = {(head, relation): tail for head, relation, tail in task.graph.triples}
    for name in SPLITS:
        queries = task.split(name)
        for tokens, answer, bridge in zip(
            queries.tokens.tolist(), queries.answers.tolist(), queries.bridges.tolist(), strict=True
        ):
            head, *relations = tokens
            relations = [relation - task.graph.n_entities for relation in relations]
            assert facts[head, relations[0]] == bridge
            assert (facts[bridge, relations[1]] if len(relations) == 2 else bridge) == answer


@pytest.mark.parametrize("seed", range(20))
def test_hop_status_of_every_split(seed: int) -> None:
    task = small_task(seed).with_supervision(BOTH_HOPS)
    expected = {
        "test_inferred_iid": (False, False),
        "test_inferred_ood": (True, True),
        "test_inferred_ood_id": (True, False),
        "test_inferred_id_ood": (False, True),
    }
    for name, status in expected.items():
        queries = task.split(name)
        assert set(zip(task.is_ood[queries.hop1].tolist(), task.is_ood[queries.hop2].tolist(), strict=True)) == {status}


def test_all_ood_ood_compositions_are_test_queries_and_a_tenth_of_the_mixed() -> None:
    task = small_task(0)
    status = task.is_ood[task.graph.compositions].sum(1)
    assert len(task.tests["test_inferred_ood"]) == (status == 2).sum()
    mixed = len(task.tests["test_inferred_ood_id"]) + len(task.tests["test_inferred_id_ood"])
    assert mixed == pytest.approx(0.1 * (status == 1).sum(), abs=1)


def test_the_default_task_has_free_slots_and_enough_ood_queries() -> None:
    task = TwoHopTask.random(seed=0)
    assert task.graph.n_free_slots == 640
    assert len(task.split("test_inferred_ood")) >= 200


def test_phi_trains_a_subset_with_the_same_tests() -> None:
    full, less = small_task(0), small_task(0, phi=2.0)
    assert less.phi == pytest.approx(2.0, abs=0.01)
    assert rows(less, "train_inferred") < rows(full, "train_inferred")
    assert all(rows(less, name) == rows(full, name) for name in TEST_SPLITS)


def test_phi_beyond_the_graph_says_what_is_possible() -> None:
    with pytest.raises(ValueError, match=r"phi=50 asks for .* trained ID\+ID compositions.*phi can be between 0 and"):
        small_task(0, phi=50.0)


def test_fractions_outside_the_unit_interval_are_all_named() -> None:
    with pytest.raises(ValueError, match=r"ood_fraction is 1.5, needed.*; test_fraction is -0.1"):
        small_task(0, ood_fraction=1.5, test_fraction=-0.1)


def test_an_unknown_split_lists_the_splits() -> None:
    with pytest.raises(KeyError, match="no split 'valid'; the splits are id_atomic"):
        small_task(0).split("valid")


def test_key_tells_tasks_apart() -> None:
    task = small_task(0)
    assert task.key == small_task(0).key
    assert len({task.key, small_task(1).key, task.with_supervision(FIRST_HOP).key, small_task(0, phi=2.0).key}) == 4


def test_queries_halves_share_nothing_and_cover() -> None:
    queries = small_task(0).split("test_inferred_iid")
    first, second = queries.halves()
    together = torch.cat([first.tokens, second.tokens])
    assert sorted(together.tolist()) == sorted(queries.tokens.tolist())
    assert abs(len(first) - len(second)) <= 1


def test_no_ood_facts_gives_empty_ood_splits() -> None:
    task = small_task(0, ood_fraction=0.0).with_supervision(BOTH_HOPS)
    assert len(task.split("test_inferred_ood")) == len(task.added) == len(task.split("ood_atomic")) == 0
    assert isinstance(task.added, np.ndarray)


def test_the_published_sizes() -> None:
    task = TwoHopTask.paper()
    assert (len(task.split("id_atomic")), len(task.split("ood_atomic"))) == (38_000, 2_000)
    assert task.phi == 18.0 and len(task.trained) == 684_000
    assert 2_500 < len(task.split("test_inferred_iid")) < 3_500
    assert task.layout == "slots" and task.n_tokens == 2_201


@pytest.mark.parametrize("layout", ["compact", "slots"])
def test_tokens_are_named_by_what_they_are(layout: str) -> None:
    task = small_task(0, layout=layout)
    names = [task.token_name(token) for token in range(task.n_tokens)]
    assert names == [f"e{i}" for i in range(20)] + [f"r{i}" for i in range(10)] + (["_"] if layout == "slots" else [])
    assert task.one_length == (layout == "slots")


def test_the_bridge_can_be_any_entity_and_there_is_no_other_intermediate() -> None:
    task = small_task(0)
    assert task.n_values("bridge") == 20
    with pytest.raises(KeyError, match="no intermediate 'carry'; there is 'bridge'"):
        task.n_values("carry")


@pytest.mark.parametrize("seed", range(10))
def test_reference_is_a_trained_question_for_each_id_fact_that_opens_one(seed: int) -> None:
    task = small_task(seed).with_supervision(BOTH_HOPS)
    trained = rows(task, "train_inferred")
    without = frozenset(range(0, len(task.graph), 3))
    asked = task.reference(seed=seed, without=without)
    compositions = [*task.trained.tolist(), *task.added.tolist()]
    wanted = sorted({hop1 for hop1, _ in compositions if not task.is_ood[hop1] and hop1 not in without})
    assert asked.unit.tolist() == wanted and set(map(tuple, asked.tokens.tolist())) <= trained
    assert len(task.reference(seed=seed)) <= task.n_reference == int((~task.is_ood).sum())


def test_what_a_study_says_of_a_task_and_what_keeps_it_from_grokking() -> None:
    natural = small_task(0, phi=2.0)
    assert natural.about == {"phi": 2.0} and natural.n_added == 0
    assert natural.with_supervision(FIRST_HOP).n_added == len(natural.with_supervision(FIRST_HOP).added) > 0


@pytest.mark.parametrize("second_hop", ["ID", "OOD"])
def test_donors_are_what_their_kind_says(task: TwoHopTask, second_hop: str) -> None:
    task, triples = task.with_supervision(SECOND_HOP), task.graph.triples
    base, number = task.graph.n_entities, {(h, r): i for i, (h, r, _) in enumerate(triples)}
    in_training = set(map(tuple, [*task.trained.tolist(), *task.added.tolist()]))
    queries = task.split("test_inferred_iid" if second_hop == "ID" else "test_inferred_id_ood")
    donors, n_found = task.donors(second_hop=second_hop, seed=0), 0
    for row in range(len(queries)):
        if (donor := donors.of(queries, row)) is None:
            continue
        n_found += 1
        (_, _, r2), bridge = queries.tokens[row].tolist(), int(queries.bridges[row])
        facts = {kind: number[h, r1 - base] for kind, (h, r1, _) in ((k, p.tolist()) for k, p in donor.prompts.items())}
        assert all(int(prompt[2]) == r2 for kind, prompt in donor.prompts.items() if kind != "other r2")
        elsewhere = number[donor.value, int(donor.prompts["other r2"][2]) - base]  # b′ has that relation, too
        assert facts["other r2"] == facts["held out"] and int(donor.prompts["other r2"][2]) != r2
        assert triples[elsewhere][2] == donor.answers["other r2"] not in (donor.answer, int(queries.answers[row]))
        assert not task.is_ood[list(facts.values())].any()
        second = number[donor.value, r2 - base]
        assert triples[second][2] == donor.answer != int(queries.answers[row]) and donor.value != bridge
        assert triples[facts["held out"]][2] == donor.value and (facts["held out"], second) not in in_training
        if "trained" in facts:
            assert triples[facts["trained"]][2] == donor.value and (facts["trained"], second) in in_training
        assert triples[facts["same bridge"]][2] == bridge and facts["same bridge"] != int(queries.hop1[row])
        other = triples[facts["other bridge"]][2]
        assert other not in (bridge, donor.value)
        assert triples[number[other, r2 - base]][2] not in (int(queries.answers[row]), donor.answer)
    assert n_found >= 10
