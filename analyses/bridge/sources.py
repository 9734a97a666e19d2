"""What the analyses of an intermediate need of a task, or of anything else that has questions.

A task of the package fulfils these Protocols; so do a user's prompt pairs, by way of `own_pairs.OwnPairs`.
"""

from typing import Any, Protocol, runtime_checkable

from ...tasks import Donors, Queries


@runtime_checkable
class Source(Protocol):
    """What means, probes and donors need of a task, or of anything else that has questions."""

    @property
    def n_reference(self) -> int:
        """How many units `reference` draws from, at most."""
        ...

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random question for each unit that is not in `without`: for means and probes."""
        ...

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> Donors:
        """Finds prompts whose states may replace those of a question."""
        ...

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have; they are the first tokens."""
        ...


@runtime_checkable
class SplitSource(Source, Protocol):
    """A source whose questions come in named splits, as those of a task do."""

    @property
    def ood_test(self) -> str | None:
        """The split that a probe is tested on, too, since its units are others; None if there is none."""
        ...

    def split(self, name: str) -> Queries:
        """The questions of one split."""
        ...


def check_source(task: Any, kind: type, *, also: str = "") -> None:
    """Raise unless it has what is needed of a task.

    Args:
        task: what is given for one.
        kind: the Protocol that it must fulfil.
        also: what else could be given.

    Raises:
        TypeError: naming its class.
    """
    if isinstance(task, type) or not isinstance(task, kind):
        what = task.__name__ + " itself" if isinstance(task, type) else f"a {type(task).__name__}"
        what = repr(task) if isinstance(task, str) else what
        raise TypeError(f"needed is a task, such as tasks.TwoHopTask.random() or a run's task{also}, got {what}")
