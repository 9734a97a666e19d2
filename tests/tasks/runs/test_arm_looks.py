"""Arms that occur in one figure can be told apart, by readers with all cones and without the middle one."""

import itertools
from math import atan2, degrees

import pytest
from colour_vision import ciede2000, contrast, lab, linear, told_apart
from examples_by_path import example

from grokscope.analyses.study.report import ORIGINS
from grokscope.circuits.palette import PALETTE
from grokscope.tasks.runs.arm_looks import FAMILIES, FREE, HUES, KNOWN, OTHER, arm_looks
from grokscope.tasks.runs.study import SHIPPED

LEAST, LEAST_DEUTERANOPIA = 15.0, 10.0  # CIEDE2000; 2.3 is a difference that is just noticed
CONTRAST = 3.0  # WCAG 2.2, 1.4.11, of graphical objects
GROUNDS = (PALETTE["report"]["paper"], PALETTE["report_on_dark"]["paper"])


def shipped_arms() -> tuple[str, ...]:
    """By the names of the shipped runs."""
    folders = (SHIPPED / "study").glob("*-g*-r*")
    return tuple(sorted({folder.name.rpartition("-g")[0] for folder in folders}))


def origins() -> tuple[str, ...]:
    """Where further trainings of the study start."""
    return tuple(example("examples/study.py").ORIGINS)


MIXED = ("natural", "both_hops", "mine", "yours", "theirs", *(f"dose {n}" for n in range(6)))
TOGETHER = {"study": shipped_arms, "origins": origins, "a user's own": lambda: MIXED}


def test_colour_distances_are_those_of_the_published_tables() -> None:
    pairs = {((50, 2.6772, -79.7751), (50, 0, -82.7485)): 2.0425, ((50, -1.3802, -84.2814), (50, 0, -82.7485)): 1.0}
    pairs |= {((50, 2.5, 0), (73, 25, -18)): 27.1492, ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514)): 0.9082}
    for (first, second), distance in pairs.items():
        assert ciede2000(first, second) == pytest.approx(distance, abs=1e-4)  # Sharma, Wu & Dalal's table 1
    assert contrast("#fff", "#000") == pytest.approx(21)


@pytest.mark.parametrize("figure", TOGETHER)
def test_arms_of_one_figure_can_be_told_apart(figure: str) -> None:
    looks = arm_looks(TOGETHER[figure]())
    assert len(looks) >= 7 and len({look.label for look in looks.values()}) == len(looks)
    alike = []
    for (a, first), (b, second) in itertools.combinations(looks.items(), 2):
        seen, fewer = told_apart(first.colour, second.colour)
        if seen < LEAST or fewer < LEAST_DEUTERANOPIA:
            alike.append((a, b, round(seen, 1), round(fewer, 1)))
    assert alike == []


HUE_OF = {  # degrees in Lab
    "natural": (240, 320), "first_hop": (0, 40), "hop2": (40, 100), "second_hop": (40, 100), "both": (310, 370),
    "architecture": (120, 240),
}  # fmt: skip
DOSES = (("hop2_dose_4", "hop2_dose_9", "second_hop"), ("both_half", "both_hops"))


def test_hue_says_the_family_and_what_was_taught_and_shade_the_dose() -> None:
    for arm in shipped_arms():
        look = KNOWN[arm]
        kind = look.family if look.family != "taught" else next(each for each in HUE_OF if arm.startswith(each))
        _, a, b = lab(linear(look.colour))
        low, high = HUE_OF[kind]
        assert (degrees(atan2(b, a)) - low) % 360 < high - low, (arm, degrees(atan2(b, a)) % 360)
    for arms in DOSES:
        lightness = [lab(linear(KNOWN[arm].colour))[0] for arm in arms]
        assert lightness == sorted(lightness, reverse=True), arms
    assert set(HUES) == set(FAMILIES)


@pytest.mark.parametrize("ground", GROUNDS)
def test_arms_stand_out_from_the_ground(ground: str) -> None:
    assert {name: look.colour for name, look in KNOWN.items() if contrast(look.colour, ground) < CONTRAST} == {}


def test_every_shipped_arm_is_known_and_none_of_one_figure_shares_its_colour() -> None:
    assert set(shipped_arms()) | set(origins()) | set(ORIGINS) <= set(KNOWN)
    assert set(FREE) == {KNOWN[arm].colour for arm in shipped_arms()}
    assert KNOWN["grokked"].colour == KNOWN["natural"].colour and KNOWN["taught"].colour == KNOWN["both_hops"].colour
    assert [look.family for look in arm_looks(["mine", "untied", "natural"]).values()] == ["natural", "architecture", OTHER]


def test_more_unknown_arms_than_colours_have_names_still() -> None:
    names = [f"arm {n}" for n in range(3 * len(FREE))]
    looks = arm_looks(names)
    assert [look.label for look in looks.values()] == names and set(FAMILIES) >= {look.family for look in looks.values()}
    assert {look.colour for look in looks.values()} == set(FREE)
