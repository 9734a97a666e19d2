"""Measurements as they come back from pandas: sorted, shuffled, filtered. Rows say what they are of, not their order."""

import numpy as np
import pandas as pd

SAME = ("effect", "stderr", "n", "gap")  # columns that say the same in all rows of an edge
N_NAMED = 3  # examples in a message


def one_row_each(frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray | None, np.ndarray | None]:
    """The first row of each edge, its changes by query [edge, query], and those of patching everything [query].

    The changes are None unless the frame has the column `delta` and `donor_gaps` in its `attrs`.

    Raises:
        ValueError: if the rows of an edge differ in what they say of it, or there is not one change for each edge and query.
    """
    edges = frame[["sender", "receiver"]].apply(tuple, axis=1) if len(frame) else pd.Series(dtype=object)
    columns = [name for name in SAME if name in frame]
    table = frame.drop_duplicates(["sender", "receiver"])
    if len(frame.drop_duplicates(["sender", "receiver", *columns])) > len(table):
        several = frame[columns].groupby(edges.to_numpy(), sort=False).nunique(dropna=False).gt(1)
        raise ValueError(
            f"rows of one edge differ in {', '.join(several.columns[several.any()])}: {_named(several.any(axis=1))}"
        )
    if "delta" not in frame or "donor_gaps" not in frame.attrs:
        return table, None, None
    gaps = np.array(frame.attrs["donor_gaps"], dtype=float)
    if problems := _problems(frame, edges, len(table), len(gaps)):
        raise ValueError(
            f"a frame with changes by query needs a row for each edge and each of the {len(gaps)} queries of donor_gaps: "
            + "; ".join(problems)
            + " (filter the pairs and measure again, or drop the column delta)"
        )
    place = {edge: number for number, edge in enumerate(dict.fromkeys(edges))}
    deltas = np.empty((len(table), len(gaps)))
    deltas[edges.map(place).to_numpy(), frame["query"].to_numpy().astype(int)] = frame["delta"].to_numpy(dtype=float)
    return table, deltas, gaps


def _problems(frame: pd.DataFrame, edges: pd.Series, n_edges: int, n_queries: int) -> list[str]:
    """Which pairs of edge and query are missing, given twice, or of no query."""
    if "query" not in frame:
        return ["there is no column query, which says what each row is of"]
    if unknown := [query for query in frame["query"].unique() if query not in range(n_queries)]:
        return [f"there is no query {', '.join(map(str, unknown[:N_NAMED]))}"]
    found = sorted(frame["query"].unique())
    problems = [f"its rows are of {len(found)} queries"] if len(found) != n_queries else []
    counts = frame.groupby(["sender", "receiver", "query"]).size()
    if (doubled := counts[counts > 1]).any():
        problems.append(f"given more than once: {_listed(doubled.index, len(doubled))}")
    if missing := n_edges * n_queries - len(counts):
        pairs = set(counts.index)
        gone = ((*edge, query) for edge in dict.fromkeys(edges) for query in range(n_queries) if (*edge, query) not in pairs)
        problems.append(f"missing: {_listed([next(gone) for _ in range(min(N_NAMED, missing))], missing)}")
    return problems


def _listed(pairs: object, n: int) -> str:
    first = [f"{sender} -> {receiver}, query {int(query)}" for sender, receiver, query in list(pairs)[:N_NAMED]]  # pyright: ignore
    return "; ".join(first) + (f"; and {n - N_NAMED} more" if n > N_NAMED else "")


def _named(wrong: pd.Series) -> str:
    """The first edges of a mask, and how many there are."""
    names = [" -> ".join(edge) for edge in wrong.index[wrong]]
    return ", ".join(names[:N_NAMED]) + (f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else "")
