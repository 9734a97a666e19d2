"""What claim (ii) is decided from: bridge evidence, lens and accuracies of a graph's models, and of models set by hand."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from ...tasks import exact_match, shortcut_accuracy, two_hop
from ...tasks.models.building import build_model
from ...tasks.models.by_hand import CODE, DECOY, TWO_HOPS, models_by_hand
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.interchange import InterchangeResult, interchange
from ..bridge.lens import LensResult, logit_lens
from .specimens import Arms, Specimen, mixing_shape

OOD, HOP1_OOD, IID = "test_inferred_ood", "test_inferred_ood_id", "test_inferred_iid"
PATH_SPLITS = (OOD, HOP1_OOD, IID)
LENS, PROBE = "lens", "probe"
RANDOM = "random weights"
ASKED = {
    **{"exposed": (OOD,), "natural": PATH_SPLITS, "before": PATH_SPLITS, "taught": (OOD, HOP1_OOD)},
    **{TWO_HOPS: PATH_SPLITS, CODE: (OOD, HOP1_OOD), DECOY: (OOD, HOP1_OOD), RANDOM: (OOD,)},
}
"""By model, the questions on which there is evidence on the bridge; where there are three, also a lens."""
BY_HAND = (TWO_HOPS, CODE, DECOY)
ANSWERED_WRONG = ("before", "untied")


@dataclass(frozen=True, eq=False)
class DissociationMeasurement:
    """What was measured on one graph; an arm that is missing is in no mapping.

    Attributes:
        evidence: by model and split; models are the arms and those of `models_by_hand`.
        lenses: by model, what can be read on OOD+OOD questions.
        wrong: by arm, what exchanged states do to OOD+OOD questions that are answered wrong, if there are any.
        accuracy: by model, exact match on all OOD+OOD questions.
        floors: by model, the best shortcut's exact match there, learned from that model's training compositions.
        n_questions: OOD+OOD questions.
        reading: by what bridges are read: a lens, or a probe where the network mixes tokens, since there the head reads
            next to none of what is used.
    """

    evidence: Mapping[str, Mapping[str, EvidenceResult]]
    lenses: Mapping[str, LensResult]
    wrong: Mapping[str, InterchangeResult]
    accuracy: Mapping[str, float]
    floors: Mapping[str, float]
    n_questions: int
    reading: str = LENS


def n_measured(arms: Arms) -> int:
    """How many times `measure_dissociation` gathers evidence."""
    controls = BY_HAND if mixing_shape(arms) is None else (*BY_HAND, RANDOM)
    return sum(len(splits) for name, splits in ASKED.items() if name in arms or name in controls)


def measure_dissociation(
    arms: Arms, n_questions: int, seed: int = 0, done: Callable[[], object] = lambda: None
) -> DissociationMeasurement:
    """Evidence, lens, accuracies and floors of one graph; arguments as of `dissociation.accuracy_without_circuit`.

    Controls set by hand get the same questions, as many of them, and count as trained on what the exposed arm was; so does,
    where arms mix tokens, a network of that shape with random weights. `done` is called whenever there is evidence on one
    split.
    """
    task = two_hop(next(arms[name] for name in (*ASKED, *arms) if name in arms).task)
    by_hand = {name: Specimen(model, task, {}) for name, model in models_by_hand(task, seed=seed).items()}
    mixing = mixing_shape(arms)
    untrained = {} if mixing is None else {RANDOM: Specimen(build_model(mixing, task, seed=seed).eval(), task, {})}
    models = {**arms, **by_hand, **untrained}
    asked = {name: ASKED[name] for name in models if name in ASKED}
    evidence = {
        name: {split: _evidence(models[name], split, n_questions, seed, done) for split in splits}
        for name, splits in asked.items()
    }
    lenses = {name: _lens(models[name], seed) for name, splits in asked.items() if splits == PATH_SPLITS}
    wrong = {name: found for name in ANSWERED_WRONG if name in arms and (found := _wrong(arms[name], seed)) is not None}
    accuracy = {name: float(exact_match(m.model, m.task.split(OOD)).double().mean()) for name, m in models.items()}
    floors = {name: max(shortcut_accuracy(m.task, m.task.split(OOD)).values()) for name, m in models.items()}
    reading = PROBE if mixing else LENS
    return DissociationMeasurement(evidence, lenses, wrong, accuracy, floors, len(task.split(OOD)), reading)


def _evidence(one: Specimen, split: str, n_questions: int, seed: int, done: Callable[[], object]) -> EvidenceResult:
    found = bridge_evidence(one.model, one.task, split, n=n_questions, progress=False, seed=seed)
    done()
    return found


def _lens(one: Specimen, seed: int) -> LensResult:
    return logit_lens(one.model, one.task.split(OOD), progress=False, seed=seed)


def _wrong(one: Specimen, seed: int) -> InterchangeResult | None:
    with suppress(ValueError):  # no question is answered wrong and has donors
        return interchange(one.model, one.task, one.task.split(OOD), answered="wrong", progress=False, seed=seed)
    return None
