"""A run's folder: the names of its files, and how they are written so that it is whole at every moment.

`manifest.json` names every file that belongs to the run, with size and SHA-256, and is written after the files. What it
names does not change any more, but for `metrics.csv`, which only grows. So whenever a writer is killed, the manifest on
disk describes a run that was whole, and what it does not name is left over. `run.json` is written last of all when a run
begins: a folder without it is no run, and one with it has a manifest.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...circuits.documents import FileError
from ...circuits.lock import FolderInUseError as FolderInUseError
from ...circuits.lock import only_writer
from ...circuits.manifest import MANIFEST, Entry, Manifest
from ...circuits.writing import write_atomic

KIND = "run"
SETTINGS, TASK, METRICS = "run.json", "task.safetensors", "metrics.csv"
CHECKPOINTS, TABLES, TABLE = "checkpoints", "tables", ".csv.xz"
SHOWN = 3  # names of files that a message lists
_CHECKPOINT = re.compile(rf"{CHECKPOINTS}/step_(\d{{8,}})\.safetensors")
_STATE = re.compile(r"state_(\d{8,})\.safetensors")
_TABLE = re.compile(rf"{TABLES}/[^/]+{re.escape(TABLE)}")
_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{32}\.partial")  # what `write_atomic` calls a file until it is whole


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
        CheckpointError: see `check_parts`; nothing is written then.
    """
    check_parts(folder)
    with only_writer(folder):
        for part in (folder, folder / CHECKPOINTS, folder / TABLES):
            for partial in part.glob(".*.partial"):
                if _is_own_partial(partial.relative_to(folder)):
                    partial.unlink(missing_ok=True)
        yield


def check_parts(folder: Path) -> None:
    """Raise for a sub-folder through which files elsewhere would be written and removed, or which is none.

    Raises:
        CheckpointError: with all such sub-folders.
    """
    problems = []
    for part in (folder / CHECKPOINTS, folder / TABLES):
        if not part.resolve().is_relative_to(folder.resolve()):
            problems.append(f"{part} is a link to {part.resolve()}, out of the run's folder")
        elif os.path.lexists(part) and not part.is_dir():
            problems.append(f"{part} is no folder")
    if problems:
        raise CheckpointError(
            f"{'; '.join(problems)}: put a folder there in its place, or choose another folder for the run"
        )


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
        for name in unnamed(self.manifest):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def manifest(self) -> Manifest:
        """What the next manifest says."""
        return Manifest(self.folder, KIND, self.files)


def unnamed(manifest: Manifest) -> list[str]:
    """Weights and states in a folder that do not belong to its run: a killed writer left them."""
    return [name for name in weights_and_states(manifest.folder) if name not in manifest.files]


def weights_and_states(folder: Path) -> list[str]:
    """The files in a folder with exactly the names that those of a run have."""
    paths = sorted([*folder.glob("state_*"), *folder.glob(f"{CHECKPOINTS}/step_*")])
    names = [path.relative_to(folder).as_posix() for path in paths]
    return [name for name in names if _CHECKPOINT.fullmatch(name) or _STATE.fullmatch(name)]


def check_holds_no_part(folder: Path) -> None:
    """Raise where what is left of a run that is no longer one would be overwritten and removed.

    Raises:
        CheckpointError: with what is there.
    """
    there = [name for name in (METRICS,) if os.path.lexists(folder / name)] + weights_and_states(folder)
    if there:
        shown = ", ".join(there[:SHOWN]) + (f" and {len(there) - SHOWN} more" if len(there) > SHOWN else "")
        raise CheckpointError(
            f"{folder} lacks {SETTINGS} of a run, but holds {shown}, which would be overwritten or removed; put {SETTINGS} "
            f"and {MANIFEST} back from a copy, move those files away, or choose another folder"
        )


def _is_own_partial(path: Path) -> bool:
    """Whether a file, by its path in the folder, is a file of a run that is half written."""
    if not (match := _PARTIAL.fullmatch(path.name)):
        return False
    name = path.with_name(match[1]).as_posix()
    return name in (SETTINGS, TASK, METRICS, MANIFEST) or any(each.fullmatch(name) for each in (_CHECKPOINT, _STATE, _TABLE))


def _steps(manifest: Manifest, pattern: re.Pattern[str]) -> list[int]:
    return sorted(int(match[1]) for name in manifest.files if (match := pattern.fullmatch(name)))
