"""Numbers in README and docs are those of what is shipped, and the checker notices what is not."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from doc_numbers import ANCHOR, PAGES, SOURCE, Value, check, checked, checked_pages, edited, like, names, unknown_source
from doc_shipped import MEASURED, RECORDED, shipped, study_of
from doc_tables import TABLES as MADE

from grokscope import tasks
from grokscope.analyses.claims.cost import cost_of_waiting
from grokscope.analyses.claims.transfer import TransferFinding, transfer_of_new_facts
from grokscope.analyses.claims.transfer_table import transfer_table
from grokscope.analyses.study.findings import Findings
from grokscope.analyses.study.numbers import Number, numbers
from grokscope.tasks.runs.study import SHIPPED

VALUES = {
    "apart": Value(0.0333, 0.0286, 0.0388, 5),
    "steps": Value(10_600, 9_700, 12_200, 5),
    "flops": Value(9.75e13),
    "fell": Value(-0.052),
    "whole": Value(1.0),
    "apart.g1": Value(0.027),
    "apart.g2": Value(0.034),
    "occurs": Value(0.6, n=5),
    "occurs.count": Value(3),
}
TABLES = {"two": lambda: [["a", "b"], ["x", ".10"]]}


def problems(text: str) -> list[str]:
    return [problem.says for problem in check(text, VALUES, TABLES)[0]]


def test_every_number_of_the_pages_is_todays_or_says_where_it_is_from() -> None:
    found = [f"{path.name}:{each.line}: {each.says}" for path, said, _ in checked_pages() for each in said]
    assert not found, "\n".join([*found, "python tests/doc_numbers.py --write writes those that can be computed"])


def test_some_numbers_of_each_kind_are_compared() -> None:
    text = "\n".join(path.read_text() for path in PAGES)
    for kind in ("same_path/", "dissociation/", "transfer/", "cost/", "runs/", "pilot/", "code/", "graph/", "study/"):
        assert f"<!--={kind}" in text or f" {kind}" in text, kind


@pytest.mark.parametrize(
    "text",
    [
        "It is .033 [.029, .039]<!--=apart--> of all, n = 5<!--=apart:n-->.",
        "From 9,700 to 12,200<!--=steps:range--> steps.",
        "First 10,600 and then .033<!--=steps apart-->.",
        "It costs 9.8e13<!--=flops--> and falls by −.05<!--=fell-->, to 1.00<!--=whole-->.",
        "The rate is [.03, .04]<!--=apart-->.",
        "By graph .027 .034<!--=apart.g1..2-->.",
        "Of `small(0.5)`, [a page](docs/a_0.5.png), torch 2.13, arXiv 2601.09049, 12 runs in 2026, at [0, 1].",
        "In 3 of 5<!--=occurs:of--> graphs, and in 3 of the 5<!--=occurs:of-->.",
        "In 4 of 7<!--numbers: by hand on 2026-11-21--> graphs.",
        "On a machine 3.5 s.<!--numbers: by hand on 2026-11-21-->",
        "<!--numbers: by hand on 2026-11-21-->\n| a | b |\n|---|---|\n| 3.5 | 1,000 |\n",
        "# A\n\n<!--numbers of this section: by hand on 2026-11-21-->\nSome 3.5.\n\n## B\n\nSome 4.5.",
        "# A\n\n<!--numbers of this page: by hand on 2026-11-21-->\nSome 3.5.\n\n# B\n\nSome 4.5.",
        "```python\nx = 0.5\n```\n",
        "<!--table: two-->\n| a | b |\n|---|---|\n| x | .10 |\n",
    ],
)
def test_what_holds_passes(text: str) -> None:
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("It is .034<!--=apart-->.", ".034 should be .033, by apart"),
        ("It is .033 [.028, .039]<!--=apart-->.", ".033 [.028, .039] should be .033 [.029, .039], by apart"),
        ("From 9,700 to 12,000<!--=steps:range-->.", "12,000 should be 12,200, by steps:high"),
        ("It is 0.034<!--=apart-->.", "0.034 should be 0.033, by apart"),
        ("n = 6<!--=apart:n-->.", "6 should be 5, by apart:n"),
        ("It is .05<!--=fell-->.", ".05 should be −.05, by fell"),
        ("It is .03<!--=nobody-->.", "nothing is called nobody"),
        ("It is<!--=apart-->.", "0 numbers before the comment that names apart"),
        ("One .033<!--=apart--> and .2 more.", ".2 does not say where it is from"),
        ("In 4 of 5<!--=occurs:of--> graphs.", "4 should be 3, by occurs.count"),
        ("In 3 of 6<!--=occurs:of--> graphs.", "6 should be 5, by occurs:n"),
        ("In 3 of 5 graphs.", "3 of 5 does not say where it is from"),
        ("In 3<!--=occurs.count--> graphs, 1 of 5.", "1 of 5 does not say where it is from"),
        ("Some 3.5. Then 4.5<!--numbers: by hand on 2026-11-21--> s.", "3.5 does not say where it is from"),
        ("Some 3.5<!--numbers: by hand on 2026-11-21--> s, then 4.5.", "4.5 does not say where it is from"),
        ("| a | b |\n|---|---|\n| 1.5 | 2.5<!--numbers: by hand on 2026-11-21--> |\n", "1.5 does not say where it is from"),
        ("Some 1,000 steps.", "1,000 does not say where it is from"),
        ("Of 3 [2, 4].", "3 [2, 4] does not say where it is from"),
        ("| a |\n|---|\n| 1.5 |\n", "1.5 does not say where it is from"),
        ("<!--numbers: by hand on 2026-11-21-->\nSome 3.5.\n\nSome 4.5.", "4.5 does not say where it is from"),
        (
            "# A\n\n<!--numbers of this section: by hand on 2026-11-21-->\n\nIt.\n\n# B\n\nSome 4.5.",
            "4.5 does not say where it is from",
        ),
        ("Here is .033\n<!--=apart--> too.", "1 comments that name numbers stand at the beginning of a line, or in code"),
        ("<!--table: two-->\n| a | b |\n|---|---|\n| x | .20 |\n", "the table two is not today's: | x | .10 |"),
        ("<!--table: none-->\n| a |\n|---|\n", "no table none, or none after the comment"),
    ],
)
def test_what_does_not_hold_is_named(text: str, says: str) -> None:
    assert says in problems(text)


@pytest.mark.parametrize(
    "source",
    [
        "that script",
        "seen, not measured",
        "the table below",
        "tests/nowhere.py, 2026-11-21",
        "make nothing",
        "November 2026",
    ],
)
def test_a_source_that_nobody_finds_is_none(source: str) -> None:
    assert unknown_source(source) in problems(f"Some 3.5<!--numbers: {source}-->.") and unknown_source(source)


README = PAGES[0]
CLAIMS, PILOT = (next(page for page in PAGES if page.name == name) for name in ("claims.md", "pilot.md"))


@pytest.mark.parametrize(
    ("path", "true", "false"),
    [
        (CLAIMS, "3 of 5, 2<", "3 of 5, 1<"),
        (CLAIMS, "right on 5 of 5<", "right on 4 of 5<"),
        (CLAIMS, "; 8<", "; 6<"),
        (CLAIMS, "1,800 to 3,100<", "1,800 to 4,100<"),
        (README, "about 4<", "about 2<"),
        (README, "on 1,280<", "on 1,208<"),
        (CLAIMS, "stays at .9<", "stays at .8<"),
        (CLAIMS, ".67 [.36, .85]<", ".67 [.46, .85]<"),
        (CLAIMS, "at most .45 (", "at most .35 ("),
        (README, "on 8 of 8<", "on 7 of 8<"),
        (CLAIMS, ".459 [.367, .574]<", ".459 [.367, .674]<"),
        (CLAIMS, ".639<", ".739<"),
        (PILOT, "10,700<", "10,600<"),
        (PILOT, "took 41<", "took 14<"),
    ],
)
def test_a_number_that_is_falsified_is_noticed(path: Path, true: str, false: str) -> None:
    text = path.read_text()
    assert text.count(true) == 1
    was, now = checked(path)[0], check(text.replace(true, false), shipped(), MADE)[0]
    assert not was and len(now) == 1 and "should be" in now[0].says


def test_no_block_of_the_readme_is_freed_from_sources() -> None:
    assert not SOURCE.search(README.read_text())


def test_what_is_recorded_is_quoted_and_has_a_source() -> None:
    table = pd.read_csv(RECORDED)
    assert table["name"].is_unique and list(table.columns) == ["name", "value", "source"]
    assert not [said for source in table["source"].unique() if (said := unknown_source(source))]
    quoted = {
        name.partition(":")[0] for path in PAGES for anchor in ANCHOR.findall(path.read_text()) for name in names(anchor)
    }
    for name in table["name"]:
        assert quoted & {f"recorded/{name}", f"recorded/{name.partition('.g')[0]}"}, name


def test_numbers_are_written_in_their_own_form() -> None:
    wrong = "A .5 [.4, .6]<!--=apart-->, then 0.50<!--=fell--> at 1,000<!--=steps-->.\n\n<!--table: two-->\n| a |\n|---|\n"
    right = (
        "A .0 [.0, .0]<!--=apart-->, then −0.05<!--=fell--> at 10,600<!--=steps-->.\n\n"
        "<!--table: two-->\n| a | b |\n|---|---|\n| x | .10 |\n"
    )
    assert edited(wrong, check(wrong, VALUES, TABLES)[1]) == right
    assert [like(each, ".00") for each in (0.004, -0.004, 0.996, 12.5)] == [".00", ".00", "1.00", "12.50"]


def test_measured_shares_and_their_bounds_are_shares() -> None:
    table = pd.read_csv(MEASURED)
    assert table["name"].is_unique and list(table.columns) == list(Number._fields)
    shares = table[table["unit"] == "share"].set_index("name")[["value", "low", "high"]].stack()
    assert shares[(shares < 0) | (shares > 1)].empty
    ordered = table.dropna(subset=["low", "high"])
    assert ((ordered["low"] <= ordered["value"]) & (ordered["value"] <= ordered["high"])).all()
    for path in (Path(tasks.__path__[0]).parent / "analyses" / "assets").glob("*.csv"):
        rates = pd.read_csv(path).select_dtypes("float").drop(columns="step", errors="ignore").stack()
        assert rates.between(0, 1).all(), path.name


def committed_as(found: dict[str, Any], *claims: str) -> None:
    """What is found now is what is committed, of these claims, without what needs a model."""
    today = numbers(Findings(study_of("study"), None, found)).set_index("name")
    committed = pd.read_csv(MEASURED).set_index("name")
    pd.testing.assert_frame_equal(committed.loc[today.index], today, rtol=1e-5, check_dtype=False)
    others = committed.index.difference(today.index)
    assert not [name for name in others if name.startswith(claims) and "/inside." not in name]


def test_the_committed_cost_is_todays() -> None:
    committed_as({"cost": cost_of_waiting(study_of("study"))}, "cost/")


@pytest.mark.slow
def test_the_committed_transfer_is_todays() -> None:
    transfers = study_of("study/transfer")
    found = TransferFinding(transfer_of_new_facts(transfers), transfer_table(transfers), None)
    committed_as({"transfer": found}, "transfer/")


def test_names_of_the_runs_are_those_of_the_study() -> None:
    assert shipped()["study/runs"].value == len(list(SHIPPED.glob("study/*/run.json")))
    assert not math.isnan(shipped()["pilot/natural.ood_generalised"].value)
