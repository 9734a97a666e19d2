"""Effects of all edges estimated from gradients: EAP and EAP-IG, by position and by query.

The change of the metric when one input reads a sender's donor output is estimated as (donor − base output of the sender) ·
(gradient of the metric by what the input reads), added to the base run as in `path_patch`: noising differentiates around the
clean run. Gradients are taken before the input's norm, so that the norm is part of what is linearised.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.components.transformer_block import TransformerBlock

from ..circuits import Edge, Node
from ..tasks import PromptPairs
from .edge_sets import input_place
from .fast_patching import Differences, component, differences
from .hooks import decode, graph_of
from .metrics import Metric, logit_difference, metric_name
from .partial_forward import (
    MAX_BATCH,
    CachedRun,
    attention_scores,
    gathered,
    linear,
    mlp_output,
    normalised,
    rotated,
    run_both,
)
from .patching import Direction, PatchingResult, metric_by_query, metric_values, summarise
from .path_patching import path_patch

Method = Literal["eap", "eap_ig_inputs", "eap_ig_activations"]
Stage = tuple[str, int]
"""What computes at once: ("embed", −1), a layer's heads ("head", L) or MLP ("mlp", L), ("logits", n_layers)."""
Gradients = Mapping[Stage, Float[Tensor, "query pos *input d_model"]]
"""By stage: of what its inputs read; heads have [q, k, v] and head as further dimensions."""


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
        deltas[:, rows] = _estimates(run, other, part, method, steps, metric)
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
    base: CachedRun, donor: CachedRun, pairs: PromptPairs, method: Method, steps: int, metric: Metric
) -> Float[np.ndarray, "edge query"]:
    """The estimated change of the metric by each edge of the graph."""
    edges, changes = base.graph.edges, differences(base, donor, base.graph.edges)
    points = [(k + 0.5) / steps for k in range(steps)]
    if method == "eap":
        return _products(base, edges, changes, input_gradients(base, pairs, metric))
    if method == "eap_ig_inputs":
        return _products(base, edges, changes, _along(base, pairs, metric, ("embed", -1), changes, points))
    estimates = np.empty((len(edges), len(pairs)))
    for stage in dict.fromkeys(_stage(base, edge.sender) for edge in edges):
        rows = [i for i, edge in enumerate(edges) if _stage(base, edge.sender) == stage]
        gradients = _along(base, pairs, metric, stage, changes, points)
        estimates[rows] = _products(base, [edges[i] for i in rows], changes, gradients)
    return estimates


def _along(
    base: CachedRun, pairs: PromptPairs, metric: Metric, stage: Stage, changes: Differences, points: Sequence[float]
) -> Gradients:
    """The mean gradient on the line between base and donor output of one stage."""
    change = torch.stack([value for node, value in changes.items() if _stage(base, node) == stage]).sum(0)
    found = [input_gradients(base, pairs, metric, {stage: point * change}) for point in points]
    return {at: torch.stack([each[at] for each in found]).mean(0) for at in found[0]}


def _products(
    base: CachedRun, edges: Sequence[Edge], changes: Differences, gradients: Gradients
) -> Float[np.ndarray, "edge query"]:
    """The sender's change · the gradient of what the receiver reads; all edges into one place at once."""
    found, roles = np.empty((len(edges), len(base.embedding))), base.graph.roles
    places: dict[tuple[Stage, int], list[int]] = {}
    for i, edge in enumerate(edges):
        places.setdefault((_stage(base, edge.receiver), roles.index(edge.receiver.role)), []).append(i)
    for (stage, position), rows in places.items():
        senders = list(dict.fromkeys(component(edges[i].sender) for i in rows))
        change = torch.stack([changes[sender][:, position] for sender in senders])
        product = torch.einsum("sqd,qid->siq", change, gradients[stage][:, position].flatten(1, -2)).double().cpu().numpy()
        inputs = [input_place(base.graph, edges[i].receiver) for i in rows]
        found[rows] = product[[senders.index(component(edges[i].sender)) for i in rows], inputs]
    return found


def input_gradients(
    base: CachedRun,
    pairs: PromptPairs,
    metric: Metric,
    added: Mapping[Stage, Float[Tensor, "query pos d_model"]] | None = None,
) -> Gradients:
    """The gradient of the summed metric by what every input reads.

    Args:
        base: gives the model and the prompts' embedding.
        pairs: answers and foils.
        metric: differentiable.
        added: what is added to the output of stages, [query, pos, d_model].
    """
    added, model, reads, writes = dict(added or {}), base.model, {}, {}
    with torch.enable_grad():
        residual = (base.embedding + added.get(("embed", -1), 0.0)).requires_grad_()
        for layer, block in enumerate(model.blocks):
            at = "head", layer
            reads[at], writes[at] = residual, [linear(block, name, normalised(block.ln1, residual)) for name in "qkv"]
            q, k, v = (rotated(block, name, values, 0) for name, values in zip("qkv", writes[at], strict=True))
            z = gathered(attention_scores(block, q, k, 0), v)
            residual = residual + torch.einsum("qphd,hdm->qpm", z, block.attn.W_O) + block.attn.b_O + added.get(at, 0.0)
            if base.graph.has_mlp:
                at = "mlp", layer
                reads[at] = residual + 0.0  # apart from what passes the MLP by
                residual = residual + mlp_output(block, reads[at]) + added.get(at, 0.0)
        last = "logits", base.graph.n_layers
        reads[last] = residual
        logits = decode(model, residual[:, base.answer])
        total = metric_values(metric, logits, pairs).sum()
        wanted = [value for values in writes.values() for value in values]
        wanted += [reads[at] for at in reads if at[0] != "head"]
        found = iter(torch.autograd.grad(total, wanted))
    gradients = {at: _through_norm(model.blocks[at[1]], reads[at], [next(found) for _ in "qkv"]) for at in writes}
    return gradients | {at: next(found)[:, :, None] for at in reads if at[0] != "head"}


def _through_norm(
    block: TransformerBlock,
    reads: Float[Tensor, "query pos d_model"],
    by_input: list[Float[Tensor, "query pos head d_head"]],
) -> Float[Tensor, "query pos 3 head d_model"]:
    """From gradients of each head's queries, keys and values to those of what each of them reads before the norm."""
    weights = (block.attn.W_Q, block.attn.W_K, block.attn.W_V)
    normed = torch.stack(
        [torch.einsum("qphe,hde->qphd", gradient, weight) for gradient, weight in zip(by_input, weights, strict=True)], 2
    )
    with torch.enable_grad():
        apart = reads.detach()[:, :, None, None].expand_as(normed).requires_grad_()
        return torch.autograd.grad(normalised(block.ln1, apart), apart, normed)[0]


def _stage(base: CachedRun, node: Node) -> Stage:
    return node.kind, base.graph.n_layers if node.kind == "logits" else node.layer


def _agreement(estimated: Float[np.ndarray, " edge"], exact: Float[np.ndarray, " edge"]) -> dict[str, float]:
    """Rank correlation, and the length of the error as a share of that of the exact effects."""
    error = float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
    rank = float(pd.Series(estimated).rank().corr(pd.Series(exact).rank()))
    return {"rank_correlation": rank, "relative_error": error, "n_edges": len(exact)}
