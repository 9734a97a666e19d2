"""Damage that no checksum tells: the manifest is written again, as whoever makes files by hand would."""

import hashlib
import json
from pathlib import Path

from grokscope.circuits.documents import checksum

from .target import MANIFEST, Target

SHARE = 0.25


def sign_again(target: Target) -> None:
    """Give some damaged files a new entry in their folder's manifest, so that a reader must look at what they hold."""
    if target.rng.random() >= SHARE or target.path.is_symlink() or not target.path.is_file() or target.needs_rights:
        return
    for folder in target.path.parents:
        if _sign(folder / MANIFEST, target.path):
            target.is_forged = True
        if folder == target.folder:
            return


def _sign(manifest: Path, path: Path) -> bool:
    """Whether there is a manifest that names the file, and now with these bytes."""
    if not manifest.is_file() or path == manifest:
        return False
    data, name = path.read_bytes(), path.relative_to(manifest.parent).as_posix()
    try:
        content = json.loads(manifest.read_bytes())
        files = content["content"]["files"]
        if name not in files:
            return False
    except (ValueError, LookupError, TypeError):  # the damage was to exchange it
        return False
    files[name] = {"n_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    content["checksum"] = checksum(content["content"])
    manifest.write_text(json.dumps(content))
    return True
