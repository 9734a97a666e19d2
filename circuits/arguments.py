"""Settings of a wrong kind or size: named, with what came, before any work is done.

Settings that mean the same in every function have one name and one check, see `COMMON`. Nothing here needs torch.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np

LARGEST_SEED = 2**63 - 1
LONGEST_NUMBER = 10**60
MOST_REPEATS = 1_000_000
"""Resamples, random circuits and the like; more would take days, so that such a number is a slip."""


def whole_problems(least: int, *, most: int | None = None, **numbers: Any) -> list[str]:
    """Which arguments, by name, are no whole numbers of at least, and at most, that size; True and False are none."""
    size = f"at least {least}" if most is None else f"{least:,} to {most:,}"
    wrong = {
        name: given
        for name, given in numbers.items()
        if not is_whole(given) or given < least or (most is not None and given > most)
    }
    return [f"{name} is {shortly(given)}, needed is a whole number, {size}" for name, given in wrong.items()]


def number_problems(
    least: float, *, above: bool = False, most: float = math.inf, below: bool = False, **numbers: Any
) -> list[str]:
    """Which arguments, by name, are no finite numbers from `least`, or above it, to `most`, or below it."""
    size = f"{'above' if above else 'at least'} {least:g}"
    size += "" if most == math.inf else f" and {'below' if below else 'at most'} {most:g}"
    wrong = {name: given for name, given in numbers.items() if not is_number(given) or not least <= given <= most}
    ends = {least} if above else set()
    ends |= {most} if below else set()
    wrong |= {name: given for name, given in numbers.items() if name not in wrong and given in ends}
    return [f"{name} is {shortly(given)}, needed is a finite number {size}" for name, given in wrong.items()]


def seed_problems(seed: Any) -> list[str]:
    """Why nothing can be drawn from a seed."""
    if is_whole(seed) and 0 <= seed <= LARGEST_SEED:
        return []
    return [f"seed is {shortly(seed)}, needed is a whole number from 0 to 2^63 − 1"]


def flag_problems(**flags: Any) -> list[str]:
    """Which arguments, by name, are neither True nor False; a word such as "no" would count as True."""
    wrong = {name: given for name, given in flags.items() if not isinstance(given, bool | np.bool_)}
    return [f"{name} is {shortly(given)}, needed is True or False" for name, given in wrong.items()]


def choice_problems(**choices: tuple[Any, Collection[Any]]) -> list[str]:
    """Which arguments, by name, are none of what is possible."""
    return [
        f"{name} must be one of {', '.join(map(repr, possible))}, got {shortly(given)}"
        for name, (given, possible) in choices.items()
        if not is_one_of(given, possible)
    ]


def name_problems(**names: Any) -> list[str]:
    """Which arguments, by name, are no words."""
    wrong = {name: given for name, given in names.items() if not isinstance(given, str) or not given}
    return [f"{name} is {shortly(given)}, needed is a name" for name, given in wrong.items()]


def names_problems(**lists: Any) -> list[str]:
    """Which arguments, by name, are no lists of words."""
    problems = []
    for name, given in lists.items():
        if isinstance(given, str) or not isinstance(given, Collection):
            problems.append(f"{name} is {shortly(given)}, needed are names, as in {name}=['a', 'b']")
        elif wrong := [each for each in given if name_problems(each=each)]:
            problems.append(f"{name} are names, got {', '.join(map(repr, wrong))}")
    return problems


def with_changes(made: type, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a dataclass's preset with some replaced.

    Raises:
        TypeError: for names that are no settings, with similar ones, and all there are.
    """
    known = [field.name for field in fields(made) if field.init]
    if unknown := [name for name in changes if name not in known]:
        alike = [near for name in unknown for near in get_close_matches(name, known, n=2)]
        hint = f" (did you mean {' or '.join(dict.fromkeys(alike))}?)" if alike else ""
        raise TypeError(f"{made.__name__} has no setting {', '.join(unknown)}{hint}; there are {', '.join(known)}")
    return {**settings, **changes}


def process_problems(n_jobs: Any) -> list[str]:
    """Why not that many can work at a time."""
    return (
        [] if is_whole(n_jobs) and n_jobs else [f"n_jobs is {shortly(n_jobs)}, needed is a number of them, -1 for all cores"]
    )


def budget_problems(max_memory: Any) -> list[str]:
    """Why something is no number of bytes that may be used; None stands for the default."""
    if max_memory is None or not number_problems(1, max_memory=max_memory):
        return []
    return [f"max_memory is a number of bytes, at least 1, got {shortly(max_memory)}"]


COMMON: Mapping[str, Callable[[Any], list[str]]] = {
    "seed": seed_problems,
    "max_memory": budget_problems,
    "progress": lambda given: flag_problems(progress=given),
    "per_query": lambda given: flag_problems(per_query=given),
    "allow_shared": lambda given: flag_problems(allow_shared=given),
    "direction": lambda given: choice_problems(direction=(given, ("noising", "denoising"))),
    "engine": lambda given: choice_problems(engine=(given, ("auto", "fast", "hooks", "replay"))),
    "n_bootstrap": lambda given: whole_problems(2, most=MOST_REPEATS, n_bootstrap=given),
    "intermediate": lambda given: [] if given is None else name_problems(intermediate=given),
    "split": lambda given: name_problems(split=given),
    "n_questions": lambda given: whole_problems(1, n_questions=given),
    "n_pairs": lambda given: whole_problems(1, n_pairs=given),
}
"""By name, the check of a setting that is the same wherever it occurs."""


def common_problems(**settings: Any) -> list[str]:
    """What is wrong with settings of `COMMON`."""
    return [problem for name, given in settings.items() for problem in COMMON[name](given)]


def refuse(problems: Iterable[str], *, unknown: Iterable[str] = ()) -> None:
    """Raise if there is a problem, with all of them.

    Args:
        problems: with settings.
        unknown: names that were asked for and are not there.

    Raises:
        ValueError: see above.
        KeyError: if names are all that is wrong.
    """
    found, names = list(problems), list(unknown)
    if found or names:
        raise (ValueError if found else KeyError)("; ".join([*names, *found]))


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, of Python or numpy, and no truth value."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def is_number(number: Any) -> bool:
    """Whether it is a finite number, and no truth value."""
    if not isinstance(number, Real) or isinstance(number, bool):
        return False
    try:
        return math.isfinite(number)
    except OverflowError:  # it is larger than numbers of the machine
        return False


def is_one_of(given: Any, possible: Collection[Any]) -> bool:
    """Whether it is one of some words; arrays and lists, which cannot be looked up, are none."""
    return isinstance(given, str) and given in possible


def native(value: Any) -> Any:
    """Numbers, truth values and words of numpy and the like as those of Python, also in lists; others as they are.

    Numbers of numpy wrap around, are no JSON, and are no arguments of some functions of torch.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if is_whole(value):
        return int(value)
    if is_number(value) or isinstance(value, np.floating):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    return type(value)(map(native, value)) if type(value) in (list, tuple) else value


def make_native(record: Any, *names: str) -> None:
    """Turn fields of a frozen dataclass, by default all, into what `native` gives; called before they are checked."""
    for name in names or [field.name for field in fields(record)]:
        object.__setattr__(record, name, native(getattr(record, name)))


def shortly(value: Any) -> str:
    """A value as errors say it: of what may be long only the kind."""
    if is_whole(value) and abs(int(value)) >= LONGEST_NUMBER:  # which Python may refuse to write in digits
        return f"a whole number of more than {len(str(LONGEST_NUMBER)) - 1} digits"
    if isinstance(value, str):
        return repr(value) if len(value) < 60 else f"a str of {len(value)} characters, {value[:20]!r}…"
    is_long = isinstance(value, Sequence | Mapping) or hasattr(value, "__array__")
    return f"a {type(value).__name__}" if is_long and not isinstance(value, np.generic) else repr(value)
