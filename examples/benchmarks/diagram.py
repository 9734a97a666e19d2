"""How fast a large circuit opens in a browser, and how many frames a second a dragged threshold gets.

python examples/benchmarks/diagram.py               # 5,000 edges of GPT-2's shape; needs chromium and playwright (tests)
python examples/benchmarks/diagram.py --n-edges 300 --pair
"""

import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from playwright.sync_api import Page, sync_playwright

from grokscope.circuits import Circuit, ComputationGraph, draw

READY = "!!document.querySelector('.grokscope').grokscope"
API = "document.querySelector('.grokscope').grokscope"
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
DRAG = """async (frames) => {
  const slider = document.querySelector('.gs-cut');
  const api = document.querySelector('.grokscope').grokscope;
  const [times, scripts, drawn] = [[], [], []];
  let last = performance.now();
  for (let n = 0; n < frames; n++) {
    slider.value = Number(slider.min) + (n % 20) * 3;
    const begun = performance.now();
    slider.dispatchEvent(new Event('input'));
    scripts.push(performance.now() - begun);
    await new Promise((done) => requestAnimationFrame(done));
    times.push(performance.now() - last);
    last = performance.now();
    drawn.push(...api.drawn.map((edges) => edges.length));
  }
  return [times, scripts, drawn];
}"""


def circuit(n_positions: int, n_edges: int, seed: int) -> Circuit:
    """Effects over two decades on some edges of GPT-2 small, which are kept; the others are nearly nothing."""
    roles = tuple(f"t{place}" for place in range(n_positions))
    graph = ComputationGraph.transformer(roles, roles[-1], n_layers=12, n_heads=12, n_blocks=12)
    rng, every = np.random.default_rng(0), len(graph.edges)
    chosen = rng.choice(every, size=n_edges, replace=False)  # the same edges for all seeds
    effect = np.random.default_rng(seed).normal(scale=1e-6, size=every)
    effect[chosen] = np.random.default_rng(seed).choice([-1, 1], n_edges) * 10 ** rng.uniform(-2, 0, size=n_edges)
    kept = np.isin(np.arange(every), chosen)
    rows = {"sender": [str(edge.sender) for edge in graph.edges], "receiver": [str(edge.receiver) for edge in graph.edges]}
    return Circuit(pd.DataFrame(rows).assign(effect=effect, stderr=abs(effect) / 5, n=32, gap=3.0, kept=kept), graph)


def dragged(page: Page, frames: int) -> tuple[list[float], list[float], list[int]]:
    """Milliseconds from frame to frame and of the script, and numbers of edges, while the threshold is dragged."""
    page.select_option("[aria-label='which edges are drawn']", "threshold")
    page.evaluate(f"{API}.set({{ threshold: 0.0101 }})")
    page.evaluate(DRAG, 5)
    return tuple(page.evaluate(DRAG, frames))  # pyright: ignore[reportReturnType]


def main(
    n_edges: Annotated[int, typer.Option(help="kept edges")] = 5000,
    n_positions: Annotated[int, typer.Option(help="positions of the prompts")] = 15,
    pair: Annotated[bool, typer.Option(help="two circuits side by side")] = False,
    rounds: Annotated[int, typer.Option(help="times the page is opened")] = 5,
    frames: Annotated[int, typer.Option(help="frames of dragging")] = 60,
) -> None:
    """Print the page's size, when it is painted, and the frames a second."""
    circuits = {name: circuit(n_positions, n_edges, seed) for seed, name in enumerate("ab" if pair else "a")}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = draw(circuits).save(Path(folder) / "page.html")
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        opened = []
        for _ in range(rounds):
            page.goto(path.as_uri())
            while not page.evaluate(READY):
                page.wait_for_timeout(5)
            opened.append(page.evaluate(PAINTED))  # since navigation began
        times, scripts, drawn = dragged(page, frames)
        browser.close()
        size, total = path.stat().st_size / 1e6, len(circuits["a"].table)
        typer.echo(f"{len(circuits)} × {n_edges:,} of {total:,} edges, {size:.2f} MB")
    typer.echo(f"opened and painted: {median(opened):.0f} ms (median of {rounds})")
    rates = 1000 / median(times), 1000 / float(np.quantile(times, 0.9))
    typer.echo(
        f"dragging over {min(drawn):,} to {max(drawn):,} edges: {rates[0]:.0f} frames a second (median of {frames}; the"
    )
    typer.echo(f"slowest tenth: {rates[1]:.0f} or less), {median(scripts):.1f} ms of script")


if __name__ == "__main__":
    typer.run(main)
