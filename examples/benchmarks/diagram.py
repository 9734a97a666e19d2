"""How fast a pair of large circuits draws in a browser, and how fast the slider answers: medians of several tries.

python examples/benchmarks/diagram.py   # needs chromium and playwright, both come with the tests
"""

import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from playwright.sync_api import sync_playwright

from grokscope.circuits import Circuit, ComputationGraph, draw

PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
SLIDE = (
    "async (e, at) => { const start = performance.now(); e.value = at; e.dispatchEvent(new Event('input')); "
    "const script = performance.now() - start; "
    "await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); "
    "return [script, performance.now() - start] }"
)


def circuit(graph: ComputationGraph, n_edges: int, seed: int) -> Circuit:
    """Random effects on the first edges of a graph."""
    effects = np.random.default_rng(seed).normal(scale=0.1, size=n_edges)
    rows = [{"sender": str(edge.sender), "receiver": str(edge.receiver)} for edge in graph.edges[:n_edges]]
    table = pd.DataFrame(rows).assign(effect=effects, stderr=0.01, n=256, gap=10.0, kept=True)
    return Circuit(table, graph)


def main(
    n_edges: Annotated[int, typer.Option(help="of each of two circuits")] = 2000,
    rounds: Annotated[int, typer.Option(help="tries")] = 9,
) -> None:
    """Print medians in milliseconds and the page's size."""
    graph = ComputationGraph.transformer(("h", "r1", "r2"), "r2", n_layers=6, n_heads=4, n_blocks=1)
    if len(graph.edges) < n_edges:
        raise typer.BadParameter(f"the graph has {len(graph.edges)} edges")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = draw({"a": circuit(graph, n_edges, 0), "b": circuit(graph, n_edges, 1)}).save(Path(folder) / "a.html")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        drawn, script, answered = [], [], []
        for _ in range(rounds):
            page.goto(page_file.as_uri())
            drawn.append(page.evaluate(PAINTED))  # since navigation began
        page.select_option(".gs-bar select", "threshold")
        for i in range(4 * rounds):
            ran, painted = page.locator(".gs-cut").evaluate(SLIDE, 600 + 400 * (i % 5) // 5)
            script.append(ran)
            answered.append(painted)
        browser.close()
        typer.echo(f"two circuits of {n_edges} edges, {page_file.stat().st_size / 1e3:.0f} kB")
    typer.echo(f"opened and painted: {median(drawn):.0f} ms (median of {rounds})")
    typer.echo(f"slider: {median(script):.0f} ms of script, {median(answered):.0f} ms to the second frame ({4 * rounds})")


if __name__ == "__main__":
    typer.run(main)
