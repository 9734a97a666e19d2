r"""Measure more compositions: the numbers and pictures of docs/explanation/compositions.md.

    python examples/composition_numbers.py --study runs/compositions --numbers docs/numbers/compositions.csv \
        --pictures docs/pictures
    python examples/composition_numbers.py                           # of the runs that are shipped with their weights

Five minutes. Pictures need chromium and playwright. `python examples/compositions.py` trains what is not shipped.

Nothing here was registered: what it finds is exploratory.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import pandas as pd
import typer

from grokscope import analyses, circuits, tasks
from grokscope.analyses.bridge.realignment import FORMS
from grokscope.analyses.page import Report
from grokscope.analyses.statistics import wilson_row
from grokscope.analyses.training.growth import onset
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import file_problems
from grokscope.circuits.progress import with_bar
from grokscope.circuits.writing import write_atomic
from grokscope.tasks.questions.task import splits_for

NAN = float("nan")
MEASURES = ("lens", "probe", "ablation", "interchange", "direction")
STANDING = {  # by arm: which questions are asked about which intermediates, and the status of the facts that read them
    "three_hops": (("test_3hop_iii", "ID"), ("test_3hop_ooo", "OOD")),
    "three_hops_natural": (("test_3hop_iii", "ID"),),
    "comparison": (("test_compared_iid", "ID"), ("test_compared_ood", "OOD")),
    "comparison_separate": (("test_compared_iid", "ID"), ("test_compared_ood", "OOD")),
    "reasoning": (("test_compared_ood", "OOD"),),
    "token_channel": (("test_inferred_iid", "ID"), ("test_inferred_ood", "OOD")),
}
LOOPS = (2, 3, 4, 5, 6, 8)
LOOP_SPLITS = ("test_inferred_iid", "test_inferred_ood", "test_3hop_iii", "test_3hop_ooo")
ROLES = {  # a circuit of three hops, by its contrast, and the roles of it that those of two hops are
    "beginning": ("b1", {"h": "h", "r1": "r1", "r2": "r2"}),
    "end": ("b2", {"r1": "r2", "r2": "r3"}),
}
N_PAIRS, N_QUESTIONS, N_EDITS = 128, 256, 16
EDITED = ("three_hops", "comparison", "comparison_separate", "token_channel")
EDITED_OF_STUDY = ("natural-g1-r0", "natural-g2-r0", "untied-g1-r0", "untied-g2-r0")
LEVEL = 0.9
BEFORE = 1_800  # a step at which plain models know the OOD facts and do not compose them


class Number(NamedTuple):
    """One number: an estimate with its 95 % interval, what it rests on, and where in the model, if it is of a place."""

    name: str
    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    of: str = "questions"
    where: str = ""


def accuracies(run: tasks.Run, model: Any) -> Iterator[Number]:
    """At the end, on the half that is reported, with shortcuts beside; and when accuracies stay at a level."""
    last = run.metrics.iloc[-1]
    for split in splits_for(run.task, "test"):
        asked = run.task.split(split).halves()[1]
        if len(asked):
            share = wilson_row(tasks.exact_match(model, asked), asked.unit)
            yield Number(f"{run.name}/{split}", share.value, share.low, share.high, share.n)
            yield Number(f"{run.name}/{split}.floor", last[f"floor_{split}"], n=share.n)
            yield Number(f"{run.name}/{split}.steps", onset(run, split, LEVEL) or NAN, n=share.n)
    yield Number(f"{run.name}/steps", int(last["step"]))
    yield Number(f"{run.name}/seconds", float(last["seconds"]))


def unsolved(run: tasks.Run, model: Any) -> Iterator[Number]:
    """Accuracy on the comparisons that no shortcut answers, what one label always gives there, and what one value gives.

    Shortcuts see tokens. A model that finds one of the two values and guesses the rest is no shortcut of tokens, and the
    alternative to finding both.
    """
    train = run.task.split("train_compared")
    for split in splits_for(run.task, "test"):
        queries = run.task.split(split)
        if not len(queries) or queries.roles != train.roles:
            continue
        yield Number(f"{run.name}/{split}.one_value", max(_by_value(train, queries, name) for name in queries.intermediates))
        hard = queries.take(tasks.unsolved_by_shortcuts(run.task, queries))
        if len(hard):
            share = wilson_row(tasks.exact_match(model, hard), hard.unit)
            yield Number(f"{run.name}/{split}.unsolved", share.value, share.low, share.high, share.n)
            yield Number(
                f"{run.name}/{split}.unsolved.commonest", float(hard.answers.bincount().max() / len(hard)), n=len(hard)
            )


def _by_value(train: tasks.Queries, queries: tasks.Queries, name: str) -> float:
    """Accuracy of the commonest trained answer of a value."""
    commonest = (
        pd.Series(train.answers.numpy()).groupby(train.intermediates[name].numpy()).agg(lambda rows: rows.mode().iloc[0])
    )
    return float((commonest.reindex(queries.intermediates[name].numpy()).to_numpy() == queries.answers.numpy()).mean())


def standing(run: tasks.Run, model: Any, split: str, second_hop: Any) -> Iterator[tuple[str, analyses.EvidenceResult]]:
    """The evidence on each intermediate of one kind of questions."""
    for name in run.task.split(split).intermediates:
        about: dict[str, Any] = {"second_hop": second_hop, "intermediate": name, "n": N_QUESTIONS, "progress": False}
        yield name, analyses.bridge_evidence(model, run.task, split, **about)


def standing_numbers(label: str, evidence: analyses.EvidenceResult) -> Iterator[Number]:
    """What reads and what uses an intermediate, each at its best place, which was chosen on other facts."""
    row = analyses.bridge_standing([evidence]).iloc[0]
    yield Number(f"{label}.standing", NAN, where=row["by_lens"])
    yield Number(f"{label}.used_at", NAN, where=", ".join(evidence.used_at))
    for name in MEASURES:
        bounds = row[f"{name}_low"], row[f"{name}_high"]
        n = 0 if pd.isna(row[f"{name}_n"]) else int(row[f"{name}_n"])
        yield Number(f"{label}.{name}", row[name], *bounds, n=n, where=row[f"{name}_cells"])
        yield Number(f"{label}.{name}.control", row[f"{name}_control"], n=n)


def found(model: Any, task: Any, split: str, contrast: str) -> circuits.Circuit:
    """The circuit of questions that are answered right."""
    pairs = tasks.make_pairs(task, split=split, contrast=contrast, n=N_PAIRS, seed=0).keep_correct(model)
    return analyses.discover(model, pairs, progress=False)


def reappears(run: tasks.Run, model: Any) -> Iterator[tuple[str, circuits.CounterpartComparison, circuits.Diagram]]:
    """The circuit of two hops next to the beginning and to the end of that of three."""
    task: Any = run.task
    two = found(model, task.up_to(2), "test_inferred_iid", "bridge")
    for place, (contrast, roles) in ROLES.items():
        both = {"two hops": two, "three hops": found(model, task, "test_3hop_iii", contrast)}
        drawn = circuits.draw(circuits.counterparts(both, roles), despite=("contrast", "pairs"))
        yield place, circuits.compare_counterparts(both, roles, progress=False), drawn


def reappearing_numbers(label: str, compared: circuits.CounterpartComparison) -> Iterator[Number]:
    """Distances with chance, kept edges, and what lies outside."""
    for row in compared.table.to_dict("records"):
        name = str(row["measure"]).replace(" ", "_")
        n = min(int(row["n_a"]), int(row["n_b"]))
        yield Number(f"{label}.{name}", row["value"], row["low"], row["high"], n=n)
        if pd.notna(row["chance_bound"]):
            yield Number(f"{label}.{name}.chance", row["chance_bound"], n=n)


def loops(run: tasks.Run) -> analyses.LoopResult:
    """Accuracy by the number of loops that are run."""
    return analyses.accuracy_by_loops(run.checkpoint("final"), LOOPS, splits=LOOP_SPLITS)


def same_way(run: tasks.Run) -> Iterator[Number]:
    """How far answers depend on the bridge otherwise than in plain models, next to how far two plain ones are apart."""
    shipped, graph = tasks.load_study().runs, run.task.seed
    plain = {name: shipped[f"natural-g{graph}-{name}"].checkpoint("final") for name in ("r0", "r1")}
    profiles = {
        name: analyses.evidence_profile(
            analyses.bridge_evidence(each.model(), run.task, "test_inferred_iid", n=N_QUESTIONS, progress=False)
        )
        for name, each in {**plain, "channel": run.checkpoint("final")}.items()
    }
    for a, b in (("channel", "r0"), ("channel", "r1"), ("r0", "r1")):
        distance = analyses.profile_distance(profiles[a], profiles[b])
        yield Number(f"{run.name}/profile.{a}.{b}", distance.value, n=min(distance.n_a, distance.n_b))


def realigned(label: str, model: Any, task: Any) -> Iterator[Number]:
    """What writing the bridge that is read at r1 in another form brings, at its best layer, and a random one there."""
    rows = analyses.realign(model, task, task.split("test_inferred_ood"), progress=False).table
    for form in FORMS:
        of_form = rows[(rows["form"] == form) & (rows["layer"] >= 0)]
        best = of_form[of_form["entity"] == "read"].sort_values("gain").iloc[-1]
        at: dict[str, Any] = {"n": int(best["n"]), "where": f"L{best['layer']} r1"}
        name = f"{label}/realign.{form.replace(' ', '_')}"
        yield Number(name, best["accuracy"], best["low"], best["high"], **at)
        yield Number(f"{name}.baseline", best["baseline"], **at)
        there = of_form[of_form["layer"] == best["layer"]].set_index("entity")
        yield Number(f"{name}.random", there.loc["random", "accuracy"], **at)


def edited(checkpoint: tasks.Checkpoint) -> analyses.EditResult:
    """What follows when facts are changed."""
    task: Any = checkpoint.task
    return analyses.edit_facts(checkpoint, task, n_edits=N_EDITS, progress=False)


def edit_numbers(label: str, result: analyses.EditResult) -> Iterator[Number]:
    """Shares of questions that follow, over edits."""
    for row in result.summary.to_dict("records"):
        name = f"{label}.edit.{row['method']}.{row['facts']}.{row['place']}.{row['part']}".replace(" ", "_")
        about: dict[str, Any] = {"n": row["n_edits"], "of": "edits"}
        yield Number(name, row["propagated"], row["low"], row["high"], **about)
        for column in ("kept", "unedited", "right_before", "facts_before", "facts_after"):
            yield Number(f"{name}.{column}", row[column], **about)


def measured(study: tasks.Study, report: Report, pictures: dict[str, Any]) -> Iterator[Number]:
    """All numbers, what is shown of them, and of that by name what the docs show."""
    pictures["accuracy"] = study.figure()
    report.figure(pictures["accuracy"], "Exact match by training step; one training on each of two graphs.")
    runs = {name: run for name, run in study.runs.items() if run.phases["final"] in run.steps}
    for run in with_bar(runs.values(), "measuring", total=len(runs)):
        arm, model = run.name.partition("-")[0], run.checkpoint("final").model()
        yield from accuracies(run, model)
        if run.task.kind == tasks.ComparisonTask.kind:
            yield from unsolved(run, model)
        for split, second_hop in STANDING.get(arm, ()):
            for name, evidence in standing(run, model, split, second_hop):
                yield from standing_numbers(f"{run.name}/{split}.{name}", evidence)
                report.figure(evidence.figure(), f"{run.name}, {split}: what reads and uses {name}, minus control.")
        if arm == "three_hops":
            for place, compared, drawn in reappears(run, model):
                yield from reappearing_numbers(f"{run.name}/{place}", compared)
                report.diagram(drawn, f"{run.name}: the two-hop circuit and the {place} of the three-hop one.")
                pictures.setdefault(place, drawn)
        if arm == "token_channel":
            yield from same_way(run)
            yield from realigned(run.name, model, run.task)
            before = tasks.load_study().runs[f"natural-g{run.task.seed}-r0"]
            yield from realigned(f"{before.name}.before", before.checkpoint(BEFORE).model(), before.task)
        if arm == "two_hops_only":
            result = loops(run)
            for row in result.table.to_dict("records"):
                label = f"{run.name}/{row['split']}.loops_{row['n_loops']}"
                yield Number(label, row["exact_match"], row["low"], row["high"], row["n"])
            figure = result.figure()
            report.figure(figure, "Accuracy by loops that are run; three hops were never trained.")
            pictures.setdefault("loops", figure)
    checkpoints = {name: run.checkpoint("final") for name, run in runs.items() if name.partition("-")[0] in EDITED}
    shipped = tasks.load_study()
    checkpoints |= {name: shipped.runs[name].checkpoint("final") for name in EDITED_OF_STUDY}
    for name, checkpoint in with_bar(checkpoints.items(), "editing facts", total=len(checkpoints)):
        result = edited(checkpoint)
        yield from edit_numbers(name, result)
        figure = result.figure()
        report.figure(figure, f"{name}: what follows a changed fact, by method and by where the fact is used.")
        pictures.setdefault(f"edits_{name.partition('-')[0]}", figure)


def take_pictures(shown: dict[str, Any], folder: Path) -> None:
    """Write a picture of each figure and diagram, as a browser shows it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, TemporaryDirectory() as pages:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, each in shown.items():
            path, is_diagram = Path(pages) / f"{name}.html", isinstance(each, circuits.Diagram)
            each.save(path) if is_diagram else each.write_html(path, include_plotlyjs=True)
            page = browser.new_page(viewport={"width": 1300, "height": 760 if is_diagram else 480})
            page.goto(path.as_uri())
            page.wait_for_timeout(1500)
            what = page if is_diagram else page.locator(".plotly-graph-div")
            what.screenshot(path=folder / f"compositions_{name}.png")
        browser.close()


def main(
    study: Annotated[str, typer.Option(help="a shipped study or a folder of runs")] = "compositions",
    numbers: Annotated[Path, typer.Option(help="file of numbers")] = Path("compositions.csv"),
    out: Annotated[Path, typer.Option(help="the page")] = Path("compositions.html"),
    pictures: Annotated[Path | None, typer.Option(help="folder for pictures of its figures")] = None,
) -> None:
    """Measure all runs that have their weights, write the numbers and the page."""
    refuse(file_problems(out=out) + file_problems(numbers=numbers))
    report, shown = Report("More compositions (exploratory)"), dict[str, Any]()
    table = pd.DataFrame(measured(tasks.load_study(study), report, shown), columns=pd.Index(Number._fields))
    write_atomic(numbers, table.to_csv(index=False, float_format="%.6g"))
    report.table(table)
    report.save(out)
    if pictures:
        take_pictures(shown, pictures)


if __name__ == "__main__":
    run_command(main, stopped="stopped before the numbers were written")
