"""Donors found among questions that are known: of any task whose intermediates are decided by the tokens of some roles."""

from collections.abc import Collection, Iterator, Mapping
from functools import reduce

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from ...circuits.plain_text import counted, named, one_line
from .donors import Donor
from .queries import Queries

NONE = np.zeros(0, dtype=np.int64)


class QuestionDonors:
    """Finds, for a question, others that have the same tokens at all roles but those that decide an intermediate.

    What the question should then answer follows from the other question, which asks the same of another value.

    Args:
        questions: that may be donors; all of one kind, with the roles of those that are asked.
        is_trained: which of them are in training.
        roles: whose tokens decide the intermediate.
        intermediate: its name.
        rng: draws one donor of each kind.
        may_differ: which of them may be donors of another value; by default all. The others may have the same value.

    The kinds are `held out` and `trained` (a question with another value and another answer; both with the same value),
    `same <intermediate>` (other tokens, the same value) and `other <intermediate>` (a third value and a third answer).
    `trained` and `held out` are asked for only where some of the questions are, and the last where there are three values.
    """

    def __init__(
        self,
        questions: Queries,
        is_trained: Bool[Tensor, " query"],
        roles: Collection[str],
        intermediate: str,
        rng: np.random.Generator,
        *,
        may_differ: Bool[Tensor, " query"] | None = None,
    ) -> None:
        self.questions, self.intermediate, self.rng = questions, intermediate, rng
        self.roles = tuple(role for role in questions.roles if role in roles)
        self.values, self.answers = questions.intermediates[intermediate].numpy(), questions.answers.numpy()
        self.is_trained = is_trained.numpy()
        self.may_differ = np.ones(len(questions), dtype=bool) if may_differ is None else may_differ.numpy()
        self.decides = [questions.roles.index(role) for role in self.roles]
        self.elsewhere = [place for place in range(len(questions.roles)) if place not in self.decides]
        keys, group = np.unique(questions.tokens[:, self.elsewhere].numpy(), axis=0, return_inverse=True)
        rows = np.split(np.argsort(group.reshape(-1), kind="stable"), np.cumsum(np.bincount(group.reshape(-1)))[:-1])
        self.groups = dict(zip(map(tuple, keys.tolist()), rows, strict=True)) if len(questions) else {}
        self.has_third = len(np.unique(self.values)) > 2

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield f"other {named(' '.join(self.roles))}"
        yield f"of {counted(len(self.questions), 'question')}"

    def of(self, queries: Queries, row: int) -> Donor | None:
        """The donor for a question; None if a kind is missing that is asked for."""
        tokens, answer = queries.tokens[row], int(queries.answers[row])
        value = int(queries.intermediates[self.intermediate][row])
        rows = self.groups.get(tuple(tokens[self.elsewhere].tolist()), NONE)
        values, answers, trained = self.values[rows], self.answers[rows], self.is_trained[rows]
        fits = self.may_differ[rows] & (values != value) & (answers != answer)
        possible = {"held out": fits & ~trained, "trained": fits & trained}
        status = {"held out": ~self.is_trained, "trained": self.is_trained}
        wanted = [kind for kind, some in status.items() if (some & self.may_differ).any()]
        shared = [np.unique(values[possible[kind]]) for kind in wanted]
        common = reduce(np.intersect1d, shared) if shared else np.zeros(0)
        if not len(common):
            return None
        new = self.rng.choice(common)
        new_answer = int(answers[fits & (values == new)][0])
        kinds = {kind: possible[kind] & (values == new) for kind in wanted}
        is_another = (self.questions.tokens[rows][:, self.decides] != tokens[self.decides]).any(1).numpy()
        kinds[f"same {self.intermediate}"] = (values == value) & is_another
        if self.has_third:
            kinds[f"other {self.intermediate}"] = fits & (values != new) & (answers != new_answer)
        if not all(mask.any() for mask in kinds.values()):
            return None
        chosen = {kind: int(self.rng.choice(rows[mask])) for kind, mask in kinds.items()}
        prompts = {kind: self.questions.tokens[number] for kind, number in chosen.items()}
        known = {kind: int(self.answers[number]) for kind, number in chosen.items()}
        return Donor(prompts, int(new), new_answer, known, {kind: self._asks[kind] for kind in chosen})

    @property
    def _asks(self) -> Mapping[str, str]:
        """What donors of each kind ask, in words."""
        other, name = f"another {' '.join(self.roles)}", self.intermediate
        return {
            "held out": f"{other}, never trained",
            "trained": f"{other}, trained",
            f"same {name}": f"{other}, same {name}",
            f"other {name}": f"{other}, a third {name} and answer",
        }
