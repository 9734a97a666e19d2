"""Facts of a task of one's own: atomic questions for an intermediate of longer ones, and what follows if one changes.

An atomic question is a fact if its roles are those that decide an intermediate, and its answer is the value. A longer
question rests on it if it has the same tokens there. So facts need no numbers of the user's, and can be changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from ...circuits.arguments import refuse, whole_problems
from .given import queries_problems
from .queries import Queries
from .task import Part

if TYPE_CHECKING:
    from .question_task import QuestionTask

Splits = Mapping[str, tuple[Part, Queries]]
NO_FACT = -1


def with_facts(splits: Splits, decided_by: Mapping[str, Sequence[str]]) -> Splits:
    """The questions with the facts that they rest on, by intermediate; as they are where the user named some."""
    facts = {name: _facts(splits, name, tuple(roles)) for name, roles in decided_by.items()}
    facts = {name: numbers for name, numbers in facts.items() if numbers}
    if not facts or any(queries.facts for _, queries in splits.values()):
        return splits
    found: dict[str, tuple[Part, Queries]] = {}
    for split, (part, queries) in splits.items():
        columns = {name: _rest_on(queries, tuple(decided_by[name]), name, numbers) for name, numbers in facts.items()}
        found[split] = part, replace(queries, facts=columns)
    return found


def _facts(splits: Splits, name: str, roles: tuple[str, ...]) -> dict[tuple[int, ...], tuple[int, int]]:
    """By the tokens of an atomic question for an intermediate, its number, counted over all atomic ones, and its answer."""
    found, n = {}, 0
    for part, queries in splits.values():
        if part == "atomic" and queries.roles == roles:
            rows = zip(map(tuple, queries.tokens.tolist()), queries.answers.tolist(), strict=True)
            found |= {tokens: (number, answer) for number, (tokens, answer) in enumerate(rows, start=n)}
        n += len(queries) if part == "atomic" else 0
    return found


def _rest_on(
    queries: Queries, roles: tuple[str, ...], name: str, facts: Mapping[tuple[int, ...], tuple[int, int]]
) -> Int[Tensor, " query"]:
    """The number of the fact that each question rests on for an intermediate."""
    if not set(roles) <= set(queries.roles):
        return torch.full((len(queries),), NO_FACT, device="cpu")
    tokens = queries.tokens[:, [queries.roles.index(role) for role in roles]].tolist()
    values = queries.intermediates.get(name, queries.answers).tolist()
    known = (facts.get(tuple(key), (NO_FACT, -1)) for key in tokens)
    return torch.tensor(
        [n if said == value else NO_FACT for (n, said), value in zip(known, values, strict=True)], device="cpu"
    )


def other_answers(task: "QuestionTask", fact: int) -> Int[np.ndarray, " value"]:
    """`Editable.fact_values`: the values that the intermediate has in other questions."""
    name, value = _asked(task, fact)
    values = np.unique(task.composed.intermediates[name].numpy())
    return values[values != value]


def with_answer(task: "QuestionTask", queries: Queries, *, fact: int, value: int) -> Queries:
    """`Editable.with_fact`: what another question says that has the value and the same tokens elsewhere."""
    problems = queries_problems(queries=queries) + whole_problems(0, most=task.n_tokens - 1, value=value)
    refuse(problems + _fact_problems(task, fact))
    name, _ = _asked(task, fact)
    rests = queries.facts[name] == fact
    if queries.roles != task.composed.roles:
        columns = {key: torch.where(rests, value, column) for key, column in queries.intermediates.items()}
        return replace(queries, answers=torch.where(rests, value, queries.answers), intermediates=columns)
    known, elsewhere = task.composed, [i for i, role in enumerate(queries.roles) if role not in task.decided_by[name]]
    has_value = (known.intermediates[name] == value).nonzero()[:, 0]
    row_of = dict(zip(map(tuple, known.tokens[has_value][:, elsewhere].tolist()), has_value.tolist(), strict=True))
    says = [row_of.get(tuple(tokens), -1) for tokens in queries.tokens[:, elsewhere].tolist()]
    source = torch.tensor(says, dtype=torch.long, device="cpu")
    kept = ~rests | (source >= 0)
    return _as_said(queries.take(kept), known.take(source[kept].clamp(min=0)), rests[kept])


def _as_said(queries: Queries, others: Queries, rests: Bool[Tensor, " query"]) -> Queries:
    """Questions with the answers and intermediates of others, where they rest on what changed."""
    columns = {key: torch.where(rests, others.intermediates[key], each) for key, each in queries.intermediates.items()}
    return replace(queries, answers=torch.where(rests, others.answers, queries.answers), intermediates=columns)


def _asked(task: "QuestionTask", fact: int) -> tuple[str, int]:
    """The intermediate that a fact is a value of, and the value.

    Raises:
        ValueError: if there is no such fact.
    """
    refuse(_fact_problems(task, fact))
    for queries in _atomic(task):
        for name, numbers in queries.facts.items():
            if (found := (numbers == fact).nonzero()[:, 0].tolist()) and name in task.decided_by:
                return name, int(queries.answers[found[0]])
    raise ValueError(f"atomic question {fact} asks for no intermediate, which decided_by would name")


def _atomic(task: "QuestionTask") -> list[Queries]:
    return [queries for part, queries in task.questions.values() if part == "atomic"]


def _fact_problems(task: "QuestionTask", fact: int) -> list[str]:
    return whole_problems(0, most=max(0, sum(map(len, _atomic(task))) - 1), fact=fact)
