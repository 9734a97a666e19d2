"""Questions after a change of a fact, against a walk through the changed triples."""

import numpy as np
import pytest
import torch

from grokscope.tasks import BOTH_HOPS, SPLITS, ComparisonTask, KHopTask, KnowledgeGraph, TwoHopTask
from grokscope.tasks.questions.editable import editable, followed, with_other_tail


def small_task(seed: int, layout: str = "compact") -> TwoHopTask:
    return TwoHopTask.random(
        n_entities=10, n_relations=6, out_degree=4, ood_fraction=0.2, supervision=BOTH_HOPS, layout=layout, seed=seed
    )


def walked(task: TwoHopTask, split: str, fact: int, value: int) -> dict[tuple[int, ...], tuple[int, int]]:
    """Bridge and answer of each question of a split that still has one, by its prompt."""
    leads = {(head, relation): tail for head, relation, tail in task.graph.triples}
    leads[int(task.graph.heads[fact]), int(task.graph.relations[fact])] = value
    queries, found = task.split(split), {}
    for prompt, hop1, hop2 in zip(queries.tokens.tolist(), queries.hop1.tolist(), queries.hop2.tolist(), strict=True):
        bridge = leads[int(task.graph.heads[hop1]), int(task.graph.relations[hop1])]
        answer = bridge if hop2 < 0 else leads.get((bridge, int(task.graph.relations[hop2])))
        if answer is not None:
            found[tuple(prompt)] = (bridge, answer)
    return found


@pytest.mark.parametrize("layout", ["compact", "slots", "four_slots"])
@pytest.mark.parametrize("seed", range(5))
def test_questions_go_where_the_changed_facts_lead(seed: int, layout: str) -> None:
    task, rng = small_task(seed, layout), np.random.default_rng(seed)
    for fact in rng.permutation(len(task.graph))[:4].tolist():
        value = int(rng.choice(task.fact_values(fact)))
        for split in SPLITS:
            before = task.split(split)
            after = task.with_fact(before, fact=fact, value=value)
            found = dict(
                zip(
                    map(tuple, after.tokens.tolist()),
                    zip(after.bridges.tolist(), after.answers.tolist(), strict=True),
                    strict=True,
                )
            )
            assert found == walked(task, split, fact, value) and len(found) == len(after)
            assert (after.roles, after.answer_position, after.split) == (before.roles, before.answer_position, split)
            assert torch.equal(after.unit, after.hop1)
            order = [tuple(prompt) for prompt in before.tokens.tolist() if tuple(prompt) in found]
            assert order == list(map(tuple, after.tokens.tolist()))


def test_the_second_fact_is_the_one_that_the_new_tail_has() -> None:
    graph = KnowledgeGraph.from_triples([(0, 0, 1), (1, 1, 2), (2, 1, 0), (3, 0, 3)], n_entities=4, n_relations=2)
    chains, rows = followed(with_other_tail(graph, 0, 2), np.array([[0, 1]]))
    assert (chains.tolist(), rows.tolist()) == ([[0, 2]], [0])
    chains, rows = followed(with_other_tail(graph, 0, 3), np.array([[0, 1]]))  # (3, 1) leads nowhere
    assert (len(chains), len(rows)) == (0, 0)
    assert graph.tails[0] == 1  # which is left as it is


def test_a_fact_s_own_tail_is_no_other_value() -> None:
    task = small_task(0)
    assert sorted([*task.fact_values(3).tolist(), int(task.graph.tails[3])]) == list(range(10))


@pytest.mark.usefixtures("as_users_call")
def test_what_cannot_be_changed_is_refused() -> None:
    task = small_task(0)
    n = len(task.graph)
    for fact in (-1, n, True, "<script>"):
        with pytest.raises(ValueError, match=f"fact is .*, needed is a whole number, 0 to {n - 1}"):
            task.fact_values(fact)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="value is 10, needed is a whole number, 0 to 9"):
        task.with_fact(task.split("id_atomic"), fact=0, value=10)


def test_a_task_without_changeable_facts_is_named() -> None:
    with pytest.raises(TypeError, match="got the class TwoHopTask itself"):
        editable(TwoHopTask)
    with pytest.raises(TypeError, match="have fact_values and with_fact; got a task of the kind 'str'"):
        editable("two-hop")


def test_no_questions_stay_none() -> None:
    task = small_task(0)
    none = task.split("train_inferred").take(torch.tensor([], dtype=torch.long))
    assert len(task.with_fact(none, fact=0, value=int(task.fact_values(0)[0]))) == 0


def test_three_hops_go_where_a_changed_fact_leads() -> None:
    task = KHopTask.random(n_entities=14, n_relations=8, out_degree=6, ood_fraction=0.25, seed=2)
    fact = int(task.split("train_3hop").facts["hop2"][0])
    value = int(task.fact_values(fact)[3])
    tail = {(head, relation): end for head, relation, end in task.graph.triples}
    tail[task.graph.triples[fact][:2]] = value
    for split in ("train_3hop", "test_3hop_iii", "id_atomic"):
        queries, found = task.split(split), {}
        for tokens in queries.tokens.tolist():
            passed = [tokens[0]]
            for token in tokens[1:]:
                passed.append(tail.get((passed[-1], token - task.graph.n_entities), -1))
            if passed[-1] >= 0:
                found[tuple(tokens)] = passed[1:]
        changed = task.with_fact(queries, fact=fact, value=value)
        assert [tuple(row) for row in changed.tokens.tolist()] == list(found)
        assert changed.answers.tolist() == [passed[-1] for passed in found.values()]
        assert changed.intermediates["b1"].tolist() == [passed[0] for passed in found.values()]


def test_comparisons_have_another_answer_where_a_value_is_another() -> None:
    task = ComparisonTask.random(n_entities=10, n_attributes=2, n_levels=3, seed=0)
    queries = task.split("train_compared")
    fact = int(queries.facts["fact_2"][0])
    value = int(task.fact_values(fact)[0])
    changed = task.with_fact(queries, fact=fact, value=value)
    values = {number: int(each) for number, each in enumerate(task.values.ravel())} | {fact: value}
    facts = zip(queries.facts["fact_1"].tolist(), queries.facts["fact_2"].tolist(), strict=True)
    signs = [(values[one] > values[two]) - (values[one] < values[two]) for one, two in facts]
    assert changed.answers.tolist() == [task.n_levels + 1 + sign for sign in signs] != queries.answers.tolist()
    assert torch.equal(changed.tokens, queries.tokens) and task.values.ravel()[fact] != value
    assert task.with_fact(task.split("id_atomic"), fact=fact, value=value).answers.tolist().count(value) >= 1
