"""Circuits as `equivalence` is given them: by graph and training; their distances, and what those of one graph say alone."""

from collections.abc import Hashable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from ...circuits import Circuit, compare
from ...circuits.arguments import names_problems
from ...circuits.comparable import check_comparable, mapping_problems
from ...circuits.conditions import AGAIN, Couple, compared_conditions, condition_of, replicates_of
from ...circuits.similarity import jensen_shannon
from ..bounds import MIN_GRAPHS

Trainings = Mapping[str, Circuit]
"""The circuits of one graph's trainings, by names such as `taught` and `taught again`."""


def circuits_by_graph(given: Any) -> dict[Hashable, Trainings]:
    """The circuits by graph, those of a single one under an empty name; nothing if something else was given."""
    values = list(given.values()) if isinstance(given, Mapping) else []
    if any(isinstance(each, Circuit) for each in values):
        return {"": given}
    holds = [isinstance(each, Mapping) and any(isinstance(one, Circuit) for one in each.values()) for each in values]
    return dict(given) if any(holds) else {}


def conditions_of(circuits: Mapping[Hashable, Trainings]) -> tuple[str, ...]:
    """All conditions, in the order in which they come."""
    names = [name for each in circuits.values() if isinstance(each, Mapping) for name in each]
    return tuple(dict.fromkeys(condition_of(name) for name in names if isinstance(name, str)))


def lacking_circuits(circuits: Mapping[Hashable, Trainings], conditions: Any) -> list[str]:
    """What is no circuit, and which circuits a test of two conditions lacks; replicates only where several graphs decide."""
    wrong = [f"{_on(graph)}{each}" for graph, given in circuits.items() for each in mapping_problems(given)]
    if wrong:
        return wrong
    if names_problems(conditions=conditions) or len(conditions) != 2 or len(set(conditions)) != 2:
        known = ", ".join(map(repr, conditions_of(circuits)))
        return [f"conditions are the names of two, as in conditions=('a', 'b'), got {conditions!r}; there are {known}"]
    problems = []
    for graph, given in circuits.items():
        lacking = [name for name in conditions if name not in map(condition_of, given)]
        problems += [f"{_on(graph)}there is no circuit of {', '.join(map(repr, lacking))}"] if lacking else []
        if len(circuits) > 1 and not replicates_of(given, tuple(conditions)):
            names = " or ".join(repr(name + AGAIN) for name in conditions)
            problems.append(f"{_on(graph)}there is no replicate: give the circuit of a second training as {names}")
    return problems


def _on(graph: Hashable) -> str:
    return f"graph {graph}: " if graph != "" else ""


def jensen_shannon_by_couple(circuits: Trainings) -> dict[Couple, float]:
    """The Jensen–Shannon distance between all circuits of one graph.

    Raises:
        ValueError: if they were not measured alike.
    """
    check_comparable(circuits)
    effects = {name: circuit.table["effect"].to_numpy(dtype=float)[:, None] for name, circuit in circuits.items()}
    return {(a, b): float(jensen_shannon(effects[a], effects[b])[0]) for a, b in combinations(circuits, 2)}


def alone(circuits: Trainings, conditions: Couple, margin: float | None) -> tuple[dict[str, Any], str]:
    """What the circuits of one graph show: a row of the result's table, and why nothing is decided over trainings."""
    asked = {name: circuit for name, circuit in circuits.items() if condition_of(name) in conditions}
    summary = compare(asked, margin=margin, progress=False).summary()
    row, (pairs,) = summary.table.iloc[0], compared_conditions(asked).values()
    again = ", ".join(f"'{name}', '{name}{AGAIN}'" for name in conditions)
    reason = (
        f"one graph decides nothing over trainings, needed are {MIN_GRAPHS} with replicates, as in "
        f"{{graph: {{{again}}}, …}}; of these circuits alone: {summary.sentences[0]}"
    )
    ratio = row["distance"] / row["replicates"] if row["replicates"] else np.nan
    distances = {"distance": row["distance"], "replicate_distance": row["replicates"], "ratio": ratio}
    return {"graph": "", **distances, "furthest_replicates": np.nan, "pairs": len(pairs)}, reason
