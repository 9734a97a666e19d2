"""Linear probes: what can be read from a state with a readout that is learned, on units the readout has not seen.

One question is asked for each unit, in two-hop questions the hop-1 fact, and no unit is both trained on and tested (in a
causal model the state at r1 is the same for every question about a fact, so that more questions add nothing). Each accuracy
comes with that of the same probe for labels shuffled over units (the control task of Hewitt & Liang 2019, arXiv 1909.03368,
here without the types they share between training and test, so that it is chance by construction of the split unless units
leak), and with that of always giving the commonest label. An affine map to the final state, read by the model's unembedding,
is the readout that knows no labels (Belrose et al. 2023, arXiv 2303.08112; fitted by ridge regression instead of KL
divergence).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from ...circuits import Result
from ...circuits.arguments import common_problems, names_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.progress import with_bar
from ...tasks import PromptPairs, Queries, Run
from ...tasks.questions.given import queries_problems
from ...tasks.questions.validity import check_same_roles, taken_problems
from ...tasks.transformerlens import Model
from ..forward.head import same_vocabulary, unembedding_directions
from ..forward.memory import budget
from ..forward.model import graph_of
from ..forward.states import StatesRun, run_states
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import cell_heatmaps
from ..statistics import newcombe_interval, wilson
from ..training.by_step import by_step
from .answers import said
from .largest import CHOSEN, READABLE, Cells, without_number
from .lens import relation_rows
from .linear_probe import as_array, fit_probe, said_by
from .own_pairs import questions_of
from .questions import as_read
from .sources import SplitSource, by_fact, check_source, unit_facts

RELATIONS = ("r1", "r2")
"""Roles that are probed, too, if the questions have them: what a probe can read where a state holds it."""
N_FOLDS = 4
MIN_UNITS_TO_PROBE = 40  # to train and test on
HELD_OUT_FACTS = "held-out ID facts"
HELD_OUT_UNITS = "held-out units"
"""What a probe is tested on within the questions it is trained on: of a task whose units are facts, or any other."""
FIRST_FACT = "hop1"


@dataclass(frozen=True, eq=False)
class ProbeResult(Result):
    """How well learned readouts do at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding), role, target (an intermediate such as `bridge`, `answer`, or a role)
            and what it was tested on (held-out ID facts, of a user's questions held-out units, in four folds; or all facts
            of another split, trained on all ID facts), with
            accuracy: of the probe; low, high: its 95 % Wilson interval over units;
            control: of the same probe for labels shuffled over units; NaN for another split;
            selectivity: accuracy − control, or − majority for another split; selectivity_low, selectivity_high: its 95 %
            interval (Newcombe);
            majority: share of the commonest label of the units trained on;
            affine: of the model's head after an affine map to the final state at this position; NaN for a prompt's token
            where the model answers from another vocabulary (`d_vocab_out`);
            n_facts: tested units; n_states: how many distinct states these have at this cell;
            n_classes: labels; n_left_out: units left out, since fewer than four have their label.
        model: the model's name.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="role target tested_on",
            numbers="accuracy low high control selectivity selectivity_low selectivity_high majority affine",
            whole="layer n_facts n_states n_left_out n_classes",
        ),
    ]
    model: str

    @property
    def caption(self) -> str:
        """Model and n in one line."""
        return f"{self.model} · linear probes · n = {self._tested}"

    @property
    def _tested(self) -> str:
        row = self.table.iloc[0]
        left_out = f", {row['n_left_out']} left out" if row["n_left_out"] else ""
        return f"{row['n_facts']} {row['tested_on']}, {N_FOLDS} folds{left_out}"

    def explain(self) -> Explanation:
        """Where a learned readout gives the first target, next to shuffled labels."""
        cells = Cells.of(self.table)
        target, tested_on = (next(iter(cells.names(column)), "") for column in ("target", "tested_on"))
        measured = f"How often a linear probe, trained on other units, gives the {target}, at every layer and position."
        best = cells.having(target=target, tested_on=tested_on).largest("accuracy")
        if best is None:
            return without_number(measured, self.table, self.model)
        others = [name for name in cells.names("tested_on") if name != tested_on]
        there = [
            f"; on {name} {cells.beside(best, 'layer', 'role', 'target', tested_on=name).number('accuracy')}"
            for name in others
        ]
        return Explanation(
            measured=measured,
            on=f"{self.model}: {self._tested}{best.at_step}.",
            means=f"The {target} is read most often at {best.place}: {best.number('accuracy')} (1 is always, 0 never)"
            f"{''.join(there)}. {READABLE}",
            sure=f"{best.bounds()} {CHOSEN}",
            would_change=f"Labels shuffled over units are given in {best.number('control')}, and the commonest label is "
            f"right in {best.number('majority')}: near these, nothing is read. An affine map to the model's head, which "
            f"learns no labels, gives {best.number('affine')}.",
        )

    def figure(self, value: str = "accuracy") -> Any:
        """Heat maps of a column for held-out units, layer × position, for each target; of a run, accuracy by step."""
        rows = self.table[self.table["tested_on"].isin((HELD_OUT_FACTS, HELD_OUT_UNITS))]
        if "step" in rows:
            rows = relation_rows(rows)
            rows = rows.assign(panel=rows["target"] + " at " + rows["role"])
            return trajectory_curves(rows, "accuracy", by="panel", title=f"{self.caption} · bands: 95 % Wilson")
        known = value == "accuracy"
        title = f"{value} · {self.caption}{' · on hover: 95 % Wilson' if known else ''}"
        return cell_heatmaps(rows, "target", value, title=title, bounds=known)


@torch.no_grad()
def probe_bridge(
    model: Model | Run,
    task: SplitSource | Queries | PromptPairs,
    *,
    transfer: Sequence[Queries] | None = None,
    targets: Sequence[str] | None = None,
    max_memory: int | None = None,
    progress: bool = True,
    seed: int = 0,
) -> ProbeResult:
    """Train and test linear probes at every layer and position.

    The probe is linear discriminant analysis with a ridge.

    Args:
        model: any model that `graph_of` accepts, which is not changed; or a run.
        task: gives the ID facts, by one trained composition each; or questions with intermediates, or pairs, of whose clean
            prompts one is taken for each unit.
        transfer: questions of other units to test these probes on; by default the task's `ood_test`, or none.
        targets: intermediates, `answer` or roles; by default intermediates, `answer`, and `r1` and `r2` if there are any.
        max_memory: bytes that may be used, the states of all questions included; by default a quarter of what is free.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of the choice of questions, the folds and the shuffled labels.

    Raises:
        ValueError: for no question, or tokens and positions that the model does not have; for unknown targets, or if there
            are too few units for some targets; the message has the numbers.
        MemoryError: if the states do not fit into `max_memory`.
    """
    named = [] if targets is None else names_problems(targets=targets)
    further = {f"transfer[{i}]": each for i, each in enumerate(transfer or ())}
    refuse(queries_problems(**further) + named + common_problems(max_memory=max_memory, progress=progress, seed=seed))
    if not isinstance(task, Queries | PromptPairs):
        check_source(task, SplitSource, also=", or Queries, as task.split('test_inferred_iid') gives them, or prompt pairs")
    if isinstance(model, Run):
        options: dict[str, Any] = {"transfer": transfer, "targets": targets, "max_memory": max_memory, "seed": seed}
        return by_step(model, lambda each: probe_bridge(each, task, progress=False, **options), progress=progress)
    asked, others, tested_on = _material(task, transfer, seed)
    targets, facts, rows = _checked_targets(asked, targets), unit_facts(task), []
    for fact in dict.fromkeys(facts.get(target) for target in targets):  # most tasks have one kind of units
        together = [target for target in targets if facts.get(target) == fact]
        questions = [each if fact is None else by_fact(each, fact).one_per_unit(seed=seed) for each in (asked, *others)]
        rows += _rows(model, questions, together, tested_on, max_memory=max_memory, progress=progress, seed=seed)
    return ProbeResult(pd.DataFrame(rows), model.cfg.model_name)


def _rows(
    model: Model,
    questions: Sequence[Queries],
    targets: Sequence[str],
    tested_on: str,
    *,
    max_memory: int | None,
    progress: bool,
    seed: int,
) -> list[dict[str, Any]]:
    """Of targets whose units are those of the questions: the ones that are trained on, and further ones."""
    asked, *others = questions
    for each in (asked, *others):
        each.check_against(model)
        check_same_roles(f"the questions of {each.split}", each, asked.roles)
    graph = graph_of(model, asked.roles, asked.answer_position)
    labels = {target: [label_of(as_read(model, each), target) for each in (asked, *others)] for target in targets}
    plans = _plans({target: each[0] for target, each in labels.items()}, seed)
    runs, left = [], budget(max_memory, model)
    for each in (asked, *others):
        runs.append(run_states(model, graph, each.tokens, max_memory=max(1, left)))
        left -= runs[-1].n_bytes
    splits, rows = [tested_on, *(each.split for each in others)], []
    answerable = targets if same_vocabulary(model) else (*asked.intermediates, "answer")
    places = product(range(-1, graph.n_layers), enumerate(graph.roles[: runs[0].stop]), targets)
    for layer, (position, role), target in with_bar(list(places), "probing", show=progress):
        cell = [_Cell.of(run, layer, position) for run in runs]
        for split, row in _tested(model, cell, labels[target], plans[target], splits, max(1, left)):
            row["affine"] = row["affine"] if target in answerable else float("nan")
            rows.append({"layer": layer, "role": role, "target": target, "tested_on": split} | row)
    return rows


def _material(
    task: SplitSource | Queries | PromptPairs, transfer: Sequence[Queries] | None, seed: int
) -> tuple[Queries, list[Queries], str]:
    """Questions to train and test on, further ones to test on, one for each unit, and what is held out of the former."""
    if isinstance(task, Queries | PromptPairs):
        asked, others = questions_of(task).one_per_unit(seed=seed), transfer or ()
    else:
        further = [task.split(task.ood_test)] if task.ood_test else []
        asked, others = task.reference(seed=seed), further if transfer is None else transfer
    is_of_task = not isinstance(task, Queries | PromptPairs) and FIRST_FACT in asked.facts
    tested_on = HELD_OUT_FACTS if is_of_task else HELD_OUT_UNITS
    return asked, [each.one_per_unit(seed=seed) for each in others if len(each)], tested_on


def _checked_targets(asked: Queries, targets: Sequence[str] | None) -> Sequence[str]:
    """What to probe for; by default intermediates, answer and relations."""
    tokens, taken = (*asked.intermediates, "answer"), {"answer", *asked.roles}
    if problems := taken_problems("an intermediate", asked.intermediates, taken, by="is another target"):
        raise ValueError("; ".join(problems))
    if targets is None:
        return (*tokens, *(role for role in RELATIONS if role in asked.roles))
    possible = (*tokens, *(role for role in asked.roles if role not in tokens))
    if unknown := sorted(set(targets) - set(possible)):
        raise ValueError(f"no targets {', '.join(unknown)}; there are {', '.join(possible)}")
    return targets


def _plans(labels: Mapping[str, Int[np.ndarray, " unit"]], seed: int) -> dict[str, "_Plan"]:
    """A plan for each target; all targets with too few units are refused at once."""
    plans, problems = {}, []
    for target, each in labels.items():
        try:
            plans[target] = _Plan.of(each, target, seed)
        except ValueError as problem:
            problems.append(str(problem))
    if problems:
        raise ValueError("; ".join(problems))
    return plans


def label_of(queries: Queries, target: str) -> Int[np.ndarray, " query"]:
    """The token that a probe for a target is to give for each query."""
    tokens = {**queries.intermediates, "answer": queries.answers}
    return (tokens[target] if target in tokens else queries.tokens[:, queries.roles.index(target)]).numpy()


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is the same at every cell: which units are used, in which folds, and shuffled labels."""

    used: Bool[np.ndarray, " unit"]
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    shuffled: Int[np.ndarray, " used"]
    majority: float

    @classmethod
    def of(cls, labels: Int[np.ndarray, " unit"], target: str, seed: int) -> "_Plan":
        values, counts = np.unique(labels, return_counts=True)
        used = np.isin(labels, values[counts >= N_FOLDS])
        chosen, n_classes = labels[used], int((counts >= N_FOLDS).sum())
        if n_classes < 2 or used.sum() < MIN_UNITS_TO_PROBE:
            raise ValueError(
                f"too few units to probe for {target}: {used.sum()} of {len(labels)} have a label that at least {N_FOLDS} "
                f"have, of {n_classes} such labels; needed are {MIN_UNITS_TO_PROBE} units and 2 labels"
            )
        folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(chosen, chosen))
        shuffled = np.random.default_rng(seed).permutation(chosen)
        return cls(used, folds, shuffled, float(counts.max() / used.sum()))


@dataclass(frozen=True, eq=False)
class _Cell:
    """The states of some questions at one cell, and the final ones at that position."""

    states: Float[np.ndarray, "query d_model"]
    final: Float[np.ndarray, "query d_model"]

    @classmethod
    def of(cls, run: StatesRun, layer: int, position: int) -> "_Cell":
        return cls(*(as_array(run.state(each)[:, position]) for each in (layer, run.graph.n_layers - 1)))

    def take(self, rows: np.ndarray) -> "_Cell":
        return _Cell(self.states[rows], self.final[rows])

    @property
    def n_distinct(self) -> int:
        """How many different states there are, up to rounding of the model's arithmetic."""
        scale = np.abs(self.states).max() or 1.0
        return len(np.unique(np.round(self.states / scale, 4), axis=0))


def _tested(
    model: Model,
    cells: Sequence[_Cell],
    labels: Sequence[np.ndarray],
    plan: _Plan,
    splits: Sequence[str],
    memory: int | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """Results for held-out units of the first cell, and for all units of each other one, which is of another split."""
    first, wanted = cells[0].take(plan.used), labels[0][plan.used]
    right, control, affine = (np.zeros(len(wanted), dtype=bool) for _ in range(3))
    for train, test in plan.folds:
        right[test] = _given(first.states[train], wanted[train], first.states[test]) == wanted[test]
        control[test] = _given(first.states[train], plan.shuffled[train], first.states[test]) == plan.shuffled[test]
        affine[test] = _affine(model, first.take(train), first.states[test], memory) == wanted[test]
    row = _row(right, float(control.mean()), plan, first, affine)
    rows = [(splits[0], row | {"n_left_out": int((~plan.used).sum())})]
    for split, cell, tested in zip(splits[1:], cells[1:], labels[1:], strict=True):
        known = np.isin(tested, wanted)
        cell, tested = cell.take(known), tested[known]
        right = _given(first.states, wanted, cell.states) == tested
        row = _row(right, float("nan"), plan, cell, _affine(model, first, cell.states, memory) == tested)
        rows.append((split, row | {"n_left_out": int((~known).sum())}))
    return [(split, row | {"n_classes": len(np.unique(wanted))}) for split, row in rows]


def _given(
    states: Float[np.ndarray, "train d_model"], labels: Int[np.ndarray, " train"], tested: Float[np.ndarray, "test d_model"]
) -> Int[np.ndarray, " test"]:
    """What a probe trained on some states says about others."""
    return said_by(fit_probe(states, labels), tested) if len(tested) else np.zeros(0, dtype=np.int64)


def _affine(
    model: Model, train: _Cell, states: Float[np.ndarray, "test d_model"], memory: int | None
) -> Int[np.ndarray, " test"]:
    """The most likely token of the final states that an affine map predicts."""
    if not len(states):
        return np.zeros(0, dtype=np.int64)
    with threadpool_limits(1, user_api="blas"):
        predicted = Ridge(alpha=1.0).fit(train.states, train.final).predict(states)
    return said(model, torch.from_numpy(predicted).to(unembedding_directions(model)), max_memory=memory).numpy()


def _row(
    right: Bool[np.ndarray, " unit"], control: float, plan: _Plan, cell: _Cell, affine: Bool[np.ndarray, " unit"]
) -> dict[str, Any]:
    n, accuracy = len(right), float(right.mean()) if len(right) else float("nan")
    low, high = wilson(accuracy, n)
    against = plan.majority if np.isnan(control) else control
    selective_low, selective_high = newcombe_interval(accuracy, against, n)
    row = {"accuracy": accuracy, "low": low, "high": high, "control": control, "selectivity": accuracy - against}
    row |= {"selectivity_low": selective_low, "selectivity_high": selective_high, "majority": plan.majority}
    return row | {"affine": float(affine.mean()) if n else float("nan"), "n_facts": n, "n_states": cell.n_distinct}
