"""Which checkpoints of a study a claim is about: specimens by graph and arm, with a check that they can be compared."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...circuits.conditions import AGAIN  # the replicate of an arm: another training on the same graph
from ...circuits.plain_text import named, one_line
from ...tasks import Checkpoint, Run, Study, Task, TRMConfig, two_hop
from ...tasks.models.building import AnyConfig
from ...tasks.models.trm import TRM
from ...tasks.questions.given import kind_of
from ...tasks.transformerlens import Model

Moment = str | Callable[[Run], int | None]
"""A phase of a run, or a function that gives the step; None if the run has no such moment."""
ArmsOfStudy = Mapping[str, tuple[str, Moment]]
"""For each name that a claim uses, the study's arm and the moment of it."""


@dataclass(frozen=True, eq=False)
class Specimen:
    """One model of an arm.

    Attributes:
        model: which is never changed.
        task: what it was trained on.
        accuracy: exact match by split; empty if not known.
        step: of its training; None if not known.
        shape: of the model, by which one with random weights is built for comparison; None if not known.
    """

    model: Model
    task: Task
    accuracy: Mapping[str, float]
    step: int | None = None
    shape: AnyConfig | None = None

    @one_line
    def __repr__(self) -> Iterator[str]:
        yield named(getattr(self.model.cfg, "model_name", type(self.model).__name__))
        yield f"step {self.step:,}" if self.step is not None else ""
        tests = (self.task.id_test, self.task.ood_test)
        yield from (f"{split} {self.accuracy[split]:.2f}" for split in tests if split and split in self.accuracy)


Arms = Mapping[str, Specimen]
"""The specimens of one graph; the replicate of `grokked` is `grokked again`."""


def graphs_problems(graphs: Any) -> list[str]:
    """Why these are no specimens by graph."""
    needed = "needed are specimens by graph, as study_arms(study, arms) gives them, with arms such as claims.same_path.ARMS"
    if not isinstance(graphs, Mapping):
        return [f"graphs is {kind_of(graphs)}, {needed}"]
    there = [each for arms in graphs.values() for each in (arms.values() if isinstance(arms, Mapping) else [arms])]
    wrong = dict.fromkeys(kind_of(each) for each in there if not isinstance(each, Specimen))
    return [f"graphs is {kind_of(graphs)} with {', '.join(wrong)}, {needed}"] if wrong else []


def study_arms(study: Study, arms: ArmsOfStudy) -> dict[int, Arms]:
    """The specimens that a study has for some arms, by graph.

    Args:
        study: with runs named as `examples/study.py` names them.
        arms: for each name the study's arm and the moment of it. The second training of an arm on a graph becomes its
            replicate. A run without that moment is left out.

    Raises:
        ValueError: if an arm has no run at all, or runs of one seed have other graphs or tests; all problems at once.
    """
    return {graph: open_arms(checkpoints) for graph, checkpoints in arm_checkpoints(study, arms).items()}


def arm_checkpoints(study: Study, arms: ArmsOfStudy) -> dict[int, dict[str, Checkpoint]]:
    """What `study_arms` would open, without opening it; arguments and errors as there."""
    summary, problems = study.summary, lacking_arms(study, arms)
    chosen = {int(str(seed)): _chosen(study, rows, arms) for seed, rows in summary.groupby("seed")}
    for seed, runs in chosen.items():
        tasks = [two_hop(run.task) for run, _ in runs.values()]
        worlds = {(tuple(task.graph.triples), task.tests["test_inferred_ood"].tobytes()) for task in tasks}
        if len(worlds) > 1:
            problems.append(f"runs of seed {seed} differ in graph or tests: {', '.join(r.name for r, _ in runs.values())}")
    if problems:
        raise ValueError("; ".join(problems))
    return {
        seed: {name: run.checkpoint(step) for name, (run, step) in runs.items()} for seed, runs in chosen.items() if runs
    }


def lacking_arms(study: Study, arms: ArmsOfStudy) -> list[str]:
    """Which arms a study has no run of."""
    there = dict.fromkeys(study.summary["arm"])
    lacking = {name: arm for name, (arm, _) in arms.items() if arm not in there}
    return [f"{name} needs runs of {arm}; arms of {study.folder} are {', '.join(there)}" for name, arm in lacking.items()]


def open_arms(checkpoints: Mapping[str, Checkpoint]) -> Arms:
    """The specimens of one graph, with their models."""
    return {
        name: Specimen(each.model(), each.task, each.accuracy, each.step, each.model_config)
        for name, each in checkpoints.items()
    }


def has_arms(study: Study, arms: ArmsOfStudy) -> bool:
    """Whether a study has at least one run of each arm."""
    return {arm for arm, _ in arms.values()} <= set(study.summary["arm"])


def mixing_shape(arms: Arms) -> TRMConfig | None:
    """The shape of the arms' token-mixing networks; None if they have attention."""
    return next((each.model.cfg.shape for each in arms.values() if isinstance(each.model, TRM)), None)


def mixes_tokens(study: Study) -> bool:
    """Whether all models of a study are token-mixing networks."""
    return all(isinstance(run.model_config, TRMConfig) for run in study.runs.values())


def last_before_ood(run: Run) -> int | None:
    """The last saved step at which OOD facts are known (.9) and OOD+OOD questions not answered (below .1).

    On the half of the questions that chooses steps, like phases.
    """
    metrics = run.metrics[run.metrics["step"].isin(run.steps)]
    steps = metrics.loc[(metrics["select_test_inferred_ood"] < 0.1) & (metrics["select_ood_atomic"] >= 0.9), "step"]
    return None if steps.empty else int(steps.iloc[-1])


def if_saved(moment: str | int) -> Callable[[Run], int | None]:
    """A step, or that of a phase, if its weights were saved."""

    def saved(run: Run) -> int | None:
        step = run.phases.get(moment) if isinstance(moment, str) else moment
        return step if step in run.steps else None

    return saved


def _chosen(study: Study, rows: pd.DataFrame, arms: ArmsOfStudy) -> dict[str, tuple[Run, int]]:
    found: dict[str, tuple[Run, int]] = {}
    for name, (arm, moment) in arms.items():
        for _, row in rows[rows["arm"] == arm].sort_values("replicate").head(2).iterrows():
            run = study.runs[str(row["run"])]
            step = run.phases.get(moment) if isinstance(moment, str) else moment(run)
            if step is not None:
                found[name + (AGAIN if row["replicate"] else "")] = (run, step)
    return found
