"""Audit a circuit: every instrument that can run on it, and a word for each of the 28 criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...circuits import Circuit, Edge
from ...circuits.arguments import MOST_REPEATS, common_problems, names_problems, refuse, whole_problems
from ...tasks import PromptPairs, Queries
from ...tasks.questions.given import kind_of, queries_problems
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..bridge.sources import Source
from ..forward.engine import Choice, engine_of
from ..forward.model import check_reachable
from ..patching.choosing import shared_with_choosing
from ..patching.circuit_runs import check_enough
from ..patching.judging import check_graph, circuit_problems, edges_to_judge
from ..patching.metrics import AnyMetric, as_metric, logit_difference
from ..patching.other_prompts import prompts_problems
from .audit_result import AuditResult, audited
from .entries import entries_of
from .evidence_of_circuit import measure_circuit


def audit(
    model: Model,
    circuit: Circuit,
    pairs: PromptPairs,
    *,
    task: Source | None = None,
    queries: Queries | None = None,
    controls: Mapping[str, PromptPairs] | None = None,
    other_tasks: Mapping[str, PromptPairs] | None = None,
    other_splits: Mapping[str, PromptPairs] | None = None,
    replicates: Sequence[Circuit] = (),
    untrained: Model | None = None,
    predicted: Sequence[Edge | str] | None = None,
    n_random: int = 100,
    allow_shared: bool = False,
    metric: AnyMetric = logit_difference,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> AuditResult:
    """Hold a circuit against the 28 criteria of Mechanistic Validity (2026), see `validity.criteria`.

    Each criterion gets a number with its n and the function that measured it; from these follow the level at which the
    claim can be made, and its tier. What needs more than model, circuit and pairs is `not measured` unless it is given:
    control variables, other tasks, other questions, other trainings, an untrained model, edges predicted beforehand. That
    it holds in another architecture (E6) and that prose agrees (V3) is more than one circuit can show.

    Args:
        model: the one that the circuit was found in; left unmodified.
        circuit: found on other pairs than these, with `per_query` changes, as `discover` keeps them.
        pairs: to judge it on.
        task: gives donors and the questions for mean states, for what is asked of an intermediate (E1, E2, I3, M3); without
            one the pairs do, if they carry intermediates.
        queries: of the task, to be asked.
        controls: by name, pairs that differ in another variable, which the circuit should not carry.
        other_tasks: by name, pairs of tasks that the circuit should not do.
        other_splits: by name, other questions of the task, on which it should hold.
        replicates: circuits of the same edges from other trainings, on pairs of their own.
        untrained: a model of the same shape with random weights.
        predicted: edges that were named before the circuit was found.
        n_random: random circuits to compare with.
        allow_shared: see `faithfulness`.
        metric: see `path_patch`.
        max_memory: bytes that may be used; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show bars, in terminals and notebooks, for what takes longer than two seconds.
        seed: of all that is random.

    Raises:
        ValueError: for wrong arguments (all problems at once), such as predicted edges that the circuit did not measure, or
            a task without queries; and if circuit or pairs cannot be judged, as `faithfulness` says.
    """
    counts = whole_problems(1, most=MOST_REPEATS, n_random=n_random)
    common = common_problems(allow_shared=allow_shared, max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    others = {"controls": controls, "other_tasks": other_tasks, "other_splits": other_splits}
    of_prompts = [problem for name, prompts in others.items() for problem in _others_problems(name, prompts)]
    of_task = ["queries are of a task: give it, too"] if queries is not None and task is None else []
    of_task += ["a task has many questions: give the queries to ask, too"] if task is not None and queries is None else []
    of_task += [] if queries is None else queries_problems(queries=queries)
    of_task += [] if task is None else _task_problems(task)
    of_circuit = circuit_problems(**{"a circuit": circuit})
    of_circuits = of_circuit + _replicate_problems(replicates)
    named = [] if of_circuit or predicted is None else _predicted_problems(circuit, predicted)
    refuse(pairs_problems(pairs=pairs) + counts + common + of_circuits + of_prompts + of_task + named)
    check_reachable(model)
    for each in (pairs, *(each for prompts in others.values() for each in (prompts or {}).values())):
        each.check_against(model)
    check_enough(pairs)
    shared_with_choosing(circuit.provenance, pairs, allow_shared=allow_shared)
    edges_to_judge(circuit)
    check_graph(engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine).graph, circuit)
    if untrained is not None:
        check_reachable(untrained)
        pairs.check_against(untrained)
    metric = as_metric(metric)
    if queries is not None:
        queries.check_against(model, intermediates=list(queries.intermediates))
    found = measure_circuit(
        model,
        circuit,
        pairs,
        task=task,
        queries=queries,
        controls=controls or {},
        other_tasks=other_tasks or {},
        other_splits=other_splits or {},
        replicates=replicates,
        untrained=untrained,
        predicted=None if predicted is None else [Edge.parse(str(each)) for each in predicted],
        n_random=n_random,
        allow_shared=allow_shared,
        metric=metric,
        max_memory=max_memory,
        engine=engine,
        progress=progress,
        seed=seed,
    )
    return audited(entries_of(found), f"{model.cfg.model_name}, {len(circuit.kept_edges)} edges")


def _replicate_problems(replicates: Any) -> list[str]:
    """What is wrong with circuits of other trainings."""
    if isinstance(replicates, str) or not isinstance(replicates, Sequence):
        return [f"replicates is {kind_of(replicates)}, needed are circuits, as in replicates=[circuit]"]
    return [f"replicates: {problem}" for each in replicates for problem in circuit_problems(**{"a circuit": each})]


def _others_problems(name: str, prompts: Any) -> list[str]:
    """What is wrong with other prompts; there may be none."""
    is_none = prompts is None or (isinstance(prompts, Mapping) and not prompts)
    return [] if is_none else prompts_problems(name, prompts, each="{name}[{key!r}]")


def _task_problems(task: Any) -> list[str]:
    """Why something is no task."""
    is_one = isinstance(task, Source) and not isinstance(task, type)
    return [] if is_one else [f"task is {kind_of(task)}, needed is one, such as tasks.TwoHopTask.random() or a run's task"]


def _predicted_problems(circuit: Circuit, predicted: Sequence[Edge | str]) -> list[str]:
    """What is wrong with edges that were named beforehand."""
    is_list = isinstance(predicted, Sequence) and not isinstance(predicted, str)
    if problems := names_problems(predicted=list(map(str, predicted)) if is_list else predicted):
        return problems
    named, measured = [str(each) for each in predicted], set(map(str, circuit.measured_edges))
    unknown = [name for name in named if name not in measured]
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    problems = [f"predicted edges that the circuit did not measure: {', '.join(unknown)}"] if unknown else []
    problems += [f"predicted edges are named more than once: {', '.join(twice)}"] if twice else []
    return problems + ([] if named else ["predicted names no edge"])
