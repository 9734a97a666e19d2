"""Copies of runs that are small enough to ship: few checkpoints, weights as 16-bit floats where nothing measured changes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..models.building import load_parameters
from ..questions.evaluation import evaluate, evaluation_queries, exact_match
from ..writing import write_atomic
from .checkpoints import Checkpoint, Run
from .settings import write_arrays
from .weights import read_weights, write_checkpoint

TOLERANCE = 1e-3  # largest change of any accuracy that 16-bit weights may make


def copy_run(run: Run, folder: str | Path, *, steps: Sequence[int]) -> Run:
    """Copy a run with only some of its checkpoints.

    Weights are written as 16-bit floats, half the size, unless an accuracy of that checkpoint then changes by more than
    `TOLERANCE`. In that case parameters are halved one by one, the largest first, as long as no accuracy does.

    Args:
        run: is not changed.
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
        write_checkpoint(folder, checkpoint.step, halved(weights, _scores_the_same(checkpoint)))
    write_arrays(folder, run.task)
    for name in ("metrics.csv", "run.json"):  # the last file makes it a run
        write_atomic(folder / name, (run.folder / name).read_bytes())
    return Run.load(folder)


def halved(weights: Mapping[str, Tensor], is_good: Callable[[Mapping[str, Tensor]], bool]) -> Mapping[str, Tensor]:
    """Weights with as many of the large ones as 16-bit floats as a test allows.

    Args:
        weights: by name.
        is_good: whether a model with such weights is good enough.
    """
    if is_good(everything := {name: value.half() for name, value in weights.items()}):
        return everything
    best = dict(weights)
    for name in sorted(weights, key=lambda name: -weights[name].numel()):
        if is_good(trial := {**best, name: weights[name].half()}):
            best = trial
    return best


def _scores_the_same(checkpoint: Checkpoint) -> Callable[[Mapping[str, Tensor]], bool]:
    """Whether a checkpoint's model with other weights has its accuracies."""
    model, config, queries = checkpoint.model(), checkpoint.model_config, evaluation_queries(checkpoint.task)

    def accuracies() -> Mapping[str, float]:
        return evaluate(lambda asked: exact_match(model, asked), queries, checkpoint.task.splits)

    wanted = accuracies()

    def is_good(weights: Mapping[str, Tensor]) -> bool:
        load_parameters(model, config, weights)
        found = accuracies()
        return all(
            abs(found[name] - value) <= TOLERANCE for name, value in wanted.items() if value == value
        )  # NaN: no queries

    return is_good
