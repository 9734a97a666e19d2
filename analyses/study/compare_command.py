"""`grokscope compare`: the circuits of checkpoints on the same questions, side by side, and whether they differ."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from ...circuits import Circuit, CircuitComparison, compare, draw
from ...circuits.arguments import choice_problems, common_problems, refuse
from ...circuits.destination import folder_problems, page_problems
from ...circuits.plain_text import plain
from ...circuits.units import fixed, interval
from ...tasks import Checkpoint, Run
from ...tasks.questions.pairing import pairs_up_to
from ...tasks.runs.study import run_called
from ..page import Report
from ..patching.discovery import discover
from ..patching.faithfulness import FaithfulnessResult, faithfulness
from .compared import headline, lead

SPLIT = "test_inferred_iid"
N_NAMED = 5  # of the edges that differ, in a terminal
Q = 0.05


def main(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            help="Two or more: RUN@PHASE, RUN@STEP, or RUN for its last step; a run is a folder, or one of those shipped."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("comparison.html"),
    label: Annotated[list[str], typer.Option(help="Of each checkpoint, in turn; by default what tells them apart.")] = [],  # noqa: B006
    save: Annotated[Path | None, typer.Option(help="A folder for the circuits, as `grokscope draw` takes them.")] = None,
    split: Annotated[str, typer.Option(help="Which questions are asked.")] = SPLIT,
    n_pairs: Annotated[int, typer.Option(help="Prompt pairs, at most: one half chooses circuits, one judges them.")] = 256,
    seed: Annotated[int, typer.Option(help="Of pairs and resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is said, and its numbers, as JSON.")] = False,
) -> None:
    """Find the circuits of checkpoints on the same questions, say whether they differ, and draw them side by side.

    \b
    grokscope compare pilot/natural@id_generalised pilot/natural@ood_generalised -o page.html
    grokscope compare demo/natural@900 demo/both_hops --label early --label taught --save circuits
    """
    problems = [] if len(checkpoints) > 1 else [f"compare takes two checkpoints or more, got {len(checkpoints)}"]
    wrong = label and len(label) != len(checkpoints)
    problems += [f"{len(checkpoints)} checkpoints and {len(label)} labels: give one for each"] if wrong else []
    problems += page_problems(out=out) + ([] if save is None else folder_problems(save=save))
    refuse(problems + common_problems(n_pairs=n_pairs, seed=seed))
    opened = [opened_checkpoint(each) for each in checkpoints]
    found = compare_checkpoints(opened, label or labels(opened), split=split, n_pairs=n_pairs, seed=seed)
    page = write_page(found, out)
    saved = [] if save is None else [str(each.save(save / f"{_file(name)}.json")) for name, each in found.circuits.items()]
    if as_json:
        return typer.echo(json.dumps(found.document | {"page": str(page), "circuits": saved}))
    typer.echo(plain("\n".join([*found.said, f"page: {page}", *(f"circuit: {each}" for each in saved)])))


@dataclass(frozen=True)
class Compared:
    """What is found of checkpoints, by label."""

    circuits: dict[str, Circuit]
    judged: dict[str, FaithfulnessResult]
    comparison: CircuitComparison

    @property
    def said(self) -> Iterator[str]:
        """Lines for a terminal: the verdicts, the edges that differ most, what each circuit does alone."""
        yield from self.comparison.summary().sentences
        yield from _edges_that_differ(self.comparison)
        yield from (f"{name}: {result.finding}" for name, result in self.judged.items())

    @property
    def document(self) -> dict[str, Any]:
        """As JSON can hold it: missing numbers are null."""
        summary = self.comparison.summary()
        return {
            "sentences": list(summary.sentences),
            "compared": _records(summary.table),
            "judged": {name: _records(result.table.iloc[:1])[0] for name, result in self.judged.items()},
            "edges": _records(self.comparison.differences),
        }


def compare_checkpoints(
    found: Sequence[tuple[Run, Checkpoint]], names: Sequence[str], *, split: str, n_pairs: int, seed: int
) -> Compared:
    """The circuits of checkpoints of one task: chosen on one half of the pairs that all answer, judged on the other.

    Raises:
        ValueError: if runs are of different knowledge graphs or architectures, names are not different, or too few pairs are
            answered by all.
    """
    task = found[0][0].task
    refuse(_different_problems(found, names) + choice_problems(split=(split, task.splits)))
    models = {name: checkpoint.model() for name, (_, checkpoint) in zip(names, found, strict=True)}
    pairs = pairs_up_to(task, split=split, contrast="bridge", n=n_pairs, seed=seed)
    chosen_on, judged_on = pairs.keep_correct(*models.values()).halves()
    circuits = {name: discover(model, chosen_on, seed=seed) for name, model in models.items()}
    judged = {name: faithfulness(model, circuits[name], judged_on, seed=seed) for name, model in models.items()}
    return Compared(circuits, judged, compare(circuits, seed=seed))


def write_page(found: Compared, out: Path) -> Path:
    """The circuits side by side, under what their distance says; what each does alone, and all that was said, below."""
    names, comparison = list(found.circuits), found.comparison
    report = Report(
        headline(comparison) if len(names) == 2 else f"Circuits of {len(names)} checkpoints", with_contents=False
    )
    if len(names) == 2:
        report.paragraph(lead(comparison))
    reading = (
        "Widths are effects of single edges, as shares of the gap between a prompt and its corrupt one. Whether an edge "
        "differs is asked of each by itself; the distance asks it of all at once, next to two halves of one circuit."
    )
    report.diagram(draw(found.circuits, faithfulness=found.judged), reading)
    report.heading("Do the circuits do the work?")
    report.bullets(f"{name}: {result.finding}" for name, result in found.judged.items())
    report.heading("How sure is that?")
    for sentence in comparison.summary().sentences:
        report.paragraph(sentence)
    with report.folded("Table: how alike the circuits are"):
        report.table(comparison.in_words)
    with report.folded("Table: every edge's difference, with its interval and q"):
        report.table(comparison.differences)
    return report.save(out)


def opened_checkpoint(said: str) -> tuple[Run, Checkpoint]:
    """The run and checkpoint that `RUN@PHASE` or `RUN@STEP` means; without @ it is the last one.

    Raises:
        FileNotFoundError: if there is no such run; the message says which there are.
        ValueError: if it has no such checkpoint; the message says which it has.
    """
    name, _, which = said.partition("@")
    run = run_called(name)
    try:
        return run, run.checkpoint(int(which) if which.isdigit() else which or "final")
    except KeyError as error:
        raise ValueError(error.args[0]) from None


def labels(found: Sequence[tuple[Run, Checkpoint]]) -> list[str]:
    """What tells checkpoints apart, and no more: the step within one run, else the run, else both."""
    runs = [run.folder.name for run, _ in found]
    if len(set(runs)) == len(runs):
        return runs
    steps = [f"step {checkpoint.step:,}" for _, checkpoint in found]
    return steps if len(set(runs)) == 1 else [f"{run}, {step}" for run, step in zip(runs, steps, strict=True)]


def _different_problems(found: Sequence[tuple[Run, Checkpoint]], names: Sequence[str]) -> list[str]:
    """Why checkpoints cannot be asked the same questions, laid on one another, or told apart."""
    first, problems = found[0][0], []
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        problems.append(f"checkpoints need different labels, {', '.join(twice)} is given twice")
    graph = getattr(first.task, "graph", None)
    for run in {run.folder: run for run, _ in found}.values():
        if getattr(run.task, "graph", None) != graph:
            problems.append(f"{run.folder.name} was trained on another knowledge graph than {first.folder.name}")
        elif _shape(run) != _shape(first):
            problems.append(
                f"{run.folder.name} has other components than {first.folder.name}, so that edges cannot be compared one by "
                f"one: {_shape(run)} against {_shape(first)}; analyses.path_distances compares such models"
            )
    return problems


def _shape(run: Run) -> str:
    """What decides a model's components."""
    config = run.model_config
    names = ("n_layers", "n_heads", "n_blocks", "n_loops")
    return ", ".join(f"{name} {getattr(config, name)}" for name in names if hasattr(config, name))


def _edges_that_differ(comparison: CircuitComparison) -> Iterator[str]:
    """For each two circuits, the edges whose effects differ most, of those that surely differ."""
    for (a, b), rows in comparison.differences.groupby(["a", "b"], sort=False):
        sure = rows[rows["q"] <= Q].sort_values("difference", key=abs, ascending=False)
        if sure.empty:
            yield f"{a} / {b}: no single edge surely differs (false discovery rate {Q})"
            continue
        yield f"{a} / {b}: {len(sure)} of {len(rows)} edges differ (false discovery rate {Q}); the most, {b} minus {a}:"
        for row in sure.head(N_NAMED).to_dict("records"):
            bounds = interval(row["low"], row["high"], 2)
            yield f"  {row['edge']}: {fixed(row['difference'], 2, plus=True)} {bounds}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))


def _file(label: str) -> str:
    """A label as the name of a file.

    >>> _file("natural, step 10,700")
    'natural_step_10700'
    """
    return re.sub(r"[^\w.-]+", "_", re.sub(r"(?<=\d),(?=\d)", "", label)).strip("._") or "circuit"
