"""Checks that are compiled late, and once for all calls, still see every wrong argument and result."""

from collections.abc import Callable

import pytest
import torch
from checked import checked
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor


def defined(whole: bool, width: int) -> Callable[..., object]:
    """One name for two functions, as of two branches; each closes over something else at every call."""
    if whole:

        @jaxtyped(typechecker=checked)
        def found(number: int) -> int:  # pyright: ignore[reportRedeclaration]
            return number * width

    else:

        @jaxtyped(typechecker=checked)
        def found(number: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
            return number[:, :width]

    return found


def test_functions_of_one_name_are_told_apart_and_use_what_they_close_over() -> None:
    for width in (2, 3):
        assert defined(True, width)(7) == 7 * width
        assert defined(False, width)(torch.zeros(2, width)).shape == (2, width)
        for whole, wrong in ((True, torch.zeros(2, 3)), (False, 7), (False, torch.zeros(2))):
            with pytest.raises(TypeCheckError, match="number"):
                defined(whole, width)(wrong)
        with pytest.raises(TypeCheckError, match="return value"):
            defined(False, width)(torch.zeros(2, width + 1))


def test_the_class_of_an_argument_is_that_of_the_same_call() -> None:
    def of_its_class() -> tuple[type, Callable[..., object]]:
        class Local:
            pass

        @jaxtyped(typechecker=checked)
        def take(given: Local) -> None:
            return None

        return Local, take

    (first, take_first), (second, take_second) = of_its_class(), of_its_class()
    take_first(first())
    take_second(second())
    with pytest.raises(TypeCheckError):
        take_second(first())


def test_defaults_are_those_of_the_same_call() -> None:
    def with_default(value: object) -> Callable[..., object]:
        @jaxtyped(typechecker=checked)
        def give(given: object = value) -> object:
            return given

        return give

    assert [with_default(value)() for value in (1, 2)] == [1, 2]
    with pytest.raises(TypeError, match="argument"):
        with_default(1)(1, 2)
