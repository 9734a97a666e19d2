"""How large the page of a circuit of GPT-2's size is, and how fast it opens: medians of several tries.

python examples/benchmarks/page_size.py                          # needs chromium and playwright, both come with the tests
python examples/benchmarks/page_size.py --save other.html        # with another version of this library, then with this one:
python examples/benchmarks/page_size.py --against other.html     # both in turn
"""

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from playwright.sync_api import Browser, sync_playwright

from grokscope.circuits import Circuit, ComputationGraph, draw

PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))))"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def circuit(n_positions: int, n_kept: int) -> Circuit:
    """Random effects over four decades on every edge of GPT-2 small, of which the strongest are kept."""
    roles = tuple(f"t{place}" for place in range(n_positions))
    graph = ComputationGraph.transformer(roles, roles[-1], n_layers=12, n_heads=12, n_blocks=12)
    name = {node: str(node) for edge in graph.edges for node in edge}
    rng, n_edges = np.random.default_rng(0), len(graph.edges)
    effect = rng.normal(size=n_edges) * 10 ** rng.uniform(-5, -1, size=n_edges)
    rows = {"sender": [name[edge.sender] for edge in graph.edges], "receiver": [name[edge.receiver] for edge in graph.edges]}
    kept = np.argsort(np.argsort(-abs(effect))) < n_kept
    return Circuit(pd.DataFrame(rows).assign(effect=effect, stderr=abs(effect) / 5, n=32, gap=3.0, kept=kept), graph)


def opened(browser: Browser, path: Path) -> float:
    """Milliseconds from the start of navigation until the circuit is drawn and painted, in a new tab."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri(), timeout=300_000)
    painted = page.evaluate(PAINTED)
    page.close()
    return painted


def measured(pages: Mapping[str, Path], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each page in each round; all pages in turn."""
    found: dict[str, list[float]] = {name: [] for name in pages}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for _ in range(rounds):
            for name, path in pages.items():
                found[name].append(opened(browser, path))
        browser.close()
    return found


def main(
    n_positions: Annotated[int, typer.Option(help="positions of the prompts")] = 15,
    n_kept: Annotated[int, typer.Option(help="edges of the circuit")] = 1000,
    rounds: Annotated[int, typer.Option(help="tries")] = 7,
    save: Annotated[Path | None, typer.Option(help="write the page here and stop")] = None,
    against: Annotated[Path | None, typer.Option(help="a page that another version saved")] = None,
) -> None:
    """Print the page's size and the medians."""
    drawn = circuit(n_positions, n_kept)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        path = draw(drawn).save(save or Path(folder) / "page.html")
        typer.echo(f"{n_kept:,} of {len(drawn.table):,} edges: drawn and written in {time.perf_counter() - start:.1f} s")
        if save:
            return
        pages = {"this version": path} | ({against.name: against.resolve()} if against else {})
        for name, times in measured(pages, rounds).items():
            seconds = f"{median(times) / 1e3:.2f} s (median of {rounds}; {min(times) / 1e3:.2f} to {max(times) / 1e3:.2f} s)"
            typer.echo(f"{name}: {pages[name].stat().st_size / 1e6:.2f} MB, open and painted after {seconds}")


if __name__ == "__main__":
    typer.run(main)
