"""`grokscope draw`: saved circuits as one page that works without a network."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .arguments import refuse
from .circuit import Circuit
from .destination import page_problems
from .diagram import draw


def main(
    files: Annotated[
        list[Path],
        typer.Argument(help="Circuits as `Circuit.save` or `grokscope compare --save` wrote them, or a folder of them."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("circuits.html"),
    label: Annotated[list[str], typer.Option(help="Of each circuit, in turn; by default the files' names.")] = [],  # noqa: B006
) -> None:
    """Draw saved circuits side by side, on one layout and one scale, with what differs. Needs no torch.

    \b
    grokscope draw early.json grokked.json -o page.html
    grokscope draw early.json grokked.json --label "step 900" --label "step 10,700"
    """
    files = [inside for path in files for inside in (_inside(path) if path.is_dir() else [path])]
    labels = label or _labels(files)
    gone = [f"{path}: there is no such file" for path in files if not path.exists()]
    wrong = gone or ([] if files else ["there is no circuit in the folder: no file that ends in .json"])
    wrong += [] if len(labels) == len(files) else [f"{len(files)} circuits and {len(labels)} labels: one for each is needed"]
    twice = [] if gone else sorted({each for each in labels if labels.count(each) > 1})
    wrong += [f"circuits need different labels, {', '.join(twice)} is given twice: say --label for each"] if twice else []
    refuse(wrong + page_problems(out=out))
    circuits = {name: Circuit.load(path) for name, path in zip(labels, files, strict=True)}
    typer.echo(f"page: {draw(circuits).save(out)}")


def _labels(files: Sequence[Path]) -> list[str]:
    """The files' names, with their folders' where names are alike."""
    names = [path.stem for path in files]
    return names if len(set(names)) == len(names) else [f"{path.parent.name}/{path.stem}" for path in files]


def _inside(folder: Path) -> list[Path]:
    """The folder's circuits, numbers in their names as numbers: step_900 comes before step_10700."""
    return sorted(folder.glob("*.json"), key=lambda path: [part.zfill(20) for part in re.split(r"(\d+)", path.stem)])
