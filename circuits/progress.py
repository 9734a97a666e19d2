"""A bar with an estimate for whatever may last: shown after two seconds, in terminals and notebooks only."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm.auto import tqdm

DELAY = 2.0  # seconds until a bar is shown
Item = TypeVar("Item")


def bar(total: int, what: str, *, show: bool = True) -> Any:
    """A bar to be updated by hand, as a context manager; nothing is written into pipes and files."""
    return tqdm(total=total, desc=what, delay=DELAY, disable=None if show else True)


def with_bar(items: Iterable[Item], what: str, *, total: int | None = None, show: bool = True) -> Iterator[Item]:
    """The items, with a bar that counts them."""
    n = total if total is not None else len(items) if isinstance(items, Sized) else None
    with tqdm(total=n, desc=what, delay=DELAY, disable=None if show else True) as shown:
        for item in items:
            yield item
            shown.update()
