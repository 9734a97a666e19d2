"""Integrals along lines: what they must add up to, on functions with known integrals."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from grokscope.analyses.forward.lines import MAX_PARTS, Integral, Visit, integrate, rounding_of

Function = Callable[[torch.Tensor], torch.Tensor]


def along(functions: list[Function], *, steps: int, tolerance: float, rounding: float = 0.0) -> Integral:
    """A line for each function; what is integrated are its slope and, next to it, slope · place."""

    def visit(points: np.ndarray, weights: np.ndarray) -> Visit:
        at = torch.from_numpy(points).requires_grad_()
        with torch.enable_grad():
            values = torch.stack([f(column) for f, column in zip(functions, at.unbind(1), strict=True)], 1)
            (slopes,) = torch.autograd.grad(values.sum(), at)
        shares = torch.from_numpy(weights) * slopes
        both = torch.stack([shares, shares * at.detach()], -1).sum(0)
        return Visit(values.detach().numpy(), {"both": both}, both[:, 0].numpy())

    start, end = (np.array([float(f(torch.tensor(x, dtype=torch.float64))) for f in functions]) for x in (0.0, 1.0))
    noise = np.full(len(functions), rounding)
    return integrate(visit, start, end, rounding=noise, steps=steps, tolerance=tolerance)


def step(width: float, at: float) -> Function:
    return lambda x: torch.tanh((x - at) / width)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8])
def test_one_part_is_exact_for_polynomials_of_degree_twice_the_points(steps: int) -> None:
    degree = 2 * steps  # the slope has one less, what is integrated next to it as many as the points can do
    found = along([lambda x: x ** (degree - 1), lambda x: 3 * x ** (degree - 1)], steps=steps, tolerance=np.inf)
    expected = (degree - 1) / degree
    np.testing.assert_allclose(found.gradients["both"], [[1, expected], [3, 3 * expected]], rtol=1e-12)
    assert set(found.steps) == {steps + (steps % 2 == 0)}


@pytest.mark.parametrize("steps", [2, 3, 5, 20])
@pytest.mark.parametrize("tolerance", [0.02, 1e-4])
def test_parts_are_halved_until_each_query_adds_up(steps: int, tolerance: float) -> None:
    functions = [torch.sin, step(0.003, 0.2), step(0.003, 0.71), lambda x: torch.relu(x - 1 / 3) + 0.1 * x]
    found = along(functions, steps=steps, tolerance=tolerance)
    difference = [float(f(torch.tensor(1.0)) - f(torch.tensor(0.0))) for f in functions]
    np.testing.assert_allclose(found.difference, difference, rtol=1e-6)
    assert (np.abs(found.attributed - found.difference) <= found.error + 1e-12).all()
    assert (found.error <= tolerance * np.abs(found.difference)).all()
    line = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)
    middle = (line[1:] + line[:-1]) / 2
    for f, (_, moment) in zip(functions, found.gradients["both"].tolist(), strict=True):  # ∫ f'(x) x dx
        assert moment == pytest.approx(float((f(line).diff() * middle).sum()), abs=5 * tolerance)
    assert found.steps[0] <= found.steps[1] and found.steps.max() <= (steps + 1) * MAX_PARTS


def test_a_line_with_a_jump_ends_and_says_so() -> None:
    found = along([lambda x: x + (x > 0.3).double(), torch.sin], steps=5, tolerance=0.02)
    assert 5 * MAX_PARTS <= found.steps[0] <= 6 * MAX_PARTS and found.error[0] == pytest.approx(1.0)
    assert found.steps[1] == 5 and found.error[1] < 1e-6


def test_queries_without_a_number_stop_and_harm_no_other() -> None:
    found = along([lambda x: torch.sqrt(x - 2), step(0.01, 0.5)], steps=5, tolerance=0.02)
    assert np.isnan(found.attributed[0]) and found.steps[0] == 5
    assert found.attributed[1] == pytest.approx(found.difference[1], rel=0.02)


def test_what_rounding_can_do_is_no_error() -> None:
    """Where nothing but rounding is left, halving would go on for ever."""
    noise = torch.Generator().manual_seed(0)
    functions = [lambda x: x.detach() * 0 + 1e-7 * torch.rand(x.shape, generator=noise) + 0 * x]
    assert along(functions, steps=5, tolerance=0.02, rounding=1e-6).steps[0] == 5
    assert along(functions, steps=5, tolerance=0.02).steps[0] > 5
    logits = torch.tensor([[100.0, 1.0, 0.0]], dtype=torch.float32)
    (size,) = rounding_of(lambda each: 3.0 * (each[:, 0] - each[:, 1]), logits)
    assert size == pytest.approx(16 * 2.0**-23 * 3 * 101)
