"""Diagrams of circuits that are not alike, of numbers that are odd, and states that come from elsewhere."""

import numpy as np
import pytest
from chromium import until
from diagrams import API, BOTH, A, B, Shown, cut, drawn, names, show
from planted import CHAIN, GRAPH, effects
from playwright.sync_api import Browser

from grokscope.circuits import Circuit, draw
from grokscope.circuits.diagram_state import state_of

NAME = "embed@h -> L0H0.v@h"


def row(circuit: Circuit, name: str) -> int:
    return [str(edge) for edge in circuit.measured_edges].index(name)


def test_circuits_of_other_steps_are_compared_as_they_are_shown(shown: Shown) -> None:
    page = shown(draw({"a": {100: A, 2000: B}, "b": {2000: A, 5000: B}}))
    for step, (one, other) in {100: (A, A), 2000: (B, A), 5000: (B, B)}.items():
        show(page, step=step)
        value = page.evaluate(
            f"(() => {{ const s = {API}.app.store.get(); const d = {API}.app; "
            f"return d.comparisonOf(d.data, s.pair, s.step).value[{row(A, NAME)}] }})()"
        )
        wanted = (other.table["effect"] - one.table["effect"])[row(A, NAME)]
        assert value == pytest.approx(wanted, abs=1e-6)


def test_an_edge_of_another_graph_shows_its_own_numbers(shown: Shown) -> None:
    small = Circuit.from_effects(effects({**CHAIN, NAME: 0.33}, graph=GRAPH))
    page = shown(draw({"a": A, "small": small}, despite=["graph"]))
    show(page, selected=[NAME], list="edges")
    said = page.locator(".gs-details").inner_text()
    assert "0.900 [" in said and "0.330 [" in said
    rows = page.evaluate("[...document.querySelectorAll('[data-row]')].map((e) => e.dataset.row)")
    assert set(rows) == names(A) | names(small)
    only = next(name for name in names(A) if "L2H0" in name)
    show(page, selected=[only])
    assert "not measured" in page.locator(".gs-details").inner_text()


def test_a_selected_node_says_what_it_has_in_every_circuit(shown: Shown) -> None:
    page = shown(draw(BOTH))
    show(page, selected=["embed@h"])
    said = page.locator(".gs-details").inner_text()
    assert "out of it: 1, together 0.900" in said and "out of it: 1, together 0.450" in said


def test_an_edge_without_an_interval_does_not_look_sure(shown: Shown) -> None:
    deltas = B.deltas.copy()
    deltas[row(B, NAME), 0] = np.nan
    page = shown(draw({"a": A, "b": Circuit(B.table, B.graph, B.provenance, deltas, B.donor_gaps)}))
    show(page, view="difference")
    look = page.evaluate(f"{API}.app.lookOf({API}.app.views[0].scene.order.find((c) => c.name === '{NAME}'))")
    assert look["width"] == 1


def test_numbers_of_queries_and_gaps_are_those_of_each_edge(shown: Shown) -> None:
    table = A.table.assign(n=np.where(A.table["kept"], 55, 10), gap=np.where(A.table["kept"], 5.5, 1.0))
    page = shown(draw(Circuit(table, A.graph, A.provenance)))
    show(page, selected=[NAME])
    assert "of a gap of 5.50 nats, n = 55" in page.locator(".gs-details").inner_text()


def test_what_lies_within_groups_is_said_to(shown: Shown) -> None:
    page = shown(draw(A))
    show(page, groups=[{"name": "g", "nodes": ["embed@h", "L0H0@h", "L0H0@r1", "MLP0@r1"]}])
    assert "7 of 174 edges, 2 of them within groups" in page.locator("figcaption").inner_text()
    everything = page.evaluate(f"{API}.app.views[0].picture.nodes.map((node) => node.name)")
    show(page, groups=[{"name": "all", "nodes": everything}])
    assert page.locator(".gs-nothing").inner_text() == "All drawn edges are within groups."
    assert page.locator("figure canvas").is_visible()


def test_groups_and_merged_nodes_can_be_hidden(shown: Shown) -> None:
    page = shown(draw(A))
    show(page, groups=[{"name": "g", "nodes": ["embed@h", "L0H0@h"]}], hidden=["g"])
    assert not any("embed@h" in name or "L0H0@h" in name for name in drawn(page))
    show(page, groups=[], hidden=["MLP@r1"], weights=True)
    assert drawn(page) and not any("MLP@r1" in name for name in drawn(page))


def test_a_link_forgets_what_was_undone(shown: Shown, browser: Browser) -> None:
    page = shown(draw(A, state={"cut": "top", "top": 3, "search": "L0"}))
    show(page, cut="kept", search="")
    assert drawn(page) == names(A)
    page.reload()
    until(page, f"!!{API}")
    assert drawn(page) == names(A) and state_of(page.url)["search"] == ""
    page.get_by_role("button", name="as it opened").click()
    assert page.evaluate(f"{API}.state.search") == "L0"


def test_a_link_that_is_opened_in_the_same_window_is_followed(shown: Shown) -> None:
    page = shown(draw(A))
    page.evaluate("location.hash = '#gs=eyJzZWFyY2giOiJAcjEifQ'")
    until(page, f"{API}.state.search === '@r1'")
    assert drawn(page) == {name for name in names(A) if "@r1" in name}


@pytest.mark.parametrize(
    "state",
    [
        {"open": {"columns": 5}},
        {"zoom": [0, 0, 0]},
        {"zoom": [-3, 1, 1]},
        {"top": -3},
        {"threshold": -1},
        {"role": "nowhere"},
    ],
)
def test_states_that_cannot_be_leave_the_picture_as_it_is(state: dict[str, object], shown: Shown) -> None:
    page = shown(draw(A))
    show(page, **state)
    assert drawn(page) == names(A) and page.evaluate(f"{API}.app.views[0].scale > 0")


@pytest.mark.usefixtures("as_users_call")
def test_labels_that_cannot_be_are_refused_and_others_do_not_meet() -> None:
    with pytest.raises(ValueError, match="labels are different texts"):
        draw({1: A, "1": B, "c": A})
    with pytest.raises(ValueError, match="steps are whole numbers, got 'early'"):
        draw({"a": {"early": A}})
    other = Circuit(B.table, B.graph, {**B.provenance, "metric": "probability"})
    with pytest.raises(ValueError, match="differ in metric"):
        draw({"a": {5: A}, "a, step 5": other})


def test_infinite_and_huge_effects_break_nothing(shown: Shown) -> None:
    table = A.table.copy()
    table.loc[row(A, NAME), "effect"] = np.inf
    assert draw(Circuit(table, A.graph, A.provenance)).data["widest"] == A.table["effect"].abs().sort_values().iloc[-2]
    table = A.table.assign(effect=np.where(A.table["kept"], A.table["effect"], 1000 * A.table["effect"]))
    page = shown(draw(Circuit(table, A.graph, A.provenance)))
    cut(page, "top", 12)
    widths = page.evaluate(f"{API}.app.views[0].scene.order.map((c) => {API}.app.lookOf(c).width)")
    assert max(widths) == 18


def test_circuits_without_pairs_are_resampled_apart() -> None:
    few = [Circuit(c.table, c.graph, {"model": "m"}, c.deltas[:, :n], c.donor_gaps[:n]) for c, n in ((A, 6), (B, 4))]
    (found,) = draw(dict(zip("ab", few, strict=True))).data["differences"]
    assert found["how"] == "bootstrap of 6 and 4 queries"


def test_the_focus_stays_where_it_was(shown: Shown) -> None:
    page = shown(draw(BOTH))
    for place in (f'[data-row="{NAME}"] button', "th button >> nth=1", ".gs-kind >> nth=0"):
        page.locator(place).first.focus()
        before = page.evaluate("document.activeElement.dataset.focus")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.dataset.focus") == before
