"""What claim (i) is decided from: circuits on common pairs, bridge evidence, lens and causal traces of a graph's models."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...circuits import Circuit
from ...tasks import make_pairs, perturb
from ..bridge.causal_tracing import CausalTraceResult, causal_trace
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.lens import LensResult, logit_lens
from ..patching.discovery import discover
from .specimens import Arms

MIN_PAIRS = 50  # fewer say nothing about a circuit
TRACED = ("h", "r1")  # the tokens that make the bridge


@dataclass(frozen=True, eq=False)
class PathMeasurement:
    """What was measured on one graph's models.

    Attributes:
        circuits: by arm, on the pairs that all these models get right; empty if there are too few.
        circuits_all: by arm, on all pairs asked, right or wrong.
        evidence: by arm, on the bridge.
        lens: by arm.
        traces: by arm, with h or r1 replaced; without arms that answer nothing correctly.
        n_pairs: that all models get right, of n_asked.
    """

    circuits: Mapping[str, Circuit]
    circuits_all: Mapping[str, Circuit]
    evidence: Mapping[str, EvidenceResult]
    lens: Mapping[str, LensResult]
    traces: Mapping[str, CausalTraceResult]
    n_pairs: int
    n_asked: int


def measure_paths(arms: Arms, split: str, n_pairs: int, n_questions: int, seed: int = 0) -> PathMeasurement:
    """Measure every model of a graph on the same pairs and questions.

    Args:
        arms: specimens that share graph and tests.
        split: two-hop questions.
        n_pairs: prompt pairs asked for.
        n_questions: for the evidence on the bridge.
        seed: of pairs, questions, halves and resampling.
    """
    task = next(iter(arms.values())).task
    models = {name: specimen.model for name, specimen in arms.items()}
    questions = task.split(split)
    asked = make_pairs(task, split=split, contrast="bridge", n=n_pairs, seed=seed)
    right = asked.keep_correct(*models.values())
    opened = models if len(right) >= MIN_PAIRS else {}
    lens = {name: logit_lens(model, questions, progress=False, seed=seed) for name, model in models.items()}
    perturbed = {role: perturb(task, questions, role, seed=seed) for role in TRACED}
    answering = [name for name, each in lens.items() if each.queries["correct"].any()]
    return PathMeasurement(
        {name: discover(model, right, progress=False, seed=seed) for name, model in opened.items()},
        {name: discover(model, asked, progress=False, seed=seed) for name, model in models.items()},
        {
            name: bridge_evidence(each.model, each.task, split, n=n_questions, progress=False, seed=seed)
            for name, each in arms.items()
        },
        lens,
        {name: causal_trace(models[name], questions, perturbed, progress=False) for name in answering},
        len(right),
        asked.n_asked,
    )
