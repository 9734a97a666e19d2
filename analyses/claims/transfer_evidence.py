"""Inside models that learned new facts: is the new bridge read and used, and does writing it in another form repair hop 2?

He et al. 2026 (arXiv 2601.09049, section 5.2) find the bridge of nearly every question with an old first hop, and hardly a
right answer where the second is new, and read it as a second hop that cannot take new facts as input. Whether it is the form
of the state or the fact itself that fails is what realignment tells, without training.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import pandas as pd

from ...circuits import Result
from ...circuits.arguments import common_problems, refuse
from ...circuits.columns import Columns
from ...circuits.explanation import Explanation
from ...circuits.plain_text import counted
from ...circuits.progress import with_bar
from ...circuits.units import fixed, interval
from ...tasks import CELLS, Run, Study
from ...tasks.transformerlens import Model
from ..bridge.evidence import bridge_evidence
from ..bridge.lens import logit_lens
from ..bridge.realignment import realign
from ..bridge.verdicts import bridge_is, bridge_read
from ..plots.claims import repair_bars


@dataclass(frozen=True, eq=False)
class TransferEvidenceResult(Result):
    """What happens to the bridge in questions about new facts, at the end of each further training.

    Attributes:
        table: a row for each run and cell of `CELLS`, with run, arm, seed, cell;
            read_at_r1: share of questions whose bridge a lens reads at r1, after the best layer;
            used: whether it is used at r1 or at all positions together (see `bridge_evidence`), on questions answered right;
            `undecided (ceiling)` if the model answers too few of the questions with another bridge to tell; and n_judged:
            hop-1 facts that this rests on;
            accuracy: exact match on all n questions;
            realigned: the same with the bridge read at r1 written as its embedding, after the best layer;
            controlled: with a random entity's embedding there;
            gain: realigned − accuracy, with its 95 % interval low, high over hop-1 facts.
    """

    table: Annotated[
        pd.DataFrame,
        Columns(
            words="run arm cell used",
            numbers="read_at_r1 accuracy realigned controlled gain low high",
            whole="seed n_judged n",
        ),
    ]

    @property
    def caption(self) -> str:
        """Runs and graphs in one line."""
        runs, graphs = (self.table[name].nunique() for name in ("run", "seed"))
        return f"{counted(runs, 'further training')} on {counted(graphs, 'graph')}"

    def explain(self) -> Explanation:
        """What writing the bridge in another form gains most, next to another entity in its place."""
        n = [f"{count:,}" for count in sorted({*self.table["n"].agg(["min", "max"]).dropna().astype(int)})]
        used = ", ".join(f"{word} in {count}" for word, count in self.table["used"].value_counts().items())
        means, sure = "Nothing: no row has a gain.", f"No interval was computed, of {self.caption}."
        for row in self.table.dropna(subset="gain").nlargest(1, "gain").to_dict("records"):
            means = (
                f"The largest gain is {fixed(row['gain'], 2)}, from {fixed(row['accuracy'], 2)} to "
                f"{fixed(row['realigned'], 2)} ({row['run']}, {row['cell']}). 0 is no gain; a large one says that the form "
                "of the state fails, and not the fact."
            )
            sure = (
                f"The 95 % interval of that gain over hop-1 facts is {interval(row['low'], row['high'], 2) or 'not held'}, "
                f"at the best layer. A random entity's embedding there gives exact match of {fixed(row['controlled'], 2)}."
            )
        return Explanation(
            measured="In models that learned new facts: exact match on compositions of them, as they are and with the "
            "bridge that a lens reads at r1 written there as its embedding.",
            on=f"{self.caption}; {counted(len(self.table), 'row')}, a run and cell each, of {' to '.join(n) or 'no'} "
            "questions.",
            means=means,
            sure=sure,
            would_change="Another layer or form than the embedding. Whether the bridge is used, which more right answers "
            f"can tell where it is undecided: {used or 'not asked'}.",
        )

    def figure(self) -> Any:
        """Unmodified accuracy and accuracy with the bridge rewritten, a panel for each cell, a dot for each run."""
        n = "–".join(f"{n:,}" for n in sorted({self.table["n"].min(), self.table["n"].max()}))
        return repair_bars(self.table, title=f"{self.caption} · a dot each, of {n} questions")


def transfer_evidence(
    study: Study, *, n_questions: int = 512, progress: bool = True, seed: int = 0
) -> TransferEvidenceResult:
    """Open the last checkpoint of every run on new facts whose weights are there.

    Args:
        study: see `transfer_table`.
        n_questions: for the evidence on the bridge.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of questions, halves and donors.

    Raises:
        ValueError: if the study holds no run with weights.
    """
    refuse(common_problems(n_questions=n_questions, progress=progress, seed=seed))
    if not (runs := opened(study)):
        raise ValueError(f"{study.folder} holds no run with weights")
    shown = with_bar(runs, "opening trainings on new facts", show=progress)
    rows = pd.concat([measure_transfer(run, n_questions, seed).table for run in shown], ignore_index=True)
    return TransferEvidenceResult(study.describe(rows, ("arm", "seed")))


def opened(study: Study) -> list[Run]:
    """The runs whose weights are there."""
    return [run for run in study.runs.values() if run.steps]


def measure_transfer(run: Run, n_questions: int, seed: int = 0) -> Result:
    """The rows of one run, without its arm and graph; arguments as of `transfer_evidence`."""
    model = run.checkpoint("final").model()
    rows = [{"run": run.name, "cell": cell, **_row(run, model, split, n_questions, seed)} for cell, split in CELLS.items()]
    return Result(pd.DataFrame(rows))


def _row(run: Run, model: Model, split: str, n_questions: int, seed: int) -> dict[str, Any]:
    questions = run.task.split(split)
    evidence = bridge_evidence(model, run.task, split, n=n_questions, progress=False, seed=seed)
    forms = realign(model, run.task, questions, progress=False, seed=seed).table
    embedded = forms[(forms["form"] == "embedding") & (forms["layer"] >= 0)]
    best = embedded[embedded["entity"] == "read"].sort_values("gain").iloc[-1]
    control = embedded[(embedded["entity"] == "random") & (embedded["layer"] == best["layer"])]
    return {
        "read_at_r1": bridge_read(logit_lens(model, questions, progress=False, seed=seed))["top1"].max(),
        "used": bridge_is(evidence),
        "n_judged": int(evidence.table["n_judged"].iloc[0]),
        "accuracy": best["baseline"],
        "realigned": best["accuracy"],
        "controlled": control["accuracy"].iloc[0],
        "gain": best["gain"],
        "low": best["gain_low"],
        "high": best["gain_high"],
        "n": len(questions),
    }
