"""Ablate a state's bridge direction, or turn it to another bridge's.

Ablation asks whether the answer needs what is readable as the bridge at a cell, steering whether turning it is enough. Both
are compared with random directions, since any change of that size may hurt.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import choice_problems, common_problems, number_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...tasks import PromptPairs, Queries
from ...tasks.questions.validity import inputs_of, vocabulary_problems
from ...tasks.transformerlens import Model
from ..forward.head import same_vocabulary, token_embeddings, unembedding_directions
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..plots.heatmaps import cell_heatmaps
from ..statistics import random_like, wilson_row
from .answers import Copies, Rows, answers_with
from .bridge_means import BridgeMeans
from .interchange import questions_with_donors, values_and_answers
from .largest import CHOSEN, Cells, without_number
from .own_pairs import given_problems, setting
from .sources import Source

Cell = tuple[int, int, float]
"""Layer (−1: the embedding), position, scale."""
MEAN_STATE = "mean state"
SHOWN = {"kept": "share of answers that stay", "moved": "share of answers that follow"}


@dataclass(frozen=True, eq=False)
class BridgeDirectionResult(Result):
    """What the model answers when the bridge's direction is removed or turned.

    Attributes:
        table: a row for each layer (−1: the embedding), position and direction, with
            direction: `bridge`, or the intermediate's other name, or `random` for ablation; `mean state`, `embedding`,
            `unembedding` or `random` for steering;
            scale: of steering, in units of the difference of the two bridges' vectors; 1 for ablation;
            kept: share of unchanged answers, that is exact match; low, high: its 95 % Wilson interval over units;
            moved: of steering, share of answers tail(b′, r2), of pairs the foil; of ablation, the same as kept;
            n, n_facts: questions, all answered correctly before, and their units: the hop-1 facts of two-hop questions.
        model: the model's name.
        split: the questions' split.
        n_asked: questions before those answered wrongly, or without a mean state of their bridge, were left out.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="role direction", numbers="scale kept low high moved", whole="layer n n_facts")
    ]
    model: str
    split: str
    n_asked: int

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        row = self.table.iloc[0]
        return f"{self.model} · {self.split} · n = {row['n']} of {self.n_asked} questions over {row['n_facts']} units"

    def explain(self) -> Explanation:
        """Where answers need the direction, or follow it, next to random vectors."""
        cells = Cells.of(self.table)
        names = cells.names("direction")
        steered = MEAN_STATE in names
        name, column = (MEAN_STATE, "moved") if steered else (next(iter(names), ""), "kept")
        measured = f"What the model answers when what is particular to its {name} is taken out of the state at one cell."
        if steered:
            measured = "What the model answers when the difference of two values' vectors is added to the state at one cell."
        best = cells.having(direction=name).largest(column, least=not steered)
        if best is None:
            return without_number(measured, self.table, self.model, self.split)
        others = {each: cells.beside(best, "layer", "role", "scale", direction=each) for each in names if each != name}
        there = ", ".join(f"{each} {row.number(column)}" for each, row in others.items())
        stays = best.bounds(of=f"Of the share that stays, {best.number('kept')}")
        means = f"Most answers follow the {name} at {best.place}, scale {best.as_number('scale'):g}"
        return Explanation(
            measured=measured,
            on=f"{best.asked(self.model, self.split, of=self.n_asked)}, all answered right before.",
            means=f"{means if steered else f'Fewest answers stay as they were at {best.place}'}: {best.number(column)} (1 "
            "is all, 0 none).",
            sure=f"No interval was computed of the share that follows. {stays}" if steered else f"{stays} {CHOSEN}",
            would_change=f"Other vectors at that place give: {there}. What random ones of that length do, too, is not due "
            f"to the {'difference' if steered else name}.",
        )

    def figure(self, value: str = "kept") -> Any:
        """Heat maps of `kept` or `moved`, layer × position, for each direction at scale 1."""
        refuse(choice_problems(value=(value, tuple(SHOWN))))
        measured = SHOWN[value]
        known = value == "kept"
        title = f"{measured} · {self.caption}{' · on hover: 95 % Wilson over units' if known else ''}"
        look = {"label": measured, "title": title, "bounds": known}
        return cell_heatmaps(self.table[self.table["scale"] == 1], "direction", value, **look)


@torch.no_grad()
def ablate_bridge(
    model: Model,
    task: Source | PromptPairs,
    queries: Queries | None = None,
    *,
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> BridgeDirectionResult:
    """Ablate what is particular to the bridge, or another intermediate, in the state at every layer and position.

    Subtracted is the difference between the mean state of the question's bridge and that of all bridges, over questions
    of other units. `random`: a random vector of that length.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: gives donors and the questions for mean states; or prompt pairs with intermediates, of which the clean
            prompts of half the units are asked.
        queries: questions of the task; those that `interchange` would use are asked. Pairs hold theirs.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the random directions; for pairs also of the half that is asked.

    Raises:
        TypeError: if a task comes without queries, or pairs with them.
        ValueError: if pairs or queries cannot be examined (all problems at once), or no question is left to ask.
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(given_problems(queries) + common)
    source, queries, name = setting(model, task, queries, intermediate, seed=seed)
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, source, queries, intermediate=name, seed=seed, max_memory=max_memory)
    options: dict[str, Any] = {"second_hop": "ID", "seed": seed, "max_memory": max_memory}
    asked, _ = questions_with_donors(model, graph, source, queries, means, **options)

    def ablated(run: StateRun, part: Rows) -> Iterator[tuple[Cell, Copies]]:
        generator = torch.Generator().manual_seed(int(seed))
        for layer, position in _cells(graph):
            change = means.overall(layer, position) - means.of(layer, position, asked.intermediates[name])
            changes = torch.stack([change, random_like(change, generator)])[:, part]
            yield (layer, position, 1.0), _logits(run, layer, position, changes)

    options = {"n_places": len(_cells(graph)), "n_copies": 2, "kept": means.run.n_bytes}
    options |= {"max_memory": max_memory, "what": "ablating", "progress": progress}
    answers = answers_with(model, graph, asked, ablated, **options)
    rows = _rows(graph, asked, asked.answers, [name, "random"], answers)
    return BridgeDirectionResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, len(queries))


@torch.no_grad()
def steer_bridge(
    model: Model,
    task: Source | PromptPairs,
    queries: Queries | None = None,
    *,
    scales: Sequence[float] = (1.0, 2.0, 4.0),
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> BridgeDirectionResult:
    """Add the difference of two bridges' vectors, or another intermediate's, to the state at every layer and position.

    The vectors: mean states over questions of other units, token embeddings, or rows of the unembedding; no embeddings where
    the model answers from another vocabulary than that of its prompts (`d_vocab_out`), since values belong to the former.
    `random`: a random direction as long as the difference of mean states. The new bridge is that of a donor as in
    `interchange`.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: gives donors and the questions for mean states; or prompt pairs with intermediates, of which the clean
            prompts of half the units are asked.
        queries: questions of the task; pairs hold theirs.
        scales: multiples of the difference.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the new bridges and the random directions; for pairs also of the half that is asked.

    Raises:
        TypeError: if a task comes without queries, or pairs with them.
        ValueError: if pairs or queries cannot be examined (all problems at once), or no question is left to ask.
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(given_problems(queries) + _scale_problems(scales) + common)
    source, queries, name = setting(model, task, queries, intermediate, seed=seed)
    problems = vocabulary_problems({f"the {name}": queries.intermediates[name]}, inputs_of(model.cfg))  # embedded, too
    refuse(problems)
    graph = graph_of(model, queries.roles, queries.answer_position)
    means = BridgeMeans(model, graph, source, queries, intermediate=name, seed=seed, max_memory=max_memory)
    options: dict[str, Any] = {"second_hop": "ID", "seed": seed, "max_memory": max_memory}
    asked, found = questions_with_donors(model, graph, source, queries, means, **options)
    (new_values, wanted), values = values_and_answers(found), asked.intermediates[name]
    tables = {"embedding": token_embeddings(model)} if same_vocabulary(model) else {}
    tables |= {"unembedding": unembedding_directions(model)}

    def steered(run: StateRun, part: Rows) -> Iterator[tuple[Cell, Copies]]:
        generator = torch.Generator().manual_seed(int(seed))
        fixed = [vectors[new_values[part]] - vectors[values[part]] for vectors in tables.values()]
        for layer, position in _cells(graph):
            change = means.of(layer, position, new_values) - means.of(layer, position, values)
            changes = torch.stack([change[part], *fixed, random_like(change, generator)[part]])
            for scale in scales:
                yield (layer, position, float(scale)), _logits(run, layer, position, scale * changes)

    directions = [MEAN_STATE, *tables, "random"]
    options = {"n_places": len(_cells(graph)) * len(scales), "n_copies": len(directions), "kept": means.run.n_bytes}
    options |= {"max_memory": max_memory, "what": "steering", "progress": progress}
    rows = _rows(graph, asked, wanted, directions, answers_with(model, graph, asked, steered, **options))
    return BridgeDirectionResult(pd.DataFrame(rows), model.cfg.model_name, queries.split, len(queries))


def _cells(graph: ComputationGraph) -> list[tuple[int, int]]:
    return list(product(range(-1, graph.n_layers), range(len(graph.roles))))


def _logits(run: StateRun, layer: int, position: int, changes: Float[Tensor, "copy row d_model"]) -> Copies:
    """The logits with each change added to the state at a cell."""
    return with_states(run, layer, {position: run.state(layer)[:, position] + changes})


def _rows(
    graph: ComputationGraph,
    asked: Queries,
    wanted: Int[Tensor, " query"],
    directions: Sequence[str],
    answers: Mapping[Cell, Int[Tensor, "copy query"]],
) -> list[dict[str, Any]]:
    """What the model answers with each direction in each cell."""
    rows = []
    for (layer, position, scale), given in answers.items():
        for direction, answered in zip(directions, given, strict=True):
            kept, moved = wilson_row(answered == asked.answers, asked.unit), float((answered == wanted).double().mean())
            row = {"layer": layer, "role": graph.roles[position], "direction": direction, "scale": scale}
            row |= {"kept": kept.value, "low": kept.low, "high": kept.high, "moved": moved}
            rows.append(row | {"n": kept.n, "n_facts": kept.n_units})
    return rows


def _scale_problems(scales: Any) -> list[str]:
    """Why a direction cannot be added these many times over."""
    is_list = isinstance(scales, Sequence) and not isinstance(scales, str)
    if is_list and len(scales) and not any(number_problems(-math.inf, scale=each) for each in scales):
        return []
    return [f"scales are one or more finite numbers, got {tuple(scales) if is_list else scales!r}"]
