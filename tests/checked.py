"""Types are checked by beartype; the checks are compiled when they are first needed, and once for all calls.

jaxtyping wants a check of every function when that is defined: thousands at import, most of which a file of tests never
calls, and one of each function within another at every call of that. Compiling them took more than half of many tests' time.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

Check = Callable[..., Any]

COMPILE = beartype(conf=BeartypeConf(is_pep484_tower=True))
_compiled: dict[object, Check] = {}


def checked(function: Check) -> Check:
    """A function that jaxtyping made of annotations alone, its arguments and what it gives checked when it is called."""
    found: list[Check] = []

    def check(*args: object, **kwargs: object) -> object:
        if not found:
            found.append(_once(function))
        return found[0](*args, **kwargs)

    return check


def _once(function: Check) -> Check:
    """Compiled, or what was compiled for the same function of another call; no default's value is kept alive."""
    if function.__defaults__ or function.__kwdefaults__:
        return COMPILE(function)
    code, hints = function.__code__, repr(function.__annotations__)  # two equal annotations of jaxtyping are not equal
    if "<locals>" in hints:
        return COMPILE(function)
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    key = function.__module__, function.__qualname__, code.co_varnames, counts, hints
    if key not in _compiled:
        _compiled[key] = COMPILE(function)
    return _compiled[key]
