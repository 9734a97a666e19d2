"""Two circuits with different roles on one graph: which edges of the one have a counterpart in the other.

A mapping of roles is given: to the beginning of a chain of three hops, `{"h": "h", "r1": "r1", "r2": "r2"}`, or to its end,
`{"r1": "r2", "r2": "r3"}`. An edge has a counterpart if the other circuit measured the edge between the same components at
the role that the mapping leads to. Other edges lie outside, and it is said how much of a circuit's Σ |effect| they hold.

Where the chain goes on in one circuit and ends in the other, a decision is needed. At r2 the answer to two hops goes into
the logits; in three hops the same state is what r3 reads. These are taken for one thing: where only one circuit answers at
a common role, its edge from a node into the logits has as counterpart all edges from that node into keys and values at that
role that a role without a counterpart can read, and their effects are added. What the answering circuit itself sends to
these keys and values then lies outside; so does what its last layer sends to the logits, which nothing later could read.
Effects of single edges add up only as far as a model is linear in them: a sum need not be what patching all of them does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from .arguments import refuse
from .circuit import VERIFIED, Circuit
from .common_graph import answer_of, as_names, common_graph, role_mapping_problems
from .comparable import check_comparable, mapping_problems
from .graph import ComputationGraph
from .node import Edge
from .resampling import influence, n_units, units_of_queries

DIFFER = ("metric", "contrast", "pairs", "graph", "measured edges")
"""In what circuits of different questions may differ; see `draw`, whose `despite` takes these names."""
NO_ROLE, NOT_THERE = "its role has no counterpart", "the other circuit has no such edge"


@dataclass(frozen=True, eq=False)
class Laid:
    """Two circuits on one graph.

    Attributes:
        circuits: by label, with one table of edges, those that are common.
        places: by label, for each edge of the circuit as it was, the row of its counterpart; −1 for those outside.
        reasons: by label, why edges are outside; empty for the others.
    """

    circuits: dict[str, Circuit]
    places: dict[str, Int[np.ndarray, " edge"]]
    reasons: dict[str, list[str]]


def counterparts(circuits: Mapping[str, Circuit], roles: Mapping[str, str]) -> dict[str, Circuit]:
    """Lay two circuits with different roles onto one graph, to be drawn side by side, with the difference.

    Args:
        circuits: two by label, measured in one direction; metric, contrast and pairs may differ.
        roles: by role of the first circuit one of the second, whose names both have then.

    Returns:
        By label the circuits of all edges that have a counterpart. The caption says how much of Σ |effect| lies outside;
        `provenance["outside"]` holds it as `share`, with the numbers of edges and of kept ones there.

    Raises:
        ValueError: if these are not two circuits with known effects; if a role is not there or two lead to one; if layers,
            heads or loops differ, or positions see each other in another order; if no edge has a counterpart. The message
            names all of it.

    >>> graphs = [ComputationGraph.transformer(("h", "r1", "r2")[:n], ("r1", "r2")[n - 2], 2, 1, 1) for n in (2, 3)]
    >>> tables = [pd.DataFrame([(*map(str, edge), 0.5, 0.1, 8, 3.0, True) for edge in graph.edges],
    ...     columns=["sender", "receiver", "effect", "stderr", "n", "gap", "kept"]) for graph in graphs]
    >>> one, two = map(Circuit, tables, graphs)
    >>> found = counterparts({"one hop": one, "two hops": two}, {"h": "h", "r1": "r1"})
    >>> found["two hops"].graph.roles, len(found["one hop"].table) == len(found["two hops"].table)
    (('h', 'r1'), True)
    >>> [round(each.provenance["outside"]["share"], 3) for each in found.values()]
    [0.515, 0.523]
    """
    return laid(circuits, roles).circuits


def laid(circuits: Mapping[str, Circuit], roles: Mapping[str, str]) -> Laid:
    """See `counterparts`, also for what is refused."""
    refuse(counterpart_problems(circuits, roles))
    first, second = circuits.values()
    check_comparable(circuits, ignore=DIFFER)
    names = as_names(roles)
    graph = common_graph(first.graph, second.graph, names)
    own = [names, {role: role for role in graph.roles}]
    answers = [answer_of(each.graph, named) for each, named in zip((first, second), own, strict=True)]
    passed_on = graph.answer_role if bool(answers[0]) != bool(answers[1]) else ""
    renamed = [
        _renamed(circuit, named, graph, "" if answer else passed_on)
        for circuit, named, answer in zip((first, second), own, answers, strict=True)
    ]
    there = [set(filter(None, edges)) for edges in renamed]
    common = [edge for edge in graph.edges if edge in there[0] and edge in there[1]]
    if not common:
        raise ValueError(f"no edge of {' and '.join(map(repr, circuits))} has a counterpart at these roles: {dict(names)}")
    place = {edge: row for row, edge in enumerate(common)}
    places = [np.array([-1 if edge is None else place.get(edge, -1) for edge in edges], dtype=int) for edges in renamed]
    whole = {
        label: _on_common(circuit, graph, common, at) for (label, circuit), at in zip(circuits.items(), places, strict=True)
    }
    reasons = [[NO_ROLE if edge is None else "" if edge in place else NOT_THERE for edge in edges] for edges in renamed]
    return Laid(whole, dict(zip(circuits, places, strict=True)), dict(zip(circuits, reasons, strict=True)))


def outside_share(
    effects: Float[np.ndarray, "edge sample"], places: Int[np.ndarray, " edge"]
) -> Float[np.ndarray, " sample"]:
    """The share of Σ |effect| on edges without a counterpart; NaN without effects."""
    mass = np.abs(effects)
    with np.errstate(invalid="ignore", divide="ignore"):
        return mass[places < 0].sum(0) / mass.sum(0)


def counterpart_problems(circuits: Any, roles: Any) -> list[str]:
    """Why something is not two circuits that these roles lay onto one graph, whatever both may be."""
    if problems := mapping_problems(circuits):
        return problems
    if len(circuits) != 2:
        return [f"counterparts are of two circuits, got {len(circuits)}"]
    problems = role_mapping_problems(roles, {label: circuit.graph for label, circuit in circuits.items()})
    undefined = {label: circuit for label, circuit in circuits.items() if circuit.table["effect"].isna().any()}
    reasons = ", ".join(f"{label}: {circuit.provenance.get('reason', 'unknown')}" for label, circuit in undefined.items())
    return problems + ([f"these circuits have undefined effects ({reasons})"] if undefined else [])


def _renamed(circuit: Circuit, names: Mapping[str, str], graph: ComputationGraph, passed_on: str) -> list[Edge | None]:
    """For each edge its name on the common graph; None for those at roles without a counterpart.

    Args:
        circuit: with edges of its own graph.
        names: by role the common one.
        graph: the common one.
        passed_on: the common role at which the other circuit answers and this one does not; empty if there is none.
    """
    found: list[Edge | None] = []
    for edge in circuit.measured_edges:
        if not {edge.sender.role, edge.receiver.role} <= set(names):
            found.append(None)
            continue
        sender, receiver = (node._replace(role=names[node.role]) for node in edge)
        leaves = receiver.role == passed_on and any(
            node.role not in names for node in circuit.graph.outputs_of(edge.receiver)
        )
        found.append(Edge(sender, graph.answer if leaves else receiver))
    return found


def _on_common(
    circuit: Circuit, graph: ComputationGraph, common: Sequence[Edge], places: Int[np.ndarray, " edge"]
) -> Circuit:
    """The circuit of the common edges; effects of edges that fall together are added."""
    inside = places >= 0
    at, old = places[inside], circuit.table[inside]
    deltas = None if circuit.deltas is None else _added(circuit.deltas[inside].astype(float), at, len(common))
    table = pd.DataFrame({name: [str(getattr(edge, name)) for edge in common] for name in ("sender", "receiver")})
    numbers = {"effect": _added(old["effect"].to_numpy(dtype=float)[:, None], at, len(common))[:, 0]}
    numbers |= {name: circuit.table[name].iloc[0] for name in ("n", "gap")}
    table = table.assign(**numbers, kept=_added(old["kept"].to_numpy(dtype=float)[:, None], at, len(common))[:, 0] > 0)
    if "verified" in old:
        words = old["verified"].map(VERIFIED.index).groupby(at).max()
        table["verified"] = [VERIFIED[each] for each in words]
    found = Circuit(table.assign(stderr=np.nan), graph, _provenance(circuit, inside, table), deltas, circuit.donor_gaps)
    table = table.assign(stderr=_stderr(circuit, found, at, inside))
    columns = ["sender", "receiver", "effect", "stderr", "n", "gap", "kept", *(["verified"] if "verified" in table else [])]
    return replace(found, table=table[columns])


def _added(values: Float[np.ndarray, "edge sample"], at: Int[np.ndarray, " edge"], n: int) -> Float[np.ndarray, "n sample"]:
    """Sums of the rows that have one place."""
    found = np.zeros((n, values.shape[1]))
    np.add.at(found, at, values)
    return found


def _stderr(circuit: Circuit, found: Circuit, at: Int[np.ndarray, " edge"], inside: np.ndarray) -> Float[np.ndarray, " n"]:
    """Of edges that stand alone the measured one; of sums by the delta method, or NaN without changes by query."""
    alone, n = np.bincount(at, minlength=len(found.table)) == 1, len(found.table)
    added = influence(found, units := units_of_queries({"": found}, True)[""])
    several = added.std(axis=1, ddof=1) / np.sqrt(n_units(units)) if added.shape[1] > 1 else np.full(n, np.nan)
    measured = np.zeros(n)
    measured[at] = circuit.table["stderr"].to_numpy(dtype=float)[inside]
    return np.where(alone, measured, several)


def _provenance(circuit: Circuit, inside: np.ndarray, table: pd.DataFrame) -> dict[str, Any]:
    """What is known of the circuit, and what of it lies outside."""
    about = {name: value for name, value in circuit.provenance.items() if name not in ("view", "empty")}
    if not table["kept"].any():
        about["empty"] = "no edge that is kept has a counterpart"
    share = float(outside_share(circuit.table["effect"].to_numpy(dtype=float)[:, None], np.where(inside, 0, -1))[0])
    kept = int((circuit.table["kept"].to_numpy(dtype=bool) & ~inside).sum())
    return about | {"outside": {"share": share, "n_edges": int((~inside).sum()), "n_kept": kept}}
