import numpy as np
import pytest
from sklearn.metrics import matthews_corrcoef, mutual_info_score

from grokscope.analyses import found_by_correct, frechet_bounds


def test_shares_phi_and_information_equal_sklearns_and_plain_counts() -> None:
    rng = np.random.default_rng(0)
    found = rng.random(300) < 0.6
    correct = np.where(rng.random(300) < 0.5, found, rng.random(300) < 0.4)
    facts = rng.integers(80, size=300)
    table = found_by_correct(found, correct, facts).set_index("quantity")
    value = table["value"]
    assert value["P(correct | found)"] == pytest.approx(
        sum(c for f, c in zip(found, correct, strict=True) if f) / found.sum()
    )
    assert value["P(correct, not found)"] == pytest.approx((correct & ~found).sum() / 300)
    assert value["phi coefficient"] == pytest.approx(matthews_corrcoef(found, correct))
    assert value["mutual information"] == pytest.approx(mutual_info_score(found, correct))
    assert ((table["low"] <= table["value"]) & (table["value"] <= table["high"])).all()
    assert table.loc["P(correct | found)", "n"] == found.sum()
    assert table.loc["P(correct)", "n_facts"] == len(set(facts.tolist()))


def test_the_phi_interval_covers_zero_when_they_are_unrelated_and_not_when_they_agree() -> None:
    rng = np.random.default_rng(1)
    covered, found, facts = 0, np.zeros(0, dtype=bool), np.zeros(0, dtype=int)
    for seed in range(60):
        found, correct, facts = rng.random(200) < 0.5, rng.random(200) < 0.7, rng.integers(60, size=200)
        row = found_by_correct(found, correct, facts, seed=seed).set_index("quantity").loc["phi coefficient"]
        covered += float(row["low"]) <= 0 <= float(row["high"])
    assert covered >= 52  # 95 % of 60 is 57; fewer than 52 happen in 1 of 100 suites
    same = found_by_correct(found, found, facts).set_index("quantity").loc["phi coefficient"]
    assert float(same["value"]) == pytest.approx(1.0) and float(same["low"]) > 0.9


def test_frechet_bounds_hold_for_every_table_with_those_margins_and_are_reached() -> None:
    rng = np.random.default_rng(2)
    bounds = frechet_bounds(0.4, 0.95).set_index("quantity")
    joint = [np.logical_and.reduce([c, ~f]).mean() for f, c in _tables(rng)]
    low, high = bounds.loc["P(correct, not found)", ["low", "high"]]
    assert low == pytest.approx(0.55) and high == pytest.approx(0.6)  # He et al.'s second-hop regime: at least .55
    assert min(joint) >= low - 1e-9 and max(joint) <= high + 1e-9
    assert min(joint) == pytest.approx(low) and max(joint) == pytest.approx(high)


def _tables(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Twenty queries, eight found and nineteen correct, in every way that differs."""
    tables = []
    for wrong in range(20):
        found, correct = np.arange(20) < 8, np.ones(20, dtype=bool)
        correct[wrong] = False
        order = rng.permutation(20)
        tables.append((found[order], correct[order]))
    return tables


def test_what_is_no_share_and_what_is_empty() -> None:
    with pytest.raises(ValueError, match=r"found is 1\.2, needed is .*; correct is -0\.1"):
        frechet_bounds(1.2, -0.1)
    table = found_by_correct(np.zeros(5, dtype=bool), np.ones(5, dtype=bool), np.arange(5)).set_index("quantity")
    assert np.isnan(table.loc["P(correct | found)", "value"]) and table.loc["P(correct | found)", "n"] == 0
    assert table.loc["P(correct | found)", ["low", "high"]].tolist() == [0.0, 1.0]
    assert np.isnan(table.loc["phi coefficient", "value"])


def test_one_unit_has_no_interval_of_the_coefficients_and_no_question_is_refused() -> None:
    found, correct = np.array([True, False, True, True]), np.array([True, False, False, True])
    table = found_by_correct(found, correct, np.zeros(4, dtype=int)).set_index("quantity")
    two = table.loc[["phi coefficient", "mutual information"]]
    assert two["value"].notna().all() and two[["low", "high"]].isna().all(axis=None) and (two["n_facts"] == 1).all()
    assert table["low"]["P(correct)"] < 0.5 < table["high"]["P(correct)"]
    with pytest.raises(ValueError, match="no question"):
        found_by_correct(found[:0], correct[:0], np.arange(0))
