"""Greedy pruning: one step at a time, as ACDC's algorithm is written, against several guessed steps at once.

Both keep the same edges. Printed are, at each threshold, the edges kept, seconds of either (medians of alternating repeats),
and how many times faster the second is.

    python examples/benchmarks/pruning.py --repeats 3
"""

import statistics
import time
from typing import Annotated

import numpy as np
import torch
import typer
from memory import random_model, random_pairs

from grokscope import analyses, circuits
from grokscope.analyses.patching.circuit_runs import CircuitRuns
from grokscope.analyses.patching.discovery import prune


def one_by_one(runs: CircuitRuns, least: float) -> list[circuits.Edge]:
    """What `prune` means, written out."""
    kept, share = list(runs.graph.edges), 1.0
    for edge in reversed(runs.graph.edges):
        fewer = [other for other in kept if other != edge]
        rest = float(runs.share([fewer])[0])
        if share - rest < least:
            kept, share = fewer, rest
    return kept


def main(
    repeats: Annotated[int, typer.Option(min=1, help="of each, alternating")] = 3,
    n_layers: Annotated[int, typer.Option(help="layers")] = 4,
    n_positions: Annotated[int, typer.Option(help="roles of the prompts")] = 6,
    n_pairs: Annotated[int, typer.Option(help="prompt pairs")] = 8,
    d_model: Annotated[int, typer.Option(help="width")] = 32,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    model = random_model(n_layers, d_model, n_positions)
    pairs = random_pairs(model, n_pairs)
    effects = np.abs(analyses.edge_attribution(model, pairs).table["effect"].to_numpy())
    runs = CircuitRuns(model, pairs, progress=False)
    for least in (0.01, 0.001):
        seconds: dict[str, list[float]] = {"one by one": [], "guessed": []}
        found: list[circuits.Edge] = []
        for _ in range(repeats):
            start = time.perf_counter()
            literal = one_by_one(runs, least)
            middle = time.perf_counter()
            found = prune(runs, least, likely=effects >= least, progress=False)
            seconds["one by one"].append(middle - start)
            seconds["guessed"].append(time.perf_counter() - middle)
            if found != literal:
                raise RuntimeError(f"guesses changed what is kept at {least}: {len(found)} edges against {len(literal)}")
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        ratio = medians["one by one"] / medians["guessed"]
        times = ", ".join(f"{name} {each:.1f} s" for name, each in medians.items())
        typer.echo(f"threshold {least:g}: {len(found)} of {len(effects)} edges kept; {times}; {ratio:.1f} times faster")


if __name__ == "__main__":
    typer.run(main)
