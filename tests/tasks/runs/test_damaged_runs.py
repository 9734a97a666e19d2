"""Files of a run that are not what was written: all are noticed, and named."""

import dataclasses
import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load, save

from grokscope.circuits.documents import to_document
from grokscope.circuits.manifest import MANIFEST, Entry, Manifest
from grokscope.circuits.tensor_files import FORMAT, labelled, metadata_of
from grokscope.tasks import CheckpointError, Run, TwoHopTask, load_study
from grokscope.tasks.runs.folder import KIND, RunWriter, checkpoint_name, table_file
from grokscope.tasks.runs.shipping import copy_run

WEIGHTS = checkpoint_name(60)
FILES = ["run.json", "task.safetensors", "metrics.csv", "manifest.json", WEIGHTS, table_file("lens")]


@pytest.fixture(scope="module")
def one(tiny_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one run with every kind of file."""
    folder = tmp_path_factory.mktemp("study")
    copy_run(tiny_run, folder / "run", steps=[20, 60], tables={"lens": pd.DataFrame({"step": [20], "top1": [0.5]})})
    return folder


@pytest.fixture
def study(one: Path, tmp_path: Path) -> Path:
    return shutil.copytree(one, tmp_path / "study")


def read_all(folder: Path) -> None:
    """Everything that can be read of a study."""
    study = load_study(folder)
    study.tables("lens")
    for run in study.runs.values():
        for step in run.steps:
            run.checkpoint(step).model()


def vouched(folder: Path, name: str, data: bytes) -> None:
    """Put other bytes in place of a file, for which the manifest vouches."""
    writer = RunWriter(folder, dict(Manifest.read(folder, KIND).files))
    writer.write(name, data)
    writer.publish()


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "flipped first": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "flipped last": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b"0,0,0\n",
    "another encoding": lambda data: data.decode("latin-1").encode("utf-16"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", BYTES)
def test_other_bytes_are_noticed_and_the_file_is_named(study: Path, name: str, damage: str) -> None:
    path = study / "run" / name
    path.write_bytes(BYTES[damage](path.read_bytes()))
    if (name, damage) == ("metrics.csv", "longer"):
        return read_all(study)  # a row that a killed writer added does not count
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        read_all(study)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_or_a_folder_is_named(study: Path, name: str) -> None:
    path = study / "run" / name
    path.unlink()
    with pytest.raises((OSError, CheckpointError), match=name.replace(".", r"\.")) as raised:
        read_all(study)
    assert "take a copy" in str(raised.value)
    path.mkdir()
    with pytest.raises((OSError, CheckpointError), match=name.replace(".", r"\.")):
        read_all(study)


def test_a_link_out_of_the_folder_is_refused(study: Path, tmp_path: Path) -> None:
    path = study / "run" / WEIGHTS
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"00060\.safetensors is a link to .*elsewhere, out of its folder"):
        read_all(study)


def settings(**changes: object) -> Callable[[dict], dict]:
    return lambda content: {**content, **changes}


def within(part: str, **changes: object) -> Callable[[dict], dict]:
    return lambda content: {**content, part: {**content[part], **changes}}


SETTINGS: dict[str, Callable[[dict], dict]] = {
    "model: field required": lambda content: {name: value for name, value in content.items() if name != "model"},
    "extra: extra inputs are not permitted, got 1": settings(extra=1),
    "initial: input should be a valid string, got 1": settings(initial=1),
    "model.d_model: input should be a valid integer, got 'wide'": within("model", d_model="wide"),
    "model.d_model: input should be a valid integer, got 32.5": within("model", d_model=32.5),
    "model.tie_embeddings: input should be a valid boolean, got 1": within("model", tie_embeddings=1),
    "model: .*d_model is -1, needed": within("model", d_model=-1),
    "model.n_layers: unexpected keyword argument": within("model", n_layers=2),
    "training: .*stop_at must be one of": within("training", stop_at="never"),
    r"training.betas.1: field required|betas: tuple": within("training", betas=[0.9]),
    "training.max_steps: input should be a valid integer, got True": within("training", max_steps=True),
    "names a task of the kind 'three-hop'": within("task", kind="three-hop"),
    "names a task of the kind None": lambda content: {**content, "task": {}},
    "names a task of the kind 'two-hop' that its reader cannot read": within("task", supervision={"hop3_share": 1.0}),
}


@pytest.mark.parametrize("message", SETTINGS)
def test_settings_that_are_none_are_named(study: Path, message: str) -> None:
    run = study / "run"
    content = SETTINGS[message](json.loads((run / "run.json").read_text())["content"])
    vouched(run, "run.json", to_document(KIND, content, written_format=2).encode())
    with pytest.raises(CheckpointError, match=rf"run\.json.*(?:{message})"):
        Run.load(run)


def test_a_foreign_or_newer_document_is_named_before_its_checksum(study: Path) -> None:
    run = study / "run"
    found = json.loads((run / "run.json").read_text())
    for change, message in (
        ({"kind": "Circuit", "format": 3}, "expected a run, this is a Circuit"),
        ({"format": 4, "checksum": ""}, "this run is of format 4"),
        ({"checksum": "0" * 64}, "the content of this run has the checksum"),
    ):
        vouched(run, "run.json", json.dumps(found | change).encode())
        with pytest.raises(CheckpointError, match=rf"run\.json: {message}"):
            Run.load(run)


def cell(line: int, column: str, text: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[line][rows[0].index(column)] = text

    return change


METRICS: dict[str, Callable[[list[list[str]]], object]] = {
    "row 2 is of step 30, expected is 20": lambda rows: rows.pop(2),
    "row 2 is of step 10, expected is 20": lambda rows: rows.insert(2, rows[1]),
    "row 3 is of step 40, expected is 30": lambda rows: rows.insert(3, rows.pop(4)),
    "row 7 comes after the last step, 60": lambda rows: rows.append(rows[-1]),
    "step holds '20.5', expected is a whole number": cell(2, "step", "20.5"),
    "step holds '-20'": cell(2, "step", "-20"),
    "step holds '020'": cell(2, "step", "020"),
    "step holds '²'": cell(2, "step", "²"),
    "seconds holds 'nan'": cell(1, "seconds", "nan"),
    "the seconds go back": cell(6, "seconds", "0"),
    "loss holds 'inf', expected is a finite number": cell(1, "loss", "inf"),
    "train holds '1.5', expected is a fraction from 0 to 1": cell(1, "train", "1.5"),
    "train holds 'high'": cell(1, "train", "high"),
    "train holds 'nan'": cell(1, "train", "nan"),
    "the column loss is missing; the column 'Loss' is unknown": lambda rows: rows[0].__setitem__(2, "Loss"),
    "the column loss is missing; the column seconds is there twice": lambda rows: rows[0].__setitem__(2, "seconds"),
    "line 3 does not have": lambda rows: rows[2].append("1"),
    "it holds no evaluation": lambda rows: rows.__delitem__(slice(1, None)),
    "the column step is missing": lambda rows: rows.clear(),
}


@pytest.mark.parametrize("message", METRICS)
def test_metrics_that_are_none_are_named(study: Path, message: str) -> None:
    run = study / "run"
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    METRICS[message](rows)
    vouched(run, "metrics.csv", "".join(",".join(row) + "\n" for row in rows).encode())
    with pytest.raises(CheckpointError, match=rf"metrics\.csv: {message}"):
        Run.load(run)


def test_steps_without_metrics_have_no_weights(study: Path) -> None:
    run = study / "run"
    for name in ("checkpoints/step_00000070.safetensors", "checkpoints/60.safetensors"):
        folder = shutil.copytree(run, study / Path(name).stem)
        vouched(folder, name, (run / WEIGHTS).read_bytes())
        with pytest.raises(CheckpointError, match=f"{name} are no weights of steps in metrics.csv"):
            Run.load(folder)


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "holds values that are not finite": lambda tensors: tensors["embed.W_E"].view(-1)[3:4].fill_(float("nan")),
    "is of torch.int32, expected are floats": lambda tensors: tensors.update({"embed.W_E": tensors["embed.W_E"].int()}),
    "lacks embed.W_E; has an unknown extra": lambda tensors: tensors.update(extra=tensors.pop("embed.W_E")),
}


@pytest.mark.parametrize("message", TENSORS)
def test_weights_that_are_none_are_named(study: Path, message: str) -> None:
    run = study / "run"
    tensors = load((run / WEIGHTS).read_bytes())
    TENSORS[message](tensors)
    vouched(run, WEIGHTS, labelled(save(tensors), "checkpoint", {"step": "60"}))
    with pytest.raises(CheckpointError, match=rf"00060\.safetensors.*{message}"):
        Run.load(run).checkpoint(60).model()


def test_weights_of_another_step_or_kind_are_named(study: Path) -> None:
    run = study / "run"
    vouched(run, WEIGHTS, (run / checkpoint_name(20)).read_bytes())
    with pytest.raises(CheckpointError, match=r"00060\.safetensors: expected the weights of step 60, the file says step 20"):
        Run.load(run).checkpoint(60).model()
    vouched(run, WEIGHTS, (run / "task.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"00060\.safetensors: expected a checkpoint, this file is task"):
        Run.load(run).checkpoint(60).model()


def test_tensors_are_asked_for_kind_format_and_checksum_in_this_order() -> None:
    plain, about = save({"a": torch.ones(2)}), {"step": "1"}
    data = labelled(plain, "checkpoint", about)
    assert (
        metadata_of(data, "checkpoint", "it").items() >= {"kind": "checkpoint", "format": str(FORMAT), "step": "1"}.items()
    )
    assert data == labelled(plain, "checkpoint", about) and torch.equal(load(data)["a"], torch.ones(2))
    wrong = data.replace(b'"format":"2"', b'"format":"9"')
    for found, kind, message in (
        (wrong, "task", "expected a task, this file is checkpoint"),
        (wrong, "checkpoint", "is of format 9, written by grokscope"),
        (data.replace(b'"step":"1"', b'"step":"2"'), "checkpoint", "has the checksum"),
        (data.replace(b'"a"', b'"b"'), "checkpoint", "has the checksum"),
        (data[:-1] + b"\1", "checkpoint", "has the checksum"),
        (plain, "checkpoint", "this file is of no kind that it names"),
        (b"\xff" * 100, "checkpoint", "these 100 bytes are none or end too early"),
        (b"\x02" + b"\0" * 7 + b"[]", "checkpoint", "its header has another form"),
        (b"\x02" + b"\0" * 7 + b"\xff\xff", "checkpoint", "expected a text in UTF-8, byte 0 is none"),
        (b"\x02" + b"\0" * 7 + b"{{", "checkpoint", "expected JSON"),
    ):
        with pytest.raises(ValueError, match=f"it: .*{message}"):
            metadata_of(found, kind, "it")


@pytest.mark.parametrize(
    "data", [b"", lzma.compress(b""), lzma.compress(b'a,"b\n1'), lzma.compress(b"\xff\xfe,\n"), b"no xz"]
)
def test_a_table_that_is_none_is_named(study: Path, data: bytes) -> None:
    vouched(study / "run", table_file("lens"), data)
    with pytest.raises(CheckpointError, match=r"lens\.csv\.xz: expected a table as csv in xz"):
        load_study(study).tables("lens")


def test_a_task_with_an_impossible_fact_is_named(study: Path, task: TwoHopTask) -> None:
    content = json.loads((study / "run" / "run.json").read_text())["content"]
    content["task"]["n_entities"] = "many"
    vouched(study / "run", "run.json", to_document(KIND, content, written_format=2).encode())
    with pytest.raises(
        CheckpointError, match=r"names a task of the kind 'two-hop' that its reader cannot read.* in .*task\.safetensors"
    ):
        Run.load(study / "run")


def test_a_manifest_that_is_gone_is_not_taken_for_an_old_run(study: Path) -> None:
    (study / "run" / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=r"run lacks manifest\.json, without which only"):
        Run.load(study / "run")


def test_a_manifest_without_metrics_is_named(study: Path) -> None:
    run = study / "run"
    manifest = Manifest.read(run, KIND)
    Manifest(run, KIND, {name: entry for name, entry in manifest.files.items() if name != "metrics.csv"}).write()
    with pytest.raises(FileNotFoundError, match=r"run/manifest\.json names no metrics\.csv, .* take a copy"):
        Run.load(run)


def test_what_the_manifest_does_not_name_is_not_part_of_the_run(study: Path) -> None:
    run = study / "run"
    shutil.copy(run / WEIGHTS, run / checkpoint_name(30))
    assert Run.load(run).steps == [20, 60]


def test_a_run_still_names_what_changes_after_it_was_read(study: Path) -> None:
    run = Run.load(study / "run")
    vouched(study / "run", WEIGHTS, (study / "run" / checkpoint_name(20)).read_bytes())
    for read in (run.checkpoint(60).model, run.checkpoint(60).weights, lambda: run.checkpoint(60).origin):
        with pytest.raises(CheckpointError, match=r"00060\.safetensors: its .* damaged or changed"):
            read()


def test_entries_and_runs_can_be_replaced(tiny_run: Run) -> None:
    assert dataclasses.replace(tiny_run, initial="x").steps == tiny_run.steps
    assert tiny_run.manifest.files["run.json"] == Entry.of((tiny_run.folder / "run.json").read_bytes())
