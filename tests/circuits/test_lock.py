"""One writer in a folder: the second is told who the first is, and a first that was killed holds nothing."""

import errno
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock

from grokscope.circuits.lock import LOCK, FolderInUseError, only_writer


def holds(folder: Path) -> None:
    with only_writer(folder):
        (folder / "held").touch()
        time.sleep(60)


def test_the_second_is_told_who_the_first_is(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=holds, args=(tmp_path,))
    process.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    for _ in range(2):  # the refused one does not wipe out the name of the first
        with (
            pytest.raises(FolderInUseError, match=rf"{tmp_path} is being written by process {process.pid} on"),
            only_writer(tmp_path),
        ):
            pass
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with only_writer(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / LOCK).read_text()


def test_also_in_one_process_and_free_afterwards(tmp_path: Path) -> None:
    refused = pytest.raises(FolderInUseError, match=f"process {os.getpid()}")
    with only_writer(tmp_path / "new"), refused, only_writer(tmp_path / "new"):
        pass
    with pytest.raises(KeyError), only_writer(tmp_path / "new"):
        raise KeyError
    with only_writer(tmp_path / "new"):
        pass


@pytest.mark.parametrize("name", ["mkdir", "write_text", "acquire"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "elsewhere")

    monkeypatch.setattr(FileLock if name == "acquire" else Path, name, refused)
    message = rf"cannot write \.lock in this folder \(Permission denied\).*; make it writable.*: '{tmp_path}/new'"
    with pytest.raises(PermissionError, match=message), only_writer(tmp_path / "new"):
        pass


def test_errors_of_the_writer_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^disk$"), only_writer(tmp_path):
        raise OSError("disk")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (other := tmp_path / "other").write_text("kept")
    (tmp_path / LOCK).symlink_to(other)
    with pytest.raises(OSError, match=r"is a link; remove it.*\.lock"), only_writer(tmp_path):
        pass
    assert other.read_text() == "kept"
