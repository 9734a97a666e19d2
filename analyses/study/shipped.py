"""Measurements that come with a study, so that its page takes a minute and not an hour.

They are files of the cache (`cache.cached`), named by a fingerprint of weights, questions and settings: one that belongs to
other weights is never read. Changes of circuits by query, which are large, are shipped only of those that the page compares.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...circuits import Circuit
from ...circuits.writing import write_atomic
from ...tasks import Study
from ..claims.contrasts import BY_STATUS
from ..claims.path_measurement import PathMeasurement
from .cache import cached, write_measurement

FOLDER = "measured"
COMPARED = {name for contrast in BY_STATUS for name in (contrast.a, contrast.b)}


def take_shipped(study: Study, measured: Path) -> int:
    """Copy a study's shipped measurements into the folder of measurements, where they lack there; returns how many."""
    measured.mkdir(parents=True, exist_ok=True)
    lacking = [path for path in sorted((study.folder / FOLDER).glob("*.json")) if not (measured / path.name).exists()]
    for path in lacking:
        write_atomic(measured / path.name, path.read_bytes())
    return len(lacking)


def ship_measurements(study: Study, files: Iterable[Path]) -> list[Path]:
    """Write a study's measurements beside its runs; returns the paths.

    Args:
        study: whose they are.
        files: of measurements, as `analyse` leaves them.
    """
    folder, new = study.folder / FOLDER, study.folder / f"{FOLDER}.partial"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    shown: set[str] = set()  # comparisons of which a graph's circuits are shipped in full
    names = [_shipped(path, new / path.name, shown).name for path in sorted(files, key=_order)]
    shutil.rmtree(folder, ignore_errors=True)  # only now that all could be read
    new.rename(folder)
    return [folder / name for name in names]


def _shipped(path: Path, place: Path, shown: set[str]) -> Path:
    comparison = path.name.rpartition("-g")[0]
    if not comparison.startswith("paths-"):
        return Path(shutil.copy(path, place))
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
