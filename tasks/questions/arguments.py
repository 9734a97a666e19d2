"""Arguments that are numbers: whether they are of the right kind and size, said before any work is done."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import Tensor

LARGEST_SEED = 2**63 - 1


def whole_problems(least: int, **numbers: Any) -> list[str]:
    """Which arguments, by name, are no whole numbers of at least that size; True and False are none."""
    wrong = {name: given for name, given in numbers.items() if not is_whole(given) or given < least}
    return [f"{name} is {shortly(given)}, needed is a whole number, at least {least}" for name, given in wrong.items()]


def number_problems(least: float, *, above: bool = False, **numbers: Any) -> list[str]:
    """Which arguments, by name, are no finite numbers of at least that size, or above it."""
    size = f"{'above' if above else 'at least'} {least:g}"
    wrong = {name: given for name, given in numbers.items() if not _is_number(given) or given < least}
    wrong |= {name: given for name, given in numbers.items() if above and name not in wrong and given == least}
    return [f"{name} is {shortly(given)}, needed is a finite number {size}" for name, given in wrong.items()]


def seed_problems(seed: Any) -> list[str]:
    """Why nothing can be drawn from a seed."""
    if is_whole(seed) and 0 <= seed <= LARGEST_SEED:
        return []
    return [f"seed is {shortly(seed)}, needed is a whole number from 0 to 2^63 − 1"]


def refuse(problems: Iterable[str]) -> None:
    """Raise if there is a problem, with all of them.

    Raises:
        ValueError: see above.
    """
    if found := list(problems):
        raise ValueError("; ".join(found))


def is_whole(number: Any) -> bool:
    """Whether it is a whole number, of Python or numpy, and no truth value."""
    return isinstance(number, Integral) and not isinstance(number, bool)


def shortly(value: Any) -> str:
    """A value as errors say it: of what may be long only the kind."""
    is_long = isinstance(value, Tensor | np.ndarray | Sequence | Mapping) and not (
        isinstance(value, str) and len(value) < 20
    )
    return f"a {type(value).__name__}" if is_long else repr(value)


def _is_number(number: Any) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)
