"""Does one model's direction for a bridge work in another? Turn the donor's code into the model's basis, add it, and count.

Two models may answer alike by states in the same places; do these hold the same thing? Each model is looked at where its
directions move most answers (`bridge_code`). There its states on facts that no question is about give one turn with one
scale from the donor's space to the model's (`procrustes`). The donor's difference of mean states b′ − b, so turned, is added
to the model's states. Each fact's state is turned by what was fitted to other facts.

What it can show: with more dimensions than bridges some turn fits any two codes of equal geometry, whichever entity is
which. So a transfer says that both hold the bridge, and not the fact, in a code with the same lengths and angles; not that
both have the same vectors, or read them by the same weights. A code of the fact generalises to no other fact and transfers
nothing. Young models' means are noisy and lose much even to a replicate: read what is lost beside what replicates lose. A
turn keeps angles, as the exact rewrites of a model with norms do; without norms a stretch is exact as well, and moves this.

Turns fitted to some bridges and judged on others were tried: grokked models lose everything even to replicates, and a model
to itself about half, since nothing fixes the axes of a bridge that the fit has not seen.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...circuits import Result
from ...circuits.arguments import common_problems, name_problems, names_problems, refuse, whole_problems
from ...circuits.columns import Columns
from ...circuits.conditions import Couple
from ...circuits.explanation import Explanation
from ...circuits.progress import with_bar
from ...circuits.units import fixed, interval
from ...tasks import Queries
from ...tasks.questions.validity import missing_problems
from ...tasks.transformerlens import Model
from ..bridge.evidence_verdicts import MIN_UNITS_TO_JUDGE
from ..bridge.own_pairs import intermediate_of
from ..bridge.questions import halves_by_unit, sample
from ..bridge.sources import SplitSource, check_source
from ..bridge.verdicts import bridge_roles
from ..forward.model import check_model
from ..plots.bars import direction_bars
from ..statistics import Interval, derangement, newcombe_interval, random_like, wilson_row
from .bridge_code import BridgeCode, Questions, Reference
from .procrustes import carried_over, folds_by_value, mean_states

CEILING = 0.5  # of answers that the model's direction must move, before it can be said that a donor's does not
OWN, TRANSFERRED = "own", "transferred"
MEASURES = (OWN, TRANSFERRED, "null", "random")


@dataclass(frozen=True, eq=False)
class DirectionTransferResult(Result):
    """What a model answers with a donor's direction for another bridge.

    Attributes:
        table: a row for each measure, with
            measure: `own`: the model's direction, without any map: the ceiling; `transferred`: the donor's, mapped; `null`:
            the same with a map that was fitted to means of other values, each value once; `random`: a random vector as long
            as the transferred one;
            layer_model, role: where the model's states are changed; layer_donor, role_donor: where the donor's direction
            is taken; several roles are changed together;
            value: share of answers tail(b′, r2); low, high: its 95 % Wilson interval over units;
            n, n_units: questions, all answered right before, and their units: the hop-1 facts.
            Without rows, if one of the two answers no question right that has another bridge; `reason` says which.
        model, donor: the names of the two models.
        split: the questions' split.
        n_values: bridges that the map is fitted to.
        n_asked: questions, of which those answered right on the half that chose no cell are used.
        reason: why nothing is decided, else empty.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(words="measure role role_donor", numbers="value low high", whole="layer_model layer_donor n n_units"),
    ]
    model: str
    donor: str
    split: str
    n_values: int
    n_asked: int
    reason: str

    @property
    def caption(self) -> str:
        """Both models, split, cells and n in one line; why nothing is decided."""
        says = " · ".join(filter(None, (f"{self.donor} in {self.model}", self.split, *self._cells_and_n)))
        return f"{says} · {self.reason}" if self.reason else says

    @property
    def _cells_and_n(self) -> tuple[str, ...]:
        """Where the direction is taken and put, and n; nothing if nothing was measured."""
        if not len(self.table):
            return ()
        row = self.table.iloc[0]
        cells = f"L{row['layer_donor']} {row['role_donor']} in L{row['layer_model']} {row['role']}"
        return cells, f"n = {row['n']} of {self.n_asked} questions over {row['n_units']} units"

    @property
    def lost(self) -> float:
        """The share of answers that the model's direction moves and the donor's does not; NaN if there is a reason."""
        return math.nan if self.reason else max(0.0, self._value(OWN) - self._value(TRANSFERRED))

    @property
    def lost_interval(self) -> Interval:
        """Newcombe's 95 % interval of the difference, which may lie below 0; from −1 to 1 if there is a reason."""
        if self.reason:
            return Interval(-1.0, 1.0)
        return newcombe_interval(self._value(OWN), self._value(TRANSFERRED), int(self.table["n_units"].iloc[0]))

    def explain(self) -> Explanation:
        """How much of what the model's direction moves the donor's does not."""
        share = {row["measure"]: fixed(row["value"], 2) for row in self.table.to_dict("records")}
        lacking = [name for name in (OWN, TRANSFERRED) if name not in share]
        nothing = self.reason or (f"there is no share for {' and '.join(lacking)}" if lacking else "")
        means, sure = f"Nothing is decided: {nothing}.", f"No interval was computed; {self.n_asked} questions were asked."
        if not nothing:
            means = (
                f"The model's own direction moves {share[OWN]} of the answers, the donor's {share[TRANSFERRED]}, so that "
                f"{fixed(self.lost, 2)} is lost (0: the donor's does as much; 1: all is lost)."
            )
            sure = f"The 95 % interval of what is lost, over units, is {interval(*self.lost_interval, 2)}."
        nulls = {"null": "A map fitted to other values", "random": "A random vector"}
        beside = [f" {by} moves {share[name]}." for name, by in nulls.items() if name in share]
        return Explanation(
            measured="The share of questions that the model answers by another bridge, once the donor's direction from the "
            "one bridge to the other is mapped into its space and added to its state.",
            on=f"{', '.join((f'{self.donor} in {self.model}', self.split, *self._cells_and_n))}; {self.n_asked} were asked.",
            means=means,
            sure=sure + "".join(beside),
            would_change=f"Other bridges than the {self.n_values} that the map is fitted to. A share of the model's own "
            f"direction below {CEILING:g} leaves it undecided; here it is {share.get(OWN, 'not known')}.",
        )

    def figure(self) -> Any:
        """Bars of the share that follows each direction."""
        return direction_bars(self.table, title=f"{self.caption} · bars: 95 % over units")

    def _value(self, measure: str) -> float:
        return float(self.table.loc[self.table["measure"] == measure, "value"].iloc[0])


@torch.no_grad()
def direction_transfer(
    model: Model,
    donor: Model,
    task: SplitSource,
    split: str,
    *,
    n: int = 256,
    roles: Sequence[str] | None = None,
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> DirectionTransferResult:
    """Add a donor's direction from one bridge to another to a model's states and count the answers that follow.

    Args:
        model: any model that `graph_of` accepts; neither it nor the donor is changed.
        donor: reads the same prompts; its widths, layers and basis may be others.
        task: gives questions, donors of bridges, and the facts for mean states, the same for both models.
        split: a split of the task's two-hop questions. Half of the units choose each model's cell, the others are measured.
        n: at most this many questions, covering at most half of the units that there are to take means from.
        roles: where the bridge may be, singly and all together; by default where each model can make it: at r1 of a causal
            one, else anywhere.
        intermediate: its name, if the questions carry several.
        max_memory: bytes that may be used; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of questions, halves, other bridges, the null's values and the random vectors.

    Raises:
        TypeError: if the task is of another kind, or one of the models.
        KeyError: if there is no such split.
        ValueError: if it holds no question, or no two-hop ones; for roles that there are not; if the models cannot be asked.
        MemoryError: if not a single question fits into `max_memory`, next to the states that means are taken of.
    """
    options: dict[str, Any] = {"n": n, "roles": roles, "intermediate": intermediate, "max_memory": max_memory}
    models, couple = {"model": model, "donor": donor}, ("model", "donor")
    return direction_transfers(models, [couple], task, split, **options, progress=progress, seed=seed)[couple]


@torch.no_grad()
def direction_transfers(
    models: Mapping[str, Model],
    couples: Collection[Couple],
    task: SplitSource,
    split: str,
    *,
    n: int,
    roles: Sequence[str] | None = None,
    intermediate: str | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> dict[Couple, DirectionTransferResult]:
    """`direction_transfer` of several couples (model, donor) by name; where each has its bridge is looked for once."""
    for each in models.values():
        check_model(each)
    check_source(task, SplitSource)
    common = common_problems(intermediate=intermediate, max_memory=max_memory, progress=progress, seed=seed)
    of_roles = [] if roles is None else names_problems(roles=roles)
    refuse(whole_problems(1, n=n) + name_problems(split=split) + of_roles + common)
    queries, name = _questions(task, split, n, intermediate, seed)
    refuse([] if roles is None else _role_problems(roles, queries))
    for each in models.values():
        queries.check_against(each, intermediates=[name])
    choosing, measured = halves_by_unit(queries, seed=seed)
    codes: dict[str, BridgeCode | None] = {}

    def reference_of(each: str) -> Reference:
        return Reference(models[each], task, queries, intermediate=name, max_memory=max_memory, seed=seed)

    def look_at(each: str, reference: Reference | None = None) -> None:
        if each not in codes:
            wanted = [role for role in bridge_roles(models[each]) if role in queries.roles] if roles is None else roles
            codes[each] = (reference or reference_of(each)).best(choosing, wanted, progress=progress)

    found: dict[Couple, DirectionTransferResult] = {}
    shown = with_bar(dict.fromkeys(model for model, _ in couples), "turning bridges", show=progress and len(couples) > 1)
    for model in shown:
        donors = [donor for each, donor in couples if each == model]
        for donor in donors:
            look_at(donor)  # its states need not be kept
        reference = reference_of(model)
        look_at(model, reference)
        asked = reference.questions(measured)
        for donor in donors:
            names = (models[model].cfg.model_name, models[donor].cfg.model_name, queries.split)
            found[model, donor] = _transferred(reference, asked, codes[model], codes[donor], names, name, len(queries), seed)
    return found


def _transferred(
    reference: Reference,
    asked: Questions | None,
    code: BridgeCode | None,
    taken: BridgeCode | None,
    says: tuple[str, str, str],
    intermediate: str,
    n_asked: int,
    seed: int,
) -> DirectionTransferResult:
    """What the model of a reference answers with the code that is taken from a donor."""
    if taken is None or code is None or asked is None:
        who = "the donor" if taken is None else "the model"
        reason = f"{who} answers no question of one half right that has another {intermediate}"
        return DirectionTransferResult(pd.DataFrame(), *says, 0, n_asked, reason)
    changes = _changes(asked, code, taken, seed)
    table = _table(asked, code, taken, reference.answers(asked, code.cell, changes))
    return DirectionTransferResult(table, *says, int(reference.is_known.sum()), n_asked, _reason(table))


def content_distance(one: DirectionTransferResult, other: DirectionTransferResult) -> float:
    """How far two models hold different things: the larger share lost of the two ways; NaN if one of them is undecided.

    Args:
        one: a donor in a model.
        other: the same two the other way round, on the same split.

    Raises:
        ValueError: if they are not.
    """
    there, back = (one.donor, one.model, one.split), (other.model, other.donor, other.split)
    if there != back:
        raise ValueError(f"needed are two models both ways on one split, got {one.caption}, and {other.caption}")
    return float(np.maximum(one.lost, other.lost))  # NaN if either is


def _questions(task: SplitSource, split: str, n: int, intermediate: str | None, seed: int) -> tuple[Queries, str]:
    """What is asked, leaving at least half of the units for mean states, and about which intermediate."""
    there = task.split(split)
    name = intermediate_of(there, intermediate)
    queries = sample(there, n, max_units=task.n_reference // 2, seed=seed)
    if not len(queries) or ("hop2" in queries.facts and (queries.hop2 < 0).any()):
        raise ValueError(f"{split} holds {len(queries)} questions{', which are atomic' if len(queries) else ''}")
    return queries, name


def _role_problems(roles: Sequence[str], queries: Queries) -> list[str]:
    missing = missing_problems("role", roles, queries.roles)
    return missing or ([] if len(roles) else [f"at least one role is needed; there are {', '.join(queries.roles)}"])


def _changes(asked: Questions, code: BridgeCode, taken: BridgeCode, seed: int) -> Float[Tensor, "copy query place"]:
    """What is added to the state of each question, for each of `MEASURES`."""
    values = code.values  # which are the donor's, too: both have the same reference questions
    fold, each = folds_by_value(values, seed=seed), np.arange(int(values.max()) + 1)
    other = derangement(len(each), seed=seed).numpy()
    own = asked.turned(mean_states(code.states, values))
    mapped, null = (asked.turned(carried_over(taken.states, code.states, values, fold, onto)) for onto in (each, other))
    random = random_like(mapped, torch.Generator().manual_seed(int(seed)))
    return torch.stack([own, mapped, null, random])


def _table(asked: Questions, code: BridgeCode, taken: BridgeCode, answers: Int[Tensor, "copy query"]) -> pd.DataFrame:
    cells: dict[str, Any] = {}
    for suffix, (layer, roles) in (("model", code.cell), ("donor", taken.cell)):
        cells |= {f"layer_{suffix}": layer, "role" if suffix == "model" else "role_donor": ", ".join(roles)}
    rows = []
    for measure, given in zip(MEASURES, answers, strict=True):
        share = wilson_row(given == asked.wanted, asked.asked.unit)
        rows.append({"measure": measure, **cells, **share._asdict()})
    return pd.DataFrame(rows)


def _reason(table: pd.DataFrame) -> str:
    """Why nothing can be said of the donor."""
    own, n_units = float(table["value"].iloc[0]), int(table["n_units"].iloc[0])
    few = [f"needed are {MIN_UNITS_TO_JUDGE} units, there are {n_units}"] if n_units < MIN_UNITS_TO_JUDGE else []
    low = [f"the model's direction moves {own:.2f} of the answers, needed is {CEILING} (ceiling)"] if own < CEILING else []
    return "; ".join(few + low)
