"""What was found: nodes, edges, circuits, how they compare and how they look. Knows no model and imports no torch."""

if not __name__.startswith("grokscope."):
    raise ImportError(f"`{__name__}` is a part of grokscope; write `from grokscope import {__name__}`")

from .circuit import Circuit, connected
from .circuit_tracer import from_circuit_tracer
from .compare import compare
from .compare_counterparts import CounterpartComparison, compare_counterparts
from .comparison import CircuitComparison
from .comparison_summary import ComparisonSummary
from .counterparts import counterparts
from .diagram import Diagram, draw
from .feature_graph import FeatureGraph
from .graph import ComputationGraph
from .interop import from_eap_ig, to_eap_ig
from .merged import MergedCircuit, merge_loops
from .neuronpedia import to_neuronpedia
from .node import Edge, Node
from .result import Result
from .step import Step

__all__ = [
    "Circuit",
    "CircuitComparison",
    "ComparisonSummary",
    "ComputationGraph",
    "CounterpartComparison",
    "Diagram",
    "Edge",
    "FeatureGraph",
    "MergedCircuit",
    "Node",
    "Result",
    "Step",
    "compare",
    "compare_counterparts",
    "connected",
    "counterparts",
    "draw",
    "from_circuit_tracer",
    "from_eap_ig",
    "merge_loops",
    "to_eap_ig",
    "to_neuronpedia",
]
