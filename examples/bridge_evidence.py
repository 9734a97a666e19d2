"""Bridge evidence on the phases of a study's runs, as one table and one page.

python examples/bridge_evidence.py                                   # the shipped pilot, on bridge_evidence.html
python examples/bridge_evidence.py --study runs/pilot --out page.html
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from grokscope import analyses, tasks
from grokscope.analyses.page import Report
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import file_problems

SPLITS = ("test_inferred_iid", "test_inferred_ood")
AT_R1 = ("lens", "probe", "ablation", "held out", "same bridge", "direction")


def row_of(evidence: analyses.EvidenceResult, lens: analyses.LensResult) -> dict[str, object]:
    """One row: accuracy, where the bridge is found and used, and each measure's value at r1 after every layer."""
    correct = lens.found_by_correct.set_index("quantity")["value"]
    row: dict[str, object] = {
        "exact match": f"{correct['P(correct)']:.2f}",
        "found at any cell": f"{lens.bridge_found_any:.2f}",
    }
    row["used at"] = ", ".join(evidence.used_at) or evidence.table["reason"].iloc[0].partition(":")[0] or "–"
    at_r1 = evidence.measures[(evidence.measures["role"] == "r1") & (evidence.measures["layer"] >= 0)]
    for measure in AT_R1:
        values = at_r1.loc[at_r1["measure"] == measure, "value"]
        row[measure] = " / ".join(f"{value:.2f}" for value in values)
    first = evidence.table.iloc[0]
    return row | {"facts read, judged": f"{first['n_read']}, {first['n_judged']}"}


def main(
    study: Annotated[str, typer.Option(help="a shipped study or a folder of runs")] = "pilot",
    out: Annotated[Path, typer.Option(help="the page")] = Path("bridge_evidence.html"),
    n: Annotated[int, typer.Option(help="at most this many questions of each split")] = 512,
) -> None:
    """Print the table as markdown and write the page with a figure for each line."""
    refuse(file_problems(out=out))
    rows, report = [], Report(f"Bridge evidence: {study}")
    for name, run in tasks.load_study(study).runs.items():
        for phase, step in run.phases.items():
            model = run.checkpoint(phase).model()
            for split in SPLITS:
                evidence = analyses.bridge_evidence(model, run.task, split, n=n)
                lens = analyses.logit_lens(model, run.task.split(split))
                rows.append({"run": name, "phase": phase, "step": step, "split": split} | row_of(evidence, lens))
                if len(evidence.measures):
                    report.figure(
                        evidence.figure(), "Share of questions minus its control, by layer and position; last: the verdict."
                    )
    table = pd.DataFrame(rows)
    report.heading("At r1, after each layer")
    report.table(table)
    report.save(out)
    for cells in [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]:
        typer.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    run_command(main, stopped="stopped; nothing was written")
