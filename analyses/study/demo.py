"""The main job: two regimes on one graph, one circuit each, side by side, in a report.

`python -m grokscope.analyses.demo` trains the natural regime until it generalises to unseen ID compositions and the
both-hops regime until it generalises to OOD ones, measures both on the same held-out ID pairs, and writes a report.
"""

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ...circuits import compare
from ...circuits.arguments import common_problems, refuse, seed_problems, whole_problems
from ...circuits.destination import folder_problems
from ...circuits.interrupts import interrupt, signal_of
from ...circuits.lock import only_writer
from ...circuits.plain_text import plain
from ...circuits.progress import in_words, say
from ...tasks import BOTH_HOPS, NATURAL, ModelConfig, PromptPairs, Run, TrainConfig, TwoHopTask, train
from ...tasks.questions.pairing import pairs_up_to
from ...tasks.transformerlens import Model
from ..bridge.evidence import bridge_evidence
from ..bridge.lens import logit_lens
from ..patching.discovery import discover
from ..patching.faithfulness import faithfulness
from ..training.trajectory import trajectory
from .demo_report import SPLIT, Demo, summary, write_report

ARMS = {"natural": (NATURAL, "id_generalised"), "both hops": (BOTH_HOPS, "ood_generalised")}
PHASES = {"id_generalised": "generalised to unseen ID questions", "ood_generalised": "generalised to OOD questions"}
QUICK, WHOLE = "under a minute on two cores", "about a minute and a half on two cores"


def run_demo(
    task: TwoHopTask,
    out: Path,
    *,
    model_config: ModelConfig,
    max_steps: int,
    n_pairs: int = 512,
    seed: int = 0,
    progress: bool = True,
) -> Demo:
    """Train both arms and measure them; finished runs in `out` are reused, interrupted ones resume.

    Args:
        task: graph and splits; its supervision is replaced by that of each arm.
        out: folder for the runs.
        model_config: the shape of both models.
        max_steps: of either arm.
        n_pairs: prompt pairs asked for; one of their halves chooses the circuits, the other judges them. Fewer are taken if
            the split does not have that many.
        seed: of training (the same initial weights in both arms), pairs and resampling.
        progress: say what is being done, and show bars.

    Raises:
        FolderInUseError: if another process writes into that folder.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; what is trained is saved.
    """
    problems = whole_problems(1, max_steps=max_steps) + folder_problems(out=out)
    refuse(problems + common_problems(n_pairs=n_pairs, seed=seed, progress=progress))
    try:
        with only_writer(out):
            return _run(task, out, model_config, max_steps, n_pairs, seed, progress)
    except KeyboardInterrupt as stopped:
        far = str(stopped).partition(";")[0]
        raise interrupt(f"{far}; trainings are kept in {out}, the same call goes on", signal_of(stopped)) from None


def _run(
    task: TwoHopTask, out: Path, model_config: ModelConfig, max_steps: int, n_pairs: int, seed: int, progress: bool
) -> Demo:
    n_items = len(task.graph) + len(task.trained)
    batch_size = min(TrainConfig.small().batch_size, max(32, n_items // 20))  # at least 20 steps an epoch
    runs, shown = {}, dict[str, Any](progress=progress)
    for arm, (supervision, stop) in ARMS.items():
        say(f"{arm}: training until it has {PHASES[stop]}, at most {max_steps:,} steps", show=progress)
        config = TrainConfig.small(stop_at=stop, max_steps=max_steps, batch_size=batch_size, seed=seed)
        folder = out / arm.replace(" ", "_")
        runs[arm] = train(task.with_supervision(supervision), model_config, config, folder, resume=True, progress=progress)
    checkpoints = {arm: run.checkpoint(_phase(run, ARMS[arm][1])) for arm, run in runs.items()}
    models = {arm: checkpoint.model() for arm, checkpoint in checkpoints.items()}
    chosen_on, judged_on = _pairs(task, n_pairs, seed, models).halves()
    say(f"circuits: measuring every edge on {len(chosen_on)} pairs", show=progress)
    circuits = {arm: discover(model, chosen_on, seed=seed, **shown) for arm, model in models.items()}
    say("bridge: where it is read and used", show=progress)
    lenses = {arm: logit_lens(model, task.split(SPLIT), seed=seed, **shown) for arm, model in models.items()}
    evidence = {arm: bridge_evidence(model, task, SPLIT, seed=seed, **shown) for arm, model in models.items()}
    say(f"circuits: judging them on {len(judged_on)} other pairs, and comparing them", show=progress)
    judged = {arm: faithfulness(model, circuits[arm], judged_on, seed=seed, **shown) for arm, model in models.items()}
    comparison = compare(circuits, seed=seed, **shown)
    say(f"natural: its circuit at {len(runs['natural'].steps)} steps of training", show=progress)
    growth = trajectory(runs["natural"], chosen_on, judged_on=judged_on, seed=seed, **shown)
    return Demo(
        runs=runs,
        checkpoints=checkpoints,
        lenses=lenses,
        evidence=evidence,
        circuits=circuits,
        judged=judged,
        comparison=comparison,
        growth=growth,
        chosen_on=chosen_on,
        judged_on=judged_on,
    )


def _phase(run: Run, wanted: str) -> str:
    """The phase the arm was trained for, or its end if that was not reached."""
    return wanted if wanted in run.phases else "final"


def _pairs(task: TwoHopTask, n: int, seed: int, models: Mapping[str, Model]) -> PromptPairs:
    """Bridge pairs that every arm answers correctly, of the split both arms have never seen."""
    return pairs_up_to(task, split=SPLIT, contrast="bridge", n=n, seed=seed).keep_correct(*models.values())


def main(
    data: Annotated[Path | None, typer.Option(help="A folder in the published format instead of a random graph.")] = None,
    out: Annotated[Path, typer.Option(help="Where runs and report go.")] = Path("demo"),
    quick: Annotated[bool, typer.Option(help="A smaller graph and two loops, for a look in two minutes.")] = False,
    seed: Annotated[int, typer.Option(help="Of graph, splits and training.")] = 0,
) -> None:
    """Train two regimes on one graph, compare their circuits, write a report.

    \b
    grokscope demo
    grokscope demo --quick
    grokscope demo --data examples/data
    """  # noqa: D301
    refuse(folder_problems(out=out) + seed_problems(seed))
    if data is not None:
        task = TwoHopTask.from_files(data)
    elif quick:
        task = TwoHopTask.random(n_entities=40, n_relations=20, out_degree=14, test_fraction=0.05, seed=seed)
    else:
        task = TwoHopTask.random(seed=seed)
    model_config = dataclasses.replace(ModelConfig.small(), n_loops=2) if quick else ModelConfig.small()
    start = time.perf_counter()
    say(f"two trainings on one graph, their circuits side by side, a report in {out}: {QUICK if quick else WHOLE}")
    demo = run_demo(task, out, model_config=model_config, max_steps=5000, seed=seed)
    path = write_report(demo, out / "report.html")
    for line in summary(demo):
        typer.echo(plain(line))
    say(f"done in {in_words(time.perf_counter() - start)}")
    typer.echo(f"report: {path}")
