"""Halves of pairs against a literal comparison of every prompt and unit of one with every one of the other."""

import dataclasses
import itertools

import pytest
import torch
from conftest import seeds

from grokscope.tasks import CONTRASTS, PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.questions.halves import apart


def colliding_pairs(seed: int, *, units: bool) -> PromptPairs:
    """Up to thirty pairs of prompts of a small vocabulary, so that many prompts occur more than once."""
    generator = torch.Generator().manual_seed(seed)
    n, d_vocab = (int(torch.randint(2, most, (1,), generator=generator)) for most in (30, 8))
    clean = torch.randint(d_vocab, (n, 2), generator=generator)
    corrupt = (clean + torch.randint(1, d_vocab, (n, 2), generator=generator)) % d_vocab
    unit = torch.randint(n, (n,), generator=generator) if units else None
    return PromptPairs(
        clean, corrupt, torch.zeros(n, dtype=torch.long), torch.ones(n, dtype=torch.long), roles=("a", "b"), unit=unit
    )


def share(one: PromptPairs, i: int, other: PromptPairs, j: int) -> bool:
    """Whether pair i of one and pair j of the other have a prompt or the unit in common."""
    prompts = [(a[i].tolist(), b[j].tolist()) for a in (one.clean, one.corrupt) for b in (other.clean, other.corrupt)]
    return any(a == b for a, b in prompts) or int(one.unit[i]) == int(other.unit[j])


def check_halves(pairs: PromptPairs) -> tuple[PromptPairs, PromptPairs]:
    first, second = pairs.halves()
    assert not any(share(first, i, second, j) for i in range(len(first)) for j in range(len(second)))
    whole = f" of the {pairs.recipe['half']}" if "half" in pairs.recipe else ""
    for half, name in ((first, f"first{whole}"), (second, f"second{whole}")):
        recipe = {"half": name, "n_left_out": len(pairs) - len(first) - len(second)}
        assert recipe.items() <= half.recipe.items() and half.n_asked == pairs.n_asked >= len(half)
        assert f"half, {recipe['n_left_out']} left out" in repr(half)
    rows = [tuple(row) for row in torch.cat([pairs.clean, pairs.corrupt, pairs.unit[:, None]], 1).tolist()]
    taken = [tuple(row) for h in (first, second) for row in torch.cat([h.clean, h.corrupt, h.unit[:, None]], 1).tolist()]
    assert all(taken.count(row) <= rows.count(row) for row in taken)
    again = pairs.halves()
    assert [half.hashes for half in again] == [first.hashes, second.hashes]
    return first, second


def best_split(pairs: PromptPairs) -> int:
    """The largest possible size of the smaller half, by trying every assignment."""
    n, best = len(pairs), 0
    near = [[j for j in range(n) if share(pairs, i, pairs, j)] for i in range(n)]
    for sides in itertools.product((0, 1, 2), repeat=n):
        if min(sides.count(0), sides.count(1)) > best and all(
            {sides[i], sides[j]} != {0, 1} for i in range(n) for j in near[i]
        ):
            best = min(sides.count(0), sides.count(1))
    return best


@pytest.mark.parametrize("units", [True, False])
@pytest.mark.parametrize("seed", seeds(300, fast=40))
def test_halves_of_colliding_pairs_share_nothing(seed: int, units: bool) -> None:
    pairs = colliding_pairs(seed, units=units)
    try:
        check_halves(pairs)
    except ValueError as error:
        assert "they could have" in str(error) and "and 0 pairs" in str(error)
        near = [[j for j in range(len(pairs)) if share(pairs, i, pairs, j)] for i in range(len(pairs))]
        assert all(len(each) == len(pairs) for each in near)  # each shares something with every other one


@pytest.mark.parametrize("seed", range(12))
def test_hardly_a_pair_could_be_added(seed: int) -> None:
    """Of up to eight pairs the smaller half is at most one pair from the best of all assignments."""
    pairs = colliding_pairs(seed, units=False)
    pairs = pairs.take(torch.arange(min(8, len(pairs))))
    best = best_split(pairs)
    if not best:
        with pytest.raises(ValueError, match="there are no two halves"):
            pairs.halves()
    else:
        assert min(map(len, pairs.halves())) >= best - 1


@pytest.mark.parametrize("split", ["test_inferred_iid", "test_inferred_ood", "train_inferred"])
@pytest.mark.parametrize("contrast", CONTRASTS)
def test_halves_of_made_pairs_share_nothing(task: TwoHopTask, split: str, contrast: str) -> None:
    for n in (4, 16, 40):
        try:
            pairs = make_pairs(task, split=split, contrast=contrast, n=n, seed=n)
        except ValueError:
            continue
        first, second = check_halves(pairs)
        if not pairs.recipe["n_twice"]:
            largest = int(pairs.unit.unique(return_counts=True)[1].max())
            assert len(first) + len(second) == n and 0 <= len(first) - len(second) <= largest


@pytest.mark.parametrize("seed", range(10))
def test_without_conflicts_nothing_is_left_out_and_sizes_differ_by_a_unit_at_most(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = 20 + seed
    clean, answers = torch.arange(2 * n).view(n, 2), torch.zeros(n, dtype=torch.long)
    unit = torch.randint(6, (n,), generator=generator)
    pairs = PromptPairs(clean, clean + 1000, answers, answers + 1, roles=("a", "b"), unit=unit)
    first, second = check_halves(pairs)
    assert len(first) + len(second) == n
    assert len(first) - len(second) <= max(int(unit.bincount().max()), 2 * int(unit.bincount().max()) - n)
    separate = dataclasses.replace(pairs, unit=None).halves()
    assert [len(half) for half in separate] == [(n + 1) // 2, n // 2]


def test_a_chain_is_cut_in_the_middle_and_what_all_share_cannot_be() -> None:
    links = [{i, i + 1} for i in range(9)]
    one, other = apart(links)
    assert len(one) == len(other) == 4 and len({*one, *other}) == 8
    assert apart([{0, i} for i in range(1, 5)]) == ([0, 1, 2, 3], [])
    assert apart([]) == ([], [])
    clean = torch.tensor([[0, 1], [0, 2], [0, 3]])
    pairs = PromptPairs(
        clean,
        clean + 4,
        torch.zeros(3, dtype=torch.long),
        torch.ones(3, dtype=torch.long),
        roles=("a", "b"),
        unit=torch.zeros(3, dtype=torch.long),
    )
    with pytest.raises(
        ValueError, match=r"no two halves of these 3 pairs \(1 units\).* could have 3 and 0 pairs; ask for more"
    ):
        pairs.halves()


def test_pairs_apart_from_others_are_those_that_share_nothing(task: TwoHopTask) -> None:
    made = [make_pairs(task, split="test_inferred_iid", contrast="bridge", n=30, seed=seed) for seed in (0, 1)]
    one, other = made
    literal = [not any(share(one, i, other, j) for j in range(len(other))) for i in range(len(one))]
    assert one.apart_from(other.hashes).key == one.take(torch.tensor(literal)).key and 0 < sum(literal) < len(one)
    with pytest.raises(ValueError, match="all 30 pairs share a prompt or a unit"):
        one.apart_from(one.hashes)


def test_units_of_a_task_and_of_nobody_are_not_compared(task: TwoHopTask) -> None:
    pairs = make_pairs(task, split="test_inferred_iid", contrast="bridge", n=8, seed=0)
    plain = dataclasses.replace(pairs, recipe={})
    assert set(pairs.shared_with(plain.hashes)) == set(plain.shared_with(pairs.hashes)) == {"prompt"}
    old = {name: column for name, column in pairs.hashes.items() if name != "unit"}
    assert set(pairs.shared_with(old)) == {"prompt"}
    numbered = dataclasses.replace(plain, clean=plain.clean + 1000, corrupt=plain.corrupt + 1000)
    assert plain.shared_with(numbered.hashes)["unit"].all()  # numbers of one user are taken as the same
    separate = [dataclasses.replace(each, unit=None) for each in (plain, numbered)]
    assert not separate[0].shared_with(separate[1].hashes)["unit"].any()
    assert separate[0].shared_with(separate[0].hashes)["unit"].all()
