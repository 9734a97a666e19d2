"""Everything that is measured of one circuit for its audit: the results of the instruments, each called once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ...circuits import Circuit, Edge
from ...circuits.similarity import overlap_at, rank_correlation
from ...tasks import PromptPairs, Queries
from ...tasks.transformerlens import Model
from ..bridge.graded_response import GradedResponseResult, graded_response
from ..bridge.sources import Source
from ..forward.composition import weight_problems
from ..forward.engine import Choice
from ..forward.places import asked_as
from ..forward.rewritten import rewrite_problems
from ..patching.attribution import edge_attribution
from ..patching.circuit_runs import MIN_PAIRS, CircuitRuns
from ..patching.composition import CompositionResult, composition_scores
from ..patching.effects import Direction
from ..patching.exact import path_patch
from ..patching.faithfulness import FaithfulnessResult, faithfulness
from ..patching.judging import runs_to_judge
from ..patching.metrics import AnyMetric, exact_match
from ..patching.necessity import NecessityResult, necessity
from ..patching.other_prompts import OtherPromptsResult, judge_on
from ..patching.reliability import ReliabilityResult, split_half
from ..patching.rivals import RivalResult, rival_circuits
from ..sameness.invariance import InvarianceResult, invariance
from .planted import planted_auroc

MOST_KNOCKED_OUT = 20  # random circuits, by each of four ablations
METHODS = ("eap", "eap_ig_inputs")
"""Instruments that name edges, too, beside exact patching."""
OPPOSITE: Mapping[Any, Direction] = {"noising": "denoising", "denoising": "noising"}


@dataclass(frozen=True, eq=False)
class CircuitEvidence:
    """What the instruments say of a circuit; None where one cannot run, with the reason in `reasons`.

    Attributes:
        circuit: that is audited.
        pairs: that it is judged on.
        faithfulness, necessity, rivals, reliability, composition, invariance, graded: of the instrument of that name.
        on_target: the circuit judged by exact match.
        controls, other_tasks, other_splits: judged on other prompts.
        ends: faithfulness of no edge and of all.
        gap_interval: 95 % interval of the mean gap, in the metric's unit.
        named: a row for each other instrument, and for the other direction of patching, with name, kind (`instrument` or
            `direction`), correlation (rank correlation of effects) and overlap (Jaccard index of as many strongest edges as
            the circuit keeps).
        replicates: rank correlation of effects with those of other circuits, such as of another training.
        untrained_gap: the gap of the same pairs in a model that was not trained, as a share of the model's; NaN without one.
        planted: area under the ROC curve by which exact patching tells the edges of a circuit set by hand, how many these
            are, and of how many.
        predicted: edges that were named beforehand.
        reasons: by field, why it is None.
    """

    circuit: Circuit
    pairs: PromptPairs
    faithfulness: FaithfulnessResult
    on_target: OtherPromptsResult
    necessity: NecessityResult
    rivals: RivalResult | None
    invariance: InvarianceResult | None
    reliability: ReliabilityResult | None
    composition: CompositionResult | None
    graded: GradedResponseResult | None
    controls: OtherPromptsResult | None
    other_tasks: OtherPromptsResult | None
    other_splits: OtherPromptsResult | None
    ends: tuple[float, float]
    gap_interval: tuple[float, float]
    named: pd.DataFrame
    replicates: Sequence[float]
    untrained_gap: float
    planted: tuple[float, int, int]
    predicted: Sequence[Edge] | None
    reasons: Mapping[str, str]


def measure_circuit(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    task: Source | None,
    queries: Queries | None,
    controls: Mapping[str, PromptPairs],
    other_tasks: Mapping[str, PromptPairs],
    other_splits: Mapping[str, PromptPairs],
    replicates: Sequence[Circuit],
    untrained: Model | None,
    predicted: Sequence[Edge] | None,
    n_random: int,
    allow_shared: bool,
    metric: AnyMetric,
    max_memory: int | None,
    engine: Choice,
    progress: bool,
    seed: int,
) -> CircuitEvidence:
    """Run every instrument that can run; arguments as of `audit`."""
    plain: dict[str, Any] = {"max_memory": max_memory, "engine": engine, "progress": progress, "seed": seed}
    how: dict[str, Any] = plain | {"metric": metric}
    judged: dict[str, Any] = how | {"n_random": n_random, "allow_shared": allow_shared}
    reasons: dict[str, str] = {}

    def possible(field: str, problems: Sequence[str], measure: Callable[[], Any]) -> Any:
        """A result, or None and the reason, if the model is none that the instrument can take."""
        if not problems:
            return measure()
        reasons[field] = "; ".join(problems)
        return None

    def tried(field: str, measure: Callable[[], Any]) -> Any:
        """A result, or None and the reason why an instrument refuses; its arguments are known to be right by themselves."""
        try:
            return measure()
        except ValueError as error:
            reasons[field] = str(error)
            return None

    def on(prompts: Mapping[str, PromptPairs], measured_by: AnyMetric = metric) -> OtherPromptsResult | None:
        return judge_on(model, circuit, prompts, **plain, metric=measured_by, n_random=0) if prompts else None

    on_target = on({"the answer": pairs}, exact_match)
    assert on_target is not None
    runs = runs_to_judge(model, circuit, pairs, **how)
    floor, ceiling = runs.share(np.array([[False], [True]]).repeat(len(runs.graph.edges), 1))
    return CircuitEvidence(
        circuit=circuit,
        pairs=pairs,
        faithfulness=faithfulness(model, circuit, pairs, **judged),
        on_target=on_target,
        necessity=necessity(
            model, circuit, pairs, **how, n_random=min(n_random, MOST_KNOCKED_OUT), allow_shared=allow_shared
        ),
        rivals=possible(
            "rivals",
            _few_to_search_on(pairs),
            lambda: rival_circuits(model, circuit, pairs, **how, allow_shared=allow_shared),
        ),
        invariance=possible("invariance", rewrite_problems(model), lambda: invariance(model, circuit, pairs, **how)),
        reliability=tried("reliability", lambda: split_half(circuit, seed=seed)),
        composition=possible(
            "composition", weight_problems(model, circuit.graph), lambda: composition_scores(model, circuit, seed=seed)
        ),
        graded=tried("graded", lambda: _graded(model, pairs, task, queries, max_memory, progress, seed)),
        controls=on(controls),
        other_tasks=on(other_tasks),
        other_splits=on(other_splits),
        ends=(float(floor), float(ceiling)),
        gap_interval=runs.gap[1],
        named=_named(model, circuit, pairs, how),
        replicates=[_alike(circuit, other) for other in replicates],
        untrained_gap=_untrained_gap(untrained, runs, how, reasons),
        planted=planted_auroc(seed=seed),
        predicted=predicted,
        reasons=reasons,
    )


def _few_to_search_on(pairs: PromptPairs) -> list[str]:
    """Why rivals cannot be searched on one half of the pairs and judged on the other."""
    one, other = map(len, pairs.halves())
    few = f"rivals are searched on one half and judged on the other: {one} and {other} pairs, needed are {MIN_PAIRS} each"
    return [few] if min(one, other) < MIN_PAIRS else []


def _graded(
    model: Model,
    pairs: PromptPairs,
    task: Source | None,
    queries: Queries | None,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> GradedResponseResult:
    """Of the task's questions, or else of the pairs.

    Raises:
        ValueError: if neither knows an intermediate.
    """
    given = (pairs, None) if task is None else (task, queries)
    return graded_response(model, *given, max_memory=max_memory, progress=progress, seed=seed)


def _named(model: Model, circuit: Circuit, pairs: PromptPairs, how: Mapping[str, Any]) -> pd.DataFrame:
    """How alike effects are by other instruments, and in the other direction, on the same pairs."""
    direction: Direction = circuit.provenance.get("direction", "noising")
    opposite, asked = OPPOSITE[direction], asked_as(circuit.graph, circuit.measured_edges)
    exact: dict[str, Any] = {**how, **asked}
    attributed: dict[str, Any] = {**how, "edges": asked["edges"]}
    others = {method: edge_attribution(model, pairs, method=method, direction=direction, **attributed) for method in METHODS}
    others[opposite] = path_patch(model, pairs, direction=opposite, **exact)
    here = path_patch(model, pairs, direction=direction, **exact).table["effect"].to_numpy(dtype=float)[:, None]
    top = overlap_at(len(circuit.kept_edges))
    rows = []
    for name, result in others.items():
        there = result.table["effect"].to_numpy(dtype=float)[:, None]
        alike = {"correlation": float(rank_correlation(here, there)[0]), "overlap": float(top(here, there)[0])}
        rows.append({"name": name, "kind": "instrument" if name in METHODS else "direction", **alike})
    return pd.DataFrame(rows)


def _alike(circuit: Circuit, other: Circuit) -> float:
    """The rank correlation of effects over the edges that both measured."""
    both = pd.merge(circuit.table, other.table, on=["sender", "receiver"], suffixes=("", "_other"))
    effects = (both[name].to_numpy(dtype=float)[:, None] for name in ("effect", "effect_other"))
    return float(rank_correlation(*effects)[0])


def _untrained_gap(untrained: Model | None, runs: CircuitRuns, how: Mapping[str, Any], reasons: dict[str, str]) -> float:
    """The size of the gap in an untrained model, as a share of that in the model; NaN without one, or without a gap."""
    if untrained is None or runs.gap[2]:
        reasons["untrained_gap"] = "no untrained model was given" if untrained is None else runs.gap[2]
        return float("nan")
    return abs(CircuitRuns(untrained, runs.pairs, **how).gap[0] / runs.gap[0])
