"""Do bidirectional models keep several copies of the bridge? Exchange it at one position, then at several together.

    python examples/bridge_copies.py     # every bidirectional run of the study at its last shipped step, some seconds

Asked are OOD+ID questions; see `analyses.bridge_copies`.
"""

import pandas as pd
import typer

from grokscope import analyses, tasks
from grokscope.circuits.command import run_command

SPLIT = "test_inferred_ood_id"


def measure(run: tasks.Run) -> pd.DataFrame:
    """A row for each set of positions: the share of answers that follow, with its interval over hop-1 facts."""
    found = analyses.bridge_copies(run.checkpoint(run.steps[-1]).model(), run.task, run.task.split(SPLIT)).table
    found = found.rename(columns={"roles": "exchanged at", "followed": "follow", "n_facts": "facts"})
    found = found.assign(run=run.name, step=run.steps[-1])
    return found[["run", "step", "exchanged at", "n", "facts", "follow", "low", "high", "random"]]


def main(study: str = "study") -> None:
    """Print the table."""
    runs = [
        run
        for run in tasks.load_study(study).runs.values()
        if getattr(run.model_config, "bidirectional", False) and run.steps
    ]
    typer.echo(pd.concat(map(measure, runs)).round(2).to_string(index=False))


if __name__ == "__main__":
    run_command(main, stopped="stopped; nothing was kept")
