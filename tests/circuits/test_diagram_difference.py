"""The view of what differs: what is in which circuit, by how much, and how sure that is."""

import re

import numpy as np
import pytest
from diagrams import API, BOTH, A, B, Shown, drawn, measured, names, on_screen, pixel, show
from planted import LOOPS
from playwright.sync_api import Page

from grokscope.circuits import Circuit, draw
from grokscope.circuits.palette import HUES, PALETTE

EFFECT = np.zeros(len(LOOPS.edges))
EFFECT[:: 9] = np.linspace(0.1, 0.9, len(EFFECT[::9]))  # fmt: skip


def couple() -> dict[str, Circuit]:
    """Two circuits on the same queries: one edge differs for sure, and many do not."""
    a = measured(LOOPS, EFFECT, noise=0.2)
    changed = EFFECT.copy()
    changed[9] += 0.4
    noise = np.random.default_rng(5).normal(size=a.deltas.shape) * 0.2
    deltas = changed[:, None] * a.donor_gaps + noise
    value = deltas.sum(1) / a.donor_gaps.sum()
    b = Circuit(a.table.assign(effect=value), LOOPS, a.provenance, deltas, a.donor_gaps)
    kept = (np.abs(EFFECT) > 0.05) | (np.arange(len(EFFECT)) == 4)
    return {"before": keep(a, kept), "after": keep(b, kept)}


def keep(circuit: Circuit, kept: np.ndarray) -> Circuit:
    return Circuit(circuit.table.assign(kept=kept), LOOPS, circuit.provenance, circuit.deltas, circuit.donor_gaps)


CURVES = (
    f"{API}.app.views[0].scene.order"
    ".map((each) => [each.name, each.member, each.difference, each.low, each.high, each.differs])"
)


def test_one_picture_tells_what_is_in_one_in_the_other_and_in_both(shown: Shown) -> None:
    page = shown(draw(BOTH))
    page.locator("[data-view=difference]").click()
    assert page.locator("figure").count() == 1 and drawn(page) == names(A) | names(B)
    members = {name: member for name, member, *_ in page.evaluate(CURVES)}
    assert {name for name, member in members.items() if member == "a"} == names(A) - names(B)
    assert {name for name, member in members.items() if member == "b"} == names(B) - names(A)
    for member, wanted in (("a", names(A) - names(B)), ("both", names(A) & names(B)), ("b", set())):
        show(page, member=member)
        assert drawn(page) == wanted


def test_its_numbers_are_those_of_the_library(shown: Shown) -> None:
    both = couple()
    diagram = draw(both)
    (found,) = diagram.data["differences"]
    page = shown(diagram)
    show(page, view="difference")
    order = [str(edge) for edge in LOOPS.edges]
    for name, _, value, low, high, differs in page.evaluate(CURVES):
        i = order.index(name)
        assert [value, low, high] == pytest.approx([found["value"][i], found["low"][i], found["high"][i]], rel=1e-5)
        assert differs == (found["low"][i] > 0 or found["high"][i] < 0)
    sure = [name for name, *_, differs in page.evaluate(CURVES) if differs]
    assert sure == [order[9]]
    show(page, member="differs")
    assert drawn(page) == {order[9]}


def colour_of(page: Page, name: str) -> np.ndarray:
    around = [pixel(page, name, aside=aside) for aside in range(-8, 9)]  # what is in both is hollow
    return np.array(max(around, key=lambda found: found[3] * (max(found[:3]) - min(found[:3])))[:3])


def hexes(name: str) -> np.ndarray:
    value = HUES.get(name) or PALETTE["page"][name]
    return np.array([int(value[i : i + 2], 16) for i in (1, 3, 5)])


def test_what_is_sure_has_the_colour_of_its_side_and_what_is_not_is_thin_and_neutral(shown: Shown) -> None:
    page = shown(draw(couple()))
    show(page, view="difference")
    order = [str(edge) for edge in LOOPS.edges]
    sure, unsure = order[9], order[18]
    near = colour_of(page, sure)
    assert np.abs(near - hexes("vermillion")).max() < 12, "the largest difference has the full colour of `after`"
    widths = page.evaluate(
        f"names => names.map((name) => {API}.app.views[0].scene.order.find((c) => c.name === name))"
        f".map((curve) => {API}.app.lookOf(curve))",
        [sure, unsure],
    )
    assert widths[0]["width"] > 3 and widths[1]["width"] == 1
    assert widths[1]["colour"] == PALETTE["page"]["neutral"]


def test_no_colour_of_a_difference_means_a_kind_of_edge() -> None:
    from grokscope.circuits.kinds import KINDS

    kinds = {each.colour for row in KINDS.values() for each in row.inputs}
    assert not kinds & {"blue", "vermillion"} and PALETTE["page"]["neutral"] not in {HUES[kind] for kind in kinds}


def simulated(colour: str, kind: str) -> np.ndarray:
    """A colour as a dichromat sees it, in linear light (matrices: Machado, Oliveira and Fernandes 2009, severity 1)."""
    matrices = {
        "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "none": np.eye(3).tolist(),
    }
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return np.clip(np.array(matrices[kind]) @ linear, 0, 1)


def lab(linear: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sight", ["none", "deuteranopia", "protanopia"])
def test_colour_blind_readers_tell_the_colours_of_a_page_apart(scheme: str, sight: str) -> None:
    from grokscope.circuits.kinds import KINDS

    hues = HUES | (PALETTE["hues_on_dark"] if scheme == "dark" else {})
    page = PALETTE["page"] | (PALETTE["page_on_dark"] if scheme == "dark" else {})
    heads = {each.colour for kind in ("head", "mlp", "logits") for each in KINDS[kind].inputs}
    sides = {"a": hues["blue"], "b": hues["vermillion"], "neutral": page["neutral"]}
    for group in ({name: hues[name] for name in heads}, sides):
        seen = {name: lab(simulated(colour, sight)) for name, colour in group.items()}
        gaps = {(x, y): float(np.linalg.norm(seen[x] - seen[y])) for x in seen for y in seen if x < y}
        assert min(gaps.values()) > 15, gaps


def test_the_headline_says_what_differs_and_how_sure_that_is(shown: Shown) -> None:
    both = couple()
    page = shown(draw(both))
    said = page.locator(".gs-headline").inner_text().replace("−", "-")
    n = int(both["before"].table["kept"].sum())
    assert said.startswith(
        f"before and after share {n} edges; 0 only in before, 0 only in after. 1 of these {n} effects differs"
    )
    assert "hold for all of them at once, over queries, not over trainings; bootstrap of 40 queries" in said
    edge = str(LOOPS.edges[9])
    x, y = (circuit.table["effect"][9] for circuit in both.values())
    assert f"The largest: {edge}, {x:.2f} of the gap in before, {y:.2f} in after, a difference of +{y - x:.2f} [" in said
    same = {"one": both["before"], "again": both["before"]}
    assert "No effect is known to differ" in shown(draw(same)).locator(".gs-headline").inner_text()
    bare = {
        label: Circuit(circuit.table.assign(stderr=float("nan")), LOOPS, circuit.provenance)
        for label, circuit in both.items()
    }
    assert "How sure differences of effects are is not known" in shown(draw(bare)).locator(".gs-headline").inner_text()


def test_the_list_is_sorted_by_size_and_marks_what_is_sure(shown: Shown) -> None:
    page = shown(draw(couple()))
    rows = page.locator(".gs-table tbody tr")
    assert rows.first.get_attribute("data-row") == str(LOOPS.edges[9])
    assert page.locator(".gs-table td.gs-sure.gs-b").count() == 1
    texts = page.locator(".gs-table td:last-child").all_inner_texts()
    numbers = [float(re.findall(r"[+-][\d.]+", text.replace("−", "-"))[0]) for text in texts]
    assert [abs(x) for x in numbers] == sorted(map(abs, numbers), reverse=True)
    page.get_by_role("button", name="before", exact=False).first.click()
    first = page.locator(".gs-table tbody tr").first.get_attribute("data-row")
    circuit = couple()["before"]
    assert first == str(LOOPS.edges[int(circuit.table["effect"].where(circuit.table["kept"]).argmax())])


def test_nodes_are_compared_too(shown: Shown) -> None:
    both = couple()
    page = shown(draw(both))
    show(page, view="difference", list="nodes")
    sender = str(LOOPS.edges[9].sender)
    row = page.locator(f'[data-row="{sender}"] td').last
    sums = [circuit.table["effect"][circuit.table["sender"] == sender].sum() for circuit in both.values()]
    assert row.inner_text().startswith(f"+{sums[1] - sums[0]:.2f} [")
    filled = page.locator(f'[data-node="{sender}"] rect').get_attribute("style")
    assert filled and "fill: rgb" in filled
    page.mouse.move(*on_screen(page, sender))
    assert "effects out of it, after − before: +" in page.locator(".gs-tip").inner_text()


def test_which_circuits_are_compared_can_be_chosen(shown: Shown) -> None:
    both = couple()
    page = shown(draw({**both, "third": both["before"]}))
    page.locator("[data-view=difference]").click()
    page.select_option("[aria-label='circuits that are compared']", label="after / third")
    assert page.locator("figure .gs-title").inner_text() == "after against third"
    value = {name: value for name, _, value, *_ in page.evaluate(CURVES)}[str(LOOPS.edges[9])]
    effects = [circuit.table["effect"][9] for circuit in both.values()]
    assert value == pytest.approx(effects[0] - effects[1], rel=1e-4)


def test_sums_have_bounds_that_are_sums(shown: Shown) -> None:
    page = shown(draw(couple()))
    show(page, view="difference", weights=True, cut="top", top=200)
    found = page.evaluate(
        f"(() => {{ const s = {API}.app.views[0].scene; const c = s.order.find((each) => each.all.length > 2);"
        "const sum = (list) => c.all.reduce((t, i) => t + list[i], 0);"
        "const { value, low, high } = s.comparison;"
        "return [[c.difference, c.low, c.high], [value, low, high].map(sum)] })()"
    )
    assert found[0] == pytest.approx(found[1])
