"""What the analyses of an intermediate need of a task, or of anything else that has questions.

A task of the package fulfils these Protocols; so do a user's prompt pairs, by way of `own_pairs.OwnPairs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from ...tasks import Donors, Queries

BRIDGE = "bridge"
"""The intermediate of two-hop questions."""


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


@runtime_checkable
class WithFacts(Protocol):
    """A source of several intermediates, whose questions repeat each other by other facts for each."""

    @property
    def unit_facts(self) -> Mapping[str, str]:
        """By intermediate, the name of the facts that are its units, where these are not the units of the questions."""
        ...


@dataclass(frozen=True, eq=False)
class UnitsOf:
    """A source whose units are the facts of one name."""

    source: Any
    fact: str

    @cached_property
    def n_reference(self) -> int:
        """How many units its reference questions have."""
        return len(self.reference(seed=0))

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """One of the source's reference questions for each unit that is not in `without`."""
        return by_fact(self.source.reference(seed=seed), self.fact).one_per_unit(seed=seed, without=without)

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> Donors:
        """Those of the source."""
        return self.source.donors(intermediate=intermediate, second_hop=second_hop, seed=seed)

    def n_values(self, intermediate: str) -> int:
        """As many as in the source."""
        return self.source.n_values(intermediate)


def by_fact(queries: Queries, fact: str) -> Queries:
    """The questions with the facts of one name as units."""
    return replace(queries, unit=queries.facts[fact])


def unit_facts(source: Any) -> Mapping[str, str]:
    """By intermediate, the name of its units, see `WithFacts`; of most tasks, and of pairs, there are none."""
    return source.unit_facts if isinstance(source, WithFacts) else {}


def with_units(source: Any, queries: Queries, intermediate: str) -> tuple[Any, Queries]:
    """The source and the questions with the units of an intermediate."""
    fact = unit_facts(source).get(intermediate)
    return (source, queries) if fact is None else (UnitsOf(source, fact), by_fact(queries, fact))


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
