"""Ctrl-C and SIGTERM, noticed instead of suffered: what is under way is finished and saved, then one line says so.

While a block notices interrupts, the first signal only sets a flag; whoever works in the block looks at it where it suits,
saves, and raises `Interrupted`. A second signal interrupts at once.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """What was going on was stopped by a signal and is saved; the message says how far it came and how to go on.

    Attributes:
        signal: that stopped it.
    """

    def __init__(self, message: str, signal: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = int(signal)

    @property
    def exit_code(self) -> int:
        """What a command that was stopped so ends with, as shells have it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [str(self)]


def stop_at_once(number: int) -> None:
    """Interrupt, where there is nothing to finish."""
    raise Interrupted("stopped", number)


@dataclass
class Stop:
    """Whether work is to stop.

    Attributes:
        signal: that asked for it; 0 if none did.
        then: what is done at once when one does, given the signal.
    """

    signal: int = 0
    then: Callable[[int], None] | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.signal != 0

    def interrupted(self, message: str) -> Interrupted:
        """What is to be raised when all is saved."""
        return Interrupted(message, self.signal or signal.SIGINT)

    def notice(self, number: int, _frame: FrameType | None = None) -> None:
        """Remember the first signal; the second one interrupts at once."""
        if self.asked:
            raise Interrupted("interrupted at once, by a second signal", number)
        self.signal = number
        if self.then is not None:
            self.then(number)


@contextlib.contextmanager
def noticing_interrupts(then: Callable[[int], None] | None = None) -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM within the block; the handlers of before are put back after it.

    A signal that the process ignores stays ignored. Outside the main thread, where Python lets no handler be set, nothing is
    caught. A block within another one notices in place of the outer one, so what it raises must pass through.

    Args:
        then: what is done at once when a signal is noticed, such as telling other processes, or `stop_at_once`.

    >>> with noticing_interrupts() as stop:
    ...     stop.asked
    False
    """
    stop, before = Stop(then=then), dict[int, Any]()
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in before:
            signal.signal(number, stop.notice)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
