"""What a lens finds of each query, anywhere: how often at all, and what comes first."""

import pandas as pd

from ..statistics import wilson

FIRST = "first_"  # before a target's name: the column with the stage at which it is found first
COLUMNS = ("fact", "correct")  # of the table by query, next to its targets


def any_cell(queries: pd.DataFrame) -> pd.DataFrame:
    """Of each target, the share of queries in which it is found at any cell, with Wilson's interval over units."""
    n, n_units = len(queries), queries["fact"].nunique()
    targets = [column for column in map(str, queries) if column not in COLUMNS and not column.startswith(FIRST)]
    rows = [{"target": target, "rate": float(queries[target].mean())} for target in targets]
    intervals = [wilson(row["rate"], n_units)._asdict() for row in rows]
    return pd.DataFrame([row | interval for row, interval in zip(rows, intervals, strict=True)]).assign(n=n, n_facts=n_units)


def first_found(queries: pd.DataFrame, name: str) -> pd.DataFrame:
    """Which is found at an earlier stage, an intermediate or the answer: a row for each outcome with its share."""
    value, answer = queries[FIRST + name], queries[FIRST + "answer"]
    outcomes = {
        f"{name} first": value < answer,
        "same stage": value == answer,
        "answer first": answer < value,
        f"only {name}": value.notna() & answer.isna(),
        "only answer": answer.notna() & value.isna(),
        "neither": value.isna() & answer.isna(),
    }
    n_units, rows = queries["fact"].nunique(), []
    for outcome, met in outcomes.items():
        share = float(met.mean())
        rows.append({"outcome": outcome, "share": share, **wilson(share, n_units)._asdict()})
    return pd.DataFrame(rows).assign(n=len(queries), n_facts=n_units)
