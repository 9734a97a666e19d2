"""What a verdict hangs on, and the lines and points that show it."""

import math

import numpy as np
import pandas as pd
import pytest

from grokscope.analyses import ClaimResult
from grokscope.analyses.claims.deciding import (
    ARCHITECTURES,
    CONFIRMATORY,
    EXPLORATORY,
    Judged,
    deciding_lines,
    deciding_points,
)
from grokscope.analyses.claims.decisive import CONTRADICTED, SUPPORTED, UNDECIDED, panel_of
from grokscope.analyses.claims.rules import Row, points_of, rows_to_frame

nan = math.nan

WHERE = "where the answer's information is"


def row(key: str, low: float = nan, high: float = nan, *, says: str = SUPPORTED, **about: object) -> Row:
    plain = {"role": "main", "kind": "distance", "band_low": 0.0, "band_high": 0.1, "n": 5}
    return Row(key, quantity="", split="", value=(low + high) / 2, low=low, high=high, says=says, **plain | about)


def result(verdict: str, *rows: Row, falsifiers: tuple[Row, ...] = ()) -> ClaimResult:
    checks = pd.DataFrame({"check": ["one"], "passed": [True], "detail": [""]})
    tables = rows_to_frame(rows), rows_to_frame(falsifiers)
    return ClaimResult(*tables, checks, "claim", verdict, "", "", points=points_of([*rows, *falsifiers]))


def key(found: ClaimResult) -> str | None:
    row = found.decisive
    return None if row is None else row["key"]


def test_a_contradicted_claim_hangs_on_the_first_row_that_contradicts() -> None:
    fine, against = row("a", 0.01, 0.02), row("b", 0.3, 0.4, says=CONTRADICTED)
    assert key(result(CONTRADICTED, fine, against, row("c", 0.5, 0.6, says=CONTRADICTED))) == "b"
    falsifier = row("f", 0.5, 0.6, says=CONTRADICTED, role="falsifier")
    assert key(result(CONTRADICTED, fine, falsifiers=(falsifier,))) == "f"
    assert key(result(CONTRADICTED, fine, against, falsifiers=(falsifier,))) == "b"
    beside = row("x", 0.5, 0.6, says=CONTRADICTED, role="beside")
    assert key(result(CONTRADICTED, beside, against)) == "b"  # exploratory rows decide nothing
    assert key(result(CONTRADICTED, fine, beside)) is None


def test_a_supported_claim_hangs_on_the_row_that_comes_nearest_to_the_end_of_its_band() -> None:
    assert key(result(SUPPORTED, row("near", 0.05, 0.09), row("far", 0.02, 0.05))) == "near"
    assert key(result(SUPPORTED, row("far", 0.02, 0.05), row("near", 0.05, 0.09))) == "near"
    assert key(result(SUPPORTED, row("near", 0.05, 0.09), row("beside", 0.05, 0.0999, role="beside"))) == "near"


def test_bands_are_compared_by_their_width() -> None:
    wide, narrow = row("wide", 1.0, 9.0, band_high=10.0), row("narrow", 0.0, 0.08)
    assert key(result(SUPPORTED, wide, narrow)) == "wide"  # a tenth of its band is left of the one, a fifth of the other


def test_no_row_is_near_an_end_beyond_which_there_is_nothing() -> None:
    """Distances of 0, shares of 1 and differences of −1 are as far as can be from not supporting."""
    perfect = row("perfect", 0.0, 0.01)
    assert key(result(SUPPORTED, perfect, row("close", 0.06, 0.09))) == "close"
    share = {"kind": "share of questions", "band_low": 0.9, "band_high": 1.0}
    assert key(result(SUPPORTED, row("all", 0.99, 1.0, **share), row("hardly", 0.91, 0.95, **share))) == "hardly"
    graphs = {"kind": "share of graphs", "band_high": 0.5}
    assert key(result(SUPPORTED, row("none", 0.0, 0.1, **graphs), row("some", 0.2, 0.45, **graphs))) == "some"
    difference = {"kind": "difference of two shares", "band_low": -1.0, "band_high": 0.2}
    assert key(result(SUPPORTED, row("less", -1.0, -0.9, **difference), row("little", 0.0, 0.15, **difference))) == "little"
    lower = {"kind": "difference of two shares", "band_low": 0.0, "band_high": 0.5}  # of which 0 can be crossed
    assert key(result(SUPPORTED, row("hardly", 0.01, 0.1, **lower), row("middle", 0.2, 0.3, **lower))) == "hardly"


def test_rows_without_a_band_or_a_number_are_not_the_nearest() -> None:
    bare = row("bare", 0.1, 0.2, band_low=nan, band_high=nan)
    assert key(result(SUPPORTED, bare, row("empty"), row("near", 0.05, 0.09))) == "near"
    assert key(result(SUPPORTED, row("empty"), bare)) == "bare"
    assert key(result(SUPPORTED, row("empty"))) is None and key(result(SUPPORTED)) is None


def test_an_undecided_claim_hangs_on_the_first_open_row_with_a_number() -> None:
    rows = row("fine", 0.01, 0.02), row("empty", says=UNDECIDED), row("open", 0.05, 0.2, says=UNDECIDED)
    assert key(result(UNDECIDED, *rows, row("later", 0.01, 0.9, says=UNDECIDED))) == "open"
    assert key(result(UNDECIDED, *rows[:2])) == "fine"  # nothing open has a number
    assert key(result(UNDECIDED, row("c", 0.1, 0.2, role="control", says="invalid"))) is None


def test_the_row_is_one_of_the_result_with_all_that_it_says() -> None:
    found = result(SUPPORTED, row("near", 0.05, 0.09, against="margin .1", unit="graphs")).decisive
    assert found is not None and (found["low"], found["high"], found["against"], found["n"]) == (0.05, 0.09, "margin .1", 5)


def test_a_key_is_a_quantity_and_what_of_it() -> None:
    assert panel_of("how_much.early") == ("how much depends on it", "early")
    assert panel_of("accuracy_without_path") == ("accuracy without path", "")
    assert panel_of("where.early.late") == (WHERE, "early.late")


def judged(standing: str = CONFIRMATORY, architecture: str = "causal", *rows: Row) -> Judged:
    given = rows or (
        row("where.early", 0.01, 0.03, by_graph={1: 0.02, 2: nan, 3: 0.02}),
        row("where.late", 0.02, 0.04, by_graph={1: 0.03}),
        row("where.control", 0.9, 1.0, role="control"),
        row("beside", 0.9, 1.0, role="beside", by_graph={1: 0.5}),
        row("how_much", by_graph={}),
    )
    falsifiers = (row("f1", 0.1, 0.2, role="falsifier", by_graph={1: 0.15}),)
    return Judged(architecture, standing, result(SUPPORTED, *given, falsifiers=falsifiers))


def test_a_line_for_each_main_row_of_each_result_in_order() -> None:
    lines = deciding_lines([judged(), judged(EXPLORATORY, "token mixing")])
    assert lines["panel"].tolist() == [WHERE, WHERE, "how much depends on it"] * 2
    assert lines["line"].tolist()[:3] == ["early, causal attention (confirmatory)", "late, causal attention (confirmatory)",
                                          "causal attention (confirmatory)"]  # fmt: skip
    assert lines["line"].tolist()[3] == "early, token mixing (exploratory)"
    assert lines.iloc[0][["value", "low", "high", "band_high", "n", "says"]].tolist() == [
        0.02,
        0.01,
        0.03,
        0.1,
        5,
        SUPPORTED,
    ]
    assert np.isnan(lines.iloc[2]["value"])


def test_points_are_the_graphs_of_main_rows_that_have_a_number() -> None:
    points = deciding_points([judged(), judged(EXPLORATORY, "bidirectional")])
    line = "early, causal attention (confirmatory)"
    assert points[points["line"] == line].values.tolist() == [[WHERE, line, 1, 0.02], [WHERE, line, 3, 0.02]]
    assert len(points) == 6 and set(points["line"]) <= set(
        deciding_lines([judged(), judged(EXPLORATORY, "bidirectional")])["line"]
    )


def test_of_nothing_there_are_tables_without_rows() -> None:
    assert len(deciding_lines([])) == len(deciding_points([])) == 0
    assert {"panel", "line", "band_low", "against"} <= {*deciding_lines([])}
    assert [*deciding_points([])] == ["panel", "line", "graph", "value"]
    assert len(deciding_points([judged(CONFIRMATORY, "causal", row("a"))])) == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_has_a_name_for_its_lines(architecture: str) -> None:
    one = judged(EXPLORATORY, architecture)
    assert one.label == f"{architecture}, exploratory"
    assert ARCHITECTURES[architecture].split(",")[0] in deciding_lines([one])["line"].iloc[0]
