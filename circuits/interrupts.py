"""Ctrl-C and SIGTERM, noticed instead of suffered: what is under way is finished and saved, then one line says so.

While a block notices interrupts, the first signal only sets a flag; whoever works in the block looks at it where it suits,
saves, and raises what `interrupt` gives. A second signal interrupts at once.
"""

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt(message: str, number: int = signal.SIGINT) -> KeyboardInterrupt:
    """What is raised when a signal stopped work and all is saved.

    It is of no class of its own, since Python ends with code 130 for a KeyboardInterrupt and with 1 for any subclass. Its
    `signal` is the number, its `exit_code` what a command ends with, as shells have it: 130 for Ctrl-C, 143 for SIGTERM. A
    notebook shows its message alone.

    Args:
        message: how far it came and how to go on.
        number: of the signal.
    """
    error = KeyboardInterrupt(message)
    about = {"signal": int(number), "exit_code": 128 + number, "_render_traceback_": functools.partial(list, [message])}
    for name, value in about.items():
        setattr(error, name, value)
    return error


def signal_of(error: KeyboardInterrupt) -> int:
    """The signal that an interrupt comes from."""
    return getattr(error, "signal", int(signal.SIGINT))


def stop_at_once(number: int, _frame: FrameType | None = None) -> None:
    """Interrupt where there is nothing to finish; whoever knows how far it came says it."""
    raise interrupt("", number)


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

    def interrupted(self, message: str) -> KeyboardInterrupt:
        """What is to be raised when all is saved."""
        return interrupt(message, self.signal or signal.SIGINT)

    def notice(self, number: int, _frame: FrameType | None = None) -> None:
        """Remember the first signal; the second one interrupts at once."""
        if self.asked:
            raise interrupt("interrupted at once, by a second signal", number)
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
