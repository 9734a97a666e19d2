"""Copies of runs that are small enough to ship: few checkpoints, weights as 16-bit floats where nothing measured changes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .checkpoints import Checkpoint, Run, checkpoint_path, read_weights, write_checkpoint, write_task
from .evaluation import evaluate, evaluation_queries, exact_match
from .writing import write_whole

TOLERANCE = 1e-3  # largest change of any accuracy that 16-bit weights may make


def copy_run(run: Run, folder: str | Path, *, steps: Sequence[int]) -> Run:
    """Copy a run with only some of its checkpoints.

    Weights are written as 16-bit floats, half the size, unless an accuracy of that checkpoint changes by more than
    `TOLERANCE`.

    Args:
        run: stays as it is.
        folder: a new one.
        steps: which checkpoints to take.

    Raises:
        FileExistsError: if the folder holds a run already.
        KeyError: if there is no checkpoint at one of the steps.
    """
    folder = Path(folder)
    if (folder / "run.json").exists():
        raise FileExistsError(f"{folder} holds a run already")
    for checkpoint in [run.checkpoint(step) for step in steps]:
        weights = read_weights(checkpoint.path)
        write_checkpoint(folder, checkpoint.step, {name: value.half() for name, value in weights.items()})
        if _largest_change(checkpoint, folder) > TOLERANCE:
            write_checkpoint(folder, checkpoint.step, weights)
    write_task(folder, run.task)
    for name in ("metrics.csv", "run.json"):  # the last file makes it a run
        write_whole(folder / name, (run.folder / name).read_bytes())
    return Run.load(folder)


def _largest_change(checkpoint: Checkpoint, folder: Path) -> float:
    """Between a checkpoint's accuracies and those of its copy in a folder."""
    copied = replace(checkpoint, path=checkpoint_path(folder, checkpoint.step))
    splits, rows = evaluation_queries(checkpoint.task), []
    for each in (checkpoint, copied):
        model = each.model()
        rows.append(evaluate(lambda queries, model=model: exact_match(model, queries), splits))
    before, after = rows
    return max(abs(before[name] - after[name]) for name in before if before[name] == before[name])  # NaN: no queries
