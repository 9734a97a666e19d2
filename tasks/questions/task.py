"""What a task must offer so that models can be trained on it, judged, saved, and looked into.

Training, evaluation, batches, runs and the analyses of intermediates use a task through this Protocol alone; two-hop
questions are one implementation, see `twohop`. To add another, write a module with a class that has these members, and
name its reader in `kinds.TASK_KINDS`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from .donors import Donors
from .queries import Queries

Part = Literal["atomic", "trained", "test"]
"""What a split is for: facts (or less) trained by themselves, other trained questions, questions that are never trained."""
Settings = Mapping[str, Any]
"""What defines a task next to its arrays; JSON values only."""


@runtime_checkable
class Task(Protocol):
    """Questions in tokens, split into what is trained and what is tested."""

    @property
    def kind(self) -> str:
        """The name under which `TASK_KINDS` reads such a task back."""
        ...

    @property
    def splits(self) -> Mapping[str, Part]:
        """The splits' names and what each is for, in the order in which training and tables take them."""
        ...

    @property
    def id_test(self) -> str:
        """The test split whose accuracy tells memorising from generalising."""
        ...

    @property
    def ood_test(self) -> str | None:
        """The test split that the phase `ood_generalised` is about; None if there is none."""
        ...

    @property
    def shortcuts(self) -> Mapping[str, tuple[str, ...]]:
        """By name, the roles from which a shortcut guesses the answer, see `shortcut_accuracy`; may be empty."""
        ...

    @property
    def seed(self) -> int:
        """Fixes every random choice of the task, none of training."""
        ...

    @property
    def key(self) -> str:
        """A hash of all questions: equal keys, equal tasks."""
        ...

    @property
    def regime(self) -> str:
        """What training holds, in a word, for labels."""
        ...

    @property
    def about(self) -> Mapping[str, float]:
        """Further columns of a study's summary; may be empty."""
        ...

    @property
    def n_tokens(self) -> int:
        """Size of the vocabulary."""
        ...

    @property
    def n_positions(self) -> int:
        """Length of the longest prompt."""
        ...

    @property
    def one_length(self) -> bool:
        """Whether every prompt is `n_positions` long, as bidirectional models need it."""
        ...

    @property
    def n_added(self) -> int:
        """How many questions like those of `ood_test` supervision put into training; a run with any cannot grok."""
        ...

    @property
    def n_reference(self) -> int:
        """How many units `reference` draws from, at most."""
        ...

    @property
    def settings(self) -> Settings:
        """What defines the task next to its arrays."""
        ...

    def split(self, name: str) -> Queries:
        """The questions of one split.

        Raises:
            KeyError: if there is no such split.
        """
        ...

    def token_name(self, token: int) -> str:
        """What a token is called in figures."""
        ...

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens.

        Raises:
            KeyError: if the task has no such intermediate.
        """
        ...

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random trained question for each unit that is not in `without`: for means and probes."""
        ...

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> Donors:
        """Finds prompts whose states may replace those of a question.

        Args:
            intermediate: which one they have another value of.
            second_hop: `"ID"` or `"OOD"`: the status of the step that reads the intermediate.
            seed: of the choice.
        """
        ...

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are saved, in small dtypes; together with `settings` they define the task."""
        ...


def splits_for(task: Task, *parts: Part) -> list[str]:
    """The names of the splits that are for one of `parts`, in the task's order."""
    return [name for name, part in task.splits.items() if part in parts]
