"""Comparisons in the published files: written, read, and refused with file and item where something is wrong."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokscope.circuits.lock import LOCK
from grokscope.tasks import ComparisonTask, DataFolderError, TwoHopTask
from grokscope.tasks.questions.comparison_files import COMPARISON_FILES
from grokscope.tasks.questions.side_file import SIDE_FILE

TASK = ComparisonTask.random(n_entities=14, n_attributes=2, n_levels=4, ood_fraction=0.3, seed=6)
TYPE_OF = {
    "id_atomic": "id_atomic",
    "ood_atomic": "ood_atomic",
    "train_compared": "train_inferred",
    "test_compared_iid": "test_inferred_iid",
    "test_compared_ood": "test_inferred_ood",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TASK.to_files(tmp_path_factory.mktemp("written"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "data")


@pytest.fixture
def hand_made(folder: Path) -> Path:
    """Without the side file, whose checksums would be the first to notice a change."""
    (folder / SIDE_FILE).unlink()
    return folder


def change(path: Path, edit: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(edit(content) or content))


def test_what_is_written_is_read(folder: Path) -> None:
    again = ComparisonTask.from_files(folder)
    assert again == TASK and again.key == TASK.key and again.seed == 6


def test_files_and_items_are_the_published_ones(folder: Path) -> None:
    """Every question of the task is the literal item that the authors' generator writes for it."""
    assert {path.name for path in folder.iterdir()} == {*COMPARISON_FILES, SIDE_FILE, LOCK}
    content = {name: json.loads((folder / name).read_text()) for name in COMPARISON_FILES}
    vocabulary = [f"<e_{i}>" for i in range(14)] + ["<attr_0>", "<attr_1>", "<0>", "<1>", "<2>", "<3>"]
    vocabulary += ["<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]
    assert content["vocab.json"] == vocabulary + [f"<attr_{a}_{k}>" for a in range(2) for k in range(3)]
    literal = {split: [_item(row, of) for row in _rows(split)] for split, of in TYPE_OF.items()}
    train = literal["id_atomic"] + literal["ood_atomic"] + literal["train_compared"]
    assert content["train.json"] == train and content["valid.json"] == literal["test_compared_ood"]
    key = lambda item: json.dumps(item, sort_keys=True)  # noqa: E731
    assert Counter(map(key, content["test.json"])) == Counter(key(item) for items in literal.values() for item in items)


def _rows(split: str) -> list[list[str]]:
    queries = TASK.split(split)
    rows = zip(queries.tokens.tolist(), queries.answers.tolist(), strict=True)
    return [[TASK.token_name(token) for token in (*prompt, answer)] for prompt, answer in rows]


def _item(row: list[str], of: str) -> dict[str, str]:
    a, *entities, answer = row
    attribute = f"attr_{a[1:]}"
    if len(entities) == 1:
        prompt, said = f"<e_{entities[0][1:]}><{attribute}>", f"<{answer[1:]}>"
    else:
        prompt = f"<{attribute}><q><e_{entities[0][1:]}><mask><e_{entities[1][1:]}>"
        said = f"<{attribute}_{'<=>'.index(answer)}>"
    return {"input_text": prompt, "target_text": f"{prompt}{said}</a>", "type": of}


def test_a_folder_of_the_authors_generator_loads(hand_made: Path) -> None:
    """Items in any order, only a sample of the tests, no mixed ones: these are drawn, always the same."""
    rng = np.random.default_rng(0)
    for name in COMPARISON_FILES[1:]:
        change(hand_made / name, lambda items: [items[i] for i in rng.permutation(len(items))])
    change(hand_made / "vocab.json", lambda tokens: tokens[::-1])
    change(hand_made / "test.json", lambda items: items[::2])
    again = ComparisonTask.from_files(hand_made)
    assert (again.values == TASK.values).all() and (again.is_ood == TASK.is_ood).all() and again.seed == 0
    assert sorted(again.trained.tolist()) == sorted(TASK.trained.tolist())
    for name in ("test_compared_iid", "test_compared_ood"):
        assert {*map(tuple, again.tests[name].tolist())} < {*map(tuple, TASK.tests[name].tolist())}
    assert len(again.tests["test_compared_ood_id"]) and ComparisonTask.from_files(hand_made) == again
    labels = Counter(again.split("test_compared_ood_id").answers.tolist())
    assert len(set(labels.values())) == 1


def test_missing_files_are_all_named(folder: Path) -> None:
    for name in ("train.json", "vocab.json"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"data lacks vocab\.json, train\.json"):
        ComparisonTask.from_files(folder)


def test_a_changed_file_is_named_until_the_side_file_is_gone(folder: Path) -> None:
    change(folder / "valid.json", lambda items: items[:-1])
    with pytest.raises(DataFolderError, match=rf"valid\.json: other bytes than .*{SIDE_FILE} says"):
        ComparisonTask.from_files(folder)
    (folder / SIDE_FILE).unlink()
    assert (ComparisonTask.from_files(folder).values == TASK.values).all()


def test_a_folder_of_two_hop_questions_is_none(tmp_path: Path) -> None:
    folder = TwoHopTask.random(n_entities=9, n_relations=5, out_degree=4, seed=0).to_files(tmp_path)
    with pytest.raises(DataFolderError, match=r"grokscope\.json.*two-hop data folder"):
        ComparisonTask.from_files(folder)
    (folder / SIDE_FILE).unlink()
    with pytest.raises(DataFolderError, match=r"train\.json: expected a list of .*; item 0\.type: field required"):
        ComparisonTask.from_files(folder)


def test_hidden_facts_cannot_be_written(tmp_path: Path) -> None:
    task = ComparisonTask.reasoning(n_entities=20, n_attributes=2, n_levels=4, phi=1, n_compared=3)
    with pytest.raises(ValueError, match="OOD facts are hidden in the regime 'reasoning'"):
        task.to_files(tmp_path / "data")
    assert not (tmp_path / "data").exists()


DAMAGES = {
    "empty": (b"", "expected JSON"),
    "truncated": (b'[{"input', "expected JSON"),
    "UTF-16": ("[]".encode("utf-16"), "expected a text in UTF-8, byte 0"),
    "null": (b"null", "expected a list of .*; it: .* valid list, got None"),
    "numbers": (b"[1, 2]", "expected a list of .*; item 0: .* got 1"),
    "not finite": (b"[NaN]", "NaN is no finite number"),
    "deep": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("name", COMPARISON_FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_no_such_file_is_named(hand_made: Path, name: str, damage: str) -> None:
    data, message = DAMAGES[damage]
    (hand_made / name).write_bytes(data)
    with pytest.raises(DataFolderError, match=f"{re.escape(str(hand_made / name))}.*({message})"):
        ComparisonTask.from_files(hand_made)


def _with(**changes: str) -> Callable[[list[dict[str, str]]], None]:
    """Change the first item."""
    return lambda items: items[0].update(changes)


def _first(items: list[dict[str, str]], of: str) -> dict[str, str]:
    return next(item for item in items if item["type"] == of)


def _swap(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def _other_answer(items: list[dict[str, str]]) -> None:
    item = _first(items, "train_inferred")
    prompt, label = item["input_text"], item["target_text"][-6]
    item["target_text"] = f"{prompt}{item['target_text'][len(prompt) : -6]}{(int(label) + 1) % 3}></a>"


def _another_attribute(items: list[dict[str, str]]) -> None:
    item = _first(items, "train_inferred")
    label = item["target_text"][len(item["input_text"]) :]
    item["target_text"] = item["input_text"] + (_swap(label, "attr_0", "attr_1") if "attr_0" in label else label)


CONTRADICTIONS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "token": ("vocab.json", lambda tokens: [*tokens, "<script>"], r"item 32: unexpected token '<script>'"),
    "twice": ("vocab.json", lambda tokens: [*tokens, "<e_3>"], r"item 32: the token '<e_3>' is there twice"),
    "gap": ("vocab.json", lambda tokens: [t for t in tokens if t != "<e_3>"], r"unexpected token '<e_13>'.*\n.*lacks <e_3>"),
    "label": ("vocab.json", lambda tokens: [t for t in tokens if t != "<attr_1_2>"], "lacks <attr_1_2>"),
    "nothing": ("vocab.json", lambda tokens: ["<mask>"], "needed are two entities, an attribute and two values"),
    "entity": (
        "train.json",
        _with(input_text="<e_99><attr_0>", target_text="<e_99><attr_0><1></a>"),
        r"train\.json, item 0: unknown token '<e_99>'",
    ),
    "order": (
        "train.json",
        _with(input_text="<attr_0><e_0>", target_text="<attr_0><e_0><1></a>"),
        r"train\.json, item 0: of type id_atomic, expected input_text e attr .* got",
    ),
    "input": ("train.json", _with(input_text="<e_13><attr_1>"), r"item 0: of type id_atomic, expected input_text e attr"),
    "lacking": (
        "train.json",
        lambda items: items[1:],
        r"1 facts are not trained by themselves, the first is <e_\d+><attr_0>",
    ),
    "repeated": ("train.json", lambda items: [*items, items[0]], r"1 facts are there more than once"),
    "repeated comparison": ("train.json", lambda items: [*items, items[-1]], "comparisons that are there twice"),
    "answer": ("train.json", _other_answer, r"item 28: compares otherwise than the values of train\.json do"),
    "attribute": ("train.json", _another_attribute, "item 28: the answer is of <attr_1>, the question of <attr_0>"),
    "type": ("train.json", _with(type="hidden"), r"train\.json: expected a list of .*; item 0\.type: "),
    "test in training": (
        "train.json",
        lambda items: [*items, json.loads(json.dumps(_item(_rows("test_compared_iid")[0], "test_inferred_iid")))],
        r"of type test_inferred_iid; train\.json holds id_atomic, ood_atomic, train_inferred",
    ),
    "leak": (
        "train.json",
        lambda items: [*items, _item(_rows("test_compared_iid")[0], "train_inferred")],
        r"test\.json: test_compared_iid: comparisons that are trained, or whose mirror image is \(\d items, the first",
    ),
    "OOD comparison": (
        "train.json",
        lambda items: [*items, _item(_rows("test_compared_ood_id")[0], "train_inferred")],
        r"train\.json: comparisons of OOD facts, which are trained only in the regime 'reasoning' \(1 items",
    ),
    "untrained": (
        "test.json",
        lambda items: [*items, _item(_rows("test_compared_ood_id")[0], "train_inferred")],
        r"test\.json, item \d+: of type train_inferred, but it is not in train\.json",
    ),
    "OOD value": (
        "test.json",
        lambda items: [*items, _item(_rows("ood_atomic")[0], "id_atomic")],
        r"of type id_atomic, but train\.json has its fact as ood_atomic",
    ),
    "wrong value": (
        "test.json",
        lambda items: [
            *items,
            _item([*_rows("id_atomic")[0][:2], f"v{(TASK.values[~TASK.is_ood][0] + 1) % 4}"], "id_atomic"),
        ],
        r"says a value otherwise than the values of train\.json do",
    ),
    "status": (
        "test.json",
        lambda items: [*items, _item(_rows("test_compared_ood_id")[0], "test_inferred_ood")],
        r"test\.json: test_compared_ood: facts that are not OOD and OOD \(1 items",
    ),
    "validation": (
        "valid.json",
        lambda items: [*items, _item(_rows("id_atomic")[0], "id_atomic")],
        r"valid\.json, item \d+: of type id_atomic; valid\.json holds test_inferred_ood",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_what_contradicts_the_format_is_named_with_its_file(hand_made: Path, case: str) -> None:
    file, edit, message = CONTRADICTIONS[case]
    change(hand_made / file, edit)
    with pytest.raises(DataFolderError, match=f"(?s){re.escape(str(hand_made))}.*{message}"):
        ComparisonTask.from_files(hand_made)


def test_several_problems_are_said_at_once(hand_made: Path) -> None:
    change(hand_made / "train.json", _with(input_text="<e_99><attr_0>", target_text="<e_99><attr_0><1></a>"))
    change(hand_made / "valid.json", _with(target_text="nonsense"))
    with pytest.raises(DataFolderError, match=r"(?s)train\.json, item 0: unknown token.*valid\.json, item 0: of type"):
        ComparisonTask.from_files(hand_made)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"test_compared_ood_id": [[1]]}, "test_compared_ood_id"),
        ({"test_compared_ood_id": [[0, 999]]}, "test_compared_ood_id: fact numbers must lie between 0 and 27"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_wrong_in_a_side_file_is_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    from grokscope.tasks.questions.side_file import write_side

    content = json.loads((folder / SIDE_FILE).read_text())["content"]
    content.pop("files")
    files = {name: (folder / name).read_bytes() for name in COMPARISON_FILES}
    write_side(folder, content | changes, files, kind="comparison data folder", written_format=1)
    with pytest.raises(DataFolderError, match=rf"(?s){SIDE_FILE}.*{message}"):
        ComparisonTask.from_files(folder)


def test_a_file_that_leads_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.json").write_bytes((folder / "train.json").read_bytes())
    (folder / "train.json").unlink()
    (folder / "train.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataFolderError, match=r"train\.json"):
        ComparisonTask.from_files(folder)
