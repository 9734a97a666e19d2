"""From words to level, tier and what is lacking; how a result is made of entries, saved and drawn."""

import math
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest
from chromium import launched, opened, until

from grokscope.analyses.page import Report
from grokscope.analyses.validity.audit_result import MET, MISSED, NOT_MEASURED, AuditResult, Entry, audited, not_measured
from grokscope.analyses.validity.criteria import CRITERIA, LEVELS, TIERS
from grokscope.circuits import Result

BY_LEVEL = ("V1", "V2")


def entry(code: str, met: bool | None = True, **numbers: object) -> Entry:
    told = {"by": "f", "finding": f"found {code}", "value": 0.5, "rule": "a rule", "n": 3, "unit": "pairs"}
    return Entry(code, met, **told | numbers)


def world(met: str = "", missed: str = "") -> AuditResult:
    return audited([*map(entry, met.split()), *(entry(code, False) for code in missed.split())], "a circuit")


FUNCTIONAL, CAUSAL = "E4 M5", "E4 M5 I1 I2 I3"
WORLDS = [  # met, missed, level, tier
    ("", "", "none", "proposed"),
    ("E4", "", "none", "proposed"),
    ("M5", "E4", "none", "proposed"),
    (FUNCTIONAL, "", "functional", "proposed"),
    (FUNCTIONAL, "I1 I2", "functional", "proposed"),
    (f"{FUNCTIONAL} E1", "M3", "functional", "proposed"),
    (f"{FUNCTIONAL} E1 M3", "", "representational", "proposed"),
    (f"{FUNCTIONAL} I1", "", "functional", "causally suggestive"),
    (f"{FUNCTIONAL} I1 E1 M3", "I2", "representational", "causally suggestive"),
    ("E4 I1", "", "none", "proposed"),  # no level, so that V1 is missed
    (CAUSAL, "", "causal", "causally suggestive"),
    (f"{CAUSAL} E1 M3", "", "causal", "causally suggestive"),
    (f"{CAUSAL} C2 C4 I6", "", "structural", "causally suggestive"),
    (f"{CAUSAL} C2 C4", "I6", "causal", "causally suggestive"),
    (f"{CAUSAL} E5 E6 M2", "", "transportable", "causally suggestive"),
    (f"{CAUSAL} C2 C4 I6 E5 E6 M2", "", "transportable", "causally suggestive"),
    ("C2 C4 I6 E5 E6 M2", FUNCTIONAL, "none", "proposed"),
    (f"{CAUSAL} I4", "M1", "causal", "causally suggestive"),
    (f"{CAUSAL} I4 M1", "", "causal", "mechanistically supported"),
    (f"{CAUSAL} I4 M1", "C5", "causal", "mechanistically supported"),
    (f"{CAUSAL} I4 M1 C5", "", "causal", "triangulated"),
    (f"{CAUSAL} I4 C5", "", "causal", "causally suggestive"),
    (" ".join(code for code in CRITERIA if code not in BY_LEVEL), "", "transportable", "validated"),
    (" ".join(code for code in CRITERIA if code not in (*BY_LEVEL, "V5")), "V5", "transportable", "triangulated"),
    (" ".join(code for code in CRITERIA if code not in (*BY_LEVEL, "V3")), "", "transportable", "triangulated"),
]


@pytest.mark.parametrize(("met", "missed", "level", "tier"), WORLDS)
def test_level_and_tier_follow_from_the_words(met: str, missed: str, level: str, tier: str) -> None:
    result = world(met, missed)
    assert (result.level, result.tier) == (level, tier)
    words = result.words
    assert list(words) == list(CRITERIA)
    given = dict.fromkeys(met.split(), MET) | dict.fromkeys(missed.split(), MISSED)
    assert {code: word for code, word in words.items() if code not in BY_LEVEL} == {
        code: given.get(code, NOT_MEASURED) for code in CRITERIA if code not in BY_LEVEL
    }
    assert words["V1"] == (MISSED if level == "none" else MET)
    assert words["V2"] == (NOT_MEASURED if level == "none" else MET)
    above = list(TIERS)[list(TIERS).index(tier) + 1 :]
    assert list(result.lacking) == above and all(result.lacking.values())
    for name, codes in result.lacking.items():
        assert set(codes) == {code for code in TIERS[name] if words[code] != MET}


@pytest.mark.parametrize("level", LEVELS)
def test_without_any_one_of_its_criteria_a_level_is_not_reached(level: str) -> None:
    assert world(" ".join(LEVELS[level])).level == level
    for code in LEVELS[level]:
        assert world(" ".join(each for each in LEVELS[level] if each != code)).level != level
        assert world(" ".join(each for each in LEVELS[level] if each != code), code).level != level


def test_what_has_no_entry_was_not_measured_and_a_reason_is_kept() -> None:
    rows = audited([entry("I1"), not_measured("I2", "no pairs")], "a circuit").table.set_index("code")
    assert rows.loc["C1", ["word", "finding", "n", "measured_by"]].tolist() == [NOT_MEASURED, "nothing was measured", 0, ""]
    assert rows.loc["I2", ["word", "finding"]].tolist() == [NOT_MEASURED, "no pairs"]
    assert rows.loc[["C1", "I2"], ["value", "low", "high"]].isna().all(axis=None)
    told = ["criterion", "kind", "asks", "word", "value", "rule", "n", "unit", "measured_by", "finding"]
    asks = CRITERIA["I1"].asks
    assert rows.loc["I1", told].tolist() == ["necessary", "internal", asks, MET, 0.5, "a rule", 3, "pairs", "f", "found I1"]
    assert rows["word"].value_counts().to_dict() == {MET: 1, MISSED: 1, NOT_MEASURED: 26}  # missed is V1


def test_unknown_and_doubled_entries_are_refused_all_at_once() -> None:
    with pytest.raises(ValueError, match=r"no criterion X9; there are C1, .*V5; two entries for I1") as error:
        audited([entry("X9"), entry("I1"), entry("I2"), entry("I1")], "a circuit")
    assert "I2" not in str(error.value).partition(";")[2].partition(";")[2]


def test_v1_says_the_level_or_what_the_least_of_them_lacks() -> None:
    rows = world("E4").table.set_index("code")
    assert rows.loc["V1", "finding"] == "no level: functional lacks M5"
    assert world().table.set_index("code").loc["V1", "finding"] == "no level: functional lacks E4, M5"
    assert world(CAUSAL).table.set_index("code").loc["V1", "finding"].startswith("causal, ")


@pytest.mark.parametrize(("change", "share"), [({}, 1.0), ({"value": math.nan}, 0.8), ({"n": 0}, 0.8)])
def test_v2_asks_for_a_number_and_n_of_all_that_the_level_rests_on(change: dict[str, float], share: float) -> None:
    entries = [entry(code) for code in CAUSAL.split() if code != "I2"]
    result = audited([*entries, entry("I2", **change), entry("C1", value=math.nan)], "a circuit")
    row = result.table.set_index("code").loc["V2"]
    assert (row["value"], row["n"], row["unit"]) == (share, 5, "criteria")
    says = str(row["word"])
    assert says == (MET if share == 1 else MISSED) and result.level == "causal"
    assert row["finding"].endswith("; without a number: I2") == (share < 1)


def test_the_caption_counts_and_names_what_the_next_tier_lacks() -> None:
    assert world(CAUSAL, "I4 C1").caption == (
        "a circuit: causally suggestive, level causal; 7 of 28 criteria met, 2 missed, 19 not measured; for mechanistically "
        "supported it lacks I4, M1"
    )
    assert world(" ".join(code for code in CRITERIA if code not in BY_LEVEL)).caption == (
        "a circuit: validated, level transportable; 28 of 28 criteria met, 0 missed, 0 not measured"
    )


def test_it_is_saved_and_loaded_with_its_words() -> None:
    result = world(f"{CAUSAL} C1", "I4")
    again = Result.from_json(result.to_json())
    assert isinstance(again, AuditResult) and again.table.equals(result.table) and again.caption == result.caption
    assert (again.words, again.level, again.tier, again.lacking) == (result.words, result.level, result.tier, result.lacking)


def fields(figure: go.Figure) -> dict[str, str]:
    """By code, what stands in its field."""
    found = {}
    for trace in figure.data:
        for code, template, told in zip(trace.text, trace.texttemplate, trace.customdata, strict=True):
            text = template.replace("%{text}", code)
            found[code] = re.sub(r"%\{customdata\[(\d)\]\}", lambda each, told=told: told[int(each[1])], text)
    return found


def test_every_criterion_is_drawn_once_under_its_word() -> None:
    result = world(f"{CAUSAL} C1", "I4 E6")
    figure = result.figure()
    assert [trace.name for trace in figure.data] == [MET, MISSED, NOT_MEASURED]
    for trace in figure.data:
        drawn = list(trace.text)
        assert drawn == [code for code, word in result.words.items() if word == trace.name]
        kinds = [CRITERIA[code].kind for code in drawn]
        assert list(trace.y) == kinds and len(trace.base) == len(trace.x) == len(trace.customdata) == len(drawn)
    places = [(y, base) for trace in figure.data for y, base in zip(trace.y, trace.base, strict=True)]
    assert len(set(places)) == 28 and figure.layout.title.text.startswith("a circuit: causally suggestive")
    shown = {code: fields(figure)[code] for code in ("I4", "M3")}
    assert shown == {"I4": "I4<br>consistent", "M3": "M3<br>beyond<br>baselines"}
    told = dict(zip(figure.data[1].text, figure.data[1].customdata, strict=True))
    assert list(told["I4"])[:3] == ["found I4", "a rule", "n = 3 pairs · f"]
    nothing = dict(zip(figure.data[2].text, figure.data[2].customdata, strict=True))
    assert list(nothing["C2"])[:3] == ["nothing was measured", "", ""]


def test_a_word_that_nobody_says_keeps_its_place_in_the_legend() -> None:
    figure = world(" ".join(code for code in CRITERIA if code not in BY_LEVEL)).figure()
    assert [len(trace.x) for trace in figure.data] == [28, 0, 0]


def test_a_finding_is_no_markup_where_it_is_shown() -> None:
    figure = audited([entry("I1", finding="<b>x</b>")], "<i>y</i>").figure()
    assert figure.data[0].customdata[0][0] == "&lt;b&gt;x&lt;/b&gt;" and "&lt;i&gt;y" in figure.layout.title.text


def test_names_and_findings_are_drawn_by_a_browser(tmp_path: Path) -> None:
    report = Report("an audit")
    report.figure(world(CAUSAL, "I4").figure(), "A field for each.")
    with launched() as browser, opened(browser, report.save(tmp_path / "page.html")) as page:
        until(page, "document.querySelectorAll('.bartext').length === 28")
        texts = page.locator(".bartext").all_text_contents()
        assert sum("<br" in text or "&" in text for text in texts) == 0 and any("necessary" in text for text in texts)
