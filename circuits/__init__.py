"""What was found: nodes, edges, circuits, how they compare and how they look. Knows no model and imports no torch."""

from .circuit import Circuit, connected
from .compare import CircuitComparison, compare
from .diagram import Diagram, draw
from .graph import ComputationGraph, Edge, Node
from .result import Result

__all__ = [
    "Circuit",
    "CircuitComparison",
    "ComputationGraph",
    "Diagram",
    "Edge",
    "Node",
    "Result",
    "compare",
    "connected",
    "draw",
]
