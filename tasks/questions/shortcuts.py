"""What a model could score without composing: the most frequent training answer given part of the question.

On the data of He et al. 2026 the last relation alone predicts about .6 of the answers of one fine-tuning cell, so an
accuracy means something only next to these floors.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from ...circuits.arguments import refuse
from .given import queries_problems
from .queries import Queries
from .task import Task, splits_for
from .validity import missing_problems

SHORTCUTS = {"r2": ("r2",), "r1 r2": ("r1", "r2"), "h r2": ("h", "r2")}
"""The roles that a shortcut of two-hop questions looks at, by its name."""


def shortcut_accuracy(task: Task, queries: Queries) -> dict[str, float]:
    """Accuracy of each majority shortcut of a task, learned from its trained questions of the same kind.

    Ties go to the smaller token; a part never seen in training counts as wrong. NaN where there is no query. Shortcuts that
    look at roles which only other questions of the task have are left out.

    Args:
        task: whose shortcuts and trained questions count.
        queries: what is asked.

    Raises:
        ValueError: if questions lack a role of every shortcut.
    """
    solved = _solved_by_shortcuts(task, queries)
    return {name: float(right.double().mean()) for name, right in solved.items()}


def unsolved_by_shortcuts(task: Task, queries: Queries) -> Bool[Tensor, " query"]:
    """Which questions no majority shortcut of a task answers right, see `shortcut_accuracy`: of a task without any, all.

    Args:
        task: whose shortcuts and trained questions count.
        queries: what is asked.

    Raises:
        ValueError: if questions lack a role of every shortcut.

    >>> from grokscope import tasks
    >>> task = tasks.TwoHopTask.random(n_entities=20, n_relations=8, out_degree=5, seed=0)
    >>> questions = task.split("test_inferred_iid")
    >>> hard = questions.take(tasks.unsolved_by_shortcuts(task, questions))
    >>> max(tasks.shortcut_accuracy(task, hard).values())
    0.0
    """
    solved = _solved_by_shortcuts(task, queries)
    unsolved = torch.ones(len(queries), dtype=torch.bool, device="cpu")
    for right in solved.values():
        unsolved &= ~right
    return unsolved


def _solved_by_shortcuts(task: Task, queries: Queries) -> dict[str, Bool[Tensor, " query"]]:
    """By shortcut, which questions it answers right."""
    refuse(queries_problems(queries=queries))
    possible = {name: roles for name, roles in task.shortcuts.items() if set(roles) <= set(queries.roles)}
    if task.shortcuts and not possible:
        wanted = {role for roles in task.shortcuts.values() for role in roles}
        problems = missing_problems("role", sorted(wanted), queries.roles)
        raise ValueError(f"the shortcuts of this task cannot be asked {queries.split}: " + "; ".join(problems))
    splits = [task.split(name) for name in splits_for(task, "trained")]
    trained = [split for split in splits if split.roles == queries.roles]
    return {name: _is_solved(trained, queries, roles) for name, roles in possible.items()}


def _is_solved(trained: Sequence[Queries], queries: Queries, roles: Sequence[str]) -> Bool[Tensor, " query"]:
    """Which answers are the most frequent ones of the trained questions with the same tokens at some roles."""
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for split in trained:
        for key, answer in zip(_parts(split, roles), split.answers.tolist(), strict=True):
            counts[key][answer] += 1
    best = {key: max(sorted(counter), key=counter.__getitem__) for key, counter in counts.items()}
    guesses = [best.get(key) for key in _parts(queries, roles)]
    right = [guess == answer for guess, answer in zip(guesses, queries.answers.tolist(), strict=True)]
    return torch.tensor(right, dtype=torch.bool, device="cpu")


def _parts(queries: Queries, roles: Sequence[str]) -> list[tuple[int, ...]]:
    """The tokens at the given roles, of each question."""
    columns = [queries.roles.index(role) for role in roles]
    return [tuple(tokens) for tokens in queries.tokens[:, columns].tolist()]
