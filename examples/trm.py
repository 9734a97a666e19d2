"""Train and ship the study of token-mixing networks: arms on graph 1, and the registered arms on graphs 6 to 13.

    python examples/trm.py --work runs/trm                         # graph 1, a run on each core; resumes if interrupted
    python examples/trm.py --work runs/trm --graph 6 --graph 7     # registered graphs (docs/preregistration.md)
    python examples/trm.py --work runs/trm --device cuda           # all of them at once, as stacked weights, in minutes
    python examples/trm.py --work runs/trm --ship                  # copy what is finished to examples/checkpoints

Graph 1 was used for development and looked at freely (docs/trm.md); it is shipped as the study `trm`. Registered graphs are
shipped apart, as `trm_registered`. Runs are named as in `examples/study.py`: `natural-g1-r0`.
"""

from pathlib import Path
from typing import Annotated

import typer

from grokscope import tasks
from grokscope.analyses.claims.specimens import last_before_ood
from grokscope.circuits.arguments import process_problems, refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems
from grokscope.tasks.runs.shipping import copy_run, seal_study

SHIPPED = Path(__file__).parent / "checkpoints"
EXPLORED, REGISTERED = 1, range(6, 14)
MAX_STEPS = 15_000
N_CHECKPOINTS = 20
ARMS = {
    "natural": tasks.NATURAL,
    "both_hops": tasks.BOTH_HOPS,
    "second_hop": tasks.SECOND_HOP,
    "first_hop": tasks.FIRST_HOP,
    "both_half": tasks.BOTH_HALF,
}
DECIDING = ("natural", "both_hops", "second_hop")  # arms of registered graphs
TWICE = ("natural", "both_hops")  # that are trained twice on a graph


def job(arm: str, graph: int, replicate: int) -> tasks.Job:
    """One training from random weights."""
    task = tasks.TwoHopTask.random(seed=graph, layout="four_slots", supervision=ARMS[arm])
    settings = {"max_steps": MAX_STEPS, "n_checkpoints": N_CHECKPOINTS, "seed": graph + 100 * replicate}
    return tasks.Job(f"{arm}-g{graph}-r{replicate}", task, tasks.TRMConfig.small(), tasks.TrainConfig.small_trm(**settings))


def jobs(graphs: list[int]) -> list[tasks.Job]:
    """All trainings on some graphs, graph by graph."""
    found = []
    for graph in graphs:
        arms = tuple(ARMS) if graph == EXPLORED else DECIDING
        found += [job(arm, graph, replicate) for replicate, each in enumerate((arms, TWICE)) for arm in each]
    return found


def shipped_steps(run: tasks.Run) -> list[int]:
    """The steps whose weights are shipped: of its phases, and the last before OOD questions are answered."""
    return sorted({step for step in (*run.phases.values(), last_before_ood(run)) if step is not None})


def ship(work: Path) -> None:
    """Copy finished runs that are not there already, and seal the studies that they belong to."""
    places = set()
    for folder in sorted(path.parent for path in work.glob("*/run.json")):
        run = tasks.Run.load(folder)
        place = SHIPPED / ("trm" if run.task.seed == EXPLORED else "trm_registered")
        if run.is_finished and not (place / run.name).exists():
            copy_run(run, place / run.name, steps=shipped_steps(run))
            typer.echo(f"{run.name}: shipped")
        if (place / run.name).exists():
            places.add(place)
    for place in places:
        seal_study(place)


def main(
    work: Annotated[Path, typer.Option(help="folder for the runs")] = Path("runs/trm"),
    graph: Annotated[list[int], typer.Option(help="1, or some of 6 to 13")] = [EXPLORED],  # noqa: B006
    n_jobs: Annotated[int, typer.Option(help="processes at a time, with one thread each")] = -1,
    device: Annotated[str, typer.Option(help="cpu, for a run on each core, or what trains all at once")] = "cpu",
    ship_only: Annotated[bool, typer.Option("--ship", help="copy finished runs instead of training")] = False,
) -> None:
    """Train or ship the study."""
    unknown = [f"graph {each}: there are {EXPLORED} and 6 to 13" for each in graph if each not in (EXPLORED, *REGISTERED)]
    refuse(folder_problems(work=work) + process_problems(n_jobs) + unknown)
    if ship_only:
        ship(work)
        return
    if device == "cpu":
        typer.echo(tasks.sweep(jobs(graph), work, n_jobs=n_jobs).to_string())
        return
    for run in tasks.train_together(jobs(graph), work, device=device, n_jobs=n_jobs):
        typer.echo(f"{run.name}: finished")


if __name__ == "__main__":
    run_command(main, stopped="stopped; what was trained is kept, and the same command goes on")
