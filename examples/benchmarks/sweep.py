"""How much faster two workers get through a sweep than one: alternating, in one process, the ratio of medians.

python examples/benchmarks/sweep.py
"""

import statistics
import tempfile
import time
from typing import Annotated

import typer

from grokscope import tasks


def seconds(n_jobs: int, n_runs: int, steps: int) -> float:
    """The time to train some runs of the small preset, several at a time."""
    task = tasks.TwoHopTask.random(seed=0)
    config = tasks.TrainConfig.small(max_steps=steps, n_checkpoints=0, evaluate_every=100)
    jobs = tasks.grid({"natural": task}, {"small": (tasks.ModelConfig.small(), config)}, range(n_runs))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        outcomes = tasks.sweep(jobs, folder, n_jobs=n_jobs)
    if (outcomes["outcome"] != "trained").any():
        raise RuntimeError(outcomes.to_string())
    return time.perf_counter() - start


def main(
    rounds: Annotated[int, typer.Option(help="alternating measurements of each")] = 3,
    n_runs: Annotated[int, typer.Option(help="in a sweep")] = 4,
    steps: Annotated[int, typer.Option(help="of each run")] = 300,
) -> None:
    """Print the seconds with one worker and with two, and the throughput's ratio."""
    seconds(2, 2, 100)  # starts the workers and fills the caches
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for n_jobs, measured in times.items():
            measured.append(seconds(n_jobs, n_runs, steps))
    for n_jobs, measured in times.items():
        typer.echo(f"{n_jobs} at a time: " + ", ".join(f"{each:.1f}" for each in measured) + " s")
    typer.echo(f"throughput of two: {statistics.median(times[1]) / statistics.median(times[2]):.2f} ×")


if __name__ == "__main__":
    typer.run(main)
