"""What reports say of planted studies, and what tables make of values that are no numbers for readers."""

import jaxtyping
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from planted_studies import DISSOCIATIONS, PATHS, TRANSFERS, dissociation_study, path_study, transfer_study
from wording import PYTHON, problems

from grokscope.analyses import ClaimResult, CostResult
from grokscope.analyses.claims import cost, dissociation, same_path, transfer
from grokscope.analyses.claims.claim import show_result
from grokscope.analyses.claims.rules import Row, rows_to_frame
from grokscope.analyses.page import Report

DECIDED = {
    "same path": (lambda world, n: same_path.decide_same_path(path_study(world, n, 0), "iid"), list(PATHS)),
    "dissociation": (
        lambda world, n: dissociation.decide_dissociation(dissociation_study(world, n, 0)),
        list(DISSOCIATIONS),
    ),
    "transfer": (lambda world, n: transfer.decide_transfer(transfer_study(world, n, 0)), list(TRANSFERS)),
}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str, int], ClaimResult]:
    """Results of planted studies, as users call what decides, without checks of types."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        sizes = {"same path": (3,), "dissociation": (4,), "transfer": (3, 8)}
        return {
            (claim, world, n): decide(world, n)
            for claim, (decide, worlds) in DECIDED.items()
            for world, n in zip(worlds, sizes[claim], strict=False)
        }


def page_of(*results: ClaimResult) -> str:
    report = Report("planted")
    for result in results:
        report.bullets([result.caption])
        show_result(report, result)
    return report.page()


def test_reports_of_planted_studies_say_numbers_and_words(found: dict[tuple[str, str, int], ClaimResult]) -> None:
    page = page_of(*found.values())
    assert problems(page) == [] and ">yes</td>" in page


def test_shares_and_their_bounds_lie_between_0_and_1(found: dict[tuple[str, str, int], ClaimResult]) -> None:
    rows = pd.concat([each for result in found.values() for each in (result.table, result.falsifiers)])
    kinds = rows.dropna(subset="value")["kind"]
    assert (kinds != "").all() and kinds.str.startswith("share").sum() > 20
    ends = ["value", "low", "high", "strict_low", "strict_high"]
    for kind, least in (("share", 0.0), ("difference of two shares", -1.0), ("distance", 0.0)):
        numbers = rows.loc[rows["kind"].str.startswith(kind), ends].to_numpy(dtype=float)
        most = np.inf if kind == "distance" else 1.0
        assert len(numbers) and np.nanmin(numbers) >= least and np.nanmax(numbers) <= most, kind


def test_what_was_not_reached_is_said_in_words() -> None:
    rows = pd.DataFrame({"run": ["a-g1", "a-g2", "a-g3"], "arm": "a", "seed": [1, 2, 3], "replicate": 0, "added": 7})
    rows = rows.assign(level=0.9, step=[900.0, np.nan, np.nan], flops=[1e9, np.nan, np.nan], trained=1000)
    report = Report("cost")
    cost.COST.show(CostResult(rows), report)
    page = report.page()
    assert problems(page) == [] and page.count(">not reached</td>") == 3 and ">900</td>" in page


def test_tables_hold_what_readers_read() -> None:
    report = Report("cells")
    values = [0.5, -0.0001, float("inf"), float("nan")]
    table = {"share": values, "graphs": [1.0, 20.0, 3.0, 4.0], "passed": [True, False, True, False], "step": 15_000}
    report.table(pd.DataFrame({**table, "detail": [{1: 0.022058}, [1, 2], None, "a < b"]}))
    page = report.page()
    assert problems(page) == []
    for text in ("0.500", "0.000", "∞", "–", "20", "yes", "no", "15,000", "1: 0.022", "1, 2", "a &lt; b"):
        assert f">{text}</td>" in page


@pytest.mark.parametrize("what", PYTHON)
def test_a_planted_fault_is_seen(what: str) -> None:
    texts = {"an infinite number": "up to inf", "a number that is none": "nan", "a zero with a sign": "[-0.00, 1]"}
    texts |= {
        "a truth value": "True",
        "a dict": "{1: 0.5}",
        "a list": "['a']",
        "backticks": "`a`",
        "n of nothing": "0 graphs",
    }
    report = Report("fault")
    report.paragraph(texts[what])
    assert any(problem.startswith(what) for problem in problems(report.page()))
    report = Report("fault")
    report.figure(go.Figure().update_layout(title=texts[what]), "")
    assert any(problem.startswith(what) for problem in problems(report.page()))


def test_titles_count_the_graphs_of_rows_with_a_value() -> None:
    rows = [
        Row("a", "main", "a", "", value=0.1, n=5),
        Row("b", "main", "b", "", n=0),
        Row("c", "main", "c", "", value=0.2, n=3),
    ]
    checks = pd.DataFrame({"check": [], "passed": [], "detail": []}).astype({"passed": bool})
    table = rows_to_frame(rows)
    result = ClaimResult(table, rows_to_frame([]), checks, "claim", "undecided", "s", "w")
    assert "n = 3 to 5 graphs" in result.figure().layout.title.text
