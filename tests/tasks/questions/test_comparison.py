"""Comparisons: what is asked, what is trained and tested, and what pairs and donors differ in, counted one by one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from grokscope.analyses import probe_bridge
from grokscope.analyses.bridge.sources import with_units
from grokscope.tasks import (
    ComparisonTask,
    ModelConfig,
    Queries,
    Run,
    Task,
    TrainConfig,
    build_model,
    make_pairs,
    shortcut_accuracy,
    train,
    unsolved_by_shortcuts,
)
from grokscope.tasks.questions.balancing import balanced
from grokscope.tasks.questions.contrasts import Contrasted
from grokscope.tasks.questions.evaluation import shortcut_floors

SMALL = dict(n_entities=24, n_attributes=3, n_levels=5, ood_fraction=0.25, test_fraction=0.2)
TESTS = {
    "test_compared_iid": (False, False),
    "test_compared_ood": (True, True),
    "test_compared_ood_id": (True, False),
    "test_compared_id_ood": (False, True),
}
SPLITS = ["id_atomic", "ood_atomic", "train_compared", *TESTS]
MAKERS = {
    "comparison": lambda **changes: ComparisonTask.random(**SMALL | changes),
    "reasoning": lambda **changes: ComparisonTask.reasoning(
        **SMALL | {"n_entities": 40, "ood_fraction": 0.4, "phi": 2.0, "n_compared": 5} | changes
    ),
}


@pytest.fixture(scope="module", params=MAKERS)
def task(request: pytest.FixtureRequest) -> ComparisonTask:
    return MAKERS[request.param](seed=1)


@pytest.fixture(scope="module")
def compared() -> ComparisonTask:
    return MAKERS["comparison"](seed=1)


def asked(task: ComparisonTask, split: str) -> list[tuple[int, ...]]:
    """Attribute and entities of each question, read from its tokens."""
    first = task.n_levels + 3
    rows = task.split(split).tokens.tolist()
    return [(a - first, *(e - first - task.n_attributes for e in entities)) for a, *entities in rows]


def test_a_world_by_hand() -> None:
    """Two attributes of three entities: what is asked, in tokens and names."""
    none = np.zeros((0, 2), dtype=int)
    tests = dict.fromkeys(TESTS, none) | {"test_compared_id_ood": np.array([[4, 5]])}
    is_ood = np.array([[0, 0, 0], [0, 0, 1]], dtype=bool)
    task = ComparisonTask(np.array([[0, 1, 1], [1, 1, 0]]), 2, is_ood, np.array([[0, 1], [1, 2], [3, 4]]), tests, seed=0)
    names = ["v0", "v1", "<", "=", ">", "a0", "a1", "e0", "e1", "e2"]
    assert [task.token_name(token) for token in range(task.n_tokens)] == names
    questions = {
        "id_atomic": ["a0 e0 v0", "a0 e1 v1", "a0 e2 v1", "a1 e0 v1", "a1 e1 v1"],
        "ood_atomic": ["a1 e2 v0"],
        "train_compared": ["a0 e0 e1 <", "a0 e1 e2 =", "a1 e0 e1 ="],
        "test_compared_id_ood": ["a1 e1 e2 >"],
        "test_compared_iid": [],
    }
    for split, expected in questions.items():
        queries = task.split(split)
        rows = zip(queries.tokens.tolist(), queries.answers.tolist(), strict=True)
        assert [" ".join(names[token] for token in (*prompt, answer)) for prompt, answer in rows] == expected
    trained, atomic = task.split("train_compared"), task.split("ood_atomic")
    assert {name: column.tolist() for name, column in trained.intermediates.items()} == {
        "value_1": [0, 1, 1],
        "value_2": [1, 1, 1],
    }
    assert [trained.facts["fact_1"].tolist(), trained.facts["fact_2"].tolist()] == [[0, 1, 3], [1, 2, 4]]
    assert trained.roles == ("a", "e1", "e2") and trained.unit.tolist() == [0, 1, 3]
    assert atomic.roles == ("a", "e1") and atomic.facts["fact_2"].tolist() == [-1] and atomic.answer_position == 1
    assert task.fact_status(task.split("test_compared_id_ood")).tolist() == [2]
    assert task.phi == 3 / 5 and task.about == {"phi": 0.6, "facts_per_attribute": 4.5}


def test_both_regimes_are_tasks_of_which_pairs_can_be_made(task: ComparisonTask) -> None:
    assert isinstance(task, Task) and isinstance(task, Contrasted)
    assert list(task.splits) == SPLITS and not task.one_length and task.n_positions == 3
    assert task.splits["ood_atomic"] == ("test" if task.regime == "reasoning" else "atomic")


def test_answers_are_those_of_the_values(task: ComparisonTask) -> None:
    for split in SPLITS:
        queries = task.split(split)
        for row, (a, *entities) in enumerate(asked(task, split)):
            values = [int(task.values[a, e]) for e in entities]
            answer = values[0] if len(values) == 1 else task.n_levels + (values[0] > values[1]) - (values[0] < values[1]) + 1
            assert int(queries.answers[row]) == answer
            assert [int(column[row]) for column in queries.intermediates.values()] == values
            facts = [a * task.n_entities + e for e in entities]
            assert [int(column[row]) for column in queries.facts.values()] == [*facts, -1][:2]
            assert int(queries.unit[row]) == facts[0]


def test_splits_hold_what_they_say(task: ComparisonTask) -> None:
    """Every fact once, no test comparison trained in either direction, facts ID and OOD as the split's name says."""
    atomic = asked(task, "id_atomic") + asked(task, "ood_atomic")
    assert sorted(atomic) == [(a, e) for a in range(task.n_attributes) for e in range(task.n_entities)]
    assert all(task.is_ood[fact] for fact in asked(task, "ood_atomic"))
    assert (task.is_ood.sum(1) == task.is_ood.sum(1)[0]).all()
    trained = asked(task, "train_compared")
    assert len(set(trained)) == len(trained)
    for a, e1, e2 in trained:
        n_ood = int(task.is_ood[a, e1]) + int(task.is_ood[a, e2])
        assert e1 != e2 and n_ood <= (task.regime == "reasoning")
    seen = set(trained)
    for split, (first, second) in TESTS.items():
        rows = asked(task, split)
        assert rows and len(set(rows)) == len(rows)
        for a, e1, e2 in rows:
            assert e1 != e2 and task.is_ood[a, e1] == first and task.is_ood[a, e2] == second
            assert not {(a, e1, e2), (a, e2, e1)} & seen


def test_tests_hold_mirror_images_and_equally_many_of_each_label(task: ComparisonTask) -> None:
    for split in ("test_compared_iid", "test_compared_ood"):
        rows = asked(task, split)
        assert {(a, e2, e1) for a, e1, e2 in rows} == set(rows)
    mixed = asked(task, "test_compared_ood_id")
    assert [(a, e2, e1) for a, e1, e2 in mixed] == asked(task, "test_compared_id_ood")
    for split in TESTS:
        counts = Counter(task.split(split).answers.tolist())
        assert len(counts) == 3 and len(set(counts.values())) == 1, split


@pytest.mark.parametrize("phi", [None, 0, 1.5, 6, "most"])
def test_trained_labels_are_as_equal_as_there_are_comparisons(phi: float | str | None) -> None:
    every = _labels_of_trainable(SMALL)
    n_id = MAKERS["comparison"]().n_reference
    wanted = sum(every.values()) / n_id if phi == "most" else phi
    counts = Counter(MAKERS["comparison"](phi=wanted).split("train_compared").answers.tolist())
    n = sum(counts.values())
    assert n == (3 * min(every.values()) if phi is None else round((wanted or 0) * n_id))
    level = max(counts.values(), default=0)
    for label, there in every.items():  # all of a label that is rarer than another one, or the same as the most frequent
        assert counts[label] == there or level - counts[label] <= 1


def _labels_of_trainable(sizes: dict) -> Counter:
    """How many comparisons of ID facts are not tested, by label."""
    task = ComparisonTask.random(**sizes)
    tested = set(asked(task, "test_compared_iid"))
    found: Counter = Counter()
    for a in range(task.n_attributes):
        for e1 in range(task.n_entities):
            for e2 in range(task.n_entities):
                if e1 != e2 and not task.is_ood[a, [e1, e2]].any() and (a, e1, e2) not in tested:
                    found[task.n_levels + int(np.sign(task.values[a, e1] - task.values[a, e2])) + 1] += 1
    return found


def test_balanced_takes_the_first_rows_of_each_label() -> None:
    labels = np.array([2, 2, 2, 2, 0, 1, 2, 0])
    assert balanced(labels, 3).tolist() == [0, 4, 5]
    assert balanced(labels, 6).tolist() == [0, 1, 2, 4, 5, 7]
    assert balanced(labels, 8).tolist() == [*range(8)] and balanced(labels, 0).tolist() == []
    assert balanced(labels[:0], 5).tolist() == []


def test_worlds_are_random_and_fixed_by_their_seed(task: ComparisonTask) -> None:
    again, other = (MAKERS[task.regime](seed=seed) for seed in (1, 2))
    assert again == task and again.key == task.key and other.key != task.key
    assert (other.values != task.values).any() and (other.is_ood != task.is_ood).any()
    assert len({name for name in (task.key, replace(task, trained=task.trained[:-1]).key)}) == 2


def test_more_is_trained_of_the_same_world(compared: ComparisonTask) -> None:
    few, many = (MAKERS["comparison"](seed=1, phi=phi) for phi in (1, 4))
    assert few.phi == 1 and many.phi == 4 and few.values.tolist() == many.values.tolist()
    assert set(asked(few, "train_compared")) < set(asked(many, "train_compared"))
    assert all(asked(few, split) == asked(compared, split) for split in TESTS)


@pytest.mark.parametrize("split", ["train_compared", *TESTS])
@pytest.mark.parametrize("contrast", ["value_1", "value_2", "both_values", "attribute"])
def test_pairs_keep_what_their_contrast_says(contrast: str, split: str) -> None:
    compared = MAKERS["comparison"](n_entities=60, n_attributes=6, n_levels=3, ood_fraction=0.4, seed=1)
    pairs = make_pairs(compared, split=split, contrast=contrast, n=6, seed=0)
    changed = {"value_1": [1], "value_2": [2], "both_values": [1, 2], "attribute": [0]}[contrast]
    differ = (pairs.clean != pairs.corrupt).long()
    assert (differ.sum(0) == torch.tensor([6 * (place in changed) for place in range(3)])).all()
    same = {name: pairs.intermediates[name] == pairs.corrupt_intermediates[name] for name in ("value_1", "value_2")}
    if contrast != "attribute":
        assert {name: bool(column.all()) for name, column in same.items()} == {
            name: contrast not in (name, "both_values") for name in same
        }
        assert not any(bool(column.any()) for name, column in same.items() if contrast in (name, "both_values"))
    possible = {tuple(row) for name in (split, "train_compared") for row in compared.split(name).tokens.tolist()}
    assert {tuple(row) for row in pairs.corrupt.tolist()} <= possible and pairs.recipe["task"] == compared.key
    for side, answers in ((pairs.clean, pairs.answers), (pairs.corrupt, pairs.foils)):
        facts = (side[:, 1:] - compared.n_levels - 3 - compared.n_attributes).tolist()
        for (e1, e2), a, answer in zip(facts, (side[:, 0] - compared.n_levels - 3).tolist(), answers.tolist(), strict=True):
            assert answer == compared.n_levels + int(np.sign(compared.values[a, e1] - compared.values[a, e2])) + 1
            status = TESTS.get(split, (False, False))
            assert (bool(compared.is_ood[a, e1]), bool(compared.is_ood[a, e2])) == status


def test_atomic_splits_have_no_pairs(task: ComparisonTask) -> None:
    with pytest.raises(ValueError, match="ood_atomic"):
        make_pairs(task, split="ood_atomic", contrast="value_1", n=2, seed=0)


@pytest.mark.parametrize("status", ["ID", "OOD"])
@pytest.mark.parametrize("place", [0, 1])
def test_donors_are_what_they_are_called(compared: ComparisonTask, place: int, status: str) -> None:
    """Each kind against all that could be one: a donor is found exactly where every kind exists."""
    name = f"value_{place + 1}"
    splits = {("ID", 0): "iid", ("ID", 1): "iid", ("OOD", 0): "id_ood", ("OOD", 1): "ood_id"}
    queries = compared.split(f"test_compared_{splits[status, place]}")
    donors = compared.donors(intermediate=name, second_hop=status, seed=3)
    trained = set(asked(compared, "train_compared"))
    n_found = 0
    for row, question in enumerate(asked(compared, queries.split)):
        a, own, kept = question[0], question[1 + place], question[2 - place]
        kinds = _possible_donors(compared, a, own, kept, place, trained, status)
        donor = donors.of(queries, row)
        if donor is None:
            assert not any(all(options.values()) for options in kinds.values())
            continue
        n_found += 1
        assert all(kinds[donor.value].values())
        assert donor.answer == _answer(compared, donor.value, int(compared.values[a, kept]), place)
        for kind, prompt in donor.prompts.items():
            entity = int(prompt[1 + place]) - compared.n_tokens + compared.n_entities
            assert entity in kinds[donor.value][kind] and donor.asks[kind].startswith(f"another e{place + 1}")
            kept_tokens = [position for position in range(3) if position != 1 + place]
            assert (prompt[kept_tokens] == queries.tokens[row][kept_tokens]).all()
            value = int(compared.values[a, entity])
            assert donor.answers[kind] == _answer(compared, value, int(compared.values[a, kept]), place)
    assert n_found >= 4


def _answer(task: ComparisonTask, value: int, other: int, place: int) -> int:
    return task.n_levels + int(np.sign(value - other)) * (-1 if place else 1) + 1


def _possible_donors(
    task: ComparisonTask, a: int, own: int, kept: int, place: int, trained: set[tuple[int, ...]], status: str
) -> dict[int, dict[str, list[int]]]:
    """By the new value, the entities of each kind of donor that has to exist."""
    values, name = task.values[a].tolist(), f"value_{place + 1}"
    entities = [e for e in range(task.n_entities) if e != kept and not task.is_ood[a, e]]
    answer = {e: _answer(task, values[e], values[kept], place) for e in (*entities, own)}
    is_trained = {e: ((a, e, kept) if place == 0 else (a, kept, e)) in trained for e in entities}
    found = {}
    for new in set(values) - {values[own]}:
        of_new = [e for e in entities if values[e] == new and answer[e] != answer[own]]
        if not of_new:
            continue
        kinds = {
            "held out": [e for e in of_new if not is_trained[e]],
            "trained": [e for e in of_new if is_trained[e]],
            f"same {name}": [e for e in entities if values[e] == values[own] and e != own],
            f"other {name}": [
                e
                for e in entities
                if values[e] not in (new, values[own]) and answer[e] not in (answer[own], answer[of_new[0]])
            ],
        }
        found[new] = {kind: options for kind, options in kinds.items() if status == "ID" or kind != "trained"}
    return found


def test_questions_whose_other_fact_has_another_status_find_no_donor(compared: ComparisonTask) -> None:
    donors = compared.donors(intermediate="value_1", second_hop="OOD", seed=0)
    queries = compared.split("test_compared_iid")
    assert all(donors.of(queries, row) is None for row in range(len(queries)))


def test_the_reference_is_one_trained_question_of_each_id_fact(task: ComparisonTask) -> None:
    some, other = (task.reference(seed=seed, without=frozenset({0, 5})) for seed in (0, 1))
    trained = {row: unit for row, unit in zip(_rows(task.split("train_compared")), _units(task), strict=True)}
    assert set(_rows(some)) <= trained.keys() and _rows(some) != _rows(other)
    units = some.unit.tolist()
    possible = {unit for unit in trained.values() if not task.is_ood.ravel()[unit]} - {0, 5}
    assert sorted(set(units)) == units == sorted(possible) and len(units) <= task.n_reference


def _rows(queries: Queries) -> list[tuple[int, ...]]:
    return [tuple(row) for row in queries.tokens.tolist()]


def _units(task: ComparisonTask) -> list[int]:
    return task.split("train_compared").unit.tolist()


def test_floors_are_literal_counts_and_the_rest_is_unsolved(task: ComparisonTask) -> None:
    trained = [(*row, int(answer)) for row, answer in zip(asked(task, "train_compared"), _answers(task), strict=True)]
    columns = {"a": [0], "e1": [1], "e2": [2], "a e1": [0, 1], "a e2": [0, 2], "e1 e2": [1, 2]}
    for split in TESTS:
        queries, solved = task.split(split), {}
        for name, places in columns.items():
            solved[name] = []
            for row, question in enumerate(asked(task, split)):
                counts = Counter(each[3] for each in trained if all(each[p] == question[p] for p in places))
                best = [answer for answer, count in counts.items() if count == max(counts.values())]
                solved[name].append(bool(best) and min(best) == int(queries.answers[row]))
        expected = {name: np.mean(right) for name, right in solved.items()}
        assert shortcut_accuracy(task, queries) == pytest.approx(expected)
        unsolved = ~np.any(list(solved.values()), axis=0)
        assert unsolved_by_shortcuts(task, queries).tolist() == unsolved.tolist() and 0 < unsolved.sum() < len(queries)


def _answers(task: ComparisonTask) -> list[int]:
    return task.split("train_compared").answers.tolist()


def test_an_entity_that_always_wins_is_a_floor(compared: ComparisonTask) -> None:
    """Where entity 0 is above all others, its trained comparisons say so, and the floor is that of a solved question."""
    values = compared.values.copy()
    values[:, 0] = compared.n_levels
    task = replace(compared, values=values, n_levels=compared.n_levels + 1)
    queries = task.split("test_compared_iid")
    of_first = queries.take(queries.tokens[:, 1] == task.n_tokens - task.n_entities)
    assert len(of_first) and shortcut_accuracy(task, of_first)["e1"] == 1.0
    assert not unsolved_by_shortcuts(task, of_first).any()


def test_floors_are_reported_for_each_test_split(task: ComparisonTask) -> None:
    floors = shortcut_floors(task)
    tests = [name for name, part in task.splits.items() if part == "test"]
    assert list(floors) == [f"floor_{name}" for name in tests]
    assert {name for name, value in floors.items() if np.isnan(value)} == {"floor_ood_atomic"} & set(floors)


@pytest.mark.parametrize("regime", MAKERS)
def test_it_trains_and_reads_back(regime: str, tmp_path: Path) -> None:
    task = MAKERS[regime](seed=1)
    config = TrainConfig.tiny(max_steps=60, evaluate_every=30, n_checkpoints=1)
    run = train(task, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    again = Run.load(tmp_path / "run")
    assert isinstance(again.task, ComparisonTask) and again.task == task and again.metrics.equals(run.metrics)
    assert run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0]
    hidden = "gated_ood_atomic" in run.metrics
    assert hidden == (regime == "reasoning") and "floor_test_compared_ood" in run.metrics


def test_what_it_does_not_have_is_refused(compared: ComparisonTask) -> None:
    with pytest.raises(KeyError, match=r"no split 'train_inferred'; the splits are id_atomic, ood_atomic, train_compared"):
        compared.split("train_inferred")
    with pytest.raises(KeyError, match="no intermediate 'bridge'; comparisons have 'value_1' and 'value_2'"):
        compared.n_values("bridge")
    with pytest.raises(KeyError, match="no intermediate 'bridge'"):
        compared.donors(intermediate="bridge", second_hop="ID", seed=0)
    with pytest.raises(ValueError, match=r"second_hop.*seed is -1"):
        compared.donors(intermediate="value_1", second_hop="id", seed=-1)
    with pytest.raises(ValueError, match=rf"token is {compared.n_tokens}"):
        compared.token_name(compared.n_tokens)
    with pytest.raises(ValueError, match=r"n_levels is 1.*ood_fraction is 2.*phi is -1.*seed is -3"):
        ComparisonTask.random(n_levels=1, ood_fraction=2, phi=-1, seed=-3)
    with pytest.raises(ValueError, match=r"phi=9000 asks for .* phi can be between 0 and"):
        MAKERS["comparison"](phi=9000)
    with pytest.raises(ValueError, match=r"n_compared is -1.*seed is -1"):
        ComparisonTask.reasoning(n_compared=-1, seed=-1)
    with pytest.raises(ValueError, match="GiB of memory"):
        ComparisonTask.random(n_entities=10**9)


def test_what_concerns_the_second_value_is_clustered_by_the_second_fact() -> None:
    task = ComparisonTask.random(n_entities=14, n_attributes=3, n_levels=4, seed=0)
    queries = task.split("test_compared_iid")
    source, asked = with_units(task, queries, "value_2")
    assert torch.equal(asked.unit, queries.facts["fact_2"]) and torch.equal(asked.tokens, queries.tokens)
    some = asked[:9]
    reference = source.reference(seed=0, without=frozenset(some.unit.tolist()))
    assert len(reference) == reference.n_units > 3 and torch.equal(reference.unit, reference.facts["fact_2"])
    assert not set(reference.unit.tolist()) & set(some.facts["fact_2"].tolist())
    assert with_units(task, queries, "value_1") == (task, queries)


def test_a_probe_for_the_second_value_is_tested_on_second_facts_that_it_was_not_trained_on() -> None:
    task = ComparisonTask.random(n_entities=60, n_attributes=2, n_levels=3, seed=0)
    model = build_model(ModelConfig.tiny(), task)
    probed = probe_bridge(model, task, targets=("value_1", "value_2"), transfer=(), progress=False).table
    n = probed.groupby("target")["n_facts"].first()
    reference = task.reference(seed=0)
    assert n["value_1"] == reference.n_units and n["value_2"] == len(reference.facts["fact_2"].unique())
