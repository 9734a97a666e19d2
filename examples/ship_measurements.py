"""Ship the measurements of a study, so that `make study` takes a minute: they go into the folder `measured` beside its runs.

python -m grokscope.analyses.study --study trm_registered --again --out runs/trm_registered
python examples/ship_measurements.py trm_registered runs/trm_registered/measured
"""

from pathlib import Path
from typing import Annotated

import typer

from grokscope import tasks
from grokscope.analyses.study.shipped import ship_measurements
from grokscope.circuits.command import run_command


def main(
    study: Annotated[str, typer.Argument(help="name of a shipped study, or a folder of runs")],
    measured: Annotated[Path, typer.Argument(help="folder of its measurements, and of no other study's")],
) -> None:
    """Copy the measurements of a study into its folder."""
    paths = ship_measurements(tasks.load_study(study), measured.glob("*.json"))
    typer.echo(f"{len(paths)} measurements, {sum(path.stat().st_size for path in paths) / 2**20:.1f} MiB")


if __name__ == "__main__":
    run_command(main, stopped="stopped; the same command begins again")
