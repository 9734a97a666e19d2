"""What workers gain: every edge of a random model patched in one process and by joblib's workers, in turns.

Each uses one thread of torch. Printed are medians of seconds, with the workers already started, and whether the bits agree.

    python examples/benchmarks/shards.py --n-jobs 2
"""

import time
from typing import Any

import joblib
import pandas as pd
import torch
import typer
from memory import random_model, random_pairs

from grokscope import analyses


def main(n_jobs: int = 2, n_layers: int = 4, d_model: int = 256, n_pairs: int = 64, repeats: int = 5) -> None:
    """Time both."""
    torch.set_num_threads(1)
    model = random_model(n_layers, d_model, n_positions=6)
    pairs = random_pairs(model, n_pairs)

    def patched(jobs: int) -> tuple[float, analyses.PatchingResult]:
        start = time.perf_counter()
        options: dict[str, Any] = {"per_query": True, "max_memory": 2**31, "progress": False}
        with joblib.parallel_config(n_jobs=jobs):
            found = analyses.path_patch(model, pairs, **options)
        return time.perf_counter() - start, found

    typer.echo(f"with workers that are started: {patched(n_jobs)[0]:.1f} s")
    rows, (_, here) = [], patched(1)
    for _ in range(repeats):
        (one, here), (many, there) = patched(1), patched(n_jobs)
        assert here.deltas is not None and there.deltas is not None
        agree = here.deltas.tobytes() == there.deltas.tobytes()
        rows.append({"one process": one, f"{n_jobs} workers": many, "ratio": one / many, "same bits": agree})
    table = pd.DataFrame(rows)
    typer.echo(f"{len(here.table):,} edges, {n_pairs} pairs\n{table.round(2)}\n\nmedians\n{table.median().round(2)}")


if __name__ == "__main__":
    typer.run(main)
