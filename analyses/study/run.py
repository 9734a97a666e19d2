"""All claims on a study, from the shipped checkpoints to one page: measure each graph and run, decide, report.

    python -m grokscope.analyses.study            # a minute: with the measurements that come with the studies
    python -m grokscope.analyses.study --again    # measures all of it anew

Measurements are cached in the output folder and read again as long as weights, questions and settings are the same; an
interrupted analysis resumes from them. After a change of the code delete the folder `measured` there.
"""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from joblib import delayed, effective_n_jobs

from ...circuits.arguments import common_problems, process_problems, refuse
from ...circuits.destination import folder_problems
from ...circuits.interrupts import noticing_interrupts, stop_at_once
from ...circuits.lock import only_writer
from ...circuits.plain_text import plain
from ...circuits.progress import bar, in_words, say
from ...circuits.workers import in_workers
from ...circuits.writing import write_atomic
from ...tasks import Run, Study, load_study
from ...tasks.runs.study import SHIPPED, run_folders
from ..claims.claim import N_PAIRS, N_QUESTIONS, Inputs, Job
from ..claims.registry import CLAIMS
from ..claims.specimens import lacking_arms, open_arms
from .cache import cached, fingerprint
from .findings import Findings, verdicts
from .numbers import write_numbers
from .report import write_report
from .shipped import FOLDER, take_shipped
from .verdict_table import verdict_table

SECONDS = 13.0  # that one measurement of the shipped study takes on one core, on average over all of them


def analyse(
    study: Study,
    transfers: Study | None,
    measured: Path,
    *,
    n_pairs: int = N_PAIRS,
    n_questions: int = N_QUESTIONS,
    n_jobs: int = -1,
    progress: bool = True,
    seed: int = 0,
) -> Findings:
    """Measure, or read cached measurements, and decide every claim in `CLAIMS`.

    Args:
        study: runs from random weights.
        transfers: further trainings on new facts.
        measured: folder for the measurements.
        n_pairs: prompt pairs asked for on each graph.
        n_questions: for the evidence on the bridge.
        n_jobs: graphs or runs at a time; −1 for all cores.
        progress: show a bar, in terminals and notebooks, if it takes longer than two seconds.
        seed: of pairs, questions, donors and resampling.

    Raises:
        ValueError: if the study lacks an arm that a claim needs, or two jobs have one name; before anything is measured.
        FolderInUseError: if another process measures into that folder.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; it says how many are measured, which the same call reads.
        FileError: if a cached measurement is damaged; the message names it.
    """
    common = common_problems(n_pairs=n_pairs, n_questions=n_questions, progress=progress, seed=seed)
    refuse(common + process_problems(n_jobs) + folder_problems(measured=measured))
    inputs = Inputs(study, transfers, n_pairs, n_questions, seed)
    refuse([problem for claim in CLAIMS.values() for problem in lacking_arms(study, claim.arms)])
    groups = {name: claim.jobs(inputs) for name, claim in CLAIMS.items()}
    jobs = {
        (name, group, key): job
        for name, of_claim in groups.items()
        for group, of_group in of_claim.items()
        for key, job in of_group.items()
    }
    names = Counter(job.name for job in jobs.values())
    if twice := sorted(name for name, n in names.items() if n > 1):
        raise ValueError(f"jobs of different claims need different names, these occur twice: {', '.join(twice)}")
    results = _measured(jobs, measured, n_jobs, progress)
    found = {}
    for name, claim in CLAIMS.items():
        of_claim = {group: {key: results[name, group, key] for key in keys} for group, keys in groups[name].items()}
        found[name] = claim.decide(inputs, of_claim)
    return Findings(study, transfers, found)


def _measured(jobs: Mapping[Any, Job], folder: Path, n_jobs: int, progress: bool) -> dict[Any, Any]:
    """What jobs ask for, those first that have been measured before, so that the estimate is of the others."""
    known = {path.stem.rpartition("-")[0] for path in folder.glob("*.json")}
    there = {key for key, job in jobs.items() if job.name in known}
    in_order = sorted(jobs, key=lambda key: key not in there)
    n_workers = min(effective_n_jobs(n_jobs), max(1, len(jobs) - len(there)))
    left = len(jobs) - len(there)
    about = f"about {in_words(left * SECONDS / n_workers)} for the others" if left else "nothing is measured again"
    say(f"{len(jobs)} measurements, {len(there)} of them in {folder} before; {about}", show=progress)
    results: dict[Any, Any] = {}
    calls = (delayed(_measure)(key, jobs[key], folder) for key in in_order)
    with (
        only_writer(folder),
        noticing_interrupts(then=stop_at_once) as stop,
        bar(len(jobs), "measuring", show=progress) as shown,
    ):
        try:
            with in_workers(calls, n_jobs=n_jobs) as found:
                for key, value, was_there in found:
                    results[key] = value
                    (shown.skip if was_there else shown.update)()
        except KeyboardInterrupt:
            kept = f"{len(results)} of {len(jobs)} measured, kept in {folder}"
            raise stop.interrupted(f"stopped: {kept}; the same call goes on") from None
    return results


def _measure(key: Any, job: Job, folder: Path) -> tuple[Any, Any, bool]:
    """What a job asks for and whether it was in the cache; only the models of its own graph are opened."""
    subject = job.subject if isinstance(job.subject, Run) else open_arms(job.subject)
    path = folder / f"{job.name}-{fingerprint(subject, *job.settings)}.json"
    was_there = path.is_file()
    return key, cached(path, job.kind, lambda: job.measure(subject, *job.settings)), was_there


ON_THE_PAGE = ("registered", "trm_registered", "study")
"""Studies of the page, as far as they are shipped; those whose graphs decide come first. One graph decides nothing."""


def main(
    study: Annotated[
        list[str], typer.Option(help="name of a shipped study, or a folder of runs; several may be given; by default all")
    ] = [],  # noqa: B006
    out: Annotated[Path, typer.Option(help="where the report and the measurements go")] = Path("report"),
    n_jobs: Annotated[int, typer.Option(help="graphs or runs at a time; -1 for all cores")] = -1,
    again: Annotated[bool, typer.Option("--again", help="measure all anew, without what comes with the studies")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the table of verdicts as JSON")] = False,
) -> None:
    """Decide the four questions on studies and write one report.

    \b
    grokscope study
    grokscope study --study trm_registered --json
    grokscope study --study runs/mine --out report
    """  # noqa: D301
    refuse(folder_problems(out=out) + process_problems(n_jobs))
    start, names = time.perf_counter(), study or [each for each in ON_THE_PAGE if run_folders(SHIPPED / each)]
    studies = [load_study(name) for name in names]
    twice = sorted(name for name, n in Counter(each.folder.name for each in studies).items() if n > 1)
    refuse([f"studies need different names, there are two folders called {', '.join(twice)}"] if twice else [])
    found = [_findings(each, out, n_jobs, again=again) for each in studies]
    for findings in found:
        write_numbers(findings, out / "numbers" / f"{findings.name}.csv")
        if not as_json:
            typer.echo(plain("\n".join([f"{findings.name}, graphs {findings.standing}", *verdicts(findings)])))
    table = verdict_table(found)
    write_atomic(out / "verdicts.csv", table.to_csv(index=False, float_format="%.6g"))
    path = write_report(found, out / "report.html")
    say(f"done in {in_words(time.perf_counter() - start)}")
    typer.echo(table.to_json(orient="records") if as_json else f"report: {path}")


def _findings(runs: Study, out: Path, n_jobs: int, *, again: bool) -> Findings:
    """All claims on one study."""
    if not again:
        take_shipped(runs, out / FOLDER)
    say(f"deciding {len(CLAIMS)} questions on {runs.folder.name}")
    further = runs.folder / "transfer"
    transfers = load_study(further) if any(further.glob("*/run.json")) else None
    return analyse(runs, transfers, out / FOLDER, n_jobs=n_jobs)
