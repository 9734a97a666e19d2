"""Hashes of the prompts and units on which a circuit was chosen, as `tasks.PromptPairs.hashes` gives them."""

from collections.abc import Mapping
from typing import Any

from .arguments import shortly

PROMPTS, UNIT = ("clean", "corrupt"), "unit"


def hash_problems(hashes: Any) -> list[str]:
    """Why something is no hashes: lists of words by name, one word for each pair; units may be missing, as in old files."""
    if not isinstance(hashes, Mapping):
        return [f"got {shortly(hashes)}, needed are lists of words by name, as `pairs.hashes` gives them"]
    names = [*PROMPTS, *([UNIT] if UNIT in hashes else [])]
    if lacking := [name for name in PROMPTS if name not in hashes]:
        return [f"lacks {', '.join(lacking)}; needed are {', '.join((*PROMPTS, UNIT))}, as `pairs.hashes` gives them"]
    problems = [f"{name} are no list of words, got {_said(hashes[name])}" for name in names if not _are_words(hashes[name])]
    sizes = {name: len(hashes[name]) for name in names} if not problems else {}
    if len(set(sizes.values())) > 1:
        problems.append(f"there is one of each for a pair, got {', '.join(f'{n} {name}' for name, n in sizes.items())}")
    return problems


def _are_words(given: Any) -> bool:
    return isinstance(given, list | tuple) and all(isinstance(each, str) and each for each in given)


def _said(given: Any) -> str:
    wrong = [each for each in given if not isinstance(each, str) or not each] if isinstance(given, list | tuple) else []
    return f"{shortly(given)} with {shortly(wrong[0])}" if wrong else shortly(given)
