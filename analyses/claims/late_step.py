"""The late moment of claim (i) in token-mixing networks, of which no fixed step can be named beforehand.

Grokking comes at another step on every graph, and the late moment has to lie before it: the last step whose weights all
compared trainings of a graph have saved, at which no natural one answers half of the OOD questions, and which is at least
two and a half times the early one.
"""

from collections.abc import Callable

from ...tasks import Run, Study
from .contrasts import ANSWERED
from .specimens import ArmsOfStudy

WAITS = 2.5  # times the early step, at least
COMPARED = {"natural": "id_generalised", "both_hops": "ood_generalised"}
"""By arm, its early moment."""


def late_arms(study: Study) -> ArmsOfStudy:
    """The late moments of natural and both hops, the same step on a graph."""
    moment = _late_moment(study)
    return {"late": ("natural", moment), "late taught": ("both_hops", moment)}


def _late_moment(study: Study) -> Callable[[Run], int | None]:
    """By graph, of whatever run of it is asked about."""
    steps = {int(graph): late_step(study, int(graph)) for graph in study.summary["seed"].unique()}
    return lambda run: steps.get(run.task.seed)


def late_step(study: Study, graph: int) -> int | None:
    """The step, on the half of the questions that chooses steps; None if there is none."""
    about = study.summary[study.summary["seed"] == graph]
    runs = [(arm, study.runs[name]) for arm, name in about[["arm", "run"]].itertuples(index=False) if arm in COMPARED]
    early = [run.phases.get(COMPARED[arm]) for arm, run in runs]
    reached = [step for step in early if step is not None]
    if not reached or len(reached) < len(early):
        return None
    saved = set.intersection(*(set(run.steps) for _, run in runs))
    return max((step for step in saved if step >= WAITS * max(reached) and not _answered(runs, step)), default=None)


def _answered(runs: list[tuple[str, Run]], step: int) -> bool:
    """Whether a natural training answers OOD questions at a step."""
    columns = [run.metrics.set_index("step")[f"select_{run.task.ood_test}"] for arm, run in runs if arm == "natural"]
    return any(bool(column[step] >= ANSWERED) for column in columns)
