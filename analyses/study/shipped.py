"""Measurements that come with a study, so that its page takes a minute and not an hour.

They are files of the cache (`cache.cached`), named by a fingerprint of weights, questions and settings: one that belongs to
other weights is never read. Changes of circuits by query, which are large, are shipped only of those that the page compares.
"""

import io
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ...circuits import Circuit
from ...circuits.writing import write_atomic
from ...tasks import Study
from ..claims.contrasts import BY_STATUS
from ..claims.path_measurement import PathMeasurement
from .cache import cached, write_measurement

FOLDER = "measured"
COMPARED = {name for contrast in BY_STATUS for name in (contrast.a, contrast.b)}


def shipped_at(study: Study) -> Path:
    """The archive of a study's measurements, beside the folders of studies; it need not be there."""
    return study.folder.parent / FOLDER / f"{study.folder.name}.zip"


def take_shipped(study: Study, measured: Path) -> int:
    """Copy a study's shipped measurements into the folder of measurements, where they lack there; returns how many."""
    measured.mkdir(parents=True, exist_ok=True)
    if not shipped_at(study).is_file():
        return 0
    with zipfile.ZipFile(shipped_at(study)) as archive:
        lacking = [name for name in archive.namelist() if Path(name).name == name and not (measured / name).exists()]
        for name in lacking:
            write_atomic(measured / name, archive.read(name))
    return len(lacking)


def ship_measurements(study: Study, files: Iterable[Path]) -> list[str]:
    """Write the archive of a study's measurements atomically; returns the names of what is in it.

    Args:
        study: whose they are.
        files: of measurements, as `analyse` leaves them.
    """
    shown: set[str] = set()  # comparisons of which a graph's circuits are shipped in full
    packed = io.BytesIO()
    with TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        made = [_shipped(path, Path(folder) / path.name, shown) for path in sorted(files, key=_order)]
        for path in made:
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_LZMA)  # without a date
    shipped_at(study).parent.mkdir(exist_ok=True)
    write_atomic(shipped_at(study), packed.getvalue())
    return [path.name for path in made]


def _shipped(path: Path, place: Path, shown: set[str]) -> Path:
    comparison = path.name.rpartition("-g")[0]
    if not comparison.startswith("paths-"):
        return path
    measured: PathMeasurement = cached(path, PathMeasurement, _not_there)
    is_shown = bool(measured.circuits) and comparison not in shown
    if is_shown:
        shown.add(comparison)
    kept = COMPARED if is_shown else set()
    circuits = {name: each if name in kept else without_queries(each) for name, each in measured.circuits.items()}
    return write_measurement(place, replace(measured, circuits=circuits))


def without_queries(circuit: Circuit) -> Circuit:
    """A circuit with its effects, without what each query adds to them."""
    return replace(circuit, deltas=None, donor_gaps=None)


def _order(path: Path) -> tuple[str, int, str]:
    """By comparison, then by graph."""
    comparison, _, rest = path.name.rpartition("-g")
    return comparison, int(rest.partition("-")[0]), path.name


def _not_there() -> PathMeasurement:
    raise FileNotFoundError("a measurement that is shipped must have been made")
