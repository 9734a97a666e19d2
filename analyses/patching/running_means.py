"""Means over queries, with standard errors over units, of numbers that come for some of the queries at a time."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

N_TOTALS = 6


class RunningMeans:
    """What `stderr_of_mean` says of all queries at once, in memory that does not grow with them.

    The queries of a unit have to follow each other. Numbers are summed as differences from those of the first query, so that
    what is the same in all of them has a standard error of exactly 0.
    """

    def __init__(self, n: int) -> None:
        nothing = torch.zeros(0, n, dtype=torch.float64, device="cpu")
        self._first = torch.zeros(n, dtype=torch.float64, device="cpu")
        self._open = nothing, nothing, torch.zeros(0, dtype=torch.long, device="cpu")
        self._totals = torch.zeros(N_TOTALS, n, dtype=torch.float64, device="cpu")

    def note(
        self,
        values: Float[Tensor, "query entry"],
        there: Bool[Tensor, "query entry"],
        unit: Int[Tensor, " query"],
    ) -> None:
        """Note some queries.

        Args:
            values: of each entry.
            there: whether the query has the entry; otherwise its value does not count, whatever it is.
            unit: of each query; the last one so far may go on.
        """
        values = torch.where(there, values.double(), 0.0)
        if not len(self._open[-1]):
            self._first = values[0].clone()
        new = torch.where(there, values - self._first, 0.0), there.double(), unit
        sums, counts, units = (torch.cat(each) for each in zip(self._open, new, strict=True))
        numbers = torch.unique_consecutive(units, return_inverse=True)[1]
        empty = torch.zeros(int(numbers[-1]) + 1, values.shape[1], dtype=torch.float64, device="cpu")
        sums, counts = (empty.index_add(0, numbers, each) for each in (sums, counts))
        self._totals += _totals(sums[:-1], counts[:-1])
        self._open = sums[-1:], counts[-1:], units[-1:]

    def result(self) -> dict[str, Float[Tensor, " entry"]]:
        """Of each entry the `mean`, `stderr`, `n` queries and `n_units` that have it.

        Of no query there is no mean, of fewer than two units no standard error: NaN.
        """
        sums, n, squares, products, sizes, n_units = self._totals + _totals(*self._open[:2])
        mean = sums / n
        spread = (squares - 2 * mean * products + mean**2 * sizes).clamp(min=0.0)  # Σ (sum − n · mean)² over units
        enough = torch.where(n_units > 1, n_units, torch.nan)
        stderr = (spread * enough / (enough - 1)).sqrt() / n
        return {"mean": self._first + mean, "stderr": stderr, "n": n, "n_units": n_units}


def _totals(sums: Float[Tensor, "unit entry"], counts: Float[Tensor, "unit entry"]) -> Float[Tensor, "total entry"]:
    """What means and standard errors are made of, summed over units that are complete."""
    products = (sums, counts, sums**2, sums * counts, counts**2, (counts > 0).double())
    return torch.stack([each.sum(0) for each in products])
