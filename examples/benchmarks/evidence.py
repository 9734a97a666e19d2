"""How many checkpoints a second the lens and the evidence table do, loading included.

    python examples/benchmarks/evidence.py                                 # the shipped natural run of the pilot
    python examples/benchmarks/evidence.py --run runs/pilot/natural --n 100

A run with fewer checkpoints is gone through again until n are done. In turns, one process.
"""

import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated

import torch
import typer

from grokscope import analyses, tasks
from grokscope.tasks.transformerlens import Model


def seconds(analyse: Callable[[Model], object], checkpoint: tasks.Checkpoint) -> float:
    """What loading and analysing one checkpoint takes."""
    start = time.perf_counter()
    analyse(checkpoint.model())
    return time.perf_counter() - start


def main(
    run: Annotated[Path | None, typer.Option(help="a run's folder; the shipped natural run if not given")] = None,
    n: Annotated[int, typer.Option(help="checkpoints for the lens; a tenth of it for the rest")] = 100,
    split: Annotated[str, typer.Option(help="what is asked")] = "test_inferred_ood",
    threads: Annotated[int, typer.Option(help="of torch")] = 2,
) -> None:
    """Print checkpoints per second of each analysis."""
    torch.set_num_threads(threads)
    found = tasks.Run.load(run) if run else tasks.load_study("pilot").runs["natural"]
    queries, task = found.task.split(split), found.task
    work: dict[str, tuple[int, Callable[[Model], object]]] = {
        "logit_lens": (n, lambda model: analyses.logit_lens(model, queries)),
        "bridge_evidence": (n, lambda model: analyses.bridge_evidence(model, task, split)),
        "realign": (n // 10, lambda model: analyses.realign(model, task, queries)),
        "bridge_geometry": (n // 10, lambda model: analyses.bridge_geometry(model, task)),
        "probe_bridge": (max(1, n // 50), lambda model: analyses.probe_bridge(model, task)),
    }
    typer.echo(f"{found.name}, {len(found.steps)} checkpoints, {split}: {len(queries)} questions, {threads} threads")
    for name, (times, analyse) in work.items():
        checkpoints = [found.checkpoint(step) for step in islice(cycle(found.steps), times + 1)]
        taken = [seconds(analyse, checkpoint) for checkpoint in checkpoints][1:]  # the first warms up
        rate = len(taken) / sum(taken)
        typer.echo(f"{name:16} {rate:6.2f} checkpoints/s, median {median(taken):.3f} s, n = {len(taken)}")


if __name__ == "__main__":
    typer.run(main)
