"""Bringing folders of format 1 under the protection of a manifest, once and for all."""

from pathlib import Path

from ...circuits.arguments import refuse
from ...circuits.destination import input_problems
from ...circuits.manifest import is_there
from ..models.building import build_model
from .checkpoints import Run
from .folder import SETTINGS, naming_checkpoints, table_names, written_alone
from .format_1 import manifest_of
from .settings import holds_format_1
from .study import run_folders, sealed_runs, table_of
from .weights import check_shapes


def migrate(folder: str | Path) -> list[Path]:
    """Give runs that were written before there were manifests one, so that damage to them is noticed from now on.

    Every file is read and checked first; no file is changed, a manifest is added to each run. The folder itself is given
    none, since a manifest would shut out runs that are trained there later. If it has one, that must hold: damage is not
    made right by a new one. Runs load without this, too, but with nothing to check their bytes against.

    Args:
        folder: of a run, or of runs.

    Returns:
        The folders of the runs that have been given a manifest; those that had one stay as they are.

    Raises:
        FileNotFoundError: if there is no run in the folder, or files of one are missing.
        OSError: if nothing can be written there.
        CheckpointError: if a file is not what it should be.
        FolderInUseError: if another process writes into one of the folders.
    """
    refuse(input_problems(folder=folder))
    folder = Path(folder)
    if (folder / SETTINGS).is_file():
        return [folder] if _migrated(folder) else []
    with naming_checkpoints():
        named = sealed_runs(folder) if is_there(folder) else []
    if not (runs := sorted({*named, *run_folders(folder)})):
        raise FileNotFoundError(f"{folder} holds no runs")
    return [run for run in runs if _migrated(run)]


def _migrated(folder: Path) -> bool:
    with naming_checkpoints(), written_alone(folder):
        if not holds_format_1(folder):
            return False
        check_everything(Run.load(folder))
        manifest_of(folder).write()
        return True


def check_everything(run: Run) -> None:
    """Read every file that belongs to a run.

    Raises:
        CheckpointError: if one is not what it should be.
    """
    for name in table_names(run.manifest):
        table_of(run, name)
    model = build_model(run.model_config, run.task)
    for checkpoint in map(run.checkpoint, run.steps):
        check_shapes(checkpoint.weights(), model, run.model_config, str(checkpoint.path))
