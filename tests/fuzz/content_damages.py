"""Damages that know the format: JSON, CSV (also compressed) and safetensors; what results can mostly be parsed."""

import json
import lzma
import struct
from typing import Any

from grokscope.circuits.documents import checksum

from .target import MANIFEST, Damage, Target

_HUGE = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e308", "9" * 400, "-1", "1e-400", "0.5", "2147483648")
_VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1.5, "x", "", "1", [], {}, [[]], [None], {"a": 1})
_MARK = "@@damaged@@"
_DEPTH = 100_000


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with every key or number in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def _open(target: Target) -> tuple[Any, list[tuple[Any, Any]]]:
    """The content of a JSON file, and its places; only those of its content, if it is to be signed again."""
    content = json.loads(target.path.read_bytes())
    target.is_forged = isinstance(content, dict) and {"checksum", "content"} <= set(content) and target.rng.random() < 0.5
    return content, _places(content["content"] if target.is_forged else content)


def _open_named(target: Target) -> tuple[Any, list[tuple[Any, Any]]]:
    """As `_open`, with those places alone that have a key."""
    content, places = _open(target)
    return content, [(holder, key) for holder, key in places if isinstance(holder, dict)]


def _close(target: Target, content: Any, instead: str = "") -> None:
    """Write it, with a text instead of the mark, if there is one."""
    text = json.dumps(content)
    if target.is_forged and not instead:
        content["checksum"] = checksum(content["content"])
        text = json.dumps(content)
    target.path.write_text(text.replace(f'"{_MARK}"', instead, 1) if instead else text)


def _shown(container: Any, key: Any) -> str:
    return repr(key) if isinstance(container, dict) else f"item {key}"


def swap_values(target: Target) -> str:
    content, places = _open(target)
    if len(places) < 2:
        return ""
    (a, i), (b, j) = (target.one_of(places) for _ in range(2))
    one, other = json.loads(json.dumps([a[i], b[j]]))  # copies: one may hold the other
    a[i], b[j] = other, one
    _close(target, content)
    return f"exchanged the values of {_shown(a, i)} and {_shown(b, j)}"


def rename_key(target: Target) -> str:
    content, named = _open_named(target)
    if not named:
        return ""
    holder, key = target.one_of(named)
    holder[new := target.one_of([f"{key}x", key.upper(), "", "$", "__class__"])] = holder.pop(key)
    _close(target, content)
    return f"renamed {key!r} to {new!r}"


def remove_key(target: Target) -> str:
    content, places = _open(target)
    if not places:
        return ""
    holder, key = target.one_of(places)
    del holder[key]
    _close(target, content)
    return f"removed {_shown(holder, key)}"


def add_key(target: Target) -> str:
    content, places = _open(target)
    holders = [holder for holder, _ in places]
    if not holders:
        return ""
    holder, value = target.one_of(holders), target.one_of(_VALUES)
    if isinstance(holder, dict):
        holder["unknown"] = value
    else:
        holder.insert(target.place(holder), target.one_of([value, holder[0]]))
    _close(target, content)
    return "added a key or an item"


def repeat_key(target: Target) -> str:
    content, named = _open_named(target)
    if not named:
        return ""
    target.is_forged = False
    holder, key = target.one_of(named)
    holder[_MARK] = target.one_of([holder[target.one_of(list(holder))], *_VALUES])
    _close(target, content, json.dumps(key))
    return f"the key {key!r} twice"


def change_type(target: Target) -> str:
    content, places = _open(target)
    if not places:
        return ""
    holder, key = target.one_of(places)
    holder[key] = (value := target.one_of([each for each in _VALUES if type(each) is not type(holder[key])]))
    _close(target, content)
    return f"{_shown(holder, key)} is {value!r}"


def huge_number(target: Target) -> str:
    content, places = _open(target)
    target.is_forged = False
    numbers = [(h, k) for h, k in places if isinstance(h[k], int | float) and not isinstance(h[k], bool)]
    holder, key = target.one_of(numbers or places or [([0], 0)])
    holder[key] = _MARK
    _close(target, content, number := target.one_of(_HUGE))
    return f"{_shown(holder, key)} is {number[:12]}"


def nested(target: Target) -> str:
    a, b = target.one_of([("[", "]"), ('{"a":', "}")])
    content, places = _open(target)
    target.is_forged = False
    deep = a * _DEPTH + ("1" if ":" in a else "") + b * _DEPTH
    if target.rng.random() < 0.5 or not places:
        target.path.write_text(deep)
        return "nested 100,000 deep"
    holder, key = target.one_of(places)
    holder[key] = _MARK
    _close(target, content, deep)
    return f"{_shown(holder, key)} is nested 100,000 deep"


def other_whole(target: Target) -> str:
    target.path.write_text(text := target.one_of(["null", "[]", "{}", "0", '"x"', "true", "[{}]", "NaN"]))
    return f"nothing but {text}"


def leads_outside(target: Target) -> str:
    """A manifest, signed again, that names what is not in its folder."""
    content = json.loads(target.path.read_bytes())
    if target.path.name != MANIFEST or not isinstance(content.get("content", {}).get("files"), dict):
        return ""
    files, target.is_forged = content["content"]["files"], True
    name = target.one_of(["../x.json", "/etc/passwd", "a/../../x", "..", "", ".", "a\\b", "C:/x", "a\0b", "//x"])
    files[name] = files.pop(target.one_of(list(files)))
    _close(target, content)
    return f"names {name!r}"


def _lines(target: Target) -> list[str]:
    data = target.path.read_bytes()
    return (lzma.decompress(data) if target.suffix == ".xz" else data).decode().splitlines()


def _write_lines(target: Target, lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    target.path.write_bytes(lzma.compress(data) if target.suffix == ".xz" else data)


def row_twice(target: Target) -> str:
    lines = _lines(target)
    row = target.place(lines)  # the header, too
    _write_lines(target, [*lines[: row + 1], *lines[row:]])
    return f"line {row} twice"


def row_gone(target: Target) -> str:
    lines = _lines(target)
    row = target.place(lines)
    _write_lines(target, lines[:row] + lines[row + 1 :])
    return f"line {row} gone"


def rows_mixed(target: Target) -> str:
    header, *rows = _lines(target)
    _write_lines(target, [header, *(rows[i] for i in target.rng.permutation(len(rows)))])
    return "rows in another order"


def cell(target: Target) -> str:
    lines = _lines(target)
    row = target.place(lines)
    cells = lines[row].split(",")
    column = target.place(cells)
    cells[column] = (value := target.one_of([*_HUGE, "", "x", '"', "a,b", "None", "1_0", " 1", "0x1", "1e5", cells[0]]))
    _write_lines(target, [*lines[:row], ",".join(cells), *lines[row + 1 :]])
    return f"line {row}, column {column} is {value[:12]!r}"


def columns(target: Target) -> str:
    header, *rows = _lines(target)
    names = header.split(",")
    one, other = target.place(names), target.place(names)
    if target.rng.random() < 0.5:
        names[one], names[other] = names[other], names[one]
    else:
        names[one] = target.one_of([names[other], "unknown", ""])
    _write_lines(target, [",".join(names), *rows])
    return f"other names of columns {one} and {other}"


def huge_header(target: Target) -> str:
    data, n = target.path.read_bytes(), target.one_of([0, 2**31, 2**40, 2**63 - 1, 2**64 - 1, 99_999_999])
    target.path.write_bytes(struct.pack("<Q", n) + data[8:])
    return f"a header of {n} bytes"


def tensor_header(target: Target) -> str:
    """Damages the header as JSON and keeps the tensors."""
    data = target.path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    header = target.elsewhere / "header.json"
    header.write_bytes(data[8 : 8 + n])
    inner = Target(target.elsewhere, header.name, target.rng, target.foreign, None, target.elsewhere)
    done = target.one_of(_OF_HEADERS)(inner)
    text = header.read_bytes()
    target.path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + n :])
    header.unlink()
    return f"in the header: {done}" if done else ""


def tensor_value(target: Target) -> str:
    data = bytearray(target.path.read_bytes())
    start = 8 + struct.unpack("<Q", data[:8])[0]
    n = (len(data) - start) // 4
    if n < 1:
        return ""
    place = start + 4 * int(target.rng.integers(n))
    value = target.one_of([float("nan"), float("inf"), -1e38, 3.0])
    data[place : place + 4] = struct.pack("<f", value)
    target.path.write_bytes(data)
    return f"{value} at byte {place}"


_OF_HEADERS: tuple[Damage, ...] = (swap_values, rename_key, remove_key, repeat_key, change_type, huge_number)
_JSON: tuple[Damage, ...] = (*_OF_HEADERS, add_key, nested, other_whole, leads_outside)
_CSV: tuple[Damage, ...] = (row_twice, row_gone, rows_mixed, cell, columns)
CONTENT_DAMAGES: dict[str, dict[str, Damage]] = {
    suffix: {damage.__name__: damage for damage in damages}
    for suffix, damages in {
        ".json": _JSON,
        ".csv": _CSV,
        ".xz": _CSV,
        ".safetensors": (huge_header, tensor_header, tensor_value),
    }.items()
}
