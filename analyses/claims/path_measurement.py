"""What claim (i) is decided from: how far the paths of a graph's models are apart, and descriptions of each.

Circuits, lens, causal traces and bridge evidence describe. Distances of circuits move under exact rewrites of a model, such
as an idle block at another place, so they stand beside and decide nothing.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...circuits import Circuit, compare
from ...circuits.conditions import AGAIN, Couple, condition_of
from ...tasks import perturb
from ..bridge.causal_tracing import CausalTraceResult, causal_trace
from ..bridge.evidence import EvidenceResult, bridge_evidence
from ..bridge.lens import LensResult, logit_lens
from ..patching.discovery import discover
from ..sameness.path_distances import MIN_PAIRS, PathDistances, answered_pairs, couples_of, path_distances
from .specimens import Arms

OOD = "test_inferred_ood"
TRACED = ("h", "r1")  # the tokens that make the bridge
JENSEN_SHANNON = {"jensen_shannon": "plain", "aligned jensen_shannon": "aligned"}
"""By the measure of `compare`, its column in `PathMeasurement.circuit_distances`."""
Couples = Collection[Couple]


@dataclass(frozen=True, eq=False)
class PathMeasurement:
    """What was measured on one graph's models.

    Attributes:
        distances: between trainings, by measure.
        evidence: by arm, on the bridge.
        lens: by arm, where and when bridge and answer can be read.
        steps: by arm, the training step; None if not known.
        answers_ood: by arm, exact match on OOD questions; None if not known.
        circuits: by arm, on the pairs that all these models get right; empty if there are too few, or nobody asked.
        circuit_distances: a row for each couple of arms a, b with their Jensen–Shannon distance, `plain` and `aligned`.
        traces: by arm, with h or r1 replaced; without replicates and arms that answer nothing correctly.
    """

    distances: PathDistances
    evidence: Mapping[str, EvidenceResult]
    lens: Mapping[str, LensResult]
    steps: Mapping[str, int | None]
    answers_ood: Mapping[str, float | None]
    circuits: Mapping[str, Circuit]
    circuit_distances: pd.DataFrame
    traces: Mapping[str, CausalTraceResult]


def n_measured(arms: Arms, *, describe: bool = True) -> int:
    """How many steps `measure_paths` takes: evidence and a circuit for each arm, and the distances."""
    return len(arms) * (1 + describe) + 1


def measure_paths(
    arms: Arms,
    split: str,
    compared: Couples,
    n_pairs: int,
    n_questions: int,
    seed: int = 0,
    describe: bool = True,
    done: Callable[[], object] = lambda: None,
) -> PathMeasurement:
    """Measure every model of a graph on the same pairs and questions.

    Args:
        arms: specimens that share graph and tests.
        split: two-hop questions.
        compared: couples of arms between which distances are needed, with all their replicates.
        n_pairs: prompt pairs asked for, at most.
        n_questions: for the evidence on the bridge and the transfer of its directions, at most.
        seed: of pairs, questions, halves and resampling.
        describe: also circuits and causal traces, which decide nothing.
        done: called `n_measured` times on the way.
    """
    task = next(iter(arms.values())).task
    models = {name: specimen.model for name, specimen in arms.items()}
    options: dict[str, Any] = {"progress": False, "seed": seed}
    evidence = {}
    for name, each in arms.items():
        evidence[name] = bridge_evidence(each.model, each.task, split, n=n_questions, **options)
        done()
    there = {condition_of(name) for name in models}
    asked = {
        "compared": [couple for couple in compared if there.issuperset(couple)],
        "n_pairs": n_pairs,
        "n_questions": n_questions,
    }
    distances = path_distances(models, task, split, evidence=evidence, **asked, **options)
    done()
    lens = {name: logit_lens(model, task.split(split), **options) for name, model in models.items()}
    circuits = _circuits(arms, split, n_pairs, seed, done) if describe else {}
    return PathMeasurement(
        distances,
        evidence,
        lens,
        {name: each.step for name, each in arms.items()},
        {name: each.accuracy.get(OOD) for name, each in arms.items()},
        circuits,
        circuit_distances(circuits, couples_of(circuits, compared)),
        _traces(arms, split, lens, seed) if describe else {},
    )


def circuit_distances(circuits: Mapping[str, Circuit], couples: Couples) -> pd.DataFrame:
    """Jensen–Shannon distances of couples of circuits, before and after the best alignment of loops and heads."""
    rows = []
    for a, b in couples:
        if circuits[a].graph != circuits[b].graph:  # tied blocks against untied ones: edges cannot be told to be the same
            rows.append({"a": a, "b": b})
            continue
        found = compare({a: circuits[a], b: circuits[b]}, n_bootstrap=2, progress=False).table
        values = found.set_index("measure")["value"]
        rows.append({"a": a, "b": b, **{name: values.get(measure) for measure, name in JENSEN_SHANNON.items()}})
    return pd.DataFrame(rows, columns=pd.Index(["a", "b", *JENSEN_SHANNON.values()]))


def _circuits(arms: Arms, split: str, n_pairs: int, seed: int, done: Callable[[], object]) -> dict[str, Circuit]:
    """On the pairs that all models answer; none if there are too few."""
    task, models = next(iter(arms.values())).task, {name: each.model for name, each in arms.items()}
    _, right = answered_pairs(models, task, split, "bridge", n_pairs, seed)
    found = {}
    for name, model in models.items():
        if len(right) >= MIN_PAIRS:
            found[name] = discover(model, right, progress=False, seed=seed)
        done()
    return found


def _traces(arms: Arms, split: str, lens: Mapping[str, LensResult], seed: int) -> dict[str, CausalTraceResult]:
    task = next(iter(arms.values())).task
    questions = task.split(split)
    perturbed = {role: perturb(task, questions, role, seed=seed) for role in TRACED}
    answering = [name for name in arms if not name.endswith(AGAIN) and lens[name].queries["correct"].any()]
    return {name: causal_trace(arms[name].model, questions, perturbed, progress=False) for name in answering}
