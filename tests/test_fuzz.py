"""Damaged files are refused by name or load as they were saved; see `python -m fuzz` for other seeds."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import watching
from fuzz.cases import BAD, Case, fuzz, judged, report
from fuzz.subject import Subject
from fuzz.target import Target
from safetensors import safe_open
from safetensors.numpy import save_file

from grokscope.circuits.documents import FileError


def check(cases: list[Case]) -> None:
    bad = [each for each in cases if each.outcome in BAD]
    lines = [str(each) for each in bad[:20]]
    assert not bad, "\n".join([f"{len(bad)} of {len(cases)} cases are bad", *lines, report(cases).to_string()])


def test_a_few_damaged_files_are_refused_or_load_as_saved() -> None:
    check(fuzz(0, range(150)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_are_refused_or_load_as_saved(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    cases = fuzz(seed, range(2000))
    with capsys.disabled():
        sys.stdout.write(f"\nseed {seed}\n{report(cases).to_string()}\n")
    check(cases)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "copy").mkdir()
    (tmp_path / "elsewhere").mkdir()
    save_file({"x": np.ones(3)}, tmp_path / "copy" / "x.safetensors")
    yield tmp_path


def outcome(place: Path, read: Callable[[Path], Any], change: Callable[[Target], None] = lambda target: None) -> str:
    subject = Subject("sample", place / "copy", read, 1)
    target = Target(place / "copy", "x.safetensors", np.random.default_rng(0), [], None, place / "elsewhere")
    change(target)
    return judged(subject, target)[0]


def fails(error: Exception) -> Callable[[Path], Any]:
    def read(folder: Path) -> None:
        raise error

    return read


def opens(path: Path, mode: str = "r") -> int:
    open(path, mode).close()
    return 1


def opens_by_rust(folder: Path) -> int:
    with safe_open(folder / "x.safetensors", framework="np") as file:
        return len(file.get_tensor("x")) // 3


def linked(target: Target) -> None:
    target.decoy = target.elsewhere / "x.safetensors"
    target.path.rename(target.decoy)
    target.path.symlink_to(target.decoy)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "as saved": ("equal", lambda folder: 1),
    "something else": ("silent", lambda folder: 2),
    "another type": ("silent", lambda folder: 1.0),
    "error with the name": ("refused", fails(FileError("copy/x.safetensors is damaged"))),
    "error of the system": ("refused", lambda folder: opens(folder / "x.safetensors" / "y")),
    "error without a name": ("unnamed", fails(FileError("a file is damaged"))),
    "a kind of ValueError": ("foreign", fails(UnicodeDecodeError("utf-8", b"", 0, 1, "x.safetensors"))),
    "another library's error": ("foreign", fails(KeyError("x.safetensors"))),
    "no end": ("hang", lambda folder: time.sleep(60)),
    "no end of memory": ("hang", lambda folder: Path("/dev/zero").read_bytes()),
    "reads elsewhere": ("outside", lambda folder: opens(watching.__file__) and opens(folder.parent / "other.txt")),
    "writes elsewhere": ("outside", lambda folder: opens(folder.parent / "elsewhere" / "new", "w")),
    "writes at home": ("outside", lambda folder: opens(Path(__file__), "a")),
    "removes elsewhere": ("outside", lambda folder: os.rename(folder.parent / "other.txt", folder / "y") or 1),
    "follows a way out": ("outside", lambda folder: opens(folder / ".." / "other.txt")),
    "reads its folder": ("equal", opens_by_rust),
}


@pytest.mark.parametrize("name", READERS)
def test_the_fuzz_sees(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "SECONDS", 0.5)
    (place / "other.txt").touch()
    expected, read = READERS[name]
    assert outcome(place, read) == expected


def test_the_fuzz_sees_what_rust_reads_elsewhere(place: Path) -> None:
    assert outcome(place, opens_by_rust, linked) == "outside"


@pytest.mark.slow
def test_a_case_is_made_again_by_its_numbers() -> None:
    first, again = fuzz(3, range(40)), fuzz(3, range(20, 40))
    assert first[20:] == again and len({case.damage for case in first}) > 20
