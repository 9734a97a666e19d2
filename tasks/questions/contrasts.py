"""What the two prompts of a pair differ in, and what a task must say for pairs to be made of its questions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from ...circuits.plain_text import never_raising
from ..printing import as_call
from .queries import Queries
from .task import Task


@dataclass(frozen=True)
class Contrast:
    """What differs between two questions of the same kind; their answers always do.

    Attributes:
        changes: the roles whose tokens differ, each of them. All other tokens are the same.
        differs: the intermediates that differ.
        keeps: the intermediates that are the same.
    """

    changes: tuple[str, ...]
    differs: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()

    @never_raising
    def __repr__(self) -> str:
        return as_call(self)


TWO_HOP_CONTRASTS: Mapping[str, Contrast] = {
    "head": Contrast(("h",), differs=("bridge",)),
    "relation_1": Contrast(("r1",), differs=("bridge",)),
    "relation_2": Contrast(("r2",)),
    "bridge": Contrast(("h", "r1"), differs=("bridge",)),
}


@runtime_checkable
class Contrasted(Task, Protocol):
    """A task of whose questions pairs can be made, see `make_pairs`."""

    @property
    def contrasts(self) -> Mapping[str, Contrast]:
        """By name, what can differ."""
        ...

    @property
    def pair_recipe(self) -> Mapping[str, str]:
        """What pairs keep of the task they were made of: its key as `task`; as `graph` that of what units are numbers of."""
        ...

    def fact_status(self, queries: Queries) -> Int[Tensor, " query"]:
        """A number for each question that two of them share if the same of their facts are OOD."""
        ...


def contrasted(task: Any) -> Contrasted:
    """The same task, for what needs contrasts.

    Raises:
        TypeError: if it has none.
    """
    if isinstance(task, type) or not isinstance(task, Contrasted):
        kind = getattr(task, "kind", type(task).__name__)
        got = f"the class {task.__name__} itself" if isinstance(task, type) else f"a task of the kind {kind!r}"
        raise TypeError(f"pairs are made of tasks that have contrasts, pair_recipe and fact_status; got {got}")
    return task
