"""Safetensors files that say what they are: in their metadata kind, format, the version that wrote them, and a checksum.

The checksum is over names, dtypes, shapes, bytes and the other metadata. Files of format 1 say nothing of themselves; for
those that are shipped the manifest vouches. Equal tensors give equal bytes, which the library's own writer does not
promise for metadata.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .documents import FileError, decoded, own_version, parsed

FORMAT = 2
_METADATA = "__metadata__"
_LENGTH = 8  # bytes that give the header's length

Tensors = TypeVar("Tensors")


def labelled(plain: bytes, kind: str, about: Mapping[str, str]) -> bytes:
    """A safetensors file without metadata, with what it is written into it.

    Args:
        plain: what `safetensors.torch.save` or `safetensors.numpy.save` gave.
        kind: what the file is, as its reader calls it.
        about: further metadata.
    """
    header, content = _parts(plain, "what is to be written")
    metadata = {**about, "kind": kind, "format": str(FORMAT), "version": own_version()}
    metadata["checksum"] = _checksum(header, metadata, content)
    text = json.dumps({_METADATA: dict(sorted(metadata.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)  # so that tensors lie where they may be mapped
    return len(text).to_bytes(_LENGTH, "little") + text + content


def metadata_of(data: bytes, kind: str, where: str) -> dict[str, str]:
    """The metadata of a file, after checking kind, format and checksum, in this order.

    Raises:
        FileError: if one of them is not as expected.
    """
    header, content = _parts(data, where)
    metadata = header.pop(_METADATA, {})
    if metadata.get("kind") != kind:
        raise FileError(f"{where}: expected a {kind}, this file is {metadata.get('kind', 'of no kind that it names')}")
    if metadata.get("format") != str(FORMAT):
        raise FileError(
            f"{where}: this {kind} is of format {metadata.get('format')}, written by grokscope {metadata.get('version')}; "
            f"version {own_version()} reads format {FORMAT}: install the version that wrote it"
        )
    found = _checksum(header, metadata, content)
    if found != metadata.get("checksum"):
        raise FileError(
            f"{where}: the content of this {kind} has the checksum {found[:12]}…, the file says "
            f"{str(metadata.get('checksum'))[:12]}…; it was damaged or changed: take a copy or make it again"
        )
    return metadata


def bare_metadata(data: bytes, where: str) -> dict[str, str] | None:
    """What a file of format 1 says, unchecked; None for one that says what it is.

    Raises:
        FileError: if it is no safetensors file.
    """
    metadata = _parts(data, where)[0].get(_METADATA, {})
    return None if "kind" in metadata else metadata


def tensors_of(data: bytes, load: Callable[[bytes], Tensors], where: str) -> Tensors:
    """The tensors of a file.

    Args:
        data: its bytes.
        load: `safetensors.torch.load` or `safetensors.numpy.load`.
        where: the name of the file, for messages.

    Raises:
        FileError: if they cannot be read.
    """
    try:
        return load(data)
    except Exception as error:  # of the many that the library raises for foreign bytes, all mean this
        raise FileError(
            f"{where}: expected a safetensors file, but {type(error).__name__}: {error}; take a copy or make it again"
        ) from error


def _parts(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """The header of a file and the bytes of its tensors."""
    start = _LENGTH + int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or start > len(data):
        raise FileError(
            f"{where}: expected a safetensors file, these {len(data):,} bytes are none or end too early; "
            "take a copy or make it again"
        )
    header = parsed(decoded(data[_LENGTH:start], where), where)
    about = header.get(_METADATA, {}) if isinstance(header, dict) else None
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise FileError(f"{where}: expected a safetensors file, its header has another form; take a copy or make it again")
    return header, data[start:]


def _checksum(header: Mapping[str, Any], metadata: Mapping[str, str], content: bytes) -> str:
    about = {name: value for name, value in metadata.items() if name != "checksum"}
    digest = hashlib.sha256(json.dumps([header, about], sort_keys=True).encode())
    digest.update(content)
    return digest.hexdigest()
