"""Bringing folders of format 1 under the protection of a manifest, once and for all."""

from pathlib import Path

from ...circuits.arguments import refuse
from ...circuits.destination import input_problems
from ..models.building import build_model
from .checkpoints import Run
from .folder import SETTINGS, naming_checkpoints, table_names, written_alone
from .format_1 import manifest_of
from .settings import holds_format_1
from .shipping import seal_study
from .study import run_folders, table_of
from .weights import check_shapes


def migrate(folder: str | Path) -> list[Path]:
    """Give runs that were written before there were manifests one, so that damage to them is noticed from now on.

    Every file is read and checked first; no file is changed, a manifest is added to each run, and one to the folder if it
    is a study. Runs load without this, too, but with nothing to check their bytes against.

    Args:
        folder: of a run, or of runs.

    Returns:
        The folders of the runs that have been given a manifest; those that had one stay as they are.

    Raises:
        FileNotFoundError: if there is no run in the folder, or files of one are missing.
        CheckpointError: if a file is not what it should be.
        FolderInUseError: if another process writes into one of the folders.
    """
    refuse(input_problems(folder=folder))
    folder = Path(folder)
    if (folder / SETTINGS).is_file():
        return [folder] if _migrated(folder) else []
    done = [run for run in run_folders(folder) if _migrated(run)]
    seal_study(folder)
    return done


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
