"""Write diagrams of the shipped pilot: two checkpoints side by side, and the natural run step by step.

python examples/diagrams.py --out diagrams
"""

from pathlib import Path
from typing import Annotated

import typer

from grokscope import analyses, circuits, tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems

SPLIT = "test_inferred_iid"


def main(
    out: Annotated[Path, typer.Option(help="folder for the pages")] = Path("diagrams"),
    n: Annotated[int, typer.Option(help="pairs asked for")] = 256,
) -> None:
    """Measure the circuits and write the pages."""
    refuse(folder_problems(out=out))
    run = tasks.load_study("pilot").runs["natural"]
    models = {"early": run.checkpoint("id_generalised").model(), "grokked": run.checkpoint("grokked").model()}
    pairs = tasks.make_pairs(run.task, split=SPLIT, contrast="bridge", n=n, seed=0).keep_correct(*models.values())
    chosen_on, judged_on = pairs.halves()
    found = {name: analyses.discover(model, chosen_on) for name, model in models.items()}
    lens = {name: analyses.logit_lens(model, run.task.split(SPLIT)) for name, model in models.items()}
    judged = {name: analyses.faithfulness(model, found[name], judged_on) for name, model in models.items()}
    typer.echo(circuits.draw(found, lens=lens, faithfulness=judged).save(out / "pair.html"))
    steps = analyses.trajectory(run, chosen_on, judged_on=judged_on).circuits
    typer.echo(circuits.draw(steps, lens=analyses.logit_lens(run, run.task.split(SPLIT))).save(out / "steps.html"))


if __name__ == "__main__":
    run_command(main, stopped="stopped before all pages were written")
