"""All claims on a study, from the shipped checkpoints to one page: measure each graph and run, decide, report.

    python -m grokscope.analyses.study

What has been measured is kept in the output folder and used again as long as weights, questions and settings are the same;
an interrupted analysis goes on where it was. After a change of the code delete the folder `measured` there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from joblib import Parallel, delayed

from ...circuits import Result
from ...tasks import Run, Study, load_study
from ..bridge.verdicts import ANYWHERE, R1
from ..claims import dissociation, same_path
from ..claims.cost import cost_of_waiting
from ..claims.dissociation import DissociationMeasurement, measure_dissociation
from ..claims.path_measurement import PathMeasurement, measure_paths
from ..claims.regimes import RegimeResult, measure_run
from ..claims.specimens import Moment, study_arms
from ..claims.transfer import decide_transfer, transfer_table
from ..claims.transfer_evidence import TransferEvidenceResult, measure_transfer, opened
from ..training.exposure import ExposureResult, accuracy_by_exposure, exposures
from .cache import fingerprint, kept
from .report import Findings, verdicts, write_report

ID, OOD, USED = "test_inferred_iid", "test_inferred_ood", "test_inferred_ood_id"
TRAINED = "train_inferred"
N_PAIRS, N_QUESTIONS = 256, 512
COMPARISONS: Mapping[str, tuple[str, Mapping[str, tuple[str, Moment]], same_path.Compared]] = {
    "main": (ID, same_path.ARMS, same_path.PAIRS),
    "OOD questions": (OOD, same_path.ARMS, {"the paper's pair": ("grokked", "taught")}),
    "late": (ID, {name: (arm, "final") for name, (arm, _) in same_path.ARMS.items()}, {"late": ("grokked", "taught")}),
    "untied control": (ID, {**same_path.ARMS, "untied": ("untied", "final")}, {"untied": ("grokked", "untied")}),
    "phi 5": (
        TRAINED,  # what a model answers that has memorised and no more; the first arm's, which the last was trained on too
        {
            "memorised": ("natural_phi5", "memorised"),
            "early": ("natural_phi5", "id_generalised"),
            "grokked": ("natural", "ood_generalised"),
        },
        {"memorised": ("memorised", "grokked"), "early": ("early", "grokked")},
    ),
}
"""Claim (i) by name: on which questions, with which arms, what is compared. The first is the pre-registered one."""
PRESETS: Mapping[str, Mapping[str, tuple[str, Moment]]] = {
    "causal": dissociation.ARMS,
    "bidirectional": {name: (f"{arm}_slots", moment) for name, (arm, moment) in dissociation.ARMS.items()},
}
"""Claim (ii) by architecture: where its arms are. Being readable means different things in the two."""
LOOKED_AT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "causal": {"causal": R1},
    "bidirectional": {"bidirectional": ANYWHERE, "bidirectional, r1 alone": R1},
}
"""By architecture the rules by name: at which positions the bridge is looked for. The last one was written down first."""


def analyse(study: Study, transfers: Study | None, measured: Path, *, n_jobs: int = -1, seed: int = 0) -> Findings:
    """Measure, or read what was measured, and decide.

    Args:
        study: runs from random weights.
        transfers: further trainings on new facts.
        measured: folder for the measurements.
        n_jobs: so many graphs or runs at a time; −1 for all cores.
        seed: of pairs, questions, donors and resampling.

    Raises:
        ValueError: if the study lacks an arm that claim (i) or (ii) needs; before anything is measured.
    """
    for arms in (same_path.ARMS, dissociation.ARMS):
        study_arms(study, arms)  # which refuses what is missing
    jobs = _jobs(study, measured, seed)
    inside = [run.name for run in opened(transfers)] if transfers else []
    if transfers:
        jobs |= {("inside", name, 0): delayed(_inside)(transfers.folder, measured, seed, name) for name in inside}
    found: dict[tuple[str, str, int], Any] = dict(zip(jobs, Parallel(n_jobs=n_jobs)(jobs.values()), strict=True))
    paths, apart = _by_graph(found, "paths"), _by_graph(found, "apart")
    table = transfer_table(transfers) if transfers else None
    regimes = pd.concat([found["regime", name, 0].table for name in study.runs], ignore_index=True)
    return Findings(
        study=study,
        transfers=transfers,
        paths=paths,
        same_path={
            name: same_path.decide_same_path(each, *_rule(name), table if name == "main" else None)
            for name, each in paths.items()  # further trainings begin at the phases of the main arms
        },
        dissociation={
            rule: dissociation.decide_dissociation(each, roles)
            for name, each in apart.items()
            for rule, roles in LOOKED_AT[name].items()
        },
        regimes=RegimeResult(study.describe(regimes, ("arm", "seed", "replicate")), OOD, USED),
        transfer=None if table is None else decide_transfer(table),
        transferred=table,
        transfer_inside=_together_inside(transfers, [found["inside", name, 0].table for name in inside]),
        cost=cost_of_waiting(study),
        exposure=_exposure(study),
    )


def _jobs(study: Study, measured: Path, seed: int) -> dict[tuple[str, str, int], Any]:
    """What is to be measured: by kind, name and graph; arms that the study lacks are left out."""
    graphs, there = sorted(set(study.summary["seed"])), set(study.summary["arm"])
    compared = [name for name, (_, arms, _) in COMPARISONS.items() if {arm for arm, _ in arms.values()} <= there]
    presets = [name for name, arms in PRESETS.items() if {arm for arm, _ in arms.values()} <= there]
    about = (study.folder, measured, seed)
    jobs: dict[tuple[str, str, int], Any] = {
        ("paths", name, graph): delayed(_paths)(*about, name, graph) for name in compared for graph in graphs
    }
    jobs |= {("apart", name, graph): delayed(_apart)(*about, name, graph) for name in presets for graph in graphs}
    return jobs | {("regime", name, 0): delayed(_regime)(*about, name) for name in study.runs}


def _by_graph(found: Mapping[tuple[str, str, int], Any], kind: str) -> dict[str, dict[int, Any]]:
    """What was measured of one kind, by name and graph; names of which no graph has the arms are left out."""
    names: dict[str, dict[int, Any]] = {}
    for (of_kind, name, graph), measurement in found.items():
        if of_kind == kind and measurement is not None:
            names.setdefault(name, {})[graph] = measurement
    return names


def _rule(name: str) -> tuple[str, same_path.Compared]:
    """On which questions a comparison is, and of what."""
    split, _, compared = COMPARISONS[name]
    return split, compared


def _exposure(study: Study) -> dict[str, ExposureResult]:
    """By arm, of its first run at the end of training, where some of the OOD facts were composed and others were not."""
    found = {}
    for arm, name in study.summary.drop_duplicates("arm")[["arm", "run"]].itertuples(index=False):
        run = study.runs[name]
        questions = run.task.split(OOD)
        if len(np.unique(exposures(run.task, 2)[questions.hop2] > 0)) > 1:
            found[arm] = accuracy_by_exposure(run.checkpoint("final").model(), run.task, questions)
    return found


def _paths(folder: Path, measured: Path, seed: int, name: str, graph: int) -> PathMeasurement | None:
    split, wanted, compared = COMPARISONS[name]
    usable = same_path.comparable(study_arms(load_study(folder), wanted), compared)
    if graph not in usable:
        return None
    arms, n_pairs = usable[graph], same_path.pairs_for_all(usable, split, N_PAIRS)
    settings = (split, n_pairs, N_QUESTIONS, seed)
    path = measured / f"paths-{name.replace(' ', '_')}-g{graph}-{fingerprint(arms, *settings)}.json"
    return kept(path, PathMeasurement, lambda: measure_paths(arms, split, n_pairs, N_QUESTIONS, seed=seed))


def _apart(folder: Path, measured: Path, seed: int, name: str, graph: int) -> DissociationMeasurement | None:
    arms = study_arms(load_study(folder), PRESETS[name]).get(graph)
    if arms is None:
        return None
    path = measured / f"apart-{name}-g{graph}-{fingerprint(arms, N_QUESTIONS, seed)}.json"
    return kept(path, DissociationMeasurement, lambda: measure_dissociation(arms, N_QUESTIONS, seed=seed))


def _regime(folder: Path, measured: Path, seed: int, name: str) -> Result:
    run = Run.load(folder / name)
    path = measured / f"regime-{name}-{fingerprint(run, OOD, USED, N_QUESTIONS, seed)}.json"
    return kept(path, Result, lambda: Result(measure_run(run, OOD, USED, N_QUESTIONS, seed=seed)))


def _inside(folder: Path, measured: Path, seed: int, name: str) -> Result:
    run = Run.load(folder / name)
    path = measured / f"inside-{name}-{fingerprint(run, N_QUESTIONS, seed)}.json"
    return kept(path, Result, lambda: Result(measure_transfer(run, N_QUESTIONS, seed=seed)))


def _together_inside(transfers: Study | None, tables: Sequence[pd.DataFrame]) -> TransferEvidenceResult | None:
    if transfers is None or not tables:
        return None
    return TransferEvidenceResult(transfers.describe(pd.concat(tables, ignore_index=True), ("arm", "seed")))


def main(
    study: Annotated[str, typer.Option(help="name of a shipped study, or a folder of runs")] = "study",
    out: Annotated[Path, typer.Option(help="where the report and the measurements go")] = Path("report"),
    n_jobs: Annotated[int, typer.Option(help="graphs or runs at a time; −1 for all cores")] = -1,
) -> None:
    """Decide the four questions on a study and write a report."""
    runs = load_study(study)
    further = runs.folder / "transfer"
    transfers = load_study(further) if any(further.glob("*/run.json")) else None
    findings = analyse(runs, transfers, out / "measured", n_jobs=n_jobs)
    path = write_report(findings, out / "report.html")
    for line in verdicts(findings):
        typer.echo(line)
    typer.echo(f"report: {path}")
