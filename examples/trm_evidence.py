"""Where the bridge stands in token-mixing networks, from shipped weights: the table of docs/explanation/trm.md, and figures.

python examples/trm_evidence.py                                  # two minutes; figures and diagrams on trm_evidence.html
python examples/trm_evidence.py --study study --out page.html     # graph 1 of the attention models, the same table
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from grokscope import analyses, circuits, tasks
from grokscope.analyses.page import Report
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import file_problems
from grokscope.circuits.progress import with_bar

SHOWN = {"ID": "test_inferred_iid", "OOD+ID": "test_inferred_ood_id", "OOD+OOD": "test_inferred_ood"}
MOMENTS = {  # by arm, where its trainings are opened, and what they are asked
    "natural": ("final", ("ID", "OOD+ID", "OOD+OOD")),
    "both_hops": ("final", ("ID", "OOD+OOD")),
    "second_hop": ("ood_generalised", ("ID", "OOD+OOD")),
}
DRAWN = (("second_hop-g1-r0", "ood_generalised"), ("natural-g1-r0", "final"))
GRAPH = 1
N_PAIRS, TOP = 128, 40  # pairs and edges of a circuit


def checkpoints(study: tasks.Study) -> list[tuple[tasks.Checkpoint, str]]:
    """What is opened: checkpoints of graph 1 with the kind of questions."""
    return [
        (run.checkpoint(moment), kind)
        for arm, (moment, kinds) in MOMENTS.items()
        for name, run in study.runs.items()
        if name.startswith(f"{arm}-g{GRAPH}-") and moment in run.phases
        for kind in kinds
    ]


def evidence_of(checkpoint: tasks.Checkpoint, kind: str, n: int) -> analyses.EvidenceResult:
    """Of one checkpoint on one kind of questions."""
    return analyses.bridge_evidence(checkpoint.model(), checkpoint.task, SHOWN[kind], n=n, progress=False)


def rows(evidence: list[analyses.EvidenceResult], asked: list[tuple[tasks.Checkpoint, str]]) -> pd.DataFrame:
    """The table: what reads the bridge, what it does, and the words for that."""
    standing = analyses.bridge_standing(evidence)
    table = pd.DataFrame(
        {
            "run, step": [each.label for each, _ in asked],
            "asked": [kind for _, kind in asked],
            "exact match": [f"{each.accuracy[SHOWN[kind]]:.2f}" for each, kind in asked],
            "lens, any cell / null": _pair(standing, "lens_any_cell"),
            "lens, one cell": _at(standing, "lens"),
            "probe / null": _pair(standing, "probe"),
            "ablation, one layer": _value(standing, "ablation"),
            "every layer": _value(standing, "ablation_every_layer"),
            "one cell of a donor": _value(standing, "interchange"),
            "direction": _at(standing, "direction"),
            "lens where used": _value(standing, "lens_where_used"),
            "by lens": standing["by_lens"],
            "by probe": standing["by_probe"],
            "n, facts": _sizes(standing),
        }
    )
    return table.reset_index(drop=True)


def _value(standing: pd.DataFrame, name: str) -> pd.Series:
    return standing[name].map(lambda value: "–" if pd.isna(value) else f"{value:.2f}")


def _pair(standing: pd.DataFrame, name: str) -> pd.Series:
    return _value(standing, name) + " / " + _value(standing, f"{name}_control")


def _at(standing: pd.DataFrame, name: str) -> pd.Series:
    return _value(standing, name) + ", " + standing[f"{name}_cells"]


def _sizes(standing: pd.DataFrame) -> pd.Series:
    return standing["direction_n"].astype(str) + ", " + standing["direction_n_facts"].astype(str)


def main(
    study: Annotated[str, typer.Option(help="a shipped study or a folder of runs")] = "trm",
    out: Annotated[Path, typer.Option(help="the page")] = Path("trm_evidence.html"),
    n: Annotated[int, typer.Option(help="at most this many questions of each kind")] = 512,
) -> None:
    """Print the table as markdown and write the page with a figure of every row and two circuits."""
    refuse(file_problems(out=out))
    loaded, report = tasks.load_study(study), Report(f"Where the bridge stands: {study}")
    asked = checkpoints(loaded)
    evidence = [evidence_of(each, kind, n) for each, kind in with_bar(asked, "evidence", total=len(asked))]
    table = rows(evidence, asked)
    report.table(table)
    for (checkpoint, kind), found in zip(asked, evidence, strict=True):
        report.figure(found.figure(), f"{checkpoint.label}, {kind} questions: share minus control, by application and slot.")
    for name, moment in DRAWN:
        if name in loaded.runs:
            report.diagram(*_circuit(loaded.runs[name].checkpoint(moment)))
    report.save(out)
    for cells in [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]:
        typer.echo(f"| {' | '.join(cells)} |")


def _circuit(checkpoint: tasks.Checkpoint) -> tuple[circuits.Diagram, str]:
    """The circuit of ID questions, found by replay, and its caption."""
    model, task = checkpoint.model(), checkpoint.task
    pairs = tasks.make_pairs(task, split="test_inferred_iid", contrast="bridge", n=N_PAIRS, seed=0)
    circuit = analyses.discover(model, pairs.keep_correct(model), top_k=TOP, progress=False)
    return circuits.draw({checkpoint.label: circuit}), f"{checkpoint.label}: {len(circuit.kept_edges)} edges, by replay."


if __name__ == "__main__":
    run_command(main, stopped="stopped before the page was written")
