import itertools

import numpy as np
import pytest

from grokscope.tasks import BOTH_HALF, BOTH_HOPS, FIRST_HOP, NATURAL, SECOND_HOP, Supervision, TwoHopTask


@pytest.fixture(params=range(20))
def natural(request: pytest.FixtureRequest) -> TwoHopTask:
    return TwoHopTask.random(
        n_entities=20, n_relations=10, out_degree=7, ood_fraction=0.2, test_fraction=0.1, seed=request.param
    )


def added(task: TwoHopTask, supervision: Supervision) -> set[tuple[int, ...]]:
    rows = list(map(tuple, task.with_supervision(supervision).added.tolist()))
    assert len(rows) == len(set(rows))
    return set(rows)


def test_each_added_query_has_one_ood_hop_of_a_tested_fact(natural: TwoHopTask) -> None:
    tested = [set(natural.tests["test_inferred_ood"][:, hop].tolist()) for hop in (0, 1)]
    for supervision, hop in ((FIRST_HOP, 0), (SECOND_HOP, 1)):
        for row in added(natural, supervision):
            assert natural.is_ood[row[hop]] and not natural.is_ood[row[1 - hop]]
            assert row[hop] in tested[hop]


def test_doses_are_nested_and_both_hops_is_the_sum(natural: TwoHopTask) -> None:
    assert added(natural, NATURAL) == set()
    assert added(natural, BOTH_HOPS) == added(natural, FIRST_HOP) | added(natural, SECOND_HOP)
    assert added(natural, BOTH_HALF) < added(natural, BOTH_HOPS)
    doses = [Supervision(hop2_share=share, hop2_compositions=k) for share, k in ((0.2, 1), (0.5, 1), (0.5, 3), (1.0, 4))]
    sets = [added(natural, dose) for dose in doses]
    assert all(small <= large for small, large in itertools.pairwise(sets))


def test_share_and_cap_count_facts_and_compositions(natural: TwoHopTask) -> None:
    tested = np.unique(natural.tests["test_inferred_ood"][:, 0])
    rows = np.array(sorted(added(natural, Supervision(hop1_share=0.5, hop1_compositions=2))))
    counts = np.unique(rows[:, 0], return_counts=True)[1]
    assert len(counts) <= round(0.5 * len(tested)) and counts.max() <= 2
    assert (counts == 2).mean() > 0.8  # out-degree 7 leaves nearly every fact two partners


def test_an_unbounded_cap_gives_all_partners_but_the_held_out_ones(natural: TwoHopTask) -> None:
    everything = added(natural, Supervision(hop1_share=1.0, hop1_compositions=10**6))
    tested = set(natural.tests["test_inferred_ood"][:, 0].tolist())
    held_out = set(map(tuple, natural.tests["test_inferred_ood_id"].tolist()))
    literal = {
        (first, second)
        for first, second in natural.graph.compositions.tolist()
        if first in tested and not natural.is_ood[second] and (first, second) not in held_out
    }
    assert everything == literal


def test_names_of_presets_and_doses() -> None:
    assert [s.name for s in (NATURAL, FIRST_HOP, SECOND_HOP, BOTH_HOPS, BOTH_HALF)] == [
        "natural",
        "first_hop",
        "second_hop",
        "both_hops",
        "both_half",
    ]
    assert Supervision(hop1_share=0.5, hop1_compositions=3).name == "hop1 0.5×3, hop2 0×0"


def test_all_bad_doses_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"hop1_share is 2.0, needed.*at most 1; hop2_compositions is -1"):
        Supervision(hop1_share=2.0, hop2_compositions=-1)
