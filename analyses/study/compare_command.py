"""`grokscope compare`: the circuits of two checkpoints on the same questions, side by side, and whether they differ."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ...circuits import Circuit, CircuitComparison, compare, draw
from ...circuits.arguments import choice_problems, common_problems, refuse
from ...circuits.destination import file_problems, folder_problems
from ...circuits.plain_text import plain
from ...tasks import Checkpoint, Run, make_pairs
from ...tasks.questions.pairing import n_pairable
from ...tasks.runs.study import SHIPPED
from ..patching.discovery import discover
from ..patching.faithfulness import FaithfulnessResult, faithfulness

SPLIT = "test_inferred_iid"


def main(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            help="Two or more, each RUN@PHASE or RUN@STEP; a run is a folder, or pilot/natural of those shipped."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("comparison.html"),
    save: Annotated[Path | None, typer.Option(help="A folder for the circuits, as `grokscope draw` takes them.")] = None,
    split: Annotated[str, typer.Option(help="Which questions are asked.")] = SPLIT,
    n_pairs: Annotated[int, typer.Option(help="Prompt pairs, at most: one half chooses circuits, one judges them.")] = 256,
    seed: Annotated[int, typer.Option(help="Of pairs and resampling.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is said, and its numbers, as JSON.")] = False,
) -> None:
    """Find the circuits of checkpoints on the same questions, say whether they differ, and draw them side by side.

    \b
    grokscope compare pilot/natural@id_generalised pilot/natural@ood_generalised -o page.html
    grokscope compare demo/natural@900 demo/both_hops@final --save circuits
    """
    problems = [] if len(checkpoints) > 1 else [f"needed are two checkpoints or more, got {len(checkpoints)}"]
    problems += file_problems(out=out) + ([] if save is None else folder_problems(save=save))
    refuse(problems + common_problems(n_pairs=n_pairs, seed=seed))
    found = compare_checkpoints([opened(each) for each in checkpoints], split=split, n_pairs=n_pairs, seed=seed)
    page = draw(found.circuits, faithfulness=found.judged).save(out)
    saved = [] if save is None else [str(each.save(save / f"{n}.json")) for n, each in enumerate(found.circuits.values())]
    if as_json:
        return typer.echo(json.dumps(found.document | {"page": str(page), "circuits": saved}))
    lines = [*found.comparison.summary().sentences, *(each.caption for each in found.judged.values()), f"page: {page}"]
    typer.echo(plain("\n".join([*lines, *(f"circuit: {each}" for each in saved)])))


@dataclass(frozen=True)
class Compared:
    """What is found of checkpoints, by label."""

    circuits: dict[str, Circuit]
    judged: dict[str, FaithfulnessResult]
    comparison: CircuitComparison

    @property
    def document(self) -> dict[str, Any]:
        """As JSON can hold it: missing numbers are null."""
        summary = self.comparison.summary()
        tables = {name: json.loads(each.table.iloc[:1].to_json(orient="records"))[0] for name, each in self.judged.items()}
        return {
            "sentences": list(summary.sentences),
            "compared": json.loads(summary.table.to_json(orient="records")),
            "judged": tables,
        }


def compare_checkpoints(found: Sequence[tuple[Run, Checkpoint]], *, split: str, n_pairs: int, seed: int) -> Compared:
    """The circuits of checkpoints of one task: chosen on one half of the pairs that all answer, judged on the other.

    Raises:
        ValueError: if runs are of different graphs, a checkpoint is given twice, or too few pairs are answered by all.
    """
    refuse(_different_problems(found))
    task, models = found[0][0].task, {checkpoint.label: checkpoint.model() for _, checkpoint in found}
    refuse(choice_problems(split=(split, task.splits)))
    pairs = make_pairs(task, split=split, contrast="bridge", n=min(n_pairs, n_pairable(task.split(split))), seed=seed)
    chosen_on, judged_on = pairs.keep_correct(*models.values()).halves()
    circuits = {label: discover(model, chosen_on, seed=seed) for label, model in models.items()}
    judged = {label: faithfulness(model, circuits[label], judged_on, seed=seed) for label, model in models.items()}
    return Compared(circuits, judged, compare(circuits, seed=seed))


def opened(said: str) -> tuple[Run, Checkpoint]:
    """The run and checkpoint that `RUN@PHASE` or `RUN@STEP` means; without @ it is the last one.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if it has no such checkpoint; the message says which it has.
    """
    folder, _, which = said.partition("@")
    run = Run.load(next((place for place in (Path(folder), SHIPPED / folder) if place.is_dir()), Path(folder)))
    try:
        return run, run.checkpoint(int(which) if which.isdigit() else which or "final")
    except KeyError as error:
        raise ValueError(error.args[0]) from None


def _different_problems(found: Sequence[tuple[Run, Checkpoint]]) -> list[str]:
    """Why checkpoints cannot be asked the same questions, or told apart."""
    labels = [checkpoint.label for _, checkpoint in found]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    first, graph = found[0][0], getattr(found[0][0].task, "graph", None)
    other = sorted({run.folder.name for run, _ in found if getattr(run.task, "graph", None) != graph})
    problems = [f"checkpoints need different names, {', '.join(twice)} is given twice"] if twice else []
    return problems + [f"{name} was trained on another graph than {first.folder.name}" for name in other]
