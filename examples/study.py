"""Train and ship the study that the claims stand on: arms × graphs, in tiers that can be shipped one by one.

    python examples/study.py --work runs/study            # everything, a run on each core; resumes if interrupted
    python examples/study.py --work runs/study --tier 1   # one tier; 4 to 6 are the graphs that were registered later
    python examples/study.py --work runs/late --tier 7    # natural and both hops of graphs 1 to 5 up to step 3,100
    python examples/study.py --work runs/study --ship     # copy what is finished to examples/checkpoints/study

Graphs 1 to 5 were the first study, graphs 6 to 13 are those of the second registration, see
docs/explanation/preregistration.md; graph 0 is the pilot's. Run `natural-g1-r0` is the natural arm on graph 1, its first
training.
Shipped are metrics, the tables of `step_tables` and the checkpoints that `Arm.weights` names, so that the whole fits in
80 MB. Further trainings on new facts ship their last checkpoint; those that differ in exposure ship metrics only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from joblib import delayed

from grokscope import tasks
from grokscope.analyses.claims.regimes import BEFORE
from grokscope.analyses.claims.same_path import LATE
from grokscope.analyses.claims.specimens import last_before_ood
from grokscope.analyses.study.step_tables import step_tables
from grokscope.circuits.arguments import process_problems, refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems
from grokscope.circuits.progress import with_bar
from grokscope.circuits.workers import in_workers
from grokscope.tasks.runs.shipping import copy_run, seal_study

SHIPPED = Path(__file__).parent / "checkpoints" / "study"
SHIPPED_REGISTERED = SHIPPED.parent / "registered"  # apart, since graphs 1 to 5 do not decide
MAX_STEPS = 15_000
TRANSFER_STEPS = 3_000
N_CHECKPOINTS = 20
TOGETHER = 300
LATER = ("ood_generalised", "final")


@dataclass(frozen=True)
class Arm:
    """What runs of one arm have in common.

    `weights` are the phases whose checkpoints are shipped; `BEFORE` stands for the last one before OOD answers, of an arm's
    first training on a graph.
    """

    supervision: tasks.Supervision = tasks.NATURAL
    model: tasks.ModelConfig = field(default_factory=tasks.ModelConfig.small)
    train: Any = tasks.TrainConfig.small
    task: dict[str, Any] = field(default_factory=dict)
    weights: tuple[str, ...] = tasks.PHASES


UNTIED = tasks.ModelConfig(d_model=128, n_heads=1, n_blocks=4, n_loops=1)
SLOTS: dict[str, Any] = {
    "model": tasks.ModelConfig.small_bidirectional(),
    "train": tasks.TrainConfig.small_bidirectional,
    "task": {"layout": "slots"},
}
ARMS = {
    "natural": Arm(weights=(*tasks.PHASES, BEFORE)),
    "both_hops": Arm(tasks.BOTH_HOPS),
    "second_hop": Arm(tasks.SECOND_HOP, weights=LATER),
    "first_hop": Arm(tasks.FIRST_HOP, weights=(*tasks.PHASES, BEFORE)),
    "both_half": Arm(tasks.BOTH_HALF, weights=LATER),
    "untied": Arm(model=UNTIED, weights=("id_generalised", "final")),
    "hop2_dose_4": Arm(tasks.Supervision(hop2_share=0.25, hop2_compositions=4), weights=LATER),
    "hop2_dose_9": Arm(tasks.Supervision(hop2_share=0.5, hop2_compositions=9), weights=LATER),
    "natural_slots": Arm(**SLOTS, weights=(BEFORE, "ood_generalised")),
    "second_hop_slots": Arm(tasks.SECOND_HOP, **SLOTS, weights=LATER),
    "natural_phi5": Arm(task={"phi": 5.0}, weights=("memorised", "id_generalised")),
}
GRAPHS = (1, 2, 3, 4, 5)
REGISTERED = (6, 7, 8, 9, 10, 11, 12, 13)
TWICE = ("natural", "both_hops")  # arms that are trained twice on a graph
TIERS: dict[int, list[tuple[str, int, int]]] = {  # arm, graph, replicate
    1: [
        (arm, graph, replicate)
        for graph in GRAPHS
        for replicate, arms in enumerate((("natural", "both_hops", "second_hop"), TWICE))
        for arm in arms
    ],
    2: [(arm, graph, 0) for graph in GRAPHS[:3] for arm in ("first_hop", "both_half", "untied")]
    + [(arm, graph, 0) for graph in GRAPHS[:2] for arm in ("hop2_dose_4", "hop2_dose_9")],
    3: [(arm, graph, 0) for graph in GRAPHS for arm in ("natural_slots", "second_hop_slots")]
    + [("natural_phi5", graph, 0) for graph in GRAPHS[:3]],
    4: [
        (arm, graph, replicate)
        for graph in REGISTERED
        for replicate, arms in enumerate((("natural", "both_hops", "second_hop", "untied"), TWICE))
        for arm in arms
    ],
    5: [],  # further training only
    6: [(arm, graph, 0) for graph in REGISTERED for arm in ("natural_slots", "second_hop_slots")],
    7: [(arm, graph, replicate) for graph in GRAPHS for replicate in (0, 1) for arm in TWICE],  # up to `LATE`
}
FURTHER = {2: GRAPHS[:3], 5: REGISTERED}  # tiers that train further, on these graphs
ORIGINS = {  # where further training starts: an arm and a phase of it, or random weights
    "random": None,
    "early": ("natural", "id_generalised"),
    "grokked": ("natural", "ood_generalised"),
    "taught": ("both_hops", "ood_generalised"),
    "grokked_late": ("natural", "final"),  # as old as taught_late
    "taught_late": ("both_hops", "final"),
    "second_hop": ("second_hop", "ood_generalised"),
}
DOSES = (5, 20)  # compositions of each new fact as second hop, from grokked weights: controls, in which it is learned
SMALL_DOSES = (1, 2)  # on a few graphs
READINGS = ("items", "facts")  # of the published recipe, from random and grokked weights; in the first study only


def job(name: str, graph: int, replicate: int, max_steps: int = MAX_STEPS) -> tasks.Job:
    """One training from random weights."""
    arm = ARMS[name]
    task = tasks.TwoHopTask.random(seed=graph, supervision=arm.supervision, **arm.task)
    config = arm.train(max_steps=max_steps, seed=graph + 100 * replicate, n_checkpoints=N_CHECKPOINTS)
    return tasks.Job(f"{name}-g{graph}-r{replicate}", task, arm.model, config)


def transfer_jobs(work: Path, graphs: Sequence[int]) -> list[tasks.Job]:
    """The further trainings on new facts whose origins are there, those that decide the claim first."""
    by_graph = [_further(work, graph) for graph in graphs]
    names = dict.fromkeys(name for jobs in by_graph for name in jobs)
    return [jobs[name] for name in names for jobs in by_graph if name in jobs]


def _further(work: Path, graph: int) -> dict[str, tasks.Job]:
    before, origins = tasks.TwoHopTask.random(seed=graph), _origins(work, graph)
    balanced = tasks.NewFacts.random(before, seed=graph)
    kinds = {name: (name, balanced) for name in ORIGINS}
    doses = DOSES + SMALL_DOSES if graph in GRAPHS[:3] + REGISTERED[:3] else DOSES
    kinds |= {f"grokked_m{m}": ("grokked", tasks.NewFacts.random(before, exposure=m, seed=graph)) for m in doses}
    for reading in READINGS if graph in GRAPHS else ():
        published = tasks.published_new_facts(before, reading=reading, seed=graph)
        kinds |= {f"{origin}_{reading}": (origin, published) for origin in ("random", "grokked")}
    config = tasks.TrainConfig.small(max_steps=TRANSFER_STEPS, seed=graph, n_checkpoints=N_CHECKPOINTS)
    jobs = {
        name: tasks.Job(f"{name}-g{graph}", new.task, tasks.ModelConfig.small(), config, origins[origin])
        for name, (origin, new) in kinds.items()
        if origin in origins
    }
    if graph in REGISTERED:  # another training from random weights, the control that nothing transfers
        again = replace(config, seed=graph + 100)
        jobs["random again"] = replace(jobs["random"], name=f"random-g{graph}-r1", train_config=again)
    return jobs


def _origins(work: Path, graph: int) -> dict[str, tasks.Checkpoint | None]:
    """The weights to start from; an arm that never reached the phase is no origin on this graph."""
    found: dict[str, tasks.Checkpoint | None] = {}
    for name, origin in ORIGINS.items():
        run = tasks.Run.load(work / f"{origin[0]}-g{graph}-r0") if origin else None
        if run is None or origin is None:
            found[name] = None
        elif origin[1] in run.phases:
            found[name] = run.checkpoint(origin[1])
    return found


def shipped_steps(run: tasks.Run) -> list[int]:
    """The steps whose weights are shipped.

    Where OOD answers come with the ID ones, within `TOGETHER` steps, one checkpoint stands for both phases.
    """
    weights = ARMS[run.name.rpartition("-g")[0]].weights
    steps = {phase: step for phase, step in run.phases.items() if phase in weights}
    if abs(steps.get("ood_generalised", math.inf) - steps.get("id_generalised", -math.inf)) <= TOGETHER:
        del steps["id_generalised"]
    is_first = run.train_config.seed == run.task.seed
    if BEFORE in weights and is_first and (before := last_before_ood(run)) is not None:
        steps[BEFORE] = before
    if run.task.seed in REGISTERED and LATE in run.steps and run.name.rpartition("-g")[0] in TWICE:
        steps[str(LATE)] = LATE
    return sorted(set(steps.values()))


def shipped_at(name: str) -> Path:
    """The folder of the study that a run's graph belongs to."""
    graph = int(name.rpartition("-g")[2].partition("-")[0])
    return SHIPPED_REGISTERED if graph in REGISTERED else SHIPPED


def ship(folder: Path, shipped: Path, *, further: bool) -> str:
    """Copy a finished run and measure it at all its steps, unless it is there already."""
    torch.set_num_threads(1)
    if (shipped / "run.json").exists():
        return f"{shipped.name}: there"
    run = tasks.Run.load(folder)
    if not run.is_finished:
        return f"{shipped.name}: not finished"
    if further and run.name.rpartition("-g")[0] not in ORIGINS:  # exposure differs, not the origin
        copy_run(run, shipped, steps=[])
        return f"{shipped.name}: metrics shipped"
    copy_run(run, shipped, steps=run.steps[-1:] if further else shipped_steps(run), tables=step_tables(run))
    return f"{shipped.name}: shipped"


def main(
    work: Annotated[Path, typer.Option(help="folder for the runs")] = Path("runs/study"),
    tier: Annotated[list[int], typer.Option(help="1 to 7; 1 to 6 if not given")] = list(TIERS)[:-1],
    n_jobs: Annotated[int, typer.Option(help="runs at a time, with one thread each")] = -1,
    ship_only: Annotated[bool, typer.Option("--ship", help="copy finished runs instead of training")] = False,
) -> None:
    """Train or ship the study."""
    refuse(folder_problems(work=work) + process_problems(n_jobs))
    if ship_only:
        folders = sorted(path.parent for path in work.glob("**/run.json"))
        places = {folder: shipped_at(folder.name) / folder.relative_to(work) for folder in folders}
        calls = [delayed(ship)(folder, place, further=folder.parent != work) for folder, place in places.items()]
        with in_workers(calls, n_jobs=n_jobs) as lines:
            for line in with_bar(lines, "shipping", total=len(calls)):
                typer.echo(line)
        for study in {place.parent for place in places.values()}:
            seal_study(study)
        return
    for each in tier:
        steps = LATE if each == 7 else MAX_STEPS
        jobs = [job(*which, steps) for which in TIERS[each]]
        outcomes = [tasks.sweep(jobs, work, n_jobs=n_jobs)] if jobs else []
        if each in FURTHER:
            outcomes.append(tasks.sweep(transfer_jobs(work, FURTHER[each]), work / "transfer", n_jobs=n_jobs))
        typer.echo(pd.concat(outcomes).to_string())


if __name__ == "__main__":
    run_command(main, stopped="stopped; what was trained is kept, and the same command goes on")
