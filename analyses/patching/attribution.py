"""Effects of all edges estimated from gradients: EAP and EAP-IG, by position and by query.

The change of the metric when one input reads a sender's donor output is estimated as (donor − base output of the sender) ·
(gradient of the metric by what the input reads), added to the base run as in `path_patch`: noising differentiates around the
clean run. Gradients are taken before the input's norm, so that the norm is part of what is linearised.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from transformer_lens import HookedTransformer

from ...circuits import Edge
from ...tasks import PromptPairs
from ..forward.cached import MAX_BATCH, CachedRun, run_both
from ..forward.edge_sets import input_place
from ..forward.gradients import Gradients, Objective, Stage, input_gradients, stage_of
from ..forward.model import graph_of
from ..forward.single import Differences, component, differences
from .effects import Direction, PatchingResult, metric_by_query, metric_values, summarise
from .exact import path_patch
from .metrics import Metric, logit_difference, metric_name

Method = Literal["eap", "eap_ig_inputs", "eap_ig_activations"]


@torch.no_grad()
def edge_attribution(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    method: Method = "eap",
    steps: int = 5,
    direction: Direction = "noising",
    metric: Metric = logit_difference,
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
    mean gradient at `steps` midpoints between base and donor output of the sender's whole stage, a line for each stage.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts; it is left as it was.
        pairs: clean and corrupt prompts.
        method: see above.
        steps: points on the line; not used by `eap`.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: differentiable; logits, answers and foils to one number for each query.
        per_query: keep the estimated change of every query.
        error_against_exact: also patch a sample of the edges exactly and note in `error` how well estimates agree.
        n_compared: size of that sample.
        max_batch: prompts run at once; bounds memory.
        seed: of the bootstrap and the sample.

    Returns:
        As `path_patch`; estimates of single edges, in the same units.

    Raises:
        ValueError: for an unknown method, and as `path_patch`.
    """
    if method not in ("eap", "eap_ig_inputs", "eap_ig_activations"):
        raise ValueError(f"method must be 'eap', 'eap_ig_inputs' or 'eap_ig_activations', got {method!r}")
    graph = graph_of(model, pairs.roles, pairs.answer_position)
    base, donor = (pairs.clean, pairs.corrupt) if direction == "noising" else (pairs.corrupt, pairs.clean)
    deltas, gaps = np.empty((len(graph.edges), len(pairs))), np.empty(len(pairs))
    for part_rows in torch.arange(len(pairs)).split(max_batch):
        rows = part_rows.numpy()
        part = pairs.take(part_rows)
        run, other = run_both(model, graph, base[part_rows], donor[part_rows])
        deltas[:, rows] = _estimates(run, other, partial(metric_values, metric, pairs=part), method, steps)
        gaps[rows] = metric_by_query(metric, other.logits, part) - metric_by_query(metric, run.logits, part)
    name = metric_name(metric)
    result = summarise(model, pairs, graph, graph.edges, direction, name, deltas, gaps, per_query, seed)
    result = replace(result, method=method if method == "eap" else f"{method}, {steps} steps")
    if not error_against_exact:
        return result
    sample = np.sort(np.random.default_rng(seed).permutation(len(graph.edges))[:n_compared])
    edges = [graph.edges[i] for i in sample]
    exact = path_patch(model, pairs, edges=edges, direction=direction, metric=metric, max_batch=max_batch, seed=seed)
    return replace(result, error=_agreement(result.table["effect"].to_numpy()[sample], exact.table["effect"].to_numpy()))


def _estimates(
    base: CachedRun, donor: CachedRun, objective: Objective, method: Method, steps: int
) -> Float[np.ndarray, "edge query"]:
    """The estimated change of the metric by each edge of the graph."""
    edges, changes = base.graph.edges, differences(base, donor, base.graph.edges)
    points = [(k + 0.5) / steps for k in range(steps)]
    if method == "eap":
        return _products(base, edges, changes, input_gradients(base, objective))
    if method == "eap_ig_inputs":
        return _products(base, edges, changes, _along(base, objective, ("embed", -1), changes, points))
    estimates = np.empty((len(edges), len(base.embedding)))
    for stage in dict.fromkeys(stage_of(base, edge.sender) for edge in edges):
        rows = [i for i, edge in enumerate(edges) if stage_of(base, edge.sender) == stage]
        gradients = _along(base, objective, stage, changes, points)
        estimates[rows] = _products(base, [edges[i] for i in rows], changes, gradients)
    return estimates


def _along(base: CachedRun, objective: Objective, stage: Stage, changes: Differences, points: Sequence[float]) -> Gradients:
    """The mean gradient on the line between base and donor output of one stage."""
    change = torch.stack([value for node, value in changes.items() if stage_of(base, node) == stage]).sum(0)
    found = [input_gradients(base, objective, {stage: point * change}) for point in points]
    return {at: torch.stack([each[at] for each in found]).mean(0) for at in found[0]}


def _products(
    base: CachedRun, edges: Sequence[Edge], changes: Differences, gradients: Gradients
) -> Float[np.ndarray, "edge query"]:
    """The sender's change · the gradient of what the receiver reads; all edges into one place at once."""
    found, roles = np.empty((len(edges), len(base.embedding))), base.graph.roles
    places: dict[tuple[Stage, int], list[int]] = {}
    for i, edge in enumerate(edges):
        places.setdefault((stage_of(base, edge.receiver), roles.index(edge.receiver.role)), []).append(i)
    for (stage, position), rows in places.items():
        senders = list(dict.fromkeys(component(edges[i].sender) for i in rows))
        change = torch.stack([changes[sender][:, position] for sender in senders])
        product = torch.einsum("sqd,qid->siq", change, gradients[stage][:, position].flatten(1, -2)).double().cpu().numpy()
        inputs = [input_place(base.graph, edges[i].receiver) for i in rows]
        found[rows] = product[[senders.index(component(edges[i].sender)) for i in rows], inputs]
    return found


def _agreement(estimated: Float[np.ndarray, " edge"], exact: Float[np.ndarray, " edge"]) -> dict[str, float]:
    """Rank correlation, and the length of the error as a share of that of the exact effects."""
    error = float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
    rank = float(pd.Series(estimated).rank().corr(pd.Series(exact).rank()))
    return {"rank_correlation": rank, "relative_error": error, "n_edges": len(exact)}
