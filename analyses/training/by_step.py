"""The same analysis of every checkpoint of a run, in one result whose tables have a step column."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pandas as pd

from ...circuits import Result
from ...circuits.progress import with_bar
from ...tasks import Run
from ...tasks.transformerlens import Model

ResultType = TypeVar("ResultType", bound=Result)


def by_step(run: Run, analyse: Callable[[Model], ResultType], *, progress: bool = True) -> ResultType:
    """Analyse each checkpoint of a run; every table of the result gets a column `step`, its first.

    Args:
        run: with at least one checkpoint.
        analyse: makes a result of one model; fields other than tables should be the same for each model, except its name
            and the reason why numbers are missing, which is given by step.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.

    Raises:
        ValueError: if the run has no checkpoint.
    """
    if not run.steps:
        raise ValueError(f"{run.folder} holds no checkpoint")
    steps = with_bar(run.steps, f"checkpoints of {run.name}", show=progress)
    results = {step: analyse(run.checkpoint(step).model()) for step in steps}
    first = next(iter(results.values()))
    tables = {name: _stacked({step: getattr(each, name) for step, each in results.items()}) for name in _tables(first)}
    reasons = {step: why for step, each in results.items() if (why := getattr(each, "reason", ""))}
    named: dict[str, Any] = (
        {"reason": "; ".join(f"step {step:,}: {why}" for step, why in reasons.items())} if reasons else {}
    )
    return dataclasses.replace(first, **tables, model=run.name, **named)


def ascending(numbers: Iterable[int]) -> list[int]:
    """Steps, or numbers of loops, in order, each once: what comes before, after and last is told from their order."""
    return sorted({int(number) for number in numbers})


def for_each_step(table: pd.DataFrame, compute: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Compute something from a table, step by step if it has steps."""
    if "step" not in table:
        return compute(table)
    return _stacked({step: compute(rows.drop(columns="step")) for step, rows in table.groupby("step", sort=False)})


def _tables(result: Result) -> list[str]:
    fields = (field.name for field in dataclasses.fields(result))
    return [name for name in fields if isinstance(getattr(result, name), pd.DataFrame)]


def _stacked(tables: Mapping[Any, pd.DataFrame]) -> pd.DataFrame:
    parts = [table.assign(step=step) for step, table in tables.items()]
    together = pd.concat(parts, ignore_index=True)
    return together[["step", *together.columns.drop("step")]]
