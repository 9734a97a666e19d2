"""Colours and scales of figures, on light ground and on dark, for readers with all cones and without the middle one."""

import itertools

import pytest
from colour_vision import contrast, lab, linear, told_apart

from grokscope.circuits.figure_look import DIVERGING, PALETTE, SEQUENTIAL, on_dark, template

LIGHT, DARK = (PALETTE[name]["paper"] for name in ("report", "report_on_dark"))
CONTRAST, TEXT = 3.0, 4.5  # WCAG 2.2, of graphical objects and of text
LEAST, LEAST_DEUTERANOPIA = 10.0, 5.0  # CIEDE2000


def lightness(colours: list[str]) -> list[float]:
    return [lab(linear(colour))[0] for colour in colours]


def drawn() -> list[str]:
    """What lines, marks and words of figures have."""
    hues = [PALETTE["hues"][name] for name in PALETTE["series"]]
    return [
        *hues,
        *PALETTE["splits"].values(),
        *PALETTE["greys"].values(),
        *(arm["colour"] for arm in PALETTE["arms"].values()),
    ]


def test_what_is_drawn_stands_out_from_dark_ground() -> None:
    known = on_dark()
    assert [colour for colour in drawn() if contrast(known.get(colour, colour), DARK) < CONTRAST] == []
    assert contrast(PALETTE["greys"]["marker"], DARK) < CONTRAST, "which is why it has another one there"


@pytest.mark.parametrize("kind", ["series", "splits"])
def test_colours_of_one_figure_can_be_told_apart_on_dark_ground(kind: str) -> None:
    light = [PALETTE["hues"][name] for name in PALETTE["series"]] if kind == "series" else list(PALETTE["splits"].values())
    dark = [on_dark().get(colour, colour) for colour in light]
    apart = {pair: told_apart(*pair) for pair in itertools.combinations(dark, 2)}
    assert {pair: each for pair, each in apart.items() if each[0] < LEAST or each[1] < LEAST_DEUTERANOPIA} == {}


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_more_is_further_from_the_ground(ground: str) -> None:
    suffix = "_on_dark" if ground == "dark" else ""
    away = 1 if ground == "dark" else -1
    amounts = lightness(PALETTE[f"sequential{suffix}"])
    steps = [away * (after - before) for before, after in itertools.pairwise(amounts)]
    assert min(steps) > 5, "seen in greys, too"
    signed = PALETTE[f"diverging{suffix}"]
    middle = len(signed) // 2
    below, above = signed[middle::-1], signed[middle:]
    for side in (below, above):
        assert all(away * (after - before) > 5 for before, after in itertools.pairwise(lightness(side)))
    for down, up in zip(below[1:], above[1:], strict=True):
        assert min(told_apart(down, up)) > LEAST, "orange and blue, as deep, for readers without the middle cone, too"


def test_templates_differ_in_colours_only_and_text_can_be_read() -> None:
    light, dark = template(), template(dark=True)
    grounds = {"light": (light, LIGHT), "dark": (dark, DARK)}
    for look, ground in grounds.values():
        layout = look["layout"]
        assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == ground
        assert contrast(layout["font"]["color"], ground) > TEXT and contrast(layout["xaxis"]["linecolor"], ground) > CONTRAST
    assert without_colours(light) == without_colours(dark)


def without_colours(part: object) -> object:
    if isinstance(part, dict):
        return {key: without_colours(each) for key, each in part.items() if not key.endswith(("color", "colorway"))}
    return [without_colours(each) for each in part] if isinstance(part, list) else part


def test_every_stop_of_a_scale_has_its_own_on_dark_ground() -> None:
    known = on_dark()
    for name, scale in (("sequential", SEQUENTIAL), ("diverging", DIVERGING)):
        places, colours = zip(*scale, strict=True)
        assert (places[0], places[-1]) == (0.0, 1.0) and list(places) == sorted(places)
        assert [known[colour] for colour in colours] == PALETTE[f"{name}_on_dark"]
    assert DIVERGING[len(DIVERGING) // 2][0] == 0.5
