"""Worlds whose truth is known, at the level of measurements, through the functions that decide: right in .95 of the draws.

Models that are set by hand go through the measurements in the tests of each claim. Rows that stand beside and decide nothing
are left out here, for they take most of the time.
"""

from collections.abc import Callable
from typing import Any

import pytest
from planted_studies import (
    DISSOCIATIONS,
    PATHS,
    TRANSFERS,
    dissociation_study,
    path_study,
    transfer_study,
)
from planted_trainings import TRUTHS, study

from grokscope.analyses import ClaimResult, equivalence
from grokscope.analyses.bounds import ALPHA
from grokscope.analyses.claims import dissociation, same_path, transfer
from grokscope.analyses.claims.by_age import decide_by_age
from grokscope.analyses.claims.decisive import CONTRADICTED, SUPPORTED, UNDECIDED
from grokscope.analyses.claims.gatekeeping import Decision, decide
from grokscope.analyses.claims.rules import Row, after_controls, equivalence_row

AB = ("a", "b")
N_ROWS = 6
CLAIM_OF = {"same": SUPPORTED, "different": CONTRADICTED, "undecided": UNDECIDED}


@pytest.fixture(autouse=True)
def _decided_alone(as_users_call: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands beside a decision is left out, and types are not checked at every call, of which there are many."""
    monkeypatch.setattr(dissociation, "beside", lambda each: [])
    monkeypatch.setattr(same_path, "beside_rows", lambda *given: [])
    monkeypatch.setattr(transfer, "beside", lambda table: [])


def of_rows(world: str, n: int, seed: int) -> Decision:
    """A claim of six main rows, all of one world, each after controls that are measured as it is."""
    rows = []
    for number in range(N_ROWS):
        test = {"margin": 0.1, "alpha": ALPHA / N_ROWS}
        found = equivalence(study(world, n, seed=100 * seed + number), AB, **test)
        known = {name: equivalence(study(name, n, seed=seed), AB, **test).verdict == name for name in ("same", "different")}
        rows.append(after_controls(equivalence_row(Row(f"{number}", "main", "", ""), found, N_ROWS), known))
    return decide(rows)


def of_paths(world: str, n: int, seed: int) -> ClaimResult:
    return same_path.decide_same_path(path_study(world, n, seed), "iid")


def of_dissociation(world: str, n: int, seed: int) -> ClaimResult:
    return dissociation.decide_dissociation(dissociation_study(world, n, seed))


def of_transfer(world: str, n: int, seed: int) -> ClaimResult:
    return transfer.decide_transfer(transfer_study(world, n, seed))


CLAIMS: dict[str, tuple[Callable[[str, int, int], Any], dict[str, str], int]] = {
    "rows": (of_rows, {world: CLAIM_OF[truth] for world, truth in TRUTHS.items()}, 100),
    "same path": (of_paths, PATHS, 40),
    "dissociation": (of_dissociation, {world: about[-1] for world, about in DISSOCIATIONS.items()}, 40),
    "transfer": (of_transfer, {world: about[-1] for world, about in TRANSFERS.items()}, 100),
}
"""What decides, the truth of each world, and in how many draws it is asked."""


def expected(claim: str, world: str, n: int) -> str:
    """What must be said: that something can occur is not contradicted by five graphs."""
    truth = CLAIMS[claim][1][world]
    return UNDECIDED if claim == "dissociation" and truth == CONTRADICTED and n < 8 else truth


def said(claim: str, world: str, n: int, draws: int) -> list[str]:
    decided = [CLAIMS[claim][0](world, n, seed) for seed in range(draws)]
    assert all(each.m > 0 and each.reason and each.smallest_n <= n for each in decided)
    return [each.verdict for each in decided]


WORLDS = [(claim, world) for claim, (_, truths, _) in CLAIMS.items() for world in truths]


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize(("claim", "world"), WORLDS)
def test_what_is_so_is_said(claim: str, world: str, n: int) -> None:
    draws, truth = CLAIMS[claim][2], expected(claim, world, n)
    verdicts = said(claim, world, n, draws)
    wrong = sum(each not in (truth, UNDECIDED) for each in verdicts)
    assert verdicts.count(truth) >= 0.95 * draws and wrong <= 0.05 * draws, verdicts


FEW = [
    ("same path", "same"),
    ("same path", "different"),
    ("same path", "different only by age"),
    ("same path", "one odd replicate"),
    ("dissociation", "copies taught"),
    *(("transfer", world) for world in TRANSFERS),
]


@pytest.mark.parametrize(("claim", "world"), FEW)
def test_what_is_so_is_said_in_one_draw(claim: str, world: str) -> None:
    assert said(claim, world, 8, 1) == [expected(claim, world, 8)]


@pytest.mark.parametrize("n", [5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_difference_of_age_is_found_where_age_differs_and_not_where_status_does(n: int) -> None:
    table = decide_by_age(path_study("different only by age", n, seed=0), "iid").table
    says = table[table["contrast"].str.contains("/")].groupby("varies")["verdict"].agg(set)
    assert says["status"] == {"same"} and "different" in says["age"] and says["age and status"] == {"different"}
