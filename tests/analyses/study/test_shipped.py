"""Measurements that come with a study: which are shipped, that they are found, and that they are what is measured today."""

import dataclasses
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_paths import planted

from grokscope.analyses.claims import regimes
from grokscope.analyses.claims.claim import Inputs
from grokscope.analyses.claims.path_measurement import PathMeasurement
from grokscope.analyses.claims.regimes import measure_run
from grokscope.analyses.study.cache import cached, fingerprint, write_measurement
from grokscope.analyses.study.shipped import COMPARED, FOLDER, ship_measurements, shipped_at, take_shipped
from grokscope.circuits import Circuit, ComputationGraph, Result
from grokscope.circuits.documents import FileError
from grokscope.tasks import Study, load_study


def circuit() -> Circuit:
    graph = ComputationGraph.transformer(("h", "r1"), "r1", 1, 1, 1)
    effects = np.linspace(0.1, 0.9, len(graph.edges))
    rows = [(*map(str, edge), effect, 0.1, 2, 3.0, True) for edge, effect in zip(graph.edges, effects, strict=True)]
    table = pd.DataFrame(rows, columns=["sender", "receiver", "effect", "stderr", "n", "gap", "kept"])
    return Circuit(table, graph, {}, np.stack([effects, effects], 1), np.ones(2))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    folder = tmp_path / "study"
    folder.mkdir()
    os.symlink(load_study("pilot").folder / "natural", folder / "natural")
    return load_study(folder)


def test_changes_by_query_are_shipped_of_circuits_that_the_page_compares_alone(study: Study, tmp_path: Path) -> None:
    both = {"early": circuit(), "grokked": circuit()}
    assert "early" in COMPARED and "grokked" not in COMPARED
    bare = dataclasses.replace(planted(0), evidence={}, lens={}, traces={})
    of_graph = {graph: dataclasses.replace(bare, circuits=both if graph > 1 else {}) for graph in (1, 2, 10)}
    files = [
        write_measurement(tmp_path / f"paths-main-g{graph}-{graph:012x}.json", each) for graph, each in of_graph.items()
    ]
    files.append(write_measurement(tmp_path / "regime-natural-g1-r0-00000000000f.json", Result(pd.DataFrame({"a": [1]}))))
    names = ship_measurements(study, files)
    assert sorted(names) == sorted(path.name for path in files) and shipped_at(study).is_file()
    place = tmp_path / "taken"
    assert take_shipped(study, place) == len(files)
    shipped = {path.name: path for path in place.iterdir()}

    def read(graph: int) -> PathMeasurement:
        return cached(shipped[f"paths-main-g{graph}-{graph:012x}.json"], PathMeasurement, lambda: pytest.fail("again"))

    assert not read(1).circuits and set(read(2).circuits) == set(read(10).circuits) == set(both)
    by_query = {graph: [name for name, each in read(graph).circuits.items() if each.deltas is not None] for graph in (2, 10)}
    assert by_query == {2: ["early"], 10: []}, "the first graph that has circuits is shown"
    pd.testing.assert_frame_equal(read(2).circuits["grokked"].table, both["grokked"].table)
    assert read(10).distances.to_json() == of_graph[10].distances.to_json()
    assert shipped_at(study).read_bytes() == (ship_measurements(study, files), shipped_at(study).read_bytes())[1]
    damaged = tmp_path / "paths-main-g3-000000000003.json"
    damaged.write_text("{}")
    before = shipped_at(study).read_bytes()
    with pytest.raises(FileError):
        ship_measurements(study, [damaged])
    assert shipped_at(study).read_bytes() == before, "what was shipped stays"


def test_what_is_shipped_goes_where_it_lacks_and_nothing_is_overwritten(study: Study, tmp_path: Path) -> None:
    shipped_at(study).parent.mkdir()
    with zipfile.ZipFile(shipped_at(study), "w") as archive:
        for name in ("a.json", "b.json", "../c.json"):
            archive.writestr(name, name[0])
    measured = tmp_path / "report" / FOLDER
    measured.mkdir(parents=True)
    (measured / "a.json").write_text("mine")
    assert take_shipped(study, measured) == 1 and take_shipped(study, measured) == 0
    assert (
        (measured / "a.json").read_text() == "mine"
        and (measured / "b.json").read_text() == "b"
        and not (measured.parent / "c.json").exists()
    )


@pytest.mark.parametrize("name", ["study", "trm_registered"])
def test_a_shipped_measurement_is_what_is_measured_today(name: str, tmp_path: Path) -> None:
    """The cheapest one of each study; its name is that of today's weights, questions and settings."""
    shipped = load_study(name)
    run = min(shipped.runs.values(), key=lambda run: len(run.steps))
    job = regimes.regime_jobs(Inputs(shipped), "test_inferred_ood", "test_inferred_ood_id")[run.name]
    name = f"{job.name}-{fingerprint(run, *job.settings)}.json"
    with zipfile.ZipFile(shipped_at(shipped)) as archive:
        (tmp_path / name).write_bytes(archive.read(name))
    read = cached(tmp_path / name, Result, lambda: pytest.fail("it is there")).table
    table = measure_run(run, *job.settings).table
    pd.testing.assert_frame_equal(read, table, rtol=1e-3, atol=0.02)  # another processor may break a tie otherwise
