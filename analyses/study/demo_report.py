"""The demo's findings in words, tables and one HTML page; every number with its n."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...circuits import Circuit, CircuitComparison, draw
from ...circuits.units import fixed
from ...tasks import SPLITS, Checkpoint, PromptPairs, Run, two_hop
from ..bridge.evidence import EvidenceResult
from ..bridge.lens import TARGETS, LensResult
from ..page import Report
from ..patching.faithfulness import FaithfulnessResult
from ..plots.curves import accuracy_curves
from ..plots.heatmaps import lens_heatmaps
from ..statistics import wilson
from ..training.trajectory import CircuitTrajectory

SPLIT = "test_inferred_iid"


@dataclass(frozen=True, eq=False)
class Demo:
    """Everything the report shows, by arm."""

    runs: Mapping[str, Run]
    checkpoints: Mapping[str, Checkpoint]
    lenses: Mapping[str, LensResult]
    evidence: Mapping[str, EvidenceResult]
    circuits: Mapping[str, Circuit]
    judged: Mapping[str, FaithfulnessResult]
    comparison: CircuitComparison
    growth: CircuitTrajectory
    chosen_on: PromptPairs
    judged_on: PromptPairs


def accuracy_table(demo: Demo) -> pd.DataFrame:
    """Exact match of the measured checkpoints by split, with Wilson's interval over the reported queries."""
    rows = []
    for arm, checkpoint in demo.checkpoints.items():
        for split in SPLITS:
            n, share = demo.runs[arm].n_reported[split], checkpoint.accuracy[split]
            low, high = wilson(share, n)
            rows.append({"arm": arm, "split": split, "exact match": share, "low": low, "high": high, "n": n})
    return pd.DataFrame(rows)


def faithfulness_table(demo: Demo) -> pd.DataFrame:
    """Faithfulness of each drawn circuit on pairs it was not chosen on, next to random circuits."""
    return pd.DataFrame(
        [
            {
                "circuit": arm,
                **{
                    name: result.table[name].iloc[0]
                    for name in ("n_edges", "faithfulness", "low", "high", "n", "n_units", "gap")
                },
                "best of random": result.table["faithfulness"].iloc[1:].max(),
                "random circuits": len(result.table) - 1,
                "p": result.p_value,
            }
            for arm, result in demo.judged.items()
        ]
    )


def summary(demo: Demo) -> Iterator[str]:
    """The findings in a few lines, each number with its n."""
    task = two_hop(next(iter(demo.runs.values())).task)
    yield (
        f"graph: {task.graph.n_entities} entities, {task.graph.n_relations} relations, {len(task.graph)} facts, "
        f"{int(task.is_ood.sum())} of them OOD, {task.graph.n_free_slots} free slots; phi {task.phi:.1f}; seed {task.seed}"
    )
    accuracy = accuracy_table(demo).set_index(["arm", "split"])
    for arm, checkpoint in demo.checkpoints.items():
        shown = {"ID": SPLIT, "OOD+OOD": "test_inferred_ood"}
        parts = [
            f"{name} {accuracy.loc[(arm, split), 'exact match']:.3f} (n = {accuracy.loc[(arm, split), 'n']})"
            for name, split in shown.items()
        ]
        yield f"{arm}, measured at step {checkpoint.step:,}: exact match {', '.join(parts)}"
    for arm, lens in demo.lenses.items():
        cells = lens.table[(lens.table["target"] == "bridge") & (lens.table["role"] == "r1") & (lens.table["layer"] == 0)]
        cells = cells[cells["after"] == "layer"]
        cell, n = cells.iloc[0], lens.table["n"].iloc[0]
        share = f"{cell['top1']:.3f} [{cell['low']:.3f}, {cell['high']:.3f}]"
        yield f"{arm}: bridge readable at r1 after layer 0 in {share} of {SPLIT}, n = {n}"
    sizes = [f"{len(pairs)} ({pairs.n_units} hop-1 facts)" for pairs in (demo.chosen_on, demo.judged_on)]
    yield (
        f"bridge pairs of {SPLIT} right in both arms, of {demo.judged_on.n_asked} asked: {sizes[0]} to choose circuits on, "
        f"{sizes[1]} to judge them, which share no prompt and no hop-1 fact; "
        f"{demo.judged_on.recipe['n_left_out']} left out"
    )
    for arm, result in demo.judged.items():
        yield f"{arm}: {result.finding}"
    table = demo.comparison.table.set_index("measure")
    row = table.loc[["rank_correlation"]].iloc[0]
    yield (
        f"circuits: {table.loc['shared', 'value']:.0f} edges shared, {table.loc['lost', 'value']:.0f} only natural, "
        f"{table.loc['gained', 'value']:.0f} only both hops; rank correlation {fixed(row['value'], 2)} "
        f"[{fixed(row['low'], 2)}, {fixed(row['high'], 2)}] over {row['n_edges']} live edges, n = {row['n']}"
    )


def write_report(demo: Demo, path: Path) -> Path:
    """The report: accuracy, lens, evidence, circuits, faithfulness, comparison, growth; every number with its n."""
    report = Report("Two regimes, one graph: what the circuits look like")
    report.bullets(summary(demo))
    report.paragraph(
        "One graph and one training seed: both arms start from the same initial weights and differ only in their training "
        "compositions. At another seed other things may be alike or different."
    )
    _behaviour(demo, report)
    _bridge(demo, report)
    _circuits(demo, report)
    _growth(demo, report)
    return report.save(path)


def _behaviour(demo: Demo, report: Report) -> None:
    report.heading("Accuracy by training step")
    n_reported = next(iter(demo.runs.values())).n_reported
    metrics = {arm: run.metrics for arm, run in demo.runs.items()}
    report.figure(
        accuracy_curves(metrics, n_reported, {arm: run.phases for arm, run in demo.runs.items()}),
        "A line for each split: exact match on the half of its queries that phases are not chosen on, EMA weights. Dotted: "
        "the best majority shortcut on each test split. Dashed: where a phase begins.",
    )
    report.table(accuracy_table(demo))


def _bridge(demo: Demo, report: Report) -> None:
    report.heading("Where bridge and answer can be read")
    tables = {arm: lens.table for arm, lens in demo.lenses.items()}
    report.figure(
        lens_heatmaps(tables, TARGETS, value="top1", title=_asked(next(iter(demo.lenses.values())))),
        "Logit lens: in each cell the share of unseen ID queries whose most likely token at that layer and position is the "
        "bridge, the answer, or, as chance level, another query's bridge.",
    )
    report.paragraph(
        "In a causal model the bridge is readable at r1 as soon as the atomic fact (h, r1) is known, so this alone does not "
        "show that the answer rests on it."
    )
    report.heading("Is the bridge used?")
    for arm, evidence in demo.evidence.items():
        used = ", ".join(evidence.used_at) or "nowhere"
        report.paragraph(f"{arm}: used at {used} ({evidence.caption}).")
        if len(evidence.measures):
            report.figure(
                evidence.figure(),
                "Each panel is a measure, each cell a layer and position: share of questions minus its control. The bridge "
                "is used where it can be read, where ablation hurts, and where another question's state brings its answer.",
            )


def _asked(lens: LensResult) -> str:
    """On which questions a lens was measured, which are the same in both arms."""
    row = lens.table.iloc[0]
    return f"logit lens, top-1 share · {lens.split} · n = {row['n']} queries over {row['n_facts']} hop-1 facts"


def _circuits(demo: Demo, report: Report) -> None:
    report.heading("The circuits, side by side")
    report.paragraph(
        "Exact path patching of every edge by itself, corrupt into clean; the corrupt prompt has another (h, r1) and so "
        "another bridge, but the same r2. Effects are shares of the clean–corrupt gap and have no unit; the gap is one of "
        "logit(answer) − logit(foil), in nats. Shown are edges with |effect| of at least 0.02 that connect input and answer."
    )
    report.diagram(
        draw(demo.circuits, lens=demo.lenses, faithfulness=demo.judged),
        "Upwards are layers, across are positions; hover an edge for its numbers in both arms, click it to trace the paths "
        "through it, cut at another strength with the slider, or see the difference as one picture.",
    )
    report.heading("Do the drawn circuits do the work?")
    report.paragraph(
        "Only the drawn edges carry the clean run, all others the corrupt one, on pairs that share no prompt and no hop-1 "
        "fact with those that the circuit was chosen on. 1 is the whole model, 0 the corrupt run; intervals are 95 % "
        "bootstrap intervals over hop-1 facts. The null are random circuits: as many edges, all connected, entering similar "
        "layers and kinds of input."
    )
    report.table(faithfulness_table(demo))
    report.heading("How similar are they?")
    report.paragraph(
        "Over live edges, those with an effect in at least one arm. Intervals: paired bootstrap over hop-1 facts, 95 %; "
        "they do not cover the choice of graph and seed."
    )
    for sentence in demo.comparison.summary().sentences:
        report.paragraph(sentence)
    report.table(demo.comparison.in_words)
    report.figure(
        demo.comparison.figure(),
        "Each dot is an edge, at its effect in one arm across and in the other upwards; on the diagonal are edges that are "
        "equally strong in both.",
    )


def _growth(demo: Demo, report: Report) -> None:
    report.heading("How the natural arm's circuit grew")
    report.diagram(
        draw(demo.growth.circuits),
        "The circuit at each saved step, on the same pairs: play, or move the slider. Where the gap is too small there are "
        "no effects, and nothing is drawn.",
    )
    report.figure(
        demo.growth.figure(),
        "By step: effects of the edges that carry the first hop, move the bridge and carry the second hop (bands: ±1.96 "
        "standard errors over hop-1 facts), how similar successive circuits are, and losses with "
        "and without the last circuit, on the judging pairs.",
    )
