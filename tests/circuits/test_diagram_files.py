"""What is taken away from a diagram is what is seen: figures, numbers, pages."""

import csv
import io
import json
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from chromium import opened, until
from diagrams import API, BOTH, A, Shown, cut, drawn, names, show
from playwright.sync_api import Browser, Page

from grokscope.circuits import draw


def saved(page: Page, kind: str, path: Path) -> Path:
    if not page.locator(".gs-pop", has=page.get_by_role("button", name=kind, exact=True)).is_visible():
        page.locator("summary", has_text="save").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=kind, exact=True).click()
    target = path / f"saved.{kind.lower()}"
    download.value.save_as(target)
    return target


SVG = "{http://www.w3.org/2000/svg}"


def test_the_figure_has_title_legend_scale_and_a_caption_of_what_is_drawn(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw(BOTH), accept_downloads=True)
    cut(page, "top", 5)
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    edges = [e for e in root.iter() if "data-edge" in e.attrib]
    assert len(edges) == 10 and all(e.attrib["stroke"].startswith("#") for e in edges)
    texts = [e.text or "" for e in root.iter(f"{SVG}text")]
    whole = " ".join(texts)
    assert f"5 of {len(A.table)} edges, the strongest" in whole and str(int(A.table["kept"].sum())) + " of " not in whole
    for said in (
        "a",
        "b",
        "into a value",
        "into the logits",
        "negative",
        "|effect| 0.90 of the gap",
        "L0H0",
        "embed",
        "r1",
        "loop 0",
    ):
        assert any(said in text for text in texts), said
    assert "a and b share" in whole
    assert not list(root.iter(f"{SVG}style")) and not list(root.iter(f"{SVG}foreignObject"))


def test_the_figure_of_a_difference_says_what_its_colours_mean(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw(BOTH), accept_downloads=True)
    show(page, view="difference")
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    texts = " ".join(e.text or "" for e in root.iter(f"{SVG}text"))
    assert "−0.45, higher in a" in texts and "+0.45, higher in b" in texts and "includes 0" in texts
    assert "3 only in a, 0 only in b, 4 in both" in texts


def test_a_traced_figure_says_that_it_is(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw(A), accept_downloads=True)
    show(page, selected=["MLP1@r1 -> L2H0.v@r1"])
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    text = " ".join(e.text or "" for e in root.iter(f"{SVG}text"))
    assert "Paths through MLP1@r1 -> L2H0.v@r1 are drawn in full." in text


def test_a_png_is_twice_as_fine_as_the_figure(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw(A), accept_downloads=True)
    svg, png = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot(), saved(page, "PNG", tmp_path).read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    assert [width, height] == [2 * int(svg.attrib["width"]), 2 * int(svg.attrib["height"])]


def test_json_holds_all_numbers_and_what_is_seen(shown: Shown, tmp_path: Path) -> None:
    diagram = draw(BOTH)
    page = shown(diagram, accept_downloads=True)
    cut(page, "top", 5)
    show(page, view="difference", selected=["MLP0@r1"])
    data = json.loads(saved(page, "JSON", tmp_path).read_text())
    assert data["state"] == {"cut": "top", "top": 5, "view": "difference", "selected": ["MLP0@r1"]}
    assert data["panels"] == json.loads(json.dumps(diagram.data["panels"])) and data["widest"] == diagram.data["widest"]
    assert data["differences"][0]["value"] == pytest.approx(diagram.data["differences"][0]["value"], rel=1e-5, abs=1e-9)


def test_csv_holds_the_visible_edges_with_their_bounds(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw({'quoted, "label"': A, "b": BOTH["b"]}), accept_downloads=True)
    page.locator(".gs-search").fill("@r1")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV", tmp_path).read_bytes().decode())))
    first = [row for row in rows if row["circuit"] == 'quoted, "label"']
    assert {row["edge"] for row in first} == drawn(page) < names(A)
    table = A.table.assign(edge=A.table["sender"] + " -> " + A.table["receiver"]).set_index("edge")
    for row in first:
        known = table.loc[row["edge"]]
        wanted = [known["effect"], known["effect"] - 1.96 * known["stderr"], known["effect"] + 1.96 * known["stderr"]]
        assert [float(row[name]) for name in ("effect", "low", "high")] == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert row["n"] == str(known["n"]) and row["kept"] == "true" and row["sender"] == known["sender"]
    show(page, view="difference", search="")
    rows = list(csv.DictReader(io.StringIO(saved(page, "CSV", tmp_path).read_bytes().decode())))
    changes = [row for row in rows if row["verified"] == "difference"]
    assert len(changes) == len(names(A) | names(BOTH["b"]))
    assert {round(float(row["effect"]), 2) for row in changes} >= {-0.45}


def test_the_link_is_offered(shown: Shown) -> None:
    page = shown(draw(A))
    page.locator(".gs-search").fill("@r1")
    page.locator("summary", has_text="save").click()
    page.get_by_role("button", name="link", exact=True).click()
    page.wait_for_timeout(100)
    box = page.locator(".gs-pop input[aria-label=address]")
    text = page.get_by_role("button", name=re.compile("copied|link")).first.inner_text()
    assert text == "copied" or "#gs=" in box.input_value()


def test_pictures_below_each_other_fit_a_page(shown: Shown, tmp_path: Path) -> None:
    page = shown(draw({name: A for name in "abcd"}), accept_downloads=True)
    root = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()
    assert float(root.attrib["width"]) <= 1700
    places = [re.findall(r"-?[\d.]+", g.attrib["transform"]) for g in root if g.tag == f"{SVG}g"]
    assert len(places) == 4 and len({tuple(place) for place in places}) == 4
    assert np.all([0 <= float(x) < 1700 for place in places for x in place[:1]])
    assert page.evaluate(f"{API}.app.views.length") == 4


def test_a_page_that_the_browser_saved_comes_to_life_again(shown: Shown, browser: Browser, tmp_path: Path) -> None:
    """Browsers save a page as it is then, with all that its script has made."""
    page = shown(draw({100: A, 2000: A}))
    again = tmp_path / "again.html"
    again.write_text(page.content(), encoding="utf-8")
    with opened(browser, again) as second:
        until(second, f"!!{API}")
        assert drawn(second) == names(A) and second.locator(".gs-bar .gs-search").count() == 1
        assert second.locator(".gs-strips").count() == 1
