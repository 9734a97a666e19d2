"""What an edit of a fact is, and which questions rest on that fact, at which place, from the task alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...tasks import Queries
from ...tasks.questions.editable import Editable
from ...tasks.questions.task import splits_for

ENOUGH = 3  # questions whose answer changes, at each place, for a new value to be taken
TRIED = 20  # new values, of which otherwise the one with most such questions is taken


@dataclass(frozen=True, eq=False)
class FactEdit:
    """A fact that is to be changed.

    Attributes:
        fact: its number.
        atomic: the one question that asks for it, with the old answer.
        value: the new answer.
    """

    fact: int
    atomic: Queries
    value: int

    @property
    def old(self) -> int:
        """The answer so far."""
        return int(self.atomic.answers[0])

    @property
    def edited(self) -> Queries:
        """The atomic question with the new answer."""
        return replace(self.atomic, answers=torch.tensor([self.value], device="cpu"))


@dataclass(frozen=True, eq=False)
class Dependents:
    """Questions of one split that rest on a changed fact at one place and whose answer changes with it.

    Attributes:
        place: the column of `Queries.facts` in which the fact stands.
        rows: their places in the split.
        before, after: the same prompts with old and with new answers, intermediates and facts.
        value: the fact's new answer.
    """

    place: str
    value: int
    rows: Int[Tensor, " query"]
    before: Queries
    after: Queries

    def __len__(self) -> int:
        return len(self.before)

    def apart_from(self, fact: int) -> "Dependents":
        """The questions that rest on another fact neither before nor after."""
        rows = ~(resting_on(self.before, fact) | resting_on(self.after, fact))
        return replace(self, rows=self.rows[rows], before=self.before.take(rows), after=self.after.take(rows))

    @property
    def split(self) -> str:
        """Of the questions."""
        return self.before.split

    @property
    def intermediate(self) -> str | None:
        """The intermediate that is the changed fact's value; None if its value is the answer."""
        olds, news = self.before.intermediates, self.after.intermediates
        took = [name for name, now in news.items() if bool(((now == self.value) & (now != olds[name])).all())]
        return took[0] if took else None


def facts_by_split(task: Editable) -> Mapping[str, Queries]:
    """The atomic splits whose questions rest on facts."""
    found = {name: task.split(name) for name in splits_for(task, "atomic")}
    return {name: queries for name, queries in found.items() if any(bool((c >= 0).any()) for c in queries.facts.values())}


def composed_by_split(task: Editable) -> Mapping[str, Queries]:
    """The other splits whose questions rest on facts, those in training and those for tests."""
    found = {name: task.split(name) for name in splits_for(task, "trained", "test")}
    return {name: queries for name, queries in found.items() if len(queries) and queries.facts}


def fact_of(atomic: Queries) -> Int[Tensor, " query"]:
    """The number of the fact that each atomic question asks for."""
    return torch.stack(list(atomic.facts.values())).amax(0)


def resting_on(queries: Queries, fact: int) -> Bool[Tensor, " query"]:
    """Which questions rest on a fact, at any place."""
    return torch.stack([column == fact for column in queries.facts.values()]).any(0)


def dependents(task: Editable, composed: Mapping[str, Queries], fact: int, value: int) -> list[Dependents]:
    """The questions of each split whose answer changes with a fact, by the place at which they rest on it.

    Left out are those that then have no answer, that rest on the fact at several places, before or after, or at another.
    """
    found = []
    for queries in composed.values():
        rows = resting_on(queries, fact).nonzero()[:, 0]
        if not len(rows):
            continue
        before = queries.take(rows)
        after = task.with_fact(before, fact=fact, value=value)
        kept = _rows_of(before, after)
        rows, before = rows[kept], before.take(kept)
        changed = before.answers != after.answers
        for place in before.facts:
            at_place = changed & _only_at(before, place, fact) & _only_at(after, place, fact)
            if at_place.any():
                found.append(Dependents(place, value, rows[at_place], before.take(at_place), after.take(at_place)))
    return found


def _rows_of(before: Queries, after: Queries) -> Int[Tensor, " kept"]:
    """Where the prompts of `after` are in `before`."""
    row_of = {tuple(prompt): row for row, prompt in enumerate(before.tokens.tolist())}
    return torch.tensor([row_of[tuple(prompt)] for prompt in after.tokens.tolist()], dtype=torch.long, device="cpu")


def _only_at(queries: Queries, place: str, fact: int) -> Bool[Tensor, " query"]:
    """Which questions rest on a fact at this place and at no other."""
    at = torch.stack([column == fact for column in queries.facts.values()])
    return (queries.facts[place] == fact) & (at.sum(0) == 1)


def choose_edits(
    task: Editable, asked: Sequence[Queries], composed: Mapping[str, Queries], n_edits: int, *, seed: int
) -> list[FactEdit]:
    """Random facts with random new values.

    Of each split of facts that many are drawn, among those on which some other question rests. The new value is the first
    at random with which at least `ENOUGH` answers change at every place where the fact is used; if none of `TRIED` has so
    many, the one with most at the place that has fewest.

    Args:
        task: whose facts they are.
        asked: the atomic questions that may be drawn, of each split.
        composed: the other questions, by split.
        n_edits: how many of each split, at most.
        seed: of the choice.
    """
    edits = []
    for number, queries in enumerate(asked):
        rng = np.random.default_rng([seed, number])
        of_split: list[FactEdit] = []
        for row in rng.permutation(len(queries)):
            if len(of_split) == n_edits:
                break
            atomic = queries.take(torch.tensor([int(row)], device="cpu"))
            fact = int(fact_of(atomic)[0])
            value = _new_value(task, composed, fact, rng)
            of_split += [] if value is None else [FactEdit(fact, atomic, value)]
        edits += of_split
    return edits


def _new_value(task: Editable, composed: Mapping[str, Queries], fact: int, rng: np.random.Generator) -> int | None:
    resting = {name: queries.take(rows) for name, queries in composed.items() if (rows := resting_on(queries, fact)).any()}
    used = {place for queries in resting.values() for place in queries.facts if (queries.facts[place] == fact).any()}
    best, most = None, 0
    for value in rng.permutation(task.fact_values(fact))[:TRIED].tolist():
        found = dependents(task, resting, fact, value)
        fewest = min((sum(len(each) for each in found if each.place == place) for place in used), default=0)
        if fewest > most:
            best, most = value, fewest
        if most >= ENOUGH:
            break
    return best


def joined(parts: Sequence[Queries]) -> Queries:
    """Questions of one kind, one after the other."""

    def together(columns: Iterator[Tensor]) -> Tensor:
        return torch.cat(list(columns))

    return replace(
        parts[0],
        tokens=together(each.tokens for each in parts),
        answers=together(each.answers for each in parts),
        unit=together(each.unit for each in parts),
        intermediates={name: together(each.intermediates[name] for each in parts) for name in parts[0].intermediates},
        facts={name: together(each.facts[name] for each in parts) for name in parts[0].facts},
    )
