"""Questions of k hops: every split against a plain loop, two hops bit for bit, pairs, donors and files."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from grokscope.tasks import IDENTITY, KHopTask, Queries, Task, TwoHopTask, make_pairs, shortcut_accuracy
from grokscope.tasks.questions.chain_splits import patterns
from grokscope.tasks.questions.chains import all_chains
from grokscope.tasks.questions.evaluation import shortcut_floors

SIZES = {"n_entities": 14, "n_relations": 8, "out_degree": 6, "ood_fraction": 0.25}


@pytest.fixture(scope="module")
def three() -> KHopTask:
    task = KHopTask.random(n_hops=3, **SIZES, seed=2)
    assert isinstance(task, KHopTask)
    return task


def facts_of(queries: Queries) -> list[tuple[int, ...]]:
    return [tuple(row) for row in torch.stack(list(queries.facts.values()), 1).tolist()]


def test_it_is_a_task(three: KHopTask) -> None:
    assert isinstance(three, Task) and three.kind == "k-hop" and three.n_positions == 4


def test_all_chains_are_those_of_a_plain_loop(three: KHopTask) -> None:
    graph = three.graph
    triples = list(enumerate(graph.triples))
    literal = [
        [i, j, k] for (i, (_, _, a)), (j, (b, _, c)), (k, (d, _, _)) in product(triples, repeat=3) if a == b and c == d
    ]
    assert all_chains(graph, 3).tolist() == literal
    assert all_chains(graph, 2).tolist() == graph.compositions.tolist()


def test_two_hops_are_todays_task_bit_for_bit() -> None:
    ours, theirs = KHopTask.random(n_hops=2, **SIZES, seed=2), TwoHopTask.random(**SIZES, seed=2)
    assert isinstance(ours, TwoHopTask) and ours == theirs and ours.key == theirs.key and ours.settings == theirs.settings
    arrays = ours.to_arrays()
    assert all(np.array_equal(array, arrays[name]) for name, array in theirs.to_arrays().items())


def test_the_two_hop_part_of_a_longer_task_is_the_two_hop_task(three: KHopTask) -> None:
    two = TwoHopTask.random(**SIZES, seed=2)
    assert three.two_hops == two == three.up_to(2)
    for name in two.splits:
        ours, theirs = three.split(name), two.split(name)
        assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.answers, theirs.answers)
        assert torch.equal(ours.intermediates["b1"], theirs.bridges) and torch.equal(ours.unit, theirs.unit)


def test_each_question_is_answered_by_walking_its_chain(three: KHopTask) -> None:
    tail = {(head, relation): end for head, relation, end in three.graph.triples}
    n_entities = three.graph.n_entities
    for name in three.splits:
        queries = three.split(name)
        for row, (tokens, answer) in enumerate(zip(queries.tokens.tolist(), queries.answers.tolist(), strict=True)):
            here, passed = tokens[0], []
            for relation in tokens[1:]:
                here = tail[here, relation - n_entities]
                passed.append(here)
            assert passed[-1] == answer
            known = [int(queries.intermediates[each][row]) for each in queries.intermediates]
            assert known == passed[: len(known)] and len(known) == min(2, len(passed))


def test_splits_have_their_pattern_and_share_no_question(three: KHopTask) -> None:
    seen: dict[tuple[int, ...], str] = {}
    for name in three.splits:
        for facts in facts_of(three.split(name)):
            assert seen.setdefault(facts, name) == name
            status = "".join("io"[int(three.two_hops.is_ood[fact])] for fact in facts if fact >= 0)
            if name.startswith("test_3hop"):
                assert status == name.removeprefix("test_3hop_")
            if name in ("train_3hop", "train_inferred"):
                assert set(status) == {"i"}


def test_every_chain_of_ood_facts_is_asked(three: KHopTask) -> None:
    literal = {tuple(chain) for chain in all_chains(three.graph, 3).tolist() if three.two_hops.is_ood[chain].all()}
    assert {facts for facts in facts_of(three.split("test_3hop_ooo"))} == literal and literal


def test_the_default_sizes_ask_two_hundred_questions_of_ood_facts_alone() -> None:
    for seed in range(3):
        task = KHopTask.random(seed=seed)
        assert (
            len(task.split("test_3hop_ooo")) >= 200 and task.id_test == "test_3hop_iii" and task.ood_test == "test_3hop_ooo"
        )


@pytest.mark.parametrize(
    ("phi", "trained", "id_test"),
    [
        ({2: None}, {"train_inferred"}, "test_inferred_iid"),
        ({3: 4.0}, {"train_3hop"}, "test_3hop_iii"),
        ({2: 2.0, 3: 3.0}, {"train_inferred", "train_3hop"}, "test_3hop_iii"),
    ],
)
def test_lengths_are_trained_as_asked(phi: dict[int, float | None], trained: set[str], id_test: str) -> None:
    task = KHopTask.random(**SIZES, phi=phi, seed=1)
    assert {name for name, part in task.splits.items() if part == "trained"} == trained and task.id_test == id_test
    assert {f"test_3hop_{pattern}" for pattern in patterns(3)} <= set(task.splits)
    for hops, dose in phi.items():
        if dose is not None:
            name = "train_inferred" if hops == 2 else "train_3hop"
            assert len(task.split(name)) == round(dose * task.n_reference)


def test_shorter_doses_are_part_of_longer_ones() -> None:
    few, many = (KHopTask.random(**SIZES, phi={2: None, 3: dose}, seed=1) for dose in (2.0, 5.0))
    assert set(facts_of(few.split("train_3hop"))) < set(facts_of(many.split("train_3hop")))
    assert all(
        torch.equal(few.split(name).tokens, many.split(name).tokens) for name in few.splits if name.startswith("test")
    )


def test_contrasts_keep_what_they_say(three: KHopTask) -> None:
    for name, contrast in three.contrasts.items():
        pairs = make_pairs(three, split="test_3hop_iii", contrast=name, n=4, seed=0)
        changed = [pairs.roles.index(role) for role in contrast.changes]
        kept = [place for place in range(4) if place not in changed]
        assert (pairs.clean[:, changed] != pairs.corrupt[:, changed]).all()
        assert torch.equal(pairs.clean[:, kept], pairs.corrupt[:, kept])
        assert all((pairs.intermediates[each] != pairs.corrupt_intermediates[each]).all() for each in contrast.differs)
        assert all(torch.equal(pairs.intermediates[each], pairs.corrupt_intermediates[each]) for each in contrast.keeps)
        assert pairs.recipe["graph"] == three.graph.key and pairs.recipe["task"] == three.key


def test_relation_2_changes_b2_and_not_b1(three: KHopTask) -> None:
    pairs = make_pairs(three, split="test_3hop_iii", contrast="relation_2", n=5, seed=0)
    assert torch.equal(pairs.intermediates["b1"], pairs.corrupt_intermediates["b1"])
    assert (pairs.intermediates["b2"] != pairs.corrupt_intermediates["b2"]).all()


@pytest.mark.parametrize("second_hop", ["ID", "OOD"])
@pytest.mark.parametrize(("intermediate", "n_kept"), [("b1", 2), ("b2", 1)])
def test_donors_have_another_value_and_the_answer_that_follows(
    three: KHopTask, intermediate: str, n_kept: int, second_hop: str
) -> None:
    tail = {(head, three.graph.n_entities + relation): end for head, relation, end in three.graph.triples}
    fact = {tuple(triple[:2]): number for number, triple in enumerate(three.graph.triples)}
    trained = set(map(tuple, three.split("train_3hop").tokens.tolist()))

    def walked(tokens: list[int]) -> list[int]:
        ends = tokens[:1]
        for relation in tokens[1:]:
            ends.append(tail[ends[-1], relation])
        return ends[1:]

    queries, place = three.split("test_3hop_iii"), 3 - n_kept - 1
    donors, found = three.donors(intermediate=intermediate, second_hop=second_hop, seed=0), 0
    for row in range(len(queries)):
        if not (donor := donors.of(queries, row)):
            continue
        found += 1
        for kind, prompt in donor.prompts.items():
            tokens, mine = prompt.tolist(), queries.tokens[row].tolist()
            ends = walked(tokens)
            assert tokens[-n_kept:] == mine[-n_kept:] and tokens != mine and ends[-1] == donor.answers[kind]
            status = [
                bool(three.two_hops.is_ood[fact[h, r - three.graph.n_entities]])
                for h, r in zip([tokens[0], *ends], tokens[1:], strict=False)
            ]
            assert not any(status[: place + 1])
            if kind in ("held out", "trained"):
                assert ends[place] == donor.value != walked(mine)[place] and ends[-1] == donor.answer != walked(mine)[-1]
                assert status[place + 1] == (second_hop == "OOD") and (tuple(tokens) in trained) == (kind == "trained")
            elif kind.startswith("same"):
                assert ends[place] == walked(mine)[place]
            else:
                assert ends[place] not in (donor.value, walked(mine)[place])
    assert found > 3


def test_reference_has_a_trained_question_for_each_id_fact(three: KHopTask) -> None:
    reference = three.reference(seed=0, without=frozenset({0, 1}))
    assert reference.n_units == len(reference) and not {0, 1} & set(reference.unit.tolist())
    assert set(facts_of(reference)) <= set(facts_of(three.split("train_3hop")))
    untrained = KHopTask.random(**SIZES, phi={2: None}, seed=2).reference(seed=0)
    assert untrained.roles == ("h", "r1", "r2", "r3")


def test_floors_are_taken_of_questions_of_one_length(three: KHopTask) -> None:
    floors = shortcut_accuracy(three, three.split("test_3hop_iii"))
    assert set(shortcut_accuracy(three, three.split("test_inferred_iid"))) == {"r2", "h r2", "r1 r2"}
    assert {"r3", "h r3", "r2 r3", "h r1 r3"} < set(floors) and "h r1 r2 r3" not in floors
    train, test = three.split("train_3hop"), three.split("test_3hop_iii")
    most: dict[int, list[int]] = {}
    for relation, answer in zip(train.tokens[:, 3].tolist(), train.answers.tolist(), strict=True):
        most.setdefault(relation, []).append(answer)
    guess = {relation: min(set(each), key=lambda a, each=each: (-each.count(a), a)) for relation, each in most.items()}
    right = [guess.get(r) == a for r, a in zip(test.tokens[:, 3].tolist(), test.answers.tolist(), strict=True)]
    assert floors["r3"] == pytest.approx(sum(right) / len(right))


def test_it_reads_back_as_it_was_saved(three: KHopTask) -> None:
    again = KHopTask.from_arrays(three.to_arrays(), three.settings)
    assert again == three and again.key == three.key and list(again.splits) == list(three.splits)
    assert three.key != KHopTask.random(n_hops=3, **SIZES, seed=3).key
    assert {str(array.dtype) for array in three.to_arrays().values()} == {"int16", "uint8"}


def test_damaged_arrays_are_refused_by_name(three: KHopTask) -> None:
    arrays, settings = three.to_arrays(), dict(three.settings)
    wrong = arrays["test_3hop_ooo"].copy()
    wrong[0] = wrong[0][::-1]
    leaked = np.concatenate([arrays["test_3hop_iii"], arrays["train_3hop"][:2]])
    for changed, says in (
        (arrays | {"test_3hop_ooo": wrong}, "test_3hop_ooo: 1 rows are no chains"),
        (arrays | {"test_3hop_iii": leaked}, "test_3hop_iii: 2 queries are also trained"),
        (arrays | {"test_3hop_iio": arrays["test_3hop_oii"]}, "test_3hop_iio: .* do not have the pattern iio"),
        (arrays | {"train_3hop": arrays["trained"]}, "train_3hop: needed are rows of 3 fact numbers, got rows of 2"),
        (arrays | {"train_3hop": arrays["train_3hop"] + 500}, "train_3hop: fact numbers must lie between 0 and"),
        ({name: array for name, array in arrays.items() if name != "test_3hop_ioi"}, "arrays: lacks test_3hop_ioi"),
    ):
        with pytest.raises(ValueError, match=says):
            KHopTask.from_arrays(changed, settings)
    for n_hops in (2, "3", None, 99):
        with pytest.raises(ValueError, match="n_hops: needed is a whole number"):
            KHopTask.from_arrays(arrays, settings | {"n_hops": n_hops})


def test_impossible_tasks_are_refused_before_work(three: KHopTask) -> None:
    with pytest.raises(ValueError, match="phi names 4 hops; there are 2, 3"):
        KHopTask.random(**SIZES, phi={2: None, 4: 1.0})
    with pytest.raises(ValueError, match="phi=90000 asks for"):
        KHopTask.random(**SIZES, phi={3: 90_000.0})
    with pytest.raises(ValueError, match=r"makes .* chains, which take .* GiB"):
        KHopTask.random(n_hops=9)
    with pytest.raises(ValueError, match="two hops are a TwoHopTask"):
        replace(three, n_hops=2)
    with pytest.raises(KeyError, match="no split 'test_4hop'; the splits are id_atomic"):
        three.split("test_4hop")
    with pytest.raises(KeyError, match="no intermediate 'bridge'; these questions have b1, b2"):
        three.n_values("bridge")


def test_without_facts_of_a_status_there_is_no_donor() -> None:
    task = KHopTask.random(n_entities=12, n_relations=8, out_degree=5, ood_fraction=0.0, seed=0)
    assert task.donors(intermediate="b1", second_hop="OOD", seed=0).of(task.split("test_3hop_iii"), 0) is None


def test_what_a_task_is_made_of_is_its_own() -> None:
    made = KHopTask.random(**SIZES, seed=2)
    trained = dict(made.trained)
    task = KHopTask(made.two_hops, 3, trained, dict(made.tests))
    del trained[3]
    assert "train_3hop" in task.splits and task == made


def test_a_dose_of_nothing_is_no_split() -> None:
    task = KHopTask.random(**SIZES, phi={2: None, 3: 0.0}, seed=1)
    assert "train_3hop" not in task.splits and len(task.reference(seed=0))


def test_only_three_hops_can_be_trained_all_of_them() -> None:
    task = KHopTask.random(**SIZES, phi={3: None}, seed=1)
    assert len(task.split("train_3hop")) > 1000 and len(task.reference(seed=0)) and "train_inferred" not in task.splits


def test_zero_hop_questions_stand_beside_longer_ones() -> None:
    task = KHopTask.random(**SIZES, supervision=IDENTITY, seed=1)
    queries = task.split("identity")
    assert queries.roles == ("h",) and torch.equal(queries.answers, queries.tokens[:, 0])
    assert all((column == -1).all() for column in queries.facts.values()) and len(queries.facts) == 3


def test_floors_are_of_kinds_that_are_trained() -> None:
    task = KHopTask.random(**SIZES, phi={2: None}, seed=1)
    floors = shortcut_floors(task)
    assert floors["floor_test_inferred_iid"] > 0 and np.isnan(floors["floor_test_3hop_iii"])
