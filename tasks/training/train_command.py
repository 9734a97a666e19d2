"""`grokscope train`: one run on two-hop questions, from a shell."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ...circuits.arguments import choice_problems, refuse, seed_problems, whole_problems
from ...circuits.destination import folder_problems
from ..models.config import ModelConfig
from ..questions.supervision import PRESETS
from ..questions.twohop import TwoHopTask
from ..runs.folder import SETTINGS
from ..runs.phases import PHASES
from ..runs.training_config import TrainConfig
from .train import train

SIZES = ("small", "tiny")


def main(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the run.")],
    supervision: Annotated[str, typer.Option(help=f"What is taught beside compositions: {', '.join(PRESETS)}.")] = "natural",
    data: Annotated[Path | None, typer.Option(help="A folder in the published format instead of a random graph.")] = None,
    size: Annotated[str, typer.Option(help="small: 2 shared blocks, minutes; tiny: to see whether it works.")] = "small",
    max_steps: Annotated[int, typer.Option(help="Steps of the optimiser, at most.")] = 5000,
    stop_at: Annotated[str | None, typer.Option(help=f"Stop when this is reached: {', '.join(PHASES)}.")] = None,
    seed: Annotated[int, typer.Option(help="Of graph, splits, weights and batches.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was stopped, or train it longer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print phases and accuracies as JSON.")] = False,
) -> None:
    """Train one model on two-hop questions, and save checkpoints as it goes.

    Natural training groks late, long after the steps that are the default here; models that are also taught compositions of
    all facts get there early.

    \b
    grokscope train -o runs/natural
    grokscope train -o runs/taught --supervision both_hops --stop-at ood_generalised
    grokscope train -o runs/natural --max-steps 10000 --resume
    """
    problems = folder_problems(out=out) + seed_problems(seed) + whole_problems(1, max_steps=max_steps)
    problems += choice_problems(size=(size, SIZES), supervision=(supervision, PRESETS))
    if (out / SETTINGS).is_file() and not resume:
        problems.append(f"{out} holds a run already: say --resume to go on with it, or choose another folder")
    refuse(problems + ([] if stop_at is None else choice_problems(stop_at=(stop_at, PHASES))))
    task = TwoHopTask.random(seed=seed) if data is None else TwoHopTask.from_files(data)
    config = getattr(TrainConfig, size)(max_steps=max_steps, stop_at=stop_at, seed=seed)
    run = train(task.with_supervision(PRESETS[supervision]), getattr(ModelConfig, size)(), config, out, resume=resume)
    last = run.metrics.iloc[-1]
    accuracy = {name: float(last[name]) for name in ("train", *task.splits) if name in last}
    if as_json:
        return typer.echo(json.dumps({"run": str(out), "phases": run.phases, "steps": run.steps, "accuracy": accuracy}))
    phases = ", ".join(f"{name} at {step:,}" for name, step in run.phases.items())
    shares = ", ".join(f"{name} {share:.2f}" for name, share in accuracy.items())
    typer.echo(f"{run!r}\nsteps: {phases}\nexact match at the end: {shares}\nrun: {out}")
