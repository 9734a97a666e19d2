"""From a model and prompt pairs to a circuit: measure edges, then keep the strong ones, or prune one by one."""

from typing import Any

from transformer_lens import HookedTransformer

from ...circuits import Circuit, Edge
from ...circuits.circuit import has_number
from ...tasks import PromptPairs
from .attribution import METHODS, edge_attribution
from .circuit_runs import CircuitRuns
from .effects import Direction
from .exact import path_patch
from .metrics import AnyMetric, logit_difference


def discover(
    model: HookedTransformer,
    pairs: PromptPairs,
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    greedy: float | None = None,
    method: str = "exact",
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    progress: bool = True,
    seed: int = 0,
) -> Circuit:
    """Measure every edge and keep a connected part of them. Nothing but the bootstrap is random.

    What is chosen on these pairs should be judged on others, see `faithfulness`.

    Args:
        model: any HookedTransformer that `path_patch` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        top_k: keep this many edges of largest |effect|, then drop unconnected ones.
        threshold: keep edges with at least this |effect|; 0.02 if no other rule is given.
        greedy: prune one edge after the other, from the answer downwards, as long as the share of the gap that the rest
            keeps falls by less than this (ACDC, Conmy et al. 2023, arXiv 2304.14997, algorithm 1, with this metric).
        method: `exact`, or how effects are estimated, see `edge_attribution`; greedy pruning is always exact.
        direction: noising or denoising; of the effects.
        metric: see `path_patch`.
        progress: show a bar if exact effects take longer than a moment.
        seed: of the bootstrap.

    Returns:
        A circuit with every measured edge and, if exact, per-query changes. Where no effect has a number it is empty, with
        the reason in its caption and provenance.

    Raises:
        ValueError: if several rules are given.
    """
    if method not in (known := ("exact", *METHODS)):
        raise ValueError(f"no method {method!r}; there are {', '.join(known)}")
    if greedy is not None and (top_k is not None or threshold is not None):
        raise ValueError("give one of top_k, threshold and greedy")
    measure: dict[str, Any] = {"direction": direction, "metric": metric, "per_query": True, "seed": seed}
    effects = (
        path_patch(model, pairs, progress=progress, **measure)
        if method == "exact"
        else edge_attribution(model, pairs, method=method, **measure)
    )
    if greedy is None:
        return Circuit.from_effects(effects, top_k=top_k, threshold=threshold)
    known = has_number(effects.table["effect"]).any()
    kept = prune(CircuitRuns(model, pairs, metric=metric, seed=seed), greedy) if known else []
    circuit = Circuit.from_effects(effects, edges=kept)
    rule = {"kept": f"greedy, each edge at least {greedy:g} of the gap, connected"}
    return Circuit(circuit.table, circuit.graph, {**circuit.provenance, **rule}, circuit.deltas, circuit.donor_gaps)


def prune(runs: CircuitRuns, least: float) -> list[Edge]:
    """Remove edges one by one, last first, each unless the share of the gap that the rest keeps falls by `least` or more."""
    if runs.gap[2]:
        return []  # there is no share to lose
    kept, share = list(runs.graph.edges), 1.0
    for edge in reversed(runs.graph.edges):
        fewer = [other for other in kept if other != edge]
        rest = float(runs.share([fewer])[0])
        if share - rest < least:
            kept, share = fewer, rest
    return kept
