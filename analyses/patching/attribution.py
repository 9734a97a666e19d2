"""Effects of all edges estimated from gradients: EAP and EAP-IG, by position and by query.

The change of the metric when one input reads a sender's donor output is estimated as (donor − base output of the sender) ·
(gradient of the metric by what the input reads), added to the base run as in `path_patch`: noising differentiates around the
clean run. Gradients are taken before the input's norm, so that the norm is part of what is linearised.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from ...circuits import ComputationGraph, Edge
from ...circuits.arguments import common_problems, flag_problems, is_one_of, refuse, shortly, whole_problems
from ...circuits.progress import with_bar
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import AnyRun, Choice, Engine, SharingEngine, engine_of, method_by
from ..forward.lines import TOLERANCE, Integral, Places, Visit, integrate, rounding_of, steps_problems
from ..forward.places import (
    Differences,
    Gradients,
    Objective,
    Sublayer,
    first_of,
    is_after,
    sender_place,
    sublayer_of,
    through,
)
from ..statistics import double
from .atp_star import atp_star, with_softmax
from .completeness import completeness
from .effects import Direction, PatchingResult, summarise
from .exact import Positions, path_patch, targets_of
from .gap import Ends, base_and_donor, metric_values
from .metrics import AnyMetric, logit_difference
from .products import Estimates, Products
from .resolution import Resolution, Signal, resolution_of


@torch.no_grad()
def edge_attribution(
    model: Model,
    pairs: PromptPairs,
    *,
    method: str = "eap",
    edges: Iterable[Edge | str] | None = None,
    steps: int = 5,
    tolerance: float = TOLERANCE,
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    per_query: bool = False,
    error_against_exact: bool = False,
    n_compared: int = 200,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> PatchingResult:
    """Estimate the effect of every edge with a few forward and backward passes.

    `eap`: the gradient at the base run (Syed et al. 2023, arXiv 2310.10348). `eap_ig_inputs`: the mean gradient on the
    straight line between the base and donor prompts' embeddings, positions included (Hanna et al. 2024, arXiv 2403.17806,
    whose points are evenly spaced, start at the corrupt end and leave positions out). `eap_ig_activations`: the mean
    gradient between base and donor output of the sender's sublayer, a line for each. `eap_qk`: as `eap`, with the attention
    softmax recomputed for each changed query and key. `atp_star`: the same, averaged over gradients with one layer's output
    held constant, as sizes without a sign, all above 0 (Kramár et al. 2024, arXiv 2403.00745, AtP*, there for nodes).

    In a token-mixing network what is read is no sum of outputs. There `eap` and both EAP-IG take the gradient by what is
    read back through the replay to the output, norms included. `eap_shares` holds the scales of each run instead: a
    sender's share of what is read is its output times the scales of all later norms. Shares add up, so the estimates of the
    edges into an input sum to the first-order change by all that it reads, as those of `eap` do not; but it ranks them worse
    (rank correlation of |effect| with exact ones .34 against .90; one network, 416 edges, 125 pairs). Elsewhere the two are
    one.

    Integrated gradients add up: the estimates of the edges that leave the embedding, or with `eap_ig_activations` any
    sublayer, sum to what the donor's output of all of it changes on the base prompts, whose pads stay hidden. Lines are
    divided until that holds for each query, see `completeness`.

    Args:
        model: any model that `graph_of` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        method: one of `METHODS`, see above.
        edges: which edges, as edges or names; by default all that can matter to the answer, each position by itself. An edge
            whose nodes have no role is estimated at all positions together, as `path_patch` patches it: the estimates of
            its positions are added while they are computed. `graph.component_edges` are all of these.
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
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the bootstrap and the sample.

    Returns:
        Estimated effects of single edges, in the units of `path_patch`; without numbers, and with the reason, where the
        gradient is no more than rounding.

    Warns:
        UserWarning: if integrated gradients do not add up within the tolerance.

    Raises:
        KeyError: for edges that the model does not have.
        ValueError: if some edges have positions and others none; for an unknown method or one that gives another shape, for
            a metric that cannot be differentiated, for steps or a tolerance that are not above 0, and as `path_patch`.
    """
    common: dict[str, Any] = {"direction": direction, "per_query": per_query, "max_memory": max_memory, "engine": engine}
    problems = pairs_problems(pairs=pairs)
    problems += [] if is_one_of(method, METHODS) else [f"no method {shortly(method)}; there are {', '.join(METHODS)}"]
    problems += steps_problems(steps, tolerance) + flag_problems(error_against_exact=error_against_exact)
    counts = whole_problems(2, n_compared=n_compared)
    refuse(problems + counts + common_problems(**common, progress=progress, seed=seed))
    pairs.check_against(model)
    how = METHODS[method]
    runner = engine_of(model, pairs.roles, pairs.answer_position, max_memory=max_memory, engine=engine)
    graph = runner.graph
    targets = _targets(graph, edges)
    base, donor = base_and_donor(pairs, direction)
    resolution = resolution_of(model, graph)
    batches = runner.batches(len(pairs), "gradients", results=8 * len(targets) * len(pairs))
    deltas, ends = np.empty((len(targets), len(pairs))), Ends(metric, len(pairs), direction, resolution)
    signal = Signal(ends.metric.name, resolution)
    integrals: dict[str | int, list[Integral]] = {}
    for part_rows in with_bar(batches, "attributing", show=progress):
        rows = part_rows.numpy()
        part = pairs.take(part_rows)
        run, other = runner.run(base[part_rows], donor[part_rows])
        ends.note(rows, part, run, other)
        clean = (run if direction == "noising" else other).logits
        objective = signal.watch(partial(metric_values, metric, pairs=part, clean=clean))
        found = how.find(runner, targets, (run, other), objective, steps, tolerance)
        for line, integral in found.integrals.items():
            integrals.setdefault(line, []).append(integral.without_gradients)
        estimates = _of_all_edges(found.estimates, method, len(targets), len(part))
        if len(part) == len(pairs):
            deltas = estimates  # which may be large, so there is no second copy of them
        else:
            deltas[:, rows] = estimates
    if not how.signed:
        deltas *= np.sign(ends.donor_gaps.sum())
    weak = signal.reason or _too_small(deltas, ends, resolution)
    without = f"{weak} {_where(direction, how.uses_steps)}" if weak else ""
    summary = {"per_query": per_query, "seed": seed, "without_signal": without}
    result = summarise(model, pairs, graph, targets, deltas, ends, **summary)
    sums = completeness(integrals, "line", tolerance=tolerance) if how.integrates and not weak else None
    named = f"{method}, {steps} steps" if how.uses_steps else method
    result = replace(result, method=method_by(runner, named), completeness=sums)
    if not error_against_exact or result.reason:
        return result
    sample = np.sort(np.random.default_rng(seed).permutation(len(targets))[:n_compared])
    checked: dict[str, Any] = {"edges": [targets[i] for i in sample], "positions": _positions(targets)}
    same: dict[str, Any] = {"direction": direction, "metric": metric, "max_memory": max_memory, "engine": engine}
    exact = path_patch(model, pairs, **checked, **same, progress=progress, seed=seed)
    return replace(result, error=_agreement(result.table["effect"].to_numpy()[sample], exact.table["effect"].to_numpy()))


def _targets(graph: ComputationGraph, edges: Iterable[Edge | str] | None) -> Sequence[Edge]:
    """The edges asked for, from the inputs upwards."""
    if edges is None:
        return graph.edges
    asked = [Edge.parse(edge) if isinstance(edge, str) else edge for edge in edges]
    if 0 < (n := sum(not edge.receiver.role for edge in asked)) < len(asked):
        raise ValueError(f"{n} of {len(asked)} edges have no position: all edges have one, or none has")
    return targets_of(graph, asked, _positions(asked))


def _positions(edges: Sequence[Edge]) -> Positions:
    """Whether edges have positions."""
    return "together" if edges and not edges[0].receiver.role else "separate"


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


def _eap(
    engine: Engine[AnyRun], edges: Sequence[Edge], base: AnyRun, donor: AnyRun, objective: Objective, steps: int
) -> Estimates:
    products = Products(engine.graph, edges, engine.differences(base, donor))
    return products.of(engine.input_gradients(base, objective, {}))


def _eap_shares(
    engine: Engine[AnyRun], edges: Sequence[Edge], base: AnyRun, donor: AnyRun, objective: Objective, steps: int
) -> Estimates:
    if not isinstance(engine, SharingEngine):  # nothing is normed between what is written and what is read
        return _eap(engine, edges, base, donor, objective, steps)
    products = Products(engine.graph, edges, partial(engine.changes_of_shares, base, donor))
    return products.of(engine.reading_gradients(base, objective))


def _ig_inputs(
    engine: Engine[AnyRun],
    edges: Sequence[Edge],
    base: AnyRun,
    donor: AnyRun,
    objective: Objective,
    steps: int,
    tolerance: float,
) -> Found:
    changes = engine.differences(base, donor)
    change, products = _of_sublayer(engine, changes, ("embed", -1)), Products(engine.graph, edges, changes)
    integral = _mean_estimates(engine, base, objective, ("embed", -1), change, products, steps, tolerance)
    return Found(_by_edge(integral), {"embed": integral.without_gradients})


def _ig_activations(
    engine: Engine[AnyRun],
    edges: Sequence[Edge],
    base: AnyRun,
    donor: AnyRun,
    objective: Objective,
    steps: int,
    tolerance: float,
) -> Found:
    graph, changes = engine.graph, engine.differences(base, donor)
    places: dict[Sublayer, list[int]] = {}
    for i, edge in enumerate(edges):
        places.setdefault(sublayer_of(graph, edge.sender), []).append(i)
    estimates, integrals = np.empty((len(edges), len(base.logits))), {}
    for sublayer, rows in places.items():
        kind, layer = sublayer
        change, products = _of_sublayer(engine, changes, sublayer), Products(graph, [edges[i] for i in rows], changes)
        integral = _mean_estimates(engine, base, objective, sublayer, change, products, steps, tolerance)
        estimates[rows] = _by_edge(integral)
        integrals[kind if layer < 0 else f"{kind} {layer}"] = integral.without_gradients
    return Found(estimates, integrals)


def _of_sublayer(engine: Engine[AnyRun], changes: Differences, sublayer: Sublayer) -> Float[Tensor, "query pos d_model"]:
    """What all nodes of a sublayer together write differently."""
    return torch.stack([change for node, change in changes.items() if sublayer_of(engine.graph, node) == sublayer]).sum(0)


class Method(NamedTuple):
    """How effects are estimated.

    Attributes:
        estimate: engine, edges, base run, donor run, objective and number of steps to the estimated change of the metric by
            each edge and query; an edge whose nodes have no role stands for all positions together.
        uses_steps: whether the number of steps matters, so that results name it.
        integrates: whether `estimate` takes a tolerance too, after the steps, and returns `Found`.
        signed: whether estimates have a sign; those that have none are given that of the gap, so that effects are above 0.
    """

    estimate: Callable[..., Estimates | Found]
    uses_steps: bool = True
    integrates: bool = False
    signed: bool = True

    def find(
        self,
        engine: Engine[AnyRun],
        edges: Sequence[Edge],
        runs: Sequence[AnyRun],
        objective: Objective,
        steps: int,
        tolerance: float,
    ) -> Found:
        """What the method finds for base and donor run."""
        found = self.estimate(engine, edges, *runs, objective, steps, *([tolerance] if self.integrates else []))
        return found if isinstance(found, Found) else Found(found)


METHODS = {
    "eap": Method(_eap, uses_steps=False),
    "eap_shares": Method(_eap_shares, uses_steps=False),
    "eap_ig_inputs": Method(_ig_inputs, integrates=True),
    "eap_ig_activations": Method(_ig_activations, integrates=True),
    "eap_qk": Method(with_softmax, uses_steps=False),
    "atp_star": Method(atp_star, uses_steps=False, signed=False),
}


def _mean_estimates(
    engine: Engine[AnyRun],
    base: AnyRun,
    objective: Objective,
    sublayer: Sublayer,
    change: Float[Tensor, "query pos d_model"],
    products: Products,
    steps: int,
    tolerance: float,
) -> Integral:
    """The mean of edges' products on the line between base and donor output of one sublayer, which writes `change` more.

    The estimates of the edges that leave the sublayer sum to what the donor's output in its place changes. Values on the
    line are kept as gradients are taken. The line's end is run, too: it hides the pads of the base prompts, so that it is
    not the donor run where that has other pads. Of its gradients none is asked for.
    """
    place = sender_place(engine.graph, first_of(sublayer))
    values: list[Tensor] = []
    last: list[Tensor] = []  # only the latest logits, which are large

    def noted(logits: Tensor) -> Tensor:
        last[:] = [logits.detach()]
        found = objective(logits)
        values.append(found.detach())
        return found

    def gradients_at(points: Float[np.ndarray, " query"]) -> Gradients:
        return engine.input_gradients(base, noted, {sublayer: torch.from_numpy(points).to(change)[:, None, None] * change})

    def visit(points: Places, weights: Places) -> Visit:
        values.clear()
        total, estimates = (
            torch.zeros_like(change),
            torch.zeros(products.n_edges, len(change), dtype=torch.float64, device="cpu"),
        )
        for here, share in zip(points, weights, strict=True):
            gradients = gradients_at(here)
            for at in (each for each in gradients if is_after(engine.graph, each, sublayer)):
                gradient = gradients[at]
                total += torch.from_numpy(share).to(change)[:, None, None] * through(gradient, place).sum(2)
                if at in products.rows:
                    estimates[products.rows[at]] += products.into(at, gradient) * torch.from_numpy(share)
        attributed = double(total * change).sum((1, 2)).cpu().numpy()
        return Visit(torch.stack(values).cpu().numpy(), {"edges": estimates.T}, attributed)

    gradients_at(np.ones(len(change)))
    ends = base.logits, last[0]
    start, stop = (objective(logits).detach().cpu().numpy() for logits in ends)
    rounding = np.maximum(*(rounding_of(objective, logits) for logits in ends))
    return integrate(visit, start, stop, rounding=rounding, steps=steps, tolerance=tolerance)


def _by_edge(integral: Integral) -> Estimates:
    """The estimates of `_mean_estimates`."""
    return integral.gradients["edges"].T.numpy()


def _agreement(estimated: Float[np.ndarray, " edge"], exact: Float[np.ndarray, " edge"]) -> dict[str, float]:
    """Rank correlation, and the length of the error as a share of that of the exact effects."""
    error = float(np.linalg.norm(estimated - exact) / np.linalg.norm(exact))
    rank = float(pd.Series(estimated).rank().corr(pd.Series(exact).rank()))
    return {"rank_correlation": rank, "relative_error": error, "n_edges": len(exact)}
