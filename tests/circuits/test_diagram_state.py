"""What is seen is kept: in the address, in saved pages, in saved circuits; and it can be undone."""

import re
from pathlib import Path

import pytest
from chromium import until
from diagrams import API, BOTH, A, B, Shown, cut, drawn, names, show
from playwright.sync_api import Browser

from grokscope.circuits import Circuit, draw
from grokscope.circuits.diagram_state import state_of, state_problems

SEEN = {
    "view": "difference",
    "cut": "top",
    "top": 12,
    "search": "@r1",
    "selected": ["MLP0@r1"],
    "groups": [{"name": "a 'group' of <b>two</b> & ü", "nodes": ["embed@h", "L0H0@h"]}],
    "open": {"columns": [], "rows": [3]},
    "list": "nodes",
}


def test_a_link_shows_what_its_sender_saw(browser: Browser, tmp_path: Path) -> None:
    path = draw(BOTH).save(tmp_path / "page.html")
    sender, receiver = browser.new_page(), browser.new_page()
    sender.goto(path.as_uri())
    until(sender, f"!!{API}")
    show(sender, **SEEN)
    sender.get_by_role("button", name="zoom in").click()
    link = sender.url
    assert "#gs=" in link and link.startswith(path.as_uri())
    receiver.goto(link)
    until(receiver, f"!!{API}")
    for what in (f"{API}.state", f"{API}.drawn", f"{API}.app.views.map((view) => [view.scale, ...view.at])"):
        assert receiver.evaluate(what) == sender.evaluate(what)
    assert sender.evaluate(f"{API}.state.search") == "@r1"
    for page in (sender, receiver):
        page.close()


def test_python_reads_the_link_and_a_diagram_opens_with_it(shown: Shown) -> None:
    page = shown(draw(BOTH))
    show(page, **SEEN)
    link = page.url
    state = state_of(link)
    assert {key: state[key] for key in SEEN} == SEEN
    again = shown(draw(BOTH, state=link))
    assert again.evaluate(f"{API}.state") == page.evaluate(f"{API}.state") and drawn(again) == drawn(page)
    assert shown(draw(BOTH, state={"cut": "top", "top": 3})).evaluate(f"{API}.drawn[0].length") == 3


def test_a_saved_circuit_keeps_what_was_seen(shown: Shown, tmp_path: Path) -> None:
    kept = A.with_view({"groups": SEEN["groups"], "search": "@h"})
    loaded = Circuit.load(kept.save(tmp_path / "circuit.json"))
    assert loaded.provenance["view"] == {"groups": SEEN["groups"], "search": "@h"}
    page = shown(draw({"a": loaded, "b": B}))
    assert page.evaluate(f"{API}.state") == {"groups": SEEN["groups"], "search": "@h"}
    assert shown(draw({"a": loaded, "b": B}, state={})).evaluate(f"{API}.state") == {}
    assert "view" not in A.provenance


def test_a_saved_page_opens_as_it_was_left(shown: Shown, browser: Browser, tmp_path: Path) -> None:
    page = shown(draw(BOTH), accept_downloads=True)
    cut(page, "top", 9)
    show(page, selected=["embed@h -> L0H0.v@h"], search="v")
    page.locator("summary", has_text="save").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="page", exact=True).click()
    download.value.save_as(tmp_path / "saved.html")
    again = browser.new_page()
    again.goto((tmp_path / "saved.html").as_uri())
    until(again, f"!!{API}")
    assert again.evaluate(f"{API}.state") == page.evaluate(f"{API}.state") != {}
    assert drawn(again) == drawn(page) and again.locator(".gs-details .gs-title").inner_text() == "embed@h -> L0H0.v@h"
    assert (tmp_path / "saved.html").read_text().count("Content-Security-Policy") >= 1
    again.close()


def test_what_was_done_is_undone_and_done_again(shown: Shown) -> None:
    page = shown(draw(A))
    first = drawn(page)
    assert page.get_by_role("button", name="undo").is_disabled()
    page.locator(".gs-search").fill("@r1")
    searched = drawn(page)
    page.wait_for_timeout(1100)
    show(page, cut="top", top=1)
    assert first != searched != drawn(page)
    page.locator("figure svg").focus()
    page.keyboard.press("Control+z")
    assert drawn(page) == searched
    page.get_by_role("button", name="undo").click()
    assert drawn(page) == first
    page.get_by_role("button", name="redo").click()
    assert drawn(page) == searched
    page.get_by_role("button", name="as it opened").click()
    assert drawn(page) == first and page.evaluate(f"{API}.state") == {}


def test_a_dragged_slider_is_one_step_back(shown: Shown) -> None:
    page = shown(draw(A))
    page.select_option("[aria-label='which edges are drawn']", "threshold")
    before = page.evaluate(f"{API}.app.store.get().threshold")
    for at in (500, 600, 700, 800):
        page.locator(".gs-cut").evaluate("(e, at) => { e.value = at; e.dispatchEvent(new Event('input')) }", at)
    page.get_by_role("button", name="undo").click()
    assert page.evaluate(f"{API}.app.store.get().threshold") == before


@pytest.mark.parametrize(
    "damaged", ["#gs=%%%", "#gs=eyJjdXQiOiJ0", "#gs=bnVsbA", "#gs=eyJjdXQiOiA3fQ", "#gs=W10", "#other=1"]
)
def test_a_damaged_link_opens_the_diagram_as_it_is(damaged: str, browser: Browser, tmp_path: Path) -> None:
    page, errors = browser.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(draw(A).save(tmp_path / "page.html").as_uri() + damaged)
    until(page, f"!!{API}")
    assert drawn(page) == names(A) and errors == []
    page.close()


def test_what_does_not_belong_here_is_left_out(shown: Shown) -> None:
    page = shown(draw(A, state={"view": "difference", "pair": [3, 9], "step": 77, "selected": ["nothing of this kind"]}))
    assert drawn(page) == names(A)
    assert "It is not in this picture" in page.locator(".gs-details").inner_text()


def test_a_wrong_state_is_refused_with_all_that_is_wrong() -> None:
    assert state_problems({"cut": "top"}) == []
    problems = " ".join(state_problems({"cut": "topp", "top": -1, "colour": "red"}))
    assert all(name in problems for name in ("cut", "top", "colour"))
    assert state_problems("page.html") and state_problems("page.html#gs=%%%")
    assert state_of("page.html#") == {}
    with pytest.raises(ValueError, match=r"state: .*threshold"):
        draw(A, state={"threshold": "much"})
    with pytest.raises(ValueError, match="state"):
        A.with_view({"zoom": [1.0]})


def test_several_diagrams_of_one_page_have_addresses_of_their_own(browser: Browser, tmp_path: Path) -> None:
    from grokscope.analyses.page import Report

    report = Report("two")
    report.diagram(draw(A), "first")
    report.diagram(draw(B), "second")
    path = report.save(tmp_path / "report.html")
    page = browser.new_page()
    page.goto(path.as_uri())
    until(page, "document.querySelectorAll('.grokscope[data-started]').length === 2")
    page.evaluate("document.querySelectorAll('.grokscope')[1].grokscope.set({ search: '@h' })")
    assert re.search(r"#gs1=\w+$", page.url)
    page.evaluate("document.querySelectorAll('.grokscope')[0].grokscope.set({ search: '@r1' })")
    assert {part.split("=")[0] for part in page.url.split("#")[1].split("&")} == {"gs", "gs1"}
    page.close()
