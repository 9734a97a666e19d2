"""What a diagram says of the queries behind an edge: those it matters to most, in words, and where heads look."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .circuit import Circuit
from .result import Result

N_STRONGEST = 4  # queries that are named for each kept edge
MOST_EDGES = 300  # with their strongest queries in a page
WORDS = {"query", "role", "clean", "corrupt"}
ATTENTION = ["head", "destination", "source", "weight"]


@dataclass(frozen=True)
class Queries:
    """What was asked, as a page shows it.

    Attributes:
        data: prompts by query, roles, and mean attention [head, to, from, share] where it is known.
    """

    data: dict[str, Any]


def queries_of(given: Result | pd.DataFrame | None) -> Queries | None:
    """What a result of `analyses.query_details` says, or its table of words; None of anything else."""
    table = given.table if isinstance(given, Result) else given
    if not isinstance(table, pd.DataFrame) or not set(table.columns) >= WORDS:
        return None
    roles = list(dict.fromkeys(table["role"]))
    sides = {side: _prompts(table, side, roles) for side in ("clean", "corrupt")}
    return Queries({"roles": roles, **sides, "attention": _attention(getattr(given, "attention", None))})


def _prompts(table: pd.DataFrame, side: str, roles: list[str]) -> list[list[str]]:
    wide = table.pivot(index="query", columns="role", values=side)[roles].sort_index()
    return [["" if pd.isna(word) else str(word) for word in row] for row in wide.to_numpy()]


def _attention(table: Any) -> list[list[Any]]:
    if not isinstance(table, pd.DataFrame) or not set(ATTENTION) <= set(table.columns):
        return []
    return [[*names, round(float(share), 3)] for *names, share in table[ATTENTION].itertuples(index=False)]


def strongest_queries(circuit: Circuit, rows: np.ndarray, queries: Queries | None) -> list[list[Any]]:
    """For each kept edge its place, the queries it changes most, and by how much, as a share of the mean gap.

    Empty without words or changes by query, or if there are too many edges to name queries for all.
    """
    if queries is None or len(queries.data["clean"]) != (0 if circuit.donor_gaps is None else len(circuit.donor_gaps)):
        return []
    kept = np.flatnonzero(circuit.table["kept"].to_numpy(dtype=bool)[rows])
    if circuit.deltas is None or circuit.donor_gaps is None or not len(circuit.donor_gaps) or len(kept) > MOST_EDGES:
        return []
    shares = circuit.deltas[rows[kept]] / circuit.donor_gaps.mean()
    order = np.argsort(-np.abs(shares), axis=1, kind="stable")[:, :N_STRONGEST]
    found = zip(kept, order, shares, strict=True)
    return [[int(place), top.tolist(), [float(f"{share[i]:.3g}") for i in top]] for place, top, share in found]
