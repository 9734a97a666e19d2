"""From a model and prompt pairs to a circuit: measure edges, then keep the strong ones, or prune one by one."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...circuits import Circuit, Edge
from ...circuits.arguments import (
    MOST_REPEATS,
    choice_problems,
    common_problems,
    is_one_of,
    native,
    number_problems,
    refuse,
    shortly,
    whole_problems,
)
from ...circuits.circuit import DEFAULT_THRESHOLD, has_number
from ...circuits.destination import folder_problems
from ...circuits.interrupts import noticing_interrupts
from ...circuits.progress import bar
from ...tasks import PromptPairs
from ...tasks.questions.given_pairs import pairs_problems
from ...tasks.transformerlens import Model
from ..forward.engine import Choice, engine_in, engine_of
from .attribution import METHODS, edge_attribution
from .circuit_runs import CircuitRuns, check_enough
from .effects import Direction, PatchingResult
from .exact import Positions, path_patch
from .kept import Question, keeping
from .metrics import AnyMetric, logit_difference
from .pruning import FEWEST, Pruning
from .screening import DEFAULT_SCREEN, LEAST_SAMPLED, choose, combined, weakest_kept

MOST = 64  # steps of pruning that are tried at once


def discover(
    model: Model,
    pairs: PromptPairs,
    *,
    top_k: int | None = None,
    threshold: float | None = None,
    greedy: float | None = None,
    method: str = "exact",
    screen: bool | str = False,
    verify: int = 2000,
    positions: Positions = "separate",
    direction: Direction = "noising",
    metric: AnyMetric = logit_difference,
    keep_in: str | Path | None = None,
    max_memory: int | None = None,
    engine: Choice = "auto",
    progress: bool = True,
    seed: int = 0,
) -> Circuit:
    """Measure every edge and keep a connected part of them. Nothing is random but the bootstrap, and the sample of a screen.

    What is chosen on these pairs should be judged on others, see `faithfulness`.

    Where there are too many edges to measure all, `screen` ranks them by estimates: most of `verify` exact measurements go
    to the strongest, a fifth of them (at least 100) to a sample of the others. Only measured edges are kept. The sample
    bounds, with 95 % confidence and however wrong the estimates are, the share of strong edges among those never measured;
    see `screening`. The bound, and the largest effect in the sample, are in the caption and in `provenance["screen"]`.

    Args:
        model: any model that `path_patch` accepts; left unmodified.
        pairs: clean and corrupt prompts.
        top_k: keep this many edges of largest |effect|, then drop unconnected ones.
        threshold: keep edges with at least this |effect|; 0.02 if no other rule is given.
        greedy: prune one edge after the other, from the answer downwards, as long as the share of the gap that the rest
            keeps falls by less than this, above 0 (ACDC, Conmy et al. 2023, arXiv 2304.14997, algorithm 1, this metric).
        method: `exact`, or how effects are estimated, see `edge_attribution`; greedy pruning is always exact.
        screen: by which estimates edges are ranked for exact measurements, see `edge_attribution`; True for those that find
            most (`screening.DEFAULT_SCREEN`; `eap_ig_inputs` is nearly as good and much faster), False measures all edges.
            Goes with `top_k` and `threshold`.
        verify: how many edges are measured exactly with a screen, above 100.
        positions: `"separate"`, or `"together"` for edges that are patched at all positions at once; the circuit is then one
            of `graph.together`, with the single role `all`.
        direction: noising or denoising; of the effects.
        metric: see `path_patch`.
        keep_in: a folder in which what is measured so far is kept, effects and steps of pruning, so that the same call goes
            on after Ctrl-C or SIGTERM, see `path_patch`; for exact effects. Other rules may use the same folder.
        max_memory: bytes that may be used, results included; by default a quarter of what is free.
        engine: see `path_patch`.
        progress: show a bar, in terminals and notebooks, for what takes longer than two seconds.
        seed: of the bootstrap, and of the sample of a screen.

    Returns:
        A circuit with every edge, measured or estimated, and per-query changes; with a screen, the column `verified` of its
        table says which is which. Where no effect has a number it is empty, with the reason in its caption and provenance.

    Raises:
        ValueError: if several rules are given or one is no such number, for an unknown method, all at once; as
            `path_patch`; for `greedy` if there are fewer than eight pairs.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; it says how far it came and how to go on.
    """
    common = common_problems(direction=direction, max_memory=max_memory, engine=engine, progress=progress, seed=seed)
    top_k, threshold, greedy, method, verify = native((top_k, threshold, greedy, method, verify))
    screened = _screen_problems(screen, verify, top_k, greedy, method, positions)
    refuse(pairs_problems(pairs=pairs) + _problems(top_k, threshold, greedy, method, keep_in) + screened + common)
    if greedy is not None:
        pairs.check_against(model)
        check_enough(pairs)
    measure: dict[str, Any] = {"direction": direction, "metric": metric, "per_query": True, "seed": seed}
    measure |= {"max_memory": max_memory, "engine": engine, "progress": progress}
    if screen:
        name = DEFAULT_SCREEN if screen is True else screen
        return _screened(model, pairs, name, verify, (top_k, threshold), positions, keep_in, **measure)
    effects = (
        path_patch(model, pairs, positions=positions, keep_in=keep_in, **measure)
        if method == "exact"
        else _estimated(model, pairs, method, positions, **measure)
    )
    if greedy is None:
        return Circuit.from_effects(effects, top_k=top_k, threshold=threshold)
    kept: list[Edge] = []
    if has_number(effects.table["effect"]).any():
        how: dict[str, Any] = {"metric": metric, "max_memory": max_memory}
        by = engine_in(effects.method)
        with keeping(keep_in, model, pairs, effects.graph.edges, direction=direction, **how, engine=by) as question:
            how |= {} if question is None else {"max_memory": question.memory}
            runs = CircuitRuns(model, pairs, engine=engine, progress=progress, seed=seed, **how)
            likely = effects.table["effect"].abs().to_numpy() >= greedy
            kept = prune(runs, greedy, likely=likely, progress=progress, kept=question)
    circuit = Circuit.from_effects(effects, edges=kept)
    rule = {"kept": f"greedy, each edge at least {greedy:g} of the gap, connected"}
    return Circuit(circuit.table, circuit.graph, {**circuit.provenance, **rule}, circuit.deltas, circuit.donor_gaps)


def _estimated(model: Model, pairs: PromptPairs, method: str, positions: Positions, **measure: Any) -> PatchingResult:
    """Estimates of all edges."""
    if positions == "separate":
        return edge_attribution(model, pairs, method=method, **measure)
    pairs.check_against(model)
    how = {name: measure[name] for name in ("max_memory", "engine")}
    graph = engine_of(model, pairs.roles, pairs.answer_position, **how).graph
    return edge_attribution(model, pairs, method=method, edges=graph.component_edges, **measure)


def _screened(
    model: Model,
    pairs: PromptPairs,
    screen: str,
    verify: int,
    rule: tuple[int | None, float | None],
    positions: Positions,
    keep_in: str | Path | None,
    **measure: Any,
) -> Circuit:
    """The circuit of edges that were ranked by estimates before some were measured."""
    top_k, threshold = rule
    estimated = _estimated(
        model, pairs, screen, positions, tolerance=math.inf, **measure
    )  # to rank by, they need not add up
    if not has_number(estimated.table["effect"]).any():  # there is nothing to rank by; the reason is in the caption
        return Circuit.from_effects(estimated, top_k=top_k, threshold=threshold)
    chosen = choose(estimated.table["effect"].to_numpy(), verify, seed=measure["seed"])
    rows = np.sort(np.concatenate([chosen.top, chosen.sampled]))
    names = estimated.table.iloc[rows]
    edges = [f"{sender} -> {receiver}" for sender, receiver in zip(names["sender"], names["receiver"], strict=True)]
    exact = path_patch(model, pairs, edges=edges, positions=positions, keep_in=keep_in, **measure)
    found = combined(estimated, exact, chosen)
    circuit = Circuit.from_effects(found.effects, top_k=top_k, threshold=threshold)
    least = weakest_kept(found.effects, top_k) if top_k else DEFAULT_THRESHOLD if threshold is None else threshold
    return replace(circuit, provenance={**circuit.provenance, **found.about(least)})


def _screen_problems(screen: Any, verify: Any, top_k: Any, greedy: Any, method: Any, positions: Any) -> list[str]:
    """What cannot be a screen, or does not go with one or with edges at all positions together."""
    problems = choice_problems(positions=(positions, ("separate", "together")))
    problems += whole_problems(LEAST_SAMPLED + 1, most=MOST_REPEATS, verify=verify)
    if not isinstance(screen, bool) and not is_one_of(screen, METHODS):
        problems.append(f"screen must be True, False or one of {', '.join(METHODS)}, got {shortly(screen)}")
    if screen and greedy is not None:
        problems.append("greedy prunes by exact runs of all edges; give it or a screen")
    if screen and method != "exact":
        problems.append(f"with a screen edges are measured exactly; leave out method={shortly(method)}")
    if positions == "together" and greedy is not None:
        problems.append("greedy prunes edges at single positions; leave out positions='together'")
    if screen and not problems and isinstance(top_k, int) and top_k > verify:
        problems.append(f"top_k={top_k} are more edges than verify={verify} measures")
    return problems


def _problems(top_k: Any, threshold: Any, greedy: Any, method: Any, keep_in: Any) -> list[str]:
    """What cannot be a rule, a method or a folder."""
    known = ("exact", *METHODS)
    problems = [] if is_one_of(method, known) else [f"no method {shortly(method)}; there are {', '.join(known)}"]
    problems += [] if keep_in is None else folder_problems(keep_in=keep_in)
    if keep_in is not None and method != "exact":
        problems.append("keep_in keeps exact effects; leave it out for estimates, which are quick")
    if sum(rule is not None for rule in (top_k, threshold, greedy)) > 1:
        problems.append("give one of top_k, threshold and greedy")
    problems += [] if top_k is None else whole_problems(1, most=MOST_REPEATS, top_k=top_k)
    problems += [] if threshold is None else number_problems(0, threshold=threshold)
    return problems + ([] if greedy is None else number_problems(0, above=True, greedy=greedy))


def prune(
    runs: CircuitRuns,
    least: float,
    *,
    likely: Bool[np.ndarray, " edge"],
    progress: bool = True,
    kept: Question | None = None,
) -> list[Edge]:
    """Remove edges one by one, last first, each unless the share of the gap that the rest keeps falls by `least` or more.

    Several steps are tried at once, each as if those before it went as is likely; from the first that did not on, they are
    tried again. So the guesses change how long it takes, and not what is kept.

    Args:
        runs: gives graph and shares.
        least: see above.
        likely: which of the graph's edges are likely to be kept.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        kept: whose folder keeps how far it came.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM; it says how far it came.
    """
    if runs.gap[2]:
        return []  # there is no share to lose
    edges = runs.graph.edges
    pruning = Pruning.of(len(edges), least, kept)
    with noticing_interrupts() as stop, bar(len(edges), "pruning", show=progress, first=pruning.n_tried) as shown:
        while tried := pruning.left[: pruning.n_at_once]:
            shown.update(_try(runs, pruning, tried, least, likely))
            pruning.save_if_due()
            if stop.asked:
                raise pruning.stopped(stop)
    pruning.save()
    return [edge for edge, stays in zip(edges, pruning.stays, strict=True) if stays]


def _try(runs: CircuitRuns, pruning: Pruning, tried: Sequence[int], least: float, likely: Bool[np.ndarray, " edge"]) -> int:
    """Do the next steps, up to the first that goes otherwise than is likely; how many they were."""
    n_done = 0
    for edge, rest in zip(tried, runs.share(_steps(pruning.stays, tried, likely)), strict=True):
        n_done += 1
        if goes := pruning.share - rest < least:
            pruning.stays[edge], pruning.share = False, float(rest)
        if goes == likely[edge]:
            break
    pruning.n_at_once = min(2 * pruning.n_at_once, MOST) if n_done == len(tried) else max(pruning.n_at_once // 2, FEWEST)
    pruning.n_tried += n_done
    return n_done


def _steps(
    kept: Bool[np.ndarray, " edge"], tried: Sequence[int], likely: Bool[np.ndarray, " edge"]
) -> Bool[np.ndarray, "step edge"]:
    """What is left after each step, as if those before it went as is likely."""
    found, rest = np.repeat(kept[None], len(tried), 0), kept.copy()
    for row, edge in zip(found, tried, strict=True):
        row[:] = rest
        row[edge] = False
        rest[edge] = likely[edge]
    return found
