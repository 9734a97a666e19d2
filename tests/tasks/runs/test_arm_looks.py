"""Arms that occur in one figure can be told apart, by readers with all cones and without the middle one."""

import itertools
from math import atan2, cos, degrees, exp, hypot, radians, sin

import numpy as np
import pytest
from examples_by_path import example

from grokscope.analyses.study.report import ORIGINS
from grokscope.circuits.palette import PALETTE
from grokscope.tasks.runs.arm_looks import FAMILIES, FREE, HUES, KNOWN, OTHER, arm_looks
from grokscope.tasks.runs.study import SHIPPED

LEAST, LEAST_DEUTERANOPIA = 15.0, 10.0  # CIEDE2000; 2.3 is a difference that is just noticed
CONTRAST = 3.0  # WCAG 2.2, 1.4.11, of graphical objects
GROUNDS = (PALETTE["report"]["paper"], PALETTE["report_on_dark"]["paper"])
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)  # Machado, Oliveira & Fernandes 2009, severity 1.0, of linear RGB
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray:
    """Linear RGB of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = np.array([int(digits[place : place + 2], 16) for place in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> tuple[float, float, float]:
    ratio = XYZ @ rgb / WHITE
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def ciede2000(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Sharma, Wu & Dalal 2005, equations 2 to 22."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    c7 = ((hypot(a1, b1) + hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - (c7 / (c7 + 25**7)) ** 0.5)
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = degrees(atan2(b1, a1)) % 360, degrees(atan2(b2, a2)) % 360
    dh = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    d_hue = 2 * (c1 * c2) ** 0.5 * sin(radians(dh) / 2)
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    hm = h1 + h2 if c1 * c2 == 0 else (h1 + dh / 2) % 360
    t = 1 - 0.17 * cos(radians(hm - 30)) + 0.24 * cos(radians(2 * hm))
    t += 0.32 * cos(radians(3 * hm + 6)) - 0.20 * cos(radians(4 * hm - 63))
    s_l = 1 + 0.015 * (lm - 50) ** 2 / (20 + (lm - 50) ** 2) ** 0.5
    s_c, s_h = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    rotation = -sin(radians(60 * exp(-(((hm - 275) / 25) ** 2)))) * 2 * (cm**7 / (cm**7 + 25**7)) ** 0.5
    light, chroma, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, d_hue / s_h
    return (light**2 + chroma**2 + hue**2 + rotation * chroma * hue) ** 0.5


def contrast(first: str, second: str) -> float:
    """WCAG's ratio of relative luminances."""
    light, dark = sorted((float(XYZ[1] @ linear(colour)) for colour in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


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
        rgb = linear(first.colour), linear(second.colour)
        seen = ciede2000(lab(rgb[0]), lab(rgb[1]))
        fewer = ciede2000(*(lab(np.clip(DEUTERANOPIA @ each, 0, 1)) for each in rgb))
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
