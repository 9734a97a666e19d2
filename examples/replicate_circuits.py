"""How far apart the circuits of two trainings of one arm are: what `circuits.compare` names where no replicates are given.

All pairs of replicates of the shipped study: same graph, data and preset, other initial weights and order of batches,
compared at the same phase on the same questions.

python examples/replicate_circuits.py                            # writes circuits/assets/replicates.json, in three minutes
"""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from grokscope import analyses, circuits, tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import file_problems
from grokscope.circuits.units import listed
from grokscope.circuits.verdicts import ALIGNED, DISTANCE
from grokscope.circuits.writing import write_atomic

GRAPHS = (1, 2, 3, 4, 5)
PHASES = {  # with weights, by arm that was trained twice on each graph
    "natural": ("id_generalised", "ood_generalised", "final"),
    "both_hops": ("ood_generalised", "final"),
}
PAIRS: dict[str, Any] = dict(split="test_inferred_iid", contrast="bridge", n=256, seed=0)
MEASURES = (DISTANCE, ALIGNED)


def main(
    out: Annotated[Path, typer.Option(help="file to write")] = Path("circuits/assets/replicates.json"),
) -> None:
    """Measure all replicates, print them and write the file."""
    refuse(file_problems(out=out))
    runs, rows, measured = tasks.load_study().runs, [], {}
    saved = [(arm, phase) for arm, phases in PHASES.items() for phase in phases]
    for (arm, phase), graph in product(saved, GRAPHS):
        comparison = compared([runs[f"{arm}-g{graph}-r{replicate}"] for replicate in (0, 1)], phase)
        rows.append({"arm": arm, "phase": phase, "graph": graph, **numbers(comparison)})
        measured = dict(comparison.measured)
        typer.echo(listed(rows[-1], digits=4))
    content = {"source": f"examples/{Path(__file__).name}", "preset": "ModelConfig.small()", **measured, "pairs": rows}
    write_atomic(out, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def compared(runs: list[tasks.Run], phase: str) -> circuits.CircuitComparison:
    """Two trainings of one arm, on questions that both get right."""
    models = [run.checkpoint(phase).model() for run in runs]
    pairs = tasks.make_pairs(runs[0].task, **PAIRS).keep_correct(*models)
    found = [analyses.discover(model, pairs, progress=False) for model in models]
    return circuits.compare(dict(zip(("one", "one again"), found, strict=True)), progress=False)


def numbers(comparison: circuits.CircuitComparison) -> dict[str, float]:
    """The two distances, those of halves, and how many questions they rest on."""
    rows = {row["measure"]: row for row in comparison.table.to_dict("records")}
    first = rows[MEASURES[0]]
    values = {name.replace(" ", "_"): round(float(rows[name]["value"]), 4) for name in MEASURES}
    return values | {"halves": round(float(first["ceiling"]), 4), "n": int(first["n"]), "n_units": int(first["n_units"])}


if __name__ == "__main__":
    run_command(main, stopped="stopped; nothing was written")
