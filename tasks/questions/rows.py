"""What questions and pairs have in common: rows that can be taken in brackets and one by one, and compared."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, TypeVar

import torch

from ...circuits.arguments import is_whole
from ...circuits.same_content import ByContent

RowsType = TypeVar("RowsType", bound="Rows")


class Rows(ByContent, ABC):
    """Rows by number: `rows[3]` and a loop give records of one row, `rows[:10]` and `rows[mask]` of several."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self: RowsType, rows: Any) -> RowsType:
        """The given rows (numbers or a mask), in that order."""

    def __getitem__(self: RowsType, which: Any) -> RowsType:
        """The rows of a number, a slice, or what `take` accepts.

        Raises:
            IndexError: for a number of no row.
        """
        if isinstance(which, slice):
            return self.take(torch.tensor([*range(len(self))[which]], dtype=torch.int64, device="cpu"))
        if is_whole(which):
            if not -len(self) <= which < len(self):
                raise IndexError(f"no row {which}; there are {len(self)}, counted from 0")
            return self.take(torch.tensor([int(which)], device="cpu"))
        return self.take(which)

    def __iter__(self: RowsType) -> Iterator[RowsType]:
        return (self[row] for row in range(len(self)))
