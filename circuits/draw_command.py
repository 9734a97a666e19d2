"""`grokscope draw`: saved circuits as one page that works without a network."""

from pathlib import Path
from typing import Annotated

import typer

from .arguments import refuse
from .circuit import Circuit
from .destination import file_problems
from .diagram import draw


def main(
    files: Annotated[
        list[Path], typer.Argument(help="Circuits as `Circuit.save` or `grokscope compare --save` wrote them.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("circuits.html"),
    label: Annotated[list[str], typer.Option(help="Of each circuit, in turn; by default the files' names.")] = [],  # noqa: B006
) -> None:
    """Draw saved circuits side by side, on one layout and one scale, with what differs. Needs no torch.

    \b
    grokscope draw early.json grokked.json -o page.html
    grokscope draw early.json grokked.json --label "step 900" --label "step 10,700"
    """
    labels = label or [path.stem for path in files]
    wrong = [] if len(labels) == len(files) else [f"{len(files)} circuits and {len(labels)} labels: one for each is needed"]
    twice = sorted({each for each in labels if labels.count(each) > 1})
    wrong += [f"circuits need different labels, {', '.join(twice)} is given twice: say --label for each"] if twice else []
    refuse(wrong + file_problems(out=out))
    circuits = {name: Circuit.load(path) for name, path in zip(labels, files, strict=True)}
    typer.echo(f"page: {draw(circuits).save(out)}")
