import json
import re
from pathlib import Path

import pytest

from grokscope.circuits.kinds import KINDS, Input, Kind
from grokscope.circuits.palette import ASSETS, HUES, PALETTE, style_sheet
from grokscope.tasks.questions.twohop import SPLITS
from grokscope.tasks.runs.theme import COLOURS, GREYS, SPLIT_COLOUR

ROOT = Path(__file__).parents[2]
HEX = re.compile(r"(?<![\w&(])#[0-9a-fA-F]{3,8}\b")
SOURCES = [
    path
    for folder in ("circuits", "analyses", "tasks")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".css", ".js"}
]


def test_no_colour_stands_outside_the_palette() -> None:
    """Code names none at all; of the style sheets, the report's repeats values of the palette, as nothing is filled in."""
    known = set(HEX.findall((ASSETS / "palette.json").read_text()))
    found = {path.relative_to(ROOT): set(HEX.findall(path.read_text())) for path in SOURCES}
    report = found.pop(Path("analyses/assets/report.css"))
    assert {str(path): colours for path, colours in found.items() if colours} == {}
    assert len(known) > 20 and report <= known


def test_the_report_has_the_greys_that_the_palette_gives_it() -> None:
    css = (ROOT / "analyses" / "assets" / "report.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+)", block)) for block in re.findall(r":root \{([^}]*)\}", css))
    assert light == PALETTE["report"] and dark == PALETTE["report_on_dark"]


@pytest.mark.parametrize("literal", ["#0072b2", "#fff", "#0072B280"])
def test_a_planted_colour_is_seen(literal: str) -> None:
    assert HEX.findall(f'colour = "{literal}"') == [literal]
    assert HEX.findall("url(#gs-arrow) &#123; a#abc") == []


def test_figures_and_pages_read_the_same_file() -> None:
    raw = json.loads((ROOT / "circuits" / "assets" / "palette.json").read_text())
    assert [raw["hues"][name] for name in raw["series"]] == list(COLOURS)
    assert COLOURS == ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito
    assert set(SPLIT_COLOUR) == set(SPLITS) and len(set(SPLIT_COLOUR.values())) == len(SPLITS)
    assert set(SPLIT_COLOUR.values()) <= set(HUES.values()) | set(GREYS.values())


def test_every_custom_property_that_the_page_uses_is_defined_light_and_dark() -> None:
    sheet = style_sheet()
    used = set(re.findall(r"var\(--([\w-]+)\)", sheet)) - {"share"}  # of each cell of a heat map
    blocks = [set(re.findall(r"--([\w-]+): #", part)) for part in re.split(r"\}", sheet) if "--ink:" in part]
    assert len(blocks) == 5 and all(used <= block and block == blocks[0] for block in blocks)


def test_one_name_of_an_input_has_one_hue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "cross", Kind("X{layer}H{index}", (Input("q", "green", "into a query", bulge=1.0),)))
    with pytest.raises(ValueError, match="input 'q' of 'cross' is green, but sky in another kind of nodes"):
        style_sheet()
    monkeypatch.setitem(KINDS, "cross", Kind("X{layer}H{index}", (Input("z", "red", "into z", bulge=1.0),)))
    with pytest.raises(ValueError, match="input 'z' of 'cross' has the hue 'red'; there are blue, vermillion"):
        style_sheet()
