"""The verdict on a claim: one order, each step by itself, and how often a claim that holds is contradicted."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from grokscope.analyses.bounds import ALPHA, Bounds
from grokscope.analyses.claims.decisive import CONTRADICTED, INVALID, SUPPORTED, UNDECIDED
from grokscope.analyses.claims.gatekeeping import Decision, decide
from grokscope.analyses.claims.rules import Role, Row, bounds_row

WORDS = {"s": SUPPORTED, "c": CONTRADICTED, "u": UNDECIDED, "i": INVALID, "n": ""}


def rows(words: str, role: Role = "main", n: int = 8, m: int | None = None) -> list[Row]:
    """A row for each letter; the first rests on n graphs, the next on one more, and so on."""
    of = len(words) if m is None else m
    return [Row(f"{role}.{i}", role, "", "", n=n + i, m=of, says=WORDS[word]) for i, word in enumerate(words)]


def verdict(main: str, falsifiers: str = "") -> str:
    return decide([*rows(main), *rows(falsifiers, "falsifier")]).verdict


@pytest.mark.parametrize(
    ("main", "falsifiers", "says"),
    [
        ("s", "", SUPPORTED),
        ("sss", "", SUPPORTED),
        ("ssc", "", CONTRADICTED),
        ("c", "s", CONTRADICTED),
        ("su", "", UNDECIDED),
        ("si", "", UNDECIDED),
        ("i", "", UNDECIDED),
        ("n", "", UNDECIDED),
        ("uc", "", CONTRADICTED),  # of a conjunction one part that is false is enough
        ("ss", "ss", SUPPORTED),
        ("ss", "su", SUPPORTED),
        ("ss", "sc", CONTRADICTED),
        ("su", "cc", UNDECIDED),  # no falsifier decides a claim whose main rows are open
        ("si", "c", UNDECIDED),
        ("", "c", UNDECIDED),
        ("", "", UNDECIDED),
    ],
)
def test_main_rows_decide_first_and_falsifiers_only_what_they_support(main: str, falsifiers: str, says: str) -> None:
    assert verdict(main, falsifiers) == says


def test_whatever_the_falsifiers_say_an_open_main_row_is_undecided() -> None:
    for main in map("".join, itertools.product("sui", repeat=3)):
        for falsifiers in map("".join, itertools.product("scui", repeat=2)):
            expected = SUPPORTED if main == "sss" and "c" not in falsifiers else UNDECIDED
            expected = CONTRADICTED if main == "sss" and "c" in falsifiers else expected
            assert verdict(main, falsifiers) == expected


def test_each_verdict_says_which_rows_made_it_and_what_they_rest_on() -> None:
    assert decide(rows("ss", n=5)) == Decision(SUPPORTED, "all main rows support it, no falsifier speaks against it", 2, 5)
    assert decide(rows("scc", n=9)) == Decision(CONTRADICTED, "by main.1, main.2", 3, 9)
    assert decide(rows("sui")) == Decision(UNDECIDED, "main rows open: main.1 undecided, main.2 invalid", 3, 8)
    broken = decide([*rows("ss", n=4), *rows("scs", "falsifier", n=6)])
    assert broken == Decision(CONTRADICTED, "all main rows support it, but falsifier.1 speak against it", 3, 6)
    left = decide([*rows("s"), *rows("is", "falsifier")])
    assert left.verdict == SUPPORTED and left.reason.endswith("(without falsifier.0: invalid)")
    assert decide([]) == Decision(UNDECIDED, "there is no main row", 0, 0)


def test_rows_of_other_roles_are_left_alone() -> None:
    others = [*rows("cc", "control"), *rows("ic", "beside")]
    assert decide([*rows("ss"), *others]) == decide(rows("ss"))


@pytest.mark.parametrize("role", ["main", "falsifier"])
def test_rows_that_were_not_tested_together_are_refused(role: Role) -> None:
    wrong = rows("ss", role, m=1)
    with pytest.raises(
        ValueError, match=rf"2 rows decide together and are tested at .05/2; {role}.0: m = 1, {role}.1: m = 1"
    ):
        decide([*(rows("s") if role == "falsifier" else []), *wrong])


def drawn(rng: np.random.Generator, truth: float, key: str, role: Role, m: int) -> Row:
    """A quantity that is claimed to be at most 0: the rule supports below 1, contradicts above it."""
    values = pd.Series(rng.normal(truth, 1, 8))
    return bounds_row(
        Row(key, role, "", ""),
        values,
        _known_spread,
        "",
        m=m,
        supports=lambda b: b.high < 1,
        contradicts=lambda b: b.low > 1,
    )


def _known_spread(values: np.ndarray, *, alpha: float) -> Bounds:
    half = norm.ppf(1 - alpha) / np.sqrt(len(values))
    return Bounds(float(values.mean()), float(values.mean() - half), float(values.mean() + half))


@pytest.mark.parametrize("truth", [1.0, 0.7, 0.3])
@pytest.mark.parametrize("draws", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_claim_that_holds_is_seldom_contradicted_however_many_rows_it_has(truth: float, draws: int) -> None:
    """Five main rows with the same truth, and five falsifiers each on its threshold; before it was .18 to .63."""
    rng = np.random.default_rng(round(10 * truth))
    wrong = 0
    for _ in range(draws):
        main = [drawn(rng, truth, f"m{i}", "main", 5) for i in range(5)]
        against = [drawn(rng, 1.0, f"f{i}", "falsifier", 5) for i in range(5)]
        wrong += decide([*main, *against]).verdict == CONTRADICTED
    assert wrong <= binom.ppf(0.999, draws, ALPHA)


def test_a_claim_that_is_false_in_one_row_is_seldom_supported() -> None:
    rng = np.random.default_rng(1)
    each = [decide([drawn(rng, t, f"{i}", "main", 3) for i, t in enumerate((0, 0, 1))]).verdict for _ in range(150)]
    assert each.count(SUPPORTED) <= binom.ppf(0.999, 150, 0.05)
