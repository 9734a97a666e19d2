"""A sweep in a process of its own, to be stopped by a signal."""

import sys

from small_runs import small

from grokscope.circuits.command import run_command
from grokscope.tasks import ModelConfig, TrainConfig, grid, sweep


def main(out: str, n_jobs: int) -> None:
    """Three long trainings of a tiny model."""
    config = TrainConfig.tiny(max_steps=100_000, evaluate_every=10, n_checkpoints=1)
    sweep(grid({"a": small()}, {"tiny": (ModelConfig.tiny(), config)}, range(3)), out, n_jobs=n_jobs)


if __name__ == "__main__":
    sys.argv[0] = "sweep"
    run_command(main, stopped="stopped")
