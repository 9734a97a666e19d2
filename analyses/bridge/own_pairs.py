"""A user's prompts, whatever their roles and the name of their intermediate, in place of a task and its questions.

Questions (`Queries`) are enough to read an intermediate. To intervene, prompt pairs take the task's place: half of their
units are asked, the other half gives mean states and probes, and donors are made of other pairs.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from ...tasks import PromptPairs, Queries
from ...tasks.questions.given import queries_problems
from ...tasks.questions.validity import outputs_of, taken_problems, vocabulary_problems
from ...tasks.transformerlens import Model
from ..forward.model import check_model
from .bridge_means import MIN_UNITS_FOR_MEAN
from .pair_donors import PairDonors, broken_assumptions
from .questions import halves_by_unit
from .sources import Source, check_source, with_units

RANDOM = "random"  # in tables, what stands next to the intermediate as control


@dataclass(frozen=True, eq=False)
class OwnPairs:
    """Prompt pairs as a source: their clean prompts are questions, and donors are made of other pairs.

    Attributes:
        pairs: with intermediates on both sides.
        intermediate: the one that is examined.
    """

    pairs: PromptPairs
    intermediate: str

    @classmethod
    def of(cls, model: Model, pairs: PromptPairs, intermediate: str | None) -> "OwnPairs":
        """Check pairs before any work is done with them.

        Raises:
            ValueError: with all problems at once.
        """
        check_model(model)
        pairs.check_against(model)
        name = intermediate_of(pairs, intermediate)
        if name not in pairs.corrupt_intermediates:
            raise ValueError(
                f"the corrupt prompts carry no {name}; give corrupt_intermediates={{{name!r}: tokens}}, one for each pair"
            )
        own = cls(pairs, name)
        sides = {"clean": pairs.intermediates[name], "corrupt": pairs.corrupt_intermediates[name]}
        problems = [
            *vocabulary_problems({f"{name} of the {side} prompts": v for side, v in sides.items()}, outputs_of(model.cfg)),
            *own._problems(),
        ]
        if problems:
            raise ValueError("these pairs cannot be examined: " + "; ".join(problems))
        return own

    @property
    def questions(self) -> Queries:
        """The clean prompts; the fact `pair` is the number of the pair that each comes from."""
        return replace(self.pairs.queries(), facts={"pair": torch.arange(len(self.pairs), device="cpu")})

    @property
    def n_reference(self) -> int:
        """How many units the clean prompts have."""
        return self.questions.n_units

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random clean prompt for each unit that is not in `without`."""
        return self.questions.one_per_unit(seed=seed, without=without)

    def asked(self, *, seed: int) -> Queries:
        """The questions of one half of the units; those of the other half are left for means."""
        return halves_by_unit(self.questions, seed=seed)[0]

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> PairDonors:
        """Finds prompts of other pairs; pairs do not know what `second_hop` asks for."""
        return PairDonors(self.pairs, intermediate, np.random.default_rng(seed))

    def n_values(self, intermediate: str) -> int:
        """One more than the largest token that is a value of the intermediate."""
        sides = self.pairs.intermediates[intermediate], self.pairs.corrupt_intermediates[intermediate]
        return 1 + int(torch.cat(sides).max())

    def _problems(self) -> list[str]:
        """Why interventions on the intermediate cannot be made or interpreted."""
        pairs, name = self.pairs, self.intermediate
        problems, needed = [], 2 * MIN_UNITS_FOR_MEAN
        units = {
            value: len(pairs.unit[pairs.intermediates[name] == value].unique())
            for value in pairs.intermediates[name].unique().tolist()
        }
        if sum(n >= needed for n in units.values()) < 2:
            found = ", ".join(f"{n} with {name} {value}" for value, n in units.items())
            problems.append(
                f"too few units: half are asked, half give mean states, so two values of {name} need {needed} each; "
                f"there are {found or 'none'}"
            )
        if torch.equal(pairs.intermediates[name], pairs.corrupt_intermediates[name]):
            problems.append(f"every pair has the same {name} on both sides")
        return problems + broken_assumptions(pairs, name)


class Setting(NamedTuple):
    """Which questions are asked about which intermediate, and where means and donors come from."""

    source: Source
    queries: Queries
    intermediate: str


def setting(
    model: Model,
    source: Source | PromptPairs,
    queries: Queries | None,
    intermediate: str | None,
    *,
    seed: int,
) -> Setting:
    """A task with questions to ask, or pairs, of which one half is asked.

    Raises:
        TypeError: if questions are missing next to a task, or given next to pairs.
        ValueError: if pairs or queries do not fit the model or there are none, or the intermediate is unknown.
    """
    if isinstance(source, PromptPairs):
        if queries is not None:
            raise TypeError("pairs hold their questions: give a task and queries, or pairs alone")
        own = OwnPairs.of(model, source, intermediate)
        return Setting(own, own.asked(seed=seed), own.intermediate)
    check_source(source, Source, also=", or prompt pairs")
    if queries is None:
        raise TypeError("a task has many questions: give the queries to ask, or prompt pairs in place of the task")
    check_model(model)
    name = intermediate_of(queries, intermediate)
    queries.check_against(model, intermediates=[name])
    return Setting(*with_units(source, queries, name), name)


def given_problems(queries: Queries | None) -> list[str]:
    """What is wrong with the questions to ask; pairs come without, see `setting`."""
    return [] if queries is None else queries_problems(queries=queries)


def questions_of(given: Queries | PromptPairs) -> Queries:
    """Questions, or the clean prompts of pairs.

    Raises:
        ValueError: if they carry no intermediate.
    """
    queries = given.queries() if isinstance(given, PromptPairs) else given
    if not queries.intermediates:
        raise ValueError(_none_given(given))
    return queries


def intermediate_of(given: Queries | PromptPairs, name: str | None) -> str:
    """The name of the intermediate to examine; the only one there is, unless it is named.

    Raises:
        ValueError: if there is none, none of that name, or several and none is named; or if it is called as the control.
    """
    names = list(given.intermediates)
    if not names:
        raise ValueError(_none_given(given))
    if name is None and len(names) > 1:
        raise ValueError(f"there are the intermediates {', '.join(names)}: choose one, as in intermediate={names[0]!r}")
    if name is not None and name not in names:
        raise ValueError(f"no intermediate {name!r}; there is {', '.join(names)}")
    chosen = name or names[0]
    if problems := taken_problems("an intermediate", [chosen], [RANDOM], by="is the control's name"):
        raise ValueError("; ".join(problems))
    return chosen


def _none_given(given: Queries | PromptPairs) -> str:
    kind, say = type(given).__name__, "intermediates={'carry': tokens}"
    of_pairs = (
        "and corrupt_intermediates" if isinstance(given, PromptPairs) else f"or PromptPairs(..., {say}) if they are pairs'"
    )
    return f"these {kind} carry no intermediate: give {kind}(..., {say}), a token for each, {of_pairs}"
