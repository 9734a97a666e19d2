"""One line of progress with an estimate, for whatever may last longer than two seconds.

A bar where someone watches, in terminals and notebooks; where output goes into a file or a pipe, a plain line every half
minute. A bar within another one is silent, so that there is one line and not a forest.
"""

import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import TqdmWarning
from tqdm import tqdm as text_bar

DELAY = 2.0  # seconds until anything is shown
LINE_EVERY = 30.0  # seconds between plain lines
LINE = "{desc}: {state}{postfix}"
BAR = "{desc}: {percentage:3.0f}%|{bar}| {state}{postfix}"
UNITS = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))
Item = TypeVar("Item")


class Bar(text_bar):
    """A bar in plain words: `measuring: 17%|███      | 17 of 103, 2 min so far, about 9 min left`."""

    over = False
    left = "about"  # how sure the time is that is left
    until_first = 0.0  # seconds in which nothing was done but skipping

    @property
    def format_dict(self) -> Any:
        """What a bar's format may name; `state` is said here."""
        found = super().format_dict
        if not hasattr(self, "initial"):  # it shows nothing
            return found
        return {**found, "state": self._state(found["elapsed"], found["unit"])}

    def _state(self, elapsed: float, unit: str) -> str:
        of_all = "" if self.total is None else f" of {self.total:,}"
        done = f"{self.n:,}{of_all}{unit}"
        if self.over:
            return f"{done} in {in_words(elapsed)}"
        worked, used = self.n - self.initial, elapsed - self.until_first
        if self.total is None or worked <= 0 or used <= 0:
            return f"{done}, {in_words(elapsed)} so far"
        return f"{done}, {in_words(elapsed)} so far, {self.left} {in_words((self.total - self.n) * used / worked)} left"

    def skip(self, n: int = 1) -> None:
        """Count items that were done before, and leave them out of the estimate."""
        if self.disable:
            return
        if self.n == self.initial:
            self.until_first = self.format_dict["elapsed"]
        self.initial += n
        self.update(n)

    def close(self) -> None:
        """Say how far it came and how long that took, if anything was shown."""
        self.over = True
        super().close()


# tqdm's takes a semaphore of the system, which is said to leak when a worker process is killed; workers show no bars
Bar.set_lock(threading.RLock())


class Lines(Bar):
    """A bar that writes lines: for files and pipes, which have no line that could be written again."""

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """What shows a state of the bar."""

        def show(text: str) -> None:
            file.write(text.rstrip() + "\n")
            file.flush()

        return show

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write a line; when all is done, the last one alone."""
        if self.n != self.total or self.over:
            super().display(msg, pos)

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Remember what the next line ends with; it is not written for that."""
        super().set_postfix_str(s, refresh=False)

    def close(self) -> None:
        """Leave a last line, if there were any."""
        if self.disable:
            return
        if getattr(self, "last_print_t", 0.0) > getattr(self, "start_t", 0.0):
            self.over = True
            self.display()
        self.sp = None  # so that nothing else is written
        super().close()


def bar(total: int | None, what: str, *, show: bool = True, first: int = 0, unit: str = "", at_most: bool = False) -> Any:
    """A bar to be updated by hand, as a context manager.

    Args:
        total: the number of items; None if that is not known.
        what: is done, such as "edges".
        show: whether to show anything.
        first: items that were done before.
        unit: of the items, such as " steps".
        at_most: whether it may end before all items are done, so that no more than the time left can be said.
    """
    within = any(isinstance(each, Bar) for each in getattr(text_bar, "_instances", ()))  # those that are open
    options: dict[str, Any] = {"total": total, "initial": first, "desc": what, "unit": unit, "delay": DELAY}
    options.update(disable=not show or within, bar_format=LINE if total is None else BAR, smoothing=0)
    if not is_watched():
        options.update(bar_format=LINE, mininterval=LINE_EVERY, miniters=1)  # else a thread of tqdm's writes, too
        shown = Lines(**options)
    elif (kind := _watched_kind()) is Bar:
        size = shutil.get_terminal_size()  # of some terminal even where the system says 0 × 0, as in a container
        shown = kind(**options, ncols=size.columns - 1, nrows=size.lines)
    else:
        shown = kind(**options)
    if at_most:
        shown.left = "at most"
    return shown


def with_bar(items: Iterable[Item], what: str, *, total: int | None = None, show: bool = True) -> Iterator[Item]:
    """The items, with a bar that counts them."""
    n = total if total is not None else len(items) if isinstance(items, Sized) else None
    with bar(n, what, show=show) as shown:
        for item in items:
            yield item
            shown.update()


def say(line: str, *, show: bool = True) -> None:
    """Write a line to standard error, above bars that are shown."""
    if show:
        Bar.write(line, file=sys.stderr)


def in_words(seconds: float) -> str:
    """A time that is read at a glance.

    >>> [in_words(each) for each in (0.2, 89, 150, 540, 9_000, 200_000)]
    ['0 s', '89 s', '2.5 min', '9 min', '2.5 h', '2.3 days']
    """
    size, unit = next((each for each in UNITS if seconds >= 1.5 * each[0]), UNITS[-1])
    n = seconds / size
    return f"{n:.0f} {unit}" if size == 1 or n >= 10 else f"{n:.2g} {unit}"


def is_watched() -> bool:
    """Whether a line that is written again and again can be seen: in a terminal or a notebook."""
    return sys.stderr.isatty() or _in_notebook()


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.startswith("ipykernel")


def _watched_kind() -> type[Bar]:
    """A bar of text, or in a notebook one of widgets; without these `tqdm.auto` would warn."""
    if not _in_notebook():
        return Bar
    from tqdm import notebook  # loads IPython

    return Bar if getattr(notebook, "IProgress", None) is None else type("Widget", (Bar, notebook.tqdm), {})


if _in_notebook():
    with warnings.catch_warnings():
        # Whoever loads it first, as TransformerLens does, makes it ask for widgets, which nothing here needs.
        warnings.simplefilter("ignore", TqdmWarning)
        import tqdm.auto  # noqa: F401
