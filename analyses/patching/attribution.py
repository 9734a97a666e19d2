"""Effects of all edges estimated from gradients: EAP and EAP-IG, by position and by query.

The change of the metric when one input reads a sender's donor output is estimated as (donor − base output of the sender) ·
(gradient of the metric by what the input reads), added to the base run as in `path_patch`: noising differentiates around the
clean run. Gradients are taken before the input's norm, so that the norm is part of what is linearised.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import einops
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Edge, Node
from ...circuits.arguments import common_problems, flag_problems, is_one_of, refuse, shortly, whole_problems
from ...circuits.progress import with_bar
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import AnyRun, Engine, engine_of
from ..forward.lines import TOLERANCE, Integral, Places, Visit, integrate, rounding_of, steps_problems
from ..forward.places import Differences, Gradients, Objective, Sublayer, component, input_place, order_of, sublayer_of
from ..statistics import double
from .completeness import completeness
from .effects import Direction, PatchingResult, summarise
from .exact import path_patch
from .gap import Ends, base_and_donor, check_metric, metric_values
from .metrics import AnyMetric, logit_difference
from .resolution import Resolution, Signal, resolution_of

Estimates = Float[np.ndarray, "edge query"]


@torch.no_grad()
def edge_attribution(
    model: Model,
    pairs: PromptPairs,
    *,
    method: str = "eap",
    steps: int = 5,
    tolerance: float = TOLERANCE,
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    per_query: bool = False,
    error_against_exact: bool = False,
    n_compared: int = 200,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> PatchingResult:
    """Estimate the effect of every edge with a few forward and backward passes.

    `eap`: the gradient at the base run (Syed et al. 2023, arXiv 2310.10348). `eap_ig_inputs`: the mean gradient on the
    straight line between the base and donor prompts' embeddings, positions included (Hanna et al. 2024, arXiv 2403.17806,
    whose points are evenly spaced, start at the corrupt end and leave positions out). `eap_ig_activations`: the mean
    gradient between base and donor output of the sender's sublayer, a line for each.

    Integrated gradients add up: the estimates of the edges that leave the embedding, or with `eap_ig_activations` any
    sublayer, sum to what the donor's output of all of it changes on the base prompts, whose pads stay hidden. Lines are
    divided until that holds for each query, see `completeness`.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        method: one of `METHODS`, see above.
        steps: Gauss–Legendre points on the line; where estimates then miss what they should sum to, each half of the line
            gets as many, and so on. `eap` does not use them.
        tolerance: how far a query's estimates may miss what they should sum to, as a share of it; `math.inf` takes the
            line as one part, so that there are `steps` points and no more, as in the papers.
        direction: noising (corrupt into clean) or denoising (clean into corrupt).
        metric: differentiable; logits, answers and foils to one number for each query.
        per_query: keep the estimated change of every query.
        error_against_exact: also patch a sample of the edges exactly and note in `error` how well estimates agree, if they
            have numbers.
        n_compared: size of that sample, at least 2.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstrap and the sample.

    Returns:
        Estimated effects of single edges, in the units of `path_patch`; without numbers, and with the reason, where the
        gradient is no more than rounding.

    Warns:
        UserWarning: if integrated gradients do not add up within the tolerance.

    Raises:
        ValueError: for an unknown method or one that gives another shape, for a metric that cannot be differentiated, for
            steps or a tolerance that are not above 0, and as `path_patch`.
    """
    common: dict[str, Any] = {"direction": direction, "per_query": per_query, "max_memory": max_memory}
    problems = pairs_problems(pairs=pairs)
    problems += [] if is_one_of(method, METHODS) else [f"no method {shortly(method)}; there are {', '.join(METHODS)}"]
    problems += steps_problems(steps, tolerance) + flag_problems(error_against_exact=error_against_exact)
    counts = whole_problems(2, n_compared=n_compared)
    refuse(problems + counts + common_problems(**common, progress=progress, seed=seed))
    pairs.check_against(model)
    how, engine = METHODS[method], engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory)
    graph = engine.graph
    base, donor = base_and_donor(pairs, direction)
    resolution = resolution_of(model, graph)
    batches = engine.batches(len(pairs), "gradients", results=8 * len(graph.edges) * len(pairs))
    deltas, ends = np.empty((len(graph.edges), len(pairs))), Ends(metric, len(pairs), direction, resolution)
    check_metric(engine, metric, pairs, resolution, batches)
    signal = Signal(ends.metric.name, resolution)
    integrals: dict[str | int, list[Integral]] = {}
    for part_rows in with_bar(batches, "attributing", show=progress):
        rows = part_rows.numpy()
        part = pairs.take(part_rows)
        run, other = engine.run(base[part_rows], donor[part_rows])
        ends.note(rows, part, run, other)
        clean = (run if direction == "noising" else other).logits
        objective = signal.watch(partial(metric_values, metric, pairs=part, clean=clean))
        found = how.find(engine, (run, other), objective, steps, tolerance)
        for line, integral in found.integrals.items():
            integrals.setdefault(line, []).append(integral.without_gradients)
        deltas[:, rows] = _of_all_edges(found.estimates, method, len(graph.edges), len(part))
    weak = signal.reason or _too_small(deltas, ends, resolution)
    without = f"{weak} {_where(direction, how.uses_steps)}" if weak else ""
    summary = {"per_query": per_query, "seed": seed, "without_signal": without}
    result = summarise(model, pairs, graph, graph.edges, deltas, ends, **summary)
    sums = completeness(integrals, "line", tolerance=tolerance) if how.integrates and not weak else None
    result = replace(result, method=f"{method}, {steps} steps" if how.uses_steps else method, completeness=sums)
    if not error_against_exact or result.reason:
        return result
    sample = np.sort(np.random.default_rng(seed).permutation(len(graph.edges))[:n_compared])
    edges = [graph.edges[i] for i in sample]
    exact = path_patch(
        model, pairs, edges=edges, direction=direction, metric=metric, max_memory=max_memory, progress=progress, seed=seed
    )
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


class Found(NamedTuple):
    """What a method found.

    Attributes:
        estimates: the changes of the metric.
        integrals: by line that was integrated over, how far the gradients add up.
    """

    estimates: Estimates
    integrals: Mapping[str | int, Integral] = MappingProxyType({})


def _eap(engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int) -> Estimates:
    changes = engine.differences(base, donor)
    return _products(engine.graph, engine.graph.edges, changes, engine.input_gradients(base, objective, {}))


def _ig_inputs(
    engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int, tolerance: float
) -> Found:
    changes = engine.differences(base, donor)
    integral = _mean_gradient(engine, base, objective, ("embed", -1), changes, steps, tolerance)
    return Found(_products(engine.graph, engine.graph.edges, changes, integral.gradients), {"embed": integral})


def _ig_activations(
    engine: Engine[AnyRun], base: AnyRun, donor: AnyRun, objective: Objective, steps: int, tolerance: float
) -> Found:
    graph, changes = engine.graph, engine.differences(base, donor)
    places: dict[Sublayer, list[int]] = {}
    for i, edge in enumerate(graph.edges):
        places.setdefault(sublayer_of(graph, edge.sender), []).append(i)
    estimates, integrals = np.empty((len(graph.edges), len(base.logits))), {}
    for sublayer, rows in places.items():
        kind, layer = sublayer
        integral = _mean_gradient(engine, base, objective, sublayer, changes, steps, tolerance)
        estimates[rows] = _products(graph, [graph.edges[i] for i in rows], changes, integral.gradients)
        integrals[kind if layer < 0 else f"{kind} {layer}"] = integral.without_gradients
    return Found(estimates, integrals)


class Method(NamedTuple):
    """How effects are estimated.

    Attributes:
        estimate: engine, base run, donor run, objective and number of steps to the estimated change of the metric by each
            edge of the engine's graph.
        uses_steps: whether the number of steps matters, so that results name it.
        integrates: whether `estimate` takes a tolerance too, after the steps, and returns `Found`.
    """

    estimate: Callable[..., Estimates | Found]
    uses_steps: bool = True
    integrates: bool = False

    def find(
        self, engine: Engine[AnyRun], runs: Sequence[AnyRun], objective: Objective, steps: int, tolerance: float
    ) -> Found:
        """What the method finds for base and donor run."""
        found = self.estimate(engine, *runs, objective, steps, *([tolerance] if self.integrates else []))
        return found if isinstance(found, Found) else Found(found)


METHODS = {
    "eap": Method(_eap, uses_steps=False),
    "eap_ig_inputs": Method(_ig_inputs, integrates=True),
    "eap_ig_activations": Method(_ig_activations, integrates=True),
}


def _mean_gradient(
    engine: Engine[AnyRun],
    base: AnyRun,
    objective: Objective,
    sublayer: Sublayer,
    changes: Differences,
    steps: int,
    tolerance: float,
) -> Integral:
    """The mean gradient on the line between base and donor output of one sublayer, by what reads it.

    The estimates of the edges that leave the sublayer sum to what the donor's output in its place changes. Values on the
    line are kept as gradients are taken. The line's end is run, too: it hides the pads of the base prompts, so that it is
    not the donor run where that has other pads.
    """
    change = torch.stack([value for node, value in changes.items() if sublayer_of(engine.graph, node) == sublayer]).sum(0)
    values: list[Tensor] = []
    last: list[Tensor] = []  # only the latest logits, which are large

    def noted(logits: Tensor) -> Tensor:
        last[:] = [logits.detach()]
        found = objective(logits)
        values.append(found.detach())
        return found

    def slopes(points: Float[np.ndarray, " query"]) -> Gradients:
        added = torch.from_numpy(points).to(change)[:, None, None] * change
        found = engine.input_gradients(base, noted, {sublayer: added})
        return {at: gradient for at, gradient in found.items() if _is_after(at, sublayer)}

    def visit(points: Places, weights: Places) -> Visit:
        values.clear()
        gradients: dict[Sublayer, Tensor] = {}
        for here, share in zip(points, weights, strict=True):
            for at, slope in slopes(here).items():
                weighted = torch.from_numpy(share).to(slope)[:, None, None, None] * slope
                gradients[at] = gradients[at] + weighted if at in gradients else weighted
        total = torch.stack([each.sum(2) for each in gradients.values()]).sum(0)
        attributed = double(total * change).sum((1, 2)).cpu().numpy()
        return Visit(torch.stack(values).cpu().numpy(), gradients, attributed)

    slopes(np.ones(len(change)))
    ends = base.logits, last[0]
    start, stop = (objective(logits).detach().cpu().numpy() for logits in ends)
    rounding = np.maximum(*(rounding_of(objective, logits) for logits in ends))
    return integrate(visit, start, stop, rounding=rounding, steps=steps, tolerance=tolerance)


def _is_after(reader: Sublayer, sender: Sublayer) -> bool:
    """Whether a sublayer reads what another one writes."""
    return order_of(Node(reader[0], "", reader[1])) > order_of(Node(sender[0], "", sender[1]))


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
        found[rows] = product.cpu().double().numpy()[[senders.index(component(edges[i].sender)) for i in rows], inputs]
    return found


def _agreement(estimated: Float[np.ndarray, " edge"], exact: Float[np.ndarray, " edge"]) -> dict[str, float]:
    """Rank correlation, and the length of the error as a share of that of the exact effects."""
    error = float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
    rank = float(pd.Series(estimated).rank().corr(pd.Series(exact).rank()))
    return {"rank_correlation": rank, "relative_error": error, "n_edges": len(exact)}
