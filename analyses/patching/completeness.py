"""Whether integrated gradients add up: a table by line, a warning where they do not, and a few words for captions.

The tolerance is each query's: its parts depend on no other query. Where queries differ in sign the mean difference is
smaller than the mean |difference|, so that the mean sum may miss it by a larger share of it.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ..forward.lines import Integral


def completeness(integrals: Mapping[str | int, Sequence[Integral]], name: str, *, tolerance: float) -> pd.DataFrame:
    """How far attributions add up, and a warning where they miss by more than the tolerance.

    Args:
        integrals: by line, those of each part of the queries.
        name: of the first column.
        tolerance: of the residual.

    Returns:
        A row for each line: its name; sum and difference, the means over queries of what attributions sum to and of what
        they should; residual, the errors' sizes on all parts of the line, as a share of the mean |difference|, so that
        neither queries nor parts cancel (0 where the errors are no larger than rounding), and sum may miss difference by a
        larger share of it where queries differ in sign; steps, the most points that were visited for a query.
    """
    table = pd.DataFrame([{name: line, **_row(parts)} for line, parts in integrals.items()])
    missed = table[[_missed(parts, tolerance) for parts in integrals.values()]]
    if len(missed):
        lines = ", ".join(f"{name} {row[name]}: {row['residual']:.1%}" for row in missed.to_dict("records"))
        warnings.warn(
            f"integrated gradients do not add up within {tolerance:.1%} of what they should ({lines}), even with "
            f"{missed['steps'].max()} points on the line: the metric jumps or has a spike on it, or its arithmetic is too "
            "coarse; ask for more steps",
            stacklevel=3,
        )
    return table


def largest_residual(table: pd.DataFrame | None) -> str:
    """The end of a caption: the largest residual of a table of `completeness`; empty without one."""
    return "" if table is None or table.empty else f" · adds up within {table['residual'].max():.1%}"


def _row(parts: Sequence[Integral]) -> dict[str, float]:
    attributed, difference, error = (
        np.concatenate([getattr(part, field) for part in parts]) for field in ("attributed", "difference", "error")
    )
    scale = np.abs(difference).mean()
    residual = 0.0 if error.sum() <= _rounding(parts) else error.mean() / scale if scale > 0 else np.inf
    steps = max(int(part.steps.max()) for part in parts)
    return {"sum": attributed.mean(), "difference": difference.mean(), "residual": residual, "steps": steps}


def _missed(parts: Sequence[Integral], tolerance: float) -> bool:
    """Whether the errors exceed what the tolerance and the rounding of values allow."""
    error = sum(part.error.sum() for part in parts)
    allowed = sum((tolerance * np.maximum(np.abs(part.difference), np.finfo(float).tiny)).sum() for part in parts)
    return not error <= allowed + _rounding(parts)  # also where it is no number


def _rounding(parts: Sequence[Integral]) -> float:
    """How far values may be off for the coarseness of their arithmetic."""
    return sum(float(part.rounding.sum()) for part in parts)
