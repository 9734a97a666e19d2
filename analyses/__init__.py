"""How it is measured and what it means: lens, patching, discovery, faithfulness."""

from .activation_patching import activation_patch
from .arms import Specimen, study_arms
from .attention import AttentionResult, attribute_attention
from .attention_view import AttentionView, view_attention
from .back_patching import BackPatchingResult, back_patch
from .bridge_direction import BridgeDirectionResult, ablate_bridge, steer_bridge
from .causal_tracing import CausalTraceResult, causal_trace, trace_inputs
from .claim import ClaimResult
from .contingency import found_by_correct, frechet_bounds
from .cost import CostResult, cost_of_waiting
from .discovery import discover
from .dissociation import accuracy_without_circuit
from .edge_attribution import edge_attribution
from .edge_sets import run_with_edge_sets, run_with_edges
from .evidence import EvidenceResult, bridge_evidence
from .exposure import ExposureResult, accuracy_by_exposure
from .faithfulness import FaithfulnessResult, faithfulness
from .geometry import GeometryResult, bridge_geometry
from .growth import RunSummary, summarise_run
from .hooks import graph_of
from .interchange import InterchangeResult, interchange
from .lens import LensResult, logit_lens
from .loops import LoopResult, accuracy_by_loops
from .metrics import logit_difference
from .one_query import QueryView, view_query
from .patching import PatchingResult
from .path_patching import path_patch
from .plots import accuracy_curves, lens_heatmaps
from .probing import ProbeResult, probe_bridge
from .realignment import RealignmentResult, realign
from .regimes import RegimeResult, compare_regimes
from .same_path import same_inference_path
from .trajectory import CircuitTrajectory, cross_entropy, trajectory
from .transfer_evidence import TransferEvidenceResult, transfer_evidence
from .transferability import transfer_of_new_facts
from .transplant import TransplantResult, transplant

__all__ = [
    "AttentionResult",
    "AttentionView",
    "BackPatchingResult",
    "BridgeDirectionResult",
    "CausalTraceResult",
    "CircuitTrajectory",
    "ClaimResult",
    "CostResult",
    "EvidenceResult",
    "ExposureResult",
    "FaithfulnessResult",
    "GeometryResult",
    "InterchangeResult",
    "LensResult",
    "LoopResult",
    "PatchingResult",
    "ProbeResult",
    "QueryView",
    "RealignmentResult",
    "RegimeResult",
    "RunSummary",
    "Specimen",
    "TransferEvidenceResult",
    "TransplantResult",
    "ablate_bridge",
    "accuracy_by_exposure",
    "accuracy_by_loops",
    "accuracy_curves",
    "accuracy_without_circuit",
    "activation_patch",
    "attribute_attention",
    "back_patch",
    "bridge_evidence",
    "bridge_geometry",
    "causal_trace",
    "compare_regimes",
    "cost_of_waiting",
    "cross_entropy",
    "discover",
    "edge_attribution",
    "faithfulness",
    "found_by_correct",
    "frechet_bounds",
    "graph_of",
    "interchange",
    "lens_heatmaps",
    "logit_difference",
    "logit_lens",
    "path_patch",
    "probe_bridge",
    "realign",
    "run_with_edge_sets",
    "run_with_edges",
    "same_inference_path",
    "steer_bridge",
    "study_arms",
    "summarise_run",
    "trace_inputs",
    "trajectory",
    "transfer_evidence",
    "transfer_of_new_facts",
    "transplant",
    "view_attention",
    "view_query",
]
