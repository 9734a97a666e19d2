import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grokscope.circuits.lock import LOCK
from grokscope.tasks import BOTH_HALF, SECOND_HOP, SPLITS, DataFolderError, TwoHopTask
from grokscope.tasks.questions.files import PUBLISHED_FILES
from grokscope.tasks.questions.side_file import SIDE_FILE


@pytest.fixture
def task() -> TwoHopTask:
    settings = dict(n_entities=15, n_relations=8, out_degree=6, ood_fraction=0.2, test_fraction=0.1)
    return TwoHopTask.random(**settings, supervision=BOTH_HALF, seed=5)


@pytest.fixture
def folder(task: TwoHopTask, tmp_path: Path) -> Path:
    return task.to_files(tmp_path / "data")


@pytest.fixture
def hand_made(folder: Path) -> Path:
    """Without the side file, whose checksums would be the first to notice a change."""
    (folder / SIDE_FILE).unlink()
    return folder


def change(path: Path, edit: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(edit(content) or content))


def test_round_trip_keeps_everything(task: TwoHopTask, folder: Path) -> None:
    again = TwoHopTask.from_files(folder)
    assert again.key == task.key
    assert (again.supervision, again.seed) == (task.supervision, task.seed)
    for name in SPLITS:
        assert (again.split(name).tokens == task.split(name).tokens).all()
    assert again.with_supervision(SECOND_HOP).key == task.with_supervision(SECOND_HOP).key


def test_files_tokens_and_schemas_are_the_published_ones(task: TwoHopTask, folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {*PUBLISHED_FILES, SIDE_FILE, LOCK}
    content = {name: json.loads((folder / name).read_text()) for name in PUBLISHED_FILES}
    entities, relations = [f"<e_{i}>" for i in range(15)], [f"<r_{i}>" for i in range(8)]
    assert content["vocab.json"] == [*entities, *relations, "<mask>", "<sep>", "<a>", "</a>", "<q>", "</q>"]
    assert len(content["id_facts.json"]) + len(content["ood_facts.json"]) == 90
    assert all(re.fullmatch(r"<e_\d+> <r_\d+> <e_\d+>", " ".join(fact)) for fact in content["ood_facts.json"])
    for item in content["train.json"] + content["valid.json"]:
        assert set(item) == {"input_text", "target_text"}
        assert re.fullmatch(r"<e_\d+>(<r_\d+>){1,2}", item["input_text"])
        assert re.fullmatch(re.escape(item["input_text"]) + r"<e_\d+></a>", item["target_text"])
    counts = {name: sum(item["type"] == name for item in content["test.json"]) for name in SPLITS}
    assert counts["test_inferred_ood"] == len(content["valid.json"]) == len(task.split("test_inferred_ood"))
    assert counts["test_inferred_ood_id"] == counts["test_inferred_id_ood"] == 0
    assert counts["train_inferred"] == min(3000, len(task.split("train_inferred")))


def test_a_folder_of_the_authors_generator_loads(task: TwoHopTask, folder: Path) -> None:
    """Without the side file, facts in any order, training items shuffled, only a sample of the test queries."""
    (folder / SIDE_FILE).unlink()
    rng = np.random.default_rng(0)
    for name in ("id_facts.json", "ood_facts.json", "train.json"):
        change(folder / name, lambda items: [items[i] for i in rng.permutation(len(items))])
    again = TwoHopTask.from_files(folder)
    assert (again.graph.tails == task.graph.tails).all() and (again.is_ood == task.is_ood).all()
    assert sorted(again.added.tolist()) == sorted(task.added.tolist())
    assert sorted(again.trained.tolist()) == sorted(task.trained.tolist())
    assert again.supervision is None and again.regime == "from files"
    mixed = {tuple(row) for name in ("test_inferred_ood_id", "test_inferred_id_ood") for row in again.tests[name].tolist()}
    assert mixed and mixed.isdisjoint(map(tuple, again.added.tolist()))
    assert TwoHopTask.from_files(folder).key == again.key


def test_missing_files_are_all_named(folder: Path) -> None:
    (folder / "valid.json").unlink()
    (folder / "vocab.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks vocab.json, valid.json; a data folder holds"):
        TwoHopTask.from_files(folder)


def test_a_truncated_file_is_named(hand_made: Path) -> None:
    text = (hand_made / "train.json").read_text()
    (hand_made / "train.json").write_text(text[: len(text) // 2])
    with pytest.raises(DataFolderError, match=r"train.json: expected JSON, got"):
        TwoHopTask.from_files(hand_made)


def test_unknown_tokens_are_named_with_file_and_item(hand_made: Path) -> None:
    def edit(items: list[dict[str, str]]) -> None:
        items[3] |= {"input_text": "<e_99><r_0>", "target_text": "<e_99><r_0><e_1></a>"}

    change(hand_made / "train.json", edit)
    with pytest.raises(DataFolderError, match=r"train.json, item 3: unknown token '<e_99>'"):
        TwoHopTask.from_files(hand_made)
    change(hand_made / "id_facts.json", lambda facts: facts[1].__setitem__(2, "<x>"))
    with pytest.raises(DataFolderError, match=r"id_facts.json, item 1: unknown token '<x>'"):
        TwoHopTask.from_files(hand_made)
    change(hand_made / "vocab.json", lambda vocab: [*vocab, "<new>"])
    with pytest.raises(DataFolderError, match=r"vocab.json, item 29: unexpected token '<new>'"):
        TwoHopTask.from_files(hand_made)


def test_two_tails_for_one_slot_are_named(hand_made: Path) -> None:
    first = json.loads((hand_made / "id_facts.json").read_text())[0]
    other = "<e_1>" if first[2] != "<e_1>" else "<e_2>"
    change(hand_made / "ood_facts.json", lambda facts: [*facts, [*first[:2], other]])
    with pytest.raises(DataFolderError, match=rf"ood_facts.json, item 18: a second tail for {first[0]}{first[1]}: {other}"):
        TwoHopTask.from_files(hand_made)


def test_an_item_that_no_chain_explains_is_named(hand_made: Path) -> None:
    def edit(items: list[dict[str, str]]) -> None:
        item = items[-1]
        answer = re.findall(r"<e_\d+>", item["target_text"])[-1]
        item["target_text"] = item["target_text"].replace(f"{answer}</a>", "<e_0></a>" if answer != "<e_0>" else "<e_1></a>")

    number = len(json.loads((hand_made / "train.json").read_text())) - 1
    change(hand_made / "train.json", edit)
    with pytest.raises(DataFolderError, match=rf"train.json, item {number}: no chain of facts leads from"):
        TwoHopTask.from_files(hand_made)


def test_a_trained_test_query_an_untrained_fact_and_an_unknown_type_are_named(hand_made: Path) -> None:
    leaked = json.loads((hand_made / "valid.json").read_text())[0]
    change(hand_made / "train.json", lambda items: [*items[1:], leaked])
    untrained, leak = "1 facts are not trained by themselves", r"also trained \(1 items, the first is item \d+\)"
    with pytest.raises(DataFolderError, match=rf"(?s){untrained}.*test.json: test_inferred_ood: queries that are {leak}"):
        TwoHopTask.from_files(hand_made)
    change(hand_made / "test.json", lambda items: items[0].__setitem__("type", "atomic_new"))
    with pytest.raises(
        DataFolderError, match=r"test.json: expected a list .*; item 0.type: input should be 'id_atomic'.*got 'atomic_new'"
    ):
        TwoHopTask.from_files(hand_made)


def test_long_lists_of_problems_are_cut(hand_made: Path) -> None:
    change(hand_made / "train.json", lambda items: [{"input_text": "", "target_text": ""}] * 9 + items)
    with pytest.raises(DataFolderError, match=r"(?s)item 4: expected input_text.*… and 4 more"):
        TwoHopTask.from_files(hand_made)


def test_a_trained_ood_ood_composition_is_named(task: TwoHopTask, hand_made: Path) -> None:
    """Even where it is no test query, as in folders that sample their tests."""
    leaked = json.loads((hand_made / "valid.json").read_text())[0]
    change(hand_made / "train.json", lambda items: [*items, leaked])
    change(hand_made / "test.json", lambda items: [item for item in items if item["input_text"] != leaked["input_text"]])
    with pytest.raises(
        DataFolderError,
        match=r"train.json: OOD\+OOD compositions, which no regime trains \(1 items, the first is item \d+\)",
    ):
        TwoHopTask.from_files(hand_made)
