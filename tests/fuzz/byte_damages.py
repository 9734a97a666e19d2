"""Damages that know nothing of what a file holds, and those of a folder's entries."""

import io
import os
import pickle
import shutil
import zipfile

from .target import Damage, Target

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"


def truncate(target: Target) -> str:
    data = target.path.read_bytes()
    place = target.place(data)
    target.path.write_bytes(data[:place])
    return f"cut after {place} of {len(data)} bytes"


def empty(target: Target) -> str:
    target.path.write_bytes(b"")
    return "emptied"


def flip(target: Target) -> str:
    data = bytearray(target.path.read_bytes())
    if not data:
        return ""
    place, bit = target.place(data), int(target.rng.integers(8))
    data[place] ^= 1 << bit
    target.path.write_bytes(data)
    return f"flipped bit {bit} of byte {place}"


def flip_many(target: Target) -> str:
    data = bytearray(target.path.read_bytes())
    n = int(target.rng.integers(2, 40))
    for _ in range(n if data else 0):
        data[target.place(data)] = int(target.rng.integers(256))
    target.path.write_bytes(data)
    return f"set {n} bytes"


def digit(target: Target) -> str:
    """The damage that is seen least: one digit for another."""
    data = bytearray(target.path.read_bytes())
    places = [place for place, value in enumerate(data) if 48 <= value < 58]
    if not places:
        return ""
    place = target.one_of(places)
    data[place] = 48 + (data[place] - 48 + int(target.rng.integers(1, 10))) % 10
    target.path.write_bytes(data)
    return f"another digit at byte {place}"


def chunk_twice(target: Target) -> str:
    data = target.path.read_bytes()
    start, end = sorted((target.place(data), target.place(data)))
    target.path.write_bytes(data[:end] + data[start:])
    return f"bytes {start} to {end} twice"


def chunk_gone(target: Target) -> str:
    data = target.path.read_bytes()
    start, end = sorted((target.place(data), target.place(data)))
    target.path.write_bytes(data[:start] + data[end:])
    return f"bytes {start} to {end} gone"


def noise(target: Target) -> str:
    target.path.write_bytes(target.rng.bytes(int(target.rng.integers(1, 5000))))
    return "random bytes"


def magic(target: Target) -> str:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.json", "{}")
    kinds = {"a PNG": _PNG, "a zip": buffer.getvalue(), "a pickle": pickle.dumps({"a": [1.0, None]})}
    name = target.one_of(list(kinds))
    target.path.write_bytes(kinds[name])
    return name


def foreign(target: Target) -> str:
    there = sorted(each for each in target.foreign if each.suffix == target.suffix) or list(target.foreign)
    other = target.one_of(there if target.rng.random() < 0.7 else list(target.foreign))
    shutil.copyfile(other, target.path)
    return f"replaced by {other.parent.name}/{other.name}"


def neighbour(target: Target) -> str:
    there = sorted(each for each in target.folder.rglob("*") if each.is_file() and each != target.path)
    if not there:
        return ""
    other = target.one_of([each for each in there if each.suffix == target.suffix] or there)
    shutil.copyfile(other, target.path)
    return f"replaced by {other.relative_to(target.folder)}"


def swapped(target: Target) -> str:
    """Two files of one folder change names."""
    there = sorted(f for f in target.folder.rglob("*") if f.is_file() and f != target.path and f.suffix == target.suffix)
    if not there:
        return ""
    other, data = target.one_of(there), target.path.read_bytes()
    target.path.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return f"exchanged with {other.relative_to(target.folder)}"


def of_twin(target: Target) -> str:
    """The file of that name in another sound folder."""
    if target.twin is None or not (target.twin / target.name).is_file():
        return ""
    shutil.copyfile(target.twin / target.name, target.path)
    return "replaced by that of another sound folder"


def encoding(target: Target) -> str:
    if target.suffix not in (".json", ".csv"):
        return ""
    text = target.path.read_bytes().decode()
    name = target.one_of(["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp1252", "a byte that is no UTF-8"])
    if name in ("cp1252", "a byte that is no UTF-8"):
        place = target.place(text.encode())
        data = text.encode()[:place] + (b"\xe9\xe8" if name == "cp1252" else b"\xff") + text.encode()[place:]
    else:
        data = text.encode(name)
    target.path.write_bytes(data)
    return f"written as {name}"


def line_ends(target: Target) -> str:
    if target.suffix not in (".json", ".csv"):
        return ""
    target.path.write_bytes(target.path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    return "lines end with CRLF"


def to_folder(target: Target) -> str:
    target.path.unlink()
    target.path.mkdir()
    return "a folder of that name"


def gone(target: Target) -> str:
    target.path.unlink()
    return "deleted"


def renamed(target: Target) -> str:
    name = target.one_of(
        [f"{target.path.name}.bak", target.path.name.upper(), f" {target.path.name}", f"x{target.path.name}"]
    )
    target.path.rename(target.path.with_name(name))
    return f"renamed to {name!r}"


def pipe(target: Target) -> str:
    target.path.unlink()
    os.mkfifo(target.path)
    target.held = os.open(target.path, os.O_RDWR | os.O_NONBLOCK)  # Rust would wait for a writer and hear no signal
    return "a named pipe"


def link_outside(target: Target) -> str:
    target.decoy = target.elsewhere / target.path.name
    shutil.move(target.path, target.decoy)
    target.path.symlink_to(target.decoy)
    return "a link to the same file outside"


def link_nowhere(target: Target) -> str:
    target.path.unlink()
    to = target.one_of([target.path, target.elsewhere / "not there", "/dev/zero"])
    target.path.symlink_to(to)
    return f"a link to {'itself' if to == target.path else to if to == '/dev/zero' else 'nothing'}"


def forbidden(target: Target) -> str:
    target.path.chmod(0)
    target.needs_rights = True
    return "nobody may read it"


BYTE_DAMAGES: dict[str, Damage] = {
    each.__name__: each
    for each in (
        *(truncate, empty, flip, flip_many, digit, chunk_twice, chunk_gone, noise, magic, foreign, neighbour, swapped),
        *(of_twin, encoding, line_ends, to_folder, gone, renamed, pipe, link_outside, link_nowhere, forbidden),
    )
}
