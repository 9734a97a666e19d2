"""A run's folder: the names of its files, and how they are written so that it is whole at every moment.

`manifest.json` names every file that belongs to the run, with size and SHA-256, and is written after the files. What it
names does not change any more, but for `metrics.csv`, which only grows. So whenever a writer is killed, the manifest on
disk describes a run that was whole, and what it does not name is left over. `run.json` is written last of all when a run
begins: a folder without it is no run, and one with it has a manifest.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...circuits.documents import FileError
from ...circuits.lock import only_writer
from ...circuits.manifest import Entry, Manifest
from ...circuits.writing import write_atomic

KIND = "run"
SETTINGS, TASK, METRICS = "run.json", "task.safetensors", "metrics.csv"
CHECKPOINTS, TABLES, TABLE = "checkpoints", "tables", ".csv.xz"
_CHECKPOINT = re.compile(rf"{CHECKPOINTS}/step_(\d{{8,}})\.safetensors")
_STATE = re.compile(r"state_(\d{8,})\.safetensors")
_REMOVED = ("state*.safetensors", f"{CHECKPOINTS}/step_*.safetensors")  # unless the manifest names them


class CheckpointError(FileError):
    """A file of a run or study is not what it should be; the message names it, what is wrong and what to do."""


def checkpoint_name(step: int) -> str:
    """The file with the weights of a step, in its folder."""
    return f"{CHECKPOINTS}/step_{step:08d}.safetensors"


def state_name(step: int) -> str:
    """The file with the state of training after a step, in its folder."""
    return f"state_{step:08d}.safetensors"


def checkpoint_steps(manifest: Manifest) -> list[int]:
    """The steps with weights, in order."""
    return _steps(manifest, _CHECKPOINT)


def state_steps(manifest: Manifest) -> list[int]:
    """The steps with a state of training, in order."""
    return _steps(manifest, _STATE)


def table_names(manifest: Manifest) -> list[str]:
    """The tables that come with a run."""
    return [name.removeprefix(f"{TABLES}/").removesuffix(TABLE) for name in manifest.files if name.startswith(f"{TABLES}/")]


def table_file(name: str) -> str:
    """The file of a table, in its folder."""
    return f"{TABLES}/{name}{TABLE}"


@contextlib.contextmanager
def naming_checkpoints() -> Iterator[None]:
    """Turn a FileError of any reader into a CheckpointError with the same words."""
    try:
        yield
    except CheckpointError:
        raise
    except FileError as error:
        raise CheckpointError(str(error)) from error


@contextlib.contextmanager
def written_alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder for writing, without what killed writers left half written.

    Raises:
        FolderInUseError: if another process writes into it.
    """
    with only_writer(folder):
        for part in (folder, folder / CHECKPOINTS, folder / TABLES):
            for partial in part.glob(".*.partial"):
                partial.unlink(missing_ok=True)
        yield


@dataclass(frozen=True)
class RunWriter:
    """Writes a run's files; held by `written_alone`.

    Attributes:
        folder: of the run.
        files: what is written and belongs to the run.
    """

    folder: Path
    files: dict[str, Entry] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> None:
        """Write one file, which belongs to the run from the next manifest on."""
        write_atomic(self.folder / name, data)
        self.files[name] = Entry.of(data)

    def begin(self, settings: bytes) -> None:
        """Make the folder a run: the manifest, then `run.json`, without which there is none."""
        self.files[SETTINGS] = Entry.of(settings)
        self.publish()
        write_atomic(self.folder / SETTINGS, settings)

    def publish(self) -> None:
        """Write the manifest, then remove weights and states that it does not name."""
        self.manifest.write()
        for path in unnamed(self.manifest):
            path.unlink(missing_ok=True)

    @property
    def manifest(self) -> Manifest:
        """What the next manifest says."""
        return Manifest(self.folder, KIND, self.files)


def unnamed(manifest: Manifest) -> list[Path]:
    """Weights and states in a folder that do not belong to its run: a killed writer left them."""
    there = [path for pattern in _REMOVED for path in manifest.folder.glob(pattern)]
    return [path for path in there if path.relative_to(manifest.folder).as_posix() not in manifest.files]


def _steps(manifest: Manifest, pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(match[1]) for name in manifest.files if (match := pattern.fullmatch(name)))
