"""One line of progress with an estimate, for whatever may last longer than two seconds.

A bar where someone watches, in terminals and notebooks; a plain line every half minute where output goes to a file or pipe.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TextIO, TypeVar

from tqdm import tqdm as text_bar
from tqdm.auto import tqdm

DELAY = 2.0  # seconds until anything is shown
LINE_EVERY = 30.0  # seconds between plain lines
LINE = "{desc}: {n_fmt} of {total_fmt}{unit}, {elapsed} so far, about {remaining} left{postfix}"
Item = TypeVar("Item")


class Lines(text_bar):
    """A bar that writes lines: for files and pipes, which have no line that could be written again."""

    @staticmethod
    def status_printer(file: TextIO) -> Callable[[str], None]:
        """What shows a state of the bar."""

        def show(text: str) -> None:
            if text.strip():
                file.write(text.rstrip() + "\n")
                file.flush()

        return show


def bar(total: int | None, what: str, *, show: bool = True, first: int = 0, unit: str = "") -> Any:
    """A bar to be updated by hand, as a context manager.

    Args:
        total: the number of items; None if that is not known.
        what: is done, such as "edges".
        show: whether to show anything.
        first: items that were done before.
        unit: of the items, such as " steps".
    """
    options: dict[str, Any] = {"total": total, "initial": first, "desc": what, "delay": DELAY, "disable": not show}
    if is_watched():
        return tqdm(**options)
    return Lines(**options, unit=unit, bar_format=LINE, mininterval=LINE_EVERY, maxinterval=LINE_EVERY, leave=False)


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
        text_bar.write(line, file=sys.stderr)


def is_watched() -> bool:
    """Whether a line that is written again and again can be seen: in a terminal or a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
