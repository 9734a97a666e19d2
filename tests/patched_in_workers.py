"""Patching that leaves a trace of every call of its metric, so that it can be stopped and killed in the middle."""

import os
import sys
import time
from pathlib import Path

import joblib
import torch
from conftest import strong_model, wide_pairs

from grokscope.analyses import PatchingResult, path_patch
from grokscope.circuits.command import run_command
from grokscope.tasks import PromptPairs


class Traced:
    """The logit difference, slowly; patched runs leave a file with the name of their process."""

    __name__ = "traced"

    def __init__(self, folder: Path, seconds: float, n: int) -> None:
        self.folder, self.seconds, self.n = folder, seconds, n

    def __call__(self, logits: torch.Tensor, answers: torch.Tensor, foils: torch.Tensor) -> torch.Tensor:
        """Logits [copy · query, d_vocab]."""
        if len(logits) > self.n:
            time.sleep(self.seconds)
            (self.folder / f"measured-{os.getpid()}-{time.monotonic_ns()}").touch()
        row = torch.arange(len(logits), device="cpu")
        return logits[row, answers] - logits[row, foils]


def measured(folder: Path, seconds: float) -> PatchingResult:
    """The effects of all edges, kept in a folder."""
    pairs: PromptPairs = wide_pairs(3, n=40)
    folder.mkdir(exist_ok=True)
    metric = Traced(folder, seconds, len(pairs))
    return path_patch(
        strong_model(3), pairs, metric=metric, keep_in=folder, max_memory=2**21, per_query=True, progress=False
    )


def main(folder: str, seconds: float) -> None:
    """In two processes."""
    torch.set_num_threads(1)
    with joblib.parallel_config(n_jobs=2):
        measured(Path(folder), seconds)


if __name__ == "__main__":
    sys.argv[0] = "patch"
    run_command(main, stopped="stopped")
