"""A sweep in a process of its own, to be stopped by a signal."""

import sys

from grokscope.circuits.command import run_command
from grokscope.tasks import ModelConfig, TrainConfig, TwoHopTask, grid, sweep


def main(out: str, n_jobs: int) -> None:
    """Three long trainings of a tiny model."""
    task = TwoHopTask.random(n_entities=12, n_relations=8, out_degree=5, ood_fraction=0.2, test_fraction=0.1, seed=0)
    config = TrainConfig.tiny(max_steps=100_000, evaluate_every=10, n_checkpoints=1)
    sweep(grid({"a": task}, {"tiny": (ModelConfig.tiny(), config)}, range(3)), out, n_jobs=n_jobs)


if __name__ == "__main__":
    sys.argv[0] = "sweep"
    run_command(main, stopped="stopped")
