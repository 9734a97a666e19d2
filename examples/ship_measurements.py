"""Ship the measurements of a study, so that `make study` takes a minute: into an archive beside the studies' folders.

python -m grokscope.analyses.study --study trm_registered --again --out runs/trm_registered
python examples/ship_measurements.py trm_registered runs/trm_registered/measured
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from grokscope import tasks
from grokscope.analyses.study.shipped import ship_measurements, shipped_at
from grokscope.circuits.arguments import refuse
from grokscope.circuits.command import run_command

OF_GRAPH = re.compile(r"-g\d+(-[^-]+)*\.json$")  # how names of measurements end, before what identifies them


def measured_problems(measured: Path, files: Sequence[Path]) -> list[str]:
    """Why there is nothing to ship, so that what was shipped before must stay."""
    if not files:
        why = "it holds no *.json" if measured.is_dir() else "there is none"
    elif others := [path.name for path in files if not OF_GRAPH.search(path.name)]:
        why = f"of no graph are {', '.join(others)}"
    else:
        return []
    return [f"measured is {str(measured)!r}, needed is a folder of measurements: {why}"]


def main(
    study: Annotated[str, typer.Argument(help="name of a shipped study, or a folder of runs")],
    measured: Annotated[Path, typer.Argument(help="folder of its measurements, and of no other study's")],
) -> None:
    """Write the archive of a study's measurements."""
    loaded, files = tasks.load_study(study), sorted(measured.glob("*.json"))
    refuse(measured_problems(measured, files))
    names = ship_measurements(loaded, files)
    typer.echo(f"{shipped_at(loaded)}: {len(names)} measurements, {shipped_at(loaded).stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    run_command(main, stopped="stopped; the same command begins again")
