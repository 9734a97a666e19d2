"""Files say what they are, and a reader checks kind, format, checksum and schema, in this order, before it uses one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ConfigDict

from grokscope.circuits.documents import FileError, parsed, read_document, validated, write_document

CONTENT = {"b": [1, 2.5, -0.0, None, True, "ü"], "a": {}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_document(tmp_path / "file.json", "list", CONTENT, written_format=2)


@pytest.mark.parametrize("indent", [None, 2])
def test_what_is_written_is_read(tmp_path: Path, indent: int | None) -> None:
    path = write_document(tmp_path / "file.json", "list", CONTENT, written_format=2, indent=indent)
    document = read_document(path, ["list"], known_format=2)
    assert repr(document.content) == repr(CONTENT)  # also the order, and the sign of zero
    assert json.loads(path.read_text()) == document.model_dump()


def test_a_file_may_be_indented_by_hand_but_not_changed(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    assert read_document(path, ["list"], known_format=2).content == CONTENT
    path.write_text(path.read_text().replace("2.5", "2.6"))
    with pytest.raises(FileError, match=r"file.json: the content of this list has the checksum \w+…, the file says \w+…"):
        read_document(path, ["list"], known_format=2)


def test_the_order_of_checks(path: Path) -> None:
    """Each case is wrong in one thing more; the first that is wrong is said."""
    whole = json.loads(path.read_text())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"checksum": "0" * 64}, "checksum"),
        ({"format": 9, "version": "7.1"}, "format 9, written by grokscope 7.1; version .* reads format 2"),
        ({"kind": "other"}, "expected a list, this is a other"),
        ({"more": 1, "version": 3}, "version: input should be a valid string, got 3; more: extra inputs"),
    ]
    for changes, message in cases:
        whole |= changes
        path.write_text(json.dumps(whole))
        with pytest.raises(FileError, match=message) as caught:
            read_document(path, ["list"], known_format=2)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON, got"),
        (b"{", "expected JSON, got"),
        (b"[1]", "a valid dictionary"),
        (b"\xff\xfe{\x00}\x00", "UTF-8, byte 0 is none"),
        (b"\xef\xbb\xbf{}", "expected JSON"),
        (b'{"kind": 1, "kind": 2}', "'kind' is there twice"),
        (b'{"kind": NaN}', "NaN is no finite number"),
        (b'{"kind": 1e999}', "1e999 is no finite number"),
        (b'{"kind": ' + b"9" * 5000 + b"}", "expected JSON, but"),
        (b"[" * 100_000, "nested too deeply"),
        (b"{}", "kind: field required; format: field required; version"),
    ],
)
def test_what_is_no_such_file_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (path := tmp_path / "file.json").write_bytes(data)
    with pytest.raises(FileError, match=message) as caught:
        read_document(path, ["list"], known_format=2)
    assert str(path) in str(caught.value)


@dataclass
class Pair:
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    name: str
    sizes: dict[str, float]


def test_a_schema_converts_nothing_and_names_all_problems() -> None:
    assert validated(Pair, {"name": "a", "sizes": {"b": 1}}, "file").sizes == {"b": 1}
    with pytest.raises(FileError, match=r"^file: name: .* string, got 3; sizes\.b: .* number, got '1'; more: "):
        validated(Pair, {"name": 3, "sizes": {"b": "1"}, "more": 0}, "file")


def test_numbers_keep_their_bits() -> None:
    assert repr(parsed("[0.1, 1e-320, -0.0, 12345678901234567890]", "x")) == "[0.1, 1e-320, -0.0, 12345678901234567890]"


def test_an_indented_file_is_not_believed_for_the_checksum_of_nothing(path: Path) -> None:
    """What stands where an unindented file has its content is then nothing."""
    whole = json.loads(path.read_text()) | {"checksum": hashlib.sha256(b"").hexdigest()}
    path.write_text(json.dumps(whole, indent=1))
    with pytest.raises(FileError, match="has the checksum"):
        read_document(path, ["list"], known_format=2)
