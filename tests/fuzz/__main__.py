"""Damage files and read them, with any seed: `PYTHONPATH=tests python -m fuzz --seed 7 --n 10000`."""

import time
from typing import Annotated

import typer

from .cases import BAD, fuzz, report


def main(
    seed: Annotated[int, typer.Option(help="of all choices")] = 0,
    n: Annotated[int, typer.Option(help="number of cases")] = 2000,
    case: Annotated[
        int | None, typer.Option(help="only the case of this number, as a bad one is named: [seed/case]")
    ] = None,
    most: Annotated[int, typer.Option(help="bad cases to show")] = 50,
) -> None:
    """Print a table of outcomes and every bad case."""
    start = time.perf_counter()
    cases = fuzz(seed, range(n) if case is None else [case])
    bad = [each for each in cases if each.outcome in BAD]
    for each in bad[:most] if case is None else cases:
        typer.echo(each)
    typer.echo(report(cases).to_string())
    typer.echo(f"{len(bad)} bad of {len(cases)} cases in {time.perf_counter() - start:.0f} s")
    raise typer.Exit(bool(bad))


typer.run(main)
