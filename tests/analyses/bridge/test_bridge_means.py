"""Mean states by value: which values have one, and over which units it is taken."""

import torch
from conftest import random_model

from grokscope.analyses import graph_of
from grokscope.analyses.bridge.bridge_means import BridgeMeans, means_by_label
from grokscope.analyses.bridge.own_pairs import OwnPairs
from grokscope.tasks import PromptPairs, Queries


def source_of(values: list[int]) -> OwnPairs:
    """A pair for each value, all of other units."""
    n = len(values)
    clean = torch.stack([torch.arange(n) % 11, torch.arange(n) % 7, torch.zeros(n, dtype=torch.long)], 1)
    carries, other = torch.tensor(values), torch.full((n,), 9)
    corrupt = (clean + 1) % 11
    pairs = PromptPairs(
        clean,
        corrupt,
        torch.zeros(n, dtype=torch.long),
        torch.ones(n, dtype=torch.long),
        roles=("a", "b", "c"),
        intermediates={"carry": carries},
        corrupt_intermediates={"carry": other},
        unit=torch.arange(n),
    )
    return OwnPairs(pairs, "carry")


def test_a_value_needs_two_other_units_and_the_overall_mean_takes_each_such_value_once() -> None:
    source, model = source_of([0, 0, 0, 1, 1, 2, 3, 3]), random_model(0)
    asked: Queries = source.questions.take(torch.tensor([6]))
    means = BridgeMeans(model, graph_of(model, asked.roles, 2), source, asked, intermediate="carry", seed=0)
    assert means.counts.tolist() == [3, 2, 1, 1, 0, 0, 0, 0, 0, 0]
    assert [means.has(value) for value in range(5)] == [True, True, False, False, False]
    assert means.has(0, 1) and not means.has(0, 2)
    states = means.run.state(0)[:, 1]
    by_hand = torch.stack([states[:3].mean(0), states[3:5].mean(0)])
    torch.testing.assert_close(means.of(0, 1, torch.tensor([0, 1])), by_hand)
    torch.testing.assert_close(means.overall(0, 1), by_hand.mean(0))
    assert not set(means.questions.unit.tolist()) & {6}


def test_means_are_those_of_a_loop_and_zero_without_states() -> None:
    states, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 2, 0, 2, 0])
    means = means_by_label(states, labels, 4)
    for label in (0, 2):
        torch.testing.assert_close(means[label], states[labels == label].mean(0))
    assert (means[[1, 3]] == 0).all()
