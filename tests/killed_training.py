"""A training in a process of its own, to be killed or interrupted; a module, so that the new process finds it by name."""

import multiprocessing
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from grokscope.tasks import ModelConfig, TrainConfig, TwoHopTask, train


def train_small(folder: str) -> None:
    """200 steps of a tiny model, or what is left of them; interrupted, it ends as a command does."""
    torch.set_num_threads(1)
    task = TwoHopTask.random(n_entities=24, n_relations=14, out_degree=10, ood_fraction=0.15, test_fraction=0.1, seed=0)
    config = TrainConfig.tiny(max_steps=200, evaluate_every=10, n_checkpoints=4, examples_per_prefix=2)
    try:
        train(task, ModelConfig.tiny(), config, folder, resume=True, progress=False)
    except KeyboardInterrupt as interrupted:
        sys.exit(interrupted.exit_code)


def start(folder: Path) -> ForkServerProcess:
    """Start it in a process forked from one that has imported everything once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grokscope.tasks.training.train"])
    process = context.Process(target=train_small, args=(str(folder),))
    process.start()
    return process
