"""What questions and pairs may consist of: everything else is refused by name when they are made, all at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import random_model

from grokscope.circuits import ComputationGraph, Edge
from grokscope.tasks import PromptPairs, Queries, exact_match, predictions
from grokscope.tasks.questions.validity import checked_rows

TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
OTHER, ANSWERS, FOILS = TOKENS + 1, torch.tensor([1, 2, 3]), torch.tensor([4, 5, 6])
ROLES = ("a", "b", "c")


def questions(**changes: Any) -> Queries:
    return Queries(**({"tokens": TOKENS, "answers": ANSWERS, "roles": ROLES} | changes))


def pairs(**changes: Any) -> PromptPairs:
    given = {"clean": TOKENS, "corrupt": OTHER, "answers": ANSWERS, "foils": FOILS, "roles": ROLES}
    return PromptPairs(**(given | changes))


COLUMNS = {
    "-100": (torch.tensor([1, -100, 3]), r"{} is -100 and tokens are numbers from 0 on \(row 1\): -100 is the label"),
    "negative": (torch.tensor([-1, -2, 3]), r"{} is -1 and tokens are numbers from 0 on \(row 0, and 1 more\)"),
    "float": (torch.tensor([1.0, 2.0, 3.0]), r"{} is of torch.float32, needed are whole numbers \(torch.long\)"),
    "NaN": (torch.tensor([1.0, float("nan"), 3.0]), r"{} is of torch.float32"),
    "bool": (torch.tensor([True, False, True]), r"{} is of torch.bool"),
    "matrix": (torch.tensor([[1], [2], [3]]), r"{} has the shape \(3, 1\), needed is \[query\]"),
    "list": ([1, 2, 3], r"{} is a list, needed is a tensor of whole numbers \[query\]"),
    "array": (np.array([1, 2, 3]), r"{} is a ndarray, needed is a tensor"),
    "meta": (torch.zeros(3, dtype=torch.long, device="meta"), "{} is on the meta device and holds no numbers"),
    "short": (torch.tensor([1, 2]), r"3 (clean )?prompts, but 2 (of )?{}"),
}


@pytest.mark.parametrize(("make", "name"), [(questions, "answers"), (pairs, "answers"), (pairs, "foils")])
@pytest.mark.parametrize("what", COLUMNS)
def test_a_column_that_holds_no_tokens_is_refused(make: Callable[..., Any], name: str, what: str) -> None:
    column, message = COLUMNS[what]
    with pytest.raises(ValueError, match=message.format(name)):
        make(**{name: column})


@pytest.mark.parametrize(("make", "name"), [(questions, "tokens"), (pairs, "clean"), (pairs, "corrupt")])
@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (torch.tensor([[1, 2, 3], [1, -5, 3], [1, 2, 3]]), r"{} is -5 .*\(row 1, position 1\)"),
        (TOKENS.float(), "{} is of torch.float32"),
        (TOKENS[0], r"{} has the shape \(3,\), needed is \[query, pos\]"),
        (TOKENS.tolist(), "{} is a list"),
    ],
)
def test_prompts_that_hold_no_tokens_are_refused(make: Callable[..., Any], name: str, prompts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message.format(name)):
        make(**{name: prompts})


BAD_ROLES = ["a b", " a", "a\n", "a\u00a0b", "x -> y", "a@b", "@", "", None, 1.5, True]


@pytest.mark.parametrize("role", BAD_ROLES, ids=repr)
def test_a_role_that_would_not_parse_back_is_refused_by_tasks_and_by_circuits(role: Any) -> None:
    for make in (questions, pairs):
        with pytest.raises(ValueError, match="a role is a name without whitespace, signs that do not show, and @, got"):
            make(roles=("a", role, "c"))
    with pytest.raises(ValueError, match="a role is a name without whitespace, signs that do not show, and @, got"):
        ComputationGraph(("a", role, "c"), "c", ComputationGraph.transformer(ROLES, "c", 1, 1, 1).steps)


@pytest.mark.parametrize("role", ["<s>", "R&D", "don't", "a$b$c", "->", "L0H1", "h.q", "\N{GREEK SMALL LETTER ALPHA}", "0"])
def test_every_other_role_names_nodes_that_parse_back(role: str) -> None:
    assert pairs(roles=("a", role, "c")).roles == questions(roles=("a", role, "c")).roles == ("a", role, "c")
    graph = ComputationGraph.transformer(("a", role, "c"), "c", n_layers=2, n_heads=2, n_blocks=1)
    assert all(Edge.parse(str(edge)) == edge for edge in graph.edges)


@pytest.mark.parametrize("roles", [(0, 1, 2), [0, 1, 2], (np.int64(0), "1", 2)])
def test_whole_numbers_as_roles_become_their_digits(roles: Any) -> None:
    made = pairs(roles=roles, answer_position=1)
    assert made.roles == made.queries().roles == questions(roles=roles).roles == ("0", "1", "2") and made.answer_role == "1"
    graph = ComputationGraph.transformer((0, 1, 2), 2, n_layers=2, n_heads=2, n_blocks=2)
    assert graph == ComputationGraph.transformer(("0", "1", "2"), "2", n_layers=2, n_heads=2, n_blocks=2)
    assert all(Edge.parse(str(edge)) in graph.edges for edge in graph.edges)


@pytest.mark.parametrize("position", [3, -4, 1.0, True, None])
def test_a_position_that_is_not_there_is_refused(position: Any) -> None:
    for make in (questions, pairs):
        with pytest.raises(ValueError, match=r"answer_position=.* is outside the 3 positions"):
            make(answer_position=position)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        pairs(answers=torch.tensor([1, -100, 3]), foils=FOILS.float(), roles=("a", "a", "b c"), answer_position=9)
    for part in ("answers is -100", "foils is of torch.float32", "got 'b c'", "3 different roles", "answer_position=9"):
        assert part in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.long])
def test_whole_numbers_of_any_size_are_kept_as_64_bits(dtype: torch.dtype) -> None:
    made = pairs(clean=TOKENS.to(dtype), corrupt=OTHER.to(dtype), answers=ANSWERS.to(dtype), foils=FOILS.to(dtype))
    kept = (made.clean, made.corrupt, made.answers, made.foils, made.unit)
    assert {each.dtype for each in kept} == {torch.long} and made.key == pairs().key
    asked = questions(tokens=TOKENS.to(dtype), answers=ANSWERS.to(dtype), intermediates={"carry": ANSWERS.to(dtype)})
    assert asked.tokens.dtype == asked.answers.dtype == asked.intermediates["carry"].dtype == torch.long


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.tensor([0, 3]), "no row 3; there are 3"),
        (torch.tensor([-4]), "no row -4; there are 3"),
        (torch.tensor([True, False]), "a mask needs an entry for each of the 3 rows, got 2"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows: torch.Tensor, message: str) -> None:
    for made in (questions(), pairs()):
        with pytest.raises(ValueError, match=message):
            made.take(rows)


@pytest.mark.parametrize("rows", [torch.tensor([0.0]), slice(0, 2), 1, "01", None])
def test_what_is_no_rows_is_refused(rows: Any) -> None:
    with pytest.raises(ValueError, match="rows are numbers or a mask, a tensor of them, got"):
        checked_rows(rows, 3)


def test_what_questions_do_not_hold_is_named() -> None:
    asked = questions(intermediates={"carry": ANSWERS}, facts={"left": ANSWERS})
    with pytest.raises(KeyError, match="no intermediate 'bridge'; there is carry"):
        asked.bridges  # noqa: B018
    for name in ("hop1", "hop2"):
        with pytest.raises(KeyError, match=f"no fact '{name}'; there is left"):
            getattr(asked, name)


def test_predictions_are_of_tokens_the_model_has_and_of_numbers() -> None:
    model = random_model(0)
    for tokens, position, message in (
        (TOKENS + 5, -1, "tokens is 11 and the model's tokens are 0 to 10"),
        (torch.zeros(2, 4, dtype=torch.long), -1, "prompts have 4 positions and the model's context 3"),
        (TOKENS, 3, "answer_position=3 is outside the 3 positions"),
        (TOKENS - 2, -1, "tokens is -1 and tokens are numbers from 0 on"),
    ):
        with pytest.raises(ValueError, match=message):
            predictions(model, tokens, position)
    with pytest.raises(ValueError, match=r"answers is 11 and the model's tokens are 0 to 10 \(row 2\)"):
        exact_match(model, questions(answers=torch.tensor([1, 2, 11])))
    model.unembed.b_U.data[3] = float("nan")
    with pytest.raises(ValueError, match="the logits of 3 of 3 prompts are NaN"):
        predictions(model, TOKENS, -1)
    assert len(exact_match(model, replace(questions()).take(torch.zeros(3, dtype=torch.bool)))) == 0
