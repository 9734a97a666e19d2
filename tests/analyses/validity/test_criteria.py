"""The 28 criteria, and that levels and tiers ask for nothing but them, more and more."""

from collections import Counter
from itertools import pairwise

import pytest

from grokscope.analyses.validity.criteria import CRITERIA, KINDS, LEVELS, TIERS
from grokscope.analyses.validity.entries import MAKERS


def test_there_are_28_criteria_of_five_kinds() -> None:
    assert len(CRITERIA) == 28 and len(KINDS) == 5
    assert Counter(each.kind for each in CRITERIA.values()) == {
        "construct": 5, "internal": 6, "external": 6, "measurement": 6, "interpretation": 5,
    }  # fmt: skip
    assert [code for kind, n in (("C", 5), ("I", 6), ("E", 6), ("M", 6), ("V", 5)) for code in _codes(kind, n)] == list(
        CRITERIA
    )
    for code, criterion in CRITERIA.items():
        assert criterion.code == code and criterion.name and criterion.asks and criterion.kind == KINDS[code[0]]
    assert len({each.name for each in CRITERIA.values()}) == len({each.asks for each in CRITERIA.values()}) == 28


def _codes(kind: str, n: int) -> list[str]:
    return [f"{kind}{number}" for number in range(1, n + 1)]


@pytest.mark.parametrize("asked", [LEVELS, TIERS], ids=["levels", "tiers"])
def test_levels_and_tiers_ask_for_known_criteria_each_once(asked: dict[str, tuple[str, ...]]) -> None:
    for name, codes in asked.items():
        assert set(codes) <= set(CRITERIA), name
        assert len(set(codes)) == len(codes), name


def test_a_tier_asks_for_all_that_the_tier_below_asks_for_and_more() -> None:
    assert list(TIERS) == ["proposed", "causally suggestive", "mechanistically supported", "triangulated", "validated"]
    assert all(set(lower) < set(upper) for lower, upper in pairwise(TIERS.values()))
    assert TIERS["proposed"] == () and set(TIERS["validated"]) == set(CRITERIA)
    assert set(TIERS["causally suggestive"]) == {"I1", "E4", "V1"}
    assert set(TIERS["mechanistically supported"]) - set(TIERS["causally suggestive"]) == {"I2", "I3", "I4", "M1", "M5"}


def test_every_level_rests_on_the_functional_one_and_the_strong_ones_on_the_causal_one() -> None:
    assert list(LEVELS) == ["functional", "representational", "causal", "structural", "transportable"]
    assert all(set(LEVELS["functional"]) <= set(codes) for codes in LEVELS.values())
    assert all(set(LEVELS["causal"]) < set(LEVELS[name]) for name in ("structural", "transportable"))
    assert len(set(LEVELS.values())) == len(LEVELS)
    assert not {"V1", "V2"} & {code for codes in LEVELS.values() for code in codes}  # which follow from the level


def test_what_one_circuit_cannot_show_has_no_maker() -> None:
    assert [code for code in CRITERIA if code not in MAKERS] == ["E6", "V1", "V2", "V3"]
    assert list(MAKERS) == [code for code in CRITERIA if code in MAKERS]
