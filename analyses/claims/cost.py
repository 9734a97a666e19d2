"""Is waiting worthwhile? What it costs to answer unseen compositions, in training or in data.

He et al. 2026 ask it in their title and never put it in numbers. Here: steps and FLOPs until OOD+OOD accuracy reaches a
level, next to the number of compositions that were added to the training set. A run that never got there is censored at its
last step, not left out.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.arguments import number_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...tasks import Run, Study
from ..page import Report
from ..plots.cost import cost_frontier
from ..training.growth import flops_per_step, onset
from .claim import Claim

LEVELS = (0.5, 0.9)


@dataclass(frozen=True, eq=False)
class CostResult(Result):
    """What each arm needed to generalise.

    Attributes:
        table: a row for each run and level with run, arm, seed, replicate, added (compositions put into training), level,
            step (first of three evaluations at that level, on the reported half of the questions, which chose no
            checkpoint; NaN: not reached), flops (NaN likewise),
            and trained: the steps it had.
    """

    table: Annotated[
        pd.DataFrame, Columns(words="run arm", numbers="level step flops trained", whole="seed replicate added")
    ]

    @property
    def summary(self) -> pd.DataFrame:
        """A row for each arm and level: how many graphs reached it, and the median step with its range over graphs.

        One training for each graph counts, the first; a graph that did not get there counts as later than all others, so
        that the median is infinite if half of them did not. The range of n graphs covers the population's median with
        probability `coverage`, 1 − 2^(1 − n) (order statistics).
        """
        first = self.table[self.table["replicate"] == 0]
        rows = []
        for (arm, level), runs in first.groupby(["arm", "level"], sort=False):
            steps = runs["step"].fillna(float("inf"))
            rows.append(
                {
                    "arm": arm,
                    "level": level,
                    "added": float(runs["added"].median()),
                    "reached": int(runs["step"].notna().sum()),
                }
                | {"n": len(runs), "median": float(steps.median()), "low": float(steps.min()), "high": float(steps.max())}
                | {"flops": float(runs["flops"].fillna(float("inf")).median()), "coverage": 1 - 2.0 ** (1 - len(runs))}
            )
        return pd.DataFrame(rows)

    @property
    def sentence(self) -> str:
        """The findings in plain words."""
        highest, parts = self._by_added, []
        rows: Any = highest.to_dict("records")
        for row in rows:
            in_all = row["reached"] == row["n"]
            when = "{median:,.0f} [{low:,.0f}, {high:,.0f}]".format(**row) if in_all else "not in all"
            parts.append("{arm} (+{added:,.0f}) {0}, {reached} of {n} graphs".format(when, **row))
        level = highest["level"].iloc[0]
        return f"Steps until OOD+OOD exact match of {level:g}, by added compositions: " + "; ".join(parts)

    @property
    def _by_added(self) -> pd.DataFrame:
        """The summary's rows of the highest level, by compositions added."""
        found = self.summary
        if found.empty:
            return found
        return found[found["level"] == float(found["level"].to_numpy().max())].sort_values("added", kind="stable")

    @property
    def caption(self) -> str:
        """Runs and graphs in one line."""
        runs, graphs = (self.table[name].nunique() for name in ("run", "seed"))
        return f"{counted(runs, 'run')} on {counted(graphs, 'graph')}"

    def explain(self) -> Explanation:
        """How many steps the arms took that added fewest and most compositions."""
        levels, open_rows = [f"{level:g}" for level in self.table["level"].unique()], int(self.table["step"].isna().sum())
        found = self._by_added
        ends = found.iloc[[0, -1][: len(found)]].drop_duplicates("arm").to_dict("records")
        said = [f"{row['arm']}, with {counted(int(row['added']), 'composition')} added, {_steps(row)}" for row in ends]
        means = (
            f"To exact match of {found['level'].iloc[0]:g} it took, in the median over graphs: {'; '.join(said)}."
            if said
            else ""
        )
        sure = [f"{row['arm']} {row['coverage']:.2f}, n = {row['n']}" for row in ends]
        return Explanation(
            measured="The first of three evaluations at which a run answers that share of OOD+OOD questions, on the half of "
            "them that chose no checkpoint, and the FLOPs until then.",
            on=f"{self.caption}, each at exact match of {' and '.join(levels) or 'no level'}.",
            means=means or "Nothing: no first training of a graph is there.",
            sure="The ranges are over graphs and hold the population's median with a probability of: "
            f"{'; '.join(sure) or 'not known'}.",
            would_change=f"Longer training: {open_rows} of {counted(len(self.table), 'row')}, a run at a level each, did "
            f"not get there. The longest training had {int(self.table['trained'].max() if len(self.table) else 0):,} steps.",
        )

    def figure(self) -> Any:
        """Steps to each level against added compositions, a dot for each run; an open triangle if it never got there."""
        title = f"{self.caption} · lines: medians over graphs · triangles: not reached within the training"
        return cost_frontier(self.table, self.summary, title=title)


def _steps(row: Mapping[Any, Any]) -> str:
    """The median of a row of the summary with its range; a graph that did not get there has no step."""
    median, low, high = (
        f"{step:,.0f}" if math.isfinite(step) else "not reached" for step in (row["median"], row["low"], row["high"])
    )
    return (
        f"{median} steps [{low}, {high}]"
        if math.isfinite(row["median"])
        else f"not reached, {row['reached']} of {row['n']} graphs"
    )


def cost_of_waiting(study: Study, *, levels: Sequence[float] = LEVELS) -> CostResult:
    """Steps, FLOPs and added compositions until OOD+OOD accuracy reaches each level.

    Args:
        study: runs from random weights; further trainings on new facts are another matter.
        levels: of exact match.

    Raises:
        ValueError: if a level is not a share, or a run began with another's weights.
    """
    if isinstance(levels, str) or not isinstance(levels, Collection) or not levels:
        raise ValueError(f"levels are one or more shares above 0 and up to 1, got {levels!r}")
    wrong = [level for level in levels if number_problems(0, above=True, most=1, level=level)]
    problems = [f"levels are shares above 0 and up to 1, got {level!r}" for level in wrong]
    problems += [f"{name} began with {run.initial}" for name, run in study.runs.items() if run.initial]
    if problems or not study.runs:
        raise ValueError("; ".join(problems) or f"{study.folder} holds no run")
    about = study.summary.set_index("run")
    rows = []
    for name, run in study.runs.items():
        per_step = flops_per_step(run)
        arm = about.loc[[name], ["arm", "seed", "replicate"]].iloc[0].to_dict()
        rows += [{"run": name, **arm, **_row(run, level, per_step)} for level in levels]
    return CostResult(pd.DataFrame(rows))


def _row(run: Run, level: float, per_step: float) -> dict[str, Any]:
    step = onset(run, "test_inferred_ood", level)
    trained = int(run.metrics["step"].iloc[-1])
    return {"added": run.task.n_added, "level": level, "step": step, "flops": step * per_step, "trained": trained}


def _picture(result: CostResult, report: Report) -> None:
    report.figure(
        result.figure(),
        "Each dot is a run: the step from which it answers that share of OOD+OOD questions, against the compositions added "
        "to its training set; a line is the median over graphs, with the name of its arm. Open triangles never got there "
        "within their training. Both axes are logarithmic; 0 stands apart.",
    )


def _show(result: CostResult, report: Report) -> None:
    report.paragraph(result.sentence)
    report.table(_in_words(result.summary), file=f"cost-{len(result.table)}-rows.csv", saved=result.table)


def _in_words(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary for readers: what most graphs, or one of them, did not reach has no number."""
    table = summary.rename(columns={"low": "earliest", "high": "latest"}).astype({"added": int})
    for name in ("median", "earliest", "latest"):
        table[name] = [f"{step:,.0f}" if math.isfinite(step) else "not reached" for step in table[name]]
    table["flops"] = [f"{flops:.1e}" if math.isfinite(flops) else "not reached" for flops in table["flops"]]
    return table


COST = Claim(
    "Worthwhile?",
    "Is waiting worthwhile?",
    decide=lambda inputs, _: cost_of_waiting(inputs.study),  # from metrics alone, and without a verdict
    say=lambda result: f"{result.sentence} ({result.caption}).",
    show=_show,
    picture=_picture,
)
