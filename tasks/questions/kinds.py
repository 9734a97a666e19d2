"""The kinds of tasks that a saved run can name."""

from collections.abc import Callable, Mapping

import numpy as np

from .task import Settings, Task
from .twohop import TwoHopTask

TASK_KINDS: dict[str, Callable[[Mapping[str, np.ndarray], Settings], Task]] = {
    TwoHopTask.kind: TwoHopTask.from_arrays,
}
"""By kind, what reads a task back from the arrays and settings that it was saved as."""
