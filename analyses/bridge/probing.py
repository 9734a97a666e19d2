"""Linear probes: what can be read from a state with a readout that is learned, on facts the readout has not seen.

The unit is the hop-1 fact: one question for each, and no (h, r1) is both trained on and tested (in a causal model the state
at r1 is the same for every question about a fact, so that more questions add nothing). Next to each accuracy stand that of
the same probe for labels shuffled over facts (the control task of Hewitt & Liang 2019, arXiv 1909.03368, here without
the types they share between training and test, so that it is chance by construction of the split unless facts leak), and
of always giving the commonest label. An affine map to the final state, read by the model's own unembedding, is the readout
that knows no labels (Belrose et al. 2023, arXiv 2303.08112; fitted by ridge regression instead of KL divergence).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits
from transformer_lens import HookedTransformer

from ...circuits import Result
from ...tasks import Queries, Run, TwoHopTask
from ..forward.cached import CachedRun, run_and_cache
from ..forward.model import decode, graph_of, token_embeddings
from ..plots.curves import trajectory_curves
from ..plots.heatmaps import cell_heatmaps
from ..statistics import newcombe_interval, wilson
from ..training.by_step import by_step

PROBED = ("bridge", "answer", "r1", "r2")
N_FOLDS = 4
MIN_FACTS = 40  # to train and test on
SHRINKAGE = 0.1  # what is added to all variances within a label, as a share of the states' mean variance
HELD_OUT = "held-out ID facts"


@dataclass(frozen=True, eq=False)
class ProbeResult(Result):
    """How well learned readouts do at each layer and position.

    Attributes:
        table: a row for each layer (−1: the embedding), role, target (`bridge`, `answer`, `r1`, `r2`) and what it was tested
            on (held-out ID facts, four folds; or all facts of another split, trained on all ID facts), with
            accuracy: of the probe; low, high: its 95 % Wilson interval, with the fact as unit;
            control: of the same probe for labels shuffled over facts; NaN for another split;
            selectivity: accuracy − control, or − majority for another split; selectivity_low, selectivity_high: its 95 %
            interval (Newcombe);
            majority: share of the commonest label of the facts trained on;
            affine: of the model's own unembedding after an affine map to the final state at this position;
            n_facts: tested facts; n_states: how many distinct states these have at this cell;
            n_classes: labels; n_left_out: facts left out, since fewer than four facts have their label.
        model: the model's name.
    """

    model: str

    @property
    def caption(self) -> str:
        """Model and n in one line."""
        row = self.table.iloc[0]
        left_out = f", {row['n_left_out']} left out" if row["n_left_out"] else ""
        return f"{self.model} · linear probes · n = {row['n_facts']} {row['tested_on']}, {N_FOLDS} folds{left_out}"

    def figure(self, value: str = "accuracy") -> Any:
        """Heat maps of a column for held-out facts, layer × position, for each target; of a run, accuracy by step."""
        rows = self.table[self.table["tested_on"] == HELD_OUT]
        if "step" in rows:
            rows = rows[rows["role"].isin(("r1", "r2"))]
            rows = rows.assign(panel=rows["target"] + " at " + rows["role"])
            return trajectory_curves(rows, "accuracy", panels="panel", title=f"{self.caption} · bands: 95 % Wilson")
        return cell_heatmaps(rows, "target", value, title=self.caption)


@torch.no_grad()
def probe_bridge(
    model: HookedTransformer | Run,
    task: TwoHopTask,
    *,
    transfer: Sequence[Queries] | None = None,
    targets: Sequence[str] = PROBED,
    seed: int = 0,
) -> ProbeResult:
    """Train and test linear probes at every layer and position.

    The probe is linear discriminant analysis with a ridge.

    Args:
        model: any HookedTransformer whose options `hooks.graph_of` accepts, which is left as it was; or a run.
        task: gives the ID facts, by one trained composition each.
        transfer: questions about other facts to test the ID-trained probes on; by default `test_inferred_ood`.
        targets: of `PROBED`.
        seed: of the choice of questions, the folds and the shuffled labels.

    Raises:
        ValueError: for an unknown target, or if there are too few facts; the message has the numbers.
    """
    if isinstance(model, Run):
        return by_step(model, lambda each: probe_bridge(each, task, transfer=transfer, targets=targets, seed=seed))
    if unknown := sorted(set(targets) - set(PROBED)):
        raise ValueError(f"no targets {', '.join(unknown)}; there are {', '.join(PROBED)}")
    asked = task.reference(seed=seed)
    others = [task.split("test_inferred_ood")] if transfer is None else transfer
    others = [each.one_per_unit(seed=seed) for each in others if len(each)]
    graph = graph_of(model, asked.roles, asked.answer_position)
    runs = [run_and_cache(model, graph, each.tokens) for each in (asked, *others)]
    labels = {target: [label_of(each, target) for each in (asked, *others)] for target in targets}
    splits = [HELD_OUT, *(each.split for each in others)]
    plans = {target: _Plan.of(labels[target][0], target, seed) for target in targets}
    rows = []
    for layer in range(-1, graph.n_layers):
        for position, role in enumerate(graph.roles[: runs[0].stop]):
            cell = [_Cell.of(run, layer, position) for run in runs]
            for target in targets:
                for tested_on, row in _tested(model, cell, labels[target], plans[target], splits):
                    rows.append({"layer": layer, "role": role, "target": target, "tested_on": tested_on} | row)
    return ProbeResult(pd.DataFrame(rows), model.cfg.model_name)


def label_of(queries: Queries, target: str) -> Int[np.ndarray, " query"]:
    """The token that a probe for a target is to give for each query."""
    tokens = {"bridge": queries.bridges, "answer": queries.answers}
    return (tokens[target] if target in tokens else queries.tokens[:, queries.roles.index(target)]).numpy()


def fit_probe(states: Float[np.ndarray, "query d_model"], labels: Int[np.ndarray, " query"]) -> LinearDiscriminantAnalysis:
    """A linear probe; one thread, since numpy's would wait beside torch's and slow both."""
    ridge = SHRINKAGE * float(states.var(axis=0).mean()) or 1.0
    probe = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=_WithRidge(ridge))
    with threadpool_limits(1, user_api="blas"), config_context(assume_finite=True, skip_parameter_validation=True):
        return probe.fit(states, labels)


class _WithRidge(BaseEstimator):
    """A class's covariance plus a ridge, so that fewer facts than dimensions, or only one state for each label, do no harm.

    scikit-learn's own shrinkage is relative to the variance within a class, which is zero where the state is an embedding.
    """

    def __init__(self, ridge: float) -> None:
        self.ridge = ridge

    def fit(self, states: Float[np.ndarray, "query d_model"]) -> "_WithRidge":
        centred = states - states.mean(axis=0)
        self.covariance_ = centred.T @ centred / len(states) + self.ridge * np.eye(states.shape[1], dtype=states.dtype)
        return self


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is done alike at every cell: which facts are used, in which folds, and shuffled labels."""

    used: Bool[np.ndarray, " fact"]
    folds: Sequence[tuple[np.ndarray, np.ndarray]]
    shuffled: Int[np.ndarray, " used"]
    majority: float

    @classmethod
    def of(cls, labels: Int[np.ndarray, " fact"], target: str, seed: int) -> "_Plan":
        values, counts = np.unique(labels, return_counts=True)
        used = np.isin(labels, values[counts >= N_FOLDS])
        kept, n_classes = labels[used], int((counts >= N_FOLDS).sum())
        if n_classes < 2 or used.sum() < MIN_FACTS:
            raise ValueError(
                f"too few facts to probe for {target}: {used.sum()} of {len(labels)} ID facts have a label that at least "
                f"{N_FOLDS} have, of {n_classes} such labels; needed are {MIN_FACTS} facts and 2 labels"
            )
        folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed).split(kept, kept))
        shuffled = np.random.default_rng(seed).permutation(kept)
        return cls(used, folds, shuffled, float(counts.max() / used.sum()))


@dataclass(frozen=True, eq=False)
class _Cell:
    """The states of some questions at one cell, and the final ones at that position."""

    states: Float[np.ndarray, "query d_model"]
    final: Float[np.ndarray, "query d_model"]

    @classmethod
    def of(cls, run: CachedRun, layer: int, position: int) -> "_Cell":
        return cls(*(run.state(each)[:, position].cpu().numpy() for each in (layer, run.graph.n_layers - 1)))

    def take(self, rows: np.ndarray) -> "_Cell":
        return _Cell(self.states[rows], self.final[rows])

    @property
    def n_distinct(self) -> int:
        """How many different states there are, up to rounding of the model's arithmetic."""
        scale = np.abs(self.states).max() or 1.0
        return len(np.unique(np.round(self.states / scale, 4), axis=0))


def _tested(
    model: HookedTransformer, cells: Sequence[_Cell], labels: Sequence[np.ndarray], plan: _Plan, splits: Sequence[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Results for held-out facts of the first cell, and for all facts of each other one, which is of another split."""
    own, wanted = cells[0].take(plan.used), labels[0][plan.used]
    right, control, affine = (np.zeros(len(wanted), dtype=bool) for _ in range(3))
    for train, test in plan.folds:
        right[test] = _given(own.states[train], wanted[train], own.states[test]) == wanted[test]
        control[test] = _given(own.states[train], plan.shuffled[train], own.states[test]) == plan.shuffled[test]
        affine[test] = _affine(model, own.take(train), own.states[test]) == wanted[test]
    row = _row(right, float(control.mean()), plan, own, affine)
    rows = [(splits[0], row | {"n_left_out": int((~plan.used).sum())})]
    for split, cell, tested in zip(splits[1:], cells[1:], labels[1:], strict=True):
        known = np.isin(tested, wanted)
        cell, tested = cell.take(known), tested[known]
        right = _given(own.states, wanted, cell.states) == tested
        row = _row(right, float("nan"), plan, cell, _affine(model, own, cell.states) == tested)
        rows.append((split, row | {"n_left_out": int((~known).sum())}))
    return [(split, row | {"n_classes": len(np.unique(wanted))}) for split, row in rows]


def _given(
    states: Float[np.ndarray, "train d_model"], labels: Int[np.ndarray, " train"], tested: Float[np.ndarray, "test d_model"]
) -> Int[np.ndarray, " test"]:
    """What a probe trained on some states says about others."""
    return np.asarray(fit_probe(states, labels).predict(tested)) if len(tested) else np.zeros(0, dtype=np.int64)


def _affine(model: HookedTransformer, train: _Cell, states: Float[np.ndarray, "test d_model"]) -> Int[np.ndarray, " test"]:
    """The most likely token of the final states that an affine map predicts."""
    if not len(states):
        return np.zeros(0, dtype=np.int64)
    with threadpool_limits(1, user_api="blas"):
        predicted = Ridge(alpha=1.0).fit(train.states, train.final).predict(states)
    return decode(model, torch.from_numpy(predicted).to(token_embeddings(model))).argmax(-1).cpu().numpy()


def _row(
    right: Bool[np.ndarray, " fact"], control: float, plan: _Plan, cell: _Cell, affine: Bool[np.ndarray, " fact"]
) -> dict[str, Any]:
    n, accuracy = len(right), float(right.mean()) if len(right) else float("nan")
    low, high = wilson(accuracy, n)
    against = plan.majority if np.isnan(control) else control
    selective_low, selective_high = newcombe_interval(accuracy, against, n)
    row = {"accuracy": accuracy, "low": low, "high": high, "control": control, "selectivity": accuracy - against}
    row |= {"selectivity_low": selective_low, "selectivity_high": selective_high, "majority": plan.majority}
    return row | {"affine": float(affine.mean()) if n else float("nan"), "n_facts": n, "n_states": cell.n_distinct}
