"""One case after another: damage a copy, read it, judge what came."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd

from grokscope.circuits.documents import FileError
from grokscope.tasks import CheckpointError
from grokscope.tasks.questions.files import DataFolderError

from .byte_damages import BYTE_DAMAGES
from .content_damages import CONTENT_DAMAGES
from .documents import attribution_graphs, eap_ig, measurements, results
from .folders import data, listed, runs, unfinished
from .signing import sign_again
from .subject import Subject, same
from .target import Target
from .watching import TooMuchTaken, Watch, decoy_was_read, limited, set_decoy, watching, without_rights

GOOD = ("equal", "another", "refused")
BAD = ("silent", "unnamed", "foreign", "hang", "outside")
"""Outcomes. equal: as saved; another: a whole file of another content, as far as its schema can tell; refused: an error of
the library or the system that names a file; silent: something else than was saved; unnamed: an error that names no file;
foreign: an error of another library, or of Python; hang: too much time or memory; outside: another folder was touched."""
IN_MEMORY = Path("/dev/shm")
OURS = (FileError, CheckpointError, DataFolderError, OSError)


class Case(NamedTuple):
    """What was done and what came of it; seed and number make it again."""

    seed: int
    number: int
    subject: str
    file: str
    damage: str
    outcome: str
    message: str

    def __str__(self) -> str:
        return f"[{self.seed}/{self.number}] {self.subject}, {self.file}, {self.damage} -> {self.outcome}: {self.message}"


class Fuzz:
    """The subjects, made once, and a place for the damaged copies."""

    def __init__(self, work: Path) -> None:
        sound = work / "sound"
        sound.mkdir()
        makers = (results, measurements, eap_ig, attribution_graphs, data, listed, runs, unfinished)
        with mock.patch("time.perf_counter", count(0.0, 0.5).__next__):  # a seed is to give the same files, and a run says
            self.subjects: list[Subject] = [subject for make in makers for subject in make(sound)]  # how long it took
        self.work, self.foreign = work, sorted(path for path in sound.rglob("*") if path.is_file() and path.stat().st_size)
        shares = np.array([subject.share for subject in self.subjects])
        self.shares = shares / shares.sum()

    def case(self, seed: int, number: int) -> Case:
        """One case; the same for the same numbers."""
        rng = np.random.default_rng([seed, number])
        subject = self.subjects[int(rng.choice(len(self.subjects), p=self.shares))]
        place = self.work / "case"
        shutil.rmtree(place, ignore_errors=True)
        folder, elsewhere = place / subject.sound.name, place / "elsewhere"
        shutil.copytree(subject.sound, folder)
        elsewhere.mkdir()
        target = Target(
            folder, subject.files[int(rng.integers(len(subject.files)))], rng, self.foreign, subject.twin, elsewhere
        )
        damage = _damage(target)
        outcome, message = judged(subject, target)
        return Case(seed, number, subject.name, target.name, damage, outcome, message.replace(str(place), "…"))


def judged(subject: Subject, target: Target) -> tuple[str, str]:
    """Read a damaged folder; the outcome, and what an error or the watch said."""
    watch = Watch(target.folder, may_read=target.elsewhere if subject.asked else None)
    before = sorted(target.elsewhere.iterdir())
    if target.decoy:
        set_decoy(target.decoy)
    if target.needs_rights:
        _open_to_all(target)
    try:
        with limited(), watching(watch), without_rights(target.needs_rights), _quiet():
            found = subject.read(target.folder)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Rust's panics are no Exception
        outcome, message = _of_error(error, subject, target)
    else:
        outcome, message = _of_value(found, subject, target)
    finally:
        if target.held is not None:
            os.close(target.held)
    if target.decoy and not subject.asked and decoy_was_read(target.decoy):
        watch.outside.append(f"reads {target.decoy}")
    if sorted(target.elsewhere.iterdir()) != before:
        watch.outside.append(f"changes {target.elsewhere}")
    return ("outside", "; ".join(watch.outside)) if watch.outside and outcome != "hang" else (outcome, message)


def _damage(target: Target) -> str:
    """Do one damage that there is for the file."""
    kinds = (BYTE_DAMAGES, CONTENT_DAMAGES.get(target.suffix, {}))
    while True:
        among = kinds[int(target.rng.random() < 0.5)] or BYTE_DAMAGES
        name = target.one_of(list(among))
        if done := among[name](target):
            sign_again(target)
            return f"{name}: {done}" + (" (signed again)" if target.is_forged else "")


def _of_error(error: BaseException, subject: Subject, target: Target) -> tuple[str, str]:
    message = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    if isinstance(error, TooMuchTaken | MemoryError):
        return "hang", message
    if not isinstance(error, OURS):
        return "foreign", message
    names = {Path(name).name for name in (target.name, *subject.files)}
    if isinstance(error, OSError) and Path(os.fsdecode(error.filename or "")).is_relative_to(target.folder / "."):
        names.add(os.fsdecode(error.filename))  # of a file that a changed manifest says is there
    return "refused" if any(name in str(error) for name in names) else "unnamed", message


def _of_value(found: Any, subject: Subject, target: Target) -> tuple[str, str]:
    if same(found, subject.saved):
        return "equal", ""
    return ("another" if target.is_forged or subject.is_right(target.folder, found) else "silent"), "loads as something else"


def _open_to_all(target: Target) -> None:
    """Let nobody into the copy, as far as its permissions are not the damage."""
    for path in (target.folder, *target.folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o777)


@contextmanager
def _quiet() -> Iterator[None]:
    """A warning that an older state is used is right, not an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fuzz(seed: int, numbers: Sequence[int]) -> list[Case]:
    """Do cases of a seed, in a temporary folder that everybody may enter; in memory, where there is such a place."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as name:
        Path(name).chmod(0o755)
        together = Fuzz(Path(name))
        return [together.case(seed, number) for number in numbers]


def report(cases: Sequence[Case]) -> pd.DataFrame:
    """How many cases of each subject had which outcome."""
    table = pd.crosstab([case.subject for case in cases], [case.outcome for case in cases], rownames=["subject"])
    table = table.reindex(columns=[*GOOD, *BAD], fill_value=0)
    table.loc["all"] = table.sum()
    return table.rename_axis(columns="outcome")
