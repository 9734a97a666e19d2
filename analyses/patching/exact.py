"""Exact effects: path patching of every single edge or longer path, activation patching of every node."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ...circuits import ComputationGraph, Edge, Node
from ...circuits.arguments import choice_problems, common_problems, refuse
from ...circuits.destination import folder_problems
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice, budget, check_reachable, engine_of
from ..forward.places import check_edges, check_paths
from .effects import Direction, PatchingResult, patch_each
from .kept import keeping
from .metrics import AnyMetric, logit_difference
from .workers import Workers, measured_there, on_threads

Positions = Literal["separate", "together"]


def path_patch(
    model: Model,
    pairs: PromptPairs,
    *,
    edges: Iterable[Edge | str] | None = None,
    through: Sequence[Node | str] = (),
    positions: Positions = "separate",
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    per_query: bool = False,
    keep_in: str | Path | None = None,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> PatchingResult:
    """Patch one edge at a time: q, k and v separately, each position by itself or all together.

    Exact: everything after the patched input is recomputed, norms included, as in a forward pass with that edge replaced
    (tests compare it with `literal.patch_edge`). Effects of single edges do not add up. In a token-mixing network, where
    norms lie on the way, the input reads states rebuilt from what all components write, one of them from the other run, see
    `forward.recursion`; without such norms the two are the same.

    Inside `joblib.parallel_config(n_jobs=…)`, or with `backend="dask"`, single edges are measured by those workers, each
    with one thread of torch, or `inner_max_num_threads`. Killed ones are replaced; the numbers are those of one process
    with as many threads, to the bit.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        edges: which edges, as edges or names; by default all that can matter to the answer. With positions together names
            have no role: `MLP0 -> L1H0.v`.
        through: patch longer paths: from each edge's sender to its receiver, which may then be at other positions, directly
            and through these nodes, everything else frozen.
        positions: `"separate"`, or `"together"` to patch an edge at all positions in one run.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: a `Metric`, or a function of logits, answers and foils that gives one number for each query; by default the
            logit difference in nats.
        per_query: keep the change of every query, for intervals of comparisons.
        keep_in: a folder in which what is measured so far is kept, about every minute and on Ctrl-C or SIGTERM, so that the
            same call goes on and gives the same numbers, to the bit. It belongs to this model, these pairs, edges and
            settings; of a metric it knows the name alone.
        max_memory: bytes that may be used, results included, by each worker if there are some; by default a quarter of what
            is free, for all together.
        engine: `"fast"`, for models whose insides are known here; `"hooks"`, as exact and slower, for any with hook points;
            `"replay"`, for token mixing; `"auto"`, the fast one where it can be. The result's `method` names others.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstrap.

    Raises:
        KeyError: for edges that the model does not have.
        ValueError: for no pair, or tokens and positions that the model does not have (all problems at once); for paths that
            go backwards or through unknown nodes; for models with options that cannot be done exactly, with hooks or with
            logits that are not finite; for a metric of the wrong shape, or without a finite number for some prompts; for a
            folder that keeps the effects of something else, or with longer paths.
        MemoryError: if not a single pair of prompts fits into `max_memory`.
        RuntimeError: if workers are killed again and again.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; it says how far it came and how to go on.
    """
    common: dict[str, Any] = {"direction": direction, "per_query": per_query, "max_memory": max_memory, "engine": engine}
    choice = pairs_problems(pairs=pairs) + choice_problems(positions=(positions, ("separate", "together")))
    kept = [] if keep_in is None else folder_problems(keep_in=keep_in)
    kept += ["keep_in goes with single edges, without through"] if keep_in is not None and through else []
    refuse(choice + kept + common_problems(**common, progress=progress, seed=seed))
    check_reachable(model)
    pairs.check_against(model)
    workers = None if through else Workers.asked()
    memory = budget(max_memory, model) // (workers.n_jobs if workers and max_memory is None else 1)
    runs: dict[str, Any] = {"roles": pairs.roles, "answer_position": pairs.answer_position, "engine": engine}
    runner = engine_of(model, **runs, max_memory=memory)
    options: dict[str, Any] = {"direction": direction, "metric": metric}
    more: dict[str, Any] = {"per_query": per_query, "progress": progress, "seed": seed}
    if through:
        targets, between = _paths(runner.graph, edges, through, positions)
        patched = partial(runner.path_logits, through=between)
        return patch_each(model, runner, pairs, targets, patched, "sets", **options, **more)
    targets = targets_of(runner.graph, edges, positions)
    about: dict[str, Any] = {**options, "max_memory": max_memory, "memory": memory, "engine": runner.name}
    with keeping(keep_in, model, pairs, targets, **about) as question:
        remake, there = partial(engine_of, **runs, max_memory=memory if question is None else question.memory), None
        if question is not None and question.memory != memory:  # it goes on with the memory of its first call
            runner = remake(model)
        if workers is not None:
            there = partial(measured_there, workers=workers, model=model, remake=remake, folder=question and question.folder)
        more |= {"kept": question, "there": there}
        with on_threads(workers and workers.threads):
            return patch_each(model, runner, pairs, targets, runner.edge_logits, "copies", **options, **more)


def targets_of(graph: ComputationGraph, edges: Iterable[Edge | str] | None, positions: Positions) -> list[Edge]:
    """The edges asked for, from the inputs upwards."""
    possible = graph.edges if positions == "separate" else graph.component_edges
    wanted = set(possible) if edges is None else check_edges(graph, edges, possible)
    if not wanted:
        raise ValueError("no edge to patch: edges is empty; leave it out for all")
    return [edge for edge in possible if edge in wanted]


def _paths(
    graph: ComputationGraph, edges: Iterable[Edge | str] | None, through: Sequence[Node | str], positions: Positions
) -> tuple[list[Edge], set[Node]]:
    """The ends of the paths asked for, and the nodes in between."""
    if edges is None or positions != "separate":
        raise ValueError("longer paths need their ends, edges=[…], and positions='separate'")
    ends = [Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges]
    if not ends:
        raise ValueError("no path to patch: edges is empty; longer paths need their ends")
    between = {Node.parse(node) if isinstance(node, str) else node for node in through}
    check_paths(graph, ends, between)
    return ends, between


def activation_patch(
    model: Model,
    pairs: PromptPairs,
    *,
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    per_query: bool = False,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> PatchingResult:
    """Patch one node at a time: the embedding, each head and each MLP, at each position.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: a `Metric`, or a function of logits, answers and foils that gives one number for each query; by default the
            logit difference in nats.
        per_query: keep the change of every query.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        engine: `"fast"`, for models whose insides are known here; `"hooks"`, as exact and slower, for any with hook points;
            `"replay"`, for token mixing; `"auto"`, the fast one where it can be. The result's `method` names others.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstrap.

    Raises:
        ValueError: as `path_patch`.
    """
    common: dict[str, Any] = {"direction": direction, "per_query": per_query, "max_memory": max_memory, "engine": engine}
    refuse(pairs_problems(pairs=pairs) + common_problems(**common, progress=progress, seed=seed))
    pairs.check_against(model)
    runner = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine)
    return patch_each(
        model,
        runner,
        pairs,
        runner.graph.senders,
        runner.node_logits,
        "copies",
        direction=direction,
        metric=metric,
        per_query=per_query,
        progress=progress,
        seed=seed,
    )
