"""The metrics of a run as a text: a row for each evaluation, added at its end."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from ..questions.task import Task, splits_for
from .folder import CheckpointError

FIRST = ("step", "seconds", "loss")


def is_step(text: str) -> bool:
    """Whether a text is a step as it is written in metrics and states: digits, not more than a number of 64 bits has."""
    return text.isascii() and text.isdecimal() and len(text) < 19 and text == str(int(text))


def row_text(row: Mapping[str, float | int], *, first: bool) -> str:
    """One row, numbers as the shortest text that gives them back; the first one comes with the names of the columns."""
    cells = ["" if math.isnan(value) else repr(value).removesuffix(".0") for value in row.values()]
    return "".join(",".join(line) + "\n" for line in ([[*row]] if first else []) + [cells])


def rows_until(data: bytes, metrics: pd.DataFrame, step: int) -> bytes:
    """The part of a file that ends with a step."""
    n_lines = 1 + int((metrics["step"] <= step).sum())
    return b"".join(data.splitlines(keepends=True)[:n_lines])


def read_metrics(data: bytes, where: str, task: Task, steps: Sequence[int]) -> pd.DataFrame:
    """The table in a file.

    Args:
        data: its bytes.
        where: the name of the file, for messages.
        task: its splits name the columns.
        steps: that are evaluated, from the first to the last of the whole training, see `Past.evaluation_steps`.

    Raises:
        CheckpointError: if columns, rows or values are not those of an evaluation of this task.
    """
    names, rows = _cells(data, where)
    if problems := column_problems(names, task):
        raise CheckpointError(f"{where}: {'; '.join(problems)}; take a copy or train again")
    if wrong := [number for number, row in enumerate(rows, start=2) if len(row) != len(names)]:
        raise CheckpointError(f"{where}: line {wrong[0]} does not have {len(names)} cells; take a copy or train again")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else {}
    problems = [] if rows else ["it holds no evaluation"]
    problems += [problem for name, cells in columns.items() if (problem := _cell_problem(name, cells))]
    if problems:
        raise CheckpointError(f"{where}: {'; '.join(problems[:5])}; take a copy or train again")
    table = pd.DataFrame({name: [_number(name, cell) for cell in cells] for name, cells in columns.items()})
    if problems := _order_problems(table, steps):
        raise CheckpointError(f"{where}: {'; '.join(problems[:5])}; take a copy or train again")
    return table


def column_problems(names: Sequence[str], task: Task) -> list[str]:
    """Which columns lack, are unknown or there twice."""
    tests = splits_for(task, "test")
    needed = [*FIRST, *task.splits, *(f"select_{name}" for name in task.splits), "train", "select_train"]
    needed += [f"floor_{name}" for name in tests] if task.shortcuts else []
    allowed = {*needed, *(f"gated_{name}" for name in tests)}
    problems = [f"the column {name} is missing" for name in needed if name not in names]
    problems += [f"the column {name!r} is unknown" for name in dict.fromkeys(names) if name not in allowed]
    return problems + [f"the column {name} is there twice" for name in dict.fromkeys(names) if list(names).count(name) > 1]


def _cells(data: bytes, where: str) -> tuple[list[str], list[list[str]]]:
    try:
        lines = list(csv.reader(data.decode().splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{where}: expected a table of numbers, but {error}; take a copy or train again") from error
    return (lines[0], lines[1:]) if lines else ([], [])


def _cell_problem(name: str, cells: Sequence[str]) -> str:
    """What the first cell is that cannot be in a column, and why."""
    is_right, wanted = _WANTED.get(name, (_is_share, "a fraction from 0 to 1, or nothing"))
    wrong = next((cell for cell in cells if not is_right(cell)), None)
    return "" if wrong is None else f"{name} holds {wrong[:20]!r}, expected is {wanted}"


def _order_problems(table: pd.DataFrame, steps: Sequence[int]) -> list[str]:
    """What is wrong with the steps and seconds of the rows."""
    problems = []
    for number, step in enumerate(table["step"], start=1):
        if step != (wanted := steps[min(number, len(steps)) - 1]):
            problems = [f"row {number} is of step {step}, expected is {wanted}"]
            break
    if (number := len(table)) > 1 and table["step"].iloc[-2] >= steps[-1]:
        problems.append(f"row {number} comes after the last step, {steps[-1]}")
    if not table["seconds"].is_monotonic_increasing:
        problems.append("the seconds go back")
    return problems


def _number(name: str, cell: str) -> float | int:
    return int(cell) if name == "step" else float(cell or "nan")


def _float(cell: str) -> float:
    try:
        return float(cell) if cell.isascii() else math.nan
    except ValueError:
        return math.nan


def _is_share(cell: str) -> bool:
    return cell == "" or 0 <= _float(cell) <= 1


_WANTED: dict[str, tuple[Callable[[str], bool], str]] = {
    "step": (is_step, "a whole number"),
    "seconds": (lambda cell: 0 <= _float(cell) < math.inf, "a finite number from 0 on"),
    "loss": (lambda cell: math.isfinite(_float(cell)), "a finite number"),
}
