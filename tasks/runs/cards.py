"""What runs, checkpoints and studies say of themselves in one line and in a notebook: read off, nothing is measured."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ...circuits.card import Curve, card, curves, or_line, share, table
from ...circuits.plain_text import counted, named, one_line, shortened
from .folder import state_steps
from .past import Past
from .phases import PHASES
from .theme import GREYS, SPLIT_COLOUR

if TYPE_CHECKING:
    from .checkpoints import Checkpoint, Run
    from .study import Study

MOST_RUNS = 60  # of a study in a notebook
OTHER_COLOUR = GREYS["undecided"]


@one_line
def run_line(run: "Run") -> Iterator[str]:
    """Name, steps, how far it came, and of how many steps there are weights."""
    yield named(run.name)
    yield _steps(run)
    yield _how_far(run)
    yield f"branched off at step {run.past.first:,}" if run.past.branch else ""
    yield f"extended from {run.extended[-1].max_steps:,}" if run.extended else ""
    yield counted(len(run.steps), "checkpoint")


@one_line
def checkpoint_line(checkpoint: "Checkpoint") -> Iterator[str]:
    """Run and step, and the accuracy on the tests that phases are about."""
    yield repr(shortened(checkpoint.label, 50))
    tests = [split for split in (checkpoint.task.id_test, checkpoint.task.ood_test) if split]
    yield from (
        f"{shortened(split, 25)} {share(checkpoint.accuracy[split])}" for split in tests if split in checkpoint.accuracy
    )


@one_line
def study_line(study: "Study") -> Iterator[str]:
    """How many runs there are, of how many arms and graphs, and how many came how far."""
    yield named(study.folder.name)
    yield from _counts(study)


@or_line
def run_card(run: "Run") -> str:
    """Its phases with the accuracies there, and the accuracies by step."""
    told = (
        _steps(run),
        _how_far(run),
        counted(len(run.steps), "checkpoint"),
        run.task.regime,
        run.model_config.architecture,
        f"seed {run.train_config.seed}",
        shortened(str(run.past), 200) if run.past != Past() else "",
    )
    shown = _splits(run)
    at = run.metrics.set_index("step")
    rows = [
        (phase, f"{step:,}", *(share(at[split][step]) for split in shown), "yes" if step in run.steps else "no")
        for phase, step in run.phases.items()
    ]
    phases = table(("phase", "step", *shown.values(), "weights"), rows)
    lines = [
        Curve(label, _colour(split), dashes, run.metrics["step"].tolist(), run.metrics[split].tolist())
        for (split, label), dashes in zip(shown.items(), ("2 3", "7 3", "none"), strict=False)
    ]
    return card("Run", run.name, told, phases, curves(lines, _marks(run.phases), x_label="step"))


@or_line
def checkpoint_card(checkpoint: "Checkpoint") -> str:
    """Its accuracy by split."""
    told = (f"step {checkpoint.step:,}", checkpoint.model_config.architecture, checkpoint.task.regime)
    rows = [(split, share(accuracy)) for split, accuracy in checkpoint.accuracy.items()]
    return card("Checkpoint", checkpoint.label, told, table(("split", "exact match"), rows))


@or_line
def study_card(study: "Study") -> str:
    """A row for each run: regime, graph, training seed, when it reached its phases, and how it ends."""
    shown = list(study.runs.items())[:MOST_RUNS]
    reached = [phase for phase in PHASES[:-1] if any(phase in run.phases for _, run in shown)]
    columns = ("run", "regime", "graph", "seed", *(phase.replace("_", " ") for phase in reached), "steps", "final OOD")
    rows = [
        (
            *(name, run.task.regime, run.task.seed, run.train_config.seed),
            *(f"{run.phases[phase]:,}" if phase in run.phases else "–" for phase in (*reached, "final")),
            share(run.metrics[run.task.ood_test].iloc[-1]) if run.task.ood_test else "–",
        )
        for name, run in shown
    ]
    note = f"{len(rows)} of {len(study.runs):,} runs; all are in study.summary" if len(rows) < len(study.runs) else ""
    return card("Study", study.folder.name, _counts(study), table(columns, rows, words=2, note=note))


def _counts(study: "Study") -> Iterator[str]:
    runs = study.runs.values()
    yield counted(len(runs), "run")
    yield counted(len(study.arms), "arm")
    yield counted(len({run.task.seed for run in runs}), "graph")
    yield f"{sum('ood_generalised' in run.phases for run in runs)} ood_generalised"


def _steps(run: "Run") -> str:
    trained, planned = run.phases.get("final", 0), run.train_config.max_steps
    if run.is_finished:
        return f"{trained:,} steps"
    saved = max([trained, *state_steps(run.manifest)])  # a run that was stopped has a state after its last evaluation
    return f"at step {saved:,} of {planned:,}"


def _how_far(run: "Run") -> str:
    """`grokked`, or the last phase that was reached, and at which step."""
    reached = [phase for phase in PHASES[:-1] if phase in run.phases]
    if not reached:
        return "no phase reached"
    last = reached[-1]
    return f"{'grokked' if not run.why_not_grokked else last} at {run.phases[last]:,}"


def _splits(run: "Run") -> dict[str, str]:
    """The accuracies that phases are about, and what the card calls them."""
    task = run.task
    return {"train": "train", task.id_test: "ID test"} | ({task.ood_test: "OOD test"} if task.ood_test else {})


def _marks(phases: Mapping[str, int]) -> dict[str, int]:
    return {f"{phase} at {step:,}": step for phase, step in phases.items() if phase != "final"}


def _colour(split: str) -> str:
    return "currentColor" if split == "train" else SPLIT_COLOUR.get(split, OTHER_COLOUR)
