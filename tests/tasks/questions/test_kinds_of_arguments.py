"""Whatever is given for a column or a setting is converted or refused by name, in the caller's words."""

from collections.abc import Callable

import jaxtyping
import numpy as np
import pytest
import torch

from grokscope.tasks import PromptPairs, Queries, is_right, predictions

ROLES = ("h", "r1", "r2")
TOKENS = torch.tensor([[3, 9, 0], [4, 9, 1]])
COLUMNS = {"answers": torch.tensor([2, 3]), "unit": torch.tensor([0, 1]), "bridge": torch.tensor([5, 6])}
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]


@pytest.fixture(autouse=True)
def unchecked() -> object:
    """As for users: the type hints, which tests check, are not checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def queries(tokens: object = TOKENS, **given: object) -> Queries:
    values = COLUMNS | {"hop1": torch.tensor([0, 1])} | given
    mappings = {"intermediates": {"bridge": values["bridge"]}, "facts": {"hop1": values["hop1"]}}
    rest = {name: value for name, value in given.items() if name not in ("answers", "unit", "bridge", "hop1")}
    return Queries(tokens, values["answers"], **{"roles": ROLES, "unit": values["unit"], **mappings, **rest})


def pairs(**given: object) -> PromptPairs:
    usual = {"clean": TOKENS, "corrupt": TOKENS + 1, "answers": COLUMNS["answers"], "foils": torch.tensor([7, 8])}
    return PromptPairs(**{**usual, "roles": ROLES, **given})


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("name", ["tokens", "answers", "unit", "bridge", "hop1"])
def test_whole_numbers_of_any_size_are_the_same_question(name: str, dtype: torch.dtype) -> None:
    given = {"tokens": TOKENS, "hop1": torch.tensor([0, 1])} | COLUMNS
    found = queries(**{name: given[name].to(dtype)})
    for one, other in zip(columns_of(found), columns_of(queries()), strict=True):
        assert one.dtype == torch.long and torch.equal(one, other)


def columns_of(asked: Queries) -> list[torch.Tensor]:
    return [asked.tokens, asked.answers, asked.unit, *asked.intermediates.values(), *asked.facts.values()]


WRONG: dict[str, tuple[Callable[[torch.Tensor], object], str]] = {
    "numpy": (lambda values: values.numpy(), "is a ndarray, needed is a tensor"),
    "list": (lambda values: values.tolist(), "is a list, needed is a tensor"),
    "one number": (lambda values: 3, "is a int, needed is a tensor"),
    "float": (lambda values: values.float(), "is of torch.float32, needed are whole numbers"),
    "bool": (lambda values: values > 0, "is of torch.bool, needed are whole numbers"),
    "complex": (lambda values: values.to(torch.complex64), "is of torch.complex64, needed are whole"),
    "one more axis": (lambda values: values[..., None], r"has the shape \(2, (3, )?1\), needed is"),
    "meta": (lambda values: values.to("meta"), "is on the meta device"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["tokens", "answers", "unit", "bridge", "hop1"])
def test_other_columns_are_refused_by_name(name: str, case: str) -> None:
    change, message = WRONG[case]
    given = {"tokens": TOKENS, "hop1": torch.tensor([0, 1])} | COLUMNS
    with pytest.raises(ValueError, match=f"{name} {message}"):
        queries(**{name: change(given[name])})


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("name", ["clean", "corrupt", "answers", "foils"])
def test_those_of_pairs_too(name: str, case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=f"{name} {message}"):
        pairs(**{name: change({"clean": TOKENS, "corrupt": TOKENS + 1}.get(name, COLUMNS["answers"]))})


def test_the_call_of_earlier_versions_is_told_todays() -> None:
    bridges, hop1, hop2 = COLUMNS["bridge"], torch.tensor([0, 1]), torch.tensor([2, 3])
    with pytest.raises(ValueError, match=r"these are no questions: .*roles is a Tensor") as caught:
        Queries(TOKENS, COLUMNS["answers"], bridges, hop1, hop2, ROLES, 2, "test")
    for part in ("given by keyword", "roles=…", "intermediates={'bridge': …}", "facts={'hop1': …, 'hop2': …}"):
        assert part in str(caught.value)


SETTINGS = {
    "intermediates": (COLUMNS["bridge"], r"intermediates is a Tensor, needed are columns \[query\] by name"),
    "facts": ([1, 2], "facts is a list, needed are columns"),
    "split": (3, "split is 3, needed is a name"),
    "roles": (COLUMNS["bridge"], "roles is a Tensor, needed are 3 names"),
    "answer_position": (ROLES, "answer_position=a tuple is outside"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_another_type_are_named(name: str) -> None:
    value, message = SETTINGS[name]
    with pytest.raises(ValueError, match=message):
        queries(**{name: value})


def test_all_at_once_also_for_pairs() -> None:
    with pytest.raises(ValueError, match="no prompt pairs") as caught:
        pairs(intermediates=TOKENS, corrupt_intermediates=None, contrast=1, recipe=[("seed", 0)], roles=None)
    for part in ("intermediates is a Tensor", "corrupt_intermediates is a NoneType", "contrast is 1", "recipe is a list"):
        assert part in str(caught.value) or part.replace("a NoneType", "a NoneType") in str(caught.value)


def test_what_is_asked_does_not_change_with_what_it_was_made_of() -> None:
    tokens, answers, recipe = TOKENS.clone(), COLUMNS["answers"].clone(), {"seed": [0]}
    asked, paired = queries(tokens, answers=answers), pairs(clean=tokens, recipe=recipe)
    before = paired.key
    tokens.zero_()
    answers.zero_()
    recipe["seed"].append(1)
    assert torch.equal(asked.tokens, TOKENS) and torch.equal(asked.answers, COLUMNS["answers"])
    assert paired.key == before and paired.recipe == {"seed": [0]}


def forward(tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(tokens + 1, 12).float()


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_predictions_take_whole_numbers_of_any_size(dtype: torch.dtype) -> None:
    right = torch.tensor([1, 2])
    assert torch.equal(predictions(forward, TOKENS.to(dtype), -1), right)
    assert is_right(forward, TOKENS.to(dtype), right.to(dtype), -1).all()


@pytest.mark.parametrize(
    ("answers", "message"), [([1, 2], "a list"), (np.array([1, 2]), "a ndarray"), (TOKENS, "the shape")]
)
def test_answers_that_are_no_column_are_not_compared(answers: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"answers (is|has) {message}"):
        is_right(forward, TOKENS, answers, -1)
