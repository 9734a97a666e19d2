"""The numbers of `bridge_evidence`: what is read at every cell, and what changed states do to the answers."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.progress import with_bar
from ...tasks import NO_TOKEN, Donor, Queries
from ...tasks.transformerlens import Model
from ..forward.memory import budget
from ..forward.state_runs import StateRun, with_states
from ..forward.states import run_states
from ..statistics import newcombe_interval, random_like, wilson
from .answers import Copies, Rows, answers_with, said
from .bridge_effects import BridgeEffects
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans
from .evidence_verdicts import TOGETHER
from .interchange import (
    DONOR_RUNS,
    DONORS_THEMSELVES,
    donor_kinds,
    donor_runs,
    donors_right,
    under_ceiling,
    values_and_answers,
)
from .pair_donors import DONOR, HELD_OUT
from .probing import as_array, fit_probe, said_by

Cell = tuple[int, int]
"""Layer (−1: the embedding) and position."""
ALL = -1  # in place of a position: all together
CHANGES = ("direction", "random turn", "ablation", "random loss")
"""What is added to states. At all positions together, the changes of the single positions."""
TOGETHER_RUNS = 1  # that take at least what is held of a layer for all positions together


def readings(
    model: Model,
    graph: ComputationGraph,
    read: Queries,
    means: BridgeMeans,
    *,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Lens and probe at every cell, next to how often they give another question's value."""
    left = budget(max_memory, model) - means.run.n_bytes
    run = run_states(model, graph, read.tokens, max_memory=max(1, left))
    order = torch.randperm(len(read), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    values, rows = read.intermediates[means.intermediate], []
    for layer, position in with_bar(_cells(graph), "reading", show=progress):
        states = run.state(layer)[:, position]
        lens = said(model, states, max_memory=max(1, left - run.n_bytes))
        given = {"lens": lens, "probe": _probe(means, layer, position, states)}
        for measure, tokens in given.items():
            place = {"layer": layer, "role": graph.roles[position], "measure": measure}
            rows.append(_row(place, read, tokens == values, tokens == values[order]))
    return rows


def _probe(means: BridgeMeans, layer: int, position: int, states: Float[Tensor, "query d_model"]) -> Int[Tensor, " query"]:
    """What a probe says that was trained on units that no question is about; −1 if they have fewer than two values."""
    several = means.counts[means.values] >= MIN_UNITS_FOR_MEAN
    labels = means.values[several].numpy()
    if len(set(labels.tolist())) < 2:
        return torch.full((len(states),), NO_TOKEN, device="cpu")
    probe = fit_probe(as_array(means.run.state(layer)[several, position]), labels)
    return torch.from_numpy(said_by(probe, as_array(states)))


def interventions(
    model: Model,
    graph: ComputationGraph,
    asked: Queries,
    found: list[Donor],
    effects: BridgeEffects,
    *,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Ablation, donors and the difference of effects at every cell; the first and the last also at all positions together.

    A donor's states at all positions are the donor's question itself, so that nothing is run for them: what they would
    turn is `donor_right`.
    """
    (new_values, wanted), name = values_and_answers(found), effects.intermediate
    kinds, positions = donor_kinds(found, name), range(len(graph.roles))

    def changed(run: StateRun, part: Rows) -> Iterator[tuple[Cell, Copies]]:
        donors = donor_runs(model, graph, [found[row] for row in part.tolist()], kinds)
        yield DONORS_THEMSELVES, torch.stack([donors[kind].logits for kind in kinds])
        generator = torch.Generator().manual_seed(int(seed))
        for layer in range(-1, graph.n_layers):
            together = {}
            for position in positions:
                state, effect = run.state(layer)[:, position], effects.of(layer, position, asked.intermediates[name])
                loss, turn = effects.overall(layer, position) - effect, effects.of(layer, position, new_values) - effect
                changes = [turn, random_like(turn, generator), loss, random_like(loss, generator)]
                together[position] = torch.stack([state + change[part] for change in changes])
                whole = torch.stack([donors[kind].state(layer)[:, position] for kind in kinds])
                yield (layer, position), with_states(run, layer, {position: torch.cat([whole, together[position]])})
            yield (layer, ALL), with_states(run, layer, together)

    n_places = 1 + (graph.n_layers + 1) * (len(positions) + 1)
    options: dict[str, Any] = {
        "n_places": n_places,
        "n_copies": len(kinds) + len(CHANGES),
        "n_runs": 1 + DONOR_RUNS + TOGETHER_RUNS,
    }
    options |= {"kept": effects.n_bytes, "max_memory": max_memory, "what": "changing states", "progress": progress}
    answers = answers_with(model, graph, asked, changed, **options)
    right = donors_right(found, dict(zip(kinds, answers.pop(DONORS_THEMSELVES), strict=True)))
    rows = []
    for (layer, position), given in answers.items():
        names = CHANGES if position == ALL else (*kinds, *CHANGES)
        outcomes = _outcomes(dict(zip(names, given, strict=True)), asked, wanted, name)
        place = {"layer": layer, "role": TOGETHER if position == ALL else graph.roles[position]}
        for measure, (met, control) in outcomes.items():
            row = _row({**place, "measure": measure}, asked, met, control)
            rows.append(row | under_ceiling(measure, met, found, right))
    return rows


def _outcomes(
    answers: Mapping[str, Int[Tensor, " query"]], asked: Queries, wanted: Int[Tensor, " query"], name: str
) -> dict[str, tuple[Bool[Tensor, " query"], Bool[Tensor, " query"] | None]]:
    """By measure, for which questions it is met, and its control."""
    same, control = f"same {name}", f"other {name}" if f"other {name}" in answers else f"same {name}"
    moved = {what: tokens == wanted for what, tokens in answers.items()}
    kept = {what: tokens == asked.answers for what, tokens in answers.items()}
    return {
        "ablation": (~kept["ablation"], ~kept["random loss"]),
        **{kind: (moved[kind], moved[control]) for kind in ("trained", HELD_OUT, DONOR) if kind in moved},
        **({same: (kept[same], None)} if same in kept else {}),
        "direction": (moved["direction"], moved["random turn"]),
    }


def _cells(graph: ComputationGraph) -> list[Cell]:
    return [(layer, position) for layer in range(-1, graph.n_layers) for position in range(len(graph.roles))]


def _row(
    place: dict[str, Any], queries: Queries, met: Bool[Tensor, " query"], control: Bool[Tensor, " query"] | None
) -> dict[str, Any]:
    n_units, value = queries.n_units, float(met.double().mean())
    if control is None:
        low, high = wilson(value, n_units)
        row = place | {"value": value, "control": float("nan"), "excess": value}
    else:
        chance = float(control.double().mean())
        low, high = newcombe_interval(value, chance, n_units)
        row = place | {"value": value, "control": chance, "excess": value - chance}
    return row | {"low": low, "high": high, "n": len(queries), "n_facts": n_units}
