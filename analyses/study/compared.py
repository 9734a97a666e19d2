"""What is said of two circuits on top of a page: whether they differ, and what that is held against."""

import numpy as np

from ...circuits import CircuitComparison
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ...circuits.verdicts import DIFFERENT, SAME


def headline(comparison: CircuitComparison) -> str:
    """Whether the two circuits differ, by how much, and how sure that is."""
    row = comparison.summary().table.iloc[0]
    word = {SAME: "The two circuits are the same", DIFFERENT: "The two circuits differ"}.get(
        row["verdict"], "No sure difference between the two circuits"
    )
    if np.isnan(row["distance"]):
        return f"{word}: {row['reason']}"
    bounds = interval(row["low"], row["high"], 2)
    sure = f" (95 % interval {bounds}, n = {row['n']} questions)" if bounds else f" (n = {row['n']} questions)"
    return f"{word}: their distance is {fixed(row['distance'], 2)}{sure}"


def lead(comparison: CircuitComparison) -> str:
    """What the number of the headline is held against, and what it says nothing of."""
    row = comparison.summary().table.iloc[0]
    said = ["A distance of 0 is equal, 1 nothing in common."]
    if not np.isnan(row["halves"]):
        said.append(f"One circuit, measured on two halves of the questions, is {fixed(row['halves'], 2)} from itself.")
    if not np.isnan(row["low"]):
        said.append(f"The interval is over {counted(int(row['n_units']), 'fact')} of the first hop.")
    return " ".join([*said, "There is one training of each model, so nothing follows for other trainings."])
