"""What a diagram says of the faithfulness of just the edges that a circuit keeps."""

from typing import Any

import pandas as pd

from .circuit import Circuit
from .result import Result
from .units import fixed, interval

MEASURED = ("edges", "n_edges", "faithfulness", "low", "high", "n")
NOT_OF_IT = "what they keep is not in the faithfulness that was given"


def kept_alone(circuit: Circuit, given: Result | pd.DataFrame | None) -> str:
    """What the kept edges keep alone, as it was measured; empty if nothing was given.

    Args:
        circuit: that is drawn.
        given: a result of `analyses.faithfulness`, whose first row is of the circuit that it judged, or a curve, which has
            no such row.
    """
    if given is None or not circuit.table["kept"].any():
        return ""
    row = _row_of(circuit, given)
    if row is None:
        return NOT_OF_IT
    judged, measured = str(getattr(given, "model", "")), str(circuit.provenance.get("model", ""))
    where = f" in {judged}" if judged and measured and judged != measured else ""  # a circuit can be judged in another model
    if pd.isna(row["faithfulness"]):
        return f"what they keep{where} is undefined: {getattr(given, 'reason', '') or 'no reason is known'}"
    kept = f"{fixed(row['faithfulness'], 2)} {interval(row['low'], row['high'], 2)}".rstrip()
    return f"they keep {kept} of the gap{where}, on {row['n']} pairs"


def _row_of(circuit: Circuit, given: Result | pd.DataFrame) -> dict[Any, Any] | None:
    """The row of what was judged, if that were the kept edges of this circuit."""
    table, edges = (getattr(given, name, None) for name in ("table", "edges"))
    if not isinstance(table, pd.DataFrame) or not isinstance(edges, pd.DataFrame) or table.empty:
        return None
    if not set(MEASURED) <= set(table.columns) or not {"sender", "receiver"} <= set(edges.columns):
        return None
    judged = set(zip(edges["sender"], edges["receiver"], strict=True))
    kept = circuit.table[circuit.table["kept"]]
    drawn = set(zip(kept["sender"], kept["receiver"], strict=True))
    return table.to_dict("records")[0] if judged == drawn else None
