"""What claim (ii) is decided from: bridge evidence, a lens, wrong answers, accuracies and floors of a graph's models."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from ...tasks import shortcut_accuracy
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.interchange import InterchangeResult, interchange
from ..bridge.lens import LensResult, logit_lens
from .specimens import Arms

OOD, HOP1_OOD, IID = "test_inferred_ood", "test_inferred_ood_id", "test_inferred_iid"


@dataclass(frozen=True, eq=False)
class DissociationMeasurement:
    """What was measured on one graph's models; None where the arm is missing.

    Attributes:
        exposed, natural: evidence on OOD+OOD questions.
        before: evidence of that arm on ID questions and on questions of which hop 1 is OOD.
        before_lens: what can be read from it on OOD+OOD questions.
        before_wrong: whether wrong answers follow donors whose second hop is an ID fact; None if there are none.
        accuracy: exact match on OOD+OOD questions by arm.
        floor: the best shortcut's exact match there, learned from the exposed arm's training compositions.
    """

    exposed: EvidenceResult | None
    natural: EvidenceResult | None
    before: Mapping[str, EvidenceResult]
    before_lens: LensResult | None
    before_wrong: InterchangeResult | None
    accuracy: Mapping[str, float]
    floor: float


def measure_dissociation(arms: Arms, n_questions: int, seed: int = 0) -> DissociationMeasurement:
    """Evidence, lens, accuracies and floors of one graph; arguments as of `dissociation.accuracy_without_circuit`."""

    def evidence(name: str, split: str) -> EvidenceResult | None:
        if name not in arms:
            return None
        return bridge_evidence(arms[name].model, arms[name].task, split, n=n_questions, progress=False, seed=seed)

    before = {split: found for split in (IID, HOP1_OOD) if (found := evidence("before", split)) is not None}
    lens = wrong = None
    if "before" in arms:
        model, task = arms["before"].model, arms["before"].task
        lens = logit_lens(model, task.split(OOD), progress=False, seed=seed)
        with suppress(ValueError):  # no question is answered wrong and has donors
            wrong = interchange(model, task, task.split(OOD), answered="wrong", progress=False, seed=seed)
    accuracy = {name: each.accuracy[OOD] for name, each in arms.items() if OOD in each.accuracy}
    floor = float("nan")
    if "exposed final" in arms:
        task = arms["exposed final"].task
        floor = max(shortcut_accuracy(task, task.split(OOD)).values())
    exposed, natural = evidence("exposed", OOD), evidence("natural", OOD)
    return DissociationMeasurement(exposed, natural, before, lens, wrong, accuracy, floor)
