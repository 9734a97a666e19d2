"""Files are complete or absent, whoever else writes, whatever stops it."""

import errno
import multiprocessing
import os
import re
import stat
import threading
from pathlib import Path

import pytest

from grokscope.circuits.writing import write_atomic

LONGEST_NAME = "n" * 255  # bytes, as most file systems allow
ROOT = Path(__file__).parents[2]
WRITES = r"\.write_(?:text|bytes)\(|\bopen\([^)]*[\"'][wax]|\bto_(?:csv|json|html)\(\s*(?:path|Path)|\bos\.replace\("


def writes(path: Path, text: str, n: int, errors: list[str]) -> None:
    for _ in range(n):
        try:
            write_atomic(path, text)
        except Exception as error:
            errors.append(repr(error))


def test_of_two_writers_one_wins_and_nothing_is_left(tmp_path: Path) -> None:
    """Threads share a process, so that a name made of its number would not do."""
    path, errors = tmp_path / "result.json", []
    texts = {letter * n for letter, n in (("a", 300_000), ("b", 100_000), ("ü", 50_000))}
    writers = [threading.Thread(target=writes, args=(path, text, 60, errors)) for text in texts]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_text(encoding="utf-8") in texts
    assert not errors and path.read_text(encoding="utf-8") in texts and list(tmp_path.iterdir()) == [path]


def test_two_processes(tmp_path: Path) -> None:
    context, path, errors = multiprocessing.get_context("spawn"), tmp_path / "file", []
    writer = context.Process(target=writes, args=(path, "a" * 100_000, 100, errors))
    writer.start()
    writes(path, "b" * 50_000, 100, errors)
    writer.join()
    assert writer.exitcode == 0 and not errors and list(tmp_path.iterdir()) == [path]
    assert path.read_text() in ("a" * 100_000, "b" * 50_000)


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("step", ["write", "rename"])
def test_what_stops_a_writer_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, step: str
) -> None:
    path = write_atomic(tmp_path / "file", "before")

    def stops(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, "fsync" if step == "write" else "replace", stops)
    with pytest.raises(type(error)) as caught:
        write_atomic(path, "after")
    if isinstance(error, OSError):
        assert re.search("cannot write 5 bytes .No space left.*before is unchanged", str(caught.value))
        assert caught.value.filename == str(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["plain.json", LONGEST_NAME, "ends.partial", ".hidden", "with space – é.html"])
def test_any_name_that_a_file_may_have(tmp_path: Path, name: str) -> None:
    path = write_atomic(tmp_path / "new" / "folder" / name, "ä\r\n\n")
    assert path.read_bytes() == "ä\r\n\n".encode() and list(path.parent.iterdir()) == [path]


def test_text_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write_atomic(tmp_path / "file", "\ud800")
    assert not list(tmp_path.iterdir())


def test_nothing_else_in_the_library_writes() -> None:
    sources = [path for name in ("analyses", "circuits", "tasks") for path in (ROOT / name).rglob("*.py")]
    found = {path.name for path in sources if re.search(WRITES, path.read_text())}
    assert found == {"writing.py", "lock.py"}  # the lock names its holder in itself, where a rename would unlock it


def test_file_and_folder_are_on_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, sync, rename = [], os.fsync, os.replace

    def synced(number: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(number)

    def renamed(*names: Path) -> None:
        steps.append("rename")
        rename(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_atomic(tmp_path / "file", "text")
    assert steps == ["file", "rename", "folder"]
