"""Train, ship and measure more composition tasks: the runs and numbers of docs/explanation/compositions.md.

    python examples/compositions.py --work runs/compositions              # trains all of them on two graphs; resumes
    python examples/compositions.py --work runs/compositions --only three_hops --graph 1
    python examples/compositions.py --work runs/compositions --ship       # copies what is finished to examples/checkpoints

What is shipped is measured by `python examples/composition_numbers.py`. All of it is exploratory: nothing was registered.
Runs are named as in `examples/study.py`: `three_hops-g1-r0`, where the graph is the seed of the task.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from grokscope import tasks
from grokscope.circuits.arguments import process_problems, refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems
from grokscope.tasks.runs.shipping import copy_run, seal_study

SHIPPED = Path(__file__).parent / "checkpoints" / "compositions"
GRAPHS = (1, 2)
N_CHECKPOINTS = 8
WITHOUT_WEIGHTS = ("identity-g1-r0", "identity-g2-r0", "comparison_separate-g2-r0", "reasoning-g2-r0")
WITHOUT_WEIGHTS += ("token_channel-g2-r0", "three_hops_natural-g2-r0")
"""Runs of which metrics alone are shipped: nothing but accuracy rests on them, or the other graph's stand for both."""


class Arm(NamedTuple):
    """One kind of training: a task by its seed, the model's shape, and how long it is trained."""

    task: Callable[[int], Any]
    model: tasks.ModelConfig
    max_steps: int
    evaluate_every: int = 250


def three_hops(**settings: Any) -> Callable[[int], Any]:
    """Tasks of three hops."""
    return lambda seed: tasks.KHopTask.random(n_hops=3, seed=seed, **settings)


SMALL, SIX_LOOPS = tasks.ModelConfig.small(), tasks.ModelConfig.small(n_loops=6)
SEPARATE = tasks.ModelConfig.small(n_blocks=4, n_loops=1)
ARMS = {
    # facts in two hops, the OOD ones too, and three hops of ID facts
    "three_hops": Arm(three_hops(supervision=tasks.BOTH_HOPS), SIX_LOOPS, 3_500),
    # no composition of an OOD fact is trained
    "three_hops_natural": Arm(three_hops(phi={2: None, 3: 5.0}), SIX_LOOPS, 16_000, 500),
    # three hops are never trained
    "two_hops_only": Arm(
        three_hops(phi={2: None}, supervision=tasks.BOTH_HOPS), tasks.ModelConfig.small(positions="rotary"), 3_000
    ),
    "comparison": Arm(lambda seed: tasks.ComparisonTask.random(seed=seed), SMALL, 8_000),
    "comparison_separate": Arm(lambda seed: tasks.ComparisonTask.random(seed=seed), SEPARATE, 8_000),
    "reasoning": Arm(lambda seed: tasks.ComparisonTask.reasoning(seed=seed), SMALL, 8_000),
    # two hops in the natural regime, as in the study: with zero-hop questions, and with a channel for the token
    "identity": Arm(lambda seed: tasks.TwoHopTask.random(seed=seed, supervision=tasks.IDENTITY), SMALL, 10_000, 500),
    "token_channel": Arm(
        lambda seed: tasks.TwoHopTask.random(seed=seed), tasks.ModelConfig.small(carries="state and token"), 8_000, 500
    ),
}


def job(name: str, graph: int) -> tasks.Job:
    """One training from random weights."""
    arm = ARMS[name]
    steps: dict[str, Any] = {"max_steps": arm.max_steps, "evaluate_every": arm.evaluate_every}
    config = tasks.TrainConfig.small(**steps, n_checkpoints=N_CHECKPOINTS, seed=graph)
    return tasks.Job(f"{name}-g{graph}-r0", arm.task(graph), arm.model, config)


def shipped_steps(run: tasks.Run) -> list[int]:
    """The steps whose weights are shipped: the last, of some runs none, so that all of them together stay small."""
    return [] if run.name in WITHOUT_WEIGHTS else [run.phases["final"]]


def ship(work: Path) -> None:
    """Copy finished runs that are not there already, and seal the study."""
    runs = [tasks.Run.load(path.parent) for path in sorted(work.glob("*/run.json"))]
    finished = [run for run in runs if run.is_finished]
    refuse([] if finished else [f"{work} holds no finished run; train first, without --ship"])
    for run in finished:
        if not (SHIPPED / run.name).exists():
            copy_run(run, SHIPPED / run.name, steps=shipped_steps(run))
            typer.echo(f"{run.name}: shipped")
    seal_study(SHIPPED)


def main(
    work: Annotated[Path, typer.Option(help="folder for the runs")] = Path("runs/compositions"),
    only: Annotated[list[str], typer.Option(help="these arms alone")] = list(ARMS),  # noqa: B006
    graph: Annotated[list[int], typer.Option(help="seeds of the tasks")] = list(GRAPHS),  # noqa: B006
    n_jobs: Annotated[int, typer.Option(help="processes at a time, with one thread each")] = -1,
    ship_only: Annotated[bool, typer.Option("--ship", help="copy finished runs instead of training")] = False,
) -> None:
    """Train or ship the study."""
    unknown = [f"only names {name!r}; there are {', '.join(ARMS)}" for name in only if name not in ARMS]
    refuse(folder_problems(work=work) + process_problems(n_jobs) + unknown)
    if ship_only:
        ship(work)
        return
    typer.echo(tasks.sweep([job(name, each) for name in only for each in graph], work, n_jobs=n_jobs).to_string())


if __name__ == "__main__":
    run_command(main, stopped="stopped; what was trained is kept, and the same command goes on")
