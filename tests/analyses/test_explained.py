"""Every kind of result explains itself, whatever its fields hold."""

import pytest
from hostile import results
from kinds import KINDS

from grokscope.circuits import Result

MADE = dict(results())


def test_every_kind_is_tried() -> None:
    assert {type(result).__name__ for result in MADE.values()} == set(KINDS)


@pytest.mark.parametrize("name", MADE)
def test_five_answers_are_given(name: str) -> None:
    explanation = MADE[name].explain()
    assert all(answer.strip() for _, answer in explanation) and len(str(explanation).splitlines()) >= 5
    assert "<img" not in explanation._repr_html_()


def test_a_kind_of_ones_own_that_does_not_say_is_an_error_by_name() -> None:
    class Mine(Result):
        pass

    with pytest.raises(NotImplementedError, match="Mine does not explain itself"):
        Mine(MADE["Circuit"].table).explain()
