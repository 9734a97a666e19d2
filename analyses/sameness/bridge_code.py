"""Where the direction of a bridge moves a model's answers most, and its states there on facts that no question is about.

Layers cannot be compared by number: one that does nothing may stand anywhere, and loops differ. So each model is looked at
where its direction works best, after one of its layers at one position or at several together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...circuits import ComputationGraph
from ...circuits.progress import with_bar
from ...tasks import Queries
from ...tasks.transformerlens import Model
from ..bridge.answers import Copies, Rows, answers_with
from ..bridge.bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans
from ..bridge.interchange import questions_with_donors, values_and_answers
from ..bridge.sources import Source
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..statistics import double
from .procrustes import Code, States, mean_states

Cell = tuple[int, tuple[str, ...]]
"""A layer (−1: the embedding) and the roles after it."""
CENTRED = ("LN", "LNPre")  # norms that take a state's mean out before anything reads it: it is no part of a code


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions that a model answers right, with the other value of each and the answer that follows from it.

    Attributes:
        asked: the questions.
        values, new_values: of each, numbered as `BridgeCode.values`.
        wanted: the answers that follow.
    """

    asked: Queries
    values: Int[np.ndarray, " query"]
    new_values: Int[np.ndarray, " query"]
    wanted: Int[Tensor, " query"]

    def turned(self, code: Code) -> Float[Tensor, "query place"]:
        """The vector of each question's other value less that of its value."""
        return torch.from_numpy(code[self.new_values] - code[self.values])


@dataclass(frozen=True, eq=False)
class BridgeCode:
    """How a model writes an intermediate.

    Attributes:
        cell: where.
        states: of reference facts there, those of all positions in one row; without what norms take out of every state.
        values: of each fact, from 0 on.
    """

    cell: Cell
    states: States
    values: Int[np.ndarray, " fact"]


class Reference:
    """A model that was run on the reference questions.

    Args:
        model: not changed.
        source: of the reference questions and of other values.
        without: all questions that may be asked, by whatever model, so that all models have the same reference.
        intermediate: whose values are told apart.
        max_memory: bytes that may be used; by default a quarter of what is free.
        seed: of reference questions and other values.
    """

    def __init__(
        self,
        model: Model,
        source: Source,
        without: Queries,
        *,
        intermediate: str,
        max_memory: int | None,
        seed: int,
    ) -> None:
        self.model, self.source, self.max_memory, self.seed = model, source, max_memory, seed
        self.graph: ComputationGraph = graph_of(model, without.roles, without.answer_position)
        limits: dict[str, Any] = {"seed": seed, "max_memory": max_memory}
        self.means = BridgeMeans(model, self.graph, source, without, intermediate=intermediate, **limits)

    @property
    def is_known(self) -> Bool[Tensor, " value"]:
        """Which values have enough facts for a mean."""
        return self.means.counts >= MIN_UNITS_FOR_MEAN

    def questions(self, queries: Queries) -> Questions | None:
        """Those that the model answers right and that have another value; None if there are none."""
        limits: dict[str, Any] = {"second_hop": "ID", "seed": self.seed, "max_memory": self.max_memory}
        try:
            asked, found = questions_with_donors(self.model, self.graph, self.source, queries, self.means, **limits)
        except ValueError:
            return None
        new_values, wanted = values_and_answers(found)
        values = asked.intermediates[self.means.intermediate]
        return Questions(asked, self._numbers[values].numpy(), self._numbers[new_values].numpy(), wanted)

    def code(self, cell: Cell) -> BridgeCode:
        """The states at a cell of all facts whose value has enough of them."""
        state, facts = self.means.run.state(cell[0]), self.is_known[self.means.values]
        states = double(state[facts.to(state.device)][:, self._positions(cell)])
        if getattr(self.model.cfg, "normalization_type", None) in CENTRED:
            states = states - states.mean(-1, keepdim=True)
        return BridgeCode(cell, states.flatten(1).cpu().numpy(), self._numbers[self.means.values[facts]].numpy())

    def best(self, queries: Queries, roles: Sequence[str], *, progress: bool) -> BridgeCode | None:
        """The code where the model's own directions move most answers; of equals the first. None if there is no question."""
        if (questions := self.questions(queries)) is None:
            return None
        n_moved, cells = [], cells_of(self.graph, roles)
        for cell in with_bar(cells, "looking for the bridge", show=progress):
            code = self.code(cell)
            turned = questions.turned(mean_states(code.states, code.values))
            n_moved.append(int((self.answers(questions, cell, turned[None]) == questions.wanted).sum()))
        return self.code(cells[int(np.argmax(n_moved))])

    def answers(
        self, questions: Questions, cell: Cell, changes: Float[Tensor, "copy query place"]
    ) -> Int[Tensor, "copy query"]:
        """What the model answers with each change added to its states at a cell."""

        def changed(run: StateRun, part: Rows) -> Iterator[tuple[Cell, Copies]]:
            yield cell, self._with(run, cell, changes[:, part])

        kept = self.means.run.n_bytes + changes.nbytes
        options: dict[str, Any] = {"n_places": 1, "n_copies": len(changes), "kept": kept, "max_memory": self.max_memory}
        options |= {"what": "turning the bridge", "progress": False}
        return answers_with(self.model, self.graph, questions.asked, changed, **options)[cell]

    @property
    def _numbers(self) -> Int[Tensor, " value"]:
        """Of each value with a mean, its number among these."""
        return self.is_known.cumsum(0) - 1

    def _positions(self, cell: Cell) -> list[int]:
        return [self.graph.roles.index(role) for role in cell[1]]

    def _with(self, run: StateRun, cell: Cell, changes: Float[Tensor, "copy row place"]) -> Copies:
        state, positions = run.state(cell[0]), self._positions(cell)
        parts = changes.to(state.dtype).to(state.device).unflatten(-1, (len(positions), -1)).unbind(2)
        states = {at: state[:, at] + part for at, part in zip(positions, parts, strict=True)}
        return with_states(run, cell[0], states)


def cells_of(graph: ComputationGraph, roles: Sequence[str]) -> list[Cell]:
    """Each layer with each role, and with all of them together, since a bidirectional model may keep copies."""
    places = [(role,) for role in roles] + ([tuple(roles)] if len(roles) > 1 else [])
    return list(product(range(-1, graph.n_layers), places))
