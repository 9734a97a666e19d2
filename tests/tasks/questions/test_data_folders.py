"""A data folder is whole, or its reader says which file is not, whatever is in the files and wherever writing stops."""

import itertools
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grokscope.circuits.lock import FolderInUseError, only_writer
from grokscope.tasks import BOTH_HALF, BOTH_HOPS, FIRST_HOP, NATURAL, SECOND_HOP, DataFolderError, Supervision, TwoHopTask
from grokscope.tasks.questions.files import PUBLISHED_FILES
from grokscope.tasks.questions.side_file import MIXED_TESTS, SIDE_FILE

SIZES = dict(n_entities=9, n_relations=5, out_degree=4, ood_fraction=0.2, test_fraction=0.1)
ITEM = {"input_text": "<e_0><r_0>", "target_text": "<e_0><r_0><e_1></a>"}
REGIMES = (NATURAL, FIRST_HOP, SECOND_HOP, BOTH_HOPS, BOTH_HALF, Supervision(hop1_share=0.3, hop1_compositions=2))


TASK = TwoHopTask.random(**SIZES, supervision=BOTH_HALF, seed=1)


@pytest.fixture
def task() -> TwoHopTask:
    return TASK


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TASK.to_files(tmp_path_factory.mktemp("written"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "data")


CHANGES = ({}, {"layout": "slots", "phi": 1.0}, {"ood_fraction": 0.0})


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_what_is_written_is_read(tmp_path: Path, seed: int) -> None:
    for n, regime in enumerate(REGIMES):
        task = TwoHopTask.random(**{**SIZES, **CHANGES[(n + seed) % len(CHANGES)]}, supervision=regime, seed=seed)
        again = TwoHopTask.from_files(task.to_files(tmp_path))
        assert again.key == task.with_layout("compact").key and again.supervision == regime and again.seed == seed


ANY_FILE = {
    "empty": (b"", "expected JSON"),
    "truncated": (b'[["<e_0>", "<r', "expected JSON"),
    "UTF-16": ("[]".encode("utf-16"), "expected a text in UTF-8, byte 0"),
    "Latin": ('["é"]'.encode("latin-1"), "expected a text in UTF-8, byte 2"),
    "mark of order": (b"\xef\xbb\xbf[]", "expected JSON"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "null": (b"null", "expected a list of .*; it: .* valid list, got None"),
    "object": (b"{}", "expected a list of .*; it: .* valid list"),
    "number": (b"1", "expected a list of .*; it: .* valid list, got 1"),
    "numbers": (b"[1, 2, 3, 4, 5, 6, 7]", "expected a list of .*; item 0: .* got 1; .*and 2 more"),
    "nothings": (b"[null]", "expected a list of .*; item 0: .* got None"),
    "lists": (b"[[]]", "expected a list of .*; item 0: "),
    "not finite": (b"[NaN]", "NaN is no finite number"),
    "huge number": (b"[1e999]", "1e999 is no finite number"),
    "long number": (b"[" + b"9" * 5000 + b"]", "expected JSON"),
    "half a letter": (b'["\\ud800"]', "expected a list of .*|unexpected token"),
}


@pytest.mark.parametrize("name", PUBLISHED_FILES)
def test_what_is_no_such_file_is_named(folder: Path, name: str) -> None:
    (folder / SIDE_FILE).unlink()
    for data, message in ANY_FILE.values():
        (folder / name).write_bytes(data)
        with pytest.raises(DataFolderError, match=f"{folder / name}.*({message})"):
            TwoHopTask.from_files(folder)


@pytest.mark.parametrize("data, message", ANY_FILE.values(), ids=list(ANY_FILE))
def test_a_side_file_that_is_none_is_named(folder: Path, data: bytes, message: str) -> None:
    (folder / SIDE_FILE).write_bytes(data)
    with pytest.raises(DataFolderError, match=f"{folder / SIDE_FILE}: "):
        TwoHopTask.from_files(folder)


def set_in(key: int | str, value: Any) -> Callable[[Any], Any]:
    return lambda content: content.__setitem__(key, value)


WRONG: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a token twice": (
        "vocab.json",
        lambda tokens: tokens.append("<e_0>"),
        "item 20: '<e_0>' is there twice, first as item 0",
    ),
    "leading zeros": ("vocab.json", set_in(3, "<e_03>"), "item 3: unexpected token '<e_03>'"),
    "space in a token": ("vocab.json", set_in(3, "<e_3 >"), "item 3: unexpected token '<e_3 >'"),
    "other digits": ("vocab.json", set_in(1, "<e_١>"), "item 1: unexpected token '<e_١>'"),
    "a gap": ("vocab.json", lambda tokens: tokens.pop(3) and None, "item 7: unexpected token '<e_8>'"),
    "no entities": (
        "vocab.json",
        lambda tokens: tokens.__delitem__(slice(0, 9)),
        "n_entities is 0, needed is a whole number",
    ),
    "four tokens": ("id_facts.json", lambda facts: facts[0].append("<e_0>"), "item 0: .* at most 3 items"),
    "two tokens": ("ood_facts.json", lambda facts: facts[1].pop() and None, "item 1: .* at least 3 items"),
    "number in a fact": ("id_facts.json", lambda facts: facts[2].__setitem__(0, 7), "item 2.0: .* valid string, got 7"),
    "entity as relation": (
        "id_facts.json",
        set_in(0, ["<e_0>", "<e_1>", "<e_2>"]),
        "item 0: expected entity, relation, entity",
    ),
    "special token": ("id_facts.json", set_in(0, ["<e_0>", "<r_1>", "<a>"]), "item 0: unknown token '<a>'"),
    "fact twice": ("id_facts.json", lambda facts: facts.append(facts[0]), "item 29: the fact <e_0>.* is there twice"),
    "no target": ("train.json", set_in(0, {"input_text": "<e_0><r_0>"}), "item 0.target_text: field required"),
    "text of numbers": ("train.json", set_in(5, {**ITEM, "target_text": 5}), "item 5.target_text: .* valid string, got 5"),
    "text around": ("train.json", set_in(5, {**ITEM, "input_text": "x<e_0><r_0>"}), "item 5: expected input_text h r"),
    "no end": ("valid.json", set_in(0, {**ITEM, "target_text": "<e_0><r_0><e_1>"}), "item 0: expected input_text h r"),
    "no type": ("test.json", set_in(0, ITEM), "item 0.type: field required"),
    "atomic of two": (
        "test.json",
        lambda items: items[-1].update(type="id_atomic"),
        "a question of type id_atomic has one rel",
    ),
    "two of atomic": (
        "test.json",
        lambda items: items[0].update(type="test_inferred_iid"),
        "type test_inferred_iid has two",
    ),
    "OOD of ID": (
        "test.json",
        lambda items: items[0].update(type="ood_atomic"),
        "ood_atomic, but its fact is in id_facts.json",
    ),
    "untrained": (
        "test.json",
        lambda items: items[-1].update(type="train_inferred"),
        "train_inferred, but it is not in train",
    ),
    "OOD as ID": (
        "test.json",
        lambda items: items[-1].update(type="test_inferred_iid"),
        r"_iid: compositions that are not ID",
    ),
    "tested twice": (
        "test.json",
        lambda items: items.append(items[-1]),
        r"_ood: compositions that are there twice \(1 items",
    ),
    "trained twice": ("train.json", lambda items: items.append(items[-1]), r"there twice \(1 items, the first is item \d+"),
    "fact trained twice": (
        "train.json",
        lambda items: items.append(items[0]),
        "1 facts are there more than once, the first",
    ),
    "fact not trained": (
        "train.json",
        lambda items: items.pop(0) and None,
        "1 facts are not trained by themselves, the first",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_the_format_is_named_with_its_file(folder: Path, case: str) -> None:
    name, edit, message = WRONG[case]
    (folder / SIDE_FILE).unlink()
    content = json.loads((folder / name).read_text())
    edit(content)
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(DataFolderError, match=f"{folder / name}(, |: ).*{message}"):
        TwoHopTask.from_files(folder)


def test_a_key_that_is_twice_in_an_item_is_named(folder: Path) -> None:
    (folder / SIDE_FILE).unlink()
    text = (folder / "train.json").read_text()
    (folder / "train.json").write_text(text.replace('{"input_text"', '{"input_text": "<e_0>", "input_text"', 1))
    with pytest.raises(DataFolderError, match=f"{folder / 'train.json'}: .*'input_text' is there twice"):
        TwoHopTask.from_files(folder)


@pytest.mark.parametrize("name", PUBLISHED_FILES)
def test_a_file_other_than_was_written_is_named_until_the_side_file_is_gone(
    task: TwoHopTask, folder: Path, name: str
) -> None:
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()), indent=1))
    with pytest.raises(DataFolderError, match=rf"{folder / name}: other bytes than .*{SIDE_FILE} says; .* or, .*, delete"):
        TwoHopTask.from_files(folder)
    (folder / SIDE_FILE).unlink()
    assert (TwoHopTask.from_files(folder).trained == task.trained).all()


def to_format_1(folder: Path) -> dict[str, Any]:
    """The side file as it was before it said what it is."""
    content = json.loads((folder / SIDE_FILE).read_text())["content"]
    del content["files"]
    (folder / SIDE_FILE).write_text(json.dumps(content))
    return content


def test_a_folder_of_format_1_loads(task: TwoHopTask, folder: Path) -> None:
    assert set(to_format_1(folder)) == {"seed", "supervision", *MIXED_TESTS}
    again = TwoHopTask.from_files(folder)
    assert (again.key, again.supervision, again.seed) == (task.key, task.supervision, task.seed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed: .* greater than or equal to 0, got -1"),
        ({"seed": "1"}, "seed: .* valid integer"),
        ({"supervision": {"hop1_share": 0.5}}, "supervision.hop1_compositions: field required"),
        (
            {"supervision": {**vars(NATURAL), "hop1_share": 2.0}},
            "supervision.hop1_share: .* less than or equal to 1, got 2.0",
        ),
        ({"supervision": vars(NATURAL)}, "supervision: hop1_share=0 exposes at most 0 OOD facts"),
        ({"test_inferred_id_ood": [ITEM]}, "test_inferred_id_ood: |no chain of facts"),
        ({"test_inferred_id_ood": [{"input_text": ""}]}, r"test_inferred_id_ood.0.target_text: field required"),
        ({"more": 1}, "more: extra inputs"),
        ({"checksum": ""}, "kind: field required"),
    ],
)
def test_what_is_wrong_in_a_side_file_of_format_1_is_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    content = to_format_1(folder) | changes
    (folder / SIDE_FILE).write_text(json.dumps(content))
    with pytest.raises(DataFolderError, match=f"{folder / SIDE_FILE}.*({message})"):
        TwoHopTask.from_files(folder)


class Stop(BaseException):
    """A kill."""


def stop_at(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Stop before the n-th rename from now."""
    numbers, rename = itertools.count(), os.replace

    def counted(*names: Any) -> None:
        if next(numbers) == n:
            raise Stop
        rename(*names)

    monkeypatch.setattr(os, "replace", counted)


@pytest.mark.parametrize("there", ["nothing", "folder", "hand-made"])
@pytest.mark.parametrize("n", range(len(PUBLISHED_FILES) + 1))
def test_a_folder_whose_writing_stopped_is_the_old_one_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, there: str, n: int
) -> None:
    """Never a mix, and never the new one without what its side file says."""
    if there == "nothing":
        shutil.rmtree(folder)
    if there == "hand-made":
        (folder / SIDE_FILE).unlink()
    old = None if there == "nothing" else TwoHopTask.from_files(folder).key
    task = TwoHopTask.random(**SIZES, supervision=FIRST_HOP, seed=2)
    stop_at(monkeypatch, n)
    with pytest.raises(Stop):
        task.to_files(folder)
    monkeypatch.undo()
    if n == 0 and old:
        assert TwoHopTask.from_files(folder).key == old
    else:
        with pytest.raises((DataFolderError, FileNotFoundError), match=str(folder)):
            TwoHopTask.from_files(folder)
    assert TwoHopTask.from_files(task.to_files(folder)).key == task.key


def hold(folder: Path) -> None:
    with only_writer(folder):
        (folder / "held").touch()
        time.sleep(60)


def test_a_second_writer_is_told_who_the_first_is(task: TwoHopTask, folder: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=hold, args=(folder,), daemon=True)
    process.start()
    while not (folder / "held").exists():
        time.sleep(0.01)
    with pytest.raises(FolderInUseError, match=f"{folder} is being written by process {process.pid}"):
        TwoHopTask.random(**SIZES, seed=2).to_files(folder)
    assert TwoHopTask.from_files(folder).key == task.key  # readers do not wait
    process.kill()
    process.join()
    task.to_files(folder)


def test_a_folder_may_be_a_link_and_its_files_lead_nowhere_else(task: TwoHopTask, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert TwoHopTask.from_files(tmp_path / "link").key == task.key
    shutil.move(folder / "train.json", tmp_path / "kept.json")
    (folder / "train.json").symlink_to(tmp_path / "kept.json")
    with pytest.raises(DataFolderError, match=r"train\.json is a link to .*kept\.json, out of its folder"):
        TwoHopTask.from_files(folder)
    task.to_files(tmp_path / "link")  # puts the file itself there, and leaves alone what the link led to
    assert not (folder / "train.json").is_symlink() and (tmp_path / "kept.json").exists()
    (folder / "train.json").unlink()
    (folder / "train.json").symlink_to(tmp_path / "gone.json")
    with pytest.raises(FileNotFoundError, match=f"{folder} lacks train.json"):
        TwoHopTask.from_files(folder)
