"""`grokscope info`: what a file or folder is, and what it holds, in a few lines."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from grokscope.circuits import Result
from grokscope.circuits.arguments import refuse
from grokscope.circuits.destination import input_problems
from grokscope.circuits.documents import FileError
from grokscope.circuits.plain_text import plain

VOCABULARY = "vocab.json"  # of data in the published format


def main(
    path: Annotated[
        Path, typer.Argument(help="A saved result, a run, a study, a checkpoint, or a folder in the published format.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """Say what a file or folder is, and what it holds; for a result, what it says.

    \b
    grokscope info circuits/0.json
    grokscope info demo/natural
    """
    refuse(input_problems(path=path))
    found = described(path)
    lines = (f"{name}: {value}" for name, value in found.items())
    typer.echo(json.dumps(found) if as_json else plain("\n".join(lines)))


def described(path: Path) -> dict[str, Any]:
    """What a path holds, by name.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is nothing that grokscope writes, or damaged; it says why.
    """
    path = path if path.exists() else _of_study(path)
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".safetensors":
        return _checkpoint(path)
    if path.suffix in (".html", ".htm"):
        return {"kind": "page", "says": "open it in a browser; what it shows is no result that can be read back"}
    if path.suffix in (".json", ""):
        return _result(path)
    raise FileError(
        f"{path} is none of the files that grokscope writes: results are .json, weights .safetensors, pages .html"
    )


def _of_study(path: Path) -> Path:
    """Where a shipped study or a run of one is; torch is imported only to look for it.

    Raises:
        FileNotFoundError: if there is none.
    """
    from grokscope.tasks.runs.study import here_or_shipped

    if not (found := here_or_shipped(path)).exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder, nor such a shipped study or run")
    return found


def _result(path: Path) -> dict[str, Any]:
    result, written = Result.load(path), json.loads(path.read_text(encoding="utf-8"))
    about = {"kind": type(result).__name__, "format": written.get("format"), "written by": written.get("version")}
    return about | {"says": result.caption, "rows": len(result.table)} | dict(result.explain())


def _folder(path: Path) -> dict[str, Any]:
    from grokscope.tasks import Run, TwoHopTask, load_study
    from grokscope.tasks.runs.folder import METRICS, SETTINGS
    from grokscope.tasks.runs.study import run_folders

    if (path / SETTINGS).is_file() or (path / METRICS).is_file():
        run = Run.load(path)
        return {"kind": "run", "says": repr(run), "task": repr(run.task), "phases": run.phases, "weights at": run.steps}
    if run_folders(path):
        study = load_study(path)
        return {"kind": "study", "says": repr(study), "runs": {name: repr(run) for name, run in study.runs.items()}}
    if inside := sorted(path.glob("*.json")) if not (path / VOCABULARY).exists() else []:
        return {"kind": "folder", "files": {each.name: _kind(each) for each in inside}}
    if not (path / VOCABULARY).exists():
        raise FileError(f"{path} holds no run, no study, no results and no {VOCABULARY}, as data in the published format do")
    task = TwoHopTask.from_files(path)
    return {
        "kind": "task in the published format",
        "says": repr(task),
        "splits": {each: len(task.split(each)) for each in task.splits},
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    """Of the run that the checkpoint is in."""
    from grokscope.tasks import Run
    from grokscope.tasks.runs.folder import CHECKPOINTS

    if path.parent.name != CHECKPOINTS:
        raise FileError(f"{path} is in no run, whose {CHECKPOINTS}/ hold weights; read it with safetensors")
    run = Run.load(path.parents[1])
    (checkpoint,) = (each for each in map(run.checkpoint, run.steps) if each.path.name == path.name)
    accuracy = {name: round(float(value), 4) for name, value in checkpoint.accuracy.items()}
    return {"kind": "checkpoint", "says": repr(checkpoint), "step": checkpoint.step, "of": repr(run), "accuracy": accuracy}


def _kind(path: Path) -> str:
    """What a file of a folder is, in a line."""
    try:
        return Result.load(path).caption
    except ValueError:
        return "no result of grokscope"
