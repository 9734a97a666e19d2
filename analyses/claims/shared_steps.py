"""The early and the late moment of claim (i) in token-mixing networks: steps that all compared trainings of a graph share.

There a phase comes up to three times later in one training than in another of the same arm, and natural groks late or
never, so that neither phases nor a fixed step give equal age. Early is the first step, of those at which all of a graph's
compared trainings save their weights, at which each has reached its early phase; late is the last one that is at least two
and a half times that. At neither may a natural training answer half of the OOD questions. Which steps these are follows from
settings and metrics, whatever weights a copy of the runs still has.
"""

from collections.abc import Callable
from functools import partial

from ...tasks import Run, Study
from .contrasts import ANSWERED
from .specimens import ArmsOfStudy

WAITS = 2.5  # times the early step, at least, is the late one
COMPARED = {"natural": "id_generalised", "both_hops": "ood_generalised"}
"""By arm, its early phase."""


def arms_at_shared_steps(study: Study) -> ArmsOfStudy:
    """Natural and both hops, early and late, where the weights are kept."""
    early, late = (_moment(study, which) for which in (early_step, late_step))
    return {
        "early": ("natural", early),
        "early taught": ("both_hops", early),
        "late": ("natural", late),
        "late taught": ("both_hops", late),
    }


def _moment(study: Study, which: Callable[[Study, int], int | None]) -> Callable[[Run], int | None]:
    """By graph, of whatever run of it is asked about."""
    steps = {int(graph): which(study, int(graph)) for graph in study.summary["seed"].unique()}

    def moment(run: Run) -> int | None:
        step = steps.get(run.task.seed)
        return step if step in run.steps else None

    return moment


def early_step(study: Study, graph: int) -> int | None:
    """The early step, on the half of the questions that chooses steps; None if there is none."""
    return min(_shared(_compared(study, graph)), default=None)


def late_step(study: Study, graph: int) -> int | None:
    """The late step, on that half; None if there is none."""
    shared = _shared(_compared(study, graph))
    return max((step for step in shared if step >= WAITS * min(shared)), default=None)


def _compared(study: Study, graph: int) -> list[tuple[str, Run]]:
    """The trainings of a graph that are compared, the first two of each arm, with their arms."""
    about = study.summary[study.summary["seed"] == graph].sort_values("replicate").groupby("arm").head(2)
    return [(arm, study.runs[name]) for arm, name in about[["arm", "run"]].itertuples(index=False) if arm in COMPARED]


def _shared(runs: list[tuple[str, Run]]) -> list[int]:
    """The steps at which all save weights, each after its early phase, and no natural one answers OOD questions."""
    reached = [run.phases.get(COMPARED[arm]) for arm, run in runs]
    begun = [step for step in reached if step is not None]
    if not begun or len(begun) < len(reached):
        return []
    saved = set.intersection(*(run.train_config.checkpoint_steps | set(run.phases.values()) for _, run in runs))
    return [step for step in saved if step >= max(begun) and not any(map(partial(_answers, step), runs))]


def _answers(step: int, training: tuple[str, Run]) -> bool:
    """Whether a natural training answers OOD questions at a step."""
    arm, run = training
    column = run.metrics.set_index("step")[f"select_{run.task.ood_test}"]
    return arm == "natural" and bool(column[step] >= ANSWERED)
