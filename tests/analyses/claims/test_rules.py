"""How a quantity over graphs becomes a word: each kind of row at its thresholds, with its bounds, m and n."""

import dataclasses
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses import ClaimResult, EquivalenceResult, equivalence
from grokscope.analyses.bounds import ALPHA, Bounds, difference_bounds, graphs_to_exclude, rate_bounds, share_bounds
from grokscope.analyses.claims.decisive import CONTRADICTED, INVALID, SUPPORTED, UNDECIDED
from grokscope.analyses.claims.rules import (
    MOST,
    RARE,
    Role,
    Row,
    after_controls,
    bounds_row,
    check,
    equivalence_row,
    occurrence_row,
    rows_to_frame,
    violations_row,
)
from grokscope.circuits import Result

MAIN = Row("a", "main", "what", "split")


def compared(between: float, within: float = 0.01, *, m: int = 1, n: int = 5) -> EquivalenceResult:
    pairs = {("a", "b"): between, ("a", "a again"): within}
    return equivalence(dict.fromkeys(range(n), pairs), ("a", "b"), margin=0.1, alpha=ALPHA / m)


@pytest.mark.parametrize(
    ("between", "within", "n", "says"),
    [(0.01, 0.01, 5, SUPPORTED), (0.5, 0.01, 5, CONTRADICTED), (0.05, 0.01, 5, UNDECIDED), (0.5, 0.5, 5, UNDECIDED),
     (0.01, 0.01, 2, UNDECIDED)],
)  # fmt: skip
def test_same_supports_and_different_contradicts(between: float, within: float, n: int, says: str) -> None:
    result = compared(between, within, m=6, n=n)
    row = equivalence_row(MAIN, result, 6)
    assert (row.says, row.n, row.m, row.margin, row.key, row.role) == (says, n, 6, 0.1, "a", "main")
    assert np.array_equal([row.value, row.low, row.high], [result.value, result.low, result.high], equal_nan=True)
    assert np.isnan(row.strict_low) if n < 3 else row.strict_low == result.strict_low < row.low
    assert result.finding in row.rule and "contradicts if surely above 0.1 and 1" in row.rule


def test_a_row_that_decides_rests_on_a_test_at_its_share_of_alpha() -> None:
    for role in ("main", "falsifier"):
        with pytest.raises(ValueError, match=r"a: of 6 rows each is tested at 0.00833333, the test was made at 0.05"):
            equivalence_row(dataclasses.replace(MAIN, role=role), compared(0.01), 6)
    assert equivalence_row(dataclasses.replace(MAIN, role="beside"), compared(0.01, m=6), 1).says == SUPPORTED


SHARES = partial(share_bounds, n=200)


def shares(values: list[float], *, m: int = 1) -> Row:
    rule = {"supports": lambda bounds: bounds.low > 0.5, "contradicts": lambda bounds: bounds.high < 0.5}
    return bounds_row(MAIN, pd.Series(values, dtype=float), SHARES, "rule", m=m, **rule)


def test_bounds_decide_by_the_usual_and_contradict_by_the_stricter() -> None:
    assert shares([0.9, 0.95, 0.92]).says == SUPPORTED and shares([0.1, 0.05, 0.08]).says == CONTRADICTED
    assert shares([0.2, 0.5, 0.9]).says == UNDECIDED
    low = [0.2, 0.35, 0.3, 0.4]
    assert shares(low).says == CONTRADICTED and shares(low, m=8).says == UNDECIDED
    high = [1 - value for value in low]
    assert shares(high).says == shares(high, m=8).says == SUPPORTED  # support needs no correction
    row, plain, strict = shares(low, m=8), SHARES(low), SHARES(low, alpha=ALPHA / 8)
    assert (row.value, row.low, row.high, row.strict_low, row.strict_high) == (*plain, strict.low, strict.high)
    assert row.n == 4 and row.m == 8 and row.rule == "rule"


def test_at_a_threshold_it_is_what_the_rule_says() -> None:
    at = lambda *_, alpha: Bounds(0.3, 0.1, 0.5)  # noqa: E731
    values = pd.Series([0.3] * 3)
    for inside, says in ((lambda b: b.high <= 0.5, SUPPORTED), (lambda b: b.high < 0.5, UNDECIDED)):
        assert bounds_row(MAIN, values, at, "", supports=inside).says == says
    assert bounds_row(MAIN, values, at, "", supports=lambda b: True, contradicts=lambda b: True).says == CONTRADICTED


def test_too_few_graphs_or_one_without_a_number_decide_nothing() -> None:
    two, hole = shares([0.9, 0.9], m=3), shares([0.9, np.nan, 0.9, 0.9])
    assert (two.says, two.n, two.m) == (UNDECIDED, 2, 3) and "needed are 3 graphs" in two.rule
    assert (hole.says, hole.n) == (UNDECIDED, 4) and "nothing measured on graph 1" in hole.rule and np.isnan(hole.value)


def test_without_a_rule_a_row_shows_bounds_and_says_nothing() -> None:
    for values in ([0.1, 0.2, 0.3], [0.1], [0.1, np.nan, 0.2, 0.3]):
        row = bounds_row(MAIN, pd.Series(values), partial(difference_bounds, n=99), "shown")
        assert row.says == "" and row.n == len(values)


YES, NO, UNCLEAR = True, False, None


@pytest.mark.parametrize(
    ("occurred", "m", "says"),
    [
        ([YES] * 5, 1, SUPPORTED),
        ([YES] * 2 + [NO] * 3, 1, SUPPORTED),
        ([YES] * 2, 1, UNDECIDED),  # no verdict rests on two graphs
        ([YES] * 3, 1, SUPPORTED),
        ([YES], 1, UNDECIDED),
        ([YES] + [NO] * 4, 1, UNDECIDED),
        ([NO] * 5, 1, UNDECIDED),  # which leave a rate up to .45
        ([NO] * 6, 1, CONTRADICTED),
        ([NO] * 6, 2, UNDECIDED),
        ([NO] * 8, 2, CONTRADICTED),
        ([NO] * 8 + [UNCLEAR], 2, UNDECIDED),
        ([YES] * 3 + [UNCLEAR] * 5, 1, SUPPORTED),
        ([UNCLEAR] * 30, 1, UNDECIDED),
        ([YES] + [NO] * 29, 1, CONTRADICTED),
        ([YES] * 6 + [NO] * 44, 1, SUPPORTED if rate_bounds(6, 50).low > 0.05 else CONTRADICTED),
        ([], 1, UNDECIDED),
    ],
)
def test_what_can_occur_is_shown_by_few_graphs_and_contradicted_by_none_of_many(
    occurred: list[bool | None], m: int, says: str
) -> None:
    row = occurrence_row(MAIN, occurred, "rule", m=m)
    assert (row.says, row.n, row.m) == (says, len(occurred), m)
    assert f"for which none of {graphs_to_exclude(RARE, alpha=ALPHA / m)} graphs may" in row.rule
    if occurred:
        sure, possible = occurred.count(YES), len(occurred) - occurred.count(NO)
        assert (row.value, row.low) == (sure / len(occurred), rate_bounds(sure, len(occurred)).low)
        assert row.high == rate_bounds(possible, len(occurred)).high
        assert row.strict_high == rate_bounds(possible, len(occurred), alpha=ALPHA / m).high


def test_what_can_occur_is_contradicted_only_below_the_rate_that_was_named() -> None:
    for m in (1, 2):
        for n in (1, 5, 8, 20):
            for count in range(n + 1):
                row = occurrence_row(MAIN, [YES] * count + [NO] * (n - count), "", m=m)
                assert (row.says == CONTRADICTED) == (row.strict_high < RARE and row.low <= 0.05)
    needed = graphs_to_exclude(RARE, alpha=ALPHA / 2)
    assert needed == 8
    assert occurrence_row(MAIN, [NO] * needed, "", m=2).says == CONTRADICTED
    assert occurrence_row(MAIN, [NO] * (needed - 1), "", m=2).says == UNDECIDED


@pytest.mark.parametrize(
    ("violated", "m", "says"),
    [
        ([NO] * 5, 1, SUPPORTED),
        ([NO] * 4, 1, UNDECIDED),
        ([YES] * 5, 1, CONTRADICTED),
        ([YES] * 5, 2, UNDECIDED),
        ([YES] * 6, 2, CONTRADICTED),
        ([NO] * 5 + [UNCLEAR], 1, UNDECIDED),
        ([NO] * 7 + [UNCLEAR], 1, SUPPORTED),
        ([YES] + [NO] * 4, 1, UNDECIDED),
        ([], 3, UNDECIDED),
    ],
)
def test_a_rule_is_broken_if_surely_most_graphs_break_it(violated: list[bool | None], m: int, says: str) -> None:
    row = violations_row(MAIN, violated, "rule", m=m)
    assert (row.says, row.n, row.m) == (says, len(violated), m)
    assert math.isnan(row.low) == math.isnan(row.high) == math.isnan(row.value) == (not violated), "nothing has no bounds"
    assert f"for which all of {graphs_to_exclude(MOST, alpha=ALPHA / m)} must" in row.rule
    needed = graphs_to_exclude(MOST, alpha=ALPHA / m)
    assert violations_row(MAIN, [YES] * needed, "", m=m).says == CONTRADICTED
    assert violations_row(MAIN, [YES] * (needed - 1), "", m=m).says != CONTRADICTED


def test_a_row_is_invalid_without_controls_or_with_one_that_fails() -> None:
    row = equivalence_row(MAIN, compared(0.01), 1)
    assert after_controls(row, {"known same": True, "known different": True}) == row
    for controls, why in (
        ({}, "no control"),
        ({"known same": True, "known different": False}, "controls: known different: fails"),
        ({"known same": None}, "controls: known same: not run"),
        ({"known same": False, "other": None}, "controls: known same: fails; other: not run"),
    ):
        failed = after_controls(row, controls)
        assert failed.says == INVALID and failed.rule == f"{why}; {row.rule}" and failed.value == row.value


def result(*roles: Role) -> ClaimResult:
    rows = [dataclasses.replace(shares([0.9, 0.95, 0.92], m=2), key=f"{role}{i}", role=role) for i, role in enumerate(roles)]
    checks = pd.DataFrame([check("one", True, "detail")])
    return ClaimResult(
        rows_to_frame([row for row in rows if row.role != "falsifier"]),
        rows_to_frame([row for row in rows if row.role == "falsifier"]),
        checks, "claim", "supported", "It holds.", "that", "all main rows support it", 2, 3,
    )  # fmt: skip


def test_a_result_says_what_its_verdict_rests_on_and_is_saved_with_it() -> None:
    found = result("main", "main", "control", "falsifier")
    rests = "(m = 2 rows at .05/m, n ≥ 3 graphs; all main rows support it)"
    assert found.caption == f"claim: supported {rests}. It holds."
    assert found.table.query("role == 'main'")["key"].tolist() == ["main0", "main1"] and len(found.table) == 3
    again = Result.from_json(found.to_json())
    assert isinstance(again, ClaimResult) and again.caption == found.caption
    assert again.table.equals(found.table) and {"m", "strict_low", "strict_high"} <= {*again.table}


def test_every_word_has_a_colour() -> None:
    found = result(*["main"] * 5)
    words = [SUPPORTED, CONTRADICTED, UNDECIDED, INVALID, ""]
    drawn = dataclasses.replace(found, table=found.table.assign(says=words)).figure()
    assert {trace.name for trace in drawn.data} == {*words[:4], "no rule"}


def test_without_rows_a_result_is_still_a_table() -> None:
    empty = rows_to_frame([])
    assert len(empty) == 0 and {"key", "says", "strict_high"} <= {*empty}
