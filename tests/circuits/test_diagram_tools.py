"""From looking to asking: search, filters, groups, hiding, tracing, the table; against literal readings of the data."""

import fnmatch
import re
from typing import Any

import pandas as pd
import pytest
from chromium import until
from diagrams import API, BOTH, A, B, Shown, cut, drawn, names, on_screen, random_circuit, show
from planted import LOOPS
from playwright.sync_api import Page

from grokscope.circuits import Circuit, ComputationGraph, Edge, Node, draw

WIDE = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=12, n_heads=12, n_blocks=12)


def fits(name: str, pattern: str) -> bool:
    """Whether a node's printed name fits, written apart from the page's script."""
    component, _, role = name.lower().partition("@")
    wanted, at, where = pattern.lower().partition("@")
    if at and not fnmatch.fnmatchcase(role, where):
        return False
    if wanted.startswith("."):
        return component.endswith(wanted) or f"{wanted}" in component
    for end in range(len(component) + 1):
        start, rest = component[:end], component[end:]
        if fnmatch.fnmatchcase(start, wanted) and not (wanted[-1:].isdigit() and rest[:1].isdigit()):
            return True
    return False


SEARCHES = ["L2H*", "mlp@r1", "L1", "@h", ".q", "embed", "L11H1", "from:embed", "to:L1", "logits@r2", "l?h3@r1", "-mlp"]


def found_by(edges: list[Edge], search: str) -> set[str]:
    """The edges that fit, by the names of their ends."""

    def one(edge: Any, term: str) -> bool:
        if term.startswith("-"):
            return not one(edge, term[1:])
        side, _, pattern = term.partition(":") if ":" in term else ("", "", term)
        ends = {"from": [str(edge.sender)], "to": [str(edge.receiver)]}.get(side, [str(edge.sender), str(edge.receiver)])
        return any(fits(end, pattern) for end in ends)

    return {str(edge) for edge in edges if all(one(edge, term) for term in search.split())}


@pytest.mark.slow
def test_parts_of_names_are_found(shown: Shown) -> None:
    circuit = random_circuit(WIDE, 280)
    page, edges = shown(draw(circuit)), circuit.kept_edges
    for search in (*SEARCHES, "mlp -@r2"):
        page.locator(".gs-search").fill(search)
        until(page, f"!{API}.isBusy")
        wanted = found_by(edges, search)
        assert drawn(page) == wanted and 0 < len(wanted) < 280, search


def test_sizes_and_whole_edges_are_found(shown: Shown) -> None:
    page = shown(draw(A))
    cut(page, "top", 100)
    strongest = A.table["effect"].abs().rank(ascending=False) <= 100
    search = page.locator(".gs-search")
    for text, chosen in ((">0.3", A.table["effect"].abs() > 0.3), ("< 0.005", A.table["effect"].abs() < 0.005)):
        search.fill(text)
        assert drawn(page) == names(A, strongest & chosen)
    search.fill("MLP1@r1 -> L2H0.v@r1")
    assert drawn(page) == {"MLP1@r1 -> L2H0.v@r1"}
    search.fill("no such thing")
    assert drawn(page) == set() and "none fits the cut and the filters" in page.locator(".gs-nothing").inner_text()


def test_filters_leave_out_by_kind_position_layer_and_measurement(shown: Shown) -> None:
    weak = (A.table["effect"].abs() < 0.25).map({True: "estimated", False: "exact"})
    circuit = Circuit(A.table.assign(verified=weak), A.graph, A.provenance)
    page = shown(draw(circuit))
    everything = names(A)
    page.get_by_role("button", name="into a value").click()
    assert drawn(page) == {name for name in everything if ".v@" not in name}
    page.get_by_role("button", name="into a value").click()
    page.locator("summary", has_text="filter").click()
    page.select_option("[aria-label=position]", "r1")
    assert drawn(page) == {name for name in everything if name.endswith("@r1")}
    page.select_option("[aria-label=position]", "")
    page.select_option("[aria-label=layer]", "1")
    assert drawn(page) == {name for name in everything if re.search(r"L1H|MLP1", name)}
    assert "filter (1)" in page.locator("summary", has_text="filter").inner_text()
    page.select_option("[aria-label=layer]", "")
    page.select_option("[aria-label='measured or estimated']", "measured")
    assert drawn(page) == names(A, A.table["kept"] & (weak == "exact")) < everything
    page.get_by_role("button", name="show all again").click()
    assert drawn(page) == everything


def test_what_is_hidden_comes_back(shown: Shown) -> None:
    page = shown(draw(A))
    show(page, selected=["MLP1@r1"])
    page.get_by_role("button", name="hide", exact=True).click()
    gone = {name for name in names(A) if "MLP1@r1" in name}
    assert drawn(page) == names(A) - gone and gone
    assert page.locator(".gs-details").inner_text() == ""
    page.get_by_role("button", name="undo").click()
    assert drawn(page) == names(A)


def group(page: Page, name: str, *nodes: str) -> None:
    show(page, selected=list(nodes))
    page.get_by_role("button", name="group", exact=True).click()
    page.get_by_role("textbox", name="name of the group").fill(name)
    page.keyboard.press("Enter")


def test_grouped_nodes_are_one_whose_edges_are_sums_that_say_so(shown: Shown) -> None:
    page = shown(draw(A))
    members = {"L0H0@r1", "MLP0@r1", "L1H0@r1"}
    group(page, "first hop", *members)
    sums: dict[str, float] = {}
    graph = A.graph
    for edge, effect in zip(A.measured_edges, A.table["effect"], strict=True):
        if edge not in A.kept_edges:
            continue
        ends = [str(edge.sender), str(graph.component_of(edge.receiver))]
        ends = ["first hop" if end in members else end for end in ends]
        if ends[0] != ends[1]:
            sums[" -> ".join(ends)] = sums.get(" -> ".join(ends), 0.0) + effect
    found = dict(
        page.evaluate(f"{API}.app.views[0].scene.order.map((c) => [`${{c.from.name}} -> ${{c.to.name}}`, c.strengths[0]])")
    )
    assert {name for name in found if "first hop" in name} == {name for name in sums if "first hop" in name}
    for name in found:
        if "first hop" in name:
            assert found[name] == pytest.approx(sums[name], abs=1e-5)
    assert "sums, which are not the effects of patching them together" in page.locator(".gs-details").inner_text()
    assert page.locator('[data-node="first hop"] text').text_content() == "first hop"
    group(page, "first hop", "embed@h", "L0H0@h")
    box = page.get_by_role("textbox", name="name of the group")
    assert box.evaluate("e => e.validationMessage") == "this name is taken"
    show(page, selected=["first hop"])
    page.get_by_role("button", name="ungroup").click()
    assert drawn(page) == names(A)


def literal_shares(circuit: Circuit, start: str, down: bool) -> dict[str, float]:
    """What passes along each edge, path by path."""
    graph, edges = circuit.graph, circuit.kept_edges
    size = {str(edge): abs(effect) for edge, effect in zip(circuit.measured_edges, circuit.table["effect"], strict=True)}
    found: dict[str, float] = {start: 1.0}

    def out_of(node: Node) -> list[Any]:
        return [edge for edge in edges if edge.sender == node]

    def follow(edge: Any, share: float) -> None:
        if down:
            outputs = {node: sum(size[str(e)] for e in out_of(node)) for node in graph.outputs_of(edge.receiver)}
            total = sum(outputs.values())
            for node, amount in outputs.items():
                for each in out_of(node):
                    part = share * (amount / total) * size[str(each)] / amount
                    found[str(each)] = found.get(str(each), 0.0) + part
                    follow(each, part)
        else:
            into = [each for each in edges if edge.sender in graph.outputs_of(each.receiver)]
            total = sum(size[str(each)] for each in into)
            for each in into:
                part = share * size[str(each)] / total
                found[str(each)] = found.get(str(each), 0.0) + part
                follow(each, part)

    follow(next(edge for edge in edges if str(edge) == start), 1.0)
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_shares_that_pass_are_those_of_every_path(shown: Shown, seed: int) -> None:
    circuit = random_circuit(LOOPS, 60, seed=seed)
    page = shown(draw(circuit))
    start = str(circuit.kept_edges[len(circuit.kept_edges) // 2])
    show(page, selected=[start])
    for way in ("up", "down"):
        shares = page.evaluate(
            f"(() => {{ const view = {API}.app.views[0]; const g = view.graph;"
            f"return [...view.trace.shares[0].{way}].map(([i, x]) => [{API}.app.nameOf(g, i), x]) }})()"
        )
        wanted = literal_shares(circuit, start, down=way == "down")
        assert dict(shares) == pytest.approx(wanted, abs=1e-6) and len(wanted) >= 1


def test_a_row_and_its_edge_are_one_selection(shown: Shown) -> None:
    page = shown(draw(BOTH))
    name = "MLP1@r1 -> L2H0.v@r1"
    page.locator(f'[data-row="{name}"] button').click()
    assert page.evaluate(f"{API}.state.selected") == [name] and page.locator(".gs-details .gs-title").inner_text() == name
    page.locator(f'[data-row="{name}"]').hover()
    assert page.evaluate(f"{API}.app.views[0].hovered") is not None
    page.keyboard.press("Escape")
    other = "embed@h -> L0H0.v@h"
    page.locator("figure svg").first.scroll_into_view_if_needed()
    page.mouse.click(*on_screen(page, other))
    assert page.locator("tr.gs-selected").get_attribute("data-row") == other
    page.locator(f'[data-row="{name}"] button').click(modifiers=["Shift"])
    assert page.evaluate(f"{API}.state.selected") == [other, name]


def test_the_table_sorts_by_every_column(shown: Shown) -> None:
    page = shown(draw(A))
    order = A.table[A.table["kept"]].assign(name=lambda t: t["sender"] + " -> " + t["receiver"])

    def rows() -> list[str]:
        return page.evaluate("[...document.querySelectorAll('[data-row]')].map((e) => e.dataset.row)")

    by_size = order.reindex(order["effect"].abs().sort_values(ascending=False, kind="stable").index)
    assert rows() == by_size["name"].tolist()
    page.get_by_role("columnheader", name="effect").get_by_role("button").click()
    assert rows() == order.sort_values("effect", ascending=False)["name"].tolist()
    assert page.get_by_role("columnheader", name="effect").get_attribute("aria-sort") == "descending"
    page.get_by_role("columnheader", name="effect").get_by_role("button").click()
    assert rows() == order.sort_values("effect")["name"].tolist()
    page.locator("[data-list=nodes]").click()
    sums = order.groupby("sender")["effect"].sum()
    assert page.locator('[data-row="MLP0@r1"] td').inner_text() == f"{sums['MLP0@r1']:.3f}"


def test_a_long_table_shows_its_first_rows_and_more_when_asked(shown: Shown) -> None:
    page = shown(draw(random_circuit(LOOPS, 150)))
    assert page.locator("[data-row]").count() == 100
    page.get_by_role("button", name="show 50 more").click()
    assert page.locator("[data-row]").count() == 150


def test_a_selected_edge_keeps_its_numbers_in_the_panel(shown: Shown) -> None:
    page = shown(draw(BOTH))
    name = "embed@h -> L0H0.v@h"
    show(page, selected=[name])
    page.mouse.move(5, 5)
    said = page.locator(".gs-details").inner_text().replace("−", "-")
    for circuit in (A, B):
        row: pd.Series = circuit.table[
            (circuit.table["sender"] == "embed@h") & (circuit.table["receiver"] == "L0H0.v@h")
        ].iloc[0]
        low, high = row["effect"] - 1.96 * row["stderr"], row["effect"] + 1.96 * row["stderr"]
        assert f"{row['effect']:.3f} [{low:.3f}, {high:.3f}] of a gap of 10.00 nats, n = {row['n']}" in said
