"""Keyboard, screen readers, touch, paper, the dark: a diagram for everybody."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from diagrams import API, BOTH, A, Shown, drawn, names, random_circuit, show
from planted import LOOPS
from playwright.sync_api import Page

from grokscope.circuits import Circuit, draw


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (420, "dark"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1280, "dark"), (420, "light"))),
    ],
)
def test_axe_finds_no_violation(scheme: str, width: int, shown: Shown) -> None:
    page = shown(draw(BOTH), color_scheme=scheme, viewport={"width": width, "height": 900})
    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}
    for state in ({}, {"view": "difference", "list": "nodes"}, {"selected": ["embed@h -> L0H0.v@h"]}, {"cut": "threshold"}):
        show(page, **state)
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, found.generate_report()
    for menu in page.locator("summary").all():
        menu.click()
        found = Axe().run(page, options=rules)
        assert found.violations_count == 0, found.generate_report()
        menu.click()


def test_the_empty_diagram_has_no_violation_either(shown: Shown) -> None:
    page = shown(draw(Circuit(A.table.assign(kept=False), A.graph, A.provenance)))
    assert Axe().run(page).violations_count == 0


def focusable(page: Page) -> list[str]:
    """What the tab key reaches, in order."""
    found = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "(e => e === document.body ? '' : e.tagName + ' ' + (e.getAttribute('aria-label') || e.dataset.view"
            " || e.dataset.list || e.textContent.slice(0, 30)))(document.activeElement)"
        )
        if not name:
            break
        found.append(name)
    return found


def test_the_tab_key_goes_through_controls_picture_and_table_in_this_order(shown: Shown) -> None:
    order = focusable(shown(draw(BOTH)))
    places = [next(i for i, name in enumerate(order) if text in name) for text in ("side", "edges are drawn", "search")]
    picture = next(i for i, name in enumerate(order) if name.startswith("svg"))
    table = next(i for i, name in enumerate(order) if name == "BUTTON differences")
    assert places == sorted(places) and places[-1] < picture < table


def test_a_screen_reader_hears_what_is_reached(shown: Shown) -> None:
    page = shown(draw(A))
    picture = page.locator("figure svg")
    assert "7 edges drawn" in str(picture.get_attribute("aria-label"))
    tip = page.locator(".gs-tip")
    assert tip.get_attribute("role") == "status" and tip.get_attribute("aria-live") == "polite"
    picture.focus()
    page.keyboard.press("ArrowRight")
    assert "of a gap of" in tip.inner_text()
    table = page.get_by_role("table").last
    assert table.get_by_role("rowheader").count() == len(names(A))


def brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_the_page_outside_the_panel_is_dark_too(shown: Shown) -> None:
    for scheme, is_dark in (("light", False), ("dark", True)):
        page = shown(draw(A), color_scheme=scheme)
        for place in ("document.body", "document.querySelector('.grokscope')"):
            colour = page.evaluate(f"getComputedStyle({place}).backgroundColor")
            assert (brightness(colour) < 60) == is_dark
        ink = page.evaluate("getComputedStyle(document.querySelector('.grokscope')).color")
        assert (brightness(ink) > 180) == is_dark


def test_the_picture_follows_when_the_scheme_changes(shown: Shown) -> None:
    page = shown(draw(A))
    colour = f"{API}.app.lookOf({API}.app.views[0].scene.order.find((c) => c.name === 'L0H0@r1 -> MLP0@r1')).colour"
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate(colour) != light == "#000000"


def test_notebooks_decide_between_light_and_dark(shown: Shown) -> None:
    page = shown(draw(A), color_scheme="light")
    page.evaluate("document.body.setAttribute('data-jp-theme-light', 'false')")
    page.wait_for_timeout(50)
    assert brightness(page.evaluate("getComputedStyle(document.querySelector('.grokscope')).backgroundColor")) < 60


def test_print_shows_the_whole_circuit_on_one_page(shown: Shown, tmp_path: Path) -> None:
    for diagram in (draw(BOTH), draw(random_circuit(LOOPS, 60))):
        page = shown(diagram, color_scheme="dark")
        page.get_by_role("button", name="zoom in").click()
        page.emulate_media(media="print")
        page.wait_for_timeout(100)
        printed = page.locator(".gs-print svg")
        assert printed.is_visible() and not page.locator(".gs-bar").is_visible()
        edges = set(printed.locator("[data-edge]").evaluate_all("all => all.map((e) => e.dataset.edge)"))
        assert edges == drawn(page) | (drawn(page, 1) if page.evaluate(f"{API}.app.views.length") > 1 else set())
        assert printed.locator("rect").first.get_attribute("fill") == "#fff", "paper is white"
        pdf = page.pdf(format="A4", landscape=True)
        assert len(re.findall(rb"/Type\s*/Page[^s]", pdf)) == 1


def test_touch_zooms_with_two_fingers_and_scrolls_with_one(shown: Shown) -> None:
    page = shown(draw(A), has_touch=True, viewport={"width": 420, "height": 700})
    scale = f"{API}.app.views[0].scale"
    touch = "getComputedStyle(document.querySelector('figure svg')).touchAction"
    before = page.evaluate(scale)
    assert page.evaluate(touch) == "pan-y", "one finger scrolls the page, two zoom the picture"
    frame = page.locator("figure svg").bounding_box()
    middle = [frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2]
    page.evaluate(
        """([x, y]) => {
          const svg = document.querySelector('figure svg');
          const send = (type, id, dx) => svg.dispatchEvent(new PointerEvent(type, { pointerId: id, pointerType: 'touch',
            clientX: x + dx, clientY: y, bubbles: true }));
          send('pointerdown', 1, -20); send('pointerdown', 2, 20);
          send('pointermove', 2, 60);
          send('pointerup', 1, -20); send('pointerup', 2, 60);
        }""",
        middle,
    )
    assert page.evaluate(scale) == pytest.approx(before * 2, rel=0.01)
    assert page.evaluate(touch) == "none", "a zoomed picture is dragged"


def test_motion_stays_away(shown: Shown) -> None:
    page = shown(draw(A))
    all_of_it = "[...document.querySelectorAll('.grokscope *')]"
    assert page.evaluate(f"{all_of_it}.every((e) => getComputedStyle(e).transitionDuration === '0s')")
