"""Where the bridge stands in all registered token-mixing trainings: what the registration wants beside claim (ii).

python examples/trm_standings.py                # some ten minutes of one core; writes docs/numbers/trm_standings.csv
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from joblib import delayed

from grokscope import analyses, tasks
from grokscope.analyses.claims.shared_steps import late_step
from grokscope.analyses.claims.specimens import last_before_ood
from grokscope.circuits.arguments import process_problems, refuse
from grokscope.circuits.command import run_command
from grokscope.circuits.destination import file_problems
from grokscope.circuits.progress import with_bar
from grokscope.circuits.workers import in_workers
from grokscope.circuits.writing import write_atomic

OOD_ID, OOD, ID = "test_inferred_ood_id", "test_inferred_ood", "test_inferred_iid"
ARMS = ("natural", "both_hops", "second_hop")
COLUMNS = ("by_lens", "by_probe", "used", "readable_by_lens", "readable_by_probe")
NUMBERS = (
    "lens_any_cell",
    "lens_any_cell_control",
    "lens",
    "probe",
    "ablation",
    "interchange",
    "direction",
    "direction_n_facts",
)
Asked = tuple[tasks.Checkpoint, str, str]


def asked(study: tasks.Study) -> Iterator[tuple[str, Asked]]:
    """By run the checkpoints whose weights are there, with the name of the moment and the questions."""
    for name, run in study.runs.items():
        arm, late = name.rpartition("-g")[0], late_step(study, run.task.seed)
        moments = {
            "natural": [("before", last_before_ood(run), OOD_ID), ("late", late, ID)],
            "both_hops": [("late", late, ID), ("late", late, OOD)],
            "second_hop": [("ood_generalised", run.phases.get("ood_generalised"), OOD)],
        }[arm]
        for moment, step, split in moments:
            if step in run.steps:
                yield name, (run.checkpoint(step), moment, split)


def standing(name: str, where: Asked) -> pd.DataFrame:
    """A row: the words and numbers of `bridge_standing` for one checkpoint."""
    checkpoint, moment, split = where
    evidence = analyses.bridge_evidence(checkpoint.model(), checkpoint.task, split, progress=False)
    row = analyses.bridge_standing(evidence)[[*COLUMNS, *NUMBERS]]
    about = {"run": name, "moment": moment, "step": checkpoint.step, "split": split}
    return row.assign(**about, exact_match=checkpoint.accuracy[split]).reset_index(drop=True)


def main(
    study: Annotated[str, typer.Option(help="a shipped study or a folder of runs")] = "trm_registered",
    out: Annotated[Path, typer.Option(help="the table")] = Path("docs/numbers/trm_standings.csv"),
    n_jobs: Annotated[int, typer.Option(help="checkpoints at a time; -1 for all cores")] = -1,
) -> None:
    """Measure all trainings and write the table."""
    refuse(file_problems(out=out) + process_problems(n_jobs))
    loaded = tasks.load_study(study)
    others = sorted({arm for name in loaded.runs if (arm := name.rpartition("-g")[0]) not in ARMS})
    refuse([f"study is {study!r}, whose arms {', '.join(others)} are none of {', '.join(ARMS)}"] if others else [])
    calls = [delayed(standing)(name, where) for name, where in asked(loaded)]
    refuse([] if calls else [f"study is {study!r}, which has the weights of none of the moments that are looked at"])
    with in_workers(calls, n_jobs=n_jobs) as rows:
        table = pd.concat(with_bar(rows, "standings", total=len(calls)), ignore_index=True)
    first = ["run", "moment", "step", "split", "exact_match"]
    table = table[[*first, *COLUMNS, *NUMBERS]].sort_values(first, ignore_index=True)
    write_atomic(out, table.to_csv(index=False, float_format="%.4g"))
    groups = table.assign(arm=table["run"].str.rpartition("-g")[0]).groupby(["arm", "moment", "split"])
    typer.echo(
        groups[["used", "readable_by_lens", "readable_by_probe"]].agg(lambda words: dict(words.value_counts())).to_string()
    )


if __name__ == "__main__":
    run_command(main, stopped="stopped before the table was written")
