"""Checks that prompt pairs were given where they are needed, before anything is measured on them."""

from typing import Any

from .given import SOME_QUERIES, kind_of
from .pairs import PromptPairs
from .queries import Queries

SOME_PAIRS = "needed are PromptPairs, as make_pairs(task, split='test_inferred_iid', contrast='bridge', n=256, seed=0) gives"


def pairs_problems(**given: Any) -> list[str]:
    """Which arguments, by name, are no prompt pairs."""
    wrong = {name: value for name, value in given.items() if not isinstance(value, PromptPairs)}
    return [f"{name} is {kind_of(value)}, {SOME_PAIRS}" for name, value in wrong.items()]


def asked_problems(**given: Any) -> list[str]:
    """Which arguments, by name, are neither questions nor pairs, which stand for their clean prompts."""
    wrong = {name: value for name, value in given.items() if not isinstance(value, Queries | PromptPairs)}
    return [f"{name} is {kind_of(value)}, {SOME_QUERIES}, or PromptPairs" for name, value in wrong.items()]
