"""Train the pilot study: four regimes of one graph and a control without shared parameters, equal budgets.

    python examples/pilot.py --work runs/pilot                    # all five, one after the other; continues if interrupted
    python examples/pilot.py --work runs/pilot --arm natural      # one of them
    python examples/pilot.py --work runs/pilot --ship             # copy what is finished to examples/checkpoints/pilot

Shipped are metrics, the checkpoints at the phases and, of the natural run, some on the way; weights as 16-bit floats.
"""

from pathlib import Path
from typing import Annotated

import typer

from grokscope import tasks
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import folder_problems
from grokscope.tasks.runs.shipping import copy_run, seal_study

SHARED = tasks.ModelConfig.small()
UNTIED = tasks.ModelConfig(d_model=128, n_heads=1, n_blocks=4, n_loops=1)
ARMS = {
    "natural": (tasks.NATURAL, SHARED),
    "first_hop": (tasks.FIRST_HOP, SHARED),
    "second_hop": (tasks.SECOND_HOP, SHARED),
    "both_hops": (tasks.BOTH_HOPS, SHARED),
    "untied": (tasks.NATURAL, UNTIED),
}
MAX_STEPS = 15_000
ON_THE_WAY = (3000,)  # further steps of the natural run that are shipped, as near as there are weights


def train_arm(arm: str, work: Path) -> None:
    """Train one arm, or continue it."""
    supervision, model_config = ARMS[arm]
    task = tasks.TwoHopTask.random(seed=0, supervision=supervision)
    tasks.train(task, model_config, tasks.TrainConfig.small(max_steps=MAX_STEPS, seed=0), work / arm, resume=True)


def ship(arm: str, work: Path, shipped: Path) -> None:
    """Copy a finished run with few checkpoints."""
    run = tasks.Run.load(work / arm)
    steps = set(run.phases.values())
    if arm == "natural":
        steps |= {min(run.steps, key=lambda step: abs(step - wanted)) for wanted in ON_THE_WAY}
    copy_run(run, shipped / arm, steps=sorted(steps))


def main(
    work: Annotated[Path, typer.Option(help="folder for the runs")] = Path("runs/pilot"),
    arm: Annotated[str | None, typer.Option(help=f"one of {', '.join(ARMS)}; all if not given")] = None,
    ship_only: Annotated[bool, typer.Option("--ship", help="copy finished runs instead of training")] = False,
) -> None:
    """Train or ship the pilot."""
    refuse(folder_problems(work=work))
    for name in [arm] if arm else ARMS:
        if ship_only:
            ship(name, work, Path(__file__).parent / "checkpoints" / "pilot")
        else:
            train_arm(name, work)
    if ship_only:
        seal_study(Path(__file__).parent / "checkpoints" / "pilot")


if __name__ == "__main__":
    run_command(main, stopped="stopped; what was trained is kept, and the same command goes on")
