"""Train and ship the study of token-mixing networks: arms on graph 1, and the registered arms on graphs 6 to 13.

    python examples/trm.py --work runs/trm                         # graph 1, a run on each core; resumes if interrupted
    python examples/trm.py --work runs/trm --graph 6 --graph 7     # registered graphs (docs/explanation/preregistration.md)
    python examples/trm.py --work runs/trm --device cuda           # all of them at once, as stacked weights, in minutes
    python examples/trm.py --work runs/trm --new-facts             # further training on new facts, from graph 1's runs
    python examples/trm.py --work runs/trm --ship                  # copy what is finished to examples/checkpoints

Graph 1 was used for development and looked at freely (docs/explanation/trm.md); it is shipped as the study `trm`.
Registered graphs are shipped apart, as `trm_registered`. Runs are named as in `examples/study.py`: `natural-g1-r0`.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from grokscope import tasks
from grokscope.analyses.claims.shared_steps import arms_at_shared_steps
from grokscope.analyses.claims.specimens import last_before_ood
from grokscope.circuits.arguments import process_problems, refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems
from grokscope.tasks.runs.shipping import copy_run, seal_study

SHIPPED = Path(__file__).parent / "checkpoints"
EXPLORED, REGISTERED = 1, range(6, 14)
EXPLORED_STEPS = 30_000  # to see whether natural answers at last
REGISTERED_STEPS, TRANSFER_STEPS = 15_000, 3_000
N_CHECKPOINTS = 20
ARMS = {
    "natural": tasks.NATURAL,
    "both_hops": tasks.BOTH_HOPS,
    "second_hop": tasks.SECOND_HOP,
    "first_hop": tasks.FIRST_HOP,
    "both_half": tasks.BOTH_HALF,
}
TRAININGS = {  # of graph 1, by replicate
    0: tuple(ARMS),
    1: ("natural", "both_hops", "second_hop"),
    2: ("natural",),
}
GROKS = 13  # the replicate of natural that was chosen, of 14, because it answers OOD questions
DECIDING = {0: ("natural", "both_hops", "second_hop"), 1: ("natural", "both_hops")}  # of a registered graph, by replicate
ORIGINS = {  # where training on new facts starts: a run and a phase of it, or random weights
    "random": None,
    "early": ("natural-g1-r0", "id_generalised"),
    "old": ("natural-g1-r0", "final"),
    "grokked": (f"natural-g1-r{GROKS}", "final"),
    "taught": ("both_hops-g1-r0", "final"),
    "second_hop": ("second_hop-g1-r0", "final"),
}
PUBLISHED = ("random", "grokked")  # from which the published recipe starts, too


def job(arm: str, graph: int, replicate: int) -> tasks.Job:
    """One training from random weights."""
    task = tasks.TwoHopTask.random(seed=graph, layout="four_slots", supervision=ARMS[arm])
    steps = EXPLORED_STEPS if graph == EXPLORED and replicate != GROKS else REGISTERED_STEPS
    config = tasks.TrainConfig.small_trm(max_steps=steps, n_checkpoints=N_CHECKPOINTS, seed=graph + 100 * replicate)
    return tasks.Job(f"{arm}-g{graph}-r{replicate}", task, tasks.TRMConfig.small(), config)


def groups(graphs: list[int]) -> Iterator[list[tasks.Job]]:
    """All trainings on some graphs; those of a group are equally long, so that they can be trained together."""
    registered = [graph for graph in graphs if graph != EXPLORED]
    if registered:
        yield [job(arm, graph, r) for graph in registered for r, arms in DECIDING.items() for arm in arms]
    if EXPLORED in graphs:
        yield [job(arm, EXPLORED, r) for r, arms in TRAININGS.items() for arm in arms]
        yield [job("natural", EXPLORED, GROKS)]


def new_facts_jobs(work: Path) -> list[tasks.Job]:
    """Further trainings on new facts, exposure balanced, and by the published recipe, from graph 1's runs in a folder."""
    lacking = [origin[0] for origin in ORIGINS.values() if origin and not (work / origin[0] / "run.json").exists()]
    refuse([f"{work} lacks the run {name}; train graph {EXPLORED} first, without --new-facts" for name in lacking])
    before = tasks.TwoHopTask.random(seed=EXPLORED, layout="four_slots")
    kinds = {name: (name, tasks.NewFacts.random(before, seed=EXPLORED)) for name in ORIGINS}
    published = tasks.published_new_facts(before, seed=EXPLORED)
    kinds |= {f"{name}_items": (name, published) for name in PUBLISHED}
    config = tasks.TrainConfig.small_trm(max_steps=TRANSFER_STEPS, n_checkpoints=0, seed=EXPLORED)
    jobs = []
    for name, (origin, new) in kinds.items():
        where = ORIGINS[origin]
        start = tasks.Run.load(work / where[0]).checkpoint(where[1]) if where else None
        jobs.append(tasks.Job(f"{name}-g{EXPLORED}", new.task, tasks.TRMConfig.small(), config, start))
    again = replace(config, seed=EXPLORED + 100)  # the control that nothing transfers
    return [*jobs, replace(jobs[0], name=f"random-g{EXPLORED}-r1", train_config=again)]


def shipped_steps(run: tasks.Run, shared: set[int | None]) -> list[int]:
    """The steps whose weights are shipped: of phases, the last before OOD questions are answered, and shared ones."""
    found = {run.phases.get(phase) for phase in ("id_generalised", "ood_generalised", "final")} | {last_before_ood(run)}
    return sorted(step for step in found | shared if step is not None and step in run.steps)


def ship(work: Path) -> None:
    """Copy finished runs that are not there already, and seal the studies that they belong to."""
    runs = [tasks.Run.load(path.parent) for path in sorted(work.glob("*/run.json"))]
    finished = tasks.Study(work, {run.name: run for run in runs if run.is_finished})
    refuse([] if finished.runs else [f"{work} holds no finished run; train first, without --ship"])
    shared = [(arm, moment) for arm, moment in arms_at_shared_steps(finished).values() if callable(moment)]
    places = set()
    for run in finished.runs.values():
        place = SHIPPED / ("trm" if run.task.seed == EXPLORED else "trm_registered")
        own = {moment(run) for arm, moment in shared if run.name.startswith(arm)}
        if not (place / run.name).exists():
            copy_run(run, place / run.name, steps=shipped_steps(run, own))
            typer.echo(f"{run.name}: shipped")
        places.add(place)
    for folder in sorted(path.parent for path in (work / "transfer").glob("*/run.json")):
        place = SHIPPED / "trm" / "transfer" / folder.name
        if not place.exists():
            copy_run(tasks.Run.load(folder), place, steps=[])
            typer.echo(f"{folder.name}: metrics shipped")
    for place in places:
        seal_study(place)


def main(
    work: Annotated[Path, typer.Option(help="folder for the runs")] = Path("runs/trm"),
    graph: Annotated[list[int], typer.Option(help="1, or some of 6 to 13")] = [EXPLORED],  # noqa: B006
    n_jobs: Annotated[int, typer.Option(help="processes at a time, with one thread each")] = -1,
    device: Annotated[str, typer.Option(help="cpu, for a run on each core, or what trains all at once")] = "cpu",
    new_facts: Annotated[bool, typer.Option("--new-facts", help="train further on new facts instead")] = False,
    ship_only: Annotated[bool, typer.Option("--ship", help="copy finished runs instead of training")] = False,
) -> None:
    """Train or ship the study."""
    unknown = [f"graph {each}: there are {EXPLORED} and 6 to 13" for each in graph if each not in (EXPLORED, *REGISTERED)]
    refuse(folder_problems(work=work) + process_problems(n_jobs) + unknown)
    if ship_only:
        ship(work)
        return
    out = work / "transfer" if new_facts else work
    for jobs in [new_facts_jobs(work)] if new_facts else groups(graph):
        if device == "cpu":
            typer.echo(tasks.sweep(jobs, out, n_jobs=n_jobs).to_string())
        else:
            for run in tasks.train_together(jobs, out, device=device, n_jobs=n_jobs):
                typer.echo(f"{run.name}: finished")


if __name__ == "__main__":
    run_command(main, stopped="stopped; what was trained is kept, and the same command goes on")
