"""Trainings by name: `taught again` is a replicate of `taught`, another training in the same condition on the same graph."""

from collections.abc import Iterable
from itertools import combinations

AGAIN = " again"
Couple = tuple[str, str]


def condition_of(name: str) -> str:
    """The condition of a training.

    >>> condition_of("taught"), condition_of("taught again")
    ('taught', 'taught')
    """
    return name.removesuffix(AGAIN)


def compared_conditions(names: Iterable[str]) -> dict[Couple, list[Couple]]:
    """The couples of trainings across every two conditions, in the order of the names; of one condition only itself.

    >>> compared_conditions(["a", "a again", "b"])
    {('a', 'b'): [('a', 'b'), ('a again', 'b')]}
    >>> compared_conditions(["a", "a again"])
    {('a', 'a again'): [('a', 'a again')]}
    """
    names = list(names)
    found: dict[Couple, list[Couple]] = {}
    for conditions in combinations(dict.fromkeys(map(condition_of, names)), 2):
        found[conditions] = [each for each in combinations(names, 2) if {*map(condition_of, each)} == {*conditions}]
    return found or {couple: [couple] for couple in combinations(names, 2)}


def replicates_of(names: Iterable[str], conditions: Couple) -> list[Couple]:
    """Couples of trainings of one of the conditions; none if the conditions are two trainings of one.

    >>> replicates_of(["a", "a again", "b"], ("a", "b"))
    [('a', 'a again')]
    """
    couples = [couple for couple in combinations(names, 2) if couple != conditions]
    return [(a, b) for a, b in couples if condition_of(a) == condition_of(b) and condition_of(a) in conditions]
