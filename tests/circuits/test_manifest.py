"""A folder is what its manifest names: all of it, unchanged, and inside."""

import errno
import os
from pathlib import Path

import pytest

from grokscope.circuits.documents import FileError, write_document
from grokscope.circuits.manifest import MANIFEST, Entry, Manifest

FILES = {"a.bin": b"abc", "deep/b.bin": b""}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    Manifest(tmp_path, "run", {name: Entry.of(data) for name, data in FILES.items()}).write()
    return Manifest.read(tmp_path, "run")


def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert {name: manifest.bytes_of(name) for name in manifest.files} == FILES


@pytest.mark.parametrize("data", [b"", b"ab", b"abd", b"abcd"])
def test_other_bytes_are_refused(manifest: Manifest, data: bytes) -> None:
    (manifest.folder / "a.bin").write_bytes(data)
    with pytest.raises(FileError, match=r"a\.bin: its .* damaged or changed"):
        manifest.bytes_of("a.bin")


REFUSED = {FileNotFoundError: "is gone", PermissionError: r"cannot be read \(Permission denied\)"}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_says_who_named_it_and_what_to_do(
    manifest: Manifest, kind: type[OSError], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind is FileNotFoundError:
        (manifest.folder / "a.bin").unlink()
    else:
        monkeypatch.setattr(Path, "read_bytes", _refused)
    message = (
        rf"manifest\.json of this run names a file that {REFUSED[kind]}; take a copy of it or make the run again: .*a\.bin"
    )
    with pytest.raises(kind, match=message):
        manifest.bytes_of("a.bin")


def _refused(path: Path) -> bytes:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_rows_that_came_after_it_are_left_out(manifest: Manifest) -> None:
    (manifest.folder / "a.bin").write_bytes(b"abcde")
    assert manifest.bytes_of("a.bin", may_have_grown=True) == b"abc"
    (manifest.folder / "a.bin").write_bytes(b"abXde")
    with pytest.raises(FileError, match=r"a\.bin"):
        manifest.bytes_of("a.bin", may_have_grown=True)


def test_a_file_that_it_does_not_name_is_no_part(manifest: Manifest) -> None:
    (manifest.folder / "c.bin").touch()
    with pytest.raises(FileError, match=r"does not name c\.bin; it names a\.bin, deep/b\.bin"):
        manifest.bytes_of("c.bin")


def test_a_link_out_of_the_folder_is_not_followed(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a.bin"
    outside.write_bytes(FILES["a.bin"])
    (manifest.folder / "a.bin").unlink()
    (manifest.folder / "a.bin").symlink_to(outside)
    with pytest.raises(FileError, match="out of its folder"):
        manifest.bytes_of("a.bin")


@pytest.mark.parametrize("name", ["../a.bin", "/etc/hostname", "", ".", "a/../../b", "a\\b", "c:a", "a//b", "./a.bin"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    content = {"files": {name: Entry.of(b"").model_dump()}}
    write_document(tmp_path / MANIFEST, "manifest of a run", content, written_format=1)
    with pytest.raises(FileError, match="names of files are paths in the folder"):
        Manifest.read(tmp_path, "run")


def test_another_kind_of_folder(manifest: Manifest) -> None:
    with pytest.raises(FileError, match="expected a manifest of a study, this is a manifest of a run"):
        Manifest.read(manifest.folder, "study")


NO_FILES = {
    "a folder": (Path.mkdir, "a folder or a device"),
    "a pipe": (os.mkfifo, "a folder or a device"),
    "a broken link": (lambda path: path.symlink_to("nowhere"), "a link that leads to no file"),
    "a loop": (lambda path: path.symlink_to(path), "a link that leads to no file"),
}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_named_and_not_waited_for(manifest: Manifest, name: str) -> None:
    make, found = NO_FILES[name]
    for path in (manifest.folder / "a.bin", manifest.folder / MANIFEST):
        path.unlink()
        make(path)
    with pytest.raises(FileError, match=rf"a\.bin: expected a file, found {found}"):
        manifest.bytes_of("a.bin")
    with pytest.raises(FileError, match=rf"manifest\.json: expected a file, found {found}"):
        Manifest.read(manifest.folder, "run")
