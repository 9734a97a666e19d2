"""Circuits for tests of diagrams, and what a test asks of a diagram that is open in a browser."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from chromium import until
from planted import CHAIN, LOOPS, effects
from playwright.sync_api import Page

from grokscope.circuits import Circuit, ComputationGraph

Shown = Callable[..., Page]
API = "document.querySelector('.grokscope').grokscope"


def noisy(values: dict[str, float], seed: int) -> Circuit:
    """Planted effects, and small ones everywhere else, so that thresholds have something to cut."""
    rng = np.random.default_rng(seed)
    small = dict(zip(map(str, LOOPS.edges), rng.normal(scale=0.01, size=len(LOOPS.edges)), strict=True))
    return Circuit.from_effects(effects(small | values, graph=LOOPS), threshold=0.05)


def random_circuit(graph: ComputationGraph, n_kept: int, seed: int = 0) -> Circuit:
    """Effects of many sizes on all edges; of which the strongest are kept, connected or not."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(size=len(graph.edges)) * 10.0 ** rng.uniform(-4, -1, size=len(graph.edges))
    table = pd.DataFrame({"sender": [str(a) for a, _ in graph.edges], "receiver": [str(b) for _, b in graph.edges]})
    kept = pd.Series(effect).abs().rank(ascending=False) <= n_kept
    return Circuit(table.assign(effect=effect, stderr=abs(effect) / 5, n=32, gap=3.0, kept=kept), graph)


def measured(graph: ComputationGraph, effect: np.ndarray, *, n: int = 40, noise: float = 0.1, seed: int = 0) -> Circuit:
    """Effects with changes by query around them; the larger half is kept."""
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(2.0, 4.0, size=n)
    deltas = effect[:, None] * gaps + noise * rng.normal(size=(len(effect), n))
    found = deltas.sum(1) / gaps.sum()
    table = pd.DataFrame({"sender": [str(a) for a, _ in graph.edges], "receiver": [str(b) for _, b in graph.edges]})
    kept = np.abs(found) >= np.median(np.abs(found))
    table = table.assign(effect=found, stderr=deltas.std(1) / np.sqrt(n) / gaps.mean(), n=n, gap=gaps.mean(), kept=kept)
    about = {"pairs": "one", "metric": "logit_difference", "unit": "nats"}
    return Circuit(table, graph, about, deltas, gaps)


A = noisy(CHAIN | {"MLP1@r1 -> L2H0.v@r1": 0.3, "L2H0@r2 -> logits@r2": 0.3, "L1H0@r1 -> MLP1@r1": 0.2}, seed=0)
B = noisy({**CHAIN, "embed@h -> L0H0.v@h": 0.45}, seed=1)
BOTH = {"a": A, "b": B}


def names(circuit: Circuit, chosen: pd.Series | None = None) -> set[str]:
    """The names of the kept edges, or of other rows."""
    rows = circuit.table[circuit.table["kept"] if chosen is None else chosen]
    return set(rows["sender"] + " -> " + rows["receiver"])


def drawn(page: Page, panel: int = 0) -> set[str]:
    """The curves of a picture, by name."""
    return set(page.evaluate(f"{API}.drawn[{panel}]"))


def cut(page: Page, how: str, at: int) -> None:
    """Cut with the controls: how, and where the slider stands."""
    page.select_option("[aria-label='which edges are drawn']", how)
    page.locator(".gs-cut").evaluate("(e, at) => { e.value = at; e.dispatchEvent(new Event('input')) }", at)
    until(page, f"!{API}.isBusy")  # on a slow machine words follow curves


def show(page: Page, **state: Any) -> None:
    """Set a part of what is seen."""
    page.evaluate(f"state => {API}.set(state)", state)
    until(page, f"!{API}.isBusy")


def on_screen(page: Page, name: str, panel: int = 0) -> tuple[float, float]:
    """Where a curve's middle, or a node, is in the window."""
    found = page.evaluate(
        """([name, panel]) => {
          const view = document.querySelector('.grokscope').grokscope.app.views[panel];
          const curve = view.scene.order.find((each) => each.name === name);
          const box = [...view.scene.boxes.values()].find((each) => each.name === name);
          const points = curve && curve.points;
          const middle = (k) => (points[0][k] + 3 * points[1][k] + 3 * points[2][k] + points[3][k]) / 8;
          const [x, y] = curve ? [0, 1].map(middle) : box.at;
          const frame = view.svg.getBoundingClientRect();
          return [frame.left + view.at[0] + view.scale * x, frame.top + view.at[1] + view.scale * y];
        }""",
        [name, panel],
    )
    return found[0], found[1]


def pixel(page: Page, name: str, panel: int = 0, aside: float = 0.0) -> tuple[int, int, int, int]:
    """What the canvas holds at the middle of a curve, or some pixels beside it."""
    x, y = on_screen(page, name, panel)
    x += aside
    found = page.evaluate(
        """([x, y, panel]) => {
          const view = document.querySelector('.grokscope').grokscope.app.views[panel];
          const frame = view.canvas.getBoundingClientRect();
          const at = [(x - frame.left) * view.ratio, (y - frame.top) * view.ratio].map(Math.round);
          const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          copy.drawImage(view.canvas, ...at, 1, 1, 0, 0, 1, 1);
          return [...copy.getImageData(0, 0, 1, 1).data];
        }""",
        [x, y, panel],
    )
    return tuple(found)
