"""Effects of all edges estimated from gradients: EAP and EAP-IG, by position and by query.

The change of the metric when one input reads a sender's donor output is estimated as (donor − base output of the sender) ·
(gradient of the metric by what the input reads), added to the base run as in `path_patch`: noising differentiates around the
clean run. Gradients are taken before the input's norm, so that the norm is part of what is linearised.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import einops
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from transformer_lens import HookedTransformer

from ...circuits import ComputationGraph, Edge
from ...tasks import PromptPairs
from ..forward.engine import MAX_BATCH, AnyRun, Engine, engine_of
from ..forward.places import Differences, Gradients, Objective, Sublayer, component, input_place, sublayer_of
from .effects import Direction, PatchingResult, base_and_donor, summarise
from .exact import path_patch
from .gap import Ends, check_metric, metric_values
from .metrics import AnyMetric, logit_difference
from .resolution import Resolution, Signal, resolution_of

Estimates = Float[np.ndarray, "edge query"]


@torch.no_grad()
def edge_attribution(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    method: str = "eap",
    steps: int = 5,
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    per_query: bool = False,
    error_against_exact: bool = False,
    n_compared: int = 200,
    max_batch: int = MAX_BATCH,
    seed: int = 0,
) -> PatchingResult:
    """Estimate the effect of every edge with a few forward and backward passes.

    `eap`: the gradient at the base run (Syed et al. 2023, arXiv 2310.10348). `eap_ig_inputs`: the mean gradient at
    `steps` midpoints on the straight line between the base and donor prompts' embeddings, positions included (Hanna et
    al. 2024, arXiv 2403.17806, whose points start at the corrupt end and leave positions out). `eap_ig_activations`: the
    mean gradient at `steps` midpoints between base and donor output of the sender's sublayer, a line for each.

    Args:
        model: any HookedTransformer whose options `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        method: one of `METHODS`, see above.
        steps: points on the line; `eap` does not use them.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: differentiable; logits, answers and foils to one number for each query.
        per_query: keep the estimated change of every query.
        error_against_exact: also patch a sample of the edges exactly and note in `error` how well estimates agree, if they
            have numbers.
        n_compared: size of that sample.
        max_batch: prompts run at once; bounds memory.
        seed: of the bootstrap and the sample.

    Returns:
        Estimated effects of single edges, in the units of `path_patch`; without numbers, and with the reason, where the
        gradient is no more than rounding.

    Raises:
        ValueError: for an unknown method or one that gives another shape, for a metric that cannot be differentiated, and
            as `path_patch`.
    """
    if method not in METHODS:
        raise ValueError(f"no method {method!r}; there are {', '.join(METHODS)}")
    pairs.check_against(model)
    (estimate, uses_steps), engine = METHODS[method], engine_of(model, pairs.roles, pairs.answer_position)
    graph = engine.graph
    base, donor = base_and_donor(pairs, direction)
    resolution = resolution_of(model, graph)
    deltas, ends = np.empty((len(graph.edges), len(pairs))), Ends(metric, len(pairs), direction, resolution)
    check_metric(engine, metric, pairs, resolution, max_batch)
    signal = Signal(ends.metric.name, resolution)
    for part_rows in torch.arange(len(pairs)).split(max_batch):
        rows = part_rows.numpy()
        part = pairs.take(part_rows)
        run, other = engine.run(base[part_rows], donor[part_rows])
        ends.note(rows, part, run, other)
        clean = (run if direction == "noising" else other).logits
        objective = signal.watch(partial(metric_values, metric, pairs=part, clean=clean))
        estimates = estimate(engine, run, other, objective, steps)
        deltas[:, rows] = _of_all_edges(estimates, method, len(graph.edges), len(part))
    weak = signal.reason or _too_small(deltas, ends, resolution)
    without = f"{weak} {_where(direction, uses_steps)}" if weak else ""
    summary = {"per_query": per_query, "seed": seed, "without_signal": without}
    result = summarise(model, pairs, graph, graph.edges, deltas, ends, **summary)
    result = replace(result, method=f"{method}, {steps} steps" if uses_steps else method)
    if not error_against_exact or result.reason:
        return result
    sample = np.sort(np.random.default_rng(seed).permutation(len(graph.edges))[:n_compared])
    edges = [graph.edges[i] for i in sample]
    exact = path_patch(model, pairs, edges=edges, direction=direction, metric=metric, max_batch=max_batch, seed=seed)
    return replace(result, error=_agreement(result.table["effect"].to_numpy()[sample], exact.table["effect"].to_numpy()))


def _too_small(deltas: Estimates, ends: Ends, resolution: Resolution) -> str:
    """Why estimates say nothing, if none is a share of the gap that the model's precision can tell from 0."""
    largest, gaps = np.abs(deltas.sum(1)).max(initial=0.0), np.abs(ends.donor_gaps).sum()
    if not largest <= torch.finfo(resolution.dtype).eps * gaps:
        return ""
    return f"estimates are below the resolution of {resolution.arithmetic}: {ends.metric.name} has next to no gradient"


def _where(direction: Direction, uses_steps: bool) -> str:
    """Where the gradient was taken, and what to do instead."""
    base = "clean" if direction == "noising" else "corrupt"
    if uses_steps:
        return "between the clean and the corrupt run; measure exactly"
    return f"at the {base} prompts; try method='eap_ig_inputs', or measure exactly"


def _of_all_edges(estimates: np.ndarray, method: str, n_edges: int, n_queries: int) -> Estimates:
    """The estimates, if there is one for each edge and query; others would be spread over them unnoticed."""
    if estimates.shape != (n_edges, n_queries):
        raise ValueError(
            f"method {method!r} must give {n_edges} edges × {n_queries} queries, got the shape {estimates.shape}"
        )
    return estimates


def _eap(engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int) -> Estimates:
    changes = engine.differences(base, donor)
    return _products(engine.graph, engine.graph.edges, changes, engine.input_gradients(base, objective, {}))


def _ig_inputs(engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int) -> Estimates:
    changes = engine.differences(base, donor)
    gradients = _mean_gradient(engine, base, objective, ("embed", -1), changes, steps)
    return _products(engine.graph, engine.graph.edges, changes, gradients)


def _ig_activations(engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int) -> Estimates:
    graph, changes = engine.graph, engine.differences(base, donor)
    places: dict[Sublayer, list[int]] = {}
    for i, edge in enumerate(graph.edges):
        places.setdefault(sublayer_of(graph, edge.sender), []).append(i)
    estimates = np.empty((len(graph.edges), len(base.logits)))
    for sublayer, rows in places.items():
        gradients = _mean_gradient(engine, base, objective, sublayer, changes, steps)
        estimates[rows] = _products(graph, [graph.edges[i] for i in rows], changes, gradients)
    return estimates


class Method(NamedTuple):
    """How effects are estimated.

    Attributes:
        estimate: engine, base run, donor run, objective and number of steps to the estimated change of the metric by each
            edge of the engine's graph.
        uses_steps: whether the number of steps matters, so that results name it.
    """

    estimate: Callable[[Engine[Any], Any, Any, Objective, int], Estimates]
    uses_steps: bool = True


METHODS = {
    "eap": Method(_eap, uses_steps=False),
    "eap_ig_inputs": Method(_ig_inputs),
    "eap_ig_activations": Method(_ig_activations),
}


def _mean_gradient(
    engine: Engine[AnyRun], base: AnyRun, objective: Objective, sublayer: Sublayer, changes: Differences, steps: int
) -> Gradients:
    """The mean gradient at midpoints of the line between base and donor output of one sublayer."""
    change = torch.stack([value for node, value in changes.items() if sublayer_of(engine.graph, node) == sublayer]).sum(0)
    points = [(k + 0.5) / steps for k in range(steps)]
    found = [engine.input_gradients(base, objective, {sublayer: point * change}) for point in points]
    return {at: torch.stack([each[at] for each in found]).mean(0) for at in found[0]}


def _products(graph: ComputationGraph, edges: Sequence[Edge], changes: Differences, gradients: Gradients) -> Estimates:
    """The sender's change · the gradient of what the receiver reads; all edges into one sublayer and position at once."""
    found = np.empty((len(edges), len(next(iter(changes.values())))))
    places: dict[tuple[Sublayer, int], list[int]] = {}
    for i, edge in enumerate(edges):
        places.setdefault((sublayer_of(graph, edge.receiver), graph.roles.index(edge.receiver.role)), []).append(i)
    for (sublayer, position), rows in places.items():
        senders = list(dict.fromkeys(component(edges[i].sender) for i in rows))
        change = torch.stack([changes[sender][:, position] for sender in senders])
        by_input = gradients[sublayer][:, position]
        product = einops.einsum(change, by_input, "sender query d_model, query input d_model -> sender input query")
        inputs = [input_place(graph, edges[i].receiver) for i in rows]
        found[rows] = product.double().cpu().numpy()[[senders.index(component(edges[i].sender)) for i in rows], inputs]
    return found


def _agreement(estimated: Float[np.ndarray, " edge"], exact: Float[np.ndarray, " edge"]) -> dict[str, float]:
    """Rank correlation, and the length of the error as a share of that of the exact effects."""
    error = float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
    rank = float(pd.Series(estimated).rank().corr(pd.Series(exact).rank()))
    return {"rank_correlation": rank, "relative_error": error, "n_edges": len(exact)}
