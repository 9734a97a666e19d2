"""The numbers of `bridge_evidence`: what is read at every cell, and what changed states do to the answers."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.progress import with_bar
from ...tasks import NO_TOKEN, Donor, Queries, top_token
from ...tasks.transformerlens import Model
from ..forward.memory import budget
from ..forward.state_runs import StateRun, with_states
from ..forward.states import run_states
from ..statistics import random_like
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
from .linear_probe import as_array, fit_probe, said_by
from .outcomes import Met, Outcome
from .pair_donors import DONOR, HELD_OUT, OTHER_R2

Cell = tuple[int, int]
"""Layer (−1: the embedding) and position."""
Place = tuple[int | None, int]
"""The same; no layer: after every layer."""
SHUFFLED_PROBE = "probe, shuffled labels"
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
) -> tuple[list[Outcome], Met]:
    """Lens and probe at every cell, next to how often they give another question's value; and who is answered right.

    The probe of shuffled labels, one for each unit, says what a probe gives that has nothing to learn.
    """
    left = budget(max_memory, model) - means.run.n_bytes
    run = run_states(model, graph, read.tokens, max_memory=max(1, left))
    order = torch.randperm(len(read), generator=torch.Generator().manual_seed(int(seed)), device="cpu")
    values, outcomes = read.intermediates[means.intermediate], []
    for layer, position in with_bar(_cells(graph), "reading", show=progress):
        states = run.state(layer)[:, position]
        lens = said(model, states, max_memory=max(1, left - run.n_bytes))
        given = {"lens": lens, "probe": _probe(means, layer, position, states)}
        given |= {SHUFFLED_PROBE: _probe(means, layer, position, states, shuffle=seed)}
        for measure, tokens in given.items():
            outcomes.append(Outcome(layer, graph.roles[position], measure, tokens == values, tokens == values[order]))
    return outcomes, top_token(run.logits).cpu() == read.answers


def _probe(
    means: BridgeMeans, layer: int, position: int, states: Float[Tensor, "query d_model"], *, shuffle: int | None = None
) -> Int[Tensor, " query"]:
    """What a probe says that was trained on units that no question is about; −1 if they have fewer than two values."""
    several = means.counts[means.values] >= MIN_UNITS_FOR_MEAN
    labels = means.values[several].numpy()
    if len(set(labels.tolist())) < 2:
        return torch.full((len(states),), NO_TOKEN, device="cpu")
    if shuffle is not None:
        labels = np.random.default_rng(shuffle).permutation(labels)
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
) -> list[Outcome]:
    """Ablation, donors and the difference of effects at every cell; the first and the last also at all positions together.

    A donor's states at all positions are the donor's question itself, so that nothing is run for them: what they would
    turn is `donor_right`. All of it once more at one position after every layer: there the run's states, changed, are put
    in, or a donor's, whatever the layers between make of them.
    """
    (new_values, wanted), name = values_and_answers(found), effects.intermediate
    kinds, positions, values = donor_kinds(found, name), range(len(graph.roles)), asked.intermediates[name]

    def changes(
        run: StateRun, part: Rows, layer: int, position: int, generator: torch.Generator
    ) -> Float[Tensor, "copy ..."]:
        state, effect = run.state(layer)[:, position], effects.of(layer, position, values)
        loss, turn = effects.overall(layer, position) - effect, effects.of(layer, position, new_values) - effect
        added = [turn, random_like(turn, generator), loss, random_like(loss, generator)]
        return torch.stack([state + change[part] for change in added])

    def changed(run: StateRun, part: Rows) -> Iterator[tuple[Place, Copies]]:
        donors = donor_runs(model, graph, [found[row] for row in part.tolist()], kinds)
        yield DONORS_THEMSELVES, torch.stack([donors[kind].logits for kind in kinds])

        def at(layer: int, position: int, here: Tensor) -> Mapping[int, Tensor]:
            whole = torch.stack([donors[kind].state(layer)[:, position] for kind in kinds])
            return {position: torch.cat([whole, here])}

        generator = torch.Generator().manual_seed(int(seed))
        for layer in range(-1, graph.n_layers):
            together = {}
            for position in positions:
                together[position] = changes(run, part, layer, position, generator)
                yield (layer, position), with_states(run, layer, at(layer, position, together[position]))
            yield (layer, ALL), with_states(run, layer, together)
        generator = torch.Generator().manual_seed(int(seed))
        for position in positions if graph.n_layers else ():
            layers = range(graph.n_layers)
            states = [at(layer, position, changes(run, part, layer, position, generator)) for layer in layers]
            yield (None, position), with_states(run, 0, *states)

    options: dict[str, Any] = {
        "n_places": 1 + (graph.n_layers + 1) * (len(positions) + 1) + len(positions),
        "n_copies": len(kinds) + len(CHANGES),
        "n_runs": 1 + DONOR_RUNS + TOGETHER_RUNS,
    }
    options |= {"kept": effects.n_bytes, "max_memory": max_memory, "what": "changing states", "progress": progress}
    answers = answers_with(model, graph, asked, changed, **options)
    right = donors_right(found, dict(zip(kinds, answers.pop(DONORS_THEMSELVES), strict=True)))
    outcomes = []
    for (layer, position), given in answers.items():
        names, role = (
            CHANGES if position == ALL else (*kinds, *CHANGES),
            TOGETHER if position == ALL else graph.roles[position],
        )
        for measure, (met, control) in _outcomes(dict(zip(names, given, strict=True)), asked, wanted, name).items():
            outcomes.append(Outcome(layer, role, measure, met, control, under_ceiling(measure, met, found, right)))
    return outcomes


def _outcomes(
    answers: Mapping[str, Int[Tensor, " query"]], asked: Queries, wanted: Int[Tensor, " query"], name: str
) -> dict[str, tuple[Bool[Tensor, " query"], Bool[Tensor, " query"] | None]]:
    """By measure, for which questions it is met, and its control."""
    same, control = f"same {name}", f"other {name}" if f"other {name}" in answers else f"same {name}"
    moved = {what: tokens == wanted for what, tokens in answers.items()}
    kept = {what: tokens == asked.answers for what, tokens in answers.items()}
    return {
        "ablation": (~kept["ablation"], ~kept["random loss"]),
        **{kind: (moved[kind], moved[control]) for kind in ("trained", HELD_OUT, DONOR, OTHER_R2) if kind in moved},
        **({same: (kept[same], None)} if same in kept else {}),
        "direction": (moved["direction"], moved["random turn"]),
    }


def _cells(graph: ComputationGraph) -> list[Cell]:
    return [(layer, position) for layer in range(-1, graph.n_layers) for position in range(len(graph.roles))]
