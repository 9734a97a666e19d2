"""Questions in tokens, with their answers, their intermediates, and the unit by which they repeat each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.arguments import refuse, seed_problems
from ...circuits.roles import named_roles, role_problems
from .cards import queries_card, queries_line
from .rows import Rows
from .validity import (
    check,
    checked_rows,
    column_problems,
    columns_problems,
    held,
    position_problems,
    prompt_problems,
    settings_problems,
)

_BY_KEYWORD = (
    "what follows the answers is given by keyword: Queries(tokens, answers, roles=…, answer_position=…, "
    "intermediates={'bridge': …}, facts={'hop1': …, 'hop2': …}, split=…)"
)


@dataclass(frozen=True, eq=False)
class Queries(Rows):
    """Questions of one kind, one row each.

    Attributes:
        tokens: the prompts; they and all columns are kept as 64-bit numbers on the CPU.
        answers: the token to be predicted at `answer_position`.
        roles: the name of each position, without whitespace and @; whole numbers become their digits.
        answer_position: the position at which the answer is read; by default the last. Prompts of different lengths are
            padded to one: where a tokenizer that pads right leaves a pad here, the answer is read at the prompt's last real
            token, from which roles are counted back; pads at the left are hidden as in TransformerLens.
        intermediates: by name, the token of what has to be found on the way to the answer; two-hop questions have `bridge`.
        unit: the id by which intervals are clustered, since questions that share it repeat each other's states: in two-hop
            questions the first fact. By default each question is a separate unit.
        facts: by name, the numbers of the facts a question rests on; two-hop questions have `hop1` and `hop2` (−1: none).
        split: the split's name.

    Raises:
        ValueError: if the tensors do not fit together, hold no whole numbers, or a prompt or answer is below 0; all
            problems are named at once.

    >>> tokens, answers, carry = torch.tensor([[3, 9, 0]]), torch.tensor([2]), torch.tensor([1])
    >>> queries = Queries(tokens, answers, roles=("a", "b", "c"), intermediates={"carry": carry})
    >>> len(queries), queries.answer_position, list(queries.intermediates)
    (1, 2, ['carry'])
    """

    tokens: Int[Tensor, "query pos"]
    answers: Int[Tensor, " _"]  # that the sizes agree is checked below, with a message
    roles: tuple[str, ...]
    answer_position: int = -1
    intermediates: Mapping[str, Int[Tensor, " _"]] = field(default_factory=dict)
    unit: Int[Tensor, " _"] = field(default=None)  # pyright: ignore[reportAssignmentType]
    facts: Mapping[str, Int[Tensor, " _"]] = field(default_factory=dict)
    split: str = "custom"

    __no_type_check__: ClassVar[bool] = True  # what is wrong is said below, in words and all at once

    def __post_init__(self) -> None:
        if problems := prompt_problems("tokens", self.tokens):
            raise ValueError("these are no questions: " + "; ".join(problems))
        (n, n_pos), roles = self.tokens.shape, named_roles(self.roles)
        unit = torch.arange(n, device="cpu") if self.unit is None else self.unit
        mappings = {"intermediates": self.intermediates, "facts": self.facts}
        wrong_kind = [problem for name, columns in mappings.items() for problem in columns_problems(name, columns)]
        if len(wrong_kind) > 1 or isinstance(self.roles, Tensor):
            wrong_kind.append(_BY_KEYWORD)
        named = [item for columns in mappings.values() if isinstance(columns, Mapping) for item in columns.items()]
        columns = [("answers", self.answers), ("unit", unit), *named]
        size = "{n} prompts, but {found} of {what}"
        problems = [
            problem
            for name, column in columns
            for problem in column_problems(name, column, n, are_tokens=column is self.answers, wrong_size=size)
        ]
        problems += role_problems(roles, n_pos) + position_problems(self.answer_position, n_pos)
        problems += settings_problems(split=(self.split, str, "a name")) + wrong_kind
        if problems:
            raise ValueError("these are no questions: " + "; ".join(problems))
        kept = {"tokens": held(self.tokens), "answers": held(self.answers), "unit": held(unit), "roles": roles}
        kept |= {name: {k: held(c) for k, c in getattr(self, name).items()} for name in ("intermediates", "facts")}
        for name, value in (kept | {"answer_position": int(self.answer_position) % n_pos}).items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.tokens)

    __repr__, _repr_html_ = queries_line, queries_card

    @property
    def bridges(self) -> Int[Tensor, " query"]:
        """The intermediate `bridge` of two-hop questions; for an atomic fact or a zero-hop question it is the answer."""
        return _named(self.intermediates, "intermediate", "bridge")

    @property
    def hop1(self) -> Int[Tensor, " query"]:
        """The number of the first fact of two-hop questions in the task's graph, or −1 for a zero-hop question."""
        return _named(self.facts, "fact", "hop1")

    @property
    def hop2(self) -> Int[Tensor, " query"]:
        """The number of the second fact of two-hop questions, or −1 for an atomic or zero-hop question."""
        return _named(self.facts, "fact", "hop2")

    @property
    def n_units(self) -> int:
        """How many different units there are."""
        return len(self.unit.unique())

    def take(self, rows: Int[Tensor, " row"] | Bool[Tensor, " query"]) -> "Queries":
        """The queries of the given rows (numbers or a mask), in that order.

        Raises:
            ValueError: for rows that there are not.
        """
        rows = checked_rows(rows, len(self))
        return replace(
            self,
            tokens=self.tokens[rows],
            answers=self.answers[rows],
            intermediates={name: column[rows] for name, column in self.intermediates.items()},
            unit=self.unit[rows],
            facts={name: column[rows] for name, column in self.facts.items()},
        )

    def check_against(self, model: Any, *, intermediates: Sequence[str] = (), roles: Sequence[str] = ()) -> None:
        """Raise unless there is a question and the model has all tokens and positions, see `validity.check`.

        Args:
            model: a HookedTransformer, or anything with its `cfg`.
            intermediates: those that must be there, as tokens that the model can answer.
            roles: those that must be there.
        """
        check(model, self, intermediates=intermediates, roles=roles)

    def halves(self) -> tuple["Queries", "Queries"]:
        """Every other query, and the rest: one half to choose on, the other to report."""
        rows = torch.arange(len(self), device="cpu")
        return self.take(rows[::2]), self.take(rows[1::2])

    def one_per_unit(self, *, seed: int, without: frozenset[int] = frozenset()) -> "Queries":
        """A random question of each unit, in the units' order, leaving some units out."""
        refuse(seed_problems(seed))
        order = np.random.default_rng(seed).permutation(len(self))
        units, first = np.unique(self.unit.numpy()[order], return_index=True)
        return self.take(torch.from_numpy(order[first[~np.isin(units, list(without))]]))


def _named(columns: Mapping[str, Int[Tensor, " query"]], what: str, name: str) -> Int[Tensor, " query"]:
    if name not in columns:
        raise KeyError(f"these questions have no {what} {name!r}; there is {', '.join(columns) or 'none'}")
    return columns[name]
