"""A call of each public function that runs a model."""

import functools
from collections.abc import Callable
from typing import Any

from handset import handset_model

from grokscope import analyses
from grokscope.circuits import Circuit
from grokscope.tasks import PromptPairs, TwoHopTask, make_pairs
from grokscope.tasks.transformerlens import HookedTransformer


@functools.cache
def _evidence(task: TwoHopTask) -> analyses.EvidenceResult:
    return analyses.bridge_evidence(handset_model(task.graph), task, "test_inferred_iid", n=40)


def evidence_of(task: TwoHopTask) -> dict[str, analyses.EvidenceResult]:
    """Of a model that is not the one asked about."""
    return dict.fromkeys(("a", "b"), _evidence(task))


Call = Callable[[HookedTransformer, TwoHopTask, PromptPairs, Circuit], object]
SPLIT, ASKED = "train_inferred", "test_inferred_iid"
FEW: dict[str, Any] = {"n_random": 1, "allow_shared": True, "progress": False}
CALLS: dict[str, Call] = {
    "audit": lambda m, t, p, c: analyses.audit(m, c, p, **FEW),
    "graded_response": lambda m, t, p, c: analyses.graded_response(
        m, t, t.split(ASKED), cell=(0, "r1"), doses=(0.0, 1.0), progress=False
    ),
    "invariance": lambda m, t, p, c: analyses.invariance(m, c, p, n_rewrites=1, progress=False),
    "judge_on": lambda m, t, p, c: analyses.judge_on(m, c, {"own": p}, n_random=1, progress=False),
    "necessity": lambda m, t, p, c: analyses.necessity(m, c, p, **FEW),
    "rival_circuits": lambda m, t, p, c: analyses.rival_circuits(
        m, c, make_pairs(t, split=SPLIT, contrast="bridge", n=32, seed=1), n=2, allow_shared=True, progress=False
    ),
    "ablate_bridge": lambda m, t, p, c: analyses.ablate_bridge(m, t, t.split(ASKED)),
    "accuracy_by_exposure": lambda m, t, p, c: analyses.accuracy_by_exposure(m, t, t.split(SPLIT)),
    "activation_patch": lambda m, t, p, c: analyses.activation_patch(m, p),
    "attribute_attention": lambda m, t, p, c: analyses.attribute_attention(m, p, steps=2),
    "back_patch": lambda m, t, p, c: analyses.back_patch(m, t.split(SPLIT)),
    "bridge_copies": lambda m, t, p, c: analyses.bridge_copies(m, t, t.split(SPLIT), places=[["r1"]]),
    "bridge_evidence": lambda m, t, p, c: analyses.bridge_evidence(m, t, SPLIT, n=40),
    "bridge_geometry": lambda m, t, p, c: analyses.bridge_geometry(m, t),
    "compare_readings": lambda m, t, p, c: analyses.compare_readings(m, t, t.split(ASKED)),
    "causal_trace": lambda m, t, p, c: analyses.causal_trace(m, p.queries(), {"h": p.corrupt}),
    "cycle_distances": lambda m, t, p, c: analyses.cycle_distances(m, t.split(SPLIT)),
    "direction_transfer": lambda m, t, p, c: analyses.direction_transfer(m, m, t, SPLIT, n=40),
    "discover": lambda m, t, p, c: analyses.discover(m, p, top_k=3, progress=False),
    "edit_facts": lambda m, t, p, c: analyses.edit_facts(m, t, methods=["rank one"], n_edits=1, progress=False),
    "edge_attribution": lambda m, t, p, c: analyses.edge_attribution(m, p),
    "faithfulness": lambda m, t, p, c: analyses.faithfulness(m, c, p, allow_shared=True),
    "interchange": lambda m, t, p, c: analyses.interchange(m, t, t.split(ASKED)),
    "logit_lens": lambda m, t, p, c: analyses.logit_lens(m, t.split(SPLIT)),
    "path_distances": lambda m, t, p, c: analyses.path_distances(
        {"a": m, "b": m}, t, ASKED, evidence=evidence_of(t), compared=[("a", "b")], n_questions=40
    ),
    "path_patch": lambda m, t, p, c: analyses.path_patch(m, p, progress=False),
    "probe_bridge": lambda m, t, p, c: analyses.probe_bridge(m, t.split(SPLIT), targets=["bridge"]),
    "query_details": lambda m, t, p, c: analyses.query_details(m, p, token_names=t),
    "realign": lambda m, t, p, c: analyses.realign(m, t, t.split(SPLIT)),
    "run_with_edge_sets": lambda m, t, p, c: analyses.run_with_edge_sets(m, p, [[]]),
    "run_with_edges": lambda m, t, p, c: analyses.run_with_edges(m, p, []),
    "state_profile": lambda m, t, p, c: analyses.state_profile(m, p),
    "steer_bridge": lambda m, t, p, c: analyses.steer_bridge(m, t, t.split(ASKED)),
    "trace_inputs": lambda m, t, p, c: analyses.trace_inputs(m, p.queries(), {"h": p.corrupt}),
    "transplant": lambda m, t, p, c: analyses.transplant(m, m, c, p, allow_shared=True),
    "view_query": lambda m, t, p, c: analyses.view_query(m, t, p, 0),
}
