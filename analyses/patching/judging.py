"""What a circuit must be to be judged in a model: a circuit, not an empty one, and of the model's graph."""

from typing import Any

from ...circuits import Circuit, ComputationGraph, Edge
from ...circuits.arguments import shortly
from ...tasks import PromptPairs
from ...tasks.transformerlens import Model
from .circuit_runs import CircuitRuns


def circuit_problems(**given: Any) -> list[str]:
    """Which arguments, by name, are no circuits."""
    wrong = {name: value for name, value in given.items() if not isinstance(value, Circuit)}
    return [f"{name} is {shortly(value)}, needed is a Circuit, as `discover` gives" for name, value in wrong.items()]


def edges_to_judge(circuit: Circuit) -> list[Edge]:
    """The edges that a circuit keeps.

    Raises:
        ValueError: if it keeps none.
    """
    if not (kept := circuit.kept_edges):
        raise ValueError(
            f"the circuit keeps none of its {len(circuit.table)} edges{circuit.why_empty and f': {circuit.why_empty}'}"
        )
    return kept


def check_graph(graph: ComputationGraph, circuit: Circuit) -> None:
    """Refuse a circuit of another graph than the model's, of which positions are as in the circuit's: apart or together.

    Raises:
        ValueError: if it is of another.
    """
    graph = graph.together if circuit.graph.is_together and not graph.is_together else graph
    if graph != circuit.graph:
        raise ValueError(f"the circuit is of another graph than the model: {circuit.graph} against {graph}")


def runs_to_judge(model: Model, circuit: Circuit, pairs: PromptPairs, **how: Any) -> CircuitRuns:
    """Runs of circuits of the same graph, which have positions if this one has.

    Raises:
        ValueError: if the circuit is of another graph than the model.
    """
    runs = CircuitRuns(model, pairs, together=circuit.graph.is_together, **how)
    check_graph(runs.graph, circuit)
    return runs
