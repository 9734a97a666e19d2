"""What a claim's audit rests on: an audit of the circuit of each of a graph's models that the claim is about."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from ...tasks import PromptPairs, TwoHopTask, two_hop
from ...tasks.models.building import build_model
from ..forward.model import graph_of
from ..patching.circuit_runs import MIN_PAIRS
from ..patching.discovery import discover
from ..sameness.path_distances import answered_pairs
from ..validity.audit import audit
from ..validity.audit_result import AuditResult
from .dissociation_measurement import HOP1_OOD
from .specimens import Arms, Specimen

TOP, SHARE = 20, 0.1  # edges of a circuit: a tenth of the graph's, but no fewer than these
N_RANDOM = 20


@dataclass(frozen=True, eq=False)
class AuditMeasurement:
    """The audits of one graph, by arm; one that answers too few questions, or whose edges do not connect, has none."""

    audits: Mapping[str, AuditResult]


def measure_audits(
    arms: Arms, split: str, n_pairs: int, seed: int = 0, done: Callable[[], object] = lambda: None
) -> AuditMeasurement:
    """Find a circuit of each model on one half of the pairs that it answers and audit it on the other.

    Args:
        arms: specimens of one graph.
        split: two-hop questions.
        n_pairs: asked for, at most.
        seed: of all that is random.
        done: called after each arm.
    """
    audits = {}
    for name, each in arms.items():
        if (found := _audited(each, split, n_pairs, seed)) is not None:
            audits[name] = found
        done()
    return AuditMeasurement(audits)


def _audited(one: Specimen, split: str, n_pairs: int, seed: int) -> AuditResult | None:
    """Beside: pairs that differ in r2 as a control variable, atomic questions as another task, OOD+ID ones as others."""
    model, task = one.model, two_hop(one.task)
    pairs = _answered(one, split, "bridge", n_pairs, seed)
    if pairs is None or len(pairs) < 2 * MIN_PAIRS:
        return None
    chosen_on, judged_on = pairs.halves()
    n_edges = len(graph_of(model, pairs.roles, pairs.answer_position).edges)
    circuit = discover(model, chosen_on, top_k=max(TOP, int(SHARE * n_edges)), progress=False, seed=seed)
    if not circuit.kept_edges:
        return None
    asked = {
        "controls": {"r2": _answered(one, split, "relation_2", n_pairs, seed)},
        "other_splits": {"OOD+ID questions": _answered(one, HOP1_OOD, "bridge", n_pairs, seed)},
        "other_tasks": {"atomic questions": _right(lambda: atomic_pairs(task, n_pairs, seed=seed).keep_correct(model))},
    }
    there: Any = {kind: {name: each for name, each in of.items() if each is not None} for kind, of in asked.items()}
    return audit(
        model,
        circuit,
        judged_on,
        task=task,
        queries=task.split(split),
        **there,
        untrained=None if one.shape is None else build_model(one.shape, task, seed=seed).eval(),
        n_random=N_RANDOM,
        progress=False,
        seed=seed,
    )


def _answered(one: Specimen, split: str, contrast: str, n: int, seed: int) -> PromptPairs | None:
    return _right(lambda: answered_pairs({"one": one.model}, one.task, split, contrast, n, seed)[1])


def _right(make: Callable[[], PromptPairs]) -> PromptPairs | None:
    """Pairs that a model answers on both sides; None if it answers none."""
    with suppress(ValueError):
        return make()
    return None


def atomic_pairs(task: TwoHopTask, n: int, *, seed: int) -> PromptPairs:
    """Pairs of ID facts with other answers: the other task that a circuit of compositions is judged on."""
    facts = task.split("id_atomic")
    order = torch.randperm(len(facts), generator=torch.Generator().manual_seed(seed), device="cpu")
    n = min(n, len(facts) // 2)
    clean, corrupt = facts.take(order[:n]), facts.take(order[n : 2 * n])
    differ = (clean.answers != corrupt.answers).nonzero()[:, 0]
    clean, corrupt = clean.take(differ), corrupt.take(differ)
    return PromptPairs(
        clean.tokens,
        corrupt.tokens,
        clean.answers,
        corrupt.answers,
        roles=clean.roles,
        answer_position=clean.answer_position,
        contrast="fact",
        unit=clean.unit,
    )
