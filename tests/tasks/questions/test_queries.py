"""Questions and pairs with intermediates, facts and units: what is carried along, by default and from the task."""

from dataclasses import replace

import pytest
import torch

from grokscope.tasks import CONTRASTS, PromptPairs, Queries, TwoHopTask, make_pairs

ROLES = ("a", "b", "c")


def random_queries(seed: int) -> Queries:
    """Columns of different random numbers, so that none can be taken for another."""
    generator = torch.Generator().manual_seed(seed)
    n = int(torch.randint(3, 20, (1,), generator=generator))

    def column() -> torch.Tensor:
        return torch.randint(1000, (n,), generator=generator)

    return Queries(
        torch.randint(1000, (n, 3), generator=generator),
        column(),
        roles=ROLES,
        answer_position=1,
        intermediates={"carry": column(), "sign": column()},
        unit=column() % 5,
        facts={"left": column(), "right": column()},
        split="mine",
    )


def rows_of(queries: Queries) -> list[tuple[object, ...]]:
    """Everything about each question, in plain numbers."""
    named = [*sorted(queries.intermediates.items()), *sorted(queries.facts.items())]
    columns = [queries.answers.tolist(), queries.unit.tolist(), *(column.tolist() for _, column in named)]
    return list(zip(queries.tokens.tolist(), *columns, strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_taking_rows_takes_every_column(seed: int) -> None:
    queries, generator = random_queries(seed), torch.Generator().manual_seed(seed)
    rows, mask = torch.randint(len(queries), (7,), generator=generator), torch.rand(len(queries), generator=generator) < 0.5
    everything = rows_of(queries)
    taken = queries.take(rows)
    assert rows_of(taken) == [everything[i] for i in rows.tolist()]
    assert rows_of(queries.take(mask)) == [row for row, chosen in zip(everything, mask.tolist(), strict=True) if chosen]
    assert (taken.roles, taken.answer_position, taken.split) == (ROLES, 1, "mine")
    assert taken.intermediates.keys() == {"carry", "sign"} and taken.facts.keys() == {"left", "right"}


@pytest.mark.parametrize("seed", range(20))
def test_halves_alternate_and_lose_nothing(seed: int) -> None:
    queries = random_queries(seed)
    first, second = queries.halves()
    assert rows_of(first) == rows_of(queries)[::2] and rows_of(second) == rows_of(queries)[1::2]


@pytest.mark.parametrize("seed", range(20))
def test_one_question_of_each_unit_in_the_units_order(seed: int) -> None:
    queries = random_queries(seed)
    there = sorted(set(queries.unit.tolist()))
    assert queries.n_units == len(there)
    without = frozenset(there[:1])
    chosen = queries.one_per_unit(seed=seed, without=without)
    assert chosen.unit.tolist() == there[1:]
    assert all(row in rows_of(queries) for row in rows_of(chosen))


def test_which_question_of_a_unit_is_drawn_depends_on_the_seed() -> None:
    queries = Queries(torch.arange(200)[:, None], torch.arange(200), roles=("a",), unit=torch.arange(200) % 4)
    draws = {tuple(queries.one_per_unit(seed=seed).answers.tolist()) for seed in range(10)}
    assert len(draws) == 10
    same = [queries.one_per_unit(seed=3).answers for _ in range(2)]
    assert torch.equal(*same)


def test_by_default_each_question_is_a_separate_unit_and_nothing_lies_between() -> None:
    tokens = torch.tensor([[1, 2], [1, 2], [3, 4]])
    queries = Queries(tokens, torch.tensor([5, 5, 6]), roles=("a", "b"))
    assert queries.unit.tolist() == [0, 1, 2] and queries.n_units == 3
    assert not queries.intermediates and not queries.facts and queries.answer_position == 1
    assert queries.take(torch.tensor([2, 1])).unit.tolist() == [2, 1]  # not numbered anew


def test_everything_that_does_not_fit_is_named_at_once() -> None:
    tokens, one = torch.tensor([[1, 2], [3, 4]]), torch.tensor([1])
    with pytest.raises(
        ValueError,
        match=r"2 prompts, but 1 of answers; 2 prompts, but 1 of unit; 2 prompts, but 1 of carry; 2 prompts, but 1 of left; "
        r"2 positions need 2 different roles, got \('a', 'a'\); answer_position=2 is outside the 2 positions",
    ):
        Queries(
            tokens, one, roles=("a", "a"), answer_position=2, intermediates={"carry": one}, unit=one, facts={"left": one}
        )
    with pytest.raises(ValueError, match="answer_position=-3 is outside"):
        Queries(tokens, torch.tensor([1, 2]), roles=("a", "b"), answer_position=-3)
    assert Queries(tokens, torch.tensor([1, 2]), roles=("a", "b"), answer_position=-2).answer_position == 0


def random_pairs_with(seed: int) -> PromptPairs:
    queries, other = random_queries(seed), random_queries(seed)
    return PromptPairs(
        queries.tokens,
        other.tokens + 1000,
        queries.answers,
        other.answers + 1000,
        roles=ROLES,
        answer_position=1,
        contrast="shift",
        recipe={"split": "mine"},
        intermediates=queries.intermediates,
        corrupt_intermediates={name: column + 1000 for name, column in other.intermediates.items()},
        unit=queries.unit,
    )


def rows_of_pairs(pairs: PromptPairs) -> list[tuple[object, ...]]:
    columns = [pairs.corrupt, pairs.answers, pairs.foils, pairs.unit]
    columns += [pairs.intermediates[name] for name in ("carry", "sign")]
    columns += [pairs.corrupt_intermediates[name] for name in ("carry", "sign")]
    return list(zip(pairs.clean.tolist(), *(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_pairs_take_and_halve_every_column_and_their_clean_prompts_are_questions(seed: int) -> None:
    pairs = random_pairs_with(seed)
    everything = rows_of_pairs(pairs)
    if pairs.n_units == 1:  # of which there are no halves
        pairs = replace(pairs, unit=torch.arange(len(pairs)))
        everything = rows_of_pairs(pairs)
    rows = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:3]
    assert rows_of_pairs(pairs.take(rows)) == [everything[i] for i in rows.tolist()]
    halves = [row for half in pairs.halves() for row in rows_of_pairs(half)]
    assert sorted(map(str, halves)) == sorted(map(str, everything))
    queries, wanted = pairs.queries(), random_queries(seed)
    assert rows_of(queries) == rows_of(replace(wanted, facts={}, unit=pairs.unit))
    assert (queries.roles, queries.answer_position, queries.split) == (ROLES, 1, "mine")


def test_pairs_that_do_not_fit_are_named_and_units_are_numbered_by_default() -> None:
    clean, one, two = torch.tensor([[0, 4], [1, 4]]), torch.tensor([1]), torch.tensor([1, 2])
    pairs = PromptPairs(clean, clean.flip(0), two, two.flip(0), roles=("a", "b"))
    assert pairs.n_units == 2 and not pairs.intermediates and not pairs.corrupt_intermediates
    named = {"intermediates": {"carry": one}, "corrupt_intermediates": {"borrow": one}, "unit": one}
    with pytest.raises(
        ValueError, match="2 clean prompts, but 1 unit; 2 clean prompts, but 1 carry; 2 clean prompts, but 1 borrow"
    ):
        PromptPairs(clean, clean.flip(0), two, two.flip(0), roles=("a", "b"), **named)


@pytest.mark.parametrize("layout", ["compact", "slots"])
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_intermediates_units_and_facts_are_those_of_a_plain_loop_over_the_graph(
    task: TwoHopTask, contrast: str, layout: str
) -> None:
    base, triples = task.graph.n_entities, task.graph.triples
    pairs = make_pairs(task.with_layout(layout), split="train_inferred", contrast=contrast, n=30, seed=0)

    def bridge_and_fact(prompt: list[int]) -> tuple[int, int]:
        found = [(t, i) for i, (h, r, t) in enumerate(triples) if (h, r) == (prompt[0], prompt[1] - base)]
        assert len(found) == 1
        return found[0]

    for row in range(len(pairs)):
        bridge, fact = bridge_and_fact(pairs.clean[row].tolist())
        assert (int(pairs.intermediates["bridge"][row]), int(pairs.unit[row])) == (bridge, fact)
        assert int(pairs.corrupt_intermediates["bridge"][row]) == bridge_and_fact(pairs.corrupt[row].tolist())[0]
    queries = pairs.queries()
    assert torch.equal(queries.bridges, pairs.intermediates["bridge"]) and queries.split == "train_inferred"


def test_facts_of_both_hops_are_those_of_a_plain_loop(task: TwoHopTask) -> None:
    base, triples = task.graph.n_entities, task.graph.triples
    for name in task.splits:
        queries = task.split(name)
        assert torch.equal(queries.unit, queries.facts["hop1"]) and queries.intermediates.keys() == {"bridge"}
        for row in range(0, len(queries), 7):
            h, r1, *r2 = queries.tokens[row].tolist()
            first = triples[int(queries.hop1[row])]
            assert first == (h, r1 - base, int(queries.bridges[row]))
            if r2:
                assert triples[int(queries.hop2[row])] == (first[2], r2[0] - base, int(queries.answers[row]))
            else:
                assert int(queries.hop2[row]) == -1 and int(queries.answers[row]) == first[2]
