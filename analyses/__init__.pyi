from .bridge.back_patching import BackPatchingResult, back_patch
from .bridge.causal_tracing import CausalTraceResult, causal_trace, trace_inputs
from .bridge.contingency import found_by_correct, frechet_bounds
from .bridge.copies import BridgeCopiesResult, bridge_copies
from .bridge.cycle_distances import CycleDistancesResult, cycle_distances
from .bridge.directions import BridgeDirectionResult, ablate_bridge, steer_bridge
from .bridge.evidence import EvidenceResult, bridge_evidence
from .bridge.geometry import GeometryResult, bridge_geometry
from .bridge.graded_response import GradedResponseResult, graded_response
from .bridge.interchange import InterchangeResult, interchange
from .bridge.lens import LensResult, logit_lens
from .bridge.probing import ProbeResult, probe_bridge
from .bridge.query_view import QueryView, view_query
from .bridge.reading_methods import ReadingMethodsResult, compare_readings
from .bridge.realignment import RealignmentResult, realign
from .bridge.standing import bridge_standing
from .claims.by_age import ByAgeResult, same_path_by_age
from .claims.cost import CostResult, cost_of_waiting
from .claims.dissociation import accuracy_without_circuit
from .claims.regimes import RegimeResult, compare_regimes
from .claims.rules import ClaimResult
from .claims.same_path import same_inference_path
from .claims.specimens import Specimen, study_arms
from .claims.transfer import transfer_of_new_facts
from .claims.transfer_evidence import TransferEvidenceResult, transfer_evidence
from .edits.edit_facts import edit_facts
from .edits.edit_result import EditResult
from .forward.model import graph_of
from .patching.attention import AttentionResult, AttentionView, attribute_attention, view_attention
from .patching.attribution import edge_attribution
from .patching.circuit_runs import run_with_edge_sets, run_with_edges
from .patching.composition import CompositionResult, composition_scores
from .patching.discovery import discover
from .patching.effects import PatchingResult
from .patching.exact import activation_patch, path_patch
from .patching.faithfulness import FaithfulnessResult, faithfulness
from .patching.metrics import (
    Metric,
    answer_probability,
    cross_entropy,
    exact_match,
    kl_to_clean,
    logit_difference,
    probability_difference,
)
from .patching.necessity import NecessityResult, necessity
from .patching.other_prompts import OtherPromptsResult, judge_on
from .patching.query_details import QueryDetails, query_details
from .patching.reliability import ReliabilityResult, split_half
from .patching.rivals import RivalResult, rival_circuits
from .patching.transplant import TransplantResult, transplant
from .plots.curves import accuracy_curves
from .plots.heatmaps import lens_heatmaps
from .sameness.direction_transfer import DirectionTransferResult, content_distance, direction_transfer
from .sameness.equivalence import EquivalenceResult, equivalence
from .sameness.evidence_profile import evidence_profile
from .sameness.invariance import InvarianceResult, invariance
from .sameness.path_distances import PathDistances, path_distances
from .sameness.power import graphs_needed
from .sameness.profile import Profile
from .sameness.profile_distance import ProfileDistance, profile_distance
from .sameness.state_profile import state_profile
from .training.exposure import ExposureResult, accuracy_by_exposure
from .training.growth import RunSummary, summarise_run
from .training.loops import LoopResult, accuracy_by_loops
from .training.trajectory import CircuitTrajectory, trajectory
from .validity.audit import audit
from .validity.audit_result import AuditResult

__all__ = [
    "AttentionResult",
    "AttentionView",
    "AuditResult",
    "BackPatchingResult",
    "BridgeCopiesResult",
    "BridgeDirectionResult",
    "ByAgeResult",
    "CausalTraceResult",
    "CircuitTrajectory",
    "ClaimResult",
    "CompositionResult",
    "CostResult",
    "CycleDistancesResult",
    "DirectionTransferResult",
    "EditResult",
    "EquivalenceResult",
    "EvidenceResult",
    "ExposureResult",
    "FaithfulnessResult",
    "GeometryResult",
    "GradedResponseResult",
    "InterchangeResult",
    "InvarianceResult",
    "LensResult",
    "LoopResult",
    "Metric",
    "NecessityResult",
    "OtherPromptsResult",
    "PatchingResult",
    "PathDistances",
    "ProbeResult",
    "Profile",
    "ProfileDistance",
    "QueryDetails",
    "QueryView",
    "ReadingMethodsResult",
    "RealignmentResult",
    "RegimeResult",
    "ReliabilityResult",
    "RivalResult",
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
    "answer_probability",
    "attribute_attention",
    "audit",
    "back_patch",
    "bridge_copies",
    "bridge_evidence",
    "bridge_geometry",
    "bridge_standing",
    "causal_trace",
    "compare_readings",
    "compare_regimes",
    "composition_scores",
    "content_distance",
    "cost_of_waiting",
    "cross_entropy",
    "cycle_distances",
    "direction_transfer",
    "discover",
    "edge_attribution",
    "edit_facts",
    "equivalence",
    "evidence_profile",
    "exact_match",
    "faithfulness",
    "found_by_correct",
    "frechet_bounds",
    "graded_response",
    "graph_of",
    "graphs_needed",
    "interchange",
    "invariance",
    "judge_on",
    "kl_to_clean",
    "lens_heatmaps",
    "logit_difference",
    "logit_lens",
    "necessity",
    "path_distances",
    "path_patch",
    "probability_difference",
    "probe_bridge",
    "profile_distance",
    "query_details",
    "realign",
    "rival_circuits",
    "run_with_edge_sets",
    "run_with_edges",
    "same_inference_path",
    "same_path_by_age",
    "split_half",
    "state_profile",
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
