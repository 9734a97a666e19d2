"""More or fewer loops at test time: what a model with shared blocks answers if they are applied more or fewer times.

Early exit and depth extrapolation of looped transformers (Kohli et al. 2026, arXiv 2604.07822; He et al. 2026 share
parameters in the same way).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd
import plotly.graph_objects as go

from ...circuits import Result
from ...circuits.arguments import native, refuse, shortly, whole_problems
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ...tasks import Checkpoint, ModelConfig, exact_match
from ...tasks.questions.task import splits_for
from ...tasks.questions.validity import missing_problems
from ..plots.style import error_bars
from ..plots.theme import GREYS, SHARE, TEMPLATE, literal, split_colours
from ..statistics import wilson
from .by_step import ascending


@dataclass(frozen=True, eq=False)
class LoopResult(Result):
    """Accuracy by number of loops run.

    Attributes:
        table: a row for each number of loops and split, with n_loops, split, exact_match, its Wilson interval low and high,
            and n, the number of queries.
        model: the checkpoint's label.
        trained_loops: how many loops the model was trained with.
    """

    table: Annotated[pd.DataFrame, Columns(words="split", numbers="exact_match low high", whole="n_loops n")]
    model: str
    trained_loops: int

    @property
    def caption(self) -> str:
        """The checkpoint, the loops it was trained with, and n."""
        n = f"n = {self._n} questions a split"
        return f"{self.model} · trained with {self.trained_loops} loops · {n} · 95 % Wilson intervals"

    def explain(self) -> Explanation:
        """How many questions are answered with the loops of training, and with others."""
        if self.table.empty:
            return without_rows(self.model)
        rows, trained = self.table.to_dict("records"), counted(self.trained_loops, "loop")
        own = [row for row in rows if row["n_loops"] == self.trained_loops]
        right = ", ".join(f"{fixed(row['exact_match'], 2)} of {row['split']}" for row in own)
        first = rows[0]["split"]
        others = ", ".join(
            f"{fixed(row['exact_match'], 2)} with {row['n_loops']}"
            for row in rows
            if row["split"] == first and row["n_loops"] != self.trained_loops
        )
        bounds = ", ".join(f"{interval(row['low'], row['high'], 2)} ({row['split']})" for row in own)
        return Explanation(
            measured="Exact match if the shared blocks are applied more or fewer times than in training.",
            on=f"{self.model}, {self._n} questions in each of {counted(self.table['split'].nunique(), 'split')}.",
            means=f"With {trained}, as in training, it answers {right} (1 is all, 0 none)."
            if own
            else f"It was not run with {trained}, as in training: only {others} of {first} is known (1 is all, 0 none).",
            sure=f"The 95 % Wilson intervals are {bounds}." if own else "No interval: it was not run as in training.",
            would_change=f"Another number of loops: of {first} it answers {others}."
            if others
            else "Other numbers of loops.",
        )

    @property
    def _n(self) -> str:
        """The least and the most questions of a split."""
        return "–".join(f"{n:,}" for n in sorted({self.table["n"].min(), self.table["n"].max()}))

    def figure(self) -> Any:
        """Accuracy against loops, a line for each split."""
        figure, colours = go.Figure(), split_colours(map(str, dict.fromkeys(self.table["split"])))
        for split, rows in self.table.groupby("split", sort=False):
            figure.add_scatter(
                x=rows["n_loops"].tolist(),
                y=rows["exact_match"].tolist(),
                error_y=error_bars(rows["exact_match"], rows["low"], rows["high"]),
                name=f"{split} (n = {rows['n'].iloc[0]})",
                line={"color": colours[str(split)]},
            )
        figure.add_vline(x=self.trained_loops, line={"color": GREYS["guide"], "dash": "dash", "width": 1})
        figure.update_xaxes(title="loops run", dtick=1).update_yaxes(title="exact match", **SHARE)
        return literal(figure.update_layout(template=TEMPLATE, title=self.caption))


def accuracy_by_loops(checkpoint: Checkpoint, loops: Sequence[int], *, splits: Sequence[str] | None = None) -> LoopResult:
    """Run a checkpoint's blocks more or fewer times than in training and score it.

    For the lens, call `logit_lens(checkpoint.model(n_loops=...), queries)`.

    Args:
        checkpoint: of a model with any number of loops.
        loops: how often to apply the blocks, in any order; each at least 1.
        splits: what to ask; by default all test splits.

    Raises:
        ValueError: if a number of loops is no whole number of at least 1, or the model has no looped blocks.
        KeyError: for an unknown split.
    """
    if isinstance(loops, str) or not isinstance(loops, Collection):
        raise ValueError(f"loops is {shortly(loops)}, needed are numbers of loops, as in (1, 2, 4)")
    loops = native([*loops])
    bad = [n for n in loops if whole_problems(1, loops=n)]
    problems = [f"loops holds {bad}; the blocks can be applied once or more"] if bad else []
    problems += [] if loops else [f"loops is empty, {loops!r}; needed is how often to apply the blocks, as in (1, 2, 4)"]
    named = [] if splits is None or not checkpoint else missing_problems("split", splits, tuple(checkpoint.task.splits))
    refuse(problems, unknown=named)
    shape = checkpoint.model_config
    if not isinstance(shape, ModelConfig):
        raise ValueError(f"loops are those of models whose blocks are looped, not of {shape.architecture}")
    queries = {split: checkpoint.task.split(split) for split in splits or splits_for(checkpoint.task, "test")}
    rows = []
    for n_loops in ascending(loops):
        model = checkpoint.model(n_loops=n_loops)
        for split, asked in queries.items():
            share, n = float(exact_match(model, asked).double().mean()), len(asked)
            low, high = wilson(share, n)
            rows.append({"n_loops": n_loops, "split": split, "exact_match": share, "low": low, "high": high, "n": n})
    return LoopResult(pd.DataFrame(rows), checkpoint.label, shape.n_loops)
