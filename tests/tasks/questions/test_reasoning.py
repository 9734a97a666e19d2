"""What follows from values and comparisons, against all assignments of numbers that agree with them."""

from itertools import permutations, product

import numpy as np
import pytest

from grokscope.tasks import ComparisonTask
from grokscope.tasks.questions.reasoning import needs_both, relations


def literal(values: np.ndarray, known: np.ndarray, compared: np.ndarray, e1: int, e2: int) -> int:
    """The one relation that two entities have in every assignment that agrees; −1 if there are several.

    Unknown values may lie between two neighbours, beyond the ends, and in any order among each other: each unit between two
    values, and beyond them, is divided into as many places as there are unknown values, and one more.
    """
    unknown = np.flatnonzero(~known).tolist()
    scale = len(unknown) + 1
    places = range(-scale + 1, int(values.max(initial=0)) * scale + scale) if known.any() else range(len(unknown))
    found = set()
    for chosen in product(places, repeat=len(unknown)):
        number = {e: int(values[e]) * scale for e in range(len(values))} | dict(zip(unknown, chosen, strict=True))
        if all(np.sign(number[a] - number[b]) == np.sign(values[a] - values[b]) for a, b in compared.tolist()):
            found.add(int(np.sign(number[e1] - number[e2])) + 1)
    return found.pop() if len(found) == 1 else -1


@pytest.mark.parametrize("seed", range(12))
def test_relations_are_those_of_all_assignments(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n_entities, n_hidden = 6, 2
    values = rng.integers(3, size=n_entities)
    every = rng.permutation([pair for pair in permutations(range(n_entities), 2) if max(pair) >= n_hidden])
    compared = every[: rng.integers(2, 9)]
    for known in (np.arange(n_entities) >= n_hidden, np.arange(n_entities) >= 1):
        found = relations(values[None], known=known[None], compared=compared)[0]
        for e1, e2 in permutations(range(n_entities), 2):
            assert found[e1, e2] == literal(values, known, compared, e1, e2)


@pytest.mark.parametrize("seed", range(6))
def test_without_values_chains_of_comparisons_decide(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    values, known = rng.integers(3, size=5), np.zeros(5, dtype=bool)
    compared = rng.permutation([*permutations(range(5), 2)])[: rng.integers(2, 8)]
    found = relations(values[None], known=known[None], compared=compared)[0]
    for e1, e2 in permutations(range(5), 2):
        assert found[e1, e2] == literal(values, known, compared, e1, e2)


def test_attributes_are_apart() -> None:
    values, known = np.array([[0, 1, 0], [1, 0, 0]]), np.array([[False, True, True], [False, True, True]])
    found = relations(values, known=known, compared=np.array([[0, 1], [3, 4]]))
    assert found[0, 0].tolist() == [1, 0, -1] and found[1, 0].tolist() == [1, 2, 2]


def test_by_hand() -> None:
    """x < 3 and y = 4 follow into x < y; z = w by a comparison; u and v are not comparable."""
    x, y, z, w, u, v, three, four = range(8)
    values = np.array([[2, 4, 1, 1, 0, 0, 3, 4]])
    known = np.array([[False] * 6 + [True, True]])
    compared = np.array([[x, three], [four, y], [z, w]])
    asked = np.array([[x, y], [y, x], [z, w], [u, v], [x, z]])
    assert relations(values, known=known, compared=compared)[0][tuple(asked.T)].tolist() == [0, 2, 1, -1, -1]
    assert needs_both(values, known=known, compared=compared, asked=asked).tolist() == [True, True, False, False, False]
    more = np.concatenate([compared, [[three, four]]])  # which makes the values superfluous
    assert not needs_both(values, known=known, compared=more, asked=asked).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_test_questions_need_values_and_comparisons(seed: int) -> None:
    """By assignments, in a tiny world: each needs both, and no other OOD pair that does is left out but for balance."""
    sizes = dict(n_entities=7, n_attributes=2, n_levels=3, ood_fraction=2 / 7, test_fraction=0.2)
    task = ComparisonTask.reasoning(**sizes, phi=0.6, n_compared=2, seed=seed)
    hard = {name: set() for name in ("test_compared_ood", "test_compared_ood_id")}
    trained = {tuple(pair) for pair in task.trained.tolist()}
    for a, (e1, e2) in product(range(2), permutations(range(7), 2)):
        pair, split = (7 * a + e1, 7 * a + e2), "test_compared_ood" if task.is_ood[a, e2] else "test_compared_ood_id"
        if not task.is_ood[a, e1] or pair in trained or pair[::-1] in trained:
            continue
        compared = task.trained[task.trained[:, 0] // 7 == a] % 7
        with_values = literal(task.values[a], ~task.is_ood[a], compared, e1, e2)
        if with_values >= 0 and _alone(task.values[a], compared, e1, e2) < 0:
            hard[split].add((*pair, with_values))
    for split, expected in hard.items():
        queries = task.split(split)
        labels = (queries.answers - task.n_levels).tolist()
        found = set(zip(queries.facts["fact_1"].tolist(), queries.facts["fact_2"].tolist(), labels, strict=True))
        assert found <= expected
    by_label = [sum(label == each for *_, label in hard["test_compared_ood"]) for each in range(3)]
    rarest = min((count for count in by_label if count), default=0)
    assert len(task.split("test_compared_ood")) == rarest * sum(map(bool, by_label)) or by_label[0] != by_label[2]


def _alone(values: np.ndarray, compared: np.ndarray, e1: int, e2: int) -> int:
    """What follows from comparisons, by following them one by one."""
    at_most = {(a, b) for a, b in compared.tolist() if values[a] <= values[b]}
    at_most |= {(b, a) for a, b in compared.tolist() if values[b] <= values[a]}
    reached = {start: {start} for start in range(len(values))}
    for _ in values:
        for a, b in at_most:
            for there in reached.values():
                there |= {b} if a in there else set()
    up, down = e2 in reached[e1], e1 in reached[e2]
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): -1}[up, down]


def test_hidden_facts_are_compared_as_often_as_asked() -> None:
    task = ComparisonTask.reasoning(n_entities=30, n_attributes=3, n_levels=5, phi=2, n_compared=6, seed=0)
    is_ood = task.is_ood.ravel()
    mixed = task.trained[is_ood[task.trained].any(1)]
    hidden = np.where(is_ood[mixed[:, 0]], mixed[:, 0], mixed[:, 1])
    assert set(np.bincount(hidden, minlength=is_ood.size)[is_ood].tolist()) == {6}
    assert 0 < (hidden == mixed[:, 0]).mean() < 1 and task.phi == 2
    assert task.about["facts_per_attribute"] == (task.n_reference + len(task.trained)) / 3
