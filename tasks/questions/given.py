"""Checks that questions were given where they are needed, before anything is asked of them; for pairs see `given_pairs`.

Names of splits, tensors, and pairs in place of questions are the slips; each error says how to get what is needed.
"""

from collections.abc import Collection
from typing import Any

from ...circuits.arguments import is_one_of, shortly
from .queries import Queries

SOME_QUERIES = "needed are Queries, as task.split('test_inferred_iid') gives them"


def queries_problems(**given: Any) -> list[str]:
    """Which arguments, by name, are no questions."""
    wrong = {name: value for name, value in given.items() if not isinstance(value, Queries)}
    are_pairs = {name for name, value in wrong.items() if not isinstance(value, type) and hasattr(value, "queries")}
    ways = {name: f", or {name}.queries()" if name in are_pairs else "" for name in wrong}
    return [f"{name} is {kind_of(value)}, {SOME_QUERIES}{ways[name]}" for name, value in wrong.items()]


def split_problems(name: Any, splits: Collection[str]) -> list[str]:
    """Why a task has no such split."""
    return [] if is_one_of(name, splits) else [f"no split {shortly(name)}; the splits are {', '.join(splits)}"]


def kind_of(value: Any) -> str:
    """What something is, without its content; words and numbers as they are."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return shortly(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
