"""Does an intervention's effect grow with its dose, did it reach its target, and does nothing else have that effect?

At one cell a state gets a multiple of the difference of two values' effects (see `bridge_effects`). Three things speak for a
cause: its effect grows with the dose up to a plateau; the changed state decodes as the new value, without which a missing
effect says nothing; and neither a random vector as long nor the difference of two tokens at another role has that effect.
Doses above 1 leave what the model ever sees: there a model that looks answers up may follow, too, and knows no bridge.

The cell is chosen on other units than are counted. Probes learn from the questions' units, those of other folds: from the
units of which effects are means they would read any difference of means as the new value, even where values mean nothing.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis as Probe
from torch import Tensor

from ...circuits import ComputationGraph, Result
from ...circuits.arguments import common_problems, is_whole, name_problems, native, number_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.units import shown
from ...tasks import NO_TOKEN, PromptPairs, Queries
from ...tasks.questions.validity import layer_problems, missing_problems, taken_problems
from ...tasks.transformerlens import Model
from ..forward.cached import CachedRun
from ..forward.model import graph_of
from ..forward.state_runs import StateRun, with_states
from ..forward.states import run_states
from ..plots.dose import dose_curves
from ..plots.style import layer_name
from ..statistics import Share, newcombe_interval, random_like, wilson_row
from .answers import Copies, Rows, answers_with
from .bridge_effects import BridgeEffects
from .bridge_means import MIN_UNITS_FOR_MEAN, BridgeMeans
from .interchange import questions_with_donors, values_and_answers
from .largest import Cells, without_number
from .linear_probe import as_array, fit_probe, said_by
from .own_pairs import RANDOM, given_problems, setting
from .questions import halves_by_unit
from .sources import Source
from .token_parts import Cell, control_role, token_turn

DOSES = tuple(step / 5 for step in range(11))
CONTROL = "control"
ASKED = ANSWER, HERE, LAST = "answer", "here", "last"
"""What is asked of a changed state: the answer, and what probes read at the cell and after the last layer."""
N_FOLDS = 4  # of units; a probe reads those it was not trained on
LAST_FIFTH = 0.8  # of the largest dose, from where on a plateau is flat
SHARES = "moved moved_low moved_high kept kept_low kept_high decoded decoded_low decoded_high decoded_later decoded_old"
NUMBERS = f"dose {SHARES} length natural_length"


@dataclass(frozen=True, eq=False)
class GradedResponseResult(Result):
    """What the model answers, and what its state decodes as, by dose.

    Attributes:
        table: a row for each dose and direction, with
            dose: in units of the difference of two values' effects;
            direction: the intermediate's name; `random`, a random vector of that length for each question; `control`, the
            difference of two tokens at another role, scaled to that length (no such row where there is no such role);
            moved: share of answers that the new value asks for, of pairs the foil; kept: share of unchanged answers; with
            _low, _high: 95 % Wilson intervals over units, as of decoded;
            decoded: share of changed states in which a probe, trained on other units than the question's and than those of
            the effects, reads the new value; decoded_later: the same at that role after the last layer; decoded_old: share
            in which the old value is read at the cell, at dose 0 the probe's accuracy, with which decoded is to be compared;
            length: mean length of the vectors added, divided by that of states at the cell; natural_length: what it would be
            without scaling, NaN for `random`. If that of the control is near zero, it is a random direction among states;
            n, n_facts: questions, all answered correctly before, and their units: the hop-1 facts of two-hop questions.
        model, split, intermediate: names.
        layer, role: of the cell (−1: the embedding).
        control: the role whose tokens the control is about; empty if there is none.
        n_asked: questions on which it is counted, before those answered wrongly, or without donors and means, were left out.
        n_chosen_on: other units, on which the cell was chosen; 0 if it was given.
    """

    table: Annotated[pd.DataFrame, Columns(words="direction", numbers=NUMBERS, whole="n n_facts")]
    model: str
    split: str
    layer: int
    role: str
    intermediate: str
    control: str
    n_asked: int
    n_chosen_on: int

    @property
    def caption(self) -> str:
        """Model, split, cell and n in one line."""
        row, chosen = self.table.iloc[0], f", chosen on {self.n_chosen_on} other units" if self.n_chosen_on else ""
        n = f"n = {row['n']} of {self.n_asked} questions over {row['n_facts']} units"
        return f"{self.model} · {self.split} · {layer_name(self.layer)} {self.role}{chosen} · {n}"

    @property
    def threshold(self) -> float:
        """The smallest dose at which `moved` is half of its largest value, by a line between doses; NaN if none moves."""
        doses, moved = self._response()
        half = moved.max() / 2
        first = int(np.argmax(moved >= half))
        around = slice(max(0, first - 1), first + 1)
        return float(np.interp(half, moved[around], doses[around])) if half > 0 else math.nan

    @property
    def plateau(self) -> float:
        """By how much `moved` still grows over the last fifth of doses, by default from 1.6 to 2: about 0 on a plateau."""
        doses, moved = self._response()
        return float(moved[-1] - np.interp(LAST_FIFTH * doses[-1], doses, moved))

    @property
    def monotone(self) -> float:
        """Spearman's correlation of dose and `moved` up to the first maximum; NaN if that is at the first dose."""
        doses, moved = (pd.Series(each) for each in self._response())
        rising = moved.iloc[: int(moved.argmax()) + 1]
        return float(doses[rising.index].rank().corr(rising.rank())) if len(rising) > 1 else math.nan

    @property
    def reached(self) -> Share:
        """The share of states that decode as the new value at dose 1, with Wilson's interval over units."""
        row = self._at_one(self.intermediate)
        return Share(*native(row[["decoded", "decoded_low", "decoded_high", "n", "n_facts"]].tolist()))

    @property
    def specific(self) -> Share:
        """Answers that the intermediate moves at dose 1, minus the control's (NaN: there is none); Newcombe's interval."""
        moved, n, n_units = native(self._at_one(self.intermediate)[["moved", "n", "n_facts"]].tolist())
        control = float(self._at_one(CONTROL)["moved"]) if self.control else math.nan
        return Share(moved - control, *newcombe_interval(moved, control, n_units), n, n_units)

    def explain(self) -> Explanation:
        """Whether answers follow the dose more than controls, and whether the state was reached."""
        name, cells = self.intermediate, Cells.of(self.table).having(dose=1)
        measured = (
            f"What the model answers when multiples (doses) of the difference of two values' effects ({name}) are added to "
            f"the state at {layer_name(self.layer)} {self.role}, and what it answers with other vectors as long."
        )
        row = cells.having(direction=name).largest("moved")
        if row is None:
            return without_number(measured, self.table, self.model, self.split)
        others = {"random": RANDOM, f"tokens at {self.control}": CONTROL}
        found = {what: cells.having(direction=each).largest("moved") for what, each in others.items()}
        beside = ", ".join(f"{what} {each.number('moved')}" for what, each in found.items() if each) or "none"
        half = (
            "" if math.isnan(self.threshold) else f" Half of the largest share is reached at dose {shown(self.threshold)}."
        )
        chosen = f"chosen on {self.n_chosen_on} other units" if self.n_chosen_on else "given"
        return Explanation(
            measured=measured,
            on=f"{row.asked(self.model, self.split, of=self.n_asked)}, all answered right before.",
            means=f"At dose 1, {row.number('moved')} of the answers follow the new value (1 is all, 0 none); with other "
            f"vectors as long: {beside}.{half}",
            sure=f"{row.bounds('moved_low', 'moved_high')} The changed state decodes as the new value in "
            f"{row.number('decoded')} of the questions; where it does not, a missing effect says nothing.",
            would_change=f"Another cell than this, which was {chosen}. Over the last fifth of doses the share still grows "
            f"by {shown(self.plateau)} (0 on a plateau).",
        )

    def figure(self) -> Any:
        """The share of answers that follow by dose, a line for each direction."""
        return dose_curves(self.table, title=f"answers that follow by dose · {self.caption} · bands: 95 % Wilson over units")

    def _response(self) -> tuple[Float[np.ndarray, " dose"], Float[np.ndarray, " dose"]]:
        rows = self.table[self.table["direction"] == self.intermediate]
        return rows["dose"].to_numpy(float), rows["moved"].to_numpy(float)

    def _at_one(self, direction: str) -> pd.Series:
        return self.table[(self.table["direction"] == direction) & (self.table["dose"] == 1)].iloc[0]


@torch.no_grad()
def graded_response(
    model: Model,
    task: Source | PromptPairs,
    queries: Queries | None = None,
    *,
    cell: tuple[int, str] | None = None,
    doses: Sequence[float] = DOSES,
    intermediate: str | None = None,
    control: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> GradedResponseResult:
    """Add multiples of the difference of two values' effects to the state at one cell, and the same of controls.

    The new value is that of a donor as in `interchange`. Dose 1 is what `bridge_evidence` calls `direction`.

    Args:
        model: any model that `graph_of` accepts; it is not changed.
        task: gives donors and the questions for mean states; or prompt pairs with intermediates, of which the clean
            prompts of half the units are asked.
        queries: questions of the task; pairs hold theirs.
        cell: layer (−1: the embedding) and role. By default the one at which dose 1 turns most answers to questions about
            one half of the units, embeddings left out; those about the other half are then counted.
        doses: multiples of the difference, from 0 on and increasing, 1 among them.
        intermediate: its name, if the questions carry several.
        control: the role whose tokens are the other variable: states are taken as a sum of one part for the value and one
            for the token there. By default the last role whose token is no part of the unit (r2 of two-hop questions).
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of halves, new values, new tokens, random vectors and folds.

    Raises:
        TypeError: if a task comes without queries, or pairs with them.
        ValueError: if settings, pairs or queries cannot be used (all problems at once), or no question is left to ask.
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    refuse(given_problems(queries) + _dose_problems(doses) + _kind_problems(cell, control) + common)
    source, queries, name = setting(model, task, queries, intermediate, seed=seed)
    graph = graph_of(model, queries.roles, queries.answer_position)
    refuse(_place_problems(cell, control, graph, name))
    means = BridgeMeans(model, graph, source, queries, intermediate=name, seed=seed, max_memory=max_memory)
    role = control_role(queries, means, control)
    options: dict[str, Any] = {"max_memory": max_memory, "progress": progress}
    study = _Study(model, graph, source, queries, means, BridgeEffects(means, queries), int(seed), options)
    none = queries.take(torch.arange(0, device="cpu"))
    chosen_on, counted = (none, queries) if cell else halves_by_unit(queries, seed=seed)
    at = (int(cell[0]), graph.roles.index(cell[1])) if cell else _best_cell(study, study.turned(chosen_on))
    turned = study.turned(counted)
    added = _added(study, turned, at, role)
    found = _responses(study, turned, at, list(map(float, doses)), torch.stack([vectors for vectors, _ in added.values()]))
    typical = _length(means.run.state(at[0])[:, at[1]])
    rows = [
        {"dose": dose, "direction": direction}
        | _shares([found[what, dose][number] for what in ASKED], turned)
        | {"length": dose * _length(vectors) / typical, "natural_length": dose * natural / typical}
        | {"n": len(turned.asked), "n_facts": turned.asked.n_units}
        for dose, (number, (direction, (vectors, natural))) in product(map(float, doses), enumerate(added.items()))
    ]
    about = model.cfg.model_name, queries.split, at[0], graph.roles[at[1]], name, role
    return GradedResponseResult(pd.DataFrame(rows), *about, len(counted), chosen_on.n_units)


class _Turned(NamedTuple):
    """Questions answered right, the value that each has and gets, and the answer that the new one asks for."""

    asked: Queries
    old: Int[Tensor, " query"]
    new: Int[Tensor, " query"]
    wanted: Int[Tensor, " query"]

    def turn(self, effects: BridgeEffects, cell: Cell) -> Float[Tensor, "query d_model"]:
        """The differences of effects at a cell: dose 1."""
        return effects.of(*cell, self.new) - effects.of(*cell, self.old)


@dataclass(frozen=True, eq=False)
class _Study:
    """What stays the same while a cell is chosen and while answers are counted."""

    model: Model
    graph: ComputationGraph
    source: Source
    queries: Queries
    means: BridgeMeans
    effects: BridgeEffects
    seed: int
    options: dict[str, Any]

    def turned(self, queries: Queries) -> _Turned:
        """The questions that can be asked, with donors of other values."""
        options = {"second_hop": "ID", "seed": self.seed, "max_memory": self.options["max_memory"]}
        asked, found = questions_with_donors(self.model, self.graph, self.source, queries, self.means, **options)
        return _Turned(asked, asked.intermediates[self.means.intermediate], *values_and_answers(found))


def _best_cell(study: _Study, turned: _Turned) -> Cell:
    """Where dose 1 turns most answers, the first of equals."""
    cells = list(product(range(study.graph.n_layers), range(len(study.graph.roles))))

    def changed(run: StateRun, part: Rows) -> Iterator[tuple[Cell, Copies]]:
        for layer, position in cells:
            state = run.state(layer)[:, position] + turned.turn(study.effects, (layer, position))[part]
            yield (layer, position), with_states(run, layer, {position: state[None]})

    options: dict[str, Any] = study.options | {"n_places": len(cells), "n_copies": 1, "kept": study.means.run.n_bytes}
    given = answers_with(study.model, study.graph, turned.asked, changed, what="choosing a cell", **options)
    return max(cells, key=lambda cell: int((given[cell][0] == turned.wanted).sum()))


def _added(study: _Study, turned: _Turned, cell: Cell, control: str) -> dict[str, tuple[Tensor, float]]:
    """By direction, what dose 1 adds to states, all of one length, and how long it would be without scaling."""
    turn = turned.turn(study.effects, cell)
    random = random_like(turn, torch.Generator().manual_seed(study.seed))
    added = {study.means.intermediate: (turn, _length(turn)), RANDOM: (random, math.nan)}
    if control:
        place = study.graph.roles.index(control)
        other = token_turn(study.means, turned.asked, cell, place, seed=study.seed)
        as_long = torch.nn.functional.normalize(other, dim=-1) * turn.norm(dim=-1, keepdim=True)
        added[CONTROL] = (as_long, _length(other))
    return added


def _length(vectors: Float[Tensor, "query d_model"]) -> float:
    return float(vectors.float().norm(dim=-1).mean())


def _responses(
    study: _Study, turned: _Turned, cell: Cell, doses: list[float], vectors: Float[Tensor, "direction query d_model"]
) -> dict[tuple[str, float], Int[Tensor, "direction query"]]:
    """By what is asked and dose, answers and what probes read."""
    layer, position = cell
    here, last = _readers(study, turned.asked, position, (layer, study.graph.n_layers - 1))

    def changed(run: StateRun, part: Rows) -> Iterator[tuple[tuple[str, float], Copies]]:
        to_last, state = _to_last_state(run, position), run.state(layer)[:, position]
        for dose in doses:
            states = state + dose * vectors[:, part]
            yield (ANSWER, dose), with_states(run, layer, {position: states})
            yield (HERE, dose), here(states, part)
            yield (LAST, dose), last(with_states(to_last, layer, {position: states}), part)

    options: dict[str, Any] = study.options | {"n_places": len(ASKED) * len(doses), "n_copies": len(vectors)}
    options |= {"kept": study.means.run.n_bytes + vectors.nbytes, "what": "changing doses"}
    return answers_with(study.model, study.graph, turned.asked, changed, **options)


def _readers(study: _Study, asked: Queries, position: int, layers: Sequence[int]) -> list[Callable[..., Copies]]:
    """What reads the asked questions' states after each layer: probes, each trained on the units of all folds but one."""
    name, learned = study.means.intermediate, study.queries.one_per_unit(seed=study.seed)
    run = run_states(study.model, study.graph, learned.tokens, max_memory=study.options["max_memory"])
    folds = torch.randperm(len(learned), generator=torch.Generator().manual_seed(study.seed), device="cpu") % N_FOLDS
    values, others = learned.intermediates[name], [folds != fold for fold in range(N_FOLDS)]
    probes = [[_probe(run.state(layer)[rows, position], values[rows]) for rows in others] for layer in layers]
    fold = folds[torch.searchsorted(learned.unit, asked.unit)]
    return [_reader(of_layer, fold, study.source.n_values(name)) for of_layer in probes]


def _reader(probes: Sequence[Probe | None], fold: Int[Tensor, " query"], n_values: int) -> Callable[..., Copies]:
    """What the probe of each question's fold reads, as if it were an answer: 1 for that value, 0 for all others."""

    def read(states: Float[Tensor, "copy row d_model"], part: Rows) -> Copies:
        values = torch.full(states.shape[:2], NO_TOKEN, device="cpu")
        for number, probe in enumerate(probes):
            rows = fold[part] == number
            if probe is not None and rows.any():
                said = said_by(probe, as_array(states[:, rows].flatten(0, 1)))
                values[:, rows] = torch.from_numpy(said).view(len(states), -1)
        return (values[..., None] == torch.arange(n_values, device="cpu")).float()

    return read


def _probe(states: Float[Tensor, "unit d_model"], values: Int[Tensor, " unit"]) -> Probe | None:
    """A probe of the values that enough units have; None if these are fewer than two."""
    several = values.bincount()[values] >= MIN_UNITS_FOR_MEAN
    return fit_probe(as_array(states[several]), values[several].numpy()) if len(values[several].unique()) > 1 else None


def _to_last_state(run: StateRun, position: int) -> StateRun:
    """The run as if the answer were read at another position and the last state there were itself the logits."""
    graph, itself = replace(run.graph, answer_role=run.graph.roles[position]), torch.nn.Identity()
    changes: dict[str, Any] = {"graph": graph, "logits": run.state(graph.n_layers - 1)[:, position]}
    if isinstance(run, CachedRun):
        return replace(run, decoder=replace(run.decoder, norm=None, unembed=itself), **changes)
    return replace(run, recursion=replace(run.recursion, decode=itself), **changes)


def _shares(given: Sequence[Int[Tensor, " query"]], turned: _Turned) -> dict[str, float]:
    """The columns that are shares of questions, for one dose and direction."""
    (answers, here, last), row = given, {}
    met = {"moved": answers == turned.wanted, "kept": answers == turned.asked.answers, "decoded": here == turned.new}
    for name, share in ((name, wilson_row(each, turned.asked.unit)) for name, each in met.items()):
        row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
    plain = {"decoded_later": last == turned.new, "decoded_old": here == turned.old}
    return row | {name: float(each.double().mean()) for name, each in plain.items()}


def _dose_problems(doses: Any) -> list[str]:
    """Why a response to these doses would not be graded, or has no dose 1 to be compared with."""
    is_list = isinstance(doses, Sequence) and not isinstance(doses, str)
    numbers = list(doses) if is_list and not any(number_problems(0, dose=each) for each in doses) else []
    if len(numbers) > 1 and 1 in numbers and all(less < more for less, more in pairwise(numbers)):
        return []
    needed = "two or more numbers from 0 on, each larger than the one before, 1 among them"
    return [f"doses are {needed}, got {tuple(doses) if is_list else doses!r}"]


def _kind_problems(cell: Any, control: Any) -> list[str]:
    """What is no cell, or no role, whatever the model and the questions are."""
    is_cell = isinstance(cell, Sequence) and len(cell) == 2 and is_whole(cell[0]) and isinstance(cell[1], str)
    problems = [] if cell is None or is_cell else [f"a cell is a layer and a role, as in (0, 'r1'), got {cell!r}"]
    return problems + ([] if control is None else name_problems(control=control))


def _place_problems(cell: tuple[int, str] | None, control: str | None, graph: ComputationGraph, name: str) -> list[str]:
    """What the model or the questions do not have."""
    wanted = [*([cell[1]] if cell else []), *([control] if control else [])]
    problems = layer_problems([cell[0]] if cell else [], graph.n_layers) + missing_problems("role", wanted, graph.roles)
    return problems + taken_problems("an intermediate", [name], [CONTROL], by="is the control's name")
