"""Circuits of a study's runs, found on one half of the pairs, judged on the other, compared, and drawn side by side.

python examples/compare_circuits.py                              # the shipped pilot, on circuits.html
python examples/compare_circuits.py --out pages --n 256
"""

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from grokscope import analyses, circuits, tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems

ARMS = {
    "natural, early": ("natural", "id_generalised"),
    "natural, late": ("natural", "final"),
    "first hop": ("first_hop", "final"),
    "second hop": ("second_hop", "final"),
    "both hops": ("both_hops", "final"),
}
SHOWN = ["overlap@10", "weighted_overlap", "jensen_shannon", "aligned jensen_shannon"]


def main(
    out: Annotated[Path, typer.Option(help="folder for the pages")] = Path("."),
    n: Annotated[int, typer.Option(help="prompt pairs, one half to choose on, the other to judge")] = 512,
) -> None:
    """Print the tables and write the diagram."""
    refuse(folder_problems(out=out))
    runs = tasks.load_study("pilot").runs
    models = {arm: runs[run].checkpoint(phase).model() for arm, (run, phase) in ARMS.items()}
    pairs = tasks.make_pairs(runs["natural"].task, split="test_inferred_iid", contrast="bridge", n=n, seed=0)
    chosen_on, judged_on = pairs.keep_correct(*models.values()).halves()
    start = time.perf_counter()
    found = {arm: analyses.discover(model, chosen_on) for arm, model in models.items()}
    typer.echo(f"{len(found)} circuits on {len(chosen_on)} pairs: {time.perf_counter() - start:.1f} s")
    for arm, model in models.items():
        judged = analyses.faithfulness(model, found[arm], judged_on)
        typer.echo(f"{arm}: {judged.caption}; CPR {judged.cpr:.3f}, CMD {judged.cmd:.3f}")
    start = time.perf_counter()
    comparison = circuits.compare(found)
    typer.echo(f"compared: {time.perf_counter() - start:.1f} s; {comparison.caption}")
    typer.echo(comparison.summary())
    table = comparison.table[comparison.table["measure"].isin(SHOWN)]
    with pd.option_context("display.width", 200, "display.max_columns", 20):
        typer.echo(table.drop(columns=["n_edges", "n", "n_units"]).round(3).to_string(index=False))
    typer.echo("\n".join(f"{pair}: nearest with {how}" for pair, how in comparison.alignment.items()))
    typer.echo(circuits.merge_loops(found["natural, late"]).uses.round(2).to_string(index=False))
    circuits.draw({arm: found[arm] for arm in ("natural, early", "natural, late", "both hops")}).save(out / "circuits.html")


if __name__ == "__main__":
    run_command(main, stopped="stopped before the diagram was written")
