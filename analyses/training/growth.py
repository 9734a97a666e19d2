"""When a run reached its milestones, how long after fitting its training set, and how steady its training accuracy was."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import fixed
from ...tasks import Run
from ...tasks.models.building import architecture_of
from ...tasks.runs.phases import SATURATED, first_lasting
from ..plots.curves import accuracy_curves

MILESTONES = {"train ≥ .99": SATURATED, "ID ≥ .99": 0.99, "OOD ≥ .5": 0.5, "OOD ≥ .9": 0.9}
"""Milestones: of training, of the task's `id_test` or `ood_test`, and the least value, at three evaluations in a row.

Read on the reported half of the questions: the other half (`select_…`) chooses checkpoints, and is the higher at its choice.
"""
STEADY = 0.9  # training accuracy that a saturated run should not fall below


@dataclass(frozen=True, eq=False)
class RunSummary(Result):
    """The growth of one run in numbers.

    Attributes:
        table: a row for each milestone, with
            milestone: see `MILESTONES`;
            step, seconds, flops: when it was reached, at the first of three evaluations in a row; NaN if it was not;
            trained: the steps of the run; a milestone that is not reached by then may be reached later.
        name: the run's name.
        regime: its supervision.
        stability: share of the evaluations since train ≥ .99 at which train is below .9; NaN before.
        metrics: the run's metrics table, for the figure.
        n_reported: number of queries of each accuracy.
    """

    table: Annotated[pd.DataFrame, Columns(words="milestone", numbers="step")]
    name: str
    regime: str
    stability: float
    metrics: Annotated[pd.DataFrame, Columns(whole="step")]
    n_reported: Mapping[str, int]

    @property
    def grokking_delay(self) -> float:
        """Steps from train ≥ .99 to OOD ≥ .9; NaN if one of them was not reached."""
        return self._step("OOD ≥ .9") - self._step("train ≥ .99")

    @property
    def caption(self) -> str:
        """The run, its delay and stability in one line."""
        delay = (
            "not grokked"
            if self.grokking_delay != self.grokking_delay
            else f"grokking delay {self.grokking_delay:,.0f} steps"
        )
        trained = int(self.table["trained"].iloc[0])
        known = self.stability == self.stability
        steadiness = f" · train below {STEADY} in {self.stability:.3f} of the evaluations since" if known else ""
        return f"{self.name} ({self.regime}), {trained:,} steps · {delay}{steadiness}"

    def explain(self) -> Explanation:
        """When the run generalised, and how long after it had fitted its training set."""
        if self.table.empty:
            return without_rows(self.name)
        trained, delay = int(self.table["trained"].iloc[0]), self.grokking_delay
        never = ", ".join(self.table.loc[self.table["step"].isna(), "milestone"])
        reached = self.table.dropna(subset="step").to_dict("records")
        steps = ", ".join(f"{row['milestone']} at {row['step']:,.0f}" for row in reached)
        sizes = ", ".join(f"{n:,} ({name})" for name, n in self.n_reported.items())
        means = (
            f"OOD ≥ .9 came {delay:,.0f} steps after train ≥ .99 (0 is at once)."
            if delay == delay
            else (f"There is no grokking delay: train ≥ .99 and OOD ≥ .9 were not both reached within {trained:,} steps.")
        )
        steady = f"Since train ≥ .99 it was below {STEADY} in {fixed(self.stability, 3)} of the evaluations."
        return Explanation(
            measured=f"The steps at which {counted(len(self.table), 'milestone')} of accuracy were reached, each the first "
            "of three evaluations in a row.",
            on=f"{self.name} ({self.regime}), trained for {trained:,} steps; accuracies are of these numbers of questions: "
            f"{sizes or 'unknown'}.",
            means=f"{means} Reached: {steps or 'none'}.",
            sure=f"One run, so no interval was computed. {steady if self.stability == self.stability else ''}",
            would_change=f"More steps: {never} may be reached later."
            if never
            else "Other levels of accuracy, or another seed.",
        )

    def figure(self) -> Any:
        """Accuracy by step with the milestones."""
        reached = self.table.dropna(subset="step")
        steps = dict(zip(reached["milestone"], reached["step"].astype(int), strict=True))
        return accuracy_curves({self.name: self.metrics}, self.n_reported, {self.name: steps})

    def _step(self, milestone: str) -> float:
        return float(dict(zip(self.table["milestone"], self.table["step"], strict=True)).get(milestone, float("nan")))


def summarise_run(run: Run) -> RunSummary:
    """When a run reached each milestone, read on the reported half of the queries.

    Args:
        run: any, finished or not.
    """
    metrics, steps = run.metrics, run.metrics["step"]
    per_step = flops_per_step(run)
    seconds = dict(zip(steps, metrics["seconds"], strict=True))
    rows = []
    for milestone, least in MILESTONES.items():
        when = reached(run, milestone, least)
        rows.append(
            {"milestone": milestone, "step": when, "seconds": seconds.get(when, float("nan")), "flops": when * per_step}
        )
    table = pd.DataFrame(rows).assign(trained=int(steps.iloc[-1]))
    since = metrics.loc[steps >= table["step"].iloc[0], "train"]
    stability = float((since < STEADY).mean()) if len(since) else float("nan")
    return RunSummary(table, run.name, run.task.regime, stability, metrics, dict(run.n_reported))


def flops_per_step(run: Run) -> float:
    """Floating-point operations of a step of training, see `flops_per_example` of its architecture."""
    return run.train_config.batch_size * architecture_of(run.model_config).flops_per_example(run.model_config, run.task)


def reached(run: Run, milestone: str, least: float) -> float:
    """The first lasting step at which what a milestone is about is at least this much; NaN if never, or of no test."""
    columns = {"train": "train", "ID": run.task.id_test, "OOD": run.task.ood_test}
    column = columns[milestone.partition(" ")[0]]
    return float("nan") if column is None else onset(run, column, least)


def onset(run: Run, column: str, least: float) -> float:
    """The first step of three evaluations in a row at which a column of the metrics is at least this much; NaN if never."""
    step = first_lasting(run.metrics["step"], run.metrics[column] >= least)
    return float("nan") if step is None else float(step)
