"""A task of one's own, made of questions: what each split is for, and which roles decide an intermediate.

The rest of what a `Task` must offer follows from these: units, reference questions, pairs, donors, files. A task that knows
more than its questions, as two-hop questions know their facts, is a class of its own.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ...circuits.arguments import choice_problems, is_one_of, is_whole, make_native, refuse, seed_problems, shortly
from ...circuits.same_content import ByContent
from .cards import questions_card, questions_line
from .contrasts import Contrast
from .given import split_problems
from .queries import Queries
from .question_donors import QuestionDonors
from .question_facts import other_answers, with_answer, with_facts
from .question_validity import content_problems, kind_problems
from .saved_questions import arrays_of, parts_from, settings_of
from .task import Part, Settings

NOTHING: Mapping[str, float] = {}


@dataclass(frozen=True, eq=False)
class QuestionTask(ByContent):
    """Questions, split into what is trained and what is tested.

    Attributes:
        questions: by split, what it is for (`atomic`, `trained` or `test`) and its questions, in the order in which training
            and tables take them. Trained and tested ones have the same roles, answer position and intermediates; atomic ones
            may be shorter. Values of intermediates are tokens. Units are numbered anew, over all splits: questions are of
            one unit if they have the same tokens at the roles that decide the first intermediate (all roles, if none is
            decided).
        decided_by: by intermediate, the roles whose tokens decide its value. Given the tokens elsewhere, the value must
            decide the answer. Intermediates that are not named here can be read, but not exchanged. Atomic questions at just
            these roles are the facts that longer ones rest on, unless facts are named.
        id_test: the test split whose accuracy tells memorising from generalising; by default the first that is not
            `ood_test`.
        ood_test: the test split that the phase `ood_generalised` is about, whose questions are paired with each other only.
        shortcuts: by name, the roles from which a shortcut guesses the answer, see `shortcut_accuracy`.
        token_names: what tokens are called in figures; by default their numbers.
        n_tokens: size of the vocabulary; by default that of `token_names`, or what the questions need.
        regime: what training holds, in a word, for labels.
        seed: of the order in which evaluations ask trained questions.

    Raises:
        ValueError: if these are no questions of one kind, a question is there twice, such as trained and tested, or one
            speaks against `decided_by`; all problems at once.

    >>> a, b, c = torch.cartesian_prod(*[torch.arange(10)] * 3).T
    >>> carry = (a + b) // 10
    >>> prompts, answers = torch.stack([a, b, c], 1), (c + carry) % 10
    >>> sums = Queries(prompts, answers, roles=("a", "b", "c"), intermediates={"carry": carry})
    >>> splits = {"sums": ("trained", sums[::2]), "new_sums": ("test", sums[1::2])}
    >>> task = QuestionTask(splits, decided_by={"carry": ("a", "b")})
    >>> task.id_test, task.n_tokens, task.n_values("carry"), list(task.contrasts)
    ('new_sums', 10, 2, ['carry', 'a', 'b', 'c'])
    """

    questions: Mapping[str, tuple[Part, Queries]]
    decided_by: Mapping[str, Sequence[str]] = field(default_factory=dict)
    id_test: str = field(default=None)  # pyright: ignore[reportAssignmentType]
    ood_test: str | None = None
    shortcuts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_names: Sequence[str] | None = None
    n_tokens: int = field(default=None)  # pyright: ignore[reportAssignmentType]
    regime: str = "questions"
    seed: int = 0
    kind = "questions"
    about = NOTHING
    n_added = 0
    __no_type_check__: ClassVar[bool] = True  # what is wrong is said below, in words and all at once

    def __post_init__(self) -> None:
        make_native(self, "id_test", "ood_test", "n_tokens", "regime", "seed")
        _refuse(kind_problems(self))
        splits: dict[str, tuple[Any, Queries]]
        splits = {name: (part, replace(queries, split=name)) for name, (part, queries) in self.questions.items()}
        changed: dict[str, Any] = {"questions": splits}
        for name in ("decided_by", "shortcuts"):
            changed[name] = {key: tuple(roles) for key, roles in getattr(self, name).items()}
        changed["token_names"] = self.token_names and tuple(self.token_names)
        tests = [name for name, (part, _) in splits.items() if part == "test" and name != self.ood_test]
        changed["id_test"] = next(iter(tests), "") if self.id_test is None else self.id_test
        changed["n_tokens"] = self.n_tokens or len(self.token_names or ()) or _n_needed(splits)
        for name, value in changed.items():
            object.__setattr__(self, name, value)
        _refuse(content_problems(self))
        units = _with_units(splits, next(iter(self.decided_by.values()), self._roles))
        object.__setattr__(self, "questions", with_facts(units, self.decided_by))

    __repr__, _repr_html_ = questions_line, questions_card
    fact_values, with_fact = other_answers, with_answer

    @property
    def splits(self) -> Mapping[str, Part]:
        """The splits' names and what each is for."""
        return {name: part for name, (part, _) in self.questions.items()}

    def split(self, name: str) -> Queries:
        """The questions of one split.

        Raises:
            KeyError: if there is no such split; the message lists them.
        """
        refuse([], unknown=split_problems(name, self.questions))
        return self.questions[name][1]

    @property
    def n_positions(self) -> int:
        """Length of the longest prompt."""
        return max(len(queries.roles) for _, queries in self.questions.values())

    @property
    def one_length(self) -> bool:
        """Whether every prompt is `n_positions` long."""
        return len({len(queries.roles) for _, queries in self.questions.values()}) == 1

    @property
    def n_reference(self) -> int:
        """How many units are trained."""
        return self._trained.n_units

    def token_name(self, token: int) -> str:
        """What a token is called in figures."""
        if not is_whole(token) or not 0 <= token < self.n_tokens:
            raise ValueError(f"token is {shortly(token)}, the tokens of this task are 0 to {self.n_tokens - 1}")
        return str(int(token)) if self.token_names is None else self.token_names[token]

    def n_values(self, intermediate: str) -> int:
        """How many values an intermediate can have: those up to the largest that a question has.

        Raises:
            KeyError: if the questions carry no such intermediate.
        """
        refuse([], unknown=self._unknown(intermediate))
        return int(self.composed.intermediates[intermediate].max()) + 1

    def reference(self, *, seed: int, without: frozenset[int] = frozenset()) -> Queries:
        """A random trained question for each unit that is not in `without`: for means and probes."""
        return self._trained.one_per_unit(seed=seed, without=without)

    @property
    def unit_facts(self) -> Mapping[str, str]:
        """What concerns an intermediate that is not the first that is decided is clustered by its facts, if it has any."""
        facts, (_, *later) = self.composed.facts, tuple(self.decided_by) or ("",)
        return {name: name for name in later if name in facts}

    @property
    def contrasts(self) -> Mapping[str, Contrast]:
        """By intermediate, that all tokens that decide it differ, and so does it; by role, that its token differs."""
        tokens = self.composed.tokens
        varies = (tokens != tokens[:1]).any(0).tolist()
        alone = {role: Contrast((role,)) for role, does in zip(self._roles, varies, strict=True) if does}
        return {name: Contrast(tuple(roles), differs=(name,)) for name, roles in self.decided_by.items()} | alone

    @property
    def pair_recipe(self) -> Mapping[str, str]:
        """What pairs keep: the task's key."""
        return {"task": self.key}

    def fact_status(self, queries: Queries) -> Int[Tensor, " query"]:
        """1 for the questions of `ood_test`, 0 for all others."""
        return torch.full((len(queries),), int(queries.split == self.ood_test), device="cpu")

    def donors(self, *, intermediate: str, second_hop: str, seed: int) -> QuestionDonors:
        """Finds other trained or tested questions, see `QuestionDonors`; of any `second_hop`, which questions do not know.

        Raises:
            ValueError: if no roles are said to decide the intermediate.
        """
        unknown = self._unknown(intermediate)
        undecided = [
            f"no roles decide {shortly(intermediate)}: name them, as in decided_by={{{intermediate!r}: ('a', 'b')}}"
        ]
        problems = [] if unknown or intermediate in self.decided_by else undecided
        refuse(problems + choice_problems(second_hop=(second_hop, ("ID", "OOD"))) + seed_problems(seed), unknown=unknown)
        is_trained = torch.arange(len(self.composed), device="cpu") < len(self._trained)
        roles, rng = self.decided_by[intermediate], np.random.default_rng(seed)
        return QuestionDonors(self.composed, is_trained, roles, intermediate, rng)

    @property
    def key(self) -> str:
        """A hash of questions and settings: equal keys, equal tasks."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(json.dumps(self.settings).encode())
        for name, array in self.to_arrays().items():
            digest.update(f"{name} {array.shape} ".encode() + np.ascontiguousarray(array, dtype="<i8").tobytes())
        return digest.hexdigest()[:12]

    @property
    def settings(self) -> Settings:
        """What a saved run says of the task next to its arrays."""
        return settings_of(self)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Tokens, answers, intermediates and facts of each split, in the smallest integers that they fit in."""
        return arrays_of(self.questions)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], settings: Settings) -> "QuestionTask":
        """Read back what `to_arrays` and `settings` gave.

        Raises:
            ValueError: if they are no such task; all that is missing or wrong is named.
        """
        return cls(**parts_from(arrays, settings))

    @property
    def _roles(self) -> tuple[str, ...]:
        """Those of trained and tested questions."""
        return next(queries.roles for part, queries in self.questions.values() if part != "atomic")

    def _unknown(self, intermediate: str) -> list[str]:
        known = self.composed.intermediates
        there = ", ".join(known) or "none"
        return [] if is_one_of(intermediate, known) else [f"no intermediate {shortly(intermediate)}; there is {there}"]

    @cached_property
    def _trained(self) -> Queries:
        """All trained questions that are not atomic."""
        return _joined([queries for part, queries in self.questions.values() if part == "trained"])

    @cached_property
    def composed(self) -> Queries:
        """Trained questions that are not atomic, and after them those that are tested."""
        return _joined([self._trained, *(queries for part, queries in self.questions.values() if part == "test")])


def _refuse(problems: list[str]) -> None:
    refuse(["these questions are no task: " + "; ".join(problems)] if problems else [])


def _n_needed(splits: Mapping[str, tuple[Part, Queries]]) -> int:
    """How many tokens there are up to the largest that is asked, answered or on the way."""
    columns = [c for _, each in splits.values() for c in (each.tokens, each.answers, *each.intermediates.values())]
    return 1 + max((int(column.max()) for column in columns if column.numel()), default=0)


def _with_units(splits: Mapping[str, tuple[Part, Queries]], roles: Sequence[str]) -> dict[str, tuple[Part, Queries]]:
    """The questions with the numbers of what they have at some roles; those that lack one are units of their own."""
    has = {name: set(roles) <= set(queries.roles) for name, (_, queries) in splits.items()}
    asked = {name: each.tokens[:, [each.roles.index(r) for r in roles]] for name, (_, each) in splits.items() if has[name]}
    found, numbers = torch.cat([*asked.values()]).unique(dim=0, return_inverse=True)
    units = dict(zip(asked, numbers.split([len(tokens) for tokens in asked.values()]), strict=True))
    n = len(found)
    for name, (_, queries) in splits.items():
        if not has[name]:
            units[name] = torch.arange(n, n := n + len(queries), device="cpu")
    return {name: (part, replace(queries, unit=units[name])) for name, (part, queries) in splits.items()}


def _joined(parts: Sequence[Queries]) -> Queries:
    """Questions of the same kind, one after the other."""
    first = parts[0]
    return replace(
        first,
        tokens=torch.cat([each.tokens for each in parts]),
        answers=torch.cat([each.answers for each in parts]),
        intermediates={name: torch.cat([each.intermediates[name] for each in parts]) for name in first.intermediates},
        unit=torch.cat([each.unit for each in parts]),
        facts={name: torch.cat([each.facts[name] for each in parts]) for name in first.facts if _all_have(parts, name)},
    )


def _all_have(parts: Sequence[Queries], fact: str) -> bool:
    return all(fact in each.facts for each in parts)
