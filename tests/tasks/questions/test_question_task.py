"""A task made of questions: what follows from them, what is refused, and that runs read it back."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from carry import answer_of, carry_of, carry_task
from hostile import NAMES

from grokscope.tasks import (
    CheckpointError,
    ModelConfig,
    Queries,
    QuestionTask,
    Run,
    Task,
    TrainConfig,
    exact_match,
    make_pairs,
    shortcut_accuracy,
    train,
)
from grokscope.tasks.questions.contrasts import Contrasted

SCRIPT = "<script>window.hit=1</script>"


def sums(rows: list[list[int]], roles: str = "ab", **changes: Any) -> Queries:
    """Sums of two digits, or of three, modulo ten, with the carry or sum of the first two."""
    tokens = torch.tensor(rows)
    about = {"carry": tokens[:, :2].sum(1) // 10}
    return Queries(tokens, **({"answers": tokens.sum(1) % 10, "roles": tuple(roles), "intermediates": about} | changes))


TRAINED = [[a, b, c] for a in range(10) for b in range(10) for c in range(3) if (a + 3 * b + c) % 4]
TESTED = [[a, b, c] for a in range(10) for b in range(10) for c in range(3) if not (a + 3 * b + c) % 4]


def partial(tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"partial": tokens[:, :2].sum(1) % 10}


def three(rows: list[list[int]]) -> Queries:
    return sums(rows, "abc", intermediates=partial(torch.tensor(rows)))


@pytest.fixture(scope="module")
def task() -> QuestionTask:
    """Sums of three digits modulo ten, and all sums of two by themselves."""
    twos = [[a, b] for b in range(10) for a in range(10)]
    facts = {"first": torch.arange(100)}
    atomic = sums(twos, intermediates=partial(torch.tensor(twos)), facts=facts)
    splits = {"twos": ("atomic", atomic), "sums": ("trained", three(TRAINED)), "new": ("test", three(TESTED))}
    return QuestionTask(splits, decided_by={"partial": ("a", "b")}, shortcuts={"c": ("c",)})  # pyright: ignore


def test_it_is_a_task_and_says_what_follows_from_its_questions(task: QuestionTask) -> None:
    assert isinstance(task, Task) and isinstance(task, Contrasted)
    assert task.splits == {"twos": "atomic", "sums": "trained", "new": "test"} and task.id_test == "new"
    assert (task.n_tokens, task.n_positions, task.one_length, task.n_values("partial")) == (10, 3, False, 10)
    assert task.token_name(7) == "7" and task.ood_test is None and task.n_reference == 100
    assert carry_task().one_length and carry_task().n_values("carry") == 4
    asked = task.split("new")
    assert asked.split == "new" and torch.equal(asked.tokens, torch.tensor(TESTED))


def test_questions_of_all_splits_with_the_same_deciding_tokens_are_one_unit(task: QuestionTask) -> None:
    unit_of: dict[tuple[int, ...], int] = {}
    for name in task.splits:
        asked = task.split(name)
        for tokens, unit in zip(asked.tokens.tolist(), asked.unit.tolist(), strict=True):
            assert unit_of.setdefault(tuple(tokens[:2]), unit) == unit
    assert len(set(unit_of.values())) == len(unit_of) == 100


def test_atomic_questions_without_the_deciding_roles_are_units_of_their_own(task: QuestionTask) -> None:
    singles = Queries(torch.arange(10)[:, None], torch.arange(10), roles=("x",))
    more = replace(task, questions={**task.questions, "singles": ("atomic", singles)})
    assert more.split("singles").unit.tolist() == list(range(100, 110)) and task.split("twos") == more.split("twos")


def test_a_reference_is_one_trained_question_for_each_unit_that_is_left(task: QuestionTask) -> None:
    without = frozenset({3, 50})
    reference = task.reference(seed=0, without=without)
    assert reference.unit.tolist() == [unit for unit in range(100) if unit not in without]
    assert {tuple(row) for row in reference.tokens.tolist()} <= set(map(tuple, TRAINED))
    assert torch.equal(reference.intermediates["partial"], reference.tokens[:, :2].sum(1) % 10)
    assert not torch.equal(reference.tokens, task.reference(seed=1, without=without).tokens)


@pytest.mark.parametrize(("contrast", "changed"), [("partial", [0, 1]), ("a", [0]), ("b", [1]), ("c", [2])])
def test_pairs_differ_as_the_contrast_says(task: QuestionTask, contrast: str, changed: list[int]) -> None:
    assert list(task.contrasts) == ["partial", "a", "b", "c"]
    pairs = make_pairs(task, split="new", contrast=contrast, n=40, seed=0)
    assert pairs.recipe["task"] == task.key and "graph" not in pairs.recipe
    for clean, corrupt, answer, foil in zip(
        pairs.clean.tolist(), pairs.corrupt.tolist(), pairs.answers.tolist(), pairs.foils.tolist(), strict=True
    ):
        assert [i for i in range(3) if clean[i] != corrupt[i]] == changed
        assert (answer, foil) == (sum(clean) % 10, sum(corrupt) % 10) and answer != foil
        assert clean in TESTED and corrupt in TESTED + TRAINED
    differs = pairs.intermediates["partial"] != pairs.corrupt_intermediates["partial"]
    assert differs.all() if contrast != "c" else not differs.any()


def test_a_role_with_one_token_has_no_contrast() -> None:
    rows = [[a, b, 7] for a in range(5) for b in range(5)]
    task = QuestionTask({"sums": ("trained", three(rows[:20])), "new": ("test", three(rows[20:]))})
    assert list(task.contrasts) == ["b"] or list(task.contrasts) == ["a", "b"]
    assert "7" not in task.contrasts and "c" not in task.contrasts


def test_donors_hold_another_value_and_ask_about_the_same_other_tokens(task: QuestionTask) -> None:
    asked, seen = task.split("new"), 0
    donors = task.donors(intermediate="partial", second_hop="ID", seed=0)
    for row in range(len(asked)):
        a, b, c = asked.tokens[row].tolist()
        if not (found := donors.of(asked, row)):
            continue
        seen += 1
        prompts = {kind: prompt.tolist() for kind, prompt in found.prompts.items()}
        assert set(prompts) == {"held out", "trained", "same partial", "other partial"}
        assert prompts["held out"] in TESTED and prompts["trained"] in TRAINED
        values = {kind: (prompt[0] + prompt[1]) % 10 for kind, prompt in prompts.items()}
        assert {prompt[2] for prompt in prompts.values()} == {c} and prompts["same partial"][:2] != [a, b]
        assert values["held out"] == values["trained"] == found.value != (a + b) % 10 == values["same partial"]
        assert values["other partial"] not in (found.value, (a + b) % 10)
        assert found.answer == (found.value + c) % 10
    assert seen > 50


def test_questions_of_the_ood_split_are_paired_with_each_other_only(task: QuestionTask) -> None:
    is_ood = torch.tensor(TESTED)[:, 0] > 4
    tested = task.split("new")
    splits = {**task.questions, "new": ("test", tested.take(~is_ood)), "ood": ("test", tested.take(is_ood))}
    parted = replace(task, questions=splits, ood_test="ood")
    assert (parted.id_test, parted.ood_test) == ("new", "ood")
    pairs = make_pairs(parted, split="ood", contrast="partial", n=20, seed=0)
    assert (pairs.corrupt[:, 0] > 4).all() and pairs.recipe["n_from_training"] == 0
    assert set(parted.fact_status(parted.split("ood")).tolist()) == {1}
    assert set(parted.fact_status(parted.split("sums")).tolist()) == {0}


def through_json(task: QuestionTask) -> QuestionTask:
    return QuestionTask.from_arrays(task.to_arrays(), json.loads(json.dumps(task.settings)))


def test_it_is_read_back_from_small_arrays_with_the_same_key(task: QuestionTask) -> None:
    arrays = task.to_arrays()
    assert {str(array.dtype) for array in arrays.values()} == {"int16"}
    columns = ("tokens", "answers", "intermediates.partial")
    assert set(arrays) == {f"{name}@{split}" for name in columns for split in task.splits} | {"facts.first@twos"}
    assert through_json(task) == task and through_json(task).key == task.key == "6823a09251ec"
    assert carry_task().key == "c9e747d7ecd4"


def test_keys_differ_with_questions_and_with_what_is_said_of_them(task: QuestionTask) -> None:
    fewer = {**task.questions, "new": ("test", task.split("new").take(torch.arange(50)))}
    shuffled = {**task.questions, "new": ("test", task.split("new").take(torch.arange(74, -1, -1)))}
    others = [replace(task, questions=each) for each in (fewer, shuffled)]
    others += [replace(task, decided_by={}), replace(task, shortcuts={}), replace(task, n_tokens=11), replace(task, seed=1)]
    assert len({each.key for each in (task, *others)}) == 7


def test_large_tokens_are_saved_in_wider_integers() -> None:
    tokens = torch.tensor([[40_000, 3], [5, 4]])
    wide = [Queries(tokens + i, torch.tensor([1, 2]), roles=("a", "b")) for i in range(2)]
    task = QuestionTask({"trained": ("trained", wide[0]), "tested": ("test", wide[1])})
    assert {name: str(array.dtype) for name, array in task.to_arrays().items() if "tokens" in name} == {
        "tokens@trained": "int32",
        "tokens@tested": "int32",
    }
    assert through_json(task) == task and task.n_tokens == 40_002


def test_names_that_try_to_be_more_than_names_are_kept(tmp_path: Path) -> None:
    value = {NAMES[3]: torch.tensor(TRAINED).sum(1) % 3}
    asked = Queries(torch.tensor(TRAINED), value[NAMES[3]], roles=NAMES[:3], intermediates=value, facts=value)
    splits = {SCRIPT: ("trained", asked.take(torch.arange(150))), "</div>'": ("test", asked.take(torch.arange(150, 225)))}
    named = QuestionTask(splits, token_names=[f"{SCRIPT}{i}" for i in range(10)], regime=SCRIPT)  # pyright: ignore
    assert through_json(named) == named and named.token_name(3) == f"{SCRIPT}3"
    config = TrainConfig.tiny(max_steps=2, evaluate_every=1, batch_size=64)
    run = train(named, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    assert Run.load(run.folder).task == named and SCRIPT in run.metrics
    assert "<script>" not in (named._repr_html_() or "") and "<script>" not in (run._repr_html_() or "")


def test_its_run_is_read_back_by_anyone_and_its_checkpoint_scores_what_the_table_says(
    task: QuestionTask, tmp_path: Path
) -> None:
    config = TrainConfig.tiny(max_steps=60, evaluate_every=20, batch_size=160, ema=0.0)
    run = train(task, ModelConfig.tiny(), config, tmp_path / "run", progress=False)
    again = Run.load(run.folder)
    assert isinstance(again.task, QuestionTask) and again.task == task and again.task.key == task.key
    assert {"twos", "sums", "new", "floor_new"} <= set(run.metrics) and "gated_new" not in run.metrics
    checkpoint = again.checkpoint("final")
    right = exact_match(checkpoint.model(), again.task.split("new"))
    assert float(right[1::2].double().mean()) == pytest.approx(checkpoint.accuracy["new"], abs=1e-9)
    other = replace(task, seed=1)
    with pytest.raises(CheckpointError, match=f"its task is {task.key} .*, {other.key} .* was asked for"):
        train(other, ModelConfig.tiny(), config, run.folder, resume=True, progress=False)


def test_its_shortcuts_are_scored_on_the_roles_that_they_look_at(task: QuestionTask) -> None:
    found = shortcut_accuracy(task, task.split("new"))
    assert set(found) == {"c"} and 0 <= found["c"] < 0.3


def test_unknown_names_are_refused_with_those_there_are(task: QuestionTask) -> None:
    with pytest.raises(KeyError, match="no split 'nonsense'; the splits are twos, sums, new"):
        task.split("nonsense")
    with pytest.raises(KeyError, match="no intermediate 'carry'; there is partial"):
        task.n_values("carry")
    with pytest.raises(ValueError, match="token is 10, the tokens of this task are 0 to 9"):
        task.token_name(10)
    with pytest.raises(
        ValueError, match=r"no roles decide 'partial': name them, as in decided_by=\{'partial': \('a', 'b'\)\}"
    ):
        replace(task, decided_by={}).donors(intermediate="partial", second_hop="ID", seed=0)
    with pytest.raises(ValueError, match="asked for 1000 'partial' pairs of new, but only"):
        make_pairs(task, split="new", contrast="partial", n=1000, seed=0)
    with pytest.raises(ValueError, match="twos holds atomic queries"):
        make_pairs(task, split="twos", contrast="partial", n=1, seed=0)


TWO = {"sums": ("trained", sums([[1, 2], [3, 9], [4, 4]])), "new": ("test", sums([[5, 6], [7, 7]]))}
WRONG: dict[str, tuple[Mapping[str, Any], str]] = {
    "no mapping": ({"questions": [1]}, "questions is a list, needed is what each split is for"),
    "no questions": ({"questions": {"sums": ("trained", 3)}}, "the questions of 'sums' are 3, needed are Queries"),
    "no pair": ({"questions": {"sums": TWO["sums"][1]}}, "questions['sums'] is a Queries, needed is what each split"),
    "no part": ({"questions": {"sums": ("training", TWO["sums"][1])}}, "what 'sums' is for must be one of 'atomic'"),
    "a column": ({"questions": {"train": TWO["sums"]}}, "a split is called 'train'; its name has no whitespace, comma"),
    "a prefix": ({"questions": {"select_sums": TWO["sums"]}}, "does not begin with select_, gated_, floor_"),
    "a comma": ({"questions": {"a,b": TWO["sums"]}}, "a split is called 'a,b'"),
    "a name": ({"questions": {"sums": ("trained", sums([[1, 2]], facts={"a b": torch.tensor([1])}))}}, "got 'a b'"),
    "roles": ({"decided_by": {"carry": "ab"}}, "decided_by['carry'] is 'ab', needed are names"),
    "no roles": ({"decided_by": {"carry": ()}}, "decided_by['carry'] has no role"),
    "nothing trained": ({"questions": {"new": TWO["new"]}}, "no split has trained questions"),
    "nothing tested": ({"questions": {"sums": TWO["sums"]}}, "there is no test split"),
    "only ood": ({"ood_test": "new"}, "there is no test split besides ood_test"),
    "id test": ({"id_test": "sums"}, "id_test must be one of 'new', got 'sums'"),
    "few tokens": ({"n_tokens": 5}, "sums: an answer is 8 (row 2), tokens are 0 to 4; new: a token is 5 (row 0)"),
    "few names": ({"token_names": ["0", "1"], "n_tokens": 10}, "there are 2 token_names for 10 tokens"),
    "value": (
        {"questions": {**TWO, "new": ("test", sums([[5, 6]], intermediates={"carry": torch.tensor([10])}))}, "n_tokens": 10},
        "new: a value of carry is 10 (row 0), tokens are 0 to 9; number the values from 0 on, as tokens",
    ),
    "other roles": (
        {"questions": {**TWO, "new": ("test", sums([[5, 6]], "ac"))}},
        "new has the roles a c, sums has a b: trained and tested questions are of one kind, shorter ones are atomic",
    ),
    "none carried": (
        {"questions": {**TWO, "new": ("test", sums([[5, 6]], intermediates={}))}},
        "new has the intermediates none, sums has carry",
    ),
    "a role": ({"decided_by": {"carry": ("a", "z")}}, "decided_by['carry']: no roles z; there are a, b"),
    "unknown": ({"decided_by": {"bridge": ("a", "b")}}, "no intermediates bridge; there are carry"),
    "shortcut": ({"shortcuts": {"z": ("z",)}}, "shortcuts['z']: no roles z; there are a, b"),
    "called as a role": (
        {"questions": {**TWO, "one": ("atomic", Queries(torch.tensor([[1]]), torch.tensor([1]), roles=("carry",)))}},
        "an intermediate cannot be called carry, as a role or the answer is",
    ),
    "trained and tested": (
        {"questions": {**TWO, "new": ("test", sums([[5, 6], [4, 4], [3, 9]]))}},
        "2 prompts of new (test) also in sums (trained): row 1 is row 2 there; keep each once",
    ),
    "twice": (
        {"questions": {**TWO, "new": ("test", sums([[5, 6], [5, 6]]))}},
        "1 prompt of new (test) also in new (test): row 1 is row 0 there",
    ),
    "not decided": (
        {"decided_by": {"carry": ("a",)}, "questions": {**TWO, "new": ("test", sums([[3, 1], [5, 5]]))}},
        "row 1 of sums and row 0 of new have the same tokens at a and another carry: name all roles",
    ),
    "more than that": (
        {"decided_by": {"carry": ("a", "b")}},
        "row 0 of sums and row 2 of sums have the same carry and the same tokens but at a, b, and other answers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_task_is_refused_by_name(name: str) -> None:
    changes, says = WRONG[name]
    with pytest.raises(ValueError) as error:
        QuestionTask(**({"questions": TWO} | changes))
    assert "these questions are no task: " in str(error.value) and says in str(error.value)


def test_all_problems_are_named_at_once() -> None:
    splits = {**TWO, "new": ("test", sums([[5, 6], [4, 4]], "ac"))}
    with pytest.raises(ValueError) as error:
        QuestionTask(splits, decided_by={"bridge": ("z",)}, n_tokens=9, id_test="x")  # pyright: ignore
    for says in ("id_test must be", "a token is 9", "roles a c", "no intermediates bridge", "no roles z"):
        assert says in str(error.value)
    with pytest.raises(ValueError) as error:
        QuestionTask({"train": ("x", 3)}, decided_by=3, seed=-1, regime="")  # pyright: ignore
    for says in ("a split is called 'train'", "must be one of", "needed are Queries", "decided_by is 3", "seed", "regime"):
        assert says in str(error.value)


@pytest.mark.parametrize("name", ["tokens@sums", "answers@new", "intermediates.partial@sums", "facts.first@twos"])
def test_damaged_arrays_are_refused_by_name(task: QuestionTask, name: str) -> None:
    arrays, settings = task.to_arrays(), task.settings
    with pytest.raises(ValueError, match=f"arrays lack {name}"):
        QuestionTask.from_arrays({key: array for key, array in arrays.items() if key != name}, settings)
    with pytest.raises(ValueError, match="arrays name more@sums, which no split has"):
        QuestionTask.from_arrays({**arrays, "more@sums": arrays[name]}, settings)
    for dtype in (np.float32, np.bool_, np.uint64):
        with pytest.raises(ValueError, match=f"the array {name} is of {np.dtype(dtype)}, needed are whole numbers"):
            QuestionTask.from_arrays({**arrays, name: arrays[name].astype(dtype)}, settings)
    for damaged in (arrays[name][:-1], arrays[name][None], -5 - arrays[name] if "facts" not in name else arrays[name][:0]):
        with pytest.raises(ValueError, match=f"the arrays of {name.partition('@')[2]}: these are no que|a value of partial"):
            QuestionTask.from_arrays({**arrays, name: damaged}, settings)


def test_damaged_settings_are_refused_by_name(task: QuestionTask) -> None:
    arrays, settings = task.to_arrays(), task.settings
    for name in settings:
        with pytest.raises(ValueError, match=name):
            QuestionTask.from_arrays(arrays, {key: value for key, value in settings.items() if key != name})
        with pytest.raises(ValueError, match=name):
            QuestionTask.from_arrays(arrays, {**settings, name: 1.5})
    with pytest.raises(ValueError, match="more"):
        QuestionTask.from_arrays(arrays, {**settings, "more": 1})
    first = settings["splits"][0]
    for name in first:
        with pytest.raises(ValueError, match=name):
            QuestionTask.from_arrays(arrays, {**settings, "splits": [{**first, name: 1.5}, *settings["splits"][1:]]})
    with pytest.raises(ValueError, match="the split sums is there twice"):
        QuestionTask.from_arrays(arrays, {**settings, "splits": [*settings["splits"], settings["splits"][1]]})


def test_changed_arrays_that_make_no_task_are_refused(task: QuestionTask) -> None:
    arrays = task.to_arrays()
    answers = arrays["answers@sums"].copy()
    answers[0] = (answers[0] + 1) % 10
    with pytest.raises(ValueError, match="have the same partial and the same tokens but at a, b, and other answers"):
        QuestionTask.from_arrays({**arrays, "answers@sums": answers}, task.settings)


def test_it_says_what_it_is_in_a_line_and_a_card(task: QuestionTask) -> None:
    assert repr(task) == "QuestionTask(twos 100, sums 225, new 75, 10 tokens, partial by a b)"
    assert "partial by a b" in (task._repr_html_() or "") and "100 trained units" in (task._repr_html_() or "")


def test_the_task_set_by_hand_answers_as_it_says() -> None:
    task = carry_task()
    for name in task.splits:
        asked = task.split(name)
        assert torch.equal(asked.answers, answer_of(asked.tokens))
        assert torch.equal(asked.intermediates["carry"], carry_of(asked.tokens))
