"""Accuracy by how often a question's facts were composed in training, as first and as second hop.

He et al. 2026 (arXiv 2601.09049) add compositions of OOD facts to the training set and report one rate for all questions;
Ye et al. 2025 (arXiv 2505.23653) found that second hops need exposure at this level. A fact that was trained only by itself
has exposure 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from ...circuits import Result
from ...circuits.arguments import refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation, without_rows
from ...circuits.plain_text import counted
from ...circuits.units import fixed, interval
from ...tasks import Queries, TwoHopTask, exact_match, two_hop
from ...tasks.questions.given import queries_problems
from ...tasks.transformerlens import Model
from ..forward.hooks import refuse_hooks
from ..plots.claims import exposure_points
from ..statistics import wilson_row


@dataclass(frozen=True, eq=False)
class ExposureResult(Result):
    """Exact match by exposure.

    Attributes:
        table: a row for each hop (1, 2) and number of trained compositions with the question's fact in that hop, with
            accuracy; low, high: its 95 % Wilson interval, with the fact of that hop as unit; n questions; n_facts.
        model: the model's name.
        split: what the questions are.
    """

    table: Annotated[pd.DataFrame, Columns(numbers="exposure accuracy low high", whole="hop n n_facts")]
    model: str
    split: str

    @property
    def caption(self) -> str:
        """Model, split and n in one line."""
        return f"{self.model} · {self.split} · n = {self.n} questions"

    def explain(self) -> Explanation:
        """How accuracy differs between facts that were composed least and most often."""
        if self.table.empty:
            return without_rows(self.model)
        return Explanation(
            measured="Exact match by exposure, the number of trained compositions with the question's fact in that hop.",
            on=f"{self.model}, {self.split}, {counted(self.n, 'question')}.",
            means=f"Accuracy at the least and the most exposure (1 is all right, 0 none) is {self._ends(_accuracy)}.",
            sure="The 95 % Wilson intervals, over facts, are "
            f"{self._ends(lambda row: interval(row['low'], row['high'], 2))}.",
            would_change="More facts of each exposure: these rest on "
            f"{self._ends(lambda row: counted(int(row['n_facts']), 'fact'))}.",
        )

    def _ends(self, said: Callable[[Mapping[Any, Any]], str]) -> str:
        """What is said of the rows of the least and of the most exposure, which may be one, hop by hop."""
        parts = []
        for hop, rows in self.table.groupby("hop"):
            ends: Any = [rows["exposure"].argmin(), rows["exposure"].argmax()]
            found = [said(rows.iloc[place].to_dict()) for place in dict.fromkeys(ends)]
            parts.append(f"{' and '.join(found)} for hop {hop}")
        return "; ".join(parts)

    @property
    def n(self) -> int:
        """Number of questions; each is in one row of a hop."""
        return int(self.table.loc[self.table["hop"] == self.table["hop"].iloc[0], "n"].sum())

    def figure(self) -> Any:
        """Accuracy against exposure, a panel for each hop."""
        return exposure_points(self.table, title=f"{self.caption} · bars: 95 % over facts")


def _accuracy(row: Mapping[Any, Any]) -> str:
    return f"{fixed(row['accuracy'], 2)} at {row['exposure']:,.0f}"


def accuracy_by_exposure(model: Model, task: TwoHopTask, queries: Queries) -> ExposureResult:
    """Sort questions by the exposure of their facts.

    Args:
        model: any model without hooks; it is not changed.
        task: what it was trained on.
        queries: two-hop questions of the task.

    Raises:
        TypeError: if the task is of another kind.
        ValueError: if there is no question, or one is atomic; if the model carries hooks.
    """
    refuse(queries_problems(queries=queries))
    task = two_hop(task)
    if not len(queries) or (queries.hop2 < 0).any():
        raise ValueError(f"{queries.split} holds {len(queries)} questions{', some atomic' if len(queries) else ''}")
    refuse_hooks(model)
    correct = exact_match(model, queries).numpy()
    rows = [
        {"hop": hop, **row}
        for hop, facts in ((1, queries.hop1.numpy()), (2, queries.hop2.numpy()))
        for row in _rows(correct, facts, exposures(task, hop)[facts])
    ]
    return ExposureResult(pd.DataFrame(rows), model.cfg.model_name or "model", queries.split)


def exposures(task: TwoHopTask, hop: int) -> Int[np.ndarray, " fact"]:
    """How many trained compositions have each fact as hop 1 or 2."""
    compositions = np.concatenate([task.trained, task.added])
    return np.bincount(compositions[:, hop - 1], minlength=len(task.graph))


def _rows(correct: np.ndarray, facts: np.ndarray, times: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for exposure in np.unique(times).tolist():
        chosen = times == exposure
        share = wilson_row(correct[chosen], facts[chosen])
        row = {"exposure": exposure, "accuracy": share.value, "low": share.low, "high": share.high}
        rows.append(row | {"n": share.n, "n_facts": share.n_units})
    return rows
