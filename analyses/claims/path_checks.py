"""Checks on the measurements of claim (i): each is computed, and can fail."""

from collections.abc import Iterator, Sequence
from typing import Any

from ...circuits.units import listed
from ..sameness.path_distances import MIN_PAIRS
from .contrasts import BY_STATUS, Contrast, Decided, Measured, age_problem, replicate_problem, status_problem
from .rules import check


def path_checks(measured: Measured, found: Sequence[Decided]) -> Iterator[dict[str, Any]]:
    """A row for each check.

    Args:
        measured: by graph.
        found: what every measure says about the contrasts that decide.
    """
    yield from contrast_checks(measured, BY_STATUS)
    n = {graph: each.distances.n_pairs for graph, each in measured.items()}
    enough = bool(n) and min(n.values()) >= MIN_PAIRS
    yield check("pairs answered by all models of a graph", enough, f"by graph {listed(n)}; needed are {MIN_PAIRS}")
    failed = [f"{each.key}: {one.quantity}" for each in found for one in each.controls if not one.passed]
    n_controls = sum(len(each.controls) for each in found)
    yield check("controls", n_controls > 0 and not failed, f"{len(failed)} of {n_controls} failed: {'; '.join(failed)}")
    distances = [each.distances.missing(measure) for each in measured.values() for measure in {one.measure for one in found}]
    undefined = dict.fromkeys(reason for each in distances for reason in each.values())
    yield check("a distance for each couple", not undefined, "; ".join(undefined))


def contrast_checks(measured: Measured, contrasts: Sequence[Contrast]) -> Iterator[dict[str, Any]]:
    """Whether graphs with both arms of a contrast have a replicate, one age, and arms that are what they are called."""
    asked = {
        "replicate trainings": (replicate_problem, contrasts),
        "one age": (age_problem, [each for each in contrasts if each.varies == "status"]),
        "OOD questions answered as named": (status_problem, contrasts),
    }
    for name, (problem, of) in asked.items():
        for each in of:
            there = {graph: one for graph, one in measured.items() if {each.a, each.b} <= set(one.steps)}
            wrong = {graph: found for graph, one in there.items() if (found := problem(one, each))}
            says = "; ".join(f"graph {graph}: {reason}" for graph, reason in wrong.items())
            passed = bool(there) and not wrong
            yield check(f"{name}, {each.label}", passed, says or f"{len(there) or 'no'} graphs")
