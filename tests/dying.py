"""A process that dies at a chosen file operation, without dying: from then on no file operation is done any more."""

import contextlib
import os
from collections.abc import Callable, Iterator

OPERATIONS = ("fsync", "replace", "unlink")


class Died(BaseException):
    """What stops the process; nothing but the kernel cleans up after it."""


@contextlib.contextmanager
def dying_at(moment: int | None) -> Iterator[list[str]]:
    """Do the first `moment` file operations and no other; None does all. Gives the names of those that were done."""
    done: list[str] = []
    before = {name: getattr(os, name) for name in OPERATIONS}

    def counted(name: str) -> Callable[..., object]:
        def operation(*args: object, **kwargs: object) -> object:
            if moment is not None and len(done) >= moment:
                raise Died
            done.append(name)
            return before[name](*args, **kwargs)

        return operation

    for name in OPERATIONS:
        setattr(os, name, counted(name))
    try:
        yield done
    finally:
        for name, original in before.items():
            setattr(os, name, original)


def died(action: Callable[[], object], moment: int) -> bool:
    """Whether an action dies at a moment; if not, it was done before."""
    with dying_at(moment):
        try:
            action()
        except Died:
            return True
    return False


def n_moments(action: Callable[[], object]) -> int:
    """How many file operations an action does."""
    with dying_at(None) as done:
        action()
    return len(done)
