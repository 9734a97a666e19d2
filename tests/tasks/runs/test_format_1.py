"""Runs that were written before there were manifests: read as they were, and protected from then on."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dying import died, n_moments
from safetensors.torch import load, save

from grokscope.circuits.documents import opened, parsed
from grokscope.circuits.lock import LOCK
from grokscope.circuits.manifest import MANIFEST
from grokscope.tasks import CheckpointError, ModelConfig, Run, Study, TrainConfig, load_study, migrate, train
from grokscope.tasks.models.building import AnyConfig
from grokscope.tasks.runs.format_1 import is_format_1, manifest_of
from grokscope.tasks.runs.shipping import seal_study
from grokscope.tasks.runs.study import SHIPPED

AS_BEFORE = {  # what version 0.1.0 read before there was a second format
    "pilot": "38c41540925f5c7522e297d46823f64ab4549ae6feffa839b313ccc5301cb787",
    "study": "a86aa308cbfc50d63f3148d76b14551c2ac9b1d54e38722881870fcd333e40c0",
    "study/transfer": "41446618635a990da9c4b9f3c405a1c170ff563f49f71c11a7f0cb3821391c13",
}

LATER = {
    "carries": "state",
    "positions": "learned",
}  # choices that configs lacked then, as all was


def as_then(config: AnyConfig | TrainConfig) -> dict[str, object]:
    """A config as it was before there were these choices; a run that chose otherwise keeps them."""
    return {name: value for name, value in dataclasses.asdict(config).items() if (name, value) not in LATER.items()}


def digest(study: Study) -> str:
    """Of everything that was read: tasks, configs, phases, steps with weights, and all metrics but the seconds."""
    found = hashlib.sha256()
    for name, run in study.runs.items():
        configs = [as_then(config) for config in (run.model_config, run.train_config)]
        content = [name, run.task.key, run.task.settings, configs, run.initial, run.phases, run.steps, list(run.metrics)]
        found.update(json.dumps(content, sort_keys=True).encode())
        found.update(np.nan_to_num(run.metrics.drop(columns="seconds").to_numpy(float), nan=-1.0).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("name", AS_BEFORE)
def test_the_shipped_studies_are_read_as_they_were(name: str, tmp_path: Path) -> None:
    assert digest(load_study(name)) == AS_BEFORE[name]


def test_the_shipped_pilot_is_read_without_its_manifests_too(tmp_path: Path) -> None:
    folder = shutil.copytree(SHIPPED / "pilot", tmp_path / "pilot")
    for path in folder.rglob(MANIFEST):
        path.unlink()
    assert digest(load_study(folder)) == AS_BEFORE["pilot"]
    assert [path.name for path in migrate(folder)] == sorted(load_study("pilot").runs) and migrate(folder) == []
    assert digest(load_study(folder)) == AS_BEFORE["pilot"]
    for path in folder.rglob(MANIFEST):
        assert path.read_bytes() == (SHIPPED / "pilot" / path.relative_to(folder)).read_bytes()


def test_every_shipped_file_is_named_by_a_manifest() -> None:
    for study in ("pilot", "study", "study/transfer"):
        runs = load_study(study).runs
        for run in runs.values():
            there = {
                path.relative_to(run.folder).as_posix()
                for path in run.folder.rglob("*")
                if path.is_file() and path.name != LOCK
            }
            assert there == run.manifest.files.keys() | {MANIFEST}
            for name in run.manifest.files:
                assert run.manifest.bytes_of(name)


@pytest.fixture
def old(tiny_run: Run, tmp_path: Path) -> Path:
    """A run as it was written first: plain settings that name neither kind, layout nor initial weights, and bare tensors."""
    folder = tmp_path / "old"
    (folder / "checkpoints").mkdir(parents=True)
    content = json.loads((tiny_run.folder / "run.json").read_text())["content"]
    content = {"format": 1, **content}
    del content["initial"], content["task"]["kind"], content["task"]["layout"]
    (folder / "run.json").write_text(json.dumps(content, indent=1))
    for name in ("task.safetensors", "checkpoints/step_00000060.safetensors"):
        (folder / name).write_bytes(save(load((tiny_run.folder / name).read_bytes())))
    shutil.copy(tiny_run.folder / "metrics.csv", folder)
    return folder


def test_the_first_runs_are_read(old: Path, tiny_run: Run) -> None:
    run = Run.load(old)
    assert run.task.key == tiny_run.task.key and run.initial == "" and run.steps == [60]
    assert (run.model_config, run.train_config) == (tiny_run.model_config, tiny_run.train_config)
    assert run.metrics.equals(tiny_run.metrics)
    assert torch.equal(run.checkpoint(60).model().W_E, tiny_run.checkpoint(60).model().W_E)


def test_damage_is_noticed_from_the_migration_on(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    assert migrate(old) == [old] and migrate(old) == []
    assert all(path.read_bytes() == data for path, data in before.items())
    weights = old / "checkpoints" / "step_00000060.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(CheckpointError, match=r"00060\.safetensors: .* damaged or changed"):
        Run.load(old).checkpoint(60).model()


def test_old_weights_of_another_step_are_named(old: Path, tiny_run: Run) -> None:
    weights = load(tiny_run.checkpoint(60).path.read_bytes())
    for said in ("60", "50"):
        (old / "checkpoints" / "step_00000060.safetensors").write_bytes(save(weights, metadata={"step": said}))
        if said == "60":
            assert Run.load(old).checkpoint(60).model()
    with pytest.raises(CheckpointError, match=r"00060\.safetensors: expected the weights of step 60, the file says step 50"):
        Run.load(old).checkpoint(60).model()


@pytest.mark.parametrize("name", ["step_00000060.safetensors", "step_sixty.safetensors"])
def test_what_is_no_file_of_weights_is_named(old: Path, name: str) -> None:
    (old / "checkpoints" / "step_00000060.safetensors").unlink()
    (old / "checkpoints" / name).mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: expected a file, found a folder"):
        Run.load(old)


@pytest.mark.parametrize("name", ["run.json", "task.safetensors", "metrics.csv", "checkpoints/step_00000060.safetensors"])
def test_no_manifest_vouches_for_a_damaged_file(old: Path, name: str) -> None:
    (old / name).write_bytes((old / name).read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        migrate(old)
    assert not (old / MANIFEST).exists()


def test_dying_while_migrating_leaves_a_run_of_one_format_or_the_other(old: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(old, tmp_path / "whole")
    n = n_moments(lambda: migrate(whole))
    assert n == 3
    for moment in range(n):
        folder = shutil.copytree(old, tmp_path / str(moment))
        assert died(lambda folder=folder: migrate(folder), moment)
        assert Run.load(folder).checkpoint(60).model()
        migrate(folder)
        assert (folder / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()


@pytest.fixture
def study(old: Path, tmp_path: Path) -> Path:
    """Two runs of the first format."""
    for name in ("a", "b"):
        shutil.copytree(old, tmp_path / "study" / name)
    return tmp_path / "study"


def test_runs_trained_after_the_migration_belong_to_the_study(study: Path, tiny_run: Run) -> None:
    assert [path.name for path in migrate(study)] == ["a", "b"] and not (study / MANIFEST).exists()
    shutil.copytree(tiny_run.folder, study / "c")
    assert migrate(study) == [] and list(load_study(study).runs) == ["a", "b", "c"]


def test_the_manifest_of_a_study_stays_as_it_is(study: Path, old: Path) -> None:
    migrate(study)
    seal_study(study)
    before = (study / MANIFEST).read_bytes()
    shutil.copytree(old, study / "c")
    assert [path.name for path in migrate(study)] == ["c"] and (study / MANIFEST).read_bytes() == before
    with pytest.warns(UserWarning, match="does not name c"):
        assert list(load_study(study).runs) == ["a", "b"]


def gone(run: Path) -> None:
    shutil.rmtree(run)


def without_manifest(run: Path) -> None:
    (run / MANIFEST).unlink()


def with_another_manifest(run: Path) -> None:
    (run / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes().replace(b"0.", b"1.", 1))
    manifest_of(run).write()


@pytest.mark.parametrize("damage", [gone, without_manifest, with_another_manifest])
def test_damage_to_a_sealed_study_is_not_made_right(study: Path, damage: Callable[[Path], None]) -> None:
    migrate(study)
    seal_study(study)
    damage(study / "a")
    before = {path: path.read_bytes() for path in study.rglob(MANIFEST)}
    with pytest.raises((FileNotFoundError, CheckpointError), match=r"a/manifest\.json"):
        migrate(study)
    assert {path: path.read_bytes() for path in study.rglob(MANIFEST)} == before


def test_weights_elsewhere_are_not_read_for_a_manifest(old: Path, tmp_path: Path) -> None:
    (old / "checkpoints").rename(tmp_path / "elsewhere")
    (old / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"checkpoints.* is a link to .*elsewhere"):
        Run.load(old)
    with pytest.raises(CheckpointError, match=r"checkpoints.* is a link to .*elsewhere"):
        migrate(old)


def test_what_is_neither_format_says_so(old: Path) -> None:
    for text in ("{}", "[]", '{"format": 2}', "1"):
        (old / "run.json").write_text(text)
        with pytest.raises(CheckpointError, match=r"old lacks manifest\.json"):
            Run.load(old)
    with pytest.raises(FileNotFoundError, match="holds no runs"):
        migrate(old / "checkpoints")


def test_an_old_run_that_is_not_finished_is_not_continued(old: Path, tiny_run: Run) -> None:
    lines = (old / "metrics.csv").read_text().splitlines(keepends=True)
    (old / "metrics.csv").write_text("".join(lines[:-1]))
    (old / "checkpoints" / "step_00000060.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot be continued from step 50: it holds no state of training"):
        train(tiny_run.task, tiny_run.model_config, tiny_run.train_config, old, resume=True, progress=False)


def test_a_document_is_never_taken_for_the_first_format(tiny_run: Run) -> None:
    text = (tiny_run.folder / "run.json").read_text()
    assert not is_format_1(parsed(text, "")) and not is_format_1({"kind": "run", "format": 1})
    assert opened(parsed(text, ""), "", ["run"], known_format=2).content["model"] == as_then(ModelConfig.tiny())
    assert isinstance(tiny_run.train_config, TrainConfig)
