"""The kinds of tasks that a saved run can name."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .comparison import ComparisonTask
from .khop import KHopTask
from .question_task import QuestionTask
from .task import Settings, Task
from .twohop import TwoHopTask

TASK_KINDS: dict[str, Callable[[Mapping[str, np.ndarray], Settings], Task]] = {
    TwoHopTask.kind: TwoHopTask.from_arrays,
    KHopTask.kind: KHopTask.from_arrays,
    ComparisonTask.kind: ComparisonTask.from_arrays,
    QuestionTask.kind: QuestionTask.from_arrays,
}
"""By kind, what reads a task back from the arrays and settings that it was saved as."""


def read_task(kind: Any, arrays: Mapping[str, np.ndarray], settings: Settings) -> Task:
    """Read a task back, of any kind, which may come from a file.

    Raises:
        ValueError: if the kind is unknown, or its reader cannot read these; whatever that raises, since it may be anybody's.
    """
    if not isinstance(kind, str) or kind not in TASK_KINDS:
        raise ValueError(f"a task of the kind {kind!r}; known kinds are {', '.join(map(repr, TASK_KINDS))}")
    try:
        task = TASK_KINDS[kind](arrays, settings)
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"a task of the kind {kind!r} that its reader cannot read: {said}") from error
    if not isinstance(task, Task):
        raise ValueError(f"a task of the kind {kind!r}, whose reader gave a {type(task).__name__}, which is no Task")
    return task
