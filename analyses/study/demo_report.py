"""The demo's findings in words, tables and one HTML page; every number with its n."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ...circuits import Circuit, CircuitComparison, Result, draw
from ...circuits.plain_text import counted
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
from .compared import headline, lead

SPLIT = "test_inferred_iid"
EVIDENCE = (
    "Each cell is a share of questions, less that of a control: whose bridge a lens or a probe reads; that lose their "
    "answer by ablation of the state; that follow a donor, a question whose state is put in (trained, held out, other r2); "
    "that keep their answer with a donor of the same bridge; and that follow the difference of two bridges’ mean states "
    "(direction)."
)


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
    """The report: the result, the circuits side by side, further figures; tables and what the command prints are folded."""
    report = Report(headline(demo.comparison), with_contents=False)
    _circuits(demo, report)
    _work(demo, report)
    _edges(demo, report)
    _bridge(demo, report)
    _growth(demo, report)
    _behaviour(demo, report)
    with report.folded("All numbers of this run, in the words of the command"):
        report.bullets(summary(demo))
    return report.save(path)


def _circuits(demo: Demo, report: Report) -> None:
    report.paragraph(lead(demo.comparison))
    steps = " and ".join(f"{checkpoint.step:,}" for checkpoint in demo.checkpoints.values())
    report.paragraph(
        "Both models answer questions of two hops: from an entity h by the relation r1 to the bridge, the entity in "
        "between, and from the bridge by r2 to the answer. A circuit is the edges between heads and MLPs by which a change "
        "of the bridge reaches the answer. Both models began with the same weights. “natural” was trained on all facts and "
        "on compositions of the ID (in-distribution) ones; “both hops” was also trained on compositions of the OOD "
        f"(out-of-distribution) facts. They are measured at steps {steps}."
    )
    report.diagram(
        draw(demo.circuits, lens=demo.lenses, faithfulness=demo.judged),
        "Layers go up, positions of the question across; a line is an edge, as wide as the share of the gap that is lost "
        "when it carries what it would in a question with another bridge. The gap is how much the lead of the answer over "
        "that question’s answer, in logits, differs between the two questions. Drawn are edges of at least 0.02 between "
        "input and answer. Hover one for its numbers, click it to trace its paths.",
    )
    _explained(report, "the distance of the circuits", {"": demo.comparison.summary()})


def _work(demo: Demo, report: Report) -> None:
    report.heading("Do the circuits do the work?")
    for arm, result in demo.judged.items():
        report.paragraph(f"{arm}: {result.explain().means} {_random(result)}")
    with report.folded("Table: what each circuit keeps"):
        report.paragraph(
            "Only the drawn edges carry the clean run, all others the corrupt one, on pairs that share no prompt and no "
            "fact of the first hop with those that the circuit was chosen on. 1 is the whole model, 0 the corrupt run; "
            "intervals are 95 % bootstrap intervals over facts of the first hop. Random circuits have as many edges, all "
            "connected, entering similar layers and kinds of input."
        )
        report.table(faithfulness_table(demo))
    _explained(report, "what the circuits keep", demo.judged)


def _random(result: FaithfulnessResult) -> str:
    """What random circuits of that size keep, if there are any."""
    random = result.table["faithfulness"].iloc[1:]
    if result.reason or random.empty:
        return ""
    best = f"The best of {len(random)} random circuits of its size keeps {fixed(random.max(), 2)}"
    return f"{best} (p = {result.p_value:.3f}, n = {counted(int(result.table['n'].iloc[0]), 'question')})."


def _explained(report: Report, what: str, results: Mapping[str, Result]) -> None:
    """The five answers of results, folded."""
    with report.folded(f"In sentences: {what}"):
        for name, result in results.items():
            report.bullets(f"{f'{name}: ' if name else ''}{question}: {answer}" for question, answer in result.explain())


def _edges(demo: Demo, report: Report) -> None:
    table = demo.comparison.table.set_index("measure")["value"]
    arms = list(demo.circuits)
    report.heading("Which edges differ?")
    report.paragraph(
        f"{table['shared']:.0f} edges are drawn in both circuits, {table['lost']:.0f} in that of {arms[0]} only, "
        f"{table['gained']:.0f} in that of {arms[1]} only."
    )
    report.figure(
        demo.comparison.figure(),
        "Each dot is an edge, at its effect in natural across and in both hops upwards; on the dashed line it is equally "
        "strong in both.",
    )
    with report.folded("Table: how similar the circuits are"):
        report.paragraph(
            "Over live edges, those with an effect in at least one model. Intervals: paired bootstrap over facts of the "
            "first hop, 95 %; they do not cover the choice of graph and seed."
        )
        for sentence in demo.comparison.summary().sentences:
            report.paragraph(sentence)
        report.table(demo.comparison.in_words)


def _bridge(demo: Demo, report: Report) -> None:
    report.heading("Is the bridge used?")
    report.paragraph(
        "The bridge is used at a place where the answer is lost without the state there (ablation), and where the "
        "difference of two bridges’ mean states, put in, brings the other bridge’s answer (direction). That it can be read "
        "is not enough: a causal model knows it at r1 as soon as it knows the fact."
    )
    for arm, evidence in demo.evidence.items():
        places = " and ".join(f"after {place.replace(' ', ' at ', 1)}" for place in evidence.used_at)
        report.paragraph(f"{arm} uses it {places}." if places else f"{arm}: no place is known where it is used.")
        if len(evidence.measures):
            report.figure(evidence.figure(), EVIDENCE)
    report.heading("Where bridge and answer can be read")
    tables = {arm: lens.table for arm, lens in demo.lenses.items()}
    report.figure(
        lens_heatmaps(tables, TARGETS, value="top1", title=_asked(next(iter(demo.lenses.values())))),
        "Each cell is the share of unseen ID questions whose most likely token after that layer, at that position, is the "
        "bridge, the answer, or, as chance, the bridge of another question.",
    )


def _asked(lens: LensResult) -> str:
    """On which questions a lens was measured, which are the same in both arms."""
    row = lens.table.iloc[0]
    return f"logit lens, top-1 share · {lens.split} · n = {row['n']} queries over {row['n_facts']} hop-1 facts"


def _growth(demo: Demo, report: Report) -> None:
    report.heading("How the circuit of natural grew")
    report.diagram(
        draw(demo.growth.circuits),
        "The circuit at each saved step, on the same questions: play, or move the slider; nothing is drawn where the gap "
        "is too small to divide by.",
    )
    report.figure(
        demo.growth.figure(),
        "By step: effects of the edges that carry the first hop, move the bridge and carry the second hop; how similar "
        "successive circuits are; and the loss with and without the last circuit.",
    )


def _behaviour(demo: Demo, report: Report) -> None:
    report.heading("Accuracy by training step")
    n_reported = next(iter(demo.runs.values())).n_reported
    metrics = {arm: run.metrics for arm, run in demo.runs.items()}
    report.figure(
        accuracy_curves(metrics, n_reported, {arm: run.phases for arm, run in demo.runs.items()}),
        "A line is the share of a split’s questions answered exactly; dotted is the best shortcut that a majority gives, "
        "dashed where a phase begins.",
    )
    with report.folded("Table: accuracy at the measured step"):
        report.paragraph("Exact match of averaged (EMA) weights, on the half of the questions that no phase is chosen on.")
        report.table(accuracy_table(demo))
